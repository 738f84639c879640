"""Opens what the chat page or a terminal sent: first whether it truly came from there, then what it says."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from parley.channels.web.desk import SessionView
from parley.model.refusals import BadInput, ForgedMessage
from parley.model.stages import Envelope, Question

BODY_BYTES_MAX = 8 * 1024
TEXT_CHARS_MAX = 500
BRACKETS_MAX = 640
"""No question that we accept holds more brackets than its text and purpose have characters, so more of them can only be nesting."""

PURPOSE_CHARS_MAX = 64
MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class WebConversation:
    """The web channel for one request: the session has been looked up, everything else about the request is still unverified."""

    def __init__(self, session: SessionView, *, public_origin: str, platform: str) -> None:
        self._session = session
        self._public_origin = public_origin
        self._platform = platform

    @property
    def name(self) -> str:
        return "web"

    def open(self, envelope: Envelope) -> Question:
        """The question. Raises ForgedMessage or BadInput; nothing of the body is parsed before its sender is known."""
        check_sender(envelope.unverified_headers, self._session, self._public_origin)
        message = read_message(envelope.unverified_body)
        return Question(
            channel=self.name,
            platform=self._platform,
            conversation=self._session.conversation,
            message_id=message.message_id,
            text=message.text,
            asked_at=envelope.received_at,
            purpose_named=message.purpose,
        )


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is sent. `message_id` is made by the page, so that sending again after a lost answer is known as the same message."""

    message_id: str
    text: str
    purpose: str | None = None

    def __repr__(self) -> str:
        return "Message(***)"


def check_sender(headers: Mapping[str, str], session: SessionView, public_origin: str) -> None:
    """The page that we served sent this, in this session. Raises BadInput or ForgedMessage."""
    # 1. A browser says which site a request comes from, and no page can make it lie.
    if headers.get("origin", public_origin) != public_origin or headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise BadInput("origin_wrong")
    # 2. A form of another site cannot say application/json without asking first; nothing else is read.
    if headers.get("content-type") != "application/json":
        raise BadInput("content_type_wrong")
    # 3. A cookie is sent along by itself, so the page shows the secret that only it was given. A bearer token is never sent by itself.
    if session.ambient and not hmac.compare_digest(headers.get("x-parley-csrf", "").encode(), session.csrf.encode()):
        raise ForgedMessage("csrf")


def read_message(body: bytes) -> Message:
    """The message in a body, cleaned of control characters. Raises BadInput."""
    message = _decode(body)
    text = CONTROL.sub(" ", message.text).strip()
    if not MESSAGE_ID.fullmatch(message.message_id) or len(message.purpose or "") > PURPOSE_CHARS_MAX:
        raise BadInput("body_wrong_shape")
    if not text:
        raise BadInput("text_empty")
    if len(text) > TEXT_CHARS_MAX:
        raise BadInput("text_too_long")
    purpose = None if message.purpose is None else CONTROL.sub(" ", message.purpose)
    return Message(message.message_id, text, purpose)


def read_nothing(body: bytes) -> None:
    """A request that says nothing beyond its address: `{}`."""
    if body.strip() not in (b"", b"{}"):
        raise BadInput("body_wrong_shape")


def _decode(body: bytes) -> Message:
    if len(body) > BODY_BYTES_MAX:
        raise BadInput("body_too_large")
    if body.count(b"[") + body.count(b"{") > BRACKETS_MAX:
        raise BadInput("body_too_deep")
    try:
        message = _DECODER.decode(body)
        if _ENCODER.encode(message) != body:  # What our page writes comes out as it went in; anything else could say a thing twice.
            _KEYS.decode(body.decode())
    except RecursionError:
        raise BadInput("body_too_deep") from None
    except msgspec.ValidationError:
        raise BadInput("body_wrong_shape") from None
    except (msgspec.DecodeError, ValueError):
        raise BadInput("body_not_json") from None
    return message


def _refuse_repetition(pairs: list[tuple[str, Any]]) -> None:
    """Two readers may take different ones of two equal keys, so there may be only one. The shape is known to be flat by now."""
    if len({key for key, _ in pairs}) != len(pairs):
        raise BadInput("body_wrong_shape", "a repeated key")


_DECODER = msgspec.json.Decoder(Message)
_ENCODER = msgspec.json.Encoder()
_KEYS = json.JSONDecoder(object_pairs_hook=_refuse_repetition)
