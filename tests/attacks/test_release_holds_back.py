"""What a rule says to hold back is gone from the answer, its card and its values: rounded, masked, banded, delayed, or off-platform."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.model.marks import CHARACTERS, PlatformMarks
from parley.model.money import EXPONENTS, Money, UncertainMoney, in_words
from parley.model.refusals import BankUncertain, NotAllowed
from parley.model.words import Delivery, Projection, Provenance
from parley.release.coarsen import BANDS_DEFAULT, band_of, masked, rounded
from parley.release.pipeline import Declined, Released
from tests.fakes.road import CARD, CHECKING, POLICY, STATEMENT, Town, balance, build_town, row

KEY = bytes(range(32))
MARKS = PlatformMarks(KEY)
money = st.builds(Money, st.integers(-(10**13), 10**13), st.sampled_from(sorted(EXPONENTS)))
BANDED = POLICY.replace('Action::"balance.available"', 'Action::"balance.band"')


def town_with(path: Path, *annotations: str, text: str = POLICY, **grant: Any) -> Town:
    town = build_town(path)
    town.change_policy(path, text.replace("@rows_max", " ".join((*annotations, "@rows_max"))))
    if grant:
        town.change_grant(**grant)
    return town


def told(town: Town, text: str) -> str:
    """Everything that leaves: the text and the card, which say the same."""
    outcome = asyncio.run(town.ask(text))
    assert isinstance(outcome, Released), outcome.reason.code
    answer = outcome.release.answer
    return "\n".join((answer.text, answer.heading, *(f"{line.label} {line.value}" for line in answer.lines)))


@given(money, st.integers(1, 1_000_000))
def test_a_rounded_sum_is_a_step_and_never_more_than_there_is(sum: Money, step: int) -> None:
    size = step * 10 ** EXPONENTS[sum.currency]
    done = rounded(sum, step)
    assert done.minor % size == 0
    assert abs(done.minor) <= abs(sum.minor) < abs(done.minor) + size
    assert done.minor * sum.minor >= 0


@given(money)
def test_a_masked_sum_holds_only_its_first_digit(sum: Money) -> None:
    done = masked(sum)
    assert re.fullmatch(r"-?[^0-9•]*[0-9][•,.]*", in_words(done))
    assert len(str(abs(done.minor)).rstrip("0")) <= 1
    with pytest.raises(UncertainMoney):
        done + sum
    assert (-done).masked


def test_two_sums_that_differ_only_behind_the_mask_cannot_be_told_apart() -> None:
    for one, other in ((214_387, 299_999), (5, 99), (0, 42), (-777, -700)):
        assert masked(Money(one, "USD")) == masked(Money(other, "USD"))


@given(
    st.integers(-(10**13), 10**13),
    st.sampled_from(sorted(EXPONENTS)),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=6, unique=True).map(sorted),
)
def test_a_band_holds_the_sum_and_two_sums_in_it_are_told_alike(minor: int, currency: str, edges: list[int]) -> None:
    band = band_of(minor, currency, edges)
    assert band.low is not None or band.high is not None
    assert band.low is None or band.low.minor <= minor
    assert band.high is None or minor < band.high.minor
    for edge in (band.low, band.high):
        assert edge is None or edge.minor // 10 ** EXPONENTS[currency] in edges
    if band.low is not None:
        assert band_of(band.low.minor, currency, edges) == band


def test_rounded_balances_and_rows_say_that_they_are(tmp_path: Path) -> None:
    text = told(town_with(tmp_path, '@rounding("100")'), "what's my balance?")
    assert "$2,100.00 available ($2,200.00 booked)" in text
    assert "Sums are rounded down to steps of 100." in text
    assert not [figure for figure in ("2,143", "143.87", "2,200.11", ".99") if figure in text]


def test_masked_answers_are_delivered_and_hold_no_hidden_digit(tmp_path: Path) -> None:
    text = told(town_with(tmp_path, '@delivery("masked")'), "what's my balance?")
    assert "$2,•••.•• available" in text
    assert "Only the first digit of each sum is shown here." in text
    assert not [digits for digits in ("143", "87", "200.11", "50", "99") if digits in text]
    rows = told(town_with(tmp_path, delivery=Delivery.MASKED), "show my last 2 transactions")
    assert "-$4•.••" in rows and "42.17" not in rows


def test_a_yes_or_no_stays_exact_under_rounding_and_masks(tmp_path: Path) -> None:
    for annotation in ('@rounding("1000000")', '@delivery("masked")'):
        text = told(town_with(tmp_path, annotation), "can I afford 2143.87?")
        assert text.startswith("Yes,") and "•" not in text and "rounded" not in text


@pytest.mark.parametrize(
    ("edges", "minor", "said"),
    [
        (None, 214_387, "between $1,000.00 and $5,000.00 available"),
        ("0,2000,3000", 214_387, "between $2,000.00 and $3,000.00 available"),
        ("0,2000,3000", 200_000, "between $2,000.00 and $3,000.00 available"),
        ("0,2000,3000", 199_999, "between $0.00 and $2,000.00 available"),
        ("0,2000,3000", 300_000, "$3,000.00 or more available"),
        ("0,2000,3000", -1, "less than $0.00 available"),
    ],
)
def test_a_band_is_told_in_place_of_the_balance(edges: str | None, minor: int, said: str, tmp_path: Path) -> None:
    town = town_with(tmp_path, *((f'@bands("{edges}")',) if edges else ()), text=BANDED)
    town.bank.statement = msgspec.structs.replace(STATEMENT, balances=(balance(CHECKING, minor), balance(CHECKING, 5)))
    town.change_grant(accounts=(CHECKING.ref,))
    town.bank.statement = msgspec.structs.replace(STATEMENT, balances=(balance(CHECKING, minor),))
    text = told(town, "what's my balance?")
    assert text.startswith(f"Everyday Checking: {said}.")
    assert town.log.read()[-1]["d"] == "balance.band"


def test_a_debt_is_banded_by_what_is_owed(tmp_path: Path) -> None:
    town = town_with(tmp_path, text=BANDED)
    town.change_case(accounts=(CARD,))
    town.change_grant(accounts=(CARD.ref,))
    town.bank.statement = msgspec.structs.replace(STATEMENT, balances=(balance(CARD, 500_000, booked=-12_000),))
    assert told(town, "what's my balance?").startswith("Blue Card: between $100.00 and $500.00 owed.")
    town.bank.statement = msgspec.structs.replace(STATEMENT, balances=(msgspec.structs.replace(balance(CARD, 1), booked=None),))
    outcome = asyncio.run(town.ask("what's my balance?", message_id="next"))
    assert isinstance(outcome, Declined) and isinstance(outcome.reason, BankUncertain)


def test_where_the_bank_allows_only_a_band_and_the_customer_both_the_band_is_told(tmp_path: Path) -> None:
    assert "between" in told(town_with(tmp_path, text=BANDED), "what's my balance?")


def test_where_customer_and_bank_agree_on_nothing_the_answer_is_no(tmp_path: Path) -> None:
    town = town_with(tmp_path, text=BANDED, projections=frozenset({Projection.BALANCE_AVAILABLE}))
    outcome = asyncio.run(town.ask("what's my balance?"))
    assert isinstance(outcome.reason, NotAllowed)
    assert not town.bank.orders


def test_bands_have_edges_that_rise() -> None:
    assert list(BANDS_DEFAULT) == sorted(set(BANDS_DEFAULT))


def test_the_newest_days_are_not_even_asked_for_under_a_delay(tmp_path: Path) -> None:
    town = town_with(tmp_path, '@delay_days("3")')
    text = told(town, "show my last 5 transactions")
    assert "Marmot" in text and "Quillfeather" not in text and "Zephyr" not in text
    assert "Transactions of the last 3 days are not shown here." in text
    order = town.bank.orders[0]
    assert (town.clock.now.date() - order.until).days == 3


@pytest.mark.parametrize("hours", [0, 3, 4, 5, 12, 23])
def test_todays_rows_stay_back_under_a_delay_at_every_hour_of_the_banks_day(tmp_path: Path, hours: int) -> None:
    """The bank is in New York, whose evening is the next day in UTC."""
    town = town_with(tmp_path, '@delay_days("1")')
    town.clock.now = (town.clock.now + timedelta(days=1)).replace(hour=hours)
    asyncio.run(town.ask("show my last 5 transactions"))
    (order,) = town.bank.orders
    assert order.until < town.clock.now.astimezone(town.house.time_zone).date()
    assert order.until < town.clock.now.date()


def test_a_delay_longer_than_what_was_asked_is_a_no_and_not_an_empty_list(tmp_path: Path) -> None:
    town = town_with(tmp_path, '@delay_days("31")')
    outcome = asyncio.run(town.ask("show my last 5 transactions"))
    assert isinstance(outcome.reason, NotAllowed)
    assert not town.bank.orders


def test_off_platform_rows_stay_back_one_by_one(tmp_path: Path) -> None:
    town = town_with(tmp_path, provenance=Provenance.ON_PLATFORM)
    town.house = replaced(town, MARKS)
    rows = (
        row(1, -100, "Here", provenance_id=MARKS.give("parley-web", b"n" * 8)),
        row(2, -200, "Elsewhere"),
        row(3, -300, "Other App", provenance_id=MARKS.give("other-app", b"n" * 8)),
        row(4, -400, "Forger", provenance_id=PlatformMarks(b"f" * 32).give("parley-web", b"n" * 8)),
        row(5, -500, "Liar", provenance_id="ON-PLATFORM"),
    )
    town.bank.statement = msgspec.structs.replace(STATEMENT, transactions=rows)
    text = told(town, "show my last 5 transactions")
    assert "Here" in text and "-$1.00" in text
    assert not [word for word in ("Elsewhere", "Other App", "Forger", "Liar") if word in text]
    assert "Only transactions made through this chat are shown here." in text
    assert town.log.read()[-1]["n"] == 0


def test_without_marks_of_ours_every_row_is_off_platform_and_none_is_not_said_to_be_none(tmp_path: Path) -> None:
    town = town_with(tmp_path, provenance=Provenance.ON_PLATFORM)
    text = told(town, "show my last 5 transactions")
    assert "There is nothing to show here" in text and "There are no transactions" not in text
    assert town.bank.orders[0].rows_max == 100


@given(st.text(max_size=40) | st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567=", min_size=CHARACTERS, max_size=CHARACTERS) | st.none())
def test_no_text_that_we_did_not_give_is_a_mark(text: str | None) -> None:
    assert not MARKS.recognises(text, "parley-web")


def test_a_mark_is_known_again_for_its_platform_only() -> None:
    mark = MARKS.give("parley-web", b"12345678")
    assert len(mark) == CHARACTERS and re.fullmatch(r"[A-Z2-7]+", mark)
    assert MARKS.recognises(mark, "parley-web")
    assert not MARKS.recognises(mark, "parley-we")
    assert not MARKS.recognises(mark.lower(), "parley-web")
    assert not any(MARKS.recognises(mark[:at] + ("A" if mark[at] != "A" else "B") + mark[at + 1 :], "parley-web") for at in range(CHARACTERS))
    assert KEY.hex() not in repr(MARKS)
    for short in (b"", b"k" * 31):
        with pytest.raises(ValueError):
            PlatformMarks(short)


def replaced(town: Town, marks: PlatformMarks) -> Any:
    return replace(town.house, marks=marks)
