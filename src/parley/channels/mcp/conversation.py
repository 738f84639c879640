"""Opens one tool call of an assistant: its token was good, so what is left to check is the call."""

from __future__ import annotations

from parley.channels.mcp.desk import Access
from parley.model.stages import Envelope, Question

NAME = "mcp"


class McpConversation:
    """The MCP channel for one call: token, scope and arguments have been checked, and nothing is left to be understood.

    `message_id` is fresh for each call: assistants number their calls anew in every session, and no tool changes anything.
    """

    def __init__(self, access: Access, message_id: str) -> None:
        self._access = access
        self._message_id = message_id

    @property
    def name(self) -> str:
        return NAME

    def open(self, envelope: Envelope) -> Question:
        return Question(
            channel=NAME,
            platform=self._access.platform,
            conversation=self._access.conversation,
            message_id=self._message_id,
            text="",
            asked_at=envelope.received_at,
        )
