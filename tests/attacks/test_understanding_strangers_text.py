"""Text that is meant to break, slow down or mislead the understanding."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import date
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.model.extensions import OfferingCard, Understood
from parley.model.refusals import NotUnderstood
from parley.understanding import KeywordUnderstanding, keywords
from parley.understanding.keywords import TEXT_CHARACTERS_MAX

CARDS = tuple(OfferingCard(name, name, ()) for name in ("afford", "balance", "transactions"))
UNDERSTANDING = KeywordUnderstanding()


def understand(text: str, nicknames: tuple[str, ...] = ()) -> Understood | None:
    """What is made of the text; any exception but NotUnderstood goes through and fails the test."""
    try:
        return UNDERSTANDING.understand(text, offerings=CARDS, nicknames=nicknames, today=date(2026, 11, 22))
    except NotUnderstood:
        return None


PIECES = ("balance", "afford", "can i pay", "last", "usd", *"$€19,.k -/½\u0660\u202e\n\x00\ud800")
pieces = st.sampled_from(PIECES)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=600) | st.lists(pieces, max_size=80).map("".join), st.lists(st.text(max_size=12), max_size=4).map(tuple))
def test_no_text_and_no_nickname_raises_anything_but_not_understood(text: str, nicknames: tuple[str, ...]) -> None:
    made = understand(text, nicknames)
    if made is not None:
        slots = made.slots
        assert slots.amount is None or (slots.amount.is_finite() and slots.amount >= 0)
        assert slots.count is None or 1 <= slots.count <= 100
        assert (slots.amount is None) == (made.offering != "afford")


NOTHINGS = ["", " ", "\n", "\u200b", "😀" * 100, "'; DROP TABLE grants; --", "../../etc/passwd", "%s%n", "\x00" * 50, "\ud800"]


@pytest.mark.parametrize("text", NOTHINGS, ids=ascii)
def test_nothing_is_made_of_nothing(text: str) -> None:
    assert understand(text) is None


@pytest.mark.parametrize("filling", ["balance ", "9", "1,", "$1 ", "a" * 9 + " ", "\ufdfa", "( "])
def test_a_text_too_long_is_not_read_at_all(filling: str) -> None:
    long = (filling * 10_000)[:10_000]
    assert understand(long) is None
    assert calls(long) <= 10


def test_a_text_of_the_longest_length_is_still_read() -> None:
    assert understand("balance" + " " * (TEXT_CHARACTERS_MAX - 7)) is not None
    assert understand("balance" + " " * (TEXT_CHARACTERS_MAX - 6)) is None


def calls(text: str) -> int:
    """How many calls the understanding makes for a text: work, not time."""
    count = 0

    def counted(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        understand(text)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("filling", ["9", "1,", "9 ", "last ", "how much ", "$9 ", "usd", "can i ", "½", "9k"])
def test_the_work_grows_with_the_text_and_not_with_its_square(filling: str) -> None:
    start = "afford transactions "
    short, long = (calls(start + (filling * 500)[:length]) for length in (100, 400))
    assert long <= 5 * short


def patterns() -> dict[str, re.Pattern[str]]:
    return {name: value for name, value in vars(keywords).items() if isinstance(value, re.Pattern)}


def repeats(tree: Any) -> Iterator[int]:
    """The upper bound of every repeat in a parsed pattern, however deep."""
    for operator, argument in tree:
        if str(operator) in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            yield int(argument[1])
            yield from repeats(argument[2])
        elif str(operator) == "BRANCH":
            for branch in argument[1]:
                yield from repeats(branch)
        elif str(operator) == "SUBPATTERN":
            yield from repeats(argument[3])
        elif str(operator) in ("ASSERT", "ASSERT_NOT"):
            yield from repeats(argument[1])
        elif str(operator) == "ATOMIC_GROUP":
            yield from repeats(argument)


def test_no_pattern_repeats_anything_without_a_bound() -> None:
    """A regular expression whose every repeat is bounded does a bounded piece of work at each place of the text: it cannot be made to hang."""
    import re._parser as parser  # type: ignore[import-not-found]

    assert len(patterns()) >= 10
    for name, pattern in patterns().items():
        bounds = list(repeats(parser.parse(pattern.pattern, pattern.flags)))
        assert max(bounds, default=0) <= 40, name
    assert max(repeats(parser.parse(r"(?:a(?=b{2,}))"))) > 1_000_000


def test_a_nickname_is_matched_as_words_and_never_as_a_pattern() -> None:
    for nickname in (".*", "(a+)+$", "[", "\\", "balance"):
        made = understand(f"balance of {nickname}", (nickname,))
        assert made is not None
        assert made.slots.account == nickname
    made = understand("balance of savingsx", (".*",))
    assert made is not None
    assert made.slots.account is None


def test_a_nickname_is_kept_in_no_cache() -> None:
    understand("balance of Zebrapot", ("Zebrapot",))
    assert not [key for key in getattr(re, "_cache", {}) if "zebrapot" in str(key).casefold()]


def test_a_yes_or_no_question_is_never_answered_with_more() -> None:
    """Where "afford" is not offered, the balance does not take its place."""
    fewer = tuple(card for card in CARDS if card.name != "afford")
    with pytest.raises(NotUnderstood):
        UNDERSTANDING.understand("can I afford 640, how much is left?", offerings=fewer, nicknames=(), today=date(2026, 11, 22))
