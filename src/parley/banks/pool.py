"""The one way out to a bank: kept connections of our own HTTP/1.1 client, with a limit on everything that comes back.

The peer is a bank's server, trusted for what it says about its customers and for nothing else: it may be slow, broken, or in the hands
of somebody who wants our memory, our time or a request to another host. Hence no redirects, no cookies, no decompression, no proxy from
the environment, and a cap on bytes and seconds.

An answer that is taken for another one's is the worst that can happen here: it would be another customer's. So a connection is used again
only after an answer whose end is beyond doubt, and never after anything unexpected: bytes that nobody asked for, a second answer, two
lengths, a body without a length. Doubt closes the connection and refuses the answer. Why a client of our own:
docs/decisions/0008-own-client-towards-banks.md.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from urllib.parse import urlencode, urlsplit

import httptools

from parley.model.refusals import BankNonsense, BankTimeout, BankUnavailable, Fault
from parley.model.transport import TransportResponse

CONNECTIONS_PER_ORIGIN = 64
ORIGINS_MAX = 16
CONNECT_SECONDS_MAX = 3.0
KEEP_ALIVE_SECONDS = 25.0
URL_CHARS_MAX = 16 * 1024

HEAD_BYTES_MAX = 16 * 1024
HEADERS_MAX = 100
INTERIM_MAX = 8
"""Answers with a status of 100 to 199 that may come before the one that counts (RFC 9110 15.2)."""

FRAMING_BYTES_MAX = 256 * 1024
"""What may come beside head and body: the sizes of chunks and what stands behind them, which a parser reads without an end."""

_ALWAYS = {"user-agent": "parley-gateway", "accept": "application/json", "accept-encoding": "identity"}
_ALWAYS_LINES = "".join(f"{name}: {value}\r\n" for name, value in _ALWAYS.items())
_FRAMING = frozenset({"content-length", "transfer-encoding", "content-encoding"})
_WITHOUT_BODY = frozenset({204, 304})


class PooledTransport:
    """Implements parley.model.transport.Transport. `tls` replaces the system's trust, for a bank with a private authority or client certificates.

    Made anywhere, used on one running loop. Close it with `aclose` or `async with`.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._origins: dict[str, _Origin] = {}
        self._patience = _Patience()

    async def get(self, url: str, headers: Mapping[str, str], *, seconds: float, bytes_max: int) -> TransportResponse:
        origin, target = self._place(url)
        request = origin.head("GET", target, headers)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        try:
            return await self._exchange(origin, request, loop, deadline, bytes_max)
        except NotAnswered:
            # The bank gave up a kept connection as we used it. A read changes nothing, so it is asked once more (RFC 9110 9.2.2).
            return await self._exchange(origin, request, loop, deadline, bytes_max)

    async def post_form(self, url: str, form: Mapping[str, str], headers: Mapping[str, str], *, seconds: float, bytes_max: int) -> TransportResponse:
        origin, target = self._place(url)
        body = urlencode(form).encode()
        typed = {"content-type": "application/x-www-form-urlencoded", **headers, "content-length": str(len(body))}
        loop = asyncio.get_running_loop()
        return await self._exchange(origin, origin.head("POST", target, typed) + body, loop, loop.time() + seconds, bytes_max)

    async def aclose(self) -> None:
        """Close every connection; who still waits for an answer hears BankUnavailable. The next call would open new ones."""
        origins, self._origins = self._origins, {}
        for origin in origins.values():
            origin.close()
        self._patience.close()

    async def __aenter__(self) -> PooledTransport:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def _exchange(self, origin: _Origin, request: bytes, loop: asyncio.AbstractEventLoop, deadline: float, bytes_max: int) -> TransportResponse:
        if origin.places:
            origin.places -= 1
        else:
            await origin.turn(loop, deadline)
        connection = None
        try:
            connection = origin.kept(loop.time()) or await origin.connect(loop, deadline)
            answer = connection.ask(request, bytes_max)
            self._patience.watch(loop, connection, deadline)
            return await answer
        finally:
            if connection is not None:
                self._patience.forget(connection)
                origin.take_back(connection, loop)
            origin.leave()

    def _place(self, url: str) -> tuple[_Origin, str]:
        """Whom to ask, and the path with its query. Raises BankNonsense for what is no plain http or https address."""
        at = url.find("/", 8)
        root = url[:at] if at > 0 else url
        target = url[at:] if at > 0 else "/"
        if not (target.isascii() and target.isprintable()) or " " in target or "#" in target or len(url) > URL_CHARS_MAX:
            raise BankNonsense("no address to ask")
        origin = self._origins.get(root)
        if origin is None:
            self._make_room()
            origin = self._origins[root] = _Origin(root, self._tls)
        return origin, target

    def _make_room(self) -> None:
        """Addresses come from the settings and from what banks say of themselves, so there is an end to how many are kept."""
        while len(self._origins) >= ORIGINS_MAX:
            unused = next((root for root, origin in self._origins.items() if origin.places == CONNECTIONS_PER_ORIGIN), None)
            if unused is None:
                raise BankUnavailable("too many banks at once")
            self._origins.pop(unused).close()


