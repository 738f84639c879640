"""The second lock: the bank's policy rules on a request that the customer has already agreed to."""

from __future__ import annotations

from typing import TypeAlias

from parley.model.grants import Grant
from parley.model.refusals import BudgetSpent, DeliveryUnavailable, NotAllowed, PlatformUnknown, PolicyDisputed, StepUpNeeded
from parley.model.stages import Permission, Question, Request, Ruling
from parley.model.words import PROJECTION_FIELDS, Assurance, Delivery, Projection, Provenance
from parley.policy.domain import Data
from parley.policy.load import Policy
from parley.policy.table import Verdict, strictest_verdict

DELIVERIES_BUILT = frozenset({Delivery.MASKED, Delivery.INLINE})
"""What the channels of this release can carry out. A ruling for another delivery is refused, never weakened to one of these."""

Words: TypeAlias = tuple[str, ...]
READING_ROWS = frozenset(projection for projection in Projection if projection.reads_transactions)
STRICTNESS = {delivery: rank for rank, delivery in enumerate(Delivery)}
"""0 for the most private."""


def allows_platform(question: Question, policy: Policy) -> None:
    """Raises PlatformUnknown unless the bank's policy knows the platform that asks."""
    if question.platform not in policy.platforms:
        raise PlatformUnknown()


def rule(permission: Permission, policy: Policy) -> Ruling:
    """What the bank allows of the request, how far and how delivered.

    Raises NotAllowed with the rule's reason, StepUpNeeded where the customer would have to confirm first, DeliveryUnavailable, BudgetSpent
    where a grant leaves no row at all, PolicyDisputed where the two engines were seen to disagree.

    The stricter of policy and grant always wins. Lookback beyond the rule's limit is refused rather than cut short without a word. Rows
    that were not made through the platform are ruled on for themselves: where rule and grant do not both allow them, they stay back and
    the others may still be shown.
    """
    if policy.watch.disputed:
        raise PolicyDisputed()
    request, grant = permission.request, permission.grant
    projection = request.projection
    rows = projection in READING_ROWS
    verdict, provenance = ruled(request, grant, policy) if rows else (allowed(request, Data.ACCOUNT, policy), Provenance.ON_PLATFORM)
    if request.lookback_days > verdict.lookback_days_max:
        raise NotAllowed("further back than the rule allows", rule=verdict.rules[0])
    if rows and request.lookback_days < verdict.delay_days:
        raise NotAllowed("all of it is too recent", rule=verdict.rules[0])
    delivery = verdict.delivery if STRICTNESS[verdict.delivery] <= STRICTNESS[grant.delivery] else grant.delivery
    if delivery not in DELIVERIES_BUILT:
        raise DeliveryUnavailable(rule=verdict.rules[0])
    rows_max = min(verdict.rows_max, grant.budget.rows_per_day, request.rows)
    if rows and rows_max < 1:
        # Asking the bank for no rows would end in "there are no transactions", which is not so.
        raise BudgetSpent(rule=verdict.rules[0])
    return Ruling(
        permission,
        policy.digest,
        verdict.rules,
        PROJECTION_FIELDS[projection],
        delivery,
        rows_max,
        provenance,
        verdict.rounding,
        verdict.bands,
        verdict.delay_days,
    )


def ruled(request: Request, grant: Grant, policy: Policy) -> tuple[Verdict, Provenance]:
    """The verdict on a request for rows, and whether it holds for rows of any provenance."""
    verdict = allowed(request, Data.ON_PLATFORM, policy)
    if grant.provenance is not Provenance.ANY:
        return verdict, Provenance.ON_PLATFORM
    off = looked_up(request, Data.OFF_PLATFORM, request.assurance, policy)
    if off is None or not off.allow:
        return verdict, Provenance.ON_PLATFORM
    return verdict if off is verdict else strictest_verdict(verdict, off), Provenance.ANY


def allowed(request: Request, data: Data, policy: Policy) -> Verdict:
    """The verdict that allows it. Raises NotAllowed, or StepUpNeeded where a confirmed customer would be allowed."""
    case = (request.platform, request.channel, request.purpose, request.projection, data, request.assurance)
    verdict: Verdict | None = policy.table.get(case)  # type: ignore[call-overload]  # A plain tuple finds what its named twin finds, faster.
    policy.watch.saw(case, verdict)
    if verdict is not None and verdict.allow:
        return verdict
    if policy.steps_up and request.assurance is not Assurance.CONFIRMED:
        confirmed = looked_up(request, data, Assurance.CONFIRMED, policy)
        if confirmed is not None and confirmed.allow:
            raise StepUpNeeded(rule=(verdict or confirmed).rules[0])
    raise refusal_of(verdict)


def refusal_of(verdict: Verdict | None) -> NotAllowed:
    """Made here and raised elsewhere: a frame that holds its own exception is a knot that only the garbage collector unties."""
    if verdict is None:
        return NotAllowed("no rule allows it")
    refusal = NotAllowed("forbidden by a rule", plain_words=verdict.reason, rule=verdict.rules[0])
    refusal.basis = verdict.basis
    return refusal


def looked_up(request: Request, data: Data, assurance: Assurance, policy: Policy) -> Verdict | None:
    case = (request.platform, request.channel, request.purpose, request.projection, data, assurance)
    verdict: Verdict | None = policy.table.get(case)  # type: ignore[call-overload]
    policy.watch.saw(case, verdict)
    return verdict
