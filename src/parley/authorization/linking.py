"""Linking: from "link my account" over the bank's own page to a decision on the consent page. No HTTP in here, no data leaves by here.

    set_out -> (bank's page) -> come_back -> show -> decide

Each step hands the next a secret that works once and only in the browser that started. An errand goes along the whole way: who asks, for
what, and where the browser goes afterwards. What the customer decides goes to the errand's ending, which makes the grant and records it;
this module never makes one.
"""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from parley.authorization.consent_text import ConsentOffer, ConsentText, consent_text
from parley.authorization.ports import BankDoor, LinkRecords
from parley.authorization.sessions import Presented, Sessions, hash_token
from parley.model.grants import BankTokens
from parley.model.ledger import Discreet
from parley.model.linking import ConsentAttempt, Errand, LinkAttempt, Origin
from parley.model.refusals import BadInput, Fault, LinkExpired, NotConsented, Refusal
from parley.model.words import Projection

CONSENT_LIFE = timedelta(minutes=15)
TOKEN_BYTES = 32
WISH_CHARS_MAX = 64
STATE_CHARS_MAX = 512
OWN_PAGE = "/me"
UNDECIDED = "Nothing has been decided yet. Please press “Allow” or “Don't allow”."


class Approval(Discreet, frozen=True):
    """What the customer agreed to, as she ticked it, within what she was offered.

    `text_hash` SHA-256 (hex) of the text she saw; `days` from `decided_at` (UTC).
    """

    customer: str
    errand: Errand
    offer: ConsentOffer
    conversation: str
    accounts: tuple[str, ...]
    projections: frozenset[Projection]
    lookback_days: int
    days: int
    text_hash: str
    decided_at: datetime

    @property
    def platform(self) -> str:
        return self.errand.platform

    @property
    def channel(self) -> str:
        return self.errand.channel

    @property
    def wish(self) -> str | None:
        return self.errand.wish


class Ending(Protocol):
    """What becomes of a decision, for one kind of errand. Each returns the address that the browser goes to, None for the usual place."""

    async def allowed(self, approval: Approval) -> str | None:
        """Make it true and record it. Raises a Fault, and then nothing was granted."""

    async def denied(self, errand: Errand) -> str | None:
        """She said no, here or at her bank."""


@dataclass(frozen=True, slots=True)
class Onward:
    """Where the browser goes next: to the bank, or with a `token` to the consent page, because the customer is known already."""

    url: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Back:
    """The browser is back from the bank: who she is, None where nothing of hers is kept, and the token of the consent page that waits, if any."""

    customer: str | None
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that was made: in which session, about which errand, and where the errand's ending sends the browser, if anywhere."""

    presented: Presented
    errand: Errand
    allowed: bool
    address: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ConsentPage:
    """The page to show, and the secrets that make its form work once: `token` for a Lax cookie, `seal` for a Strict one, `once` for the form."""

    text: ConsentText
    presented: Presented
    errand: Errand
    token: str = field(repr=False)
    ticked: frozenset[str] = frozenset()
    lookback: int = 0
    days: int = 0
    problem: str | None = None

    @property
    def once(self) -> str:
        return _derived(self.token, b"form")

    @property
    def seal(self) -> str:
        return _derived(self.token, b"cookie")

    @property
    def leads_to(self) -> str:
        """The origin that a decision leads the browser to, beside our own; empty where it stays here. For this page's form-action alone."""
        return leads_to(self.errand.return_to)


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
    lookback: str
    days: str


class ShowAgain(Exception):
    """The decision cannot stand as it came: here is the page again, with what is missing."""

    def __init__(self, page: ConsentPage, code: str, *, is_fault: bool = False) -> None:
        super().__init__(code)
        self.page = page
        self.code = code
        self.is_fault = is_fault


class DeclinedAtBank(NotConsented):
    """She said no on the bank's own page. `ended` says of which errand, and where it sends the browser."""

    def __init__(self, ended: Decided) -> None:
        super().__init__("declined at the bank")
        self.ended = ended


