"""The road with real fakes beside it: records in memory, a bank with a chosen statement, and a log that is a true signed Merkle tree."""

from __future__ import annotations

import hmac
import json
import random
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parley.model.extensions import BankCredential, Offering, OfferingCard, Order
from parley.model.grants import BankTokens, Budget, Grant, GrantState
from parley.model.ledger import AccountKind, AccountStatus, Balance, LinkedAccount, Statement, Transaction, TransactionState
from parley.model.money import Money
from parley.model.refusals import BudgetSpent, Fault, ForgedMessage, GrantRevoked, LinkLost, LogUnavailable, ReplayedMessage
from parley.model.stages import Envelope, Question
from parley.model.words import Delivery, Projection, Provenance, Purpose
from parley.offerings import load_offerings
from parley.policy import Policy, load_policy
from parley.proof import EMPTY_ROOT, Inclusion, Verifier, format_vkey, leaf_hash, node_hash
from parley.proof.note import key_id
from parley.release.pipeline import House, release
from parley.release.ports import CaseFile
from parley.understanding import KeywordUnderstanding
from tests.fakes.guard import TurnedGuard

NOW = datetime(2026, 11, 22, 14, 3, 27, tzinfo=UTC)
PLATFORM = "parley-web"
CHANNEL = "web"
CUSTOMER = "customer-7c1f09"
CONVERSATION = "conversation-5513aa"
MESSAGE = "message-0001"
CHANNEL_KEY = b"the platform's shared secret"
LOG_NAME = "log.example/road"

CHECKING = LinkedAccount("ref-checking", "larkspur", "000123456789", AccountKind.CHECKING, "Everyday Checking", "6789", "USD", AccountStatus.OPEN)
SAVINGS = LinkedAccount("ref-savings", "larkspur", "000987654321", AccountKind.SAVINGS, "Rainy Day", "4321", "USD", AccountStatus.OPEN)
CARD = LinkedAccount("ref-card", "larkspur", "4000111122223333", AccountKind.CREDIT_CARD, "Blue Card", "3333", "USD", AccountStatus.OPEN)

PARTICULARS = """
name = "test"
bank = "Larkspur Demo Bank"
channels = ["web", "alexa"]

[[platforms]]
id = "parley-web"
name = "Own chat"
website = "https://chat.example"
contact = "privacy@bank.example"
off_platform = true

[[platforms]]
id = "other-app"
name = "Another app"
website = "https://other.example"
contact = "privacy@other.example"
"""
POLICY = """
@id("own-chat")
@reason("Customers may ask about their own accounts.")
@rows_max("25")
@lookback_days_max("90")
permit (
  principal == Platform::"parley-web",
  action in [
    Action::"afford.yesno", Action::"balance.available", Action::"transactions.amount", Action::"transactions.merchant_and_amount"
  ],
  resource
)
when {
  [Data::"account", Data::"on_platform", Data::"off_platform"].contains(resource) &&
  context.channel == Channel::"web" &&
  context.purpose == Purpose::"answer_customer"
};
"""
FORBID = """
@id("not-today")
@reason("Not today.")
@basis("risk")
forbid (principal, action, resource);
"""


class Clock:
    """A clock that only a test moves."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class SignedChannel:
    """Opens an envelope whose header `signature` is the HMAC-SHA256 (hex) of the body; what it says is read only after that."""

    name = CHANNEL

    def open(self, envelope: Envelope) -> Question:
        expected = hmac.digest(CHANNEL_KEY, envelope.unverified_body, "sha256").hex()
        if not hmac.compare_digest(expected, envelope.unverified_headers.get("signature", "")):
            raise ForgedMessage()
        said = json.loads(envelope.unverified_body)
        asked_at = datetime.fromisoformat(said["asked_at"]) if "asked_at" in said else envelope.received_at
        return Question(
            channel=CHANNEL,
            platform=said.get("platform", PLATFORM),
            conversation=said.get("conversation", CONVERSATION),
            message_id=said.get("message_id", MESSAGE),
            text=said["text"],
            asked_at=asked_at,
            purpose_named=said.get("purpose"),
        )


def envelope(text: str, said: Mapping[str, str] | None = None, *, received_at: datetime = NOW, key: bytes = CHANNEL_KEY) -> Envelope:
    """What the platform sends for a customer who types `text`; `said` adds platform, conversation, message_id, purpose or asked_at."""
    body = json.dumps({"text": text, **(said or {})}).encode()
    return Envelope(body, {"signature": hmac.digest(key, body, "sha256").hex()}, received_at)


class KeyVault:
    """One customer's key: HMAC salts and AES-GCM seals with the context as associated data."""

    def __init__(self, key: bytes = b"k" * 32) -> None:
        self.key = key

    def salt(self, nonce: bytes) -> bytes:
        return hmac.digest(self.key, nonce, "sha256")

    def seal(self, context: str, plain: bytes) -> bytes:
        nonce = sha256(plain).digest()[:12]
        return nonce + AESGCM(self.key).encrypt(nonce, plain, context.encode())

    def open(self, context: str, sealed: bytes) -> bytes:
        try:
            return AESGCM(self.key).decrypt(sealed[:12], sealed[12:], context.encode())
        except InvalidTag:
            raise Fault("a sealed text does not open") from None


