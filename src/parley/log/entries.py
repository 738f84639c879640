"""Which entries the notary accepts: closed kinds, the canonical form, and what a release must say.

The form is the one that `parley.proof.entry` describes for a stranger; here it is checked on the hot path, before sequencing.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from parley.log.errors import LogRefused
from parley.proof import is_forbidden
from parley.proof.entry import ENTRY_BYTES_MAX, INTEGER_MAX

OFFICERS_KINDS = {"policy", "switch", "staff"}
CALLERS_KINDS = {"release", "refusal", "erasure", "manifest", "canary", "incident", "key", "build", "aggregate", "grantmap"} | OFFICERS_KINDS
RESERVED = {"grant": "open_grant", "revoke": "close_grant", "heartbeat": "the notary itself"}
"""Kinds that mean a change of the notary's own state: only the request (or the minute) that makes the change may write them."""
KINDS = CALLERS_KINDS | RESERVED.keys()

BUCKET_SECONDS = 600
COMMITMENT_CHARACTERS = 44

_Number = Annotated[int, msgspec.Meta(ge=-INTEGER_MAX, le=INTEGER_MAX)]
_decoder = msgspec.json.Decoder(dict[str, str | _Number])
_encoder = msgspec.json.Encoder(order="sorted")
_known_purposes: dict[str, bool] = {}
_PURPOSES_KEPT = 256


def check_entry(entry: bytes, kind: str | None = None) -> tuple[str, int]:
    """The kind and time bucket of an acceptable entry; raises LogRefused.

    `kind` is the one that the request demands; without it the reserved kinds are refused.
    """
    fields = _read(entry)
    found, bucket = fields.get("k"), fields.get("b")
    if fields.get("v") != 1 or type(bucket) is not int or bucket < 0 or bucket % BUCKET_SECONDS:
        raise LogRefused("entry_fields")
    if type(found) is not str or found not in KINDS:
        raise LogRefused("kind_unknown")
    if found != kind and (kind is not None or found in RESERVED):
        raise LogRefused("kind_reserved")
    if found == "release":
        _check_release(fields)
    return found, bucket


def heartbeat(bucket: int) -> bytes:
    """The entry that shows that the log was alive in this bucket."""
    return _encoder.encode({"b": bucket, "k": "heartbeat", "v": 1})


def _read(entry: bytes) -> dict[str, str | int]:
    if len(entry) > ENTRY_BYTES_MAX:
        raise LogRefused("entry_too_large")
    try:
        fields = _decoder.decode(entry)
        same = _encoder.encode(fields) == entry
    except (msgspec.DecodeError, ValueError, RecursionError):
        same = False
    # Text in and text out being equal rules out doubled keys, spaces, fractions and odd escapes; the rest is one look at the bytes.
    if not same or not entry.isascii() or b"\\" in entry or b"\x7f" in entry:
        raise LogRefused("entry_not_canonical")
    return fields


def _check_release(fields: dict[str, str | int]) -> None:
    purpose, commitment = fields.get("u"), fields.get("c")
    if type(purpose) is not str or not purpose:
        raise LogRefused("purpose_missing")
    if _forbidden(purpose):
        raise LogRefused("purpose_forbidden")
    if type(commitment) is not str or len(commitment) != COMMITMENT_CHARACTERS:
        raise LogRefused("commitment_missing")


def _forbidden(purpose: str) -> bool:
    known = _known_purposes.get(purpose)
    if known is None:
        known = is_forbidden(purpose)
        if len(_known_purposes) < _PURPOSES_KEPT:
            _known_purposes[purpose] = known
    return known
