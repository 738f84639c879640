"""A bank whose every byte and pause a test decides, on connections that stay open: for what goes wrong between two answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Reply = Callable[["Line", bytes], Awaitable[None]]
"""Called with the connection and the request that came over it, head and body."""


class Line:
    """One connection of the bank. `number` counts connections from 0, `asked` the requests on this one."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.asked = 0
        self._reader = reader
        self._writer = writer

    def say(self, data: bytes) -> None:
        self._writer.write(data)

    async def hang_up(self) -> None:
        """In order: what was said is delivered first."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def request(self) -> bytes:
        head = await self._reader.readuntil(b"\r\n\r\n")
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 : head.index(b"\r\n", at)]) if at >= 0 else 0
        return head + await self._reader.readexactly(length)


class ScriptedBank:
    """Remembers every request and counts the connections."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._lines: list[Line] = []
        self.requests: list[bytes] = []
        self._came = asyncio.Condition()
        self.url = ""

    @property
    def connections(self) -> int:
        return len(self._lines)

    async def asked(self, count: int) -> None:
        """Until so many requests have come."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.requests) >= count)

    async def _note(self, request: bytes) -> None:
        async with self._came:
            self.requests.append(request)
            self._came.notify_all()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(len(self._lines), reader, writer)
        self._lines.append(line)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                request = await line.request()
                await self._note(request)
                line.asked += 1
                await self._reply(line, request)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def scripted(reply: Reply, tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedBank]:
    """The bank on a free loopback port for the length of the block."""
    bank = ScriptedBank(reply)
    server = await asyncio.start_server(bank.serve, "127.0.0.1", 0, ssl=tls)
    bank.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield bank
    finally:
        server.close()
        for _ in range(4):
            await asyncio.sleep(0)  # Who has just connected is let in: a task that is cancelled before its first step leaves its socket open.
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and "ScriptedBank.serve" in repr(task)]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await server.wait_closed()


def good(body: bytes, *more: str) -> bytes:
    """A well-formed answer on a connection that is kept."""
    lines = "".join(f"{line}\r\n" for line in ("content-type: application/json", f"content-length: {len(body)}", *more))
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode() + body


def path_of(request: bytes) -> bytes:
    return request.split(b" ", 2)[1]
