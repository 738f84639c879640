"""The first lock: the customer's own consent must cover all of a request."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from parley.model.grants import Grant, GrantState
from parley.model.refusals import GrantExpired, GrantRevoked, NotConsented, Refusal
from parley.model.stages import Permission, Request


def check_consent(request: Request, grants: Iterable[Grant], now: datetime) -> Permission:
    """The grant that covers the whole request. Grants are never added up: two halves are not one consent.

    Raises the refusal of the grant that came nearest: GrantRevoked and GrantExpired are only said of a grant that would have covered
    everything, so that a customer who never agreed is not told that she took something back.
    """
    nearest: Refusal = NotConsented()
    for grant in grants:
        accounts = covers(grant, request)
        if accounts is None:
            continue
        if grant.state is not GrantState.ACTIVE:
            nearest = GrantRevoked()
        elif now >= grant.expires_at:
            nearest = GrantExpired()
        else:
            return Permission(grant, request, accounts)
    raise nearest


def covers(grant: Grant, request: Request) -> tuple[str, ...] | None:
    """The accounts that the request is answered from, or None where the grant says less than is asked."""
    agreed = (
        grant.customer == request.customer
        and grant.platform == request.platform
        and grant.channel == request.channel
        and grant.purpose is request.purpose
        and request.projection in grant.projections
        and request.lookback_days <= grant.lookback_days
    )
    wanted = request.accounts or grant.accounts
    if not agreed or not wanted or not set(wanted) <= set(grant.accounts):
        return None
    return wanted
