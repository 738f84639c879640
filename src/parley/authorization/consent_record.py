"""The consent record that a customer may keep: JSON with the fields of ISO/IEC TS 27560:2023, signed by a key of the gateway.

    {"record": {…}, "signature": {"alg": "Ed25519", "kid": …, "protected": …, "signature": …}, "log_receipt": "…"}

The signature is a JWS (RFC 7515, appendix F: detached) over the record in canonical JSON (RFC 8785), so the file stays readable. The key's
public half is published as a JWK set and its thumbprint is an entry of the log. `log_receipt` proves on its own, with the log's key,
that this version of the grant was recorded, with these accounts, projections, limits and this end.
"""

from __future__ import annotations

import json
import os
import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from parley.authorization.client_key import BadKeyFile
from parley.model.grants import GRANT_LIFETIME_MAX, Grant, GrantState
from parley.model.plain_words import DELIVERY_WORDS, PURPOSE_WORDS
from parley.model.words import Field
from parley.proof import canonical, parse_receipt

SCHEMA = "https://w3id.org/dpv/schema/dpv-27560#record"
RECORD_BYTES_MAX = 64 * 1024
FILE_BYTES_MAX = 8 * 1024
EVENT_TYPES = {GrantState.ACTIVE: "explicit", GrantState.PAUSED: "paused", GrantState.REVOKED: "withdrawn", GrantState.EXPIRED: "expired"}
EVENT_STATES = {
    GrantState.ACTIVE: "consent given",
    GrantState.PAUSED: "consent given",
    GrantState.REVOKED: "consent withdrawn",
    GrantState.EXPIRED: "consent expired",
}


class RecordRejected(Exception):
    """The record is not one that this key signed; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class RecordParties:
    """Who stands in every record: the bank as the one that holds the data, and whom to write to."""

    bank_title: str
    contact: str
    public_url: str
    log_origin: str


class RecordKey:
    """An Ed25519 key in a file with mode 0600. Prints nothing of itself."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    def __repr__(self) -> str:
        return "RecordKey(***)"

    @classmethod
    def load_or_create(cls, path: Path) -> RecordKey:
        """The key in the file (PEM, PKCS #8), made there if there is none. Raises BadKeyFile."""
        try:
            if not path.exists():
                _make(path)
            return cls(_read(path))
        except OSError as reason:
            raise BadKeyFile(f"the key of consent records cannot be used: {reason.strerror}") from None

    @property
    def thumbprint(self) -> str:
        """RFC 7638 of the public half; the `kid`."""
        return _text(sha256(canonical({"crv": "Ed25519", "kty": "OKP", "x": _text(self._public)})).digest())

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public half, as it is published."""
        key = {"kty": "OKP", "crv": "Ed25519", "x": _text(self._public), "kid": self.thumbprint, "use": "sig", "alg": "Ed25519"}
        return {"keys": [key]}

    def sign(self, payload: bytes) -> dict[str, str]:
        """A JWS of the payload without the payload."""
        protected = _text(canonical({"alg": "Ed25519", "kid": self.thumbprint, "typ": "parley-consent-record"}))
        signature = self._key.sign(f"{protected}.{_text(payload)}".encode())
        return {"alg": "Ed25519", "kid": self.thumbprint, "protected": protected, "signature": _text(signature)}


def signed_record(grant: Grant, title: str, parties: RecordParties, key: RecordKey, log_receipt: str | None, now: datetime) -> bytes:
    """The file for one version of a grant. `title`: the platform's name for people; `now`: when the record was made (UTC)."""
    record = consent_record(grant, title, parties, now, happened_at(grant, log_receipt))
    told: dict[str, Any] = {"record": record, "signature": key.sign(canonical(record))}
    if log_receipt is not None:
        told["log_receipt"] = log_receipt
    return msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n"


def happened_at(grant: Grant, log_receipt: str | None) -> datetime | None:
    """When the consent was given; of a version that rests or is over, when that was, which only the log's entry of it tells (None: not yet)."""
    if grant.state is GrantState.ACTIVE or log_receipt is None:
        return grant.created_at if grant.state is GrantState.ACTIVE else None
    private = json.loads(parse_receipt(log_receipt).private)
    return datetime.fromtimestamp(private["t_ms"] / 1000, UTC) if private["grant_version"] == grant.version else None


