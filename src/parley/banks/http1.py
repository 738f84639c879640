"""One connection to a bank: HTTP/1.1 (RFC 9112), one exchange at a time, on httptools' parser.

The peer may mean harm, and an answer that is taken for another one's is the worst that can happen here: it would be another customer's.
So a connection is used again only after an answer whose end is beyond doubt, and never after anything unexpected: bytes that nobody asked
for, a second answer, two lengths, a body without a length. Doubt closes the connection and refuses the answer.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

import httptools

from parley.model.refusals import BankNonsense, BankUnavailable, Fault
from parley.model.transport import TransportResponse

HEAD_BYTES_MAX = 16 * 1024
HEADERS_MAX = 100
INTERIM_MAX = 8
"""Answers with a status of 100 to 199 that may come before the one that counts (RFC 9110 15.2)."""

FRAMING_BYTES_MAX = 256 * 1024
"""What may come beside head and body: the sizes of chunks and what stands behind them, which a parser reads without an end."""

_FRAMING = frozenset({"content-length", "transfer-encoding", "content-encoding"})
_WITHOUT_BODY = frozenset({204, 304})


class NotAnswered(BankUnavailable):
    """The bank closed a connection that it had kept open, before a byte of the answer: it may never have seen the request."""


class Connection(asyncio.Protocol):
    """`closed` is told once when nothing more can be asked here. Everything runs on the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, closed: Callable[[Connection], None]) -> None:
        self._loop = loop
        self._closed = closed
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[TransportResponse] | None = None
        self._exchanges = 0
        self._untouched = False
        self._keep = False
        self.idle_since = 0.0

    def ask(self, request: bytes, bytes_max: int) -> asyncio.Future[TransportResponse]:
        """Send a whole request. The answer's body may have `bytes_max` bytes. Raises BankUnavailable when the connection is gone."""
        if self._transport is None or self._answer is not None:
            raise BankUnavailable("the connection is gone")
        self._bytes_max = bytes_max
        self._wire_left = bytes_max + HEAD_BYTES_MAX * (INTERIM_MAX + 1) + FRAMING_BYTES_MAX
        self._interim_left = INTERIM_MAX
        self._exchanges += 1
        self._untouched = True
        self._begin()
        answer = self._answer = self._loop.create_future()
        self._transport.write(request)
        return answer

    def is_fresh(self) -> bool:
        """Whether nothing has come since the last answer. Bytes that wait unread would pass for the next answer; an end would lose the request."""
        return self._transport is not None and self._keep and not self._poll.poll(0)

    def fail(self, reason: Fault) -> None:
        """Tell the one who waits, and close: after a failure nobody knows what else is on its way."""
        answer, self._answer = self._answer, None
        self.close()
        if answer is not None and not answer.done():
            answer.set_exception(reason)

    def close(self) -> None:
        """At once, without a farewell: what is still under way is wanted by nobody."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
            self._closed(self)

    @property
    def is_reusable(self) -> bool:
        """After an answer: whether its end was certain and the bank keeps the connection."""
        return self._transport is not None and self._answer is None and self._keep

    # From here on: called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def connection_lost(self, _: Exception | None) -> None:
        kept = self._untouched and self._exchanges > 1
        self.fail(NotAnswered("not reached, or cut off") if kept else BankUnavailable("not reached, or cut off"))

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.close()  # Nobody asked: the answer to nothing must not wait here for the next question.
            return
        self._untouched = False
        self._wire_left -= len(data)
        if self._wire_left < 0:
            self.fail(BankNonsense("an answer beyond the limit"))
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.fail(BankNonsense(self._refused or "the answer is not HTTP"))
            return
        if self._complete:
            self._hand_over()
        elif not self._status:
            self._head_wire_left -= len(data)
            if self._head_wire_left < 0:
                self.fail(BankNonsense("a head beyond the limit"))

    # From here on: called by the parser. What they raise reaches `data_received` as HttpParserError.

    def on_message_begin(self) -> None:
        if self._complete:
            self._refuse("two answers to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_left -= len(name) + len(value) + 4
        if self._head_left < 0:
            self._refuse("a head beyond the limit")
        key = name.decode("latin-1").lower()
        if key not in self._headers:
            self._headers[key] = value.decode("latin-1").strip()
        elif key in _FRAMING:
            self._refuse("the answer is not HTTP")
        if len(self._headers) > HEADERS_MAX:
            self._refuse("a head beyond the limit")

    def on_headers_complete(self) -> None:
        parser, headers = self._parser, self._headers
        status = self._status = parser.get_status_code()
        if status < 200:
            if status < 102 and status != 100:
                self._refuse("an answer of another protocol")
            return
        if status > 599 or parser.get_http_version() not in ("1.1", "1.0"):
            self._refuse("the answer is not HTTP")
        # We asked for no compression, so a compressed answer is a bomb or a mistake.
        if headers.get("content-encoding", "identity").lower() != "identity":
            self._refuse("a compressed answer that nobody asked for")
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if coding is not None:
            if coding.lower() != "chunked":
                self._refuse("the answer is not HTTP")
        elif length is not None:
            if int(length) > self._bytes_max:
                self._refuse("an answer beyond the limit")
        elif status not in _WITHOUT_BODY:
            # It would end where the connection ends, and an answer that was cut would look whole.
            self._refuse("an answer without an end")
        self._keep = parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._bytes_max:
            self._refuse("an answer beyond the limit")
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._status >= 200:
            self._complete = True
            return
        self._interim_left -= 1
        if self._interim_left < 0:
            self._refuse("the answer is not HTTP")
        self._begin()

    def _begin(self) -> None:
        self._headers: dict[str, str] = {}
        self._head_left = self._head_wire_left = HEAD_BYTES_MAX
        self._status = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._complete = False
        self._refused = ""

    def _refuse(self, reason: str) -> None:
        self._refused = reason
        raise ValueError

    def _hand_over(self) -> None:
        answer, self._answer = self._answer, None
        if not self._keep:
            self.close()
        if answer is not None and not answer.done():
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            answer.set_result(TransportResponse(self._status, self._headers, body))
