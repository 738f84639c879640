"""Linking a chat of a messenger to a customer: what waits between her consent in the browser and her number typed in the chat."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from parley.model.ledger import Discreet


class Handover(Discreet, frozen=True):
    """A consent that waits for its chat. `consent` what the customer agreed to (opaque here); `number` the six digits that only her page showed."""

    consent: bytes
    number: str


class WayBack(Discreet, frozen=True):
    """What the customer's page shows after her consent: the platform's address with the code in it, and the number."""

    url: str
    number: str


class CodeOutcome(StrEnum):
    """What a code from the platform's webhook led to."""

    WAITS = "waits"
    AGAIN = "again"
    ANOTHER_CHAT = "another_chat"
    UNKNOWN = "unknown"


class Presentation(Discreet, frozen=True):
    """The outcome of presenting a code, and for ANOTHER_CHAT the chat that had presented the same code before."""

    outcome: CodeOutcome
    earlier_chat: str | None = None


class LinkedByPlatform(Protocol):
    """The authorization side of account linking, as a messenger's channel calls it once it has verified a webhook. `chat` is the platform's id of it.

    No method tells the chat anything about a customer. All may raise a Fault, after which the platform's repeat of the webhook is welcome.
    """

    async def linked(self, chat: str, code: str) -> bool:
        """The platform says that this chat came back with a code. True: ask the chat for the number; False: say nothing of use."""

    async def typed(self, chat: str, text: str) -> bool | None:
        """Text from a chat: True when it was the awaited number and the chat is linked now, False when it ended the attempt, None when
        no number is awaited from this chat or the text is none: an ordinary message."""

    async def unlinked(self, chat: str) -> None:
        """The customer unlinked on the platform: everything that this chat may ask ends."""
