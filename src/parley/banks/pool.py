"""The one way out to a bank: kept connections of our own HTTP/1.1 client, with a limit on everything that comes back.

The peer is a bank's server, trusted for what it says about its customers and for nothing else: it may be slow, broken, or in the hands
of somebody who wants our memory, our time or a request to another host. Hence no redirects, no cookies, no decompression, no proxy from
the environment, and a cap on bytes and seconds. Why a client of our own: docs/decisions/0008-own-client-towards-banks.md.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from urllib.parse import urlencode, urlsplit

from parley.banks.http1 import Connection, NotAnswered
from parley.model.refusals import BankNonsense, BankTimeout, BankUnavailable
from parley.model.transport import TransportResponse

CONNECTIONS_PER_ORIGIN = 64
ORIGINS_MAX = 16
CONNECT_SECONDS_MAX = 3.0
KEEP_ALIVE_SECONDS = 25.0
URL_CHARS_MAX = 16 * 1024

_ALWAYS = {"user-agent": "parley-gateway", "accept": "application/json", "accept-encoding": "identity"}
_ALWAYS_LINES = "".join(f"{name}: {value}\r\n" for name, value in _ALWAYS.items())


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
