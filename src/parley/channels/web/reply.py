"""What the chat page and the terminal are told: an answer in words with its reasons, a refusal with its code, or that something broke."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from parley.model.ledger import Discreet
from parley.model.refusals import BAD_INPUT, Fault, NotUnderstood, Refusal
from parley.model.stages import AnswerLine

Outcome = Literal["answered", "refused", "not_understood", "fault"]


class Why(Discreet, frozen=True):
    """Why the customer may trust an answer, in words for her: `what_left` and `what_stayed` say what the chat was given and what not.

    `policy` is the digest of the bank's policy, `log_index` the entry's number in the log, `recorded_at` UTC, `receipt` its whole text,
    `receipt_url` where the same text can be fetched from this server.
    """

    purpose: str
    what_left: str
    policy: str
    platform: str
    channel: str
    log_index: int
    recorded_at: datetime
    what_stayed: str = "Account numbers, your other accounts, and everything that you did not ask about."
    receipt: str | None = None
    receipt_url: str | None = None


class Notice(Discreet, frozen=True):
    """Something that the customer should know beside the answer, and where she can do something about it on this server."""

    text: str
    label: str
    url: str


class Reply(Discreet, frozen=True):
    """One message back. `code` is stable ("answered" for an answer), `wish` the offering to link for, `ms` milliseconds by step.

    `text` says everything; where there are `lines`, a page may show `heading` above them instead.
    """

    outcome: Outcome
    code: str
    text: str
    lines: tuple[AnswerLine, ...] = ()
    heading: str = ""
    suggestions: tuple[str, ...] = ()
    why: Why | None = None
    wish: str | None = None
    notice: Notice | None = None
    ms: Mapping[str, float] = msgspec.field(default_factory=dict)


def reply_to_failure(failure: Refusal | NotUnderstood | Fault, suggestions: tuple[str, ...] = ()) -> Reply:
    """A refusal, a fault or bafflement in the shape that pages read. The operator's detail stays behind."""
    if isinstance(failure, Refusal):
        return Reply("refused", failure.code, failure.plain_words)
    if isinstance(failure, NotUnderstood):
        return Reply("not_understood", failure.code, failure.plain_words, suggestions=suggestions)
    return Reply("fault", failure.code, failure.plain_words)


INTERNAL = Reply("fault", "internal", Fault.plain_words)
"""The last resort's answer: something broke that nobody foresaw, and nobody outside learns what."""

STATUS: Mapping[str, int] = {
    "body_too_large": 413,
    "body_not_json": 400,
    "body_too_deep": 400,
    "body_wrong_shape": 422,
    "content_type_wrong": 415,
    "text_empty": 422,
    "text_too_long": 422,
    "form_stale": 409,
    "origin_wrong": 403,
    "session_unknown": 401,
    "receipt_unknown": 404,
    "choice_missing": 422,
    "forged_message": 403,
    "too_many": 429,
}


def status_of(reply: Reply) -> int:
    """HTTP status: 200 for every word of the house, also a no; 4xx for what could not be read; 503 for a fault, which may be retried."""
    return 503 if reply.outcome == "fault" else STATUS.get(reply.code, 200)


def encode_reply(reply: Reply) -> bytes:
    return _ENCODER.encode(reply)


_ENCODER = msgspec.json.Encoder()

if not BAD_INPUT.keys() <= STATUS.keys():
    raise RuntimeError("Every code of unreadable input needs an HTTP status.")
