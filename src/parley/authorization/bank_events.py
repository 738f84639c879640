"""The bank's own word that a customer ended her consent there: one signed POST, and every grant that lived on that consent ends.

Signed in the shape of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, the raw bytes, checked before anything is parsed. Whoever
holds the secret can end grants; nothing that is sent here gives or shows anything.
"""

from __future__ import annotations

import hmac
import re
import stat
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Protocol

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from parley.authorization.pages.forms import read_body
from parley.model.refusals import BadInput, Fault, ForgedMessage, LogUnavailable, Refusal

BODY_BYTES_MAX = 16 * 1024
CLOCKS_DIFFER_MAX = timedelta(minutes=5)
REMEMBERED = timedelta(days=1)
"""A bank that hears no answer sends the same id again; for so long a second one costs one read. Ending twice would change nothing."""

SECRETS_MAX = 2
SECRET_BYTES = range(24, 65)
SECRET_PREFIX = "whsec_"  # noqa: S105 - how a secret is written, not one
SIGNATURES_MAX = 4
FILE_BYTES_MAX = 1024
CONSENT_ENDED = "consent.ended"
_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""Without a full stop, which ends it in what is signed: no part of one message can be read as another part."""

_SECONDS = re.compile(r"[0-9]{1,11}")


class BadSecretFile(ValueError):
    """The file of a bank's event secrets cannot be used; the message says why, for the operator, and holds nothing of it."""


class SeenRecords(Protocol):
    async def was_seen(self, use: str, name: str) -> bool: ...
    async def see_once(self, use: str, name: str, until: datetime) -> bool: ...


class _Event(msgspec.Struct, frozen=True):
    """What we use of an event; other fields are passed over. `type` decides what the rest means."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    consent_id: Annotated[str, msgspec.Meta(max_length=1024)] = ""

    def __repr__(self) -> str:
        return "_Event(***)"


def bank_event_routes(
    *,
    secrets: Mapping[str, tuple[bytes, ...]],
    ended: Callable[[str, str], Awaitable[int]],
    records: SeenRecords,
    clock: Callable[[], datetime],
    on_fault: Callable[[str], None],
) -> list[BaseRoute]:
    """`secrets` by the bank's name: a bank that is not there has no address. `ended` is GrantDesk.ended_at_bank."""
    return [Route("/bank/events/{bank}", _Door(secrets, ended, records, clock, on_fault).take, methods=["POST"])]


class _Door:
    def __init__(
        self,
        secrets: Mapping[str, tuple[bytes, ...]],
        ended: Callable[[str, str], Awaitable[int]],
        records: SeenRecords,
        clock: Callable[[], datetime],
        on_fault: Callable[[str], None],
    ) -> None:
        self._secrets = secrets
        self._ended = ended
        self._records = records
        self._clock = clock
        self._on_fault = on_fault

    async def take(self, request: Request) -> Response:
        """202 for what was heard, 401 for what is not the bank's, 400 and 413 for what cannot be read, 503 where it should be sent again."""
        bank = request.path_params["bank"]
        secrets = self._secrets.get(bank, ())
        if not secrets:
            raise HTTPException(404)
        try:
            await self._heard(bank, secrets, request)
        except ForgedMessage as forged:
            return _told(forged, 401)
        except BadInput as refusal:
            return _told(refusal, 413 if refusal.code == "body_too_large" else 400)
        except Fault as fault:
            return _told(fault, 503)
        except Exception as unforeseen:
            self._on_fault(type(unforeseen).__name__)
            return _told(Fault(), 503)
        return Response(status_code=202)

    async def _heard(self, bank: str, secrets: tuple[bytes, ...], request: Request) -> None:
        # 1. The bank's own bytes, of this hour, or nobody's.
        unverified_body = await read_body(request, BODY_BYTES_MAX)
        message_id, body = verified(request.headers.getlist, unverified_body, secrets, self._clock())
        # 2. Heard before? Remembered only after it has had its effect: a crash in between leaves the next one to do the work.
        name = f"{bank}\0{message_id}"
        if await self._records.was_seen("bank event", name):
            return
        # 3. What it says.
        event = _read(body)
        if event.type == CONSENT_ENDED:
            await self._end(bank, event.consent_id)
        await self._records.see_once("bank event", name, self._clock() + REMEMBERED)

    async def _end(self, bank: str, consent_id: str) -> None:
        if not consent_id:
            raise BadInput("body_wrong_shape", "no consent")
        try:
            await self._ended(bank, consent_id)
        except LogUnavailable:
            return  # The grants are over, and the records remember what the log must still be told.


def verified(headers: Callable[[str], list[str]], unverified_body: bytes, secrets: tuple[bytes, ...], now: datetime) -> tuple[str, bytes]:
    """(id, body) of a message that one of the secrets signed, at most five minutes from now. Raises ForgedMessage, the same for every cause."""
    found = [headers(name) for name in _HEADERS]
    if any(len(values) != 1 for values in found):
        raise ForgedMessage("headers")
    message_id, sent_at, signatures = (values[0] for values in found)
    if not _ID.fullmatch(message_id) or not _SECONDS.fullmatch(sent_at):
        raise ForgedMessage("headers")
    signed = f"{message_id}.{sent_at}.".encode() + unverified_body
    if not _is_signed(signed, signatures.split(" "), secrets):
        raise ForgedMessage("signature")
    if abs(int(sent_at) - now.timestamp()) > CLOCKS_DIFFER_MAX.total_seconds():
        raise ForgedMessage("time")
    return message_id, unverified_body


def signature(secret: bytes, signed: bytes) -> str:
    """One signature as the header holds it, several of them apart by a space."""
    return "v1," + b64encode(hmac.digest(secret, signed, sha256)).decode()


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """The secrets of a file, one a line: two at most, while one takes the other's place. Raises BadSecretFile."""
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as reason:
        raise BadSecretFile(f"banks.event_secret_file: {path} cannot be read ({reason.strerror})") from None
    if not stat.S_ISREG(mode) or stat.S_IMODE(mode) & 0o077:
        raise BadSecretFile(f"banks.event_secret_file: {path} is open to others; its mode must be 0600")
    lines = content.decode("latin-1").split()
    secrets = tuple(_secret(line) for line in lines[:SECRETS_MAX])
    if len(content) > FILE_BYTES_MAX or not 1 <= len(lines) <= SECRETS_MAX or any(len(each) not in SECRET_BYTES for each in secrets):
        raise BadSecretFile(f"banks.event_secret_file: {path} must hold one or two lines of whsec_ and 24 to 64 bytes in base64")
    return secrets


def _secret(line: str) -> bytes:
    """Empty where it is none."""
    try:
        return b64decode(line.removeprefix(SECRET_PREFIX), validate=True) if line.startswith(SECRET_PREFIX) else b""
    except (NotBase64, ValueError):
        return b""


def _is_signed(signed: bytes, signatures: list[str], secrets: tuple[bytes, ...]) -> bool:
    """Every pair is compared, each in a time that tells nothing: which secret or signature it was shows nowhere."""
    if len(signatures) > SIGNATURES_MAX:
        return False
    expected = [signature(secret, signed).encode() for secret in secrets]
    equal = [hmac.compare_digest(ours, theirs.encode("utf-8", "replace")) for ours in expected for theirs in signatures]
    return any(equal)


def _read(body: bytes) -> _Event:
    try:
        return msgspec.json.decode(body, type=_Event)
    except RecursionError:
        raise BadInput("body_too_deep") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BadInput("body_wrong_shape") from None


def _told(why: Refusal | Fault, status: int) -> Response:
    return JSONResponse({"code": why.code}, status_code=status)
