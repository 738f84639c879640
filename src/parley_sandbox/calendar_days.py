"""Calendar arithmetic for made-up lives: months, their days, and the window of history that the bank keeps."""

from collections.abc import Iterator
from datetime import date, timedelta

HISTORY_MONTHS = 24


def history_start(today: date) -> date:
    """The first day of history: the first of the month, 24 months before today's month."""
    return date(today.year - HISTORY_MONTHS // 12, today.month, 1)


def days(start: date, end: date) -> Iterator[date]:
    """Every day from start to end, both included."""
    for offset in range((end - start).days + 1):
        yield start + timedelta(days=offset)


def months(start: date, end: date) -> Iterator[date]:
    """The first day of every month from start's to end's."""
    month = start.replace(day=1)
    while month <= end:
        yield month
        month = (month + timedelta(days=32)).replace(day=1)


def on(month: date, day: int) -> date:
    """That day of the month, or the month's last day where it is shorter."""
    last = (month + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    return month.replace(day=min(day, last.day))


def months_between(earlier: date, later: date) -> int:
    """Whole calendar months between two days, by month number only."""
    return (later.year - earlier.year) * 12 + later.month - earlier.month
