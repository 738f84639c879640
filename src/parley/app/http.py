"""HTTP at our own door: uvicorn's protocol with the limits that it lacks, and an exchange that costs less where ours are plain.

What is read and how it is answered stays uvicorn's: parsing, pipelining, keep-alive, the end of a connection. Only the head of an answer is
put together here, since its lines are nearly all the same every time and uvicorn would look through each of them again.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

REQUEST_SECONDS_MAX = 10.0
HEAD_BYTES_MAX = 64 * 1024
LINES_KEPT = 512
LINE_BYTES_KEPT = 1024

_SPECIAL = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_NEVER_KEPT = frozenset({b"set-cookie", b"location", b"dpop-nonce"})
"""Tokens, codes and states stand in these: they are different every time, and nobody but their reader should have them for long."""


class BoundedHttp(HttpToolsProtocol):
    """Uvicorn's protocol with the two limits that it lacks: how long a request may take to arrive, and how long its head may be.

    Without them a stranger holds every connection open by sending a byte now and then, or fills the memory with one endless header.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes = 0
        self._in_head = True
        self._patience = self.loop.call_later(REQUEST_SECONDS_MAX, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self.send_400_response("The head of this request is too long.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._patience.cancel()
        self._patience = self.loop.call_later(REQUEST_SECONDS_MAX, self.transport.abort)

    def on_message_complete(self) -> None:
        self._in_head = True
        self._patience.cancel()
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()
        # Uvicorn makes its exchange by name; ours differs from it in one method and in no state.
        if type(self.cycle) is RequestResponseCycle:
            self.cycle.__class__ = Exchange


class Exchange(RequestResponseCycle):
    """One request and its answer. A head with a stated length goes out from lines that were checked before; all else is left to uvicorn."""

    async def send(self, message: Any) -> None:
        plain = message["type"] == "http.response.start" and not (self.response_started or self.disconnected or self.flow.write_paused)
        head = plain_head(message["status"], self.default_headers, message.get("headers", ())) if plain and self.keep_alive else None
        if head is None:
            await super().send(message)
            return
        self.response_started = True
        self.waiting_for_100_continue = False
        self.chunked_encoding = False
        self.expected_content_length = head[1]
        self.transport.write(head[0])


def plain_head(status: int, *headers: Any) -> tuple[bytes, int] | None:
    """The whole head and the length of the body that it states. None where anything but plain lines and one length stands in it."""
    found = [STATUS_LINE[status]]
    length = -1
    for header in (each for some in headers for each in some):
        line = _lines.get(header)
        if line is None:
            name, value = header
            if name == b"content-length" and length < 0 and value.isdigit():
                length = int(value)
                found.append(b"content-length: " + value + b"\r\n")
                continue
            if name.lower() in _SPECIAL:
                return None
            line = checked_line(name, value)
            if line is None:
                return None
        found.append(line)
    if length < 0:
        return None
    found.append(b"\r\n")
    return b"".join(found), length


def checked_line(name: bytes, value: bytes) -> bytes | None:
    """A header's line, None where it would break the head; remembered by its exact bytes, so that it is checked once."""
    if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
        return None
    line = name.lower() + b": " + value + b"\r\n"
    if len(line) <= LINE_BYTES_KEPT and name.lower() not in _NEVER_KEPT:
        if len(_lines) >= LINES_KEPT:
            _lines.clear()
        _lines[(name, value)] = line
    return line


_lines: dict[tuple[bytes, bytes], bytes] = {}
