"""A bank that costs next to nothing: it asks the sandbox bank once for every address, and from then on repeats the bytes.

So the gateway and the two proxies read the very same bodies, and the bank's own work stays out of the table. Lists of transactions are
cut to the newest rows, so that a question reads one page of a known size. It checks no token, which is why it is no use for anything else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import dataclass

import aiohttp
import msgspec
import uvloop

from bench.processes import leave_with_parent

HEAD_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 2 * 2**20
RECORDS_MAX = 512
RECORDED = b"/bench/recorded"
INTERACTION = b"x-fapi-interaction-id:"


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes before and after the interaction id, which is the only thing that differs from one time to the next."""

    before: bytes
    after: bytes

    def bytes_for(self, interaction_id: bytes) -> bytes:
        return self.before + interaction_id + self.after


class Memory:
    """What was asked once. Only addresses that name an account are kept: the others mean another thing for each customer."""

    def __init__(self, upstream: str, rows: int) -> None:
        self._upstream, self._rows = upstream, rows
        self.answers: dict[bytes, Answer] = {}
        self._bodies: dict[str, str] = {}
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, target: bytes, head: bytes) -> Answer:
        """Ask the sandbox, with the caller's own headers."""
        if target == RECORDED:
            return _answer(200, json.dumps(self._bodies).encode())
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        wanted = {name: value for name, value in _headers(head) if name.startswith(("authorization", "x-fapi", "fdx-", "accept"))}
        wanted["accept-encoding"] = "identity"
        async with self._session.get(self._upstream + target.decode(), headers=wanted, allow_redirects=False) as response:
            status, body = response.status, await response.content.read(BODY_BYTES_MAX)
            while chunk := await response.content.read(BODY_BYTES_MAX):
                body += chunk
        if status == 200 and b"/transactions" in target:
            body = newest_rows(body, self._rows)
        answer = _answer(status, body)
        names_an_account = target.partition(b"?")[0].count(b"/") > 3 and b"/accounts/" in target
        if status == 200 and (names_an_account or b"accountIds=" in target) and len(self.answers) < RECORDS_MAX:
            self.answers[target] = answer
            self._bodies[target.decode()] = body.decode()
        return answer


class Connection(asyncio.Protocol):
    """One keep-alive connection. Requests have no bodies here."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n")) >= 0:
            head, self._rest = self._rest[: end + 2], self._rest[end + 4 :]
            self._answer(head)
        if len(self._rest) > HEAD_BYTES_MAX and self._transport is not None:
            self._transport.close()

    def _answer(self, head: bytes) -> None:
        target = head[4 : head.index(b" ", 4)]
        known = self._memory.answers.get(target)
        if known is not None:
            self._write(known, head)
        else:
            task = asyncio.ensure_future(self._ask(target, head))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, target: bytes, head: bytes) -> None:
        try:
            answer = await self._memory.fetch(target, head)
        except (aiohttp.ClientError, TimeoutError):
            answer = _answer(502, b"{}")
        self._write(answer, head)

    def _write(self, answer: Answer, head: bytes) -> None:
        if self._transport is not None:
            self._transport.write(answer.bytes_for(_interaction(head)))


def newest_rows(body: bytes, rows: int) -> bytes:
    """A page with the newest booked `rows`, byte for byte as the bank wrote them, and no further page.

    Pending rows are left out: one that a booked row replaces would not be told of, and the answer would have fewer rows than the page.
    """
    page = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    booked = [row for row in msgspec.json.decode(page["transactions"], type=list[msgspec.Raw]) if b'"PENDING"' not in bytes(row)]
    kept = booked[:rows]
    shown: dict[str, object] = {name: value for name, value in page.items() if name not in ("links", "page")}
    shown |= {"page": {"totalElements": len(kept)}, "transactions": kept}
    return msgspec.json.encode(shown)


def _answer(status: int, body: bytes) -> Answer:
    head = f"HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: {len(body)}\r\n"
    return Answer(head.encode() + INTERACTION + b" ", b"\r\n\r\n" + body)


def _interaction(head: bytes) -> bytes:
    at = head.find(INTERACTION)
    if at < 0:
        at = head.lower().find(INTERACTION)
    return head[at + len(INTERACTION) : head.index(b"\r\n", at)].strip() if at >= 0 else b"none"


def _headers(head: bytes) -> list[tuple[str, str]]:
    lines = head.decode("latin-1").split("\r\n")[1:-1]
    return [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]


async def serve(upstream: str, rows: int) -> None:
    """Listen on a free port of this machine, say so in one line of JSON, and go on until the process is ended."""
    memory = Memory(upstream, rows)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(memory), "127.0.0.1", 0)
    print(json.dumps({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}), flush=True)
    await server.serve_forever()


def main() -> None:
    """Run the bank."""
    parser = argparse.ArgumentParser(description="A bank that repeats what the sandbox bank said once.")
    parser.add_argument("--upstream", required=True, help="the sandbox bank's address, without a slash at the end")
    parser.add_argument("--rows", type=int, default=20, help="rows kept of a list of transactions")
    options = parser.parse_args()
    leave_with_parent()
    uvloop.run(serve(options.upstream, options.rows))


if __name__ == "__main__":
    main()
