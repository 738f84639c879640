"""What may be put before a customer on an errand: what is asked for, within what the house offers and the bank's policy ever allows."""

from __future__ import annotations

from dataclasses import replace

from parley.app.frame import Frame
from parley.authorization.consent_text import ConsentOffer
from parley.authorization.server.ports import Limits
from parley.model.linking import Errand, Origin
from parley.model.refusals import NotAllowed
from parley.model.words import Assurance, Projection, Provenance, Purpose
from parley.policy import Case, Data, Policy


def within_policy(base: ConsentOffer, rules: PolicyRules, policy: Policy, errand: Errand) -> ConsentOffer:
    """The house's offer, without what the policy would refuse this platform anyway: a consent to it would be an empty promise.

    Raises NotAllowed where nothing is left. The house's own chat is offered everything, as the page of the bank's own platform.
    """
    if errand.origin is Origin.CHAT:
        return base
    purposes = [purpose for purpose in base.purposes if not errand.purposes or purpose in errand.purposes]
    limits = [rules.limits(errand.platform, errand.channel, purpose) for purpose in purposes]
    projections = tuple(each for each in base.projections if limits and all(each in limit.projections for limit in limits))
    if not projections:
        raise NotAllowed("the policy allows none of it")
    reach = min(limit.lookback_days_max for limit in limits)
    platform = policy.platforms.get(errand.platform)
    return replace(
        base,
        projections=projections,
        lookback_days=max(1, min(base.lookback_days, reach)),
        provenance=Provenance.ANY if platform is not None and platform.off_platform else Provenance.ON_PLATFORM,
    )


class PolicyRules:
    """Implements parley.authorization.server.ports.Rules over the policy in force."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def limits(self, platform: str, channel: str, purpose: Purpose) -> Limits:
        policy = self._frame.policy()
        reach = {
            projection: days for projection in Projection for days in (reach_of(policy, platform, channel, purpose, projection),) if days is not None
        }
        return Limits(frozenset(reach), max(reach.values(), default=0))


def reach_of(policy: Policy, platform: str, channel: str, purpose: Purpose, projection: Projection) -> int | None:
    """How many days back the policy would ever allow this, None where it allows it in no case."""
    cases = (Case(platform, channel, purpose, projection, data, assurance) for data in Data for assurance in Assurance)
    allowed = [verdict.lookback_days_max for case in cases if (verdict := policy.verdict(case)) is not None and verdict.allow]
    return max(allowed, default=None)