@dataclass
class MemoryRecords:
    """One linked conversation, and a ledger of claims that behaves like the stored one."""

    case: CaseFile
    seen: set[tuple[str, str]] = field(default_factory=set)
    spent: dict[tuple[str, date], tuple[int, int]] = field(default_factory=dict)
    raises: Exception | None = None

    async def open_case(self, question: Question) -> CaseFile:
        if self.raises is not None:
            raise self.raises
        return self.case if question.conversation == CONVERSATION else CaseFile(customer=None)

    async def claim(self, question: Question, grant: Grant, *, day: date, rows: int) -> None:
        message = (question.conversation, question.message_id)
        answers, told = self.spent.get((grant.id, day), (0, 0))
        if message in self.seen:
            raise ReplayedMessage()
        if answers + 1 > grant.budget.answers_per_day or told + rows > grant.budget.rows_per_day:
            raise BudgetSpent()
        self.seen.add(message)
        self.spent[grant.id, day] = (answers + 1, told + rows)


@dataclass
class MemoryCredentials:
    raises: Exception | None = None
    forget_raises: Exception | None = None
    forgotten: int = 0
    fresh: BankCredential | None = None
    """What the bank gives for a credential that it refused; None: it renews nothing."""

    async def renewed(self, case: CaseFile, refused: BankCredential) -> BankCredential:
        if self.fresh is None:
            raise LinkLost()
        return self.fresh

    async def credential(self, case: CaseFile) -> BankCredential:
        if self.raises is not None:
            raise self.raises
        assert case.tokens is not None
        return BankCredential(case.tokens.access_token, case.tokens.expires_at)

    async def forget(self, case: CaseFile) -> None:
        self.forgotten += 1
        if self.forget_raises is not None:
            raise self.forget_raises


@dataclass
class ChosenBank:
    """Answers every order with the chosen statement, whatever was ordered, and keeps the orders."""

    statement: Statement
    name: str = "larkspur"
    raises: Exception | None = None
    refuses: frozenset[str] = frozenset()
    """Access tokens that it does not take."""
    orders: list[Order] = field(default_factory=list)

    async def owner(self, credential: BankCredential, interaction_id: str) -> str:
        return "owner"

    async def accounts(self, credential: BankCredential, interaction_id: str) -> tuple[LinkedAccount, ...]:
        return (CHECKING, SAVINGS)

    async def fetch(self, credential: BankCredential, order: Order) -> Statement:
        self.orders.append(order)
        if self.raises is not None:
            raise self.raises
        if credential.access_token in self.refuses:
            raise LinkLost()
        return self.statement


def checkpoint_text(origin: str, size: int, root: bytes) -> bytes:
    """c2sp.org/tlog-checkpoint: three lines, each ended by a newline."""
    return f"{origin}\n{size}\n{b64encode(root).decode()}\n".encode()


def signed_note(text: bytes, name: str, identifier: bytes, signature: bytes) -> bytes:
    """c2sp.org/signed-note with one signature line."""
    return text + f"\n\u2014 {name} {b64encode(identifier + signature).decode()}\n".encode()


