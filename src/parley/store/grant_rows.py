"""How a grant stands in a row: small, and marked, so that who can only write the database can neither widen a grant nor give it to another.

What many grants share (platform, purpose, projections, limits, the policy's digest) stands once, in words, in `terms`. The row of a grant
holds the rest and a mark: keyed BLAKE2b under the gateway's own key of everything that gives the grant its meaning, the shared words and
the customer included. A row that was put back as it once was bears a true mark; that is found out by the notary, which knows the version.
"""

from __future__ import annotations

import hmac
import struct
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import msgspec

from parley.model.grants import Budget, Grant, GrantState
from parley.model.ledger import Discreet
from parley.model.refusals import Fault
from parley.model.words import Delivery, Projection, Provenance, Purpose
from parley.store.driver import RecordsConflict, Row, Values, Work
from parley.store.memory import Memory
from parley.store.vault import GatewayKeys, customer_number

GRANT_COLUMNS = ("id", "version", "state", "terms", "accounts", "created_at", "expires_at", "text_hash", "handle", "log_index", "mac")
COLUMNS = ", ".join(GRANT_COLUMNS)
TERMS_COLUMNS = (
    "platform", "channel", "client", "purpose", "projections", "delivery", "lookback_days", "provenance", "answers_per_day", "rows_per_day",
    "policy_digest",
)  # fmt: skip
ACTIVE, PAUSED, REVOKED, EXPIRED = 1, 2, 3, 4
STATE_NUMBERS = {GrantState.ACTIVE: ACTIVE, GrantState.PAUSED: PAUSED, GrantState.REVOKED: REVOKED, GrantState.EXPIRED: EXPIRED}
STATES = {number: state for state, number in STATE_NUMBERS.items()}
ID_BYTES = 16
REF_DIGITS = 16
TERMS_KEPT = 8_192

TERMS_OF = f"SELECT {', '.join(TERMS_COLUMNS)} FROM terms WHERE number = ?"  # noqa: S608 - our own names, here and below
_FIND_TERMS = f"SELECT number FROM terms WHERE {' AND '.join(f'{name} = ?' for name in TERMS_COLUMNS)}"  # noqa: S608
_ADD_TERMS = f"INSERT INTO terms ({', '.join(TERMS_COLUMNS)}) VALUES ({', '.join('?' * len(TERMS_COLUMNS))}) ON CONFLICT DO NOTHING"  # noqa: S608

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MARKED = struct.Struct(">QBqqHHHH")
_projections_decoder = msgspec.json.Decoder(frozenset[Projection])
_words_encoder = msgspec.json.Encoder()


class Terms(Discreet, frozen=True):
    """The words that many grants share. `digest`: SHA-256 of the words as they stand in the row."""

    platform: str
    channel: str
    client: str
    purpose: Purpose
    projections: frozenset[Projection]
    delivery: Delivery
    lookback_days: int
    provenance: Provenance
    budget: Budget
    policy_digest: str
    digest: bytes


