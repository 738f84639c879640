"""Linking: from "link my account" over the bank's own page to a decision on the consent page. No HTTP in here, no data leaves by here.

    set_out -> (bank's page) -> come_back -> show -> decide

Each step hands the next a secret that works once and only in the browser that started. What the customer decides goes to `approve`,
which makes the grant and records it; this module never makes one.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal, Protocol

from parley.authorization.consent_text import ConsentOffer, ConsentText, consent_text
from parley.authorization.ports import LinkRecords, SessionRecords
from parley.authorization.sessions import Presented, Sessions, hash_token
from parley.model.grants import BankTokens
from parley.model.ledger import Discreet, LinkedAccount
from parley.model.linking import ConsentAttempt, LinkAttempt, Pairing
from parley.model.refusals import BadInput, Fault, LinkExpired, Refusal
from parley.model.words import Projection

CONSENT_LIFE = timedelta(minutes=15)
PAIRING_LIFE = timedelta(minutes=10)
TOKEN_BYTES = 32
WISH_CHARS_MAX = 64
STATE_CHARS_MAX = 512
UNDECIDED = "Nothing has been decided yet. Please press “Allow” or “Don't allow”."


class BankTrip(Protocol):
    """A trip to the bank's own page: where to, the OAuth state, the PKCE verifier, and until when (UTC) it may come back."""

    @property
    def url(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def verifier(self) -> str: ...
    @property
    def expires_at(self) -> datetime: ...


class BankDoor(Protocol):
    """The bank as linking needs it: its OAuth server and the two reads that say who came back and with which accounts.

    Every method raises a Refusal or a Fault of parley.model.refusals and nothing else.
    """

    @property
    def name(self) -> str: ...

    async def begin(self) -> BankTrip: ...

    async def finish(self, params: Sequence[tuple[str, str]], state: str, verifier: str) -> BankTokens:
        """`params` as they came back, repetitions included; checks `iss` before anything else, on errors too.

        Raises NotConsented when the customer said no at the bank.
        """

    async def owner(self, tokens: BankTokens) -> str: ...

    async def accounts(self, tokens: BankTokens) -> tuple[LinkedAccount, ...]: ...

    async def revoke(self, tokens: BankTokens) -> None: ...


class Approval(Discreet, frozen=True):
    """What the customer agreed to, as she ticked it. `text_hash` SHA-256 (hex) of the text she saw; `days` from `decided_at` (UTC)."""

    customer: str
    channel: str
    conversation: str
    accounts: tuple[str, ...]
    projections: frozenset[Projection]
    days: int
    text_hash: str
    wish: str | None
    decided_at: datetime


Approve = Callable[[Approval], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ConsentPage:
    """The page to show, and the secrets that make its form work once: `token` for a Lax cookie, `seal` for a Strict one, `once` for the form."""

    text: ConsentText
    presented: Presented
    token: str = field(repr=False)
    ticked: frozenset[str] = frozenset()
    days: int = 0
    problem: str | None = None

    @property
    def once(self) -> str:
        return _derived(self.token, b"form")

    @property
    def seal(self) -> str:
        return _derived(self.token, b"cookie")


@dataclass(frozen=True, slots=True)
class Decision:
    """The consent form as it came. `token` and `seal` from the cookies, everything else from the form.

    `answer` is "allow", "deny", or "undecided" for a form that was sent by the Enter key and not by one of the buttons.
    """

    token: str = field(repr=False)
    seal: str = field(repr=False)
    once: str = field(repr=False)
    csrf: str = field(repr=False)
    text_hash: str
    answer: Literal["allow", "deny", "undecided"]
    accounts: tuple[str, ...]
    projections: tuple[str, ...]
    days: str


class ShowAgain(Exception):
    """The decision cannot stand as it came: here is the page again, with what is missing."""

    def __init__(self, page: ConsentPage, code: str, *, is_fault: bool = False) -> None:
        super().__init__(code)
        self.page = page
        self.code = code
        self.is_fault = is_fault


class LinkingDesk:
    """Takes one customer through linking. `offer` and `approve` belong to the bank that runs the house."""

    def __init__(
        self,
        *,
        records: LinkRecords,
        sessions: Sessions,
        door: BankDoor,
        offer: ConsentOffer,
        approve: Approve,
        clock: Callable[[], datetime],
        channel: str = "web",
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._records = records
        self._sessions = sessions
        self._door = door
        self._offer = offer
        self._approve = approve
        self._clock = clock
        self._channel = channel
        self._chance = chance

    @property
    def offer(self) -> ConsentOffer:
        return self._offer

    async def set_out(self, presented: Presented, wish: str | None) -> str:
        """Begin a trip. Returns the address at the bank to send the browser to."""
        trip = await self._door.begin()
        known = wish if wish in self._offer.needed_for else None
        attempt = LinkAttempt(hash_token(trip.state), presented.session.token_hash, self._door.name, trip.verifier, known, trip.expires_at)
        await self._records.add_attempt(attempt)
        return trip.url

    async def come_back(self, candidates: Sequence[Presented], params: Sequence[tuple[str, str]]) -> str:
        """The browser is back from the bank. Returns the token of a consent page; raises LinkExpired, another Refusal, or a Fault.

        `candidates`: the sessions that this browser presents. The trip must belong to one of them, or an attacker could have her own
        trip finished in somebody else's browser, and the other way round.
        """
        # 1. Whose trip is it? Reading it also uses it up.
        state = _only(params, "state")
        attempt = await self._records.take_attempt(hash_token(state), self._clock())
        if attempt is None or attempt.bank != self._door.name:
            raise LinkExpired("no such attempt")
        # 2. It belongs to this browser.
        presented = _bound(candidates, attempt.session_hash)
        if presented is None:
            raise LinkExpired("started in another session")
        # 3. The bank's answer is its own, and the code becomes tokens.
        tokens = await self._door.finish(params, state, attempt.verifier)
        # 4. Who is it at the bank, and which accounts did she choose there?
        owner = await self._door.owner(tokens)
        accounts = await self._door.accounts(tokens)
        if not accounts:
            await self._give_back(tokens)
            raise BadInput("choice_missing", "no account was chosen at the bank")
        customer = await self._records.save_bank_link(self._door.name, owner, tokens, accounts)
        # 5. A consent page waits for her in this session.
        return await self._wait(presented, customer, attempt.wish, text_hash="")

    async def show(self, candidates: Sequence[Presented], token: str | None) -> ConsentPage:
        """The consent page. Showing it uses its token up and makes the next one, so that only the page shown last can be answered."""
        attempt, presented = await self._take(candidates, token)
        return await self._page(presented, attempt.customer, attempt.wish)

    async def decide(self, candidates: Sequence[Presented], decision: Decision) -> Presented | None:
        """The customer's decision. Returns the session that it was made in when she allowed, None when she did not.

        Raises BadInput("form_stale") for a form that is not the page shown last, ShowAgain when a choice is missing or recording failed.
        """
        # 1. The form is ours, from this page, in this browser. Checked before the attempt is used up, so that a forgery cannot burn it.
        if not _same(decision.once, _derived(decision.token, b"form")) or not _same(decision.seal, _derived(decision.token, b"cookie")):
            raise BadInput("form_stale", "form and cookies do not belong together")
        if not any(_same(decision.csrf, candidate.csrf) for candidate in candidates):
            raise BadInput("form_stale", "csrf")
        # 2. It is answered for the first time, by the session that it was shown to.
        attempt, presented = await self._take(candidates, decision.token)
        # 3. The text has not changed between display and decision.
        text = await self._text(attempt.customer, attempt.wish)
        if not _same(decision.text_hash, attempt.text_hash) or not _same(attempt.text_hash, text.hash):
            raise BadInput("form_stale", "the text changed")
        # 4. No means no: the bank's tokens go, unless other grants live on them.
        if decision.answer == "deny":
            await self._decline(attempt.customer)
            return None
        # 5. Only what was on the page can be chosen.
        approval = await self._approval(presented, attempt, decision, text)
        # 6. The house makes the grant and records it. When it cannot, nothing was allowed, and she may try again.
        try:
            await self._approve(approval)
        except Fault as fault:
            raise await self._again(presented, attempt, decision, fault.plain_words, fault.code, is_fault=True) from None
        return presented

    async def _approval(self, presented: Presented, attempt: ConsentAttempt, decision: Decision, text: ConsentText) -> Approval:
        accounts = _chosen(decision.accounts, (choice.value for choice in text.accounts))
        projections = _chosen(decision.projections, (choice.value for choice in text.projections))
        days = _chosen((decision.days,), (choice.value for choice in text.durations))
        if decision.answer == "undecided":
            raise await self._again(presented, attempt, decision, UNDECIDED, "choice_missing")
        if not accounts or not projections:
            missing = BadInput("choice_missing")
            raise await self._again(presented, attempt, decision, missing.plain_words, missing.code)
        return Approval(
            customer=attempt.customer,
            channel=self._channel,
            conversation=presented.conversation,
            accounts=accounts,
            projections=frozenset(Projection(value) for value in projections),
            days=int(days[0]),
            text_hash=text.hash,
            wish=attempt.wish,
            decided_at=self._clock(),
        )

    async def _again(
        self, presented: Presented, attempt: ConsentAttempt, decision: Decision, problem: str, code: str, *, is_fault: bool = False
    ) -> ShowAgain:
        ticked = frozenset(decision.accounts) | frozenset(decision.projections)
        page = await self._page(presented, attempt.customer, attempt.wish, ticked=ticked, days=int(decision.days), problem=problem)
        return ShowAgain(page, code, is_fault=is_fault)

    async def _page(
        self,
        presented: Presented,
        customer: str,
        wish: str | None,
        *,
        ticked: frozenset[str] = frozenset(),
        days: int | None = None,
        problem: str | None = None,
    ) -> ConsentPage:
        text = await self._text(customer, wish)
        token = await self._wait(presented, customer, wish, text_hash=text.hash)
        return ConsentPage(text, presented, token, ticked, self._offer.days_default if days is None else days, problem)

    async def _text(self, customer: str, wish: str | None) -> ConsentText:
        return consent_text(self._offer, await self._records.bank_accounts(customer), wish)

    async def _wait(self, presented: Presented, customer: str, wish: str | None, *, text_hash: str) -> str:
        token = urlsafe_b64encode(self._chance(TOKEN_BYTES)).rstrip(b"=").decode()
        until = self._clock() + CONSENT_LIFE
        await self._records.add_consent_attempt(ConsentAttempt(hash_token(token), presented.session.token_hash, customer, wish, text_hash, until))
        return token

    async def _take(self, candidates: Sequence[Presented], token: str | None) -> tuple[ConsentAttempt, Presented]:
        if not token or len(token) > STATE_CHARS_MAX:
            raise BadInput("form_stale", "no consent page waits here")
        attempt = await self._records.take_consent_attempt(hash_token(token), self._clock())
        if attempt is None:
            raise BadInput("form_stale", "expired or answered")
        presented = _bound(candidates, attempt.session_hash)
        if presented is None:
            raise BadInput("form_stale", "shown to another session")
        return attempt, presented

    async def _decline(self, customer: str) -> None:
        """She said no after signing in at the bank: keep no access that nothing needs. Ours ends first; the bank's end may fail."""
        if await self._records.grants_of(customer, active_only=True, now=self._clock()):
            return
        held = await self._records.bank_tokens(customer)
        await self._records.mark_link_lost(customer)
        if held is not None:
            await self._give_back(held[1])

    async def _give_back(self, tokens: BankTokens) -> None:
        """Ask the bank to end its tokens. Where it cannot, they run out there by themselves; we keep no copy either way."""
        with suppress(Refusal, Fault):
            await self._door.revoke(tokens)


class PairingDesk:
    """Lets a terminal, which has no browser, be linked through one. The customer types the number that only her terminal shows.

    The danger is a stranger who runs a terminal and sends its address to a victim: whoever confirms gives that terminal answers. So the
    page says what it is about to do, never shows the number itself, and a wrong number ends the pairing.
    """

    def __init__(
        self,
        *,
        records: LinkRecords,
        session_records: SessionRecords,
        sessions: Sessions,
        clock: Callable[[], datetime],
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._records = records
        self._session_records = session_records
        self._sessions = sessions
        self._clock = clock
        self._chance = chance

    async def offer(self, terminal: Presented) -> tuple[str, str]:
        """A pairing for this terminal: (token for the address, number of six digits for the terminal's screen)."""
        token = urlsafe_b64encode(self._chance(TOKEN_BYTES)).rstrip(b"=").decode()
        number = f"{int.from_bytes(self._chance(8), 'big') % 1_000_000:06d}"
        await self._records.add_pairing(Pairing(hash_token(token), terminal.session.token_hash, number, self._clock() + PAIRING_LIFE))
        return token, number

    async def waits(self, token: str) -> bool:
        return len(token) <= STATE_CHARS_MAX and await self._records.peek_pairing(hash_token(token), self._clock()) is not None

    async def confirm(self, token: str, number: str) -> Presented:
        """A short session of this browser in the terminal's conversation, for linking only. Raises LinkExpired for a wrong number too."""
        pairing = await self._records.take_pairing(hash_token(token), self._clock()) if len(token) <= STATE_CHARS_MAX else None
        digits = "".join(character for character in number if character in "0123456789")
        if pairing is None or not _same(digits, pairing.number):
            raise LinkExpired("no such pairing, or another number")
        terminal = await self._session_records.find_session(pairing.session_hash, self._clock())
        if terminal is None:
            raise LinkExpired("the terminal's session has ended")
        return await self._sessions.start(terminal.conversation, life=PAIRING_LIFE + CONSENT_LIFE)


def _bound(candidates: Iterable[Presented], session_hash: bytes) -> Presented | None:
    return next((each for each in candidates if hmac.compare_digest(each.session.token_hash, session_hash)), None)


def _only(params: Sequence[tuple[str, str]], name: str) -> str:
    values = [value for key, value in params if key == name]
    if len(values) != 1 or not values[0] or len(values[0]) > STATE_CHARS_MAX:
        raise LinkExpired(f"{name} is missing, repeated or too long")
    return values[0]


def _chosen(values: Sequence[str], offered: Iterable[str]) -> tuple[str, ...]:
    """The chosen values, each once. Anything that was not on the page is a form of somebody else's making."""
    allowed = tuple(offered)
    if not set(values) <= set(allowed):
        raise BadInput("form_stale", "a choice that was not offered")
    return tuple(value for value in allowed if value in values)


def _derived(token: str, use: bytes) -> str:
    return hmac.new(token.encode(), use, sha256).hexdigest()


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())