class LinkingDesk:
    """Takes one customer through linking.

    `home` is the errand of the house's own chat; `offers` says what the bank lets a customer agree to on an errand (it may raise a
    Refusal); `endings` what becomes of the decision, for each origin that this house has doors for.
    """

    def __init__(
        self,
        *,
        records: LinkRecords,
        sessions: Sessions,
        door: BankDoor,
        home: Errand,
        offers: Callable[[Errand], ConsentOffer],
        endings: Mapping[Origin, Ending],
        clock: Callable[[], datetime],
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._records = records
        self._sessions = sessions
        self._door = door
        self._home = home
        self._offers = offers
        self._endings = endings
        self._clock = clock
        self._chance = chance

    def chat_errand(self, wish: str | None) -> Errand:
        """The house's own chat asks. A wish that nothing answers to is forgotten."""
        known = wish if wish in self._offers(self._home).needed_for else None
        return msgspec.structs.replace(self._home, wish=known)

    async def set_out(self, presented: Presented, errand: Errand, customer: str | None = None) -> Onward:
        """Begin a trip to the bank, or go straight to the consent page where her bank still lets us read.

        `customer`: who has signed in on this very browser, None where nobody has. Raises a Refusal where the errand may not be run.
        """
        if errand.origin is not Origin.SIGN_IN:
            self._offers(errand)
        if customer is not None and errand.origin is not Origin.SIGN_IN and await self._records.bank_tokens(customer) is not None:
            return Onward("/consent", await self._wait(presented, customer, errand, text_hash=""))
        trip = await self._door.begin()
        attempt = LinkAttempt(hash_token(trip.state), presented.session.token_hash, self._door.name, trip.verifier, errand, trip.expires_at)
        await self._records.add_attempt(attempt)
        return Onward(trip.url)

    async def come_back(self, candidates: Sequence[Presented], params: Sequence[tuple[str, str]]) -> Back:
        """The browser is back from the bank, and a consent page waits. Raises LinkExpired, another Refusal, or a Fault.

        `candidates`: the sessions that this browser presents. The trip must belong to one of them, or an attacker could have her own
        trip finished in somebody else's browser, and the other way round. Raises DeclinedAtBank when she said no there.
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
        try:
            tokens = await self._door.finish(params, state, attempt.verifier)
        except NotConsented:
            raise DeclinedAtBank(await self._denied(presented, attempt.errand)) from None
        # 4. Who is it at the bank, and which accounts did she choose there?
        owner = await self._door.owner(tokens)
        if attempt.errand.origin is Origin.SIGN_IN:
            # A sign-in needs no access to accounts: what the bank gave along with it is given back at once.
            await self._give_back(tokens)
            return Back(await self._records.customer_at(self._door.name, owner))
        accounts = await self._door.accounts(tokens)
        if not accounts:
            await self._give_back(tokens)
            raise BadInput("choice_missing", "no account was chosen at the bank")
        customer = await self._records.save_bank_link(self._door.name, owner, tokens, accounts)
        # 5. A consent page waits for her in this session.
        return Back(customer, await self._wait(presented, customer, attempt.errand, text_hash=""))

    async def show(self, candidates: Sequence[Presented], token: str | None) -> ConsentPage:
        """The consent page. Showing it uses its token up and makes the next one, so that only the page shown last can be answered."""
        attempt, presented = await self._take(candidates, token)
        return await self._page(presented, attempt.customer, attempt.errand)

    async def decide(self, candidates: Sequence[Presented], decision: Decision) -> Decided:
        """The customer's decision, made true.

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
        text = await self._text(attempt.customer, attempt.errand)
        if not _same(decision.text_hash, attempt.text_hash) or not _same(attempt.text_hash, text.hash):
            raise BadInput("form_stale", "the text changed")
        # 4. No means no: the bank's tokens go, unless other grants live on them.
        if decision.answer == "deny":
            await self._decline(attempt.customer)
            return await self._denied(presented, attempt.errand)
        # 5. Only what was on the page can be chosen.
        approval = await self._approval(presented, attempt, decision, text)
        # 6. The house makes the grant and records it. When it cannot, nothing was allowed, and she may try again.
        try:
            address = await self._ending(attempt.errand).allowed(approval)
        except Fault as fault:
            raise await self._again(presented, attempt, decision, fault.plain_words, fault.code, is_fault=True) from None
        return Decided(presented, attempt.errand, True, address)

    async def _denied(self, presented: Presented, errand: Errand) -> Decided:
        if errand.origin is Origin.SIGN_IN:
            return Decided(presented, errand, False, OWN_PAGE)
        return Decided(presented, errand, False, await self._ending(errand).denied(errand))

    def _ending(self, errand: Errand) -> Ending:
        ending = self._endings.get(errand.origin)
        if ending is None:
            raise LinkExpired("no door for this kind of errand any more")
        return ending

    async def _approval(self, presented: Presented, attempt: ConsentAttempt, decision: Decision, text: ConsentText) -> Approval:
        accounts = _chosen(decision.accounts, (choice.value for choice in text.accounts))
        projections = _chosen(decision.projections, (choice.value for choice in text.projections))
        days = _chosen((decision.days,), (choice.value for choice in text.durations))
        lookback = _chosen((decision.lookback,), (choice.value for choice in text.lookbacks))
        if decision.answer == "undecided":
            raise await self._again(presented, attempt, decision, UNDECIDED, "choice_missing")
        if not accounts or not projections:
            missing = BadInput("choice_missing")
            raise await self._again(presented, attempt, decision, missing.plain_words, missing.code)
        return Approval(
            customer=attempt.customer,
            errand=attempt.errand,
            offer=self._offers(attempt.errand),
            conversation=attempt.errand.conversation or presented.conversation,
            accounts=accounts,
            projections=frozenset(Projection(value) for value in projections),
            lookback_days=int(lookback[0]),
            days=int(days[0]),
            text_hash=text.hash,
            decided_at=self._clock(),
        )

    async def _again(
        self, presented: Presented, attempt: ConsentAttempt, decision: Decision, problem: str, code: str, *, is_fault: bool = False
    ) -> ShowAgain:
        ticked = frozenset(decision.accounts) | frozenset(decision.projections)
        chosen = (int(decision.lookback), int(decision.days))
        page = await self._page(presented, attempt.customer, attempt.errand, ticked=ticked, chosen=chosen, problem=problem)
        return ShowAgain(page, code, is_fault=is_fault)

    async def _page(
        self,
        presented: Presented,
        customer: str,
        errand: Errand,
        *,
        ticked: frozenset[str] = frozenset(),
        chosen: tuple[int, int] | None = None,
        problem: str | None = None,
    ) -> ConsentPage:
        text = await self._text(customer, errand)
        token = await self._wait(presented, customer, errand, text_hash=text.hash)
        offer = self._offers(errand)
        lookback, days = chosen or (offer.lookback_default or offer.lookback_days, offer.days_default)
        return ConsentPage(text, presented, errand, token, ticked, lookback, days, problem)

    async def _text(self, customer: str, errand: Errand) -> ConsentText:
        return consent_text(self._offers(errand), await self._records.bank_accounts(customer), errand.wish)

    async def _wait(self, presented: Presented, customer: str, errand: Errand, *, text_hash: str) -> str:
        token = urlsafe_b64encode(self._chance(TOKEN_BYTES)).rstrip(b"=").decode()
        until = self._clock() + CONSENT_LIFE
        await self._records.add_consent_attempt(ConsentAttempt(hash_token(token), presented.session.token_hash, customer, errand, text_hash, until))
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
        """She said no after signing in at the bank: keep no access that nothing needs. The bank is asked to end it until it does."""
        await self._records.let_go(customer, self._clock())

    async def _give_back(self, tokens: BankTokens) -> None:
        """Ask the bank to end its tokens. Where it cannot, they run out there by themselves; we keep no copy either way."""
        with suppress(Refusal, Fault):
            await self._door.revoke(tokens)


def leads_to(address: str) -> str:
    """What a Content-Security-Policy calls the place of an address: its origin, or the scheme of an app's own; empty for none."""
    parts = urlsplit(address)
    if parts.scheme in ("https", "http"):
        # Whatever else an address may hold, nothing in a policy may begin a directive of its own.
        return f"{parts.scheme}://{parts.netloc}" if re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", parts.netloc) else ""
    return f"{parts.scheme}:" if parts.scheme else ""


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
