"""The first lock: the customer's own consent must cover all of a request."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from parley.model.grants import GRANT_LIFETIME_MAX, Grant, GrantState
from parley.model.refusals import GrantExpired, GrantPaused, GrantRevoked, NotConsented, Refusal
from parley.model.stages import Permission, Request

CLOCK_SKEW_MAX = timedelta(minutes=5)
"""A grant from further ahead means that the clock went back, and then an expiry proves nothing."""


def check_consent(request: Request, grants: Iterable[Grant], now: datetime) -> Permission:
    """The newest grant that covers the whole request. Grants are never added up: two halves are not one consent.

    Raises NotConsented where none ever covered it, else GrantPaused, GrantRevoked or GrantExpired after the newest that would have: a
    customer who never agreed is not told that she took something back, and the order in which grants are read changes nothing.
    """
    nearest: Refusal | None = None
    held = tuple(grants)
    for grant in held if len(held) < 2 else sorted(held, key=lambda each: (each.created_at, each.id), reverse=True):
        accounts = covers(grant, request)
        if accounts is None or now < grant.created_at - CLOCK_SKEW_MAX:
            continue
        if is_live(grant, now):
            return Permission(grant, request, accounts)
        nearest = nearest or why_not(grant, now)
    raise nearest or NotConsented()


def is_live(grant: Grant, now: datetime) -> bool:
    """Neither resting, taken back nor run out."""
    return grant.state is GrantState.ACTIVE and now < ends_at(grant)


def ends_at(grant: Grant) -> datetime:
    """Whatever a row says, no grant outlives the law's year."""
    return min(grant.expires_at, grant.created_at + GRANT_LIFETIME_MAX)


def check_still_live(grant: Grant, now: datetime) -> None:
    """Raises what became of a grant that covered the request a moment ago: asking the bank took its time, and a consent may run out in it."""
    if not is_live(grant, now):
        raise why_not(grant, now)


def why_not(grant: Grant, now: datetime) -> Refusal:
    """Why a grant that is not live answers nothing. A pause that outlasted the grant is no pause any more."""
    if grant.state is GrantState.REVOKED:
        return GrantRevoked()
    if grant.state is GrantState.PAUSED and now < ends_at(grant):
        return GrantPaused()
    return GrantExpired()


def covers(grant: Grant, request: Request) -> tuple[str, ...] | None:
    """The accounts that the request is answered from, or None where the grant says less than is asked.

    Under a grant for on-platform transactions only, the rows that were made elsewhere stay back one by one: the ruling says so.
    """
    agreed = (
        grant.customer == request.customer
        and grant.platform == request.platform
        and grant.channel == request.channel
        and grant.purpose is request.purpose
        and request.projection in grant.projections
        and 0 <= request.lookback_days <= grant.lookback_days
    )
    wanted = request.accounts or grant.accounts
    if not agreed or not wanted or not set(wanted) <= set(grant.accounts):
        return None
    return wanted
