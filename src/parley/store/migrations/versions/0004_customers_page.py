"""Passkeys, sign-ins, what each platform learned, nicknames of accounts, reminders that were given."""

from parley.store.migrations.tables import make, refuse_to_go_back

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Everything about a person is sealed under her key and goes with her row. A disclosure's number counts within one customer, and its mark
# is a keyed hash of the log entry: the table alone must not tell which entries of the log belong to one person.
TABLES: tuple[str, ...] = (
    """CREATE TABLE sign_ins (
        token_hash BYTEA NOT NULL PRIMARY KEY, customer TEXT NOT NULL REFERENCES customers (id) ON DELETE CASCADE,
        sealed BYTEA NOT NULL, seen_at BIGINT NOT NULL, expires_at BIGINT NOT NULL)""",
    """CREATE TABLE passkeys (
        id_hash BYTEA NOT NULL PRIMARY KEY, customer TEXT NOT NULL REFERENCES customers (id) ON DELETE CASCADE,
        sealed BYTEA NOT NULL, created_at BIGINT NOT NULL, uses BIGINT NOT NULL)""",
    """CREATE TABLE disclosures (
        customer TEXT NOT NULL REFERENCES customers (id) ON DELETE CASCADE, number BIGINT NOT NULL, mark BIGINT NOT NULL,
        sealed BYTEA NOT NULL, PRIMARY KEY (customer, number))""",
    """CREATE TABLE nicknames (
        customer TEXT NOT NULL PRIMARY KEY REFERENCES customers (id) ON DELETE CASCADE, sealed BYTEA NOT NULL)""",
    """CREATE TABLE reminders (
        customer TEXT NOT NULL REFERENCES customers (id) ON DELETE CASCADE, grant_id TEXT NOT NULL, version BIGINT NOT NULL,
        said_at BIGINT NOT NULL, PRIMARY KEY (grant_id, version))""",
    # Who writes ledgers, and below which log entry it has written all of its own; which entries nobody can say that of; and up to which of
    # these gaps a customer's key was tried.
    """CREATE TABLE ledger_writers (id TEXT NOT NULL PRIMARY KEY, low BIGINT NOT NULL, seen_at BIGINT NOT NULL)""",
    """CREATE TABLE ledger_gaps (first_index BIGINT NOT NULL, end_index BIGINT NOT NULL, PRIMARY KEY (end_index, first_index))""",
    """CREATE TABLE ledger_looked (
        customer TEXT NOT NULL PRIMARY KEY REFERENCES customers (id) ON DELETE CASCADE, until BIGINT NOT NULL)""",
)
INDEXES: tuple[str, ...] = (
    "CREATE INDEX sign_ins_of_customer ON sign_ins (customer)",
    "CREATE INDEX sign_ins_ending ON sign_ins (expires_at)",
    "CREATE INDEX passkeys_of_customer ON passkeys (customer)",
    "CREATE UNIQUE INDEX disclosures_marked ON disclosures (customer, mark)",
    "CREATE INDEX reminders_of_customer ON reminders (customer)",
)


def upgrade() -> None:
    make(TABLES, INDEXES)


def downgrade() -> None:
    refuse_to_go_back()