def root_of(leaves: list[bytes]) -> bytes:
    """The root of RFC 6962 section 2.1, by its definition."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    middle = split(len(leaves))
    return node_hash(root_of(leaves[:middle]), root_of(leaves[middle:]))


def path_of(leaves: list[bytes], index: int) -> tuple[bytes, ...]:
    """The inclusion path of RFC 6962 section 2.1.1, the leaf's sibling first."""
    if len(leaves) == 1:
        return ()
    middle = split(len(leaves))
    if index < middle:
        return (*path_of(leaves[:middle], index), root_of(leaves[middle:]))
    return (*path_of(leaves[middle:], index - middle), root_of(leaves[:middle]))


def split(count: int) -> int:
    return 1 << ((count - 1).bit_length() - 1)


class TreeLog:
    """A release log in memory: every acknowledgement is a real path to a real signed head.

    `grants` is what the notary knows: handle to version. `fails` is "before" (nothing stands), "after" (the entry stands, the
    acknowledgement is lost) or None. `lie` turns a true promise into a false one.
    """

    def __init__(self, *, seed: bytes = b"s" * 32) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self.key.public_key().public_bytes_raw()
        self.vkey = format_vkey(LOG_NAME, public)
        self.identifier = key_id(LOG_NAME, public)
        self.entries: list[bytes] = []
        self.sides: list[bytes] = []
        self.grants: dict[bytes, int] = {}
        self.fails: str | None = None
        self.lie: Callable[[Inclusion], Inclusion] = lambda inclusion: inclusion

    async def record(self, entry: bytes, side: bytes, *, handle: bytes | None, version: int | None) -> Inclusion:
        if self.fails == "before":
            raise LogUnavailable()
        if handle is not None and self.grants.get(handle) != version:
            raise GrantRevoked()
        index = self.append(entry, side)
        if self.fails == "after":
            raise LogUnavailable()
        return self.lie(self.promise(index))

    def append(self, entry: bytes, side: bytes = b"") -> int:
        self.entries.append(entry)
        self.sides.append(side)
        return len(self.entries) - 1

    def promise(self, index: int) -> Inclusion:
        leaves = [leaf_hash(each) for each in self.entries]
        return Inclusion(index, self.head(len(leaves), root_of(leaves)), path_of(leaves, index))

    def head(self, size: int, root: bytes, *, name: str = LOG_NAME) -> bytes:
        text = checkpoint_text(name, size, root)
        return signed_note(text, name, self.identifier, self.key.sign(text))

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(entry) for entry in self.entries]


GRANT = Grant(
    id="grant-41ab77",
    handle=b"h" * 16,
    version=1,
    state=GrantState.ACTIVE,
    customer=CUSTOMER,
    platform=PLATFORM,
    channel=CHANNEL,
    purpose=Purpose.ANSWER_CUSTOMER,
    projections=frozenset(Projection),
    accounts=(CHECKING.ref, SAVINGS.ref),
    delivery=Delivery.INLINE,
    lookback_days=30,
    provenance=Provenance.ANY,
    budget=Budget(answers_per_day=50, rows_per_day=200),
    created_at=NOW - timedelta(days=3),
    expires_at=NOW + timedelta(days=87),
    text_hash="0" * 64,
    policy_digest="0" * 64,
    log_index=0,
)
TOKENS = BankTokens("token-secret", "refresh-secret", NOW + timedelta(minutes=10), None, "accounts")


def balance(account: LinkedAccount, minor: int, *, booked: int | None = None, currency: str = "USD") -> Balance:
    return Balance(account.ref, account.name, Money(minor if booked is None else booked, currency), Money(minor, currency), NOW)


def row(number: int, minor: int, merchant: str, *, days_ago: int = 1, account: LinkedAccount = CHECKING, **more: Any) -> Transaction:
    state = more.pop("state", TransactionState.BOOKED)
    return Transaction(f"row-{number}", account.ref, state, NOW.date() - timedelta(days=days_ago), Money(minor, "USD"), merchant, **more)


STATEMENT = Statement(
    balances=(balance(CHECKING, 214_387, booked=220_011), balance(SAVINGS, 1_050_099)),
    transactions=(row(1, -4_217, "Quillfeather Books"), row(2, 320_055, "Zephyr Payroll", days_ago=2), row(3, -777, "Marmot Coffee", days_ago=4)),
    fetched_at=NOW,
    interaction_id="00000000-0000-4000-8000-000000000000",
)

