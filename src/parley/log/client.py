"""The gateway's end of the socket to the notary: many requests under way at once, each with a deadline.

What an acknowledgement says is not trusted here either; a `Release` checks the inclusion with `parley.proof` while it is built.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any

import msgspec

from parley.log.errors import LogUnavailable, refusal
from parley.log.wire import (
    Acknowledged,
    AnyAnswer,
    BadFrame,
    CloseGrant,
    Frames,
    Head,
    HeadIs,
    OpenGrant,
    Page,
    Pages,
    Proof,
    Prove,
    Record,
    Refused,
    Request,
    frame,
)
from parley.proof import Inclusion
from parley.proof.merkle import HASH_BYTES, HASHES_MAX

WAITING_MAX = 8192
SWEEPS_PER_DEADLINE = 8
CONNECT_PAUSE_SECONDS = 0.02
_SPLITTERS = [Struct("32s" * count) for count in range(HASHES_MAX + 1)]


@dataclass(frozen=True, slots=True)
class Proved:
    """An entry of the log with its sealed side and its path to the newest checkpoint."""

    entry: bytes
    side: bytes
    inclusion: Inclusion

    def __repr__(self) -> str:
        return f"Proved(index={self.inclusion.index}, side=***)"


class NotaryClient:
    """Talks to one notary. Connects when first used and again after the notary was restarted.

    A call whose connection dies before the acknowledgement raises LogUnavailable and is never sent again by itself: the entry may
    stand already, and an entry without a release is the safe side, two entries for one release are not.
    """

    def __init__(self, socket_path: str | Path, *, call_seconds_max: float = 2.0, connect_seconds_max: float = 1.0) -> None:
        self._path = str(socket_path)
        self._call_seconds_max = call_seconds_max
        self._connect_seconds_max = connect_seconds_max
        self._link: _Link | None = None
        self._connecting: asyncio.Future[_Link] | None = None

    async def record(self, entry: bytes, side: bytes = b"", *, handle: bytes | None = None, version: int | None = None) -> Inclusion:
        """Append an entry, with a handle only if that grant is open at `version` when it commits.

        Raises GrantChanged, LogRefused (bad entry, clock gone back, too busy) or LogUnavailable.
        """
        link = self._link or await self._connect()
        answer: Inclusion = await link.ask(Record(link.next_id(), entry, side, handle, version))
        return answer

    async def open_grant(self, entry: bytes, side: bytes = b"", *, handle: bytes, version: int) -> Inclusion:
        """Append a `grant` entry and open the handle (16 random bytes) at `version`: any for a new one, a later one for a known one."""
        link = self._link or await self._connect()
        answer: Inclusion = await link.ask(OpenGrant(link.next_id(), entry, side, handle, version))
        return answer

    async def close_grant(self, entry: bytes, side: bytes = b"", *, handle: bytes) -> Inclusion:
        """Append a `revoke` entry and close the handle for good measure now; GrantClosed when it was closed already."""
        link = self._link or await self._connect()
        answer: Inclusion = await link.ask(CloseGrant(link.next_id(), entry, side, handle))
        return answer

    async def prove(self, index: int) -> Proved:
        """An entry recorded earlier, with a fresh proof."""
        link = self._link or await self._connect()
        answer: Proved = await link.ask(Prove(link.next_id(), index))
        return answer

    async def head(self) -> bytes:
        """The newest signed checkpoint."""
        link = self._link or await self._connect()
        answer: bytes = await link.ask(Head(link.next_id()))
        return answer

    async def pages(self, first: int, count: int) -> list[bytes]:
        """Entries from index `first` on: at most `count`, and at most 100 in one call."""
        link = self._link or await self._connect()
        answer: list[bytes] = await link.ask(Pages(link.next_id(), first, count))
        return answer

    async def aclose(self) -> None:
        """Close the connection; calls under way raise LogUnavailable."""
        if self._link is not None:
            self._link.end()

    async def _connect(self) -> _Link:
        """One connection attempt, shared by everyone who waits for it."""
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._open())
            self._connecting.add_done_callback(self._connected)
        return await asyncio.shield(self._connecting)

    def _connected(self, attempt: asyncio.Future[_Link]) -> None:
        self._connecting = None
        if not attempt.cancelled():
            attempt.exception()

    async def _open(self) -> _Link:
        """Nothing has been sent yet, so trying for a moment is safe: a notary that is just restarting is not an outage."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._connect_seconds_max
        while True:
            try:
                _, link = await loop.create_unix_connection(lambda: _Link(loop, self._call_seconds_max, self._lost), self._path)
            except OSError:
                if loop.time() >= end:
                    raise LogUnavailable("The notary cannot be reached.") from None
                await asyncio.sleep(CONNECT_PAUSE_SECONDS)
            else:
                self._link = link
                return link

    def _lost(self, link: _Link) -> None:
        if self._link is link:
            self._link = None


