"""The second lock: the bank's policy rules on a request that the customer has already agreed to."""

from __future__ import annotations

from parley.model.refusals import BudgetSpent, DeliveryUnavailable, NotAllowed, PlatformUnknown
from parley.model.stages import Permission, Question, Ruling
from parley.model.words import Delivery, Provenance
from parley.policy.load import Policy

DELIVERIES_BUILT = frozenset({Delivery.INLINE})
"""What the channels of this release can carry out. A ruling for another delivery is refused, never weakened to one of these."""

_strictness = tuple(Delivery).index


def allows_platform(question: Question, policy: Policy) -> None:
    """Raises PlatformUnknown unless the bank's policy knows the platform that asks."""
    if question.platform not in policy.platforms:
        raise PlatformUnknown()


def rule(permission: Permission, policy: Policy) -> Ruling:
    """What the bank allows of the request, how far and how delivered. Raises NotAllowed with the rule's reason, DeliveryUnavailable, or
    BudgetSpent where a grant leaves no row at all.

    The stricter of policy and grant always wins. Lookback beyond the rule's limit is refused rather than cut short without a word.
    """
    request, grant = permission.request, permission.grant
    verdict = policy.verdict(request.platform, request.channel, request.purpose, request.projection)
    if verdict is None:
        raise NotAllowed("no rule allows it")
    if not verdict.allow:
        refusal = NotAllowed("forbidden by a rule", plain_words=verdict.reason, rule=verdict.rules[0])
        refusal.basis = verdict.basis
        raise refusal
    if request.projection.reads_transactions and verdict.provenance is not Provenance.ANY:
        raise NotAllowed("off-platform transactions stay off this platform", rule=verdict.rules[0])
    if request.lookback_days > verdict.lookback_days_max:
        raise NotAllowed("further back than the rule allows", rule=verdict.rules[0])
    delivery = min(verdict.delivery, grant.delivery, key=_strictness)
    if delivery not in DELIVERIES_BUILT:
        raise DeliveryUnavailable(rule=verdict.rules[0])
    rows_max = min(verdict.rows_max, grant.budget.rows_per_day, request.rows)
    if request.projection.reads_transactions and rows_max < 1:
        # Asking the bank for no rows would end in "there are no transactions", which is not so.
        raise BudgetSpent(rule=verdict.rules[0])
    return Ruling(permission, policy.digest, verdict.rules, request.projection.fields, delivery, rows_max)
