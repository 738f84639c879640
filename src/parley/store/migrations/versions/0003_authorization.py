"""Clients of the authorization server, what they were pushed and given."""

from parley.store.migrations.tables import make, refuse_to_go_back

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Times are microseconds since 1970 UTC. What a row says beyond its columns is sealed under the gateway's key; tokens and codes are only
# ever here as SHA-256. `state` of a code: 0 waits, 1 used; of a token: 0 stands, 1 used up by a rotation.
TABLES: tuple[str, ...] = (
    """CREATE TABLE clients (id TEXT NOT NULL PRIMARY KEY, platform TEXT NOT NULL, sealed BYTEA NOT NULL, created_at BIGINT NOT NULL)""",
    """CREATE TABLE authorizations (
        id_hash BYTEA NOT NULL PRIMARY KEY, customer TEXT NOT NULL REFERENCES customers (id) ON DELETE CASCADE, version BIGINT NOT NULL,
        sealed BYTEA NOT NULL, until BIGINT NOT NULL)""",
    """CREATE TABLE codes (
        code_hash BYTEA NOT NULL PRIMARY KEY, client TEXT NOT NULL, state BIGINT NOT NULL, sealed BYTEA NOT NULL, forget_at BIGINT NOT NULL)""",
    """CREATE TABLE tokens (
        token_hash BYTEA NOT NULL PRIMARY KEY, client TEXT NOT NULL, family BYTEA NOT NULL,
        authorization_hash BYTEA NOT NULL REFERENCES authorizations (id_hash) ON DELETE CASCADE,
        state BIGINT NOT NULL, sealed BYTEA NOT NULL, expires_at BIGINT NOT NULL)""",
    """CREATE TABLE seen_tokens (key BYTEA NOT NULL PRIMARY KEY, expires_at BIGINT NOT NULL)""",
)
INDEXES: tuple[str, ...] = (
    "CREATE UNIQUE INDEX clients_platform ON clients (platform)",
    "CREATE INDEX authorizations_of_customer ON authorizations (customer)",
    "CREATE INDEX authorizations_ending ON authorizations (until)",
    "CREATE INDEX codes_ending ON codes (forget_at)",
    "CREATE INDEX tokens_of_family ON tokens (family)",
    "CREATE INDEX tokens_of_authorization ON tokens (authorization_hash)",
    "CREATE INDEX tokens_ending ON tokens (expires_at)",
    "CREATE INDEX seen_tokens_ending ON seen_tokens (expires_at)",
)


def upgrade() -> None:
    make(TABLES, INDEXES)


def downgrade() -> None:
    refuse_to_go_back()