IDENTITY = (CUSTOMER, CONVERSATION, MESSAGE, GRANT.id, GRANT.handle.hex(), "token-secret", "Everyday Checking", "Rainy Day", "6789", "4321")
FIGURES = ("2143", "214387", "2200", "220011", "10500", "1050099", "4217", "42.17", "320055", "3200", "777", "7.77")
MERCHANTS = ("Quillfeather", "Zephyr", "Marmot")
PRIVATE_WORDS = (*IDENTITY, *FIGURES, *MERCHANTS, "ref-checking", "ref-savings")
"""Nothing of this may stand in a public entry or in a printed refusal. (The commitment is removed before the search: it is random text.)"""


@dataclass
class Town:
    """The house with everything beside it, for a test to turn."""

    clock: Clock
    records: MemoryRecords
    credentials: MemoryCredentials
    bank: ChosenBank
    log: TreeLog
    policy: Policy
    house: House
    channel: SignedChannel

    async def ask(self, text: str, **said: str) -> Any:
        """One walk along the road."""
        return await release(envelope(text, said, received_at=self.clock.now), self.channel, self.house)

    def change_case(self, **changes: Any) -> None:
        self.records.case = replace(self.records.case, **changes)

    def change_grant(self, **changes: Any) -> None:
        """The customer's only grant, changed; the notary knows the same version."""
        grant = msgspec.structs.replace(self.records.case.grants[0], **changes)
        self.log.grants[grant.handle] = grant.version
        self.change_case(grants=(grant,))

    def change_policy(self, path: Path, text: str) -> None:
        self.policy = policy_from(path, text)
        self.house = replace(self.house, policy=lambda: self.policy)

    def public_texts(self) -> Iterator[str]:
        """The entries as everyone may read them, without the random commitment and digests."""
        for entry in self.log.read():
            yield json.dumps({name: value for name, value in entry.items() if name not in ("c", "pol", "rule")})


def policy_from(directory: Path, text: str = POLICY, particulars: str = PARTICULARS) -> Policy:
    (directory / "particulars.toml").write_text(particulars)
    (directory / "policy.cedar").write_text(text)
    return load_policy(directory)


def seeded_bytes(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def build_town(directory: Path, *, offerings: Mapping[str, Offering] | None = None, seed: int = 7) -> Town:
    """A customer with two accounts and one grant over everything, on the bank's own chat."""
    clock, log, bank = Clock(), TreeLog(), ChosenBank(STATEMENT)
    records = MemoryRecords(CaseFile(CUSTOMER, (GRANT,), "larkspur", (CHECKING, SAVINGS), TOKENS, KeyVault()))
    credentials, policy = MemoryCredentials(), policy_from(directory)
    log.grants[GRANT.handle] = GRANT.version
    open_for = dict(offerings or load_offerings(("afford", "balance", "transactions")))
    ticks = iter(range(10**9))
    house = House(
        offerings=open_for,
        cards=tuple(OfferingCard(each.name, each.title, each.examples) for each in open_for.values()),
        understanding=KeywordUnderstanding(),
        records=records,
        credentials=credentials,
        banks={"larkspur": bank},
        log=log,
        guard=TurnedGuard(),
        verifier=Verifier(log.vkey),
        policy=lambda: policy,
        clock=clock,
        random_bytes=seeded_bytes(seed),
        time_zone=ZoneInfo("America/New_York"),
        timer=lambda: float(next(ticks)),
    )
    return Town(clock, records, credentials, bank, log, policy, house, SignedChannel())


def forged_head(log: TreeLog, size: int, root: bytes) -> bytes:
    """A head signed with somebody else's key under the log's name and key id."""
    text = checkpoint_text(LOG_NAME, size, root)
    stranger = Ed25519PrivateKey.from_private_bytes(b"x" * 32)
    return signed_note(text, LOG_NAME, log.identifier, stranger.sign(text))


def unsigned_head(log: TreeLog, size: int, root: bytes) -> bytes:
    """A head whose signature is all zeros."""
    return signed_note(checkpoint_text(LOG_NAME, size, root), LOG_NAME, log.identifier, b"\0" * 64)
