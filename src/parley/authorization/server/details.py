"""What a client asks for in authorization_details (RFC 9396): one object of one type, closed. A field that we do not know is refused.

    {"type": "parley_account_answers", "purpose": "answer_customer", "projections": ["balance.available"],
     "lookback_days": 30, "duration_days": 90}

Accounts cannot be asked for: the customer chooses them. A purpose outside the closed list is refused, under whatever name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from parley.authorization.server.errors import OAuthError
from parley.authorization.server.ports import Params
from parley.authorization.server.profile import Asked
from parley.model.clients import Client
from parley.model.grants import GRANT_LIFETIME_MAX, Grant
from parley.model.words import Projection
from parley.policy import purpose_named

DETAILS_TYPE = "parley_account_answers"
DETAILS_CHARS_MAX = 4096
LOOKBACK_DAYS_MAX = 730


class _Detail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    purpose: str
    projections: tuple[str, ...]
    lookback_days: int | None = None
    duration_days: int | None = None

    def __repr__(self) -> str:
        return "Detail(***)"


def read_details(params: Params, client: Client) -> Asked:
    """What the customer is to be asked. Raises OAuthError("invalid_authorization_details"), PurposeForbidden or PurposeUnknown."""
    if "scope" in params:
        raise OAuthError("invalid_scope", "This server has no scopes. Ask by authorization_details.")
    detail = _detail(params.get("authorization_details", ""))
    purpose = purpose_named(detail.purpose)
    try:
        projections = tuple(Projection(name) for name in dict.fromkeys(detail.projections))
    except ValueError:
        raise _wrong("projections names something that does not exist") from None
    if not projections:
        raise _wrong("projections is empty")
    if detail.lookback_days is not None and not 0 < detail.lookback_days <= LOOKBACK_DAYS_MAX:
        raise _wrong(f"lookback_days is 1 to {LOOKBACK_DAYS_MAX}")
    if detail.duration_days is not None and not 0 < detail.duration_days <= GRANT_LIFETIME_MAX.days:
        raise _wrong(f"duration_days is 1 to {GRANT_LIFETIME_MAX.days}")
    return Asked((purpose,), projections, detail.lookback_days, detail.duration_days)


def told_details(grants: Iterable[Grant], now: datetime) -> list[Mapping[str, Any]]:
    """What was granted, in the form that it is asked for. Which accounts they are is between the customer and us."""
    return [
        {
            "type": DETAILS_TYPE,
            "purpose": grant.purpose.value,
            "projections": sorted(grant.projections),
            "lookback_days": grant.lookback_days,
            "expires_at": int(grant.expires_at.timestamp()),
            "accounts_chosen": len(grant.accounts),
        }
        for grant in grants
        if now < grant.expires_at
    ]


def _detail(text: str) -> _Detail:
    if not text or len(text) > DETAILS_CHARS_MAX:
        raise _wrong("authorization_details is missing or too long")
    try:
        listed = json.loads(text, object_pairs_hook=_no_repetition)
        if not isinstance(listed, list) or len(listed) != 1:
            raise _wrong("authorization_details is an array of one object")
        detail = msgspec.convert(listed[0], _Detail, strict=True)
    except (ValueError, RecursionError):
        raise _wrong("authorization_details does not follow its schema") from None
    if detail.type != DETAILS_TYPE:
        raise _wrong(f"the type is {DETAILS_TYPE}")
    return detail


def _no_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _wrong(words: str) -> OAuthError:
    return OAuthError("invalid_authorization_details", f"{words}.")
