"""What the API needs from the rooms beside it: who decides what a token is worth, and who answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from parley.model.extensions import Channel, Understood
from parley.model.ledger import Discreet
from parley.model.stages import AnswerLine, Envelope


class NotAdmitted(Exception):
    """The token is worth nothing here. `code` as RFC 6750 and 9449 have it; `headers` what the client must be told to do better."""

    def __init__(self, code: str, words: str, *, status: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.words = words
        self.status = status
        self.headers = dict(headers or {})


class Admitted(Protocol):
    """Whom a token lets in: a platform, in one conversation. Who the customer is, the channel is never told."""

    @property
    def platform(self) -> str: ...
    @property
    def conversation(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Knock:
    """What a request shows to be let in. `authorization` and `proofs` every header of that name; `path` without the query."""

    authorization: Sequence[str] = field(repr=False)
    proofs: Sequence[str] = field(repr=False)
    method: str
    path: str
    query: bytes = field(repr=False)


class Gate(Protocol):
    async def admit(self, knock: Knock) -> Admitted:
        """Raises NotAdmitted, or a Fault."""


class Reply(Discreet, frozen=True, omit_defaults=True):
    """An answer to a program. `lines` the same as a card; `receipt` its whole text, to be checked offline against the log's public key."""

    answer: str
    lines: tuple[AnswerLine, ...]
    heading: str
    purpose: str
    projection: str
    policy: str
    log_index: int
    recorded_at: datetime
    receipt: str


class AnswerDesk(Protocol):
    async def answer(self, envelope: Envelope, channel: Channel, admitted: Any, typed: Understood | None) -> Reply:
        """Down the road. Raises a Refusal, NotUnderstood or a Fault. `admitted` is what the gate returned."""
