"""A small understanding by keywords, behind the interface that a trained one will use."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from parley.model.extensions import OfferingCard, Understood
from parley.model.refusals import NotUnderstood
from parley.model.stages import Slots

ROWS_ASKED_MAX = 100

AFFORD = re.compile(r"\bafford\b|\b(?:can|could) i (?:pay|spend|buy)\b|\b(?:have|got|is there) enough\b|\benough (?:money )?(?:for|to)\b")
TRANSACTIONS = re.compile(
    r"\b(?:transactions?|payments?|purchases?|charges?|spen[dt]|spending|activity|statement|bought)\b|\bwhat did i (?:buy|pay)\b"
)
BALANCE = re.compile(r"\bbalances?\b|\bhow much\b|\bwhat do i have\b|\bfunds\b|\bmoney\b|\bowe\b")
MARKED_AMOUNT = re.compile(
    r"(?P<sign>[$€£¥])\s?(?P<figure>\d[\d,.]*)|(?P<figure_first>\d[\d,.]*)\s?(?P<word>usd|eur|gbp|jpy|dollars?|bucks|euros?|pounds?|yen|[$€£¥])(?!\w)"
)
BARE_AMOUNT = re.compile(r"(?<![\w.,])(\d[\d,.]*)(?!\w)")
COUNT = re.compile(r"\b(?:last|latest|recent|past|newest)\s+(\d{1,4})\b|\b(\d{1,4})\s+(?:last|latest|recent|most recent|newest)\b")
NUMBER_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twenty": 20}
CURRENCIES = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "usd": "USD", "eur": "EUR", "gbp": "GBP", "jpy": "JPY", "dollar": "USD"}
CURRENCIES |= {"dollars": "USD", "bucks": "USD", "euro": "EUR", "euros": "EUR", "pound": "GBP", "pounds": "GBP", "yen": "JPY"}
KINDS = ("credit card", "savings", "checking", "loan", "mortgage")


class KeywordUnderstanding:
    """Implements parley.model.extensions.Understanding with a few words for each offering."""

    def understand(self, text: str, *, offerings: Sequence[OfferingCard], nicknames: Sequence[str], today: date) -> Understood:
        words = normalise(text)
        known = {card.name for card in offerings}
        offering = next((name for name in likely(words) if name in known), None)
        if offering is None:
            raise NotUnderstood()
        account = account_named(words, nicknames)
        if offering == "afford":
            amount, currency = amount_in(words)
            if amount is None:
                raise NotUnderstood()
            return Understood(offering, Slots(amount=amount, currency=currency, account=account))
        return Understood(offering, Slots(account=account, count=count_in(words) if offering == "transactions" else None))


def normalise(text: str) -> str:
    """NFKC, lower case, straight apostrophes, single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return " ".join(folded.split())


def likely(words: str) -> list[str]:
    """Offerings by how telling their words are: a yes or no before rows, rows before a sum."""
    signs = (("afford", AFFORD), ("transactions", TRANSACTIONS), ("balance", BALANCE))
    return [name for name, sign in signs if sign.search(words)]


def amount_in(words: str) -> tuple[Decimal | None, str | None]:
    """(amount in major units, currency or None). A figure with a currency wins over a bare one; two bare figures are one too many."""
    if found := MARKED_AMOUNT.search(words):
        figure = found["figure"] or found["figure_first"]
        return exact(figure), CURRENCIES[found["sign"] or found["word"]]
    bare = BARE_AMOUNT.findall(words)
    return (exact(bare[0]) if len(bare) == 1 else None), None


def exact(figure: str) -> Decimal | None:
    """`1,200.50`, `1.200,50`, `640`: the last separator before one or two digits is the point; anything stranger is not guessed at."""
    figure = figure.rstrip(".,")
    point = re.search(r"[.,](\d{1,2})$", figure)
    whole, cents = (figure[: point.start()], point[1]) if point else (figure, "")
    if not re.fullmatch(r"\d{1,15}|\d{1,3}(?:[.,]\d{3}){1,4}", whole):
        return None
    return Decimal(re.sub(r"\D", "", whole) + (f".{cents}" if cents else ""))


def count_in(words: str) -> int | None:
    spelt = " ".join(str(NUMBER_WORDS.get(word, word)) for word in words.split())
    found = COUNT.search(spelt)
    if found is None:
        return 1 if re.search(r"\b(?:last|latest) (?:transaction|payment|purchase|charge)\b", words) else None
    return max(1, min(int(found[1] or found[2]), ROWS_ASKED_MAX))


def account_named(words: str, nicknames: Sequence[str]) -> str | None:
    """The nickname that the question names, the longest first; else a kind of account; else none."""
    for nickname in sorted(nicknames, key=len, reverse=True):
        if nickname and re.search(rf"(?<!\w){re.escape(normalise(nickname))}(?!\w)", words):
            return nickname
    return next((kind for kind in KINDS if kind in words), None)
