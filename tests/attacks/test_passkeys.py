"""A ceremony that is not exactly the one that was asked for makes no passkey and lets nobody in."""

from __future__ import annotations

import secrets

import msgspec
import pytest

from parley.console.passkeys import (
    ANSWER_BYTES_MAX,
    Passkey,
    PasskeyRejected,
    PasskeySite,
    assertion_options,
    presented,
    registration_options,
    verify_assertion,
    verify_registration,
)
from tests.fakes.authenticator import PRESENT, SoftAuthenticator, base64url

SITE = PasskeySite.at("https://chat.bank.example", "A bank")
CHALLENGE = bytes(range(32))


def authenticator(**lies: object) -> SoftAuthenticator:
    return SoftAuthenticator(**({"origin": SITE.origin, "relying_party": SITE.relying_party} | lies))  # type: ignore[arg-type]


def options() -> dict[str, object]:
    return registration_options(SITE, challenge=CHALLENGE, user_handle=b"handle", user_name="Rosa")


def enrolled(device: SoftAuthenticator) -> Passkey:
    return verify_registration(SITE, device.create(options()), CHALLENGE)


def test_a_passkey_is_made_and_proves_itself() -> None:
    device = authenticator()
    passkey = enrolled(device)
    sent = device.get(assertion_options(SITE, challenge=CHALLENGE))
    assert presented(sent).credential_id == passkey.credential_id
    assert verify_assertion(SITE, sent, CHALLENGE, passkey) == 1


@pytest.mark.parametrize(
    "lies",
    [
        {"origin": "https://chat.bank.example.evil.example"},
        {"origin": "http://chat.bank.example"},
        {"relying_party": "evil.example"},
        {"flags": PRESENT},
        {"flags": 0},
        {"more_client_data": {"type": "webauthn.get"}},
        {"more_client_data": {"challenge": base64url(bytes(32))}},
        {"more_client_data": {"crossOrigin": True}},
        {"more_client_data": {"topOrigin": "https://evil.example"}},
        {"credential_id": bytes(1024)},
    ],
)
def test_a_registration_that_was_not_asked_for_makes_no_passkey(lies: dict[str, object]) -> None:
    with pytest.raises(PasskeyRejected):
        enrolled(authenticator(**lies))


@pytest.mark.parametrize(
    "lies",
    [
        {"origin": "https://evil.example"},
        {"relying_party": "evil.example"},
        {"flags": PRESENT},
        {"more_client_data": {"type": "webauthn.create"}},
        {"more_client_data": {"challenge": base64url(bytes(32))}},
        {"more_client_data": {"crossOrigin": True}},
    ],
)
def test_an_assertion_that_was_not_asked_for_lets_nobody_in(lies: dict[str, object]) -> None:
    device = authenticator()
    passkey = enrolled(device)
    for name, lie in lies.items():
        setattr(device, name, lie)
    with pytest.raises(PasskeyRejected):
        verify_assertion(SITE, device.get(assertion_options(SITE, challenge=CHALLENGE)), CHALLENGE, passkey)


def test_another_key_does_not_sign_for_a_passkey() -> None:
    passkey = enrolled(authenticator())
    stranger = authenticator(credential_id=passkey.credential_id)
    with pytest.raises(PasskeyRejected):
        verify_assertion(SITE, stranger.get(assertion_options(SITE, challenge=CHALLENGE)), CHALLENGE, passkey)


def test_a_copied_authenticator_is_noticed_by_its_count() -> None:
    device = authenticator(count=5)
    passkey = enrolled(device)
    assert passkey.sign_count == 5
    device.count, device.step = 3, 1
    with pytest.raises(PasskeyRejected):
        verify_assertion(SITE, device.get(assertion_options(SITE, challenge=CHALLENGE)), CHALLENGE, passkey)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"[]",
        b"null",
        b"[" * 4000,
        b'{"id":1,"response":{}}',
        b'{"id":"AA","response":[]}',
        b'{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30"}}',
        b'{"id":"\xc3\xa4","response":{"clientDataJSON":"e30","userHandle":7}}',
        b'{"id":"AA","response":{"clientDataJSON":"e30","userHandle":{"a":1}}}',
        b'{"id":"A","response":{"clientDataJSON":"e30"}}',
        b'{"id":"AA","response":{"clientDataJSON":"' + base64url(b"[" * 4000).encode() + b'"}}',
        b"x" * (ANSWER_BYTES_MAX + 1),
        b"\xff\xfe",
    ],
)
def test_garbage_is_refused_in_the_same_words(sent: bytes) -> None:
    passkey = enrolled(authenticator())
    for ceremony in (lambda: verify_registration(SITE, sent, CHALLENGE), lambda: verify_assertion(SITE, sent, CHALLENGE, passkey)):
        with pytest.raises(PasskeyRejected) as refused:
            ceremony()
        assert refused.value.plain_words == PasskeyRejected.plain_words


def test_every_flipped_byte_of_an_assertion_is_noticed() -> None:
    device = authenticator()
    passkey = enrolled(device)
    sent = msgspec.json.decode(device.get(assertion_options(SITE, challenge=CHALLENGE)))
    for name in ("authenticatorData", "signature", "clientDataJSON"):
        for place in range(0, len(sent["response"][name]), 7):
            text = sent["response"][name]
            other = "A" if text[place] != "A" else "B"
            changed = sent | {"response": sent["response"] | {name: text[:place] + other + text[place + 1 :]}}
            with pytest.raises(PasskeyRejected):
                verify_assertion(SITE, msgspec.json.encode(changed), CHALLENGE, passkey)


def test_a_loopback_address_is_called_localhost_and_other_digits_are_refused() -> None:
    assert PasskeySite.at("http://127.0.0.1:8080", "x") == PasskeySite("http://localhost:8080", "localhost", "x")
    assert PasskeySite.at("http://[::1]:8080", "x").origin == "http://localhost:8080"
    with pytest.raises(ValueError, match="name"):
        PasskeySite.at("https://192.0.2.7", "x")


def test_options_ask_for_the_person_to_be_verified_and_name_nobody() -> None:
    asked = assertion_options(SITE, challenge=secrets.token_bytes(32))
    assert asked["userVerification"] == "required"
    assert asked["allowCredentials"] == []
    assert options()["authenticatorSelection"]["userVerification"] == "required"  # type: ignore[index]
