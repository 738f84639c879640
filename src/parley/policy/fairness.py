"""The same request over all platforms: where one hears yes and another no, and whether a recorded ground says why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from parley.model.refusals import Basis
from parley.model.words import Assurance, Projection, Purpose
from parley.policy.domain import WHATS, Case, Data
from parley.policy.load import Policy
from parley.policy.rules import Obligations
from parley.policy.table import Verdict, obligations_of

GROUNDS = frozenset({Basis.LAW, Basis.RISK})
"""What a denial may rest on without being called uneven: a legal duty, or a risk that the bank recorded (12 CFR 1033.321(a) to (c))."""


class Treatment(msgspec.Struct, frozen=True):
    """How one platform is treated where it is treated best: on its most open channel. `rules` decided; none where no rule says anything."""

    platform: str
    channel: str
    allow: bool
    rules: tuple[str, ...]
    basis: Basis | None
    obligations: Obligations | None

    @property
    def grounded(self) -> bool:
        """Whether a no rests on law or on a recorded risk, by a rule of its own."""
        return not self.allow and self.basis in GROUNDS


class Unevenness(msgspec.Struct, frozen=True):
    """One request that platforms are treated differently for.

    `refused` and `allowed` are both there where some hear yes and some no; `refused` is empty where all hear yes on different terms.
    """

    purpose: Purpose
    projection: Projection
    data: Data
    assurance: Assurance
    allowed: tuple[Treatment, ...]
    refused: tuple[Treatment, ...]

    @property
    def unexplained(self) -> tuple[str, ...]:
        """Platforms that are refused without a rule that rests on law or risk: an examiner would ask why."""
        return tuple(treatment.platform for treatment in self.refused if not treatment.grounded)


def uneven(policy: Policy) -> tuple[Unevenness, ...]:
    """Ask the same of every platform and report what is not treated alike, in the order of the domain. Different channels are no difference:
    a platform is taken where it is treated best."""
    return tuple(found for request in requests() if (found := compared(policy, request)) is not None)


Asked = tuple[Purpose, Projection, Data, Assurance]


def requests() -> Iterator[Asked]:
    for purpose in Purpose:
        for projection, data in WHATS:
            for assurance in Assurance:
                yield purpose, projection, data, assurance


def compared(policy: Policy, asked: Asked) -> Unevenness | None:
    treated = [best(platform, policy.channels, asked, policy.table) for platform in sorted(policy.platforms)]
    allowed = tuple(each for each in treated if each.allow)
    refused = tuple(each for each in treated if not each.allow)
    same_terms = len({each.obligations for each in allowed}) <= 1
    return Unevenness(*asked, allowed, refused) if allowed and (refused or not same_terms) else None


def best(platform: str, channels: Iterable[str], asked: Asked, table: Mapping[Case, Verdict]) -> Treatment:
    """Allowed before refused, a reasoned no before silence, then by the channel's name."""
    found = [treatment(platform, channel, table.get(Case(platform, channel, *asked))) for channel in sorted(channels)]
    return min(found, key=lambda each: (not each.allow, each.basis is None))


def treatment(platform: str, channel: str, verdict: Verdict | None) -> Treatment:
    if verdict is None:
        return Treatment(platform, channel, False, (), None, None)
    return Treatment(platform, channel, verdict.allow, verdict.rules, verdict.basis, obligations_of(verdict) if verdict.allow else None)
