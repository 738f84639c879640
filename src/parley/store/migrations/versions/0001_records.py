"""The first schema: customers and their links, grants, sessions and attempts, what was seen and spent, what must still be told."""

from parley.store.migrations.tables import is_sqlite, make, refuse_to_go_back

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Times are microseconds since 1970 UTC, days are proleptic Gregorian ordinals, buckets ten minutes since 1970 UTC. BIGINT and BYTEA are
# what PostgreSQL calls SQLite's INTEGER and BLOB.
TABLES = (
    """CREATE TABLE gateway_keys (name TEXT NOT NULL PRIMARY KEY, wrapped_key BYTEA NOT NULL)""",
    """CREATE TABLE customers (id TEXT NOT NULL PRIMARY KEY, wrapped_key BYTEA NOT NULL, created_at BIGINT NOT NULL)""",
    """CREATE TABLE tombstones (customer TEXT NOT NULL PRIMARY KEY, erased_at BIGINT NOT NULL)""",
    """CREATE TABLE links (
        key BIGINT NOT NULL PRIMARY KEY, channel TEXT NOT NULL, conversation_hash BYTEA NOT NULL,
        customer TEXT NOT NULL REFERENCES customers (id) ON DELETE CASCADE, linked_at BIGINT NOT NULL)""",
    """CREATE TABLE bank_links (
        customer TEXT NOT NULL PRIMARY KEY REFERENCES customers (id) ON DELETE CASCADE, bank TEXT NOT NULL,
        sealed_tokens BYTEA, sealed_accounts BYTEA NOT NULL, linked_at BIGINT NOT NULL)""",
    """CREATE TABLE grants (
        id TEXT NOT NULL, version BIGINT NOT NULL CHECK (version >= 1), latest BIGINT NOT NULL CHECK (latest IN (0, 1)),
        handle BYTEA NOT NULL, state TEXT NOT NULL CHECK (state IN ('active', 'revoked')), customer TEXT NOT NULL,
        platform TEXT NOT NULL, channel TEXT NOT NULL, purpose TEXT NOT NULL, projections TEXT NOT NULL, accounts TEXT NOT NULL,
        delivery TEXT NOT NULL, lookback_days BIGINT NOT NULL, provenance TEXT NOT NULL, answers_per_day BIGINT NOT NULL,
        rows_per_day BIGINT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, text_hash TEXT NOT NULL,
        policy_digest TEXT NOT NULL, log_index BIGINT, PRIMARY KEY (id, version))""",
    """CREATE TABLE revocations_due (grant_id TEXT NOT NULL PRIMARY KEY, due_at BIGINT NOT NULL)""",
    """CREATE TABLE sessions (token_hash BYTEA NOT NULL PRIMARY KEY, sealed BYTEA NOT NULL, expires_at BIGINT NOT NULL)""",
    """CREATE TABLE attempts (
        kind TEXT NOT NULL, token_hash BYTEA NOT NULL, sealed BYTEA NOT NULL, expires_at BIGINT NOT NULL, PRIMARY KEY (token_hash, kind))""",
)
INDEXES = (
    "CREATE INDEX links_of_customer ON links (customer)",
    "CREATE UNIQUE INDEX grants_latest ON grants (customer, platform, channel, state, created_at DESC, id) WHERE latest = 1",
    "CREATE INDEX sessions_ending ON sessions (expires_at)",
    "CREATE INDEX attempts_ending ON attempts (expires_at)",
)

CLAIM_TABLES = (
    """CREATE TABLE seen_messages (key BIGINT NOT NULL PRIMARY KEY, bucket BIGINT NOT NULL)""",
    """CREATE TABLE budgets (
        grant_id TEXT NOT NULL, day BIGINT NOT NULL, answers BIGINT NOT NULL, row_count BIGINT NOT NULL, PRIMARY KEY (grant_id, day))""",
)
CLAIM_INDEXES = (
    "CREATE INDEX seen_messages_ageing ON seen_messages (bucket)",
    "CREATE INDEX budgets_ageing ON budgets (day)",
)
"""On SQLite these stand in a file of their own, which parley.store.claims makes."""


def upgrade() -> None:
    if is_sqlite():
        make(TABLES, INDEXES)
    else:
        make((*TABLES, *CLAIM_TABLES), (*INDEXES, *CLAIM_INDEXES))


def downgrade() -> None:
    refuse_to_go_back()
