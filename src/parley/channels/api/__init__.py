"""The partners' API: a registered client asks for a customer who allowed it, in words or typed, and gets the answer with its receipt."""

from parley.channels.api.ask import ApiConversation
from parley.channels.api.ports import Admitted, AnswerDesk, Gate, NotAdmitted, Reply
from parley.channels.api.routes import api_routes

__all__ = ["Admitted", "AnswerDesk", "ApiConversation", "Gate", "NotAdmitted", "Reply", "api_routes"]
