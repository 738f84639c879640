"""What the MCP endpoint needs from the house, as small as it can be; the app supplies it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from parley.model.extensions import Channel, Understood
from parley.model.ledger import Discreet
from parley.model.refusals import Fault
from parley.model.stages import AnswerLine, Envelope


class TooManyCalls(Fault):
    """One assistant calls faster than any conversation needs."""

    code = "too_many"
    plain_words = "That was a lot in a short time. Please wait a minute and try again."


class Access(Protocol):
    """What an access token stands for: the conversation that its grants were made for, the platform that its client belongs to, its scopes."""

    @property
    def conversation(self) -> str: ...
    @property
    def platform(self) -> str: ...
    @property
    def scopes(self) -> frozenset[str]: ...


class AccessReader(Protocol):
    async def access(self, token: str) -> Access | None:
        """None for every token that is not good at this resource at this moment: unknown, expired, revoked, made for another audience.

        Raises TooManyCalls, or another Fault.
        """


class McpAnswer(Discreet, frozen=True):
    """The house's word on one tool call. `code` is stable ("answered" for an answer); `receipt` and `log_index` only with an answer."""

    outcome: Literal["answered", "refused", "not_understood", "fault"]
    code: str
    text: str
    heading: str = ""
    lines: tuple[AnswerLine, ...] = ()
    purpose: str | None = None
    log_index: int | None = None
    receipt: str | None = None


class McpDesk(Protocol):
    async def answer(self, envelope: Envelope, channel: Channel, access: Any, asked: Understood) -> McpAnswer:
        """One tool call down the road. Calls `channel.open(envelope)`; refusals and faults become answers. `access`: what the reader returned."""


@dataclass(frozen=True, slots=True)
class McpSettings:
    """`resource` the endpoint's own address, which every token must have been made for; `issuer` the authorization server, byte for byte.

    `public_origin` as browsers spell it; `title` the bank's name for people.
    """

    resource: str
    issuer: str
    public_origin: str
    title: str
    version: str
