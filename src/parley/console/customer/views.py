"""What the pages show, worked out of grants and ledger lines: plain words and numbers, ready for the templates, which only lay them out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from parley.consent import ends_at, reminder_due
from parley.console.customer.exposure import learned
from parley.model.customers import LedgerLine, SignIn, SignInMethod, Spent, StoredPasskey
from parley.model.grants import Grant, GrantState
from parley.model.ledger import AccountStatus, LinkedAccount
from parley.model.plain_words import CHANNEL_WORDS, DELIVERY_WORDS, PROVENANCE_WORDS, PURPOSE_WORDS, account_words, capitalised, days_words
from parley.model.strangers import clean

STATE_WORDS = {
    GrantState.ACTIVE: "May ask",
    GrantState.PAUSED: "Paused",
    GrantState.REVOKED: "Stopped",
    GrantState.EXPIRED: "Ended",
}


@dataclass(frozen=True, slots=True)
class GrantView:
    """One grant in plain words."""

    id: str
    version: int
    state: str
    live: bool
    paused: bool
    purpose: str
    projections: tuple[str, ...]
    accounts: tuple[str, ...] = field(repr=False)
    delivery: str
    lookback: str
    provenance: str
    given: datetime
    until: datetime
    answers_left: int
    answers_a_day: int
    rows_left: int
    rows_a_day: int
    log_index: int | None
    ends_soon: bool


@dataclass(frozen=True, slots=True)
class PlatformView:
    """One platform: what it may ask, and what it has learned."""

    platform: str
    title: str
    channel: str
    state: str
    grants: tuple[GrantView, ...]
    past: tuple[GrantView, ...]
    learned: tuple[tuple[str, int], ...]
    answers: int
    last: datetime | None

    @property
    def live(self) -> bool:
        return any(grant.live for grant in self.grants)

    @property
    def paused(self) -> bool:
        return any(grant.paused for grant in self.grants)

    @property
    def ends_soon(self) -> tuple[GrantView, ...]:
        return tuple(grant for grant in self.grants if grant.ends_soon)


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """One release of the ledger."""

    number: int
    at: datetime
    title: str
    what: str
    purpose: str
    records: int
    log_index: int


@dataclass(frozen=True, slots=True)
class AccountView:
    ref: str
    name: str = field(repr=False)
    bank_words: str = field(repr=False)
    nickname: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PasskeyView:
    id: str
    name: str
    added: datetime
    used: datetime | None


@dataclass(frozen=True, slots=True)
class SignInView:
    id: str
    device: str
    method: str
    since: datetime
    seen: datetime
    here: bool


def platform_views(
    grants: Sequence[Grant],
    lines: Iterable[LedgerLine],
    accounts: Sequence[LinkedAccount],
    spent: Mapping[str, Spent],
    title: Callable[[str], str],
    now: datetime,
) -> tuple[PlatformView, ...]:
    """Platforms that may ask first, then those that could once, each by its name."""
    names = {account.ref: account_words(account)[0] for account in accounts}
    told: dict[str, list[LedgerLine]] = {}
    for line in lines:
        told.setdefault(line.disclosed.platform, []).append(line)
    platforms = {grant.platform for grant in grants} | told.keys()
    views = [
        _platform(each, [grant for grant in grants if grant.platform == each], told.get(each, []), names, spent, title, now) for each in platforms
    ]
    return tuple(sorted(views, key=lambda view: (not view.live, not view.paused, view.title.casefold(), view.platform)))


def _platform(
    platform: str,
    grants: Sequence[Grant],
    lines: Sequence[LedgerLine],
    names: Mapping[str, str],
    spent: Mapping[str, Spent],
    title: Callable[[str], str],
    now: datetime,
) -> PlatformView:
    views = [grant_view(grant, names, spent.get(grant.id), now) for grant in sorted(grants, key=lambda each: each.created_at, reverse=True)]
    standing = tuple(view for view in views if view.live or view.paused)
    state = "May ask" if any(view.live for view in standing) else "Paused" if standing else "May not ask"
    channels = sorted({CHANNEL_WORDS.get(grant.channel, grant.channel) for grant in grants} or {CHANNEL_WORDS.get(lines[0].disclosed.channel, "")})
    return PlatformView(
        platform=platform,
        title=title_words(title(platform), platform),
        channel=", ".join(channels),
        state=state,
        grants=standing,
        past=tuple(view for view in views if view not in standing),
        learned=learned(line.disclosed for line in lines),
        answers=len(lines),
        last=max((line.disclosed.at for line in lines), default=None),
    )


def grant_view(grant: Grant, names: Mapping[str, str], spent: Spent | None, now: datetime) -> GrantView:
    state = state_at(grant, now)
    used = spent or Spent(0, 0)
    until = ends_at(grant)
    return GrantView(
        id=grant.id,
        version=grant.version,
        state=STATE_WORDS[state],
        live=state is GrantState.ACTIVE,
        paused=state is GrantState.PAUSED,
        purpose=PURPOSE_WORDS[grant.purpose],
        projections=tuple(capitalised(each.plain_words) for each in sorted(grant.projections)),
        accounts=tuple(names.get(ref, "An account that is no longer linked") for ref in grant.accounts),
        delivery=DELIVERY_WORDS[grant.delivery],
        lookback=days_words(grant.lookback_days),
        provenance=PROVENANCE_WORDS[grant.provenance],
        given=grant.created_at,
        until=until,
        answers_left=max(grant.budget.answers_per_day - used.answers, 0),
        answers_a_day=grant.budget.answers_per_day,
        rows_left=max(grant.budget.rows_per_day - used.rows, 0),
        rows_a_day=grant.budget.rows_per_day,
        log_index=grant.log_index,
        ends_soon=reminder_due(grant, now),
    )


def state_at(grant: Grant, now: datetime) -> GrantState:
    """A grant whose time is over has ended, whatever its row says."""
    return GrantState.EXPIRED if grant.state.stands and now >= ends_at(grant) else grant.state


def release_views(lines: Iterable[LedgerLine], title: Callable[[str], str]) -> tuple[ReleaseView, ...]:
    return tuple(
        ReleaseView(
            number=line.number,
            at=line.disclosed.at,
            title=title_words(title(line.disclosed.platform), line.disclosed.platform),
            what=capitalised(line.disclosed.projection.plain_words),
            purpose=PURPOSE_WORDS[line.disclosed.purpose],
            records=line.disclosed.records,
            log_index=line.disclosed.log_index,
        )
        for line in lines
    )


def account_views(accounts: Iterable[LinkedAccount], nicknames: Mapping[str, str]) -> tuple[AccountView, ...]:
    return tuple(
        AccountView(account.ref, *account_words(account), nicknames.get(account.ref, ""))
        for account in accounts
        if account.status is not AccountStatus.CLOSED
    )


def passkey_views(passkeys: Iterable[StoredPasskey]) -> tuple[PasskeyView, ...]:
    return tuple(PasskeyView(sha256(each.credential_id).hexdigest(), clean(each.name), each.created_at, each.used_at) for each in passkeys)


def sign_in_views(sign_ins: Iterable[SignIn], here: SignIn) -> tuple[SignInView, ...]:
    words = {SignInMethod.PASSKEY: "with a passkey", SignInMethod.BANK: "at your bank"}
    return tuple(
        SignInView(public_id(each), each.device, words[each.method], each.signed_in_at, each.seen_at, each.token_hash == here.token_hash)
        for each in sign_ins
    )


def public_id(sign_in: SignIn) -> str:
    """By which a sign-in is named on its own list: it opens nothing."""
    return sha256(b"parley/v1/sign-in\0" + sign_in.token_hash).hexdigest()[:32]


def title_words(title: str, platform: str) -> str:
    """A platform's own word about itself, made harmless; its registered name where nothing is left."""
    return clean(title) or clean(platform) or "A platform"
