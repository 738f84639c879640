"""Pictures drawn on the server: no script, no colour alone, and every number also stands in a table beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

WIDTH, HEIGHT = 640, 200
LEFT, BOTTOM, TOP = 44, 24, 12
DAYS_SHOWN = 30
SERIES_MAX = 6
"""Kinds that are told apart in a picture, by colour and pattern; what is beyond them is summed up."""
REST = "all others"


class Bar(NamedTuple):
    """A rectangle in the picture's own units, and what to say of it."""

    x: float
    y: float
    width: float
    height: float
    series: int
    title: str


class Tick(NamedTuple):
    """A place on an axis and its words."""

    at: float
    words: str


class Chart(NamedTuple):
    """Everything that a template needs to draw. `rows`: the same numbers for the table: (day, a count for each series)."""

    title: str
    summary: str
    series: tuple[str, ...]
    bars: tuple[Bar, ...]
    heights: tuple[Tick, ...]
    days: tuple[Tick, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    total: int


def over_time(title: str, counts: Mapping[tuple[date, str], int], today: date) -> Chart:
    """Stacked bars of the last 30 days, one stack a day, one colour and pattern for each of the largest kinds."""
    first = today - timedelta(days=DAYS_SHOWN - 1)
    shown = {(day, name): count for (day, name), count in counts.items() if first <= day <= today}
    names = largest(shown)
    days = [first + timedelta(days=number) for number in range(DAYS_SHOWN)]
    table = [tuple(summed(shown, day, name, names) for name in names) for day in days]
    highest = nice(max((sum(row) for row in table), default=0))
    bars = tuple(bar for number, row in enumerate(table) for bar in stack(number, days[number], row, names, highest))
    total = sum(map(sum, table))
    return Chart(
        title=title,
        summary=said(title, total, names, table, first, today),
        series=tuple(names),
        bars=bars,
        heights=tuple(Tick(y_of(value, highest), f"{value:,}") for value in sorted({0, highest // 2, highest})),
        days=tuple(Tick(x_of(number) + column() / 2, f"{days[number]:%d %b}") for number in range(2, DAYS_SHOWN, 8)),
        rows=tuple((day.isoformat(), row) for day, row in zip(days, table, strict=True) if any(row)),
        total=total,
    )


def largest(shown: Mapping[tuple[date, str], int]) -> Sequence[str]:
    totals: dict[str, int] = {}
    for (_, name), count in shown.items():
        totals[name] = totals.get(name, 0) + count
    names = sorted(totals, key=lambda name: (-totals[name], name))
    return names if len(names) <= SERIES_MAX else [*names[: SERIES_MAX - 1], REST]


def summed(shown: Mapping[tuple[date, str], int], day: date, name: str, names: Sequence[str]) -> int:
    if name == REST:
        return sum(count for (on, other), count in shown.items() if on == day and other not in names)
    return shown.get((day, name), 0)


def stack(number: int, day: date, row: Sequence[int], names: Sequence[str], highest: int) -> list[Bar]:
    bars, below = [], 0
    for series, count in enumerate(row):
        if count:
            top, floor = y_of(below + count, highest), y_of(below, highest)
            words = f"{day.isoformat()}, {names[series]}: {count:,}"
            bars.append(Bar(round(x_of(number) + 2, 1), round(top, 1), round(column() - 4, 1), round(floor - top, 1), series, words))
        below += count
    return bars


def said(title: str, total: int, names: Sequence[str], table: Sequence[Sequence[int]], first: date, last: date) -> str:
    """The picture in words, for whoever does not see it."""
    if not total:
        return f"{title}: none from {first.isoformat()} to {last.isoformat()}."
    parts = [f"{name} {sum(row[place] for row in table):,}" for place, name in enumerate(names)]
    return f"{title}: {total:,} from {first.isoformat()} to {last.isoformat()}. " + "; ".join(parts) + "."


def nice(highest: int) -> int:
    """The top of the axis: an even number with one leading digit, at least 2."""
    step = int(10 ** (len(str(highest)) - 1))
    top = -(-highest // step) * step
    return max(top + top % 2, 2)


def column() -> float:
    return (WIDTH - LEFT) / DAYS_SHOWN


def x_of(number: int) -> float:
    return round(LEFT + number * column(), 2)


def y_of(value: int, highest: int) -> float:
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / highest), 2)
