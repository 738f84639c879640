"""The client towards witnesses (c2sp.org/tlog-witness): sends them heads with the proof that each continues the last, and keeps what they sign.

A witness signs only what continues everything that it has seen of this log. One that is run by somebody else than the bank makes a second
history of the log visible to everybody.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from parley.log.quorum import Quorum, Witness
from parley.proof import Checkpoint, ProofRejected, verify_cosignature

SECONDS_MAX = 5.0
ANSWER_BYTES_MAX = 4096

Path = Callable[[int, int], list[bytes]]
"""(old size, new size) -> the consistency path between them."""


@dataclass(frozen=True, slots=True)
class Cosigned:
    """One witness's answer: its signature line (with the newline), and the moment that it states (seconds since 1970)."""

    line: bytes
    moment: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no cosignature: a stable word, never the witness's own text. "fork" needs a person at once."""

    why: str


class Witnesses:
    """Asks every witness that has an address. Remembers what size each has seen, and learns it anew from a witness that says otherwise."""

    def __init__(self, quorum: Quorum, path: Path, session: aiohttp.ClientSession) -> None:
        self._asked = [witness for witness in quorum.witnesses if witness.url is not None]
        self._path = path
        self._session = session
        self._seen: dict[str, int] = {}

    async def cosign(self, note: bytes, head: Checkpoint) -> dict[str, Cosigned | Refused]:
        """What each witness, by its name, says to this head. Never raises for what a witness does or leaves undone."""
        answers = await asyncio.gather(*(self._ask(witness, note, head) for witness in self._asked))
        return {witness.name: answer for witness, answer in zip(self._asked, answers, strict=True)}

    async def _ask(self, witness: Witness, note: bytes, head: Checkpoint) -> Cosigned | Refused:
        try:
            async with asyncio.timeout(SECONDS_MAX):
                return await self._asked_twice(witness, note, head)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return Refused("unreachable")

    async def _asked_twice(self, witness: Witness, note: bytes, head: Checkpoint) -> Cosigned | Refused:
        """A witness that has seen another size than we remember says which, and is asked once more from there."""
        for _ in range(2):
            old = self._seen.get(witness.name, 0)
            status, body = await self._post(witness, request_body(old, self._path(old, head.size), note))
            if status != 409:
                break
            told = size_in(body)
            if told is None or told > head.size:
                return Refused("ahead" if told is not None else "nonsense")
            self._seen[witness.name] = told
        if status == 200:
            return self._checked(witness, note, head, body)
        return Refused({403: "key", 404: "unknown_log", 409: "moving", 422: "fork"}.get(status, "unavailable"))

    async def _post(self, witness: Witness, body: bytes) -> tuple[int, bytes]:
        async with self._session.post(f"{witness.url}/add-checkpoint", data=body, allow_redirects=False) as response:
            return response.status, await response.content.read(ANSWER_BYTES_MAX)

    def _checked(self, witness: Witness, note: bytes, head: Checkpoint, body: bytes) -> Cosigned | Refused:
        """Only a line that is this witness's signature of this head goes on."""
        for line in body.splitlines(keepends=True):
            try:
                moment = verify_cosignature(note + line, witness.vkey)
            except ProofRejected:
                continue
            self._seen[witness.name] = head.size
            return Cosigned(line, moment)
        return Refused("not_signed")


def request_body(old: int, path: list[bytes], note: bytes) -> bytes:
    """`old <size>`, the consistency path in base64, an empty line, the signed checkpoint."""
    return b"".join((b"old %d\n" % old, *(b64encode(each) + b"\n" for each in path), b"\n", note))


def size_in(body: bytes) -> int | None:
    text = body.removesuffix(b"\n")
    return int(text) if text.isdigit() and len(text) <= 19 else None
