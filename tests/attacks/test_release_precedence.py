"""Every way in which the road says no, one row for each code, in the order in which they are found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parley.model.grants import Budget, GrantState
from parley.model.refusals import (
    BankBusy,
    BankNonsense,
    BankTimeout,
    BankUnavailable,
    BankUncertain,
    LinkLost,
    RecordsUnavailable,
)
from parley.model.words import Delivery, Projection, Purpose
from parley.release.pipeline import Declined, Released, release
from tests.fakes.road import CARD, CHANNEL_KEY, FORBID, GRANT, NOW, POLICY, PRIVATE_WORDS, STATEMENT, Town, build_town, envelope


@dataclass(frozen=True)
class Row:
    """One refusal: how to bring it about, what is asked, what is logged. `logged` None: nothing is."""

    code: str
    spoil: Callable[[Town, Path], None]
    asked_bank: bool
    basis: str | None
    text: str = "what's my balance?"
    said: tuple[tuple[str, str], ...] = ()
    forged: bool = False
    logged_platform: str = "parley-web"


def policy(text: str) -> Callable[[Town, Path], None]:
    return lambda town, path: town.change_policy(path, text)


def grant(**changes: Any) -> Callable[[Town, Path], None]:
    return lambda town, path: town.change_grant(**changes)


def bank(error: Exception) -> Callable[[Town, Path], None]:
    return lambda town, path: setattr(town.bank, "raises", error)


def credential(error: Exception) -> Callable[[Town, Path], None]:
    return lambda town, path: setattr(town.credentials, "raises", error)


def already_answered(town: Town, path: Path) -> None:
    town.records.seen.add(("conversation-5513aa", "message-0001"))


def nobody_linked(town: Town, path: Path) -> None:
    town.change_case(customer=None, grants=(), accounts=(), tokens=None, vault=None, bank=None)


def log_fails(when: str) -> Callable[[Town, Path], None]:
    return lambda town, path: setattr(town.log, "fails", when)


def revoked_meanwhile(town: Town, path: Path) -> None:
    town.log.grants[GRANT.handle] = 2


def nothing(town: Town, path: Path) -> None:
    return None


def records_down(town: Town, path: Path) -> None:
    town.records.raises = RecordsUnavailable()


ROWS = [
    Row("forged_message", nothing, False, None, forged=True),
    Row("platform_unknown", nothing, False, "bank_policy", said=(("platform", "evil-corp"),), logged_platform="unknown"),
    Row("records_unavailable", records_down, False, None),
    Row("purpose_forbidden", nothing, False, "law", said=(("purpose", "dpv:TargetedAdvertising"),)),
    Row("purpose_unknown", nothing, False, "bank_policy", said=(("purpose", "something else"),)),
    Row("not_understood", nothing, False, None, text="sing me a song"),
    Row("not_linked", nobody_linked, False, "customer_choice"),
    Row("offering_unknown", lambda town, path: setattr(town, "house", without_offering(town, "balance")), False, "input"),
    Row("no_suitable_account", nothing, False, "customer_choice", text="what's the balance of my credit card?"),
    Row("not_consented", grant(projections=frozenset({Projection.AFFORD_YESNO})), False, "customer_choice"),
    Row("grant_revoked", grant(state=GrantState.REVOKED), False, "customer_choice"),
    Row("grant_expired", grant(expires_at=NOW), False, "customer_choice"),
    Row("not_allowed", policy(POLICY + FORBID), False, "risk"),
    Row("not_allowed", policy(POLICY.replace('Action::"balance.available", ', "")), False, "bank_policy"),
    Row("not_allowed", policy(POLICY.replace('Data::"on_platform", ', "")), False, "bank_policy", text="show my last 2 transactions"),
    Row(
        "step_up_needed",
        policy(POLICY.replace("context.channel", 'context.assurance == Assurance::"confirmed" && context.channel')),
        False,
        "bank_policy",
    ),
    Row("not_allowed", policy(POLICY.replace('days_max("90")', 'days_max("7")')), False, "bank_policy", text="show my last 2 transactions"),
    Row("delivery_unavailable", grant(delivery=Delivery.SEALED), False, "bank_policy"),
    Row("replayed_message", already_answered, False, "risk"),
    Row("budget_spent", grant(budget=Budget(0, 200)), False, "customer_choice"),
    Row("budget_spent", grant(budget=Budget(50, 0)), False, "customer_choice", text="show my last 2 transactions"),
    Row("no_suitable_account", grant(accounts=("ref-checking", "ref-gone")), False, "customer_choice"),
    Row("link_lost", lambda town, path: town.change_case(tokens=None), False, "customer_choice"),
    Row("bank_unavailable", lambda town, path: town.change_case(bank="closed-bank"), False, None),
    Row("link_lost", credential(LinkLost()), False, "customer_choice"),
    Row("link_lost", bank(LinkLost()), True, "customer_choice"),
    Row("bank_unavailable", bank(BankUnavailable()), True, None),
    Row("bank_timeout", bank(BankTimeout()), True, None),
    Row("bank_busy", bank(BankBusy()), True, None),
    Row("bank_nonsense", bank(BankNonsense()), True, None),
    Row("bank_uncertain", bank(BankUncertain()), True, None),
    Row("fault", bank(ValueError("balance was 2143.87")), True, None),
    Row("no_suitable_account", nothing, True, "customer_choice", text="can I afford 20 euros?"),
    Row("grant_revoked", revoked_meanwhile, True, "customer_choice"),
    Row("log_unavailable", log_fails("before"), True, None),
    Row("log_unavailable", log_fails("after"), True, None),
]


def without_offering(town: Town, name: str) -> Any:
    return replace(town.house, offerings={key: value for key, value in town.house.offerings.items() if key != name})


def walk(town: Town, row: Row) -> Any:
    key = b"somebody else" if row.forged else CHANNEL_KEY
    sent = envelope(row.text, dict(row.said), received_at=town.clock.now, key=key)
    return asyncio.run(release(sent, town.channel, town.house))


@pytest.mark.parametrize("row", ROWS, ids=[f"{number:02d}-{row.code}" for number, row in enumerate(ROWS)])
def test_every_no_has_its_code_its_entry_and_nothing_of_the_customer(row: Row, tmp_path: Path) -> None:
    town = build_town(tmp_path)
    row.spoil(town, tmp_path)
    outcome = walk(town, row)
    assert isinstance(outcome, Declined)
    assert outcome.reason.code == row.code
    assert bool(town.bank.orders) == row.asked_bank
    printed = repr(outcome) + str(outcome.reason) + repr(outcome.reason)
    assert not [word for word in (*PRIVATE_WORDS, row.text) if word in printed]
    for text in town.public_texts():
        assert not [word for word in (*PRIVATE_WORDS, row.text) if word in text]
    if row.basis is None:
        kept = town.log.read()
        assert kept == [] or (town.log.fails == "after" and [each["k"] for each in kept] == ["release"])
    else:
        (entry,) = town.log.read()
        entry.pop("rule", None)
        assert entry == {
            "b": 1795356000,
            "basis": row.basis,
            "ch": "web",
            "code": row.code,
            "k": "refusal",
            "p": row.logged_platform,
            "pol": town.policy.digest,
            "v": 1,
        }


ORDER: list[tuple[str, Callable[[Town, Path], None], dict[str, str]]] = [
    ("forged_message", nothing, {"forged": "yes"}),
    ("platform_unknown", nothing, {"platform": "evil-corp"}),
    ("purpose_forbidden", nothing, {"purpose": "Advertising"}),
    ("not_understood", nothing, {"text": "sing me a song"}),
    ("not_linked", nobody_linked, {}),
    ("no_suitable_account", nothing, {"text": "what's the balance of my credit card?"}),
    ("not_consented", grant(purpose=Purpose.CUSTOMER_CARE), {}),
    ("grant_revoked", grant(state=GrantState.REVOKED), {}),
    ("grant_expired", grant(expires_at=NOW - timedelta(days=1)), {}),
    ("not_allowed", policy(POLICY + FORBID), {}),
    ("delivery_unavailable", grant(delivery=Delivery.SEALED), {}),
    ("replayed_message", already_answered, {}),
    ("budget_spent", grant(budget=Budget(0, 0)), {}),
    ("link_lost", credential(LinkLost()), {}),
    ("bank_busy", bank(BankBusy()), {}),
    ("log_unavailable", log_fails("before"), {}),
]


@pytest.mark.parametrize("first", range(len(ORDER)), ids=[each[0] for each in ORDER])
def test_the_earlier_no_wins_over_every_later_one(first: int, tmp_path: Path) -> None:
    for second in range(first + 1, len(ORDER)):
        town = build_town(tmp_path)
        said: dict[str, str] = {}
        for _, spoil, words in (ORDER[second], ORDER[first]):
            spoil(town, tmp_path)
            said |= words
        text, forged = said.pop("text", "what's my balance?"), said.pop("forged", None) is not None
        row = Row("", nothing, False, None, text, tuple(said.items()), forged)
        outcome = walk(town, row)
        expected = ORDER[first][0]
        if town.log.fails and expected not in ("forged_message", "not_understood", "bank_busy"):
            expected = "log_unavailable"  # A no that cannot be recorded is told as such.
        assert outcome.reason.code == expected, (ORDER[first][0], ORDER[second][0])


def test_with_nothing_spoilt_the_answer_leaves_and_one_entry_stands(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    outcome = asyncio.run(town.ask("what's my balance?"))
    assert isinstance(outcome, Released)
    assert outcome.release.answer.text == ("Your balances: Everyday Checking $2,143.87 available ($2,200.11 booked); Rainy Day $10,500.99 available.")
    assert [entry["k"] for entry in town.log.read()] == ["release"]
    assert set(outcome.laps) == {"open", "case", "understand", "rule", "bank", "minimise", "record"}


def test_a_no_that_cannot_be_recorded_says_that_the_log_is_down(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    town.log.fails = "before"
    outcome = asyncio.run(town.ask("what's my balance?", purpose="dpv:Marketing"))
    assert isinstance(outcome, Declined)
    assert outcome.reason.code == "log_unavailable"


def test_a_lost_link_that_cannot_even_be_noted_is_still_a_plain_no(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    town.bank.raises = LinkLost()
    town.credentials.forget_raises = RecordsUnavailable()
    outcome = asyncio.run(town.ask("what's my balance?"))
    assert (outcome.reason.code, town.credentials.forgotten) == ("link_lost", 1)


def test_a_bank_missing_from_the_settings_ends_no_link(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    town.change_case(bank="renamed-by-mistake")
    asyncio.run(town.ask("what's my balance?"))
    assert town.credentials.forgotten == 0


def test_the_detail_of_a_mistake_names_its_place_and_not_its_words(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    town.bank.raises = ValueError("could not read 2143.87")
    outcome = asyncio.run(town.ask("what's my balance?"))
    assert outcome.reason.detail.startswith("ValueError in fetch, line ")
    assert "2143" not in outcome.reason.detail


def test_an_erased_customer_never_reaches_the_bank(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    town.change_case(vault=None)
    outcome = asyncio.run(town.ask("what's my balance?"))
    assert (outcome.reason.code, town.bank.orders) == ("not_linked", [])


def test_a_stamped_message_of_last_year_reaches_no_further_back(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    asyncio.run(town.ask("show my last 3 transactions", asked_at="2025-01-01T00:00:00+00:00"))
    (order,) = town.bank.orders
    assert (order.since, order.until) == (NOW.date() - timedelta(days=30), NOW.date())


def test_stamps_of_many_days_do_not_multiply_a_daily_budget(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    town.change_grant(budget=Budget(2, 10))
    outcomes = [
        asyncio.run(town.ask("what's my balance?", message_id=f"message-{day}", asked_at=f"2026-11-{day:02d}T09:00:00+00:00")) for day in range(1, 5)
    ]
    assert [isinstance(each, Released) for each in outcomes] == [True, True, False, False]


def test_the_bank_is_ordered_only_what_was_ruled(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    town.change_case(accounts=(*town.records.case.accounts, CARD))
    asyncio.run(town.ask("can I pay 640 rent on Friday?"))
    (order,) = town.bank.orders
    assert order.fields == Projection.AFFORD_YESNO.fields
    assert {each.ref for each in order.accounts} == {"ref-checking", "ref-savings"}
    assert (order.rows_max, order.since) == (0, NOW.date())


def test_a_lesser_live_grant_answers_what_a_revoked_wider_one_no_longer_does(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    wide = msgspec.structs.replace(GRANT, id="grant-wide", state=GrantState.REVOKED, handle=b"w" * 16)
    slim = msgspec.structs.replace(GRANT, projections=frozenset({Projection.TRANSACTIONS_AMOUNT}))
    town.change_case(grants=(wide, slim))
    outcome = asyncio.run(town.ask("show my last 2 transactions"))
    assert isinstance(outcome, Released)
    assert "Quillfeather" not in outcome.release.answer.text
    assert town.bank.statement is STATEMENT
