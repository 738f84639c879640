"""A bank that means harm, on a real socket: a raw HTTP server that answers each request as a test decides, down to the last byte and pause."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

HEAD_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Told:
    """A well-formed HTTP answer."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def wire(self) -> bytes:
        headers = {"content-type": "application/json", "content-length": str(len(self.body)), "connection": "close", **self.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
        return f"HTTP/1.1 {self.status} Whatever\r\n{lines}\r\n".encode() + self.body


Answer = Callable[[Asked], Told]
Mischief = Callable[[asyncio.StreamWriter, Told], Awaitable[None]]
"""Writes something in place of the good answer that the bank would have given."""


class HostileBank:
    """`answer` gives what a good bank would say, `mischief` what becomes of it on the wire. Remembers every request."""

    def __init__(self, answer: Answer, mischief: Mischief | None = None) -> None:
        self.answer = answer
        self.mischief = mischief
        self.asked: list[Asked] = []
        self.mistakes: list[Exception] = []
        """What went wrong in the test's own answer; must be empty, or the attack was not the one that was meant."""
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            asked = await _read(reader)
            self.asked.append(asked)
            told = self._told(asked)
            if self.mischief is None:
                writer.write(told.wire())
            else:
                await self.mischief(writer, told)
            await writer.drain()
        writer.close()

    def _told(self, asked: Asked) -> Told:
        try:
            return self.answer(asked)
        except Exception as mistake:
            self.mistakes.append(mistake)
            raise


@asynccontextmanager
async def running(bank: HostileBank) -> AsyncIterator[HostileBank]:
    """The bank on a free loopback port for the length of the block."""
    server = await asyncio.start_server(bank.serve, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)
    bank.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield bank
    finally:
        server.close()
        for _ in range(4):
            await asyncio.sleep(0)  # Who has just connected is let in: a task that is cancelled before its first step leaves its socket open.
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and "HostileBank.serve" in repr(task)]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await server.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Asked(method, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers, body)


def sends(make: Callable[[Told], bytes]) -> Mischief:
    """Writes these bytes and hangs up."""

    async def mischief(writer: asyncio.StreamWriter, told: Told) -> None:
        writer.write(make(told))

    return mischief


def instead(status: int, body: bytes = b'{"code":"0","message":"CANARY-BODY"}', **headers: str) -> Mischief:
    """A well-formed answer in place of the good one."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return sends(lambda told: Told(body, status, named).wire())


def slow_first_byte(seconds: float) -> Mischief:
    async def mischief(writer: asyncio.StreamWriter, told: Told) -> None:
        await asyncio.sleep(seconds)
        writer.write(told.wire())

    return mischief


def dripping(pause: float) -> Mischief:
    """One byte at a time, for ever: each byte arrives in time, the answer never does."""

    async def mischief(writer: asyncio.StreamWriter, told: Told) -> None:
        for byte in told.wire():
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(pause)

    return mischief


def endless_chunks(piece: bytes) -> Mischief:
    """A chunked body without an end or a stated size."""

    async def mischief(writer: asyncio.StreamWriter, told: Told) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(100_000):
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()

    return mischief


def gzip_bomb(megabytes: int) -> Mischief:
    bomb = gzip.compress(b" " * (megabytes * 1024 * 1024))
    return instead(200, bomb, content_encoding="gzip")


WIRE_MISCHIEF: dict[str, Mischief] = {
    "hangs up at once": sends(lambda told: b""),
    "cut in the middle": sends(lambda told: told.wire()[: -len(told.body) // 2]),
    "half a head": sends(lambda told: told.wire()[:30]),
    "not HTTP": sends(lambda told: b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "a length that is no number": sends(lambda told: b"HTTP/1.1 200 OK\r\ncontent-length: minus one\r\n\r\n{}"),
    "two lengths": sends(lambda told: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 9\r\n\r\n{}"),
    "a huge header": sends(lambda told: b"HTTP/1.1 200 OK\r\nx: " + b"a" * 200_000 + b"\r\n\r\n{}"),
    "very many headers": sends(lambda told: b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 20_000 + b"content-length: 2\r\n\r\n{}"),
    "slow first byte": slow_first_byte(3.0),
    "one byte at a time": dripping(0.05),
    "endless body": endless_chunks(b" " * 65_536),
    "declares a gigabyte": sends(lambda told: b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1073741824\r\n\r\n{"),
    "gzip bomb": gzip_bomb(64),
    "gzip that nobody asked for": instead(200, gzip.compress(b"{}"), content_encoding="gzip"),
    "redirect to another host": instead(302, b"", location="http://127.0.0.2:9/accounts"),
    "redirect to itself": instead(307, b"", location="/fdx/v6/accounts"),
    "empty": instead(200, b""),
    "no content": instead(204, b""),
    "garbage": instead(200, b"\x1f\x8b\xff{{<html>]]\x00"),
    "half of the JSON": sends(lambda told: Told(told.body[: len(told.body) // 2]).wire()),
    "a page of HTML": instead(200, b"<html>CANARY-BODY</html>", content_type="text/html"),
    "HTML that says it is JSON": instead(200, b"<html>CANARY-BODY</html>"),
    "a list where an object belongs": instead(200, b"[]"),
    "a bare null": instead(200, b"null"),
    "4000 brackets": instead(200, b"[" * 4000),
    "4000 objects": instead(200, b'{"a":' * 4000),
    "a hundred thousand brackets inside": instead(200, b'{"accounts":[{"x":' + b"[" * 100_000),
    "bytes that are no UTF-8": instead(200, b'{"accountId":"\xff\xfe","customerId":"\xff"}'),
    "a lone surrogate": instead(200, b'{"accountId":"\\ud800","customerId":"\\ud800"}'),
    "400": instead(400),
    "418": instead(418),
    "401 without a body": instead(401, b""),
    "403 from a firewall": instead(403, b"<html>CANARY-BODY</html>", content_type="text/html"),
    "404": instead(404),
    "429 for an hour": instead(429, retry_after="3600"),
    "429 without a word": instead(429),
    "429 until a bad date": instead(429, retry_after="Fri, 99 Foo 99999999 99:99:99 GMT"),
    "500": instead(500),
    "503 for an hour": instead(503, retry_after="3600"),
}
"""What any bank of any dialect may do to us."""
