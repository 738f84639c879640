"""What people type, one line each in keywords.txt."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from parley.model.extensions import OfferingCard, Understood
from parley.model.refusals import NotUnderstood
from parley.model.stages import Slots
from parley.understanding import KeywordUnderstanding

NICKNAMES = ("Everyday Checking", "Rainy Day", "Blue Card", "Fun")
CARDS = tuple(OfferingCard(name, name, ()) for name in ("afford", "balance", "transactions"))
LINES = [
    line.split(" => ") for line in Path(__file__).with_name("keywords.txt").read_text().splitlines() if " => " in line and not line.startswith("#")
]


def expected(words: str) -> Understood | None:
    if words == "nothing":
        return None
    offering, _, rest = words.partition(" ")
    account = re.search(r'account="([^"]*)"', rest)
    count = re.search(r"count=(\d+)", rest)
    amount = re.match(r"([\d.]+)(?: ([A-Z]{3}))?", rest)
    return Understood(
        offering,
        Slots(
            amount=Decimal(amount[1]) if amount else None,
            currency=amount[2] if amount else None,
            account=account[1] if account else None,
            count=int(count[1]) if count else None,
        ),
    )


def understood(text: str) -> Understood | None:
    try:
        return KeywordUnderstanding().understand(text, offerings=CARDS, nicknames=NICKNAMES, today=date(2026, 11, 22))
    except NotUnderstood:
        return None


def plain(understanding: Understood | None) -> str:
    """Slots print as stars, which helps nobody here."""
    if understanding is None:
        return "nothing"
    slots = understanding.slots
    amount = None if slots.amount is None else f"{slots.amount.normalize():f}"
    return f"{understanding.offering} {amount} {slots.currency} {slots.account} {slots.count}"


def test_there_are_enough_phrasings() -> None:
    assert len(LINES) >= 120
    assert len({text for text, _ in LINES}) == len(LINES)


@pytest.mark.parametrize(("text", "words"), LINES, ids=[text for text, _ in LINES])
def test_what_people_type_is_understood_as_written_beside_it(text: str, words: str) -> None:
    assert plain(understood(text)) == plain(expected(words))
