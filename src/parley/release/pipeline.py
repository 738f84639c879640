"""From a stranger's envelope to a proven answer, in eight steps, straight down. Data leaves by this road and by no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import PurePath
from traceback import extract_tb
from typing import TypeAlias

from parley.consent import check_consent, check_still_live, is_live
from parley.model.extensions import Bank, Channel, Offering, OfferingCard, Order, Understanding, Understood
from parley.model.grants import Grant
from parley.model.ledger import Statement
from parley.model.marks import PlatformMarks
from parley.model.refusals import (
    BankUnavailable,
    Fault,
    LinkLost,
    LogUnavailable,
    NoSuitableAccount,
    NotAllowed,
    NotLinked,
    NotUnderstood,
    OfferingUnknown,
    Refusal,
)
from parley.model.stages import Envelope, Question, Release, Request, Ruling
from parley.policy import ROWS_HARD_MAX, Policy, allows_platform, purpose_named, rule
from parley.proof import ProofRejected, Verifier
from parley.release.coarsen import withholds
from parley.release.entries import NONCE_BYTES, refusal_entry, seal_entry
from parley.release.minimise import minimise
from parley.release.ports import CaseFile, Credentials, Guard, Records, ReleaseLog, Vault

Reason: TypeAlias = Refusal | NotUnderstood | Fault


@dataclass(frozen=True, slots=True)
class House:
    """Everything the road needs, chosen once when the gateway starts. `policy` gives the policy in force, whose digest is in the log."""

    offerings: Mapping[str, Offering]
    cards: tuple[OfferingCard, ...]
    understanding: Understanding
    records: Records
    credentials: Credentials
    banks: Mapping[str, Bank]
    log: ReleaseLog
    guard: Guard
    verifier: Verifier
    policy: Callable[[], Policy]
    clock: Callable[[], datetime]
    random_bytes: Callable[[int], bytes]
    time_zone: tzinfo
    timer: Callable[[], float]
    marks: PlatformMarks | None = None
    """Knows the payments that were made through a platform; without it every transaction is off-platform."""
    noted: Callable[[Release, Vault], None] = lambda release, vault: None
    """Hears of every release for the customer's own ledger. It must neither wait nor raise."""


@dataclass(frozen=True, slots=True)
class Declined:
    """No answer, and why. `question` None: the envelope could not even be opened. `laps` milliseconds of each step that was taken."""

    question: Question | None
    reason: Reason
    laps: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Released:
    """A release, ready to be delivered, and the milliseconds of each step."""

    release: Release
    laps: Mapping[str, float]


