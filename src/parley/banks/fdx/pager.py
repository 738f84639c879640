"""Where a list goes on. A cursor is a stranger's text: it is sent back as it came, never followed to another place, and never twice."""

from __future__ import annotations

from urllib.parse import quote, urljoin, urlsplit

import msgspec

from parley.banks.fdx.wire import Page, decode, links_decoder
from parley.model.refusals import BankNonsense

CURSOR_CHARS_MAX = 2048


class Pager:
    """Walks one list. `start` is the path and query of its first page, below the bank's base URL."""

    def __init__(self, base_url: str, start: str, pages_max: int) -> None:
        self._base_url = base_url
        self._start = start
        self._pages_max = pages_max
        self._seen: set[str] = set()
        self.pages = 0
        self.stopped_early = False
        """Whether the bank had more pages than we read: what was read is then only part of it."""

    def after(self, page: Page | None, links: msgspec.Raw) -> str | None:
        """Path and query of the next page, None after the last. Raises BankNonsense for a cursor that repeats or leads elsewhere."""
        self.pages += 1
        cursor = self._cursor(page, links)
        if cursor is None:
            return None
        if cursor in self._seen or len(cursor) > CURSOR_CHARS_MAX:
            raise BankNonsense("a cursor that repeats or is too long")
        self._seen.add(cursor)
        if self.pages >= self._pages_max:
            self.stopped_early = True
            return None
        return cursor

    def _cursor(self, page: Page | None, links: msgspec.Raw) -> str | None:
        if page is not None and page.nextPageKey:
            return self._with("pageKey", page.nextPageKey)
        if page is not None and page.nextOffset not in (None, ""):
            return self._with("offset", str(page.nextOffset))
        return self._linked(links)

    def _with(self, name: str, value: str) -> str:
        joint = "&" if "?" in self._start else "?"
        return f"{self._start}{joint}{name}={quote(value, safe='')}"

    def _linked(self, links: msgspec.Raw) -> str | None:
        """`links.next.href`, if it stays at the same origin and path. A link elsewhere would carry the customer's token with it."""
        if bytes(links)[:1] != b"{":
            return None
        following = decode(links_decoder, links).next
        if following is None or not following.href:
            return None
        here = urlsplit(self._base_url + self._start)
        try:
            there = urlsplit(urljoin(self._base_url + self._start, following.href))
            same = (there.scheme, there.netloc, there.path) == (here.scheme, here.netloc, here.path)
        except ValueError:
            same = False
        if not same or not there.query or not _is_plain(there.query):
            raise BankNonsense("the next page is elsewhere")
        return f"{self._start.partition('?')[0]}?{there.query}"


def _is_plain(query: str) -> bool:
    return query.isascii() and query.isprintable() and " " not in query
