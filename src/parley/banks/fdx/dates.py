"""Timestamps as banks write them: with Z, with +05:00 or -0500, without a zone, or only a day."""

from __future__ import annotations

from datetime import UTC, datetime

from parley.model.ledger import Quality

CHARS_MAX = 40
_WHOLE: frozenset[Quality] = frozenset()
_NO_TIME = frozenset({Quality.DATE_WITHOUT_TIME})
_NO_ZONE = frozenset({Quality.DATE_WITHOUT_ZONE})


class BadDate(ValueError):
    """Not a date. The message never holds the text."""


def read_moment(text: str) -> tuple[datetime, frozenset[Quality]]:
    """The moment in UTC, and what it lacked.

    A day without a time is the start of that day and a time without a zone is taken as UTC, both flagged: so the day that the bank wrote is
    the day that the customer sees. Raises BadDate.
    """
    if not 10 <= len(text) <= CHARS_MAX or text[4] != "-":
        raise BadDate("not a date")
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is UTC:
            return moment, _WHOLE
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC), _NO_TIME if len(text) == 10 else _NO_ZONE
        return moment.astimezone(UTC), _WHOLE
    except (ValueError, OverflowError):
        raise BadDate("not a date") from None
