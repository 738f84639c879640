"""Text that strangers wrote, made harmless: anyone can write into a customer's history by sending her one cent."""

from __future__ import annotations

import re
import unicodedata

TEXT_CHARS_MAX = 64
_READ_MAX = 1024
"""Beyond this nothing is even looked at: normalising can grow a text eighteenfold."""

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control (with ANSI's ESC), format (zero width, bidi, tags U+E0000), surrogates, private use, unassigned, line and paragraph separators."""

_BLANK = re.compile(r"[\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800\u034f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Characters that count as letters, marks or symbols yet show nothing: fillers, an empty braille cell, variation selectors."""

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]?|\x9b[0-?]*[ -/]*[@-~]?")
_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*")
_PLAIN_WORDS = re.compile(r"[!-/:-~]+(?: [!-/:-~]+)*")
_LONG_NUMBER = re.compile(r"[0-9](?:[ .\-]?[0-9]){4,}")


def clean(text: str) -> str:
    """One line of visible characters, NFKC, at most 64; may be empty. Nothing is escaped here: that is for the page that shows it."""
    if len(text) <= TEXT_CHARS_MAX and _PLAIN.fullmatch(text):
        return text
    text = _ANSI.sub("", text[:_READ_MAX])
    text = unicodedata.normalize("NFKC", re.sub(r"\s", " ", text))
    text = "".join(character for character in text if unicodedata.category(character) not in _UNSEEN)
    text = " ".join(_BLANK.sub("", text).split())
    return unicodedata.normalize("NFKC", text)[:TEXT_CHARS_MAX].strip()


def clean_name(text: str) -> str:
    """`clean`, and any number of five digits or more shortened to its last four: names and descriptors often carry account and card numbers."""
    if len(text) <= TEXT_CHARS_MAX and _PLAIN_WORDS.fullmatch(text):
        return text  # Plain and without a digit, as most names: there is nothing to be done.
    cleaned = clean(text)
    shortened = _LONG_NUMBER.sub(_last_four, cleaned)
    return cleaned if shortened == cleaned == text else clean(shortened)


def _last_four(match: re.Match[str]) -> str:
    return "****" + "".join(character for character in match[0] if character.isdigit())[-4:]
