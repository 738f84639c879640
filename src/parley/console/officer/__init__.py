"""The officer's console: the policy with its proofs and four eyes, why answers were refused, what left, and the switch. Never a value."""

from parley.console.officer.desks import Desks, open_desks
from parley.console.officer.render import ConsoleSettings
from parley.console.officer.routes import officer_routes

__all__ = ["ConsoleSettings", "Desks", "officer_routes", "open_desks"]
