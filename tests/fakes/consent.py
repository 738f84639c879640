"""A customer's decision, as the consent page hands it on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from parley.authorization.consent_text import ConsentOffer
from parley.authorization.linking import Approval
from parley.model.grants import Budget
from parley.model.linking import Errand
from parley.model.words import Delivery, Projection, Provenance, Purpose

OFFER = ConsentOffer(
    platform_title="Messenger",
    bank_title="Larkspur Bank",
    purposes=(Purpose.ANSWER_CUSTOMER,),
    projections=(Projection.BALANCE_AVAILABLE, Projection.AFFORD_YESNO),
    needed_for={"balance": Projection.BALANCE_AVAILABLE},
    delivery=Delivery.INLINE,
    lookback_days=90,
    provenance=Provenance.ANY,
    budget=Budget(20, 100),
    contact="the bank's branch",
)


def approval_of(errand: Errand, conversation: str, **changes: Any) -> Approval:
    told: dict[str, Any] = {
        "customer": "c" * 32,
        "errand": errand,
        "offer": OFFER,
        "conversation": conversation,
        "accounts": ("0123456789abcdef",),
        "projections": frozenset({Projection.BALANCE_AVAILABLE}),
        "lookback_days": 90,
        "days": 90,
        "text_hash": "5" * 64,
        "decided_at": datetime(2026, 11, 22, 12, 0, tzinfo=UTC),
        **changes,
    }
    return Approval(**told)
