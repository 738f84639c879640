"""The load generator: as many keep-alive connections as asked for, each sending its next request when the last answer is in and right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.processes import BenchFailed

ANSWER_SECONDS_MAX = 20.0
HEAD_BYTES_MAX = 32 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """Where to ask, the bytes of request number n, and whether the body that came back for it is right."""

    host: str
    port: int
    request: Callable[[int], bytes]
    is_right: Callable[[int, bytes], bool]


@dataclass(slots=True)
class Outcome:
    """What a run saw: answers (all of them right) and how long each took, in nanoseconds."""

    seconds: float = 0.0
    latencies_ns: list[int] = field(default_factory=list)

    @property
    def answers(self) -> int:
        return len(self.latencies_ns)

    def percentile_ms(self, share: float) -> float:
        """The latency that this share of answers stayed within."""
        ordered = sorted(self.latencies_ns)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e6


class Numbers:
    """Numbers of requests, each given once in a whole run of the bench: a message id is never used twice."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        self._last += 1
        return self._last


async def drive(target: Target, *, connections: int, numbers: Numbers, seconds: float = 0.0, count: int = 0) -> Outcome:
    """Ask for so many seconds, or for so many answers in all. Every request sent is answered before this returns.

    Raises BenchFailed at the first answer that is not right: a fast wrong answer is worth nothing.
    """
    loop = asyncio.get_running_loop()
    started = time.perf_counter_ns()
    run = _Run(target, numbers, loop.create_future(), started + int(seconds * 1e9) if seconds else 0, count)
    run.open = connections
    transports = [(await loop.create_connection(lambda: _Connection(run), target.host, target.port))[0] for _ in range(connections)]
    try:
        async with asyncio.timeout(seconds + ANSWER_SECONDS_MAX):
            await run.done
    except TimeoutError:
        raise BenchFailed("An answer did not come in time.") from None
    finally:
        for transport in transports:
            transport.close()
    run.outcome.seconds = (time.perf_counter_ns() - started) / 1e9
    return run.outcome


@dataclass(slots=True)
class _Run:
    target: Target
    numbers: Numbers
    done: asyncio.Future[None]
    deadline_ns: int
    count: int
    open: int = 0
    asked: int = 0
    outcome: Outcome = field(default_factory=Outcome)

    def has_more(self) -> bool:
        if self.done.done():
            return False
        return self.asked < self.count if self.count else time.perf_counter_ns() < self.deadline_ns

    def fail(self, sentence: str) -> None:
        if not self.done.done():
            self.done.set_exception(BenchFailed(sentence))

    def ended(self) -> None:
        self.open -= 1
        if not self.open and not self.done.done():
            self.done.set_result(None)


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._body_at = self._length = -1
        self._number = 0
        self._asked_at = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._next()

    def connection_lost(self, _: Exception | None) -> None:
        if self._number:
            self._run.fail("The server closed a connection that was to be kept.")

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        if self._body_at < 0 and not self._read_head():
            return
        if len(self._received) >= self._body_at + self._length:
            self._take()

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            if len(self._received) > HEAD_BYTES_MAX:
                self._run.fail("The head of an answer has no end.")
            return False
        head = self._received[: end + 2].lower()
        at = head.find(b"content-length:")
        if not head.startswith(b"http/1.1 200 ") or at < 0:
            self._run.fail(f"An answer was not a plain 200: {self._received[:300]!r}")
            return False
        self._body_at = end + 4
        self._length = int(head[at + 15 : head.index(b"\r\n", at)])
        return True

    def _take(self) -> None:
        body = self._received[self._body_at : self._body_at + self._length]
        self._run.outcome.latencies_ns.append(time.perf_counter_ns() - self._asked_at)
        if not self._run.target.is_right(self._number, body):
            self._run.fail(f"An answer was wrong: {body[:300]!r}")
            return
        self._received, self._body_at = b"", -1
        self._next()

    def _next(self) -> None:
        if self._transport is None:
            return
        if not self._run.has_more():
            self._number = 0
            self._transport.close()
            self._run.ended()
            return
        self._run.asked += 1
        self._number = self._run.numbers.next()
        self._asked_at = time.perf_counter_ns()
        self._transport.write(self._run.target.request(self._number))
