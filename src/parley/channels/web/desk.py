"""What the web chat needs from the house, as small as it can be; the app supplies it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from parley.channels.web.reply import Reply
from parley.model.extensions import Channel
from parley.model.stages import Envelope


class SessionView(Protocol):
    """A session as the chat sees it. `ambient`: it came in a cookie, so that a CSRF token must come beside it."""

    @property
    def conversation(self) -> str: ...
    @property
    def csrf(self) -> str: ...
    @property
    def ambient(self) -> bool: ...


class SessionReader(Protocol):
    async def find(self, headers: Mapping[str, str]) -> SessionView | None:
        """The session that the headers (lower case) present, None when none stands."""


class SessionKeeper(SessionReader, Protocol):
    async def open(self, client: str) -> tuple[SessionView, str] | None:
        """A new session and its Set-Cookie value; None when this client address opened too many lately."""


@dataclass(frozen=True, slots=True)
class LinkState:
    """Whether a bank customer stands behind the conversation, and until when (UTC) her permission lasts."""

    linked: bool
    until: datetime | None = None


class ChatDesk(Protocol):
    """The house behind the counter. Conversations are the session's; the desk decides whose they are."""

    async def answer(self, envelope: Envelope, channel: Channel) -> Reply:
        """One question down the road. Calls `channel.open(envelope)`. May raise Refusal, NotUnderstood or Fault; all become replies."""

    async def stop(self, conversation: str) -> Reply:
        """Revoke every grant of the conversation, at once."""

    async def receipt(self, conversation: str, index: int) -> str | None:
        """The receipt of an answer given in this very conversation, None for every other."""

    async def state(self, conversation: str) -> LinkState: ...


@dataclass(frozen=True, slots=True)
class WebSettings:
    """`public_origin` as browsers spell it (scheme, host, port). `platform` is the platform's name in grants and entries.

    `examples` are shown as suggestions. `log_vkey` is the log's public key (C2SP signed-note), offered for download.
    """

    public_origin: str
    platform: str
    bank_title: str
    examples: tuple[str, ...]
    log_vkey: str
    contact: str

    @property
    def secure(self) -> bool:
        return self.public_origin.startswith("https://")
