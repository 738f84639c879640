"""Writes the pages that are made from code: docs/settings.md and docs/refusals.md. `make docs` runs it; a test fails when they are stale."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parley.model import refusals
from parley.model.refusals import BAD_INPUT, Basis, Fault, NotUnderstood, Refusal
from parley.settings import describe

ROOT = Path(__file__).parent.parent


def settings_page() -> str:
    lines = [
        "# Settings",
        "",
        "Made from `src/parley/settings.py` by `make docs`. `parley init` writes a file with all of them; unknown keys stop the start.",
        "",
    ]
    lines += ["Keys of `[[banks]]`, `[[assistant_hosts]]` and `[[linked_platforms]]` stand at the end.", ""]
    lines += ["| setting | type | default | what it does |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {kind} | `{default}` | {help_text} |" for name, kind, default, help_text in describe()]
    return "\n".join(lines) + "\n"


def refusals_page() -> str:
    lines = [
        "# Why an answer was not given",
        "",
        "Made from `src/parley/model/refusals.py` by `make docs`. Codes are stable. A refusal is logged without identity; a fault means that",
        "something broke, nothing left, and asking again is safe.",
        "",
        "## Refusals",
        "",
        "| code | rests on | what the customer reads |",
        "|---|---|---|",
    ]
    lines += [f"| `{code}` | {basis.value.replace('_', ' ')} | {words or '(no reply)'} |" for code, basis, words in refusal_rows()]
    lines += ["", "## Words that fit nothing", "", "| code | what the customer reads |", "|---|---|"]
    lines += [f"| `{each.code}` | {each.plain_words} |" for each in family(NotUnderstood)]
    lines += ["", "## Faults", "", "| code | what the customer reads |", "|---|---|"]
    lines += [f"| `{each.code}` | {each.plain_words} |" for each in family(Fault)]
    return "\n".join(lines) + "\n"


def refusal_rows() -> Iterator[tuple[str, Basis, str]]:
    for each in family(Refusal):
        if each.__name__ not in ("Refusal", "BadInput"):
            yield each.code, each.basis, each.plain_words
    for code, words in BAD_INPUT.items():
        yield code, Basis.INPUT, words


def family(root: type[Any]) -> list[type[Any]]:
    found = [each for each in vars(refusals).values() if isinstance(each, type) and issubclass(each, root)]
    return sorted(found, key=lambda each: each.code)


PAGES = {"docs/settings.md": settings_page, "docs/refusals.md": refusals_page}


def main() -> None:
    for name, page in PAGES.items():
        (ROOT / name).write_text(page())


if __name__ == "__main__":
    main()
