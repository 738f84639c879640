"""The bank's own web chat, and the terminal's: the page, its JSON, and the checks on what they send."""

from parley.channels.web.conversation import WebConversation
from parley.channels.web.desk import ChatDesk, LinkState, SessionKeeper, SessionView, WebSettings
from parley.channels.web.protect import ERROR_HANDLERS, Protected
from parley.channels.web.reply import Notice, Reply, Why
from parley.channels.web.routes import web_routes

__all__ = [
    "ERROR_HANDLERS", "ChatDesk", "LinkState", "Notice", "Protected", "Reply", "SessionKeeper", "SessionView", "WebConversation", "WebSettings",
    "Why", "web_routes",
]  # fmt: skip
