"""Passkeys, sign-ins, what each platform learned, consent records."""

from alembic import context, op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES: tuple[str, ...] = ()
INDEXES: tuple[str, ...] = ()


def upgrade() -> None:
    sqlite = context.config.get_main_option("dialect") == "sqlite"
    for table in TABLES:
        op.execute(table.replace("BIGINT", "INTEGER").replace("BYTEA", "BLOB") + " STRICT" if sqlite else table)
    for index in INDEXES:
        op.execute(index)


def downgrade() -> None:
    """Refused: going back would drop consent that customers gave. Restore a backup instead."""
    raise RuntimeError("the records only move forward")
