"""What can go wrong between a caller and the log.

LogError
├── LogUnavailable      a fault: nobody can say whether the entry stands; release nothing
└── LogRefused          a refusal with a stable code: no entry was made
    ├── GrantChanged    the grant is not open at that version (it was revoked or changed first)
    └── GrantClosed     the grant was closed before
NotaryCannotStart       the notary found something that a person has to look at
"""

from __future__ import annotations


class LogError(Exception):
    """Root of everything that the log's client raises."""

    code = "log_error"


class LogUnavailable(LogError):
    """The notary did not acknowledge in time, or its connection died.

    The entry may or may not exist. That is the safe direction: the log is an upper bound of what left, so the caller releases
    nothing and never sends the same request again by itself.
    """

    code = "log_unavailable"


class LogRefused(LogError):
    """The notary said no and recorded nothing; `code` says why (the list is in docs/audit/receipt.md)."""

    def __init__(self, code: str) -> None:
        super().__init__(f"The log refused: {code}.")
        self.code = code


class GrantChanged(LogRefused):
    """The grant is closed, unknown, or at another version than the caller believed."""


class GrantClosed(LogRefused):
    """The grant had been closed already; no second entry was made."""


class NotaryCannotStart(Exception):
    """A start that was refused, with the sentence for the operator that names the way out."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def refusal(code: str) -> LogRefused:
    """The exception for a refusal code that the notary sent."""
    return {"grant_changed": GrantChanged, "grant_closed": GrantClosed}.get(code, LogRefused)(code)
