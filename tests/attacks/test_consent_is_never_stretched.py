"""A grant covers what it says, whole, and nothing wider; two halves are not one consent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import permutations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.consent import check_consent, is_live
from parley.consent.check import covers
from parley.model.grants import GRANT_LIFETIME_MAX, Budget, Grant, GrantState
from parley.model.refusals import GrantExpired, GrantRevoked, NotConsented, Refusal
from parley.model.stages import Request, Slots
from parley.model.words import Delivery, Projection, Provenance, Purpose
from tests.fakes.road import GRANT, NOW

accounts = st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True, max_size=4).map(tuple)
grants = st.builds(
    Grant,
    id=st.sampled_from(["g1", "g2", "g3"]),
    handle=st.just(b"h" * 16),
    version=st.just(1),
    state=st.sampled_from(GrantState),
    customer=st.sampled_from(["anna", "ben"]),
    platform=st.sampled_from(["web-chat", "other"]),
    channel=st.sampled_from(["web", "mcp"]),
    purpose=st.sampled_from(Purpose),
    projections=st.frozensets(st.sampled_from(Projection)),
    accounts=accounts,
    delivery=st.sampled_from(Delivery),
    lookback_days=st.integers(0, 60),
    provenance=st.sampled_from(Provenance),
    budget=st.just(Budget(5, 5)),
    created_at=st.integers(-400, 2).map(lambda days: NOW + timedelta(days=days)),
    expires_at=st.integers(-10, 800).map(lambda days: NOW + timedelta(days=days)),
    text_hash=st.just(""),
    policy_digest=st.just(""),
)
requests = st.builds(
    Request,
    customer=st.sampled_from(["anna", "ben"]),
    channel=st.sampled_from(["web", "mcp"]),
    platform=st.sampled_from(["web-chat", "other"]),
    offering=st.just("balance"),
    purpose=st.sampled_from(Purpose),
    projection=st.sampled_from(Projection),
    accounts=accounts,
    lookback_days=st.integers(-1, 60),
    rows=st.integers(0, 5),
    slots=st.just(Slots()),
    asked_at=st.just(NOW),
)


def fitting(grant: Grant, draw_lookback: int = 0) -> Request:
    """A request that the grant covers exactly."""
    projection = min(grant.projections, key=str)
    return Request(
        grant.customer, grant.channel, grant.platform, "x", grant.purpose, projection, grant.accounts, grant.lookback_days, 5, Slots(), NOW
    )


@settings(max_examples=400, deadline=None)
@given(grants, requests)
def test_covering_means_every_dimension_covers(grant: Grant, request: Request) -> None:
    if covers(grant, request) is not None:
        assert grant.customer == request.customer
        assert grant.platform == request.platform
        assert grant.channel == request.channel
        assert grant.purpose is request.purpose
        assert request.projection in grant.projections
        assert set(request.accounts) <= set(grant.accounts)
        assert 0 <= request.lookback_days <= grant.lookback_days
        assert covers(grant, request)


NARROWER: dict[str, Callable[[Grant], Grant]] = {
    "customer": lambda grant: msgspec.structs.replace(grant, customer="someone else"),
    "platform": lambda grant: msgspec.structs.replace(grant, platform="elsewhere"),
    "channel": lambda grant: msgspec.structs.replace(grant, channel="alexa"),
    "purpose": lambda grant: msgspec.structs.replace(grant, purpose=next(each for each in Purpose if each is not grant.purpose)),
    "projections": lambda grant: msgspec.structs.replace(grant, projections=grant.projections - {min(grant.projections, key=str)}),
    "accounts": lambda grant: msgspec.structs.replace(grant, accounts=grant.accounts[1:]),
    "lookback": lambda grant: msgspec.structs.replace(grant, lookback_days=grant.lookback_days - 1),
    "state": lambda grant: msgspec.structs.replace(grant, state=GrantState.REVOKED),
    "expiry": lambda grant: msgspec.structs.replace(grant, expires_at=NOW),
    "age": lambda grant: msgspec.structs.replace(grant, created_at=NOW - GRANT_LIFETIME_MAX),
    "clock gone back": lambda grant: msgspec.structs.replace(grant, created_at=NOW + timedelta(minutes=6)),
}
whole = grants.map(
    lambda grant: msgspec.structs.replace(
        grant,
        projections=grant.projections | {Projection.AFFORD_YESNO},
        accounts=grant.accounts or ("a",),
        provenance=Provenance.ANY,
        state=GrantState.ACTIVE,
        created_at=NOW,
        expires_at=NOW + timedelta(days=1),
    )
)


@pytest.mark.parametrize("dimension", NARROWER)
@settings(max_examples=40, deadline=None)
@given(grant=whole)
def test_a_grant_narrower_in_one_dimension_permits_nothing(dimension: str, grant: Grant) -> None:
    request = fitting(grant)
    assert check_consent(request, [grant], NOW).accounts == grant.accounts
    with pytest.raises(Refusal):
        check_consent(request, [NARROWER[dimension](grant)], NOW)


@settings(max_examples=200, deadline=None)
@given(st.lists(grants, max_size=4), requests)
def test_permission_always_rests_on_one_live_grant_alone(several: list[Grant], request: Request) -> None:
    try:
        permission = check_consent(request, several, NOW)
    except Refusal:
        assert not [each for each in several if covers(each, request) and is_live(each, NOW) and each.created_at <= NOW]
        return
    assert permission.grant in several
    assert covers(permission.grant, request) == permission.accounts
    assert is_live(permission.grant, NOW)


def test_two_halves_are_not_added_up() -> None:
    rows = msgspec.structs.replace(GRANT, id="rows", projections=frozenset({Projection.TRANSACTIONS_AMOUNT}))
    balances = msgspec.structs.replace(GRANT, id="balances", projections=frozenset({Projection.BALANCE_AVAILABLE}), lookback_days=0)
    checking = msgspec.structs.replace(GRANT, id="checking", accounts=("ref-checking",))
    savings = msgspec.structs.replace(GRANT, id="savings", accounts=("ref-savings",))
    request = msgspec.structs.replace(fitting(GRANT), projection=Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT)
    both = msgspec.structs.replace(fitting(GRANT), projection=Projection.BALANCE_AVAILABLE, lookback_days=0)
    with pytest.raises(NotConsented):
        check_consent(request, [rows, balances], NOW)
    with pytest.raises(NotConsented):
        check_consent(both, [checking, savings], NOW)


def test_a_grant_without_accounts_covers_nothing() -> None:
    with pytest.raises(NotConsented):
        check_consent(msgspec.structs.replace(fitting(GRANT), accounts=()), [msgspec.structs.replace(GRANT, accounts=())], NOW)


def test_no_words_about_a_grant_that_would_never_have_covered_it() -> None:
    never = msgspec.structs.replace(GRANT, state=GrantState.REVOKED, purpose=Purpose.CUSTOMER_CARE)
    with pytest.raises(NotConsented):
        check_consent(fitting(GRANT), [never], NOW)


def test_the_newest_covering_grant_speaks_in_whatever_order_they_are_read() -> None:
    revoked = msgspec.structs.replace(GRANT, id="old", state=GrantState.REVOKED, created_at=NOW - timedelta(days=200))
    expired = msgspec.structs.replace(GRANT, id="new", expires_at=NOW - timedelta(days=1), created_at=NOW - timedelta(days=91))
    later = msgspec.structs.replace(revoked, id="newest", created_at=NOW - timedelta(days=2))
    for order in permutations([revoked, expired]):
        with pytest.raises(GrantExpired):
            check_consent(fitting(GRANT), order, NOW)
    for order in permutations([revoked, expired, later]):
        with pytest.raises(GrantRevoked):
            check_consent(fitting(GRANT), order, NOW)


def test_revoked_and_expired_is_called_revoked() -> None:
    with pytest.raises(GrantRevoked):
        check_consent(fitting(GRANT), [msgspec.structs.replace(GRANT, state=GrantState.REVOKED, expires_at=NOW)], NOW)


def test_expiry_is_the_moment_itself() -> None:
    grant = msgspec.structs.replace(GRANT, expires_at=NOW + timedelta(microseconds=1))
    assert check_consent(fitting(GRANT), [grant], NOW).grant is grant
    with pytest.raises(GrantExpired):
        check_consent(fitting(GRANT), [grant], NOW + timedelta(microseconds=1))


def test_no_row_in_the_records_makes_a_grant_outlive_the_laws_year() -> None:
    endless = msgspec.structs.replace(GRANT, created_at=NOW - timedelta(days=365), expires_at=NOW + timedelta(days=3650))
    with pytest.raises(GrantExpired):
        check_consent(fitting(GRANT), [endless], NOW)
