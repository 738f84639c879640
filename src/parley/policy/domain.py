"""The closed domain that a policy decides over: who asks, where, for what, which projection of which data, and how sure we are of the customer."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from parley.model.words import Assurance, Projection, Purpose
from parley.proof import FORBIDDEN_PURPOSES


class Data(StrEnum):
    """What a projection is made from: facts about the account itself, or rows, apart by whether they were made through the platform."""

    ACCOUNT = "account"
    ON_PLATFORM = "on_platform"
    OFF_PLATFORM = "off_platform"


class Case(NamedTuple):
    """One combination of the closed domain: a key of the decision table. Any tuple of the same six words finds it."""

    platform: str
    channel: str
    purpose: Purpose
    projection: Projection
    data: Data
    assurance: Assurance


PLATFORM, CHANNEL, PURPOSE, PROJECTION, DATA, ASSURANCE = range(len(Case._fields))
"""Places of the six words in a case."""

ENTITY_TYPES: Mapping[str, int] = MappingProxyType(
    {"Platform": PLATFORM, "Channel": CHANNEL, "Purpose": PURPOSE, "Action": PROJECTION, "Data": DATA, "Assurance": ASSURANCE}
)
"""What each word is called in Cedar. A projection is Cedar's action; the platform is its principal, the data its resource."""

ROW_DATA = (Data.ON_PLATFORM, Data.OFF_PLATFORM)
WHATS: tuple[tuple[Projection, Data], ...] = tuple(
    (projection, data) for projection in Projection for data in (ROW_DATA if projection.reads_transactions else (Data.ACCOUNT,))
)
"""Which projection is made from which data: no other pair is ever asked about."""

FORBIDDEN = tuple(f"dpv:{term}" for term in sorted(FORBIDDEN_PURPOSES))
"""Purposes that the gateway has no word for. They stand in the proof's domain so that it says something: a policy without the baseline fails it."""
ANY_OTHER = "any other"
"""Stands for every platform, channel or purpose that nobody listed. No listed name can look like it."""


class Domain(NamedTuple):
    """The words that a policy's rules are decided over; `purposes` holds more than ours where something is to be proved."""

    platforms: tuple[str, ...]
    channels: tuple[str, ...]
    purposes: tuple[str, ...]
    assurances: tuple[Assurance, ...] = tuple(Assurance)

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """What may stand at each place of a case."""
        return (self.platforms, self.channels, self.purposes, tuple(Projection), tuple(Data), self.assurances)

    @property
    def combinations(self) -> int:
        return len(self.platforms) * len(self.channels) * len(self.purposes) * len(WHATS) * len(self.assurances)


def domain_of(platforms: tuple[str, ...], channels: tuple[str, ...]) -> Domain:
    """What the decision table enumerates: the listed platforms and channels, and our own purposes."""
    return Domain(tuple(sorted(platforms)), tuple(sorted(channels)), tuple(Purpose))


def widened(domain: Domain) -> Domain:
    """What the proof enumerates: beside the listed words every forbidden purpose, and one word that stands for whatever nobody listed."""
    return Domain((*domain.platforms, ANY_OTHER), (*domain.channels, ANY_OTHER), (*domain.purposes, *FORBIDDEN, ANY_OTHER))