class _Link(asyncio.Protocol):
    """One connection. Requests of one turn of the loop leave in one write; one timer watches all deadlines."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call_seconds_max: float, lost: Any) -> None:
        self._loop, self._call_seconds_max, self._lost = loop, call_seconds_max, lost
        self._waiting: dict[int, tuple[asyncio.Future[Any], float]] = {}
        self._outgoing: list[bytes] = []
        self._frames = Frames()
        self._decode = msgspec.msgpack.Decoder(AnyAnswer).decode
        self._transport: asyncio.Transport | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._number = 0

    def next_id(self) -> int:
        """A number that no request under way on this connection has."""
        self._number += 1
        return self._number

    def ask(self, request: Request) -> asyncio.Future[Any]:
        """Send a request and return the future of its answer."""
        if self._transport is None or len(self._waiting) >= WAITING_MAX:
            raise LogUnavailable("The notary is not keeping up or not there.")
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[request.id] = (answer, self._loop.time() + self._call_seconds_max)
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(frame(request))
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._call_seconds_max / SWEEPS_PER_DEADLINE, self._sweep)
        return answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to ask."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, _: Exception | None) -> None:
        """Nobody can say what became of the requests under way."""
        self._transport = None
        self._lost(self)
        if self._sweeper is not None:
            self._sweeper.cancel()
        for answer, _deadline in self._waiting.values():
            _fail(answer, "The connection to the notary ended before it acknowledged.")
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        """Hand every complete answer to the one who waits for it."""
        try:
            for body in self._frames.feed(data):
                self._take(self._decode(body))
        except (BadFrame, msgspec.DecodeError, RecursionError):
            self.end()

    def end(self) -> None:
        """Close the connection at once, so that the next call opens another."""
        self._lost(self)
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def _take(self, answer: AnyAnswer) -> None:
        if isinstance(answer, Acknowledged):
            for request_id, index, path in answer.entries:
                self._give(request_id, Inclusion(index, answer.checkpoint, _hashes(path)))
        elif isinstance(answer, Refused):
            self._give(answer.id, refusal(answer.code))
        elif isinstance(answer, Proof):
            self._give(answer.id, Proved(answer.entry, answer.side, Inclusion(answer.index, answer.checkpoint, _hashes(answer.path))))
        elif isinstance(answer, HeadIs):
            self._give(answer.id, answer.checkpoint)
        elif isinstance(answer, Page):
            self._give(answer.id, answer.entries)

    def _give(self, request_id: int, result: Any) -> None:
        waiting = self._waiting.pop(request_id, None)
        if waiting is None or waiting[0].done():
            return
        if isinstance(result, Exception):
            waiting[0].set_exception(result)
        else:
            waiting[0].set_result(result)

    def _sweep(self) -> None:
        """Requests are numbered in order and share one patience, so the first that is not late ends the search."""
        self._sweeper = None
        now = self._loop.time()
        while self._waiting:
            first = next(iter(self._waiting))
            answer, deadline = self._waiting[first]
            if deadline > now and not answer.done():
                break
            del self._waiting[first]
            _fail(answer, "The notary did not acknowledge in time.")
        if self._waiting:
            self._sweeper = self._loop.call_later(self._call_seconds_max / SWEEPS_PER_DEADLINE, self._sweep)


def _hashes(path: bytes) -> tuple[bytes, ...]:
    count, rest = divmod(len(path), HASH_BYTES)
    if rest or count > HASHES_MAX:
        raise BadFrame
    return _SPLITTERS[count].unpack(path)


def _fail(answer: asyncio.Future[Any], sentence: str) -> None:
    if not answer.done():
        answer.set_exception(LogUnavailable(sentence))
