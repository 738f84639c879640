"""Sessions under attack: planted, stolen, outlived, flooded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.authorization.sessions import SESSION_LIFE, Sessions, Throttle, hash_token, read_cookie
from tests.fakes.visitor import Visitor
from tests.fakes.web_house import Clock, House, MemoryRecords, running_house

NOW = datetime(2027, 3, 1, tzinfo=UTC)


@pytest.fixture
def house() -> Iterator[House]:
    with running_house() as running:
        yield running


def link(house: House, visitor: Visitor) -> None:
    state = visitor.set_out()
    visitor.come_back(state, house.bank.issue(state))
    assert visitor.post_form("/consent", visitor.consent_fields(visitor.get("/consent"))).status == 303


def test_C23_B17_a_session_planted_before_linking_is_worth_nothing_after(house: House) -> None:
    attacker, victim = Visitor(house.origin), Visitor(house.origin)
    csrf = attacker.open_chat()
    victim.jar = dict(attacker.jar)
    link(house, victim)
    assert victim.jar["parley"] != attacker.jar["parley"]
    assert attacker.ask("balance?", csrf).json["code"] == "session_unknown"
    assert victim.ask("balance?", victim.open_chat()).json["outcome"] == "answered"


def test_B17_renewal_keeps_the_conversation_and_its_absolute_end(house: House) -> None:
    visitor = Visitor(house.origin)
    visitor.open_chat()
    (before,) = house.records.sessions.values()
    house.clock.pass_by(timedelta(hours=3))
    link(house, visitor)
    (after,) = house.records.sessions.values()
    assert after.conversation == before.conversation
    assert after.csrf != before.csrf
    assert after.expires_at == before.expires_at


def test_C23_B17_after_signing_out_the_cookie_is_worth_nothing(house: House) -> None:
    visitor = Visitor(house.origin)
    link(house, visitor)
    csrf, kept = visitor.open_chat(), dict(visitor.jar)
    out = visitor.post_form("/signout", {"csrf": csrf})
    assert (out.status, out.location) == (303, "/signed-out")
    assert "Max-Age=0" in out.cookies["parley"]
    visitor.jar = kept
    assert visitor.ask("balance?", csrf).json["code"] == "session_unknown"


@pytest.mark.parametrize("fields", [{}, {"csrf": "wrong"}])
def test_C2_nobody_else_can_sign_her_out(house: House, fields: dict[str, str]) -> None:
    visitor = Visitor(house.origin)
    csrf = visitor.open_chat()
    assert visitor.post_form("/signout", fields).status == 409
    assert visitor.post_form("/signout", {"csrf": csrf}, origin="https://elsewhere.example").status == 403
    assert visitor.get("/signout").status == 405
    assert visitor.open_chat() == csrf


def test_B17_a_session_ends_after_twelve_hours_whatever_happens_in_it(house: House) -> None:
    visitor = Visitor(house.origin)
    csrf = visitor.open_chat()
    for _ in range(11):
        house.clock.pass_by(timedelta(hours=1))
        assert visitor.ask("balance?", csrf).json["code"] == "not_linked"
    house.clock.pass_by(timedelta(hours=1))
    assert visitor.ask("balance?", csrf).json["code"] == "session_unknown"
    assert timedelta(hours=12) == SESSION_LIFE


def test_the_records_never_hold_a_token(house: House) -> None:
    visitor = Visitor(house.origin)
    link(house, visitor)
    token = visitor.jar["parley"]
    assert len(token) == 43
    held = [(key, session.conversation, session.csrf) for key, session in house.records.sessions.items()]
    assert token not in str(held)
    assert hash_token(token) in house.records.sessions


def test_B1_B19_the_cookie_is_out_of_reach_of_scripts_and_other_sites(house: House) -> None:
    line = Visitor(house.origin).get("/").cookies["parley"]
    assert "HttpOnly" in line
    assert "SameSite=Lax" in line
    assert "Path=/" in line
    assert "Domain" not in line
    visitor = Visitor(house.origin)
    state = visitor.set_out()
    visitor.come_back(state, house.bank.issue(state))
    assert "SameSite=Strict" in visitor.get("/consent").cookies["parley-consent"]


def test_C16_no_token_or_secret_shows_in_what_is_printed(house: House) -> None:
    visitor = Visitor(house.origin)
    csrf = visitor.open_chat()
    (session,) = house.records.sessions.values()
    assert csrf not in repr(session)
    assert session.conversation not in repr(session)


def test_B32_C17_a_flood_of_first_visits_is_slowed_and_leaves_few_rows() -> None:
    with running_house(throttle=Throttle(per_second=1, burst=5)) as house:
        statuses = [Visitor(house.origin).get("/").status for _ in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        assert len(house.records.sessions) == 5
        house.clock.pass_by(timedelta(seconds=2))
        seen = [Visitor(house.origin).get("/") for _ in range(3)]
        assert [each.status for each in seen] == [200, 200, 429]
        assert seen[2].header("retry-after") == "60"


def test_a_throttle_forgets_rather_than_grows() -> None:
    throttle = Throttle(per_second=1, burst=1, clients_max=10)
    for client in range(1000):
        assert throttle.admits(str(client), NOW)
    assert len(throttle._buckets) == 10


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 5)), max_size=60))
def test_a_throttle_never_admits_more_than_its_burst_and_its_rate(visits: list[tuple[str, int]]) -> None:
    throttle, now, admitted = Throttle(per_second=1, burst=3), NOW, {"a": 0, "b": 0}
    for client, seconds in visits:
        now += timedelta(seconds=seconds)
        admitted[client] += throttle.admits(client, now)
        assert admitted[client] <= 3 + (now - NOW).total_seconds()


@given(st.text(alphabet="parley=; x\x00é", max_size=60))
def test_no_cookie_line_whatever_breaks_its_reader(line: str) -> None:
    found = read_cookie({"cookie": line}, "parley")
    assert found is None or f"parley={found}" in line


@pytest.mark.parametrize("line", ["parley=a; parley=b", "parley=a;parley=a", "xparley=a", "Parley=a", ""])
def test_C23_a_doubtful_cookie_is_none(line: str) -> None:
    assert read_cookie({"cookie": line}, "parley") is None


async def _find(headers: dict[str, str]) -> object:
    clock = Clock()
    return await Sessions(MemoryRecords(), secure=True, clock=clock).find(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"cookie": "parley=x"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer é"},
        {"authorization": "Bearer a, Bearer b"},
        {"authorization": ""},
    ],
)
def test_what_presents_no_session_finds_none(headers: dict[str, str]) -> None:
    assert asyncio.run(_find(headers)) is None
