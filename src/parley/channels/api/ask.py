"""One question of a program, read within limits: in words, or typed as an offering and its slots. The token was checked before any of this."""

from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import Any

import msgspec

from parley.channels.api.ports import Admitted
from parley.model.extensions import Understood
from parley.model.money import EXPONENTS
from parley.model.refusals import BadInput
from parley.model.stages import Envelope, Question, Slots

BODY_BYTES_MAX = 8 * 1024
TEXT_CHARS_MAX = 500
WORD_CHARS_MAX = 64
ROWS_MAX = 100
BRACKETS_MAX = 64
MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
AMOUNT = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,4})?")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class TypedSlots(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As parley.model.stages.Slots; `amount` in major units as text, so that no float comes near it. Dates are ISO 8601."""

    amount: str | None = None
    currency: str | None = None
    account: str | None = None
    merchant: str | None = None
    by: date | None = None
    since: date | None = None
    count: int | None = None


class AskBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`question` in the customer's words, or `offering` with `slots`; never both. `message_id` makes a repetition known as one."""

    question: str | None = None
    offering: str | None = None
    slots: TypedSlots = TypedSlots()
    purpose: str | None = None
    message_id: str | None = None

    def __repr__(self) -> str:
        return "AskBody(***)"


class ApiConversation:
    """Implements parley.model.extensions.Channel for one request that was let in. `fallback_id` names a message that names itself not."""

    def __init__(self, admitted: Admitted, body: AskBody, fallback_id: str) -> None:
        self._admitted = admitted
        self._body = body
        self._fallback_id = fallback_id

    @property
    def name(self) -> str:
        return "api"

    def open(self, envelope: Envelope) -> Question:
        return Question(
            channel=self.name,
            platform=self._admitted.platform,
            conversation=self._admitted.conversation,
            message_id=self._body.message_id or self._fallback_id,
            text=CONTROL.sub(" ", self._body.question or "").strip(),
            asked_at=envelope.received_at,
            purpose_named=self._body.purpose,
        )


def read_question(body: bytes) -> AskBody:
    """Raises BadInput."""
    if len(body) > BODY_BYTES_MAX:
        raise BadInput("body_too_large")
    if body.count(b"[") + body.count(b"{") > BRACKETS_MAX:
        raise BadInput("body_too_deep")
    try:
        asked = _DECODER.decode(body)
        _KEYS.decode(body.decode())
    except RecursionError:
        raise BadInput("body_too_deep") from None
    except msgspec.ValidationError:
        raise BadInput("body_wrong_shape") from None
    except (msgspec.DecodeError, ValueError):
        raise BadInput("body_not_json") from None
    _check(asked)
    return asked


def typed(asked: AskBody) -> Understood | None:
    """The offering and its slots, None for a question in words. Raises BadInput for a slot that cannot be exact."""
    if asked.offering is None:
        return None
    slots = asked.slots
    return Understood(
        asked.offering,
        Slots(
            amount=_amount(slots.amount),
            currency=slots.currency,
            account=slots.account,
            merchant=slots.merchant,
            by=slots.by,
            since=slots.since,
            count=slots.count,
        ),
    )


def fallback_id(proofs: str) -> str:
    """A proof is never shown twice, so it names the message that came with it."""
    return sha256(proofs.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _check(asked: AskBody) -> None:
    slots = asked.slots
    if (asked.question is None) == (asked.offering is None) or (asked.question is not None and slots != TypedSlots()):
        raise BadInput("body_wrong_shape")
    if asked.question is not None and not CONTROL.sub(" ", asked.question).strip():
        raise BadInput("text_empty")
    if len(asked.question or "") > TEXT_CHARS_MAX:
        raise BadInput("text_too_long")
    words = (asked.offering, asked.purpose, slots.account, slots.merchant)
    if any(word is not None and (not word or len(word) > WORD_CHARS_MAX or CONTROL.search(word)) for word in words):
        raise BadInput("body_wrong_shape")
    if asked.message_id is not None and not MESSAGE_ID.fullmatch(asked.message_id):
        raise BadInput("body_wrong_shape")
    if (slots.currency is not None and slots.currency not in EXPONENTS) or (slots.count is not None and not 1 <= slots.count <= ROWS_MAX):
        raise BadInput("body_wrong_shape")


def _amount(text: str | None) -> Decimal | None:
    if text is None:
        return None
    if not AMOUNT.fullmatch(text):
        raise BadInput("body_wrong_shape")
    try:
        return Decimal(text)
    except InvalidOperation:
        raise BadInput("body_wrong_shape") from None


def _refuse_repetition(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name comes twice")


_DECODER = msgspec.json.Decoder(AskBody)
_KEYS = json.JSONDecoder(object_pairs_hook=_refuse_repetition)
