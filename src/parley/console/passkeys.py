"""Passkeys (W3C Web Authentication Level 3): the two ceremonies, for staff and customers alike. Nothing is stored here.

A thin shell over PyPI `webauthn`, which does the cryptography. What the shell adds: limits on what strangers send, user verification
always, no ceremony inside another site's frame, and one refusal for every way in which a ceremony fails, so that probing tells nothing.

The caller keeps challenges: random, on the server, a few minutes, used once, and bound to the browser that asked.
"""

from __future__ import annotations

import ipaddress
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from parley.model.refusals import Basis, Refusal

CHALLENGE_BYTES = 32
ANSWER_BYTES_MAX = 16 * 1024
"""A ceremony's JSON: a credential id, a key and, where a stubborn authenticator attests anyway, some certificates."""
CREDENTIAL_ID_BYTES_MAX = 1023
PUBLIC_KEY_BYTES_MAX = 1024
USER_HANDLE_BYTES_MAX = 64
CEREMONY_MS = 120_000
ES256, EDDSA, RS256 = -7, -8, -257


class PasskeyRejected(Refusal):
    """The ceremony failed. Which check it was is for operators alone."""

    code = "passkey_rejected"
    basis = Basis.RISK
    plain_words = "That passkey could not be checked. Please try again."


@dataclass(frozen=True, slots=True)
class PasskeySite:
    """To whom passkeys belong. `origin` as browsers spell it; `relying_party` its host; `title` what the browser's dialogue shows."""

    origin: str
    relying_party: str
    title: str

    @classmethod
    def at(cls, public_url: str, title: str) -> PasskeySite:
        """Browsers make no passkey for an address of digits, so a loopback address becomes `localhost`, which is the same machine.

        Pages with passkeys must then be opened at `origin`. Raises ValueError for any other address of digits.
        """
        parts = urlsplit(public_url)
        host = parts.hostname or ""
        if _is_digits(host):
            if not ipaddress.ip_address(host).is_loopback:
                raise ValueError("passkeys need a public address with a name, not one of digits")
            host = "localhost"
        port = f":{parts.port}" if parts.port else ""
        return cls(f"{parts.scheme}://{host}{port}", host, title)


@dataclass(frozen=True, slots=True)
class Passkey:
    """What is stored of a passkey. `public_key` is COSE (RFC 9052); `sign_count` stays 0 for passkeys that live on several devices."""

    credential_id: bytes
    public_key: bytes = field(repr=False)
    sign_count: int


@dataclass(frozen=True, slots=True)
class Presented:
    """Which passkey an assertion claims to come from, before anything of it is checked. `user_handle` may be empty."""

    credential_id: bytes
    user_handle: bytes = field(repr=False)


def registration_options(
    site: PasskeySite, *, challenge: bytes, user_handle: bytes, user_name: str, existing: Sequence[bytes] = ()
) -> dict[str, Any]:
    """The JSON for `navigator.credentials.create`. `user_handle`: 1 to 64 random bytes that say nothing about the person.

    `existing`: credential ids that she has already, so that no authenticator is enrolled twice.
    """
    return {
        "attestation": "none",
        "authenticatorSelection": {"residentKey": "required", "requireResidentKey": True, "userVerification": "required"},
        "challenge": _text(challenge),
        "excludeCredentials": [{"type": "public-key", "id": _text(each)} for each in existing],
        "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in (ES256, EDDSA, RS256)],
        "rp": {"id": site.relying_party, "name": site.title},
        "timeout": CEREMONY_MS,
        "user": {"id": _text(user_handle), "name": user_name, "displayName": user_name},
    }


def verify_registration(site: PasskeySite, sent: bytes, challenge: bytes) -> Passkey:
    """The new passkey in a browser's answer (RegistrationResponseJSON). Raises PasskeyRejected."""
    from webauthn import verify_registration_response
    from webauthn.helpers.cose import COSEAlgorithmIdentifier

    answer = _read(sent)
    try:
        made = verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=site.relying_party,
            expected_origin=site.origin,
            require_user_verification=True,
            supported_pub_key_algs=[COSEAlgorithmIdentifier(algorithm) for algorithm in (ES256, EDDSA, RS256)],
        )
    except Exception as error:
        # The library raises many kinds for a stranger's bytes, not all its own. Whatever it is, there is no passkey.
        raise PasskeyRejected(type(error).__name__) from None
    if len(made.credential_id) > CREDENTIAL_ID_BYTES_MAX or len(made.credential_public_key) > PUBLIC_KEY_BYTES_MAX:
        raise PasskeyRejected("too long")
    return Passkey(made.credential_id, made.credential_public_key, made.sign_count)


def assertion_options(site: PasskeySite, *, challenge: bytes, allowed: Sequence[bytes] = ()) -> dict[str, Any]:
    """The JSON for `navigator.credentials.get`. Without `allowed` the browser offers what it has, and nobody can ask who is known here."""
    return {
        "allowCredentials": [{"type": "public-key", "id": _text(each)} for each in allowed],
        "challenge": _text(challenge),
        "rpId": site.relying_party,
        "timeout": CEREMONY_MS,
        "userVerification": "required",
    }


def presented(sent: bytes) -> Presented:
    """Which passkey to look up for an assertion. Believed by nobody until `verify_assertion`. Raises PasskeyRejected."""
    answer = _read(sent)
    response = answer["response"]
    handle = response.get("userHandle") or ""
    return Presented(_bytes(answer.get("id"), CREDENTIAL_ID_BYTES_MAX), _bytes(handle, USER_HANDLE_BYTES_MAX) if handle else b"")


def verify_assertion(site: PasskeySite, sent: bytes, challenge: bytes, passkey: Passkey) -> int:
    """The new sign count of a passkey that proved itself (AuthenticationResponseJSON). Raises PasskeyRejected.

    A count that does not grow means that the authenticator was copied (Level 3, section 6.1.1): refused. The caller stores the count
    with a comparison against the one that was checked here, so that two answers at once cannot both pass.
    """
    from webauthn import verify_authentication_response

    answer = _read(sent)
    try:
        shown = verify_authentication_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=site.relying_party,
            expected_origin=site.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except Exception as error:
        raise PasskeyRejected(type(error).__name__) from None
    if shown.credential_id != passkey.credential_id:
        raise PasskeyRejected("another passkey")
    return int(shown.new_sign_count)


def _read(sent: bytes) -> dict[str, Any]:
    """The JSON object of an answer, whose ceremony did not happen inside another site's frame."""
    if len(sent) > ANSWER_BYTES_MAX:
        raise PasskeyRejected("too long")
    answer = _object(sent)
    response = answer.get("response")
    if not isinstance(response, dict):
        raise PasskeyRejected("no response")
    client_data = _object(_bytes(response.get("clientDataJSON"), ANSWER_BYTES_MAX))
    if client_data.get("crossOrigin") not in (None, False) or "topOrigin" in client_data:
        raise PasskeyRejected("inside another site's frame")
    return answer


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise PasskeyRejected("not JSON") from None
    if not isinstance(found, dict):
        raise PasskeyRejected("not an object")
    return found


def _bytes(text: object, bytes_max: int) -> bytes:
    if not isinstance(text, str) or not text.isascii() or len(text) > bytes_max * 2:
        raise PasskeyRejected("not base64url")
    try:
        found = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise PasskeyRejected("not base64url") from None
    if not found or len(found) > bytes_max:
        raise PasskeyRejected("empty or too long")
    return found


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _is_digits(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