class _Origin:
    """One scheme, host and port: its idle connections, and how many exchanges may still begin there."""

    def __init__(self, root: str, tls: ssl.SSLContext | None) -> None:
        try:
            parts = urlsplit(root)
            self._host, port = parts.hostname or "", parts.port
        except ValueError:
            raise BankNonsense("no address to ask") from None
        plain = root.isascii() and root.isprintable() and not set(root) & set(" ?#@\\")
        if parts.scheme not in ("http", "https") or not self._host or not plain or port == 0:
            raise BankNonsense("no address to ask")
        secure = parts.scheme == "https"
        self._port = port or (443 if secure else 80)
        self._tls = (tls or _default_tls()) if secure else None
        self._host_line = f" HTTP/1.1\r\nhost: {parts.netloc}\r\n"
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self.places = CONNECTIONS_PER_ORIGIN

    def head(self, method: str, target: str, headers: Mapping[str, str]) -> bytes:
        """The request's head. Raises BankNonsense where a value would smuggle in a line of its own: a token comes from a stranger, too."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        always = _ALWAYS_LINES
        if not _ALWAYS.keys().isdisjoint(headers):
            always = "".join(f"{name}: {value}\r\n" for name, value in _ALWAYS.items() if name not in headers)
        if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
            raise BankNonsense("a header of more than one line")
        try:
            return f"{method} {target}{self._host_line}{always}{lines}\r\n".encode("ascii")
        except UnicodeEncodeError:
            raise BankNonsense("a header that is not ASCII") from None

    def kept(self, now: float) -> Connection | None:
        """The connection used last, if nothing has happened to it since."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if now - connection.idle_since < KEEP_ALIVE_SECONDS and connection.is_fresh():
                return connection
            connection.close()
        return None

    async def connect(self, loop: asyncio.AbstractEventLoop, deadline: float) -> Connection:
        """Raises BankTimeout or BankUnavailable. A certificate that does not fit the host counts as not reached."""
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + CONNECT_SECONDS_MAX)):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._gone), self._host, self._port, ssl=self._tls, server_hostname=self._host if self._tls else None
                )
        except TimeoutError:
            raise BankTimeout("no connection in time") from None
        except (OSError, ssl.SSLError, UnicodeError):
            raise BankUnavailable("not reached") from None
        self._open.add(connection)
        return connection

    def take_back(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        """After an exchange, however it ended: kept if its answer was whole and the bank keeps it too, else closed."""
        if not connection.is_reusable:
            connection.close()
            return
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(KEEP_ALIVE_SECONDS, self._close_old, loop)

    async def turn(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        """A place for one exchange, in the order of asking. Raises BankTimeout."""
        place: asyncio.Future[None] = loop.create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout_at(deadline):
                await place
        except BaseException as ended:
            if place.done() and not place.cancelled():
                self.leave()  # It was given in the very moment in which nobody wanted it any more.
            if isinstance(ended, TimeoutError):
                raise BankTimeout("too much under way at this bank") from None
            raise

    def leave(self) -> None:
        """The place goes to the one who has waited longest, or back."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.places += 1

    def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in list(self._open):
            connection.fail(BankUnavailable("closed"))
        self._idle.clear()

    def _gone(self, connection: Connection) -> None:
        self._open.discard(connection)

    def _close_old(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweep = None
        now = loop.time()
        kept = [each for each in self._idle if now - each.idle_since < KEEP_ALIVE_SECONDS]
        for each in self._idle:
            if each not in kept:
                each.close()
        self._idle = kept
        if kept:
            self._sweep = loop.call_later(KEEP_ALIVE_SECONDS, self._close_old, loop)


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


class _Patience:
    """Deadlines of all exchanges under one timer: nearly every exchange ends long before its own."""

    def __init__(self) -> None:
        self._deadlines: dict[Connection, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0

    def watch(self, loop: asyncio.AbstractEventLoop, connection: Connection, deadline: float) -> None:
        self._deadlines[connection] = deadline
        if self._timer is None or deadline < self._rings_at:
            self._arm(loop, deadline)

    def forget(self, connection: Connection) -> None:
        self._deadlines.pop(connection, None)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        self.close()
        self._rings_at = deadline
        self._timer = loop.call_at(deadline, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for connection in [each for each, deadline in self._deadlines.items() if deadline <= now]:
            self._deadlines.pop(connection, None)
            connection.fail(BankTimeout("no whole answer in time"))
        if self._deadlines:
            self._arm(loop, min(self._deadlines.values()))


def _default_tls() -> ssl.SSLContext:
    """The system's trust, host names checked, TLS 1.2 or newer, and HTTP/1.1 spoken."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