class GrantRows:
    """Reads and writes grants' rows. Keeps the terms that it has read: they never change, and a grant's mark covers them."""

    def __init__(self, gateway: GatewayKeys) -> None:
        self._gateway = gateway
        self._terms: Memory[int, Terms] = Memory(TERMS_KEPT)

    def __repr__(self) -> str:
        return "GrantRows(***)"

    def known_terms(self, number: int) -> Terms | None:
        return self._terms.get(number)

    def learn_terms(self, number: int, rows: list[Row]) -> Terms:
        """Raises Fault for words that we do not know: a grant that cannot be read exactly is no consent."""
        if not rows:
            raise Fault("a stored grant's terms are gone")
        terms = terms_from_row(rows[0])
        self._terms.put(number, terms)
        return terms

    def terms(self, number: int) -> Work[Terms]:
        """Inside a unit of work."""
        known = self._terms.get(number)
        return known if known is not None else self.learn_terms(number, (yield TERMS_OF, (number,)))

    def terms_number(self, grant: Grant) -> Work[int]:
        """Find the grant's terms or add them. Two that add the same at once agree on one row."""
        words = terms_words(grant)
        rows = yield _FIND_TERMS, words
        if not rows:
            yield _ADD_TERMS, words
            rows = yield _FIND_TERMS, words
        return int(rows[0][0])

    def grant(self, row: Row, customer: str, terms: Terms) -> Grant:
        """`row` in the order of GRANT_COLUMNS. Raises Fault for a row that does not bear our mark or holds a word that we do not know."""
        identifier, version, state, _, accounts, created_at, expires_at, text_hash, handle, log_index, mac = row
        expected = self._mark(identifier, version, state, customer, terms.digest, accounts, created_at, expires_at, text_hash, handle)
        if mac is None or not hmac.compare_digest(mac, expected):
            raise Fault("a stored grant was changed by a stranger's hand")
        digits = accounts.hex()
        try:
            return Grant(
                identifier.hex(), handle, version, STATES[state], customer, terms.platform, terms.channel, terms.purpose, terms.projections,
                tuple([digits[at : at + REF_DIGITS] for at in range(0, len(digits), REF_DIGITS)]), terms.delivery, terms.lookback_days,
                terms.provenance, terms.budget, _EPOCH + created_at * _MILLISECOND, datetime.fromtimestamp(expires_at, UTC),
                text_hash.hex(), terms.policy_digest, log_index, terms.client,
            )  # fmt: skip
        except (KeyError, ValueError, OverflowError, OSError):
            raise Fault("a stored grant cannot be read") from None

    def row(self, grant: Grant, terms: int) -> Values:
        """In the order of GRANT_COLUMNS. Raises ValueError for an id, an account's reference or a text's hash of another form."""
        identifier, text_hash = bytes.fromhex(grant.id), bytes.fromhex(grant.text_hash)
        if len(identifier) != ID_BYTES or any(len(ref) != REF_DIGITS for ref in grant.accounts):
            raise ValueError("a grant's id has 32 hexadecimal digits, an account's reference 16")
        accounts = bytes.fromhex("".join(grant.accounts))
        state, created_at, expires_at = STATE_NUMBERS[grant.state], to_millis(grant.created_at), to_seconds(grant.expires_at)
        digest = terms_digest(terms_words(grant))
        mac = self._mark(identifier, grant.version, state, grant.customer, digest, accounts, created_at, expires_at, text_hash, grant.handle)
        return (identifier, grant.version, state, terms, accounts, created_at, expires_at, text_hash, grant.handle, grant.log_index, mac)

    def unmarked_mark(self, row: Row, customer: str, terms: Terms) -> bytes:
        """The mark of a row that was written before rows bore marks."""
        identifier, version, state, _, accounts, created_at, expires_at, text_hash, handle, _, _ = row
        return self._mark(identifier, version, state, customer, terms.digest, accounts, created_at, expires_at, text_hash, handle)

    def link_mark(self, channel: str, conversation_hash: bytes, customer: str) -> bytes:
        """The mark of a link: it binds this conversation to this customer."""
        return self._gateway.mark(b"link\0" + channel.encode("utf-8", "surrogatepass") + b"\0" + conversation_hash + customer.encode())

    def check_link(self, mac: bytes | None, channel: str, conversation_hash: bytes, customer: str) -> None:
        """Raises Fault for a link that does not bear our mark."""
        if mac is None or not hmac.compare_digest(mac, self.link_mark(channel, conversation_hash, customer)):
            raise Fault("a stored link was changed by a stranger's hand")

    def _mark(
        self, identifier: bytes, version: int, state: int, customer: str, terms: bytes, accounts: bytes,
        created_at: int, expires_at: int, text_hash: bytes, handle: bytes,
    ) -> bytes:  # fmt: skip
        """All parts with the lengths of those that vary, so that no two rows have the same bytes. Where the log has it is no part of a grant."""
        owner = customer.encode()
        head = _MARKED.pack(version, state, created_at, expires_at, len(identifier), len(owner), len(text_hash), len(handle))
        return self._gateway.mark(b"".join((b"grant\0", head, identifier, owner, text_hash, handle, terms, accounts)))


def grant_key(grant_id: str) -> tuple[bytes, bytes] | None:
    """(what the index knows, the whole id) of a grant's id; None for text that is no id of ours."""
    try:
        identifier = bytes.fromhex(grant_id)
    except ValueError:
        return None
    return (identifier[:8], identifier) if len(identifier) == ID_BYTES and identifier.hex() == grant_id else None


def terms_words(grant: Grant) -> Values:
    """In the order of TERMS_COLUMNS."""
    return (
        grant.platform, grant.channel, grant.client, grant.purpose.value, msgspec.json.encode(sorted(grant.projections)).decode(),
        grant.delivery.value, grant.lookback_days, grant.provenance.value, grant.budget.answers_per_day, grant.budget.rows_per_day,
        grant.policy_digest,
    )  # fmt: skip


def terms_digest(words: Values) -> bytes:
    return sha256(_words_encoder.encode(words)).digest()


def terms_from_row(row: Row) -> Terms:
    """Raises Fault for a row with a word that we do not know."""
    platform, channel, client, purpose, projections, delivery, lookback_days, provenance, answers, rows, policy_digest = row
    try:
        return Terms(
            platform, channel, client, Purpose(purpose), _projections_decoder.decode(projections), Delivery(delivery), lookback_days,
            Provenance(provenance), Budget(answers, rows), policy_digest, terms_digest(tuple(row)),
        )  # fmt: skip
    except ValueError:
        raise Fault("a stored grant's terms cannot be read") from None


def number_of(customer: str) -> int:
    """What grants point to a customer with. Raises RecordsConflict for what is no id of ours."""
    try:
        return customer_number(customer)
    except ValueError:
        raise RecordsConflict("not a customer's id") from None


def to_millis(moment: datetime) -> int:
    """Whole milliseconds since 1970 UTC, rounded down. Raises ValueError for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return (moment - _EPOCH) // _MILLISECOND


def to_seconds(moment: datetime) -> int:
    """Whole seconds since 1970 UTC, rounded down. Raises ValueError for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return int(moment.timestamp() // 1)
