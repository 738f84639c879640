"""What a platform has learned so far, counted in plain words out of the ledger: "3 balances, 0 merchants"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from parley.model.customers import Disclosed

BALANCES, ROUGH, TRANSACTIONS, MERCHANTS = "balances", "rough balances", "transactions", "merchants"
YES_OR_NO, OTHER = "yes-or-no answers", "other answers"
ALWAYS = (BALANCES, MERCHANTS)
"""Said even when there were none: that nothing was learned is what she wants to know."""

_TOLD: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "afford.yesno": (YES_OR_NO,),
        "balance.available": (BALANCES,),
        "balance.band": (ROUGH,),
        "transactions.amount": (TRANSACTIONS,),
        "transactions.merchant_and_amount": (TRANSACTIONS, MERCHANTS),
    }
)
"""What one record of a projection tells. A projection that is not here counts as one other answer, whatever it tells of."""


def learned(told: Iterable[Disclosed]) -> tuple[tuple[str, int], ...]:
    """(what, how often) for one platform, in a fixed order. An answer of three balances counts three."""
    counted: Counter[str] = Counter()
    for each in told:
        for kind in _TOLD.get(each.projection.value, (OTHER,)):
            counted[kind] += each.records if kind is not OTHER and kind is not YES_OR_NO else 1
    kinds = (BALANCES, ROUGH, TRANSACTIONS, MERCHANTS, YES_OR_NO, OTHER)
    return tuple((kind, counted[kind]) for kind in kinds if counted[kind] or kind in ALWAYS)
