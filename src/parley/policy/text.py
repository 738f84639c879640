"""Cedar text cut into statements, with limits, before any parser sees it.

The parser behind `cedarpy` is native code and recursive: some thousand nested brackets or chained operators overflow its stack and end the
process, which no exception handler survives. A policy text may come from an officer's browser, so its depth is counted first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from parley.policy.rejection import PolicyRejected

TEXT_BYTES_MAX = 4 * 1024 * 1024
RULES_MAX = 5_000
RULE_CHARACTERS_MAX = 20_000
NESTING_MAX = 24
OPERATORS_MAX = 120
"""Signs that may build a tree: `&& || ! == . ::` and their kin outside of quoted words. 2,000 of them end the process, 200 do not."""

TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n\r]*|\bif\b|[&|!=<>+*.-]|[()\[\]{}]|;')
LEAD = re.compile(r"(?:\s+|//[^\n\r]*)*")
"""What may stand between two rules."""
OPENING, CLOSING, OPERATORS = frozenset("([{"), frozenset(")]}"), frozenset("&|!=<>+*.-") | {"if"}


class Statement(msgspec.Struct, frozen=True):
    """One rule as it stands in the file: its text, the line that it starts on, and its `@id` where it has one."""

    text: str
    line: int
    id: str

    @property
    def place(self) -> str:
        return f"line {self.line}, rule {self.id}" if self.id else f"line {self.line}"


def decoded(source: bytes, where: str) -> str:
    """The text of a file. Raises PolicyRejected where it is too large or not UTF-8."""
    if len(source) > TEXT_BYTES_MAX:
        raise PolicyRejected(f"{where}: larger than {TEXT_BYTES_MAX} bytes. Merge rules that differ only in their lists.")
    try:
        return source.decode()
    except UnicodeDecodeError as error:
        raise PolicyRejected(f"{where}: byte {error.start} is not UTF-8 text. Save the file as UTF-8.") from None


def statements(text: str, where: str) -> tuple[Statement, ...]:
    """Every rule of the text. Raises PolicyRejected where there are too many, or one is longer or deeper than a parser should be given."""
    found: list[Statement] = []
    for statement in cut(text, where):
        found.append(statement)
        if len(found) > RULES_MAX:
            raise PolicyRejected(f"{where}: more than {RULES_MAX} rules. Merge rules that differ only in their lists.")
    return tuple(found)


def cut(text: str, where: str) -> Iterator[Statement]:
    """Statements end at a semicolon outside of quoted words and comments. What follows the last one is a statement that never ends."""
    start, line = skip(text, 0, 1)
    depth = operators = 0
    for match in TOKEN.finditer(text):
        sign, end = match.group(), match.end()
        depth += (sign in OPENING) - (sign in CLOSING)
        operators += sign in OPERATORS
        if depth > NESTING_MAX or operators > OPERATORS_MAX or end - start > RULE_CHARACTERS_MAX:
            place = statement_of(text[start:end], line).place
            raise PolicyRejected(f"{where}: {place}: too long or too deeply nested to be reviewed. Split it into several rules.")
        if sign == ";":
            yield statement_of(text[start:end], line)
            start, line = skip(text, end, line + text.count("\n", start, end))
            depth = operators = 0
    if start < len(text):
        place = statement_of(text[start : start + RULE_CHARACTERS_MAX], line).place
        raise PolicyRejected(f"{where}: {place}: the rule does not end. Close its brackets and quotes, and end it with a semicolon.")


def skip(text: str, end: int, line: int) -> tuple[int, int]:
    """Where the next rule begins, and on which line."""
    match = LEAD.match(text, end)
    begin = match.end() if match else end
    return begin, line + text.count("\n", end, begin)


ID = re.compile(r'@id\s*\(\s*"([^"\\\n]{1,80})"\s*\)')


def statement_of(text: str, line: int) -> Statement:
    """For messages only: what a rule's id truly is, the parser says."""
    match = ID.search(text)
    return Statement(text, line, match.group(1) if match else "")
