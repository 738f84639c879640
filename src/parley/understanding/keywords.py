"""A small understanding by keywords, behind the interface that a trained one will use."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from parley.model.extensions import OfferingCard, Understood
from parley.model.money import EXPONENTS
from parley.model.refusals import NotUnderstood, StopAsked
from parley.model.stages import Slots

TEXT_CHARACTERS_MAX = 500
ROWS_ASKED_MAX = 100

# No pattern here repeats anything without a bound, so the work grows with the text and not with its square. A test reads them for that.
DOING = re.compile(
    r"^(?:please |hey |hi |hello |can you |could you |will you |would you |i want to |i want you to |i'd like to |i need to ){0,3}"
    r"(?:transfer|send|move|pay|buy|order|open|close|cancel|block|unblock|freeze|lend|borrow|invest|donate|wire|withdraw|deposit)\b"
)
"""To do something is not offered: "send money to Bob" must not be answered with a balance."""
REFRAINING = re.compile(r"\b(?:stop|don't|dont|do not|never|revoke|unlink|disconnect|unsubscribe|delete|erase|forget|no longer|without)\b")
"""Nor is a balance the answer to "stop sharing my balance". Nothing is read for a sentence that takes something back."""
STOP = frozenset({"stop", "stop sharing", "stop it", "revoke", "unlink", "disconnect", "forget me"})
AFFORD = re.compile(
    r"\bafford\b|\b(?:can|could) i (?:\w{1,12} ){0,1}(?:pay|spend|buy)\b|\b(?:have|got|is there) enough\b|\benough (?:money )?(?:for|to)\b"
)
TRANSACTIONS = re.compile(
    r"\b(?:transactions?|payments?|purchases?|charges?|charged|spen[dt]|spending|activity|statement|bought|debits?|deposits?|withdrawals?)\b"
    r"|\bwhat did i (?:buy|pay)\b"
)
BALANCE = re.compile(
    r"\bbalances?\b|\bfunds\b|\bdo i owe\b|\bi owe\b"
    r"|\bhow much (?:\w{1,12} ){0,3}(?:have|has|got|left|there|available|owe|owed|in|on|remains|remaining)\b|\bhow much's (?:left|in|on)\b"
    r"|\bwhat (?:do i have|have i got|is left|do i owe|is in)\b|\bwhat's (?:left|in)\b"
    r"|\bmoney (?:do i have|have i|left|is left|is there|in)\b"
)

FIGURE = r"\d[\d,.]{0,30}+"
CODES = "|".join(code.casefold() for code in EXPONENTS)
WORDS = r"dollars?|bucks|euros?|pounds?|yen|francs?"
NOT_BEFORE = r"(?<![\w.,/:$€£¥-])"
NOT_AFTER = r"(?![\w/:%⁄$€£¥-])"
MARKED_AMOUNT = re.compile(
    rf"(?<![\w-])(?P<sign>[$€£¥]) ?(?P<figure>{FIGURE})(?P<thousand>k?){NOT_AFTER}"
    rf"|(?<![\w-])(?P<code>{CODES}) ?(?P<figure_after>{FIGURE})(?P<thousand_after>k?){NOT_AFTER}"
    rf"|{NOT_BEFORE}(?P<figure_first>{FIGURE})(?P<thousand_first>k?) ?(?P<word>{CODES}|{WORDS}|[$€£¥])(?![\w/:%⁄-])"
)
BARE_AMOUNT = re.compile(rf"{NOT_BEFORE}({FIGURE})(k?){NOT_AFTER}")
COUNT = re.compile(
    r"\b(?:last|latest|recent|past|newest|top) (\d{1,4})\b(?! (?:seconds?|minutes?|hours?|days?|nights?|weeks?|months?|quarters?|years?)\b)"
    r"|\b(\d{1,4}) (?:\w{1,12} ){0,2}(?:transactions?|payments?|purchases?|charges?|debits?|deposits?)\b"
    r"|\b(\d{1,4}) (?:last|latest|recent|most recent|newest)\b"
)
ONE = re.compile(r"\b(?:last|latest|newest|most recent) (?:transaction|payment|purchase|charge|debit|deposit)\b")
NUMBER_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twenty": 20}
CURRENCIES = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "dollar": "USD", "dollars": "USD", "bucks": "USD", "euro": "EUR", "euros": "EUR"}
CURRENCIES |= {"pound": "GBP", "pounds": "GBP", "yen": "JPY", "franc": "CHF", "francs": "CHF"} | {code.casefold(): code for code in EXPONENTS}
PLAIN = re.compile(r"[1-9]\d{0,14}|0")
GROUPED = re.compile(r"[1-9]\d{0,2}([.,])\d{3}(?:\1\d{3}){0,3}")
CENTS = re.compile(r"([.,])(\d{1,2})$")
KINDS = {
    "credit card": "credit card",
    "savings": "savings",
    "saving account": "savings",
    "checking": "checking",
    "chequing": "checking",
    "current account": "checking",
    "mortgage": "loan",
    "loan": "loan",
}
"""Words for the kinds of parley.model.ledger.AccountKind, written with a space."""


class KeywordUnderstanding:
    """Implements parley.model.extensions.Understanding with a few words for each offering."""

    def understand(self, text: str, *, offerings: Sequence[OfferingCard], nicknames: Sequence[str], today: date) -> Understood:
        if len(text) > TEXT_CHARACTERS_MAX:
            raise NotUnderstood()
        words = normalise(text)
        if words.strip(" .!") in STOP:
            raise StopAsked()
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
    """NFKC, lower case, straight apostrophes, single spaces. A superscript or a fraction would melt into the digits beside it: it becomes `_`."""
    if text.isascii():
        return " ".join(text.casefold().split())  # None of the rest can stand in it.
    marked = "".join("_" if unicodedata.category(sign) == "No" else sign for sign in text)
    folded = unicodedata.normalize("NFKC", marked).casefold().replace("’", "'").replace("−", "-")
    return " ".join(folded.split())


def likely(words: str) -> list[str]:
    """Offerings by how telling their words are: a yes or no before rows, rows before a sum."""
    if DOING.search(words) or REFRAINING.search(words):
        return []
    if AFFORD.search(words):
        return ["afford"]  # A yes or no was asked for; where that is not offered, nothing that tells more takes its place.
    signs = (("transactions", TRANSACTIONS), ("balance", BALANCE))
    return [name for name, sign in signs if sign.search(words)][:1]


def amount_in(words: str) -> tuple[Decimal | None, str | None]:
    """(amount in major units, currency or None). A figure with a currency wins over a bare one; two of a kind are one too many."""
    marked = {read_marked(found) for found in MARKED_AMOUNT.finditer(words)}
    if marked:
        return marked.pop() if len(marked) == 1 else (None, None)
    bare = BARE_AMOUNT.findall(words)
    return (exact(*bare[0]) if len(bare) == 1 else None), None


def read_marked(found: re.Match[str]) -> tuple[Decimal | None, str]:
    figure = found["figure"] or found["figure_after"] or found["figure_first"]
    thousand = found["thousand"] or found["thousand_after"] or found["thousand_first"] or ""
    return exact(figure, thousand), CURRENCIES[found["sign"] or found["code"] or found["word"]]


def exact(figure: str, thousand: str = "") -> Decimal | None:
    """`1,200.50`, `1.200,50`, `640`, `1.5k`: the last separator before one or two digits is the point; anything stranger is not guessed at."""
    figure = figure.rstrip(".,")
    point = CENTS.search(figure)
    whole = figure[: point.start()] if point else figure
    grouped = GROUPED.fullmatch(whole)
    if not (grouped or PLAIN.fullmatch(whole)) or (grouped and point and grouped[1] == point[1]):
        return None
    amount = Decimal(re.sub(r"\D", "", whole) + (f".{point[2]}" if point else ""))
    return amount * 1000 if thousand else amount


def count_in(words: str) -> int | None:
    spelt = " ".join(str(NUMBER_WORDS.get(word, word)) for word in words.split())
    found = COUNT.search(spelt)
    if found is None:
        return 1 if ONE.search(words) else None
    return max(1, min(int(found[1] or found[2] or found[3]), ROWS_ASKED_MAX))


def account_named(words: str, nicknames: Sequence[str]) -> str | None:
    """The nickname that the question names, the longest first; else a kind of account; else none."""
    for nickname in sorted(nicknames, key=len, reverse=True):
        if stands_in(words, normalise(nickname)):
            return nickname
    return next((kind for word, kind in KINDS.items() if word in words and stands_in(words, word)), None)


def stands_in(words: str, part: str) -> bool:
    """Whether `part` stands in `words` as whole words. Not a pattern: compiled ones are kept, and a nickname is not to be."""
    at = words.find(part) if part else -1
    while at >= 0:
        before, after = words[at - 1 : at] if at else "", words[at + len(part) : at + len(part) + 1]
        if not (before.isalnum() or after.isalnum()):
            return True
        at = words.find(part, at + 1)
    return False
