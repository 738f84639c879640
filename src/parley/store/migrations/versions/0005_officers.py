"""Staff, roles, sign-ins, proposals with four eyes, switches."""

from parley.store.migrations.tables import make, refuse_to_go_back

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES: tuple[str, ...] = (
    """CREATE TABLE staff (
        id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL CHECK (role IN ('officer', 'auditor', 'operator')),
        created_at BIGINT NOT NULL)""",
    """CREATE TABLE staff_passkeys (
        credential_id BYTEA NOT NULL PRIMARY KEY, staff TEXT NOT NULL REFERENCES staff (id) ON DELETE CASCADE, public_key BYTEA NOT NULL,
        sign_count BIGINT NOT NULL, created_at BIGINT NOT NULL)""",
    """CREATE TABLE staff_tickets (
        token_hash BYTEA NOT NULL PRIMARY KEY, kind TEXT NOT NULL, staff TEXT NOT NULL, challenge BYTEA NOT NULL, expires_at BIGINT NOT NULL)""",
    """CREATE TABLE staff_sessions (
        id TEXT NOT NULL PRIMARY KEY, token_hash BYTEA NOT NULL UNIQUE, staff TEXT NOT NULL REFERENCES staff (id) ON DELETE CASCADE,
        signed_in_at BIGINT NOT NULL, seen_at BIGINT NOT NULL, expires_at BIGINT NOT NULL)""",
    """CREATE TABLE proposals (
        id TEXT NOT NULL PRIMARY KEY, digest TEXT NOT NULL, base TEXT NOT NULL, note TEXT NOT NULL, sources BYTEA NOT NULL,
        proposed_by TEXT NOT NULL, proposed_at BIGINT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('open', 'approving', 'in_force', 'rejected', 'stale')),
        decided_by TEXT NOT NULL, decided_at BIGINT)""",
    """CREATE TABLE policies (
        version BIGINT NOT NULL PRIMARY KEY CHECK (version >= 1), digest TEXT NOT NULL, sources BYTEA NOT NULL, proposal TEXT NOT NULL UNIQUE,
        log_index BIGINT NOT NULL, since BIGINT NOT NULL)""",
    """CREATE TABLE switches (
        name TEXT NOT NULL PRIMARY KEY, pulled_by TEXT NOT NULL, pulled_at BIGINT NOT NULL, reason TEXT NOT NULL, undo_by TEXT NOT NULL)""",
    """CREATE TABLE staff_acts (
        id TEXT NOT NULL PRIMARY KEY, actor TEXT NOT NULL, kind TEXT NOT NULL, facts TEXT NOT NULL, at BIGINT NOT NULL, log_index BIGINT,
        tried_at BIGINT NOT NULL)""",
)
INDEXES: tuple[str, ...] = (
    "CREATE INDEX staff_tickets_ending ON staff_tickets (expires_at)",
    "CREATE INDEX staff_sessions_of_staff ON staff_sessions (staff)",
    "CREATE INDEX staff_acts_in_order ON staff_acts (at, id)",
    "CREATE INDEX staff_acts_untold ON staff_acts (tried_at) WHERE log_index IS NULL",
)


def upgrade() -> None:
    make(TABLES, INDEXES)


def downgrade() -> None:
    refuse_to_go_back()