def consent_record(grant: Grant, title: str, parties: RecordParties, now: datetime, at: datetime | None) -> dict[str, Any]:
    """The record of one version, section by section as TS 27560 has them; what is ours alone stands under `parley`. `at`: of its event."""
    end = min(grant.expires_at, grant.created_at + GRANT_LIFETIME_MAX)
    return {
        "schema_version": SCHEMA,
        "record_id": f"{grant.id}-{grant.version}",
        "record_made_at": _utc(now),
        "pii_principal_id": grant.customer,
        "pii_processing": {
            "privacy_notice": f"sha256:{grant.text_hash}",
            "language": "en",
            "purposes": [_purpose(grant, title, parties)],
        },
        "parties": [
            {"party_id": "bank", "party_name": parties.bank_title, "party_role": "pii_controller", "party_contact": parties.contact},
            {"party_id": grant.platform, "party_name": title, "party_role": "recipient", "party_type": grant.channel},
        ],
        "event": {
            **({"event_time": _utc(at)} if at is not None else {}),
            "validity_duration": _duration(end - grant.created_at),
            "valid_until": _utc(end),
            "event_type": EVENT_TYPES[grant.state],
            "event_state": EVENT_STATES[grant.state],
            "entity_id": grant.customer,
        },
        "parley": {
            "grant": grant.id,
            "version": grant.version,
            "state": grant.state.value,
            "channel": grant.channel,
            "delivery": grant.delivery.value,
            "lookback_days": grant.lookback_days,
            "provenance": grant.provenance.value,
            "answers_per_day": grant.budget.answers_per_day,
            "rows_per_day": grant.budget.rows_per_day,
            "policy": grant.policy_digest,
            "log": parties.log_origin,
            "log_index": grant.log_index,
        },
    }


def verify_consent_record(sent: bytes, jwks: bytes) -> dict[str, Any]:
    """The record in a file that one of these keys signed. Raises RecordRejected with the first check that failed."""
    told, keys = _object(sent, "The file"), _object(jwks, "The key set").get("keys")
    record, signature = told.get("record"), told.get("signature")
    if not isinstance(record, dict) or not isinstance(signature, dict) or not isinstance(keys, list):
        raise RecordRejected("The file is not a signed consent record, or the keys are not a key set.")
    mine = [each for each in keys if isinstance(each, dict) and each.get("kid") == signature.get("kid")]
    if len(mine) != 1 or mine[0].get("kty") != "OKP" or mine[0].get("crv") != "Ed25519":
        raise RecordRejected("The record was signed by a key that is not in the key set.")
    protected = signature.get("protected")
    header = _object(_bytes(protected), "The signature's header")
    if header.get("alg") != "Ed25519" or header.get("kid") != signature.get("kid") or "crit" in header or "b64" in header:
        raise RecordRejected("The signature's header says something that is not accepted.")
    try:
        public = Ed25519PublicKey.from_public_bytes(_bytes(mine[0].get("x")))
        public.verify(_bytes(signature.get("signature")), f"{protected}.{_text(canonical(record))}".encode())
    except (InvalidSignature, ValueError, RecursionError):
        raise RecordRejected("The signature is not this key's, or the record was changed.") from None
    return record


def _purpose(grant: Grant, title: str, parties: RecordParties) -> dict[str, Any]:
    return {
        "purpose": grant.purpose.dpv,
        "purpose_type": grant.purpose.value,
        "purpose_description": PURPOSE_WORDS[grant.purpose],
        "lawful_basis": "consent",
        "pii_information": [
            {
                "pii_type": projection.value,
                "pii_description": projection.plain_words,
                "pii_attributes": sorted(each.value for each in projection.fields),
            }
            for projection in sorted(grant.projections)
        ],
        "pii_sources": list(grant.accounts),
        "pii_controllers": ["bank"],
        "collection_method": "read at the bank when the customer asks",
        "processing_methods": [DELIVERY_WORDS[grant.delivery]],
        "storage_locations": ["nothing is stored: an answer is read, delivered and forgotten"],
        "retention_period": "PT0S",
        "recipient_third_parties": [grant.platform],
        "services": [title],
        "withdrawal_method": f"{parties.public_url}/me, or the word stop in the chat",
        "privacy_rights": ["withdraw", "access", "portability", "erasure"],
        "special_pii_category": False,
        "never_included": sorted(each.value for each in Field if not any(each in projection.fields for projection in grant.projections)),
    }


def _make(path: Path) -> None:
    """Written whole beside its place, then linked into it: neither a crash nor a second process leaves half a key, or two different ones."""
    pem = Ed25519PrivateKey.generate().private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return  # Another process made it first; theirs is the key.
    finally:
        draft.unlink(missing_ok=True)


def _read(path: Path) -> Ed25519PrivateKey:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        pem = file.read(FILE_BYTES_MAX)
    if not stat.S_ISREG(mode) or stat.S_IMODE(mode) & 0o077:
        raise BadKeyFile("the file of the consent records' key is open to others: its mode must be 0600")
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise BadKeyFile("the file of the consent records' key holds no key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKeyFile("the consent records' key is of another kind")
    return key


def _object(text: bytes, what: str) -> dict[str, Any]:
    if len(text) > RECORD_BYTES_MAX:
        raise RecordRejected(f"{what} is too long.")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise RecordRejected(f"{what} is not JSON.") from None
    if not isinstance(found, dict):
        raise RecordRejected(f"{what} is not a JSON object.")
    return found


def _bytes(text: object) -> bytes:
    if not isinstance(text, str) or not text.isascii():
        raise RecordRejected("A part of the signature is not base64url.")
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise RecordRejected("A part of the signature is not base64url.") from None


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _duration(span: timedelta) -> str:
    """ISO 8601, in days: an end is stored in whole seconds, so a span may lack a fraction of one."""
    return f"P{round(span / timedelta(days=1))}D"