class Laps:
    """Milliseconds between the marks of one walk along the road."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self.timer = timer
        self.last = timer()
        self.ms: dict[str, float] = {}

    def mark(self, name: str) -> None:
        now = self.timer()
        self.ms[name] = int((now - self.last) * 1_000_000) / 1000  # Whole microseconds; round() costs more than some steps.
        self.last = now


async def release(envelope: Envelope, channel: Channel, house: House) -> Released | Declined:
    """Answer one message, or say why not. Nothing leaves but what a returned Release holds, and that is in the log by then."""
    laps = Laps(house.timer)
    question: Question | None = None
    case = CaseFile(customer=None)
    policy = house.policy()
    try:
        # 1. Is this truly from the platform, and does the bank know that platform? A forgery gets no reply at all.
        question = channel.open(envelope)
        allows_platform(question, policy)
        laps.mark("open")
        # 2. Who asks? One read brings the link, the grants and the accounts.
        case = await house.records.open_case(question)
        laps.mark("case")
        # 3. What is asked, and for which purpose? Only words on closed lists go on from here.
        now = house.clock()
        request = request_from(question, case, policy, house, now)
        laps.mark("understand")
        # 4. Did the customer agree to all of it?
        permission = check_consent(request, case.grants, now)
        # 5. Does the bank allow it, how far, and how delivered? Then charge the grant's budget, so that a repeat gets nothing.
        ruling = rule(permission, policy)
        house.guard.check(question.platform, request.purpose, policy.digest)
        await house.records.claim(question, permission.grant, day=now.astimezone(UTC).date(), rows=charge(ruling))
        laps.mark("rule")
        # 6. Ask the bank for the ruled fields of the permitted accounts, and for no others.
        vault = vault_of(case)
        order = order_from(ruling, case, house, now)
        bank = bank_of(case, house)
        statement = await fetched(case, bank, order, house)
        laps.mark("bank")
        # 7. Drop what was not ruled; let the offering put the rest into words.
        now = house.clock()
        disclosure = minimise(statement, order, ruling, house.offerings[request.offering], today(house, now), house.marks)
        # 8. Record it and wait until that is durable. The notary compares the grant's version as it commits. The release checks its own
        #    proof as it is built, so an unproven one never exists.
        sealed = seal_entry(disclosure, vault, house.random_bytes(NONCE_BYTES), now)
        grant = permission.grant
        laps.mark("minimise")
        check_still_live(grant, now)
        house.guard.check(question.platform, request.purpose, policy.digest)
        inclusion = await house.log.record(sealed.entry, sealed.side, handle=grant.handle, version=grant.version)
        released = Release(question, sealed, inclusion, house.verifier)
        laps.mark("record")
        # Waiting for the log took its time: whoever pulled the switch meanwhile wins. The entry then stands without a delivery.
        house.guard.check(question.platform, request.purpose, policy.digest)
        house.noted(released, vault)
        return Released(released, laps.ms)
    except ProofRejected as error:
        return Declined(question, LogUnavailable(f"the log's answer did not prove itself: {error.code}"), laps.ms)
    except LinkLost as reason:
        await forget(case, house)
        return await decline(question, reason, policy, house, laps)
    except (Refusal, NotUnderstood, Fault) as reason:
        return await decline(question, reason, policy, house, laps)
    except Exception as mistake:
        # A mistake in an extension's code. Its message or traceback may quote a figure, so only its kind and place go on.
        return Declined(question, Fault(place_of(mistake)), laps.ms)


async def fetched(case: CaseFile, bank: Bank, order: Order, house: House) -> Statement:
    """What the bank told. An access token can end before its time while the link stands: the refresh token decides which of the two it was."""
    credential = await house.credentials.credential(case)
    try:
        return await bank.fetch(credential, order)
    except LinkLost:
        credential = await house.credentials.renewed(case, credential)
    return await bank.fetch(credential, order)


async def forget(case: CaseFile, house: House) -> None:
    """Where even that cannot be recorded now, the bank will say it again next time."""
    with suppress(Fault):
        await house.credentials.forget(case)


def place_of(mistake: Exception) -> str:
    frame = extract_tb(mistake.__traceback__)[-1]
    return f"{type(mistake).__name__} in {frame.name}, line {frame.lineno} of {PurePath(frame.filename).name}"


async def decline(question: Question | None, reason: Reason, policy: Policy, house: House, laps: Laps) -> Declined:
    """A refusal is an entry too, without identity. A forgery, words that fit nothing and our own faults are not refusals of data."""
    if question is None or not isinstance(reason, Refusal):
        return Declined(question, reason, laps.ms)
    entry = refusal_entry(
        question,
        code=reason.code,
        basis=reason.basis,
        policy_digest=policy.digest,
        rule=reason.rule,
        known_platform=question.platform in policy.platforms,
        now=house.clock(),
    )
    try:
        await house.log.record(entry, b"", handle=None, version=None)
    except Fault as fault:
        return Declined(question, fault, laps.ms)
    laps.mark("record")
    return Declined(question, reason, laps.ms)


def request_from(question: Question, case: CaseFile, policy: Policy, house: House, now: datetime) -> Request:
    """Asks for the least that both customer and bank let pass, where there is anything that both do.

    Raises PurposeUnknown, PurposeForbidden, NotLinked, NotUnderstood or OfferingUnknown, in this order."""
    named = purpose_named(question.purpose_named) if question.purpose_named is not None else None
    understood = house.understanding.understand(
        question.text, offerings=house.cards, nicknames=[each.name for each in case.accounts], today=today(house, now)
    )
    if case.customer is None:
        raise not_linked(understood.offering)
    offering = house.offerings.get(understood.offering)
    if offering is None:
        raise OfferingUnknown()
    granted = frozenset(each for grant in grants_in_force(case, now) for each in grant.projections)
    purpose = named or offering.purpose
    need = offering.needs(understood.slots, granted & policy.permitted(question.platform, question.channel, purpose) or granted)
    return Request(
        customer=case.customer,
        channel=question.channel,
        platform=question.platform,
        offering=offering.name,
        purpose=purpose,
        projection=need.projection,
        accounts=accounts_wanted(understood, case),
        lookback_days=need.lookback_days,
        rows=need.rows,
        slots=understood.slots,
        asked_at=question.asked_at,
    )


def grants_in_force(case: CaseFile, now: datetime) -> tuple[Grant, ...]:
    """The live grants; where none is left all of them, so that the customer hears what became of hers."""
    return tuple(each for each in case.grants if is_live(each, now)) or case.grants


def not_linked(wish: str) -> NotLinked:
    refusal = NotLinked()
    refusal.wish = wish
    return refusal


def accounts_wanted(understood: Understood, case: CaseFile) -> tuple[str, ...]:
    """Refs of the accounts that the customer named, by her name for them or by their kind; empty where she named none: all granted ones.

    A kind means those of that kind that she granted: what else she has at her bank is not even hinted at.
    """
    name = understood.slots.account
    if name is None:
        return ()
    granted = {ref for grant in case.grants for ref in grant.accounts}
    by_name = tuple(each.ref for each in case.accounts if each.name == name)
    by_kind = tuple(each.ref for each in case.accounts if each.ref in granted and each.kind.value.replace("_", " ") == name)
    if not (by_name or by_kind):
        raise NoSuitableAccount()
    return by_name or by_kind


def order_from(ruling: Ruling, case: CaseFile, house: House, now: datetime) -> Order:
    """What the bank is asked for: the ruled fields of the permitted accounts, no further back than requested, no more rows than ruled.

    The days count from our own clock: a platform that says when a question was asked could otherwise reach back as far as it likes.
    Raises NoSuitableAccount when an account that was granted is no longer linked, NotAllowed where a delay leaves none of the days.
    """
    permission = ruling.permission
    accounts = tuple(each for each in case.accounts if each.ref in permission.accounts)
    if {each.ref for each in accounts} != set(permission.accounts):
        raise NoSuitableAccount("a granted account is no longer linked")
    days = now.astimezone(UTC).date(), today(house, now)
    since, until = max(days) - timedelta(days=permission.request.lookback_days), max(days)
    if ruling.delay_days and permission.request.projection.reads_transactions:
        # Where the bank's day and that of its timestamps differ, the delay counts from the earlier one: it may be longer, never shorter.
        until = min(days) - timedelta(days=ruling.delay_days)
        if until < since:
            raise NotAllowed("all of it is too recent", rule=ruling.rules[0])
    return Order(
        accounts=accounts,
        fields=ruling.fields,
        since=since,
        until=until,
        # Where only some rows may be shown, the newest few of all could be none of them.
        rows_max=ROWS_HARD_MAX if withholds(ruling) else ruling.rows_max,
        interaction_id=random_uuid(house.random_bytes(16)),
    )


def random_uuid(random: bytes) -> str:
    """A version 4 UUID (RFC 9562) of 16 random bytes, in its usual form."""
    digits = random.hex()
    variant = "89ab"[random[8] & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def charge(ruling: Ruling) -> int:
    """Rows that the answer may tell of: charged before the bank is asked, so that two questions at once cannot pass the budget."""
    return ruling.rows_max if ruling.permission.request.projection.reads_transactions else 0


def today(house: House, now: datetime) -> date:
    """The date in the bank's time zone, by our own clock and not by what a platform says."""
    return now.astimezone(house.time_zone).date()


def vault_of(case: CaseFile) -> Vault:
    if case.vault is None:
        raise NotLinked()
    return case.vault


def bank_of(case: CaseFile, house: House) -> Bank:
    """Raises LinkLost when the link has ended, BankUnavailable when the settings no longer name that bank: a slip there ends no link."""
    if case.tokens is None:
        raise LinkLost()
    bank = house.banks.get(case.bank or "")
    if bank is None:
        raise BankUnavailable("the linked bank is not among the settings")
    return bank
