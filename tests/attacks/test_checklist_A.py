"""Checklist A: what a FAPI 2.0 authorization server and resource must withstand, each point under its number.

A21 to A27 are about our own side towards banks; they stand in test_bank_client_trips.py and test_bank_client_credentials.py.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import secrets
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey, OctKey, RSAKey

from parley.authorization.server.client_keys import ClientKeys
from parley.authorization.server.fapi import FAPI
from parley.authorization.server.jose import BadJwt
from parley.authorization.server.registration import BadRegistration, Registration, registered
from parley.channels.web.protect import security_headers
from parley.model.clients import ClientProfile
from parley.settings import SettingsRejected, safe_url
from tests.fakes.oauth_house import OAuthHouse, asking_fields, oauth_house
from tests.fakes.partner import DETAILS, Partner, answer_in, new_key, public, s256, signed
from tests.fakes.visitor import FORM, Visitor
from tests.fakes.web_house import Clock

_names = count()
CREATED = datetime(2027, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory):
    with oauth_house(tmp_path_factory.mktemp("oauth")) as running:
        yield running
        assert running.faults == []


@pytest.fixture
def partner(house: OAuthHouse) -> Partner:
    return house.partner(f"partner-{next(_names)}")


@pytest.fixture(scope="module")
def settled(house: OAuthHouse) -> Partner:
    """A client for tests that only ask questions of the server and change nothing."""
    return house.partner("settled")


def metadata(house: OAuthHouse) -> dict[str, Any]:
    return dict(Visitor(house.origin).get("/.well-known/oauth-authorization-server/fapi").json)


# The server in general.


def test_A1_the_metadata_says_what_is_true(house: OAuthHouse) -> None:
    told = metadata(house)
    assert told["issuer"] == house.issuer
    assert told["require_pushed_authorization_requests"] is True
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert told["response_types_supported"] == ["code"]
    assert told["authorization_response_iss_parameter_supported"] is True
    assert told["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    algorithms = [value for name, values in told.items() if name.endswith("_alg_values_supported") for value in values]
    assert algorithms
    assert set(algorithms) <= {"PS256", "ES256", "EdDSA", "Ed25519"}
    for path in ("/.well-known/oauth-authorization-server", "/fapi/.well-known/oauth-authorization-server"):
        assert Visitor(house.origin).get(path).status == 404


def test_A1_the_resource_names_its_server(house: OAuthHouse) -> None:
    told = Visitor(house.origin).get("/.well-known/oauth-protected-resource/api/v1").json
    assert (told["resource"], told["authorization_servers"]) == (f"{house.origin}/api/v1", [house.issuer])
    assert told["dpop_bound_access_tokens_required"] is True


@pytest.mark.parametrize("kind", ["password", "client_credentials", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer", "", "nonsense"])
def test_A2_other_grant_types_are_refused(house: OAuthHouse, settled: Partner, kind: str) -> None:
    seen = house.token(settled, {"grant_type": kind, "username": "ada", "password": "x", "scope": "all"})
    assert (seen.status, seen.json["error"]) == (400, "unsupported_grant_type")


@pytest.mark.parametrize("response_type", ["token", "code token", "id_token", "none", None])
def test_A2_other_response_types_are_refused(house: OAuthHouse, settled: Partner, response_type: str | None) -> None:
    assert house.push(settled, response_type=response_type).json["error"] == "unsupported_response_type"


@pytest.mark.parametrize("path", ["/par", "/token", "/introspect", "/revoke"])
@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"client_secret": "secret"},
        {"client_assertion": "x.y.z", "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
        {"client_assertion": ""},
    ],
)
def test_A3_nobody_without_credentials_is_served(house: OAuthHouse, settled: Partner, path: str, credentials: dict[str, str]) -> None:
    seen = house.post(path, {"client_id": settled.client_id, **settled.asked(), **credentials})
    assert (seen.status, seen.json["error"]) == (401, "invalid_client")
    basic = house.post(path, {**settled.asked()}, authorization="Basic c2V0dGxlZDpzZWNyZXQ=")
    assert (basic.status, basic.json["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("algorithm", ["PS256", "ES256", "EdDSA", "Ed25519"])
def test_A3_good_algorithms_are_taken(house: OAuthHouse, algorithm: str) -> None:
    partner = house.partner(f"with-{algorithm.lower()}-{next(_names)}", key=new_key(algorithm), algorithm=algorithm)
    assert house.push(partner).status == 201


def test_A3_weak_algorithms_are_refused(house: OAuthHouse) -> None:
    partner = house.partner(f"rsa-{next(_names)}", key=new_key("PS256"), algorithm="PS256")
    now = int(house.seconds())
    claims = {"iss": partner.client_id, "sub": partner.client_id, "aud": house.issuer, "jti": "weak-1", "iat": now, "exp": now + 60}
    for header, key in (({"alg": "RS256"}, partner.key), ({"alg": "HS256"}, OctKey.import_key(partner.jwks))):
        assertion = signed({**header, "kid": partner.kid}, claims, key)
        assert house.post("/par", {**partner.authenticated(partner.asked()), "client_assertion": assertion}).json["error"] == "invalid_client"
    for alg in ("none", "NONE", "nOnE"):
        unsigned = ".".join(part(each) for each in ({"alg": alg}, claims)) + "."
        assert house.post("/par", {**partner.authenticated(partner.asked()), "client_assertion": unsigned}).json["error"] == "invalid_client"


def part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("audience", ["array", "token", "par", "slash", "foreign", "missing", "both", "case"])
def test_A4_an_assertion_is_for_our_issuer_alone(house: OAuthHouse, settled: Partner, audience: str) -> None:
    issuer = house.issuer
    aud: Any = {
        "array": [issuer],
        "token": f"{issuer}/token",
        "par": f"{issuer}/par",
        "slash": f"{issuer}/",
        "foreign": "https://elsewhere.example",
        "missing": None,
        "both": [issuer, f"{issuer}/token"],
        "case": issuer.upper(),
    }[audience]
    seen = house.post("/par", settled.authenticated(settled.asked(), aud=aud))
    assert (seen.status, seen.json["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "somebody-else"},
        {"sub": "somebody-else"},
        {"exp": None},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": 1e300},
        {"sub": None},
        {"iss": ["settled"]},
    ],
)
def test_A5_an_assertion_says_all_that_it_must(house: OAuthHouse, settled: Partner, change: dict[str, Any]) -> None:
    assert house.post("/par", settled.authenticated(settled.asked(), **change)).json["error"] == "invalid_client"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"exp": -1}, 401),
        ({"exp": 0}, 401),
        ({"exp": 3600}, 401),
        ({"iat": 9}, 201),
        ({"nbf": 9}, 201),
        ({"iat": 61}, 401),
        ({"nbf": 61}, 401),
        ({"iat": None}, 201),
    ],
)
def test_A5_an_assertion_is_of_now(house: OAuthHouse, settled: Partner, change: dict[str, int | None], status: int) -> None:
    now = int(house.seconds())
    moved = {name: None if value is None else now + value for name, value in change.items()}
    assert house.post("/par", settled.authenticated(settled.asked(), **moved)).status == status


def test_A5_an_assertion_works_once(house: OAuthHouse, settled: Partner) -> None:
    params = settled.authenticated(settled.asked())
    assert [house.post(path, params).status for path in ("/par", "/par", "/introspect")] == [201, 401, 401]


def test_A5_keys_that_an_assertion_brings_along_are_never_used(house: OAuthHouse, settled: Partner) -> None:
    mine = new_key()
    for header in ({"jwk": public(mine)}, {"jku": "https://attacker.example/jwks"}, {"x5u": "https://attacker.example/x"}, {"kid": None}, {}):
        told = {name: value for name, value in {"kid": settled.kid, **header}.items() if value is not None}
        params = {**settled.authenticated(settled.asked()), "client_assertion": settled.assertion(header=told, key=mine)}
        assert house.post("/par", params).json["error"] == "invalid_client"


def test_A5_another_clients_key_is_no_key(house: OAuthHouse, settled: Partner) -> None:
    other = house.partner(f"other-{next(_names)}")
    params = {**settled.authenticated(settled.asked()), "client_assertion": settled.assertion(key=other.key)}
    assert house.post("/par", params).json["error"] == "invalid_client"
    params = {**settled.authenticated(settled.asked()), "client_assertion": other.assertion()}
    assert house.post("/par", params).json["error"] == "invalid_client"


@pytest.mark.parametrize("typ", ["dpop+jwt", "at+jwt", "oauth-authz-req+jwt", "JWS"])
def test_A5_another_kind_of_token_is_no_assertion(house: OAuthHouse, settled: Partner, typ: Any) -> None:
    params = {**settled.authenticated(settled.asked()), "client_assertion": settled.assertion(header={"typ": typ})}
    assert house.post("/par", params).json["error"] == "invalid_client"


ODD_HEADERS: list[Any] = [
    {"alg": ["ES256"]}, {"alg": {}}, {"alg": None}, {"alg": "ES256", "typ": ["dpop+jwt"]}, {"alg": "ES256", "typ": {}}, {"alg": "ES256", "kid": []},
    {"alg": "ES256", "crit": ["exp"]}, {"alg": "ES256", "b64": False}, [], "x", 7,
]  # fmt: skip


@pytest.mark.parametrize("header", ODD_HEADERS)
def test_A5_headers_of_odd_shapes_are_refused_like_all_others(house: OAuthHouse, settled: Partner, header: Any) -> None:
    for token in (f"{part(header)}.{part({})}.AAAA", f"{part(header)}..", "..", "a.b.c.d", "ü.ü.ü"):
        assert house.post("/par", {**settled.authenticated(settled.asked()), "client_assertion": token}).json["error"] == "invalid_client"
        seen = house.token(settled, {"grant_type": "refresh_token", "refresh_token": "x"}, proof=token if token.isascii() else "x")
        assert seen.json["error"] == "invalid_dpop_proof"


@pytest.mark.parametrize("name", ["iss", "sub", "jti", "exp", "aud"])
@pytest.mark.parametrize("value", ["\ud800", "\x00", 10**400, -(10**400), [], {}, "a" * 5000])
def test_A5_claims_of_odd_shapes_are_refused_like_all_others(house: OAuthHouse, settled: Partner, name: str, value: Any) -> None:
    seen = house.post("/par", settled.authenticated(settled.asked(), **{name: value}))
    assert seen.status == (201 if (name, value) == ("jti", "\x00") else 401)


@pytest.mark.parametrize("client_id", ["\x00", "a b", "ü", "'", "x" * 600, "%00"])
def test_A17_names_that_no_client_has_are_looked_up_nowhere(house: OAuthHouse, settled: Partner, client_id: str) -> None:
    assert house.post("/par", {**settled.authenticated(settled.asked()), "client_id": client_id}).json["error"] == "invalid_client"
    query = urlencode({"client_id": client_id, "request_uri": "urn:ietf:params:oauth:request_uri:x"})
    assert Visitor(house.origin).get(f"/fapi/authorize?{query}").status in (400, 410)


def test_A6_tokens_are_bound_and_short_and_the_refresh_token_stays(house: OAuthHouse, partner: Partner) -> None:
    first = house.tokens(partner)
    assert first["token_type"] == "DPoP"
    assert 0 < first["expires_in"] <= 600
    renewing = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    renewed = [house.token(partner, renewing).json for _ in range(2)]
    assert {each["refresh_token"] for each in renewed} == {first["refresh_token"]}
    assert len({first["access_token"], *(each["access_token"] for each in renewed)}) == 3


def test_A6_without_a_proof_there_is_no_token(house: OAuthHouse, partner: Partner) -> None:
    code = house.allow(partner)["code"]
    seen = house.token(partner, partner.redeeming(code), proof="")
    assert (seen.status, seen.json["error"]) == (400, "invalid_dpop_proof")
    assert house.token(partner, partner.redeeming(code)).status == 200


def test_A7_a_code_works_once(house: OAuthHouse, partner: Partner) -> None:
    code = house.allow(partner)["code"]
    first = house.token(partner, partner.redeeming(code)).json
    assert house.show(partner, first["access_token"], f"/grants/{first['grant_id']}").status == 200
    second = house.token(partner, partner.redeeming(code))
    assert (second.status, second.json["error"]) == (400, "invalid_grant")
    assert house.show(partner, first["access_token"], f"/grants/{first['grant_id']}").status == 401
    renewed = house.token(partner, {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]})
    assert renewed.json["error"] == "invalid_grant"


@pytest.mark.parametrize(("seconds", "status"), [(58, 200), (61, 400)])
def test_A7_a_code_lives_for_a_minute_at_most(house: OAuthHouse, partner: Partner, seconds: int, status: int) -> None:
    code = house.allow(partner)["code"]
    house.clock.pass_by(timedelta(seconds=seconds))
    assert house.token(partner, partner.redeeming(code)).status == status


def test_A7_of_sixteen_uses_at_once_one_succeeds(house: OAuthHouse, partner: Partner) -> None:
    code = house.allow(partner)["code"]
    with ThreadPoolExecutor(16) as many:
        seen = list(many.map(lambda _: house.token(partner, partner.redeeming(code)), range(16)))
    assert sum(each.status == 200 for each in seen) <= 1
    assert {each.json["error"] for each in seen if each.status != 200} == {"invalid_grant"}
    for each in (one for one in seen if one.status == 200):
        assert house.show(partner, each.json["access_token"], f"/grants/{each.json['grant_id']}").status == 401


@pytest.mark.parametrize("how", ["dpop_jkt", "proof"])
def test_A8_a_code_that_is_bound_to_a_key_needs_it(house: OAuthHouse, partner: Partner, how: str) -> None:
    def bound_code() -> str:
        if how == "dpop_jkt":
            return house.allow(partner, house.pushed(partner, dpop_jkt=partner.dpop_key.thumbprint()))["code"]
        proof = partner.proof("POST", f"{house.issuer}/par")
        seen = house.post("/par", partner.authenticated(partner.asked()), dpop=proof)
        return house.allow(partner, seen.json["request_uri"])["code"]

    code = bound_code()
    other = partner.proof("POST", f"{house.issuer}/token", key=new_key())
    assert house.token(partner, partner.redeeming(code), proof=other).json["error"] == "invalid_grant"
    assert house.token(partner, partner.redeeming(code)).status == 200


def test_A8_a_key_named_twice_is_the_same_key(house: OAuthHouse, partner: Partner) -> None:
    params = partner.authenticated(partner.asked(dpop_jkt=new_key().thumbprint()))
    seen = house.post("/par", params, dpop=partner.proof("POST", f"{house.issuer}/par"))
    assert seen.json["error"] == "invalid_dpop_proof"
    assert house.push(partner, dpop_jkt="short").json["error"] == "invalid_dpop_proof"


def test_A9_keys_are_only_fetched_over_tls_and_have_names_of_their_own() -> None:
    keys = [public(new_key(), kid="same"), public(new_key(), kid="same")]
    for asked in (
        registration(jwks=json.dumps({"keys": keys}).encode()),
        registration(jwks=None, jwks_uri="http://partner.example/jwks"),
        registration(jwks=None, jwks_uri="https://unlisted.example/jwks"),
        registration(jwks=None, jwks_uri="https://partner.example:8443/jwks"),
        registration(jwks=None),
        registration(jwks_uri="https://partner.example/jwks"),
    ):
        with pytest.raises(BadRegistration):
            registered(asked, ["partner.example"], CREATED)
    client, _ = registered(registration(jwks=None, jwks_uri="https://partner.example/jwks"), ["partner.example"], CREATED)
    assert client.jwks_uri == "https://partner.example/jwks"


def test_A9_browsers_are_held_to_tls() -> None:
    told = dict(security_headers("https://chat.bank.example", ()))
    seconds = int(told[b"strict-transport-security"].split(b";")[0].removeprefix(b"max-age="))
    assert seconds >= 365 * 86_400
    with pytest.raises(SettingsRejected):
        safe_url(Path("parley.toml"), "public_url", "http://chat.bank.example", with_path=False)


class Hosted:
    """A client's own host: serves whatever key set it has at the moment, and counts how often it was asked."""

    def __init__(self, jwks: bytes) -> None:
        self.jwks = jwks
        self.asked = 0

    async def keys(self, url: str) -> bytes:
        self.asked += 1
        return self.jwks


def test_A9_a_hosted_key_is_looked_up_again_when_it_changes_but_not_for_every_stranger() -> None:
    clock, old, new = Clock(), Partner("i", kid="old"), Partner("i", kid="new")
    host = Hosted(old.jwks)
    keys = ClientKeys(host, clock)
    client, _ = registered(registration(jwks=None, jwks_uri="https://app.example/jwks"), ["app.example"], CREATED)

    async def story() -> None:
        await keys.key(client, {"alg": "ES256", "kid": "old"})
        for _ in range(20):
            with pytest.raises(BadJwt):
                await keys.key(client, {"alg": "ES256", "kid": "made-up"})
        assert host.asked == 1
        host.jwks = new.jwks
        clock.pass_by(timedelta(seconds=31))
        assert (await keys.key(client, {"alg": "ES256", "kid": "new"})).thumbprint() == new.key.thumbprint()
        assert host.asked == 2
        with pytest.raises(BadJwt):
            await keys.key(client, {"alg": "ES256", "kid": "old"})

    asyncio.run(story())


def test_A10_weak_keys_are_not_registered() -> None:
    short = RSAKey.import_key(short_rsa())
    weak = [
        public(short, kid="k"),
        public(ECKey.generate_key("secp256k1"), kid="k"),
        OctKey.generate_key(256).as_dict(private=True),
        new_key().as_dict(private=True) | {"kid": "k"},
        {**public(new_key(), kid="k"), "alg": "HS256"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "k"},
        "not a key",
    ]
    for jwk in weak:
        with pytest.raises(BadRegistration):
            registered(registration(jwks=json.dumps({"keys": [jwk]}).encode()), (), CREATED)
    for raw in (b"", b"[" * 4000, b"{}", b'{"keys": []}', b'{"keys": {}}'):
        with pytest.raises(BadRegistration):
            registered(registration(jwks=raw), (), CREATED)


def test_A10_a_secret_is_of_256_random_bits_and_kept_as_a_hash() -> None:
    made = [registered(registration(profile=ClientProfile.LINK, jwks=None), (), CREATED) for _ in range(2)]
    secrets_made = {secret for _, secret in made}
    assert len(secrets_made) == 2
    for client, secret in made:
        assert secret is not None
        assert len(secret) >= 43
        assert client.secret_hash is not None
        assert secret.encode() not in client.secret_hash


def short_rsa() -> bytes:
    private = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it must be refused
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


# The authorization endpoint.


def test_A11_parameters_that_were_not_pushed_are_refused(house: OAuthHouse, settled: Partner) -> None:
    for query in (
        urlencode({"client_id": settled.client_id, **settled.asked()}),
        urlencode({"client_id": settled.client_id}),
        urlencode({"request_uri": "urn:ietf:params:oauth:request_uri:x"}),
        urlencode({"client_id": settled.client_id, "request": "eyJ"}),
        "",
    ):
        seen = Visitor(house.origin).get(f"/fapi/authorize?{query}")
        assert seen.status == 410
        assert seen.location == ""


def test_A11_parameters_beside_a_reference_change_nothing(house: OAuthHouse, partner: Partner) -> None:
    request_uri = house.pushed(partner)
    url = partner.authorize_url(request_uri) + "&redirect_uri=https%3A%2F%2Fattacker.example&state=other&scope=all&response_type=token"
    visitor, page = house.to_consent(url)
    done = visitor.post_form("/consent", visitor.consent_fields(page))
    assert done.location.startswith(partner.redirect_uri)
    assert answer_in(done.location)["state"] == "state-of-the-partner"


def test_A12_a_reference_is_its_clients_own(house: OAuthHouse, partner: Partner) -> None:
    other = house.partner(f"other-{next(_names)}")
    request_uri = house.pushed(partner)
    assert Visitor(house.origin).get(other.authorize_url(request_uri).removeprefix(house.origin)).status == 410
    assert Visitor(house.origin).get(partner.authorize_url(request_uri).removeprefix(house.origin)).status == 200


def test_A12_a_reference_may_be_loaded_twice_and_answered_once(house: OAuthHouse, partner: Partner) -> None:
    request_uri = house.pushed(partner)
    first, first_page = house.to_consent(partner.authorize_url(request_uri))
    second, second_page = house.to_consent(partner.authorize_url(request_uri))
    assert "code" in answer_in(first.post_form("/consent", first.consent_fields(first_page)).location)
    refused = second.post_form("/consent", second.consent_fields(second_page))
    assert refused.status == 409
    assert refused.location == ""
    assert Visitor(house.origin).get(partner.authorize_url(request_uri).removeprefix(house.origin)).status == 410


def test_A12_a_reference_ends_within_ten_minutes(house: OAuthHouse, partner: Partner) -> None:
    seen = house.push(partner)
    assert 5 < seen.json["expires_in"] < 600
    visitor, page = house.to_consent(partner.authorize_url(seen.json["request_uri"]))
    house.clock.pass_by(timedelta(seconds=seen.json["expires_in"] + 1))
    assert visitor.post_form("/consent", visitor.consent_fields(page)).status == 409
    assert Visitor(house.origin).get(partner.authorize_url(seen.json["request_uri"]).removeprefix(house.origin)).status == 410


REDIRECTS = [
    None,
    "",
    "https://partner.example/callback/",
    "https://partner.example/callback?x=1",
    "https://partner.example/callback#f",
    "https://partner.example/Callback",
    "https://partner.example/call%62ack",
    "https://partner.example:443/callback",
    "https://partner.example.attacker.example/callback",
    "https://partner.example@attacker.example/callback",
    "https://attacker.example/callback",
    "http://partner.example/callback",
    "https://partner.example\\@attacker.example/callback",
    "https://partner.example/callback\t",
    "https://partner.example/../callback",
    "javascript:alert(1)",
    "http://localhost/callback",
    "//partner.example/callback",
]


@pytest.mark.parametrize("redirect_uri", REDIRECTS)
def test_A13_the_address_is_the_registered_one_byte_for_byte(house: OAuthHouse, settled: Partner, redirect_uri: str | None) -> None:
    seen = house.push(settled, redirect_uri=redirect_uri)
    assert (seen.status, seen.json["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "change",
    [
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge": "short"},
        {"code_challenge": "=" * 43},
        {"request_uri": "urn:ietf:params:oauth:request_uri:x"},
        {"request": "eyJhbGciOiJub25lIn0.e30."},
        {"response_mode": "fragment"},
        {"state": "s" * 3000},
    ],
)
def test_A13_what_is_weak_or_nested_is_refused(house: OAuthHouse, settled: Partner, change: dict[str, Any]) -> None:
    assert house.push(settled, **change).json["error"] == "invalid_request"


def test_A13_repeated_parameters_are_refused(house: OAuthHouse, settled: Partner) -> None:
    for name in ("redirect_uri", "state", "client_id", "client_assertion", "code_challenge"):
        params = settled.authenticated(settled.asked())
        seen = house.post("/par", {**params, name: [params[name], params[name]]})
        assert (seen.status, seen.json["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_A13_requests_are_posted(house: OAuthHouse, method: str) -> None:
    for path in ("/fapi/par", "/fapi/token", "/fapi/introspect", "/fapi/revoke"):
        assert Visitor(house.origin).send(method, path).status == 405


def test_A13_forms_are_forms(house: OAuthHouse, settled: Partner) -> None:
    for kind in ("application/json", "multipart/form-data; boundary=x", "text/plain"):
        seen = Visitor(house.origin).send("POST", "/fapi/par", b"a=b", {"content-type": kind})
        assert seen.json["error"] == "invalid_request"
    seen = Visitor(house.origin).send("POST", "/fapi/token?grant_type=authorization_code", b"a=b", {"content-type": FORM})
    assert seen.json["error"] == "invalid_request"


DETAIL_ATTACKS: list[Any] = [
    None,
    "",
    "[]",
    "{}",
    "nonsense",
    "[" * 2000,
    json.dumps([DETAILS, DETAILS]),
    json.dumps([{**DETAILS, "type": "fdx_v1.0"}]),
    json.dumps([{**DETAILS, "locations": ["https://elsewhere.example"]}]),
    json.dumps([{**DETAILS, "accounts": ["all"]}]),
    json.dumps([{**DETAILS, "projections": []}]),
    json.dumps([{**DETAILS, "projections": "balance.available"}]),
    json.dumps([{**DETAILS, "projections": ["everything"]}]),
    json.dumps([{**DETAILS, "lookback_days": 0}]),
    json.dumps([{**DETAILS, "lookback_days": True}]),
    json.dumps([{**DETAILS, "lookback_days": 5000}]),
    json.dumps([{**DETAILS, "duration_days": 366}]),
    json.dumps([{**DETAILS, "duration_days": 1.5}]),
    json.dumps([{"type": DETAILS["type"]}]),
    '[{"type":"parley_account_answers","purpose":"answer_customer","purpose":"answer_customer","projections":["balance.available"]}]',
]


@pytest.mark.parametrize("details", DETAIL_ATTACKS)
def test_A13_the_schema_of_what_is_asked_is_closed(house: OAuthHouse, settled: Partner, details: str | None) -> None:
    assert house.push(settled, authorization_details=details).json["error"] == "invalid_authorization_details"


@pytest.mark.parametrize("purpose", ["advertising", "dpv:Marketing", "ad_targeting", "sell_data", "profiling", "train_models"])
def test_A13_advertising_cannot_be_asked_for_and_asking_is_noted(house: OAuthHouse, partner: Partner, purpose: str) -> None:
    before = len(house.refusals.noted)
    seen = house.push(partner, authorization_details=json.dumps([{**DETAILS, "purpose": purpose}]))
    assert seen.json["error"] == "invalid_authorization_details"
    assert house.refusals.noted[before:] == [(f"platform-{partner.client_id}", "api", "purpose_forbidden")]


def test_A13_what_the_policy_never_allows_is_not_put_before_a_customer(house: OAuthHouse, settled: Partner) -> None:
    beyond = {**DETAILS, "projections": ["transactions.merchant_and_amount"]}
    assert house.push(settled, authorization_details=json.dumps([beyond])).json["error"] == "invalid_authorization_details"
    assert house.push(settled, authorization_details=json.dumps([{**DETAILS, "lookback_days": 91}])).json["error"] == "invalid_authorization_details"
    assert house.push(settled, scope="openid").json["error"] == "invalid_scope"


def test_A14_the_answer_names_its_issuer_and_keeps_the_state(house: OAuthHouse, partner: Partner) -> None:
    state = secrets.token_urlsafe(750)[:900] + " &=?#%/\"'<>é日\\+" * 6
    told = house.allow(partner, house.pushed(partner, state=state))
    assert (told["iss"], told["state"]) == (house.issuer, state)
    assert set(house.allow(partner, house.pushed(partner, state=None))) == {"code", "iss"}


def test_A14_the_browser_is_sent_on_with_303(house: OAuthHouse, partner: Partner) -> None:
    visitor, page = house.to_consent(partner.authorize_url(house.pushed(partner)))
    assert visitor.post_form("/consent", visitor.consent_fields(page)).status == 303


@pytest.mark.parametrize("where", ["our page", "consent page", "bank"])
def test_A15_a_no_is_told_as_access_denied(house: OAuthHouse, partner: Partner, where: str) -> None:
    url = partner.authorize_url(house.pushed(partner))
    if where == "consent page":
        visitor, page = house.to_consent(url)
        done = visitor.post_form("/consent", visitor.consent_fields(page, decision="deny"))
    else:
        visitor = Visitor(house.origin)
        page = visitor.get(url.removeprefix(house.origin))
        done = visitor.post_form("/fapi/authorize", asking_fields(page, "deny" if where == "our page" else "go"))
        if where == "bank":
            from urllib.parse import parse_qs, urlsplit

            state = parse_qs(urlsplit(done.location).query)["state"][0]
            done = visitor.get(f"/link/callback?error=access_denied&state={state}")
    assert done.status == 303
    assert done.location.startswith(f"{partner.redirect_uri}?")
    assert answer_in(done.location) == {"error": "access_denied", "iss": house.issuer, "state": "state-of-the-partner"}


def test_A16_no_door_lets_other_sites_scripts_in(house: OAuthHouse, partner: Partner) -> None:
    url = partner.authorize_url(house.pushed(partner)).removeprefix(house.origin)
    for method, path in (("GET", url), ("OPTIONS", "/fapi/authorize"), ("OPTIONS", "/fapi/token"), ("POST", "/fapi/token")):
        seen = Visitor(house.origin).send(method, path, b"", {"origin": "https://attacker.example", "access-control-request-method": "POST"})
        assert not [name for name, _ in seen.headers if name.lower().startswith("access-control")]


def test_A17_nobody_is_sent_to_an_address_that_is_not_known(house: OAuthHouse, partner: Partner) -> None:
    for client_id in ("unknown", "", partner.client_id, "x" * 5000):
        query = urlencode(
            {"client_id": client_id, "request_uri": "urn:ietf:params:oauth:request_uri:none", "redirect_uri": "https://attacker.example"}
        )
        seen = Visitor(house.origin).get(f"/fapi/authorize?{query}")
        assert seen.status in (400, 410)
        assert seen.location == ""
        assert "attacker.example" not in seen.text


def test_A17_the_way_on_takes_our_own_form(house: OAuthHouse, partner: Partner) -> None:
    visitor = Visitor(house.origin)
    page = visitor.get(partner.authorize_url(house.pushed(partner)).removeprefix(house.origin))
    fields = asking_fields(page)
    elsewhere = visitor.post_form("/fapi/authorize", fields, origin="https://attacker.example")
    assert (elsewhere.status, elsewhere.location) == (403, "")
    for change, status in (({"csrf": "x"}, 409), ({"decision": ""}, 409), ({"request_uri": "x"}, 410), ({"client_id": "x"}, 410)):
        seen = visitor.post_form("/fapi/authorize", {**fields, **change})
        assert (seen.status, seen.location) == (status, "")
    assert Visitor(house.origin).post_form("/fapi/authorize", fields).status == 401


def test_A17_a_removed_client_is_answered_nowhere(house: OAuthHouse, partner: Partner) -> None:
    visitor, page = house.to_consent(partner.authorize_url(house.pushed(partner)))
    house.run(house.records.remove_client(partner.client_id))
    told = answer_in(visitor.post_form("/consent", visitor.consent_fields(page)).location)
    assert told["error"] == "access_denied"
    assert house.push(partner).json["error"] == "invalid_client"


def test_A18_the_pages_say_who_asks_for_what_and_until_when(house: OAuthHouse, partner: Partner) -> None:
    visitor = Visitor(house.origin)
    asking = visitor.get(partner.authorize_url(house.pushed(partner)).removeprefix(house.origin))
    assert "A partner" in asking.text
    assert "partner.example" in asking.text
    assert f"form-action 'self' {house.bank.origin} https://partner.example;" in (asking.header("content-security-policy") or "")
    asked = json.dumps([{**DETAILS, "lookback_days": 7, "duration_days": 12}])
    _, page = house.to_consent(partner.authorize_url(house.pushed(partner, authorization_details=asked)))
    for words in ("A partner", "partner.example", "answer the questions", "Everyday", "12 days", "stop"):
        assert words in page.text, words
    assert page.boxes("projection") == ["afford.yesno", "balance.available"]
    assert "form-action 'self' https://partner.example;" in (page.header("content-security-policy") or "")


# The resource side; the grants endpoint stands for every resource, the API has the same gate.


@pytest.fixture
def held(house: OAuthHouse, partner: Partner) -> tuple[Partner, str, str]:
    tokens = house.tokens(partner)
    return partner, tokens["access_token"], f"/grants/{tokens['grant_id']}"


def proof_attacks(house: OAuthHouse, partner: Partner, token: str, path: str) -> dict[str, str]:
    url, key = f"{house.issuer}{path}", partner.dpop_key
    now = int(house.seconds())

    def good(**changes: Any) -> str:
        return partner.proof("GET", url, token, **changes)

    return {
        "none": "",
        "garbage": "a.b.c",
        "two in one": f"{good()}, {good()}",
        "typ": good(header={"typ": "jwt"}),
        "private key": good(header={"jwk": key.as_dict(private=True)}),
        "no key": good(header={"jwk": None}),
        "symmetric": good(header={"jwk": {"kty": "oct", "k": "AAAA"}}),
        "other key in the header": good(header={"jwk": public(new_key())}),
        "method": good(htm="POST"),
        "address": good(htu=f"{house.origin}/api/v1/answers"),
        "host": good(htu=url.replace("127.0.0.1", "localhost")),
        "scheme": good(htu=url.replace("http://", "https://")),
        "old": good(iat=now - 61),
        "ahead": good(iat=now + 61),
        "no time": good(iat=None),
        "true as a time": good(iat=True),
        "no id": good(jti=None),
        "no ath": partner.proof("GET", url),
        "other token": partner.proof("GET", url, "another"),
        "foreign nonce": good(nonce="made-up"),
        "other holder": good(key=new_key()),
        "4000 brackets": f"{part({'alg': 'ES256', 'typ': 'dpop+jwt'})}.{urlsafe_b64encode(b'[' * 4000).decode()}.AAAA",
    }


def test_A19_every_part_of_a_proof_is_checked(house: OAuthHouse, held: tuple[Partner, str, str]) -> None:
    partner, token, path = held
    for name, proof in proof_attacks(house, partner, token, path).items():
        seen = house.show(partner, token, path, proof=proof)
        assert seen.status == 401, name
        assert seen.json["error"] in ("invalid_dpop_proof", "invalid_token", "use_dpop_nonce"), name
    assert house.show(partner, token, path).status == 200


def test_A19_a_proof_is_shown_once(house: OAuthHouse, held: tuple[Partner, str, str]) -> None:
    partner, token, path = held
    proof = partner.proof("GET", f"{house.issuer}{path}", token)
    assert [house.show(partner, token, path, proof=proof).status for _ in range(2)] == [200, 401]


def test_A19_two_proofs_are_no_proof(house: OAuthHouse, held: tuple[Partner, str, str]) -> None:
    partner, token, path = held
    place = urlsplit(house.issuer)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    connection.putrequest("GET", f"{place.path}{path}")
    connection.putheader("authorization", f"DPoP {token}")
    for _ in range(2):
        connection.putheader("dpop", partner.proof("GET", f"{house.issuer}{path}", token))
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


def test_A19_the_scheme_may_be_written_in_any_case(house: OAuthHouse, held: tuple[Partner, str, str]) -> None:
    partner, token, path = held
    assert [house.show(partner, token, path, scheme=scheme).status for scheme in ("DPoP", "dpop", "DPOP")] == [200, 200, 200]


def test_A19_a_proof_of_59_seconds_ago_is_taken(house: OAuthHouse, held: tuple[Partner, str, str]) -> None:
    partner, token, path = held
    url, now = f"{house.issuer}{path}", int(house.seconds())
    assert house.show(partner, token, path, proof=partner.proof("GET", url, token, iat=now - 59)).status == 200


def test_A19_where_nonces_are_needed_ours_alone_will_do(tmp_path) -> None:
    with oauth_house(tmp_path, replace(FAPI, nonces=True)) as house:
        partner = house.partner()
        code = house.allow(partner)["code"]
        url = f"{house.issuer}/token"
        refused = house.token(partner, partner.redeeming(code))
        assert (refused.status, refused.json["error"]) == (400, "use_dpop_nonce")
        nonce = refused.header("dpop-nonce")
        assert house.token(partner, partner.redeeming(code), proof=partner.proof("POST", url, nonce=f"x{nonce}")).json["error"] == "use_dpop_nonce"
        stale = partner.proof("POST", url, nonce=nonce, iat=int(house.seconds()) + 301)
        house.clock.pass_by(timedelta(seconds=301))
        assert house.token(partner, partner.redeeming(code), proof=stale).json["error"] == "use_dpop_nonce"
        fresh = house.token(partner, partner.redeeming("x"), proof=partner.proof("POST", url)).header("dpop-nonce")
        code = house.allow(partner)["code"]
        assert house.token(partner, partner.redeeming(code), proof=partner.proof("POST", url, nonce=fresh)).status == 200


def test_A20_a_token_is_shown_in_its_own_way_only(house: OAuthHouse, held: tuple[Partner, str, str]) -> None:
    partner, token, path = held
    for scheme in ("Bearer", "Basic", "DPoPx"):
        assert house.show(partner, token, path, scheme=scheme).status == 401
    seen = house.show(partner, token, f"{path}?access_token={token}")
    assert (seen.status, seen.json["error"]) == (400, "invalid_request")
    assert house.show(partner, "unknown", path).json["error"] == "invalid_token"


def test_A20_expired_and_revoked_tokens_are_worth_nothing(house: OAuthHouse, partner: Partner) -> None:
    tokens = house.tokens(partner)
    path = f"/grants/{tokens['grant_id']}"
    house.clock.pass_by(timedelta(seconds=tokens["expires_in"] + 1))
    assert house.show(partner, tokens["access_token"], path).json["error"] == "invalid_token"
    renewed = house.token(partner, {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}).json
    assert house.show(partner, renewed["access_token"], path).status == 200
    assert house.post("/revoke", partner.authenticated({"token": renewed["access_token"]})).status == 200
    assert house.show(partner, renewed["access_token"], path).json["error"] == "invalid_token"
    assert house.post("/introspect", partner.authenticated({"token": tokens["refresh_token"]})).json["active"] is True
    assert house.post("/revoke", partner.authenticated({"token": tokens["refresh_token"]})).status == 200
    assert house.post("/introspect", partner.authenticated({"token": tokens["refresh_token"]})).json == {"active": False}


def test_A20_a_refresh_token_is_no_access_token(house: OAuthHouse, partner: Partner) -> None:
    tokens = house.tokens(partner)
    assert house.show(partner, tokens["refresh_token"], f"/grants/{tokens['grant_id']}").json["error"] == "invalid_token"


def test_A20_another_clients_token_says_nothing(house: OAuthHouse, partner: Partner, settled: Partner) -> None:
    tokens = house.tokens(partner)
    assert house.post("/introspect", settled.authenticated({"token": tokens["access_token"]})).json == {"active": False}
    assert house.post("/revoke", settled.authenticated({"token": tokens["access_token"]})).status == 200
    assert house.show(partner, tokens["access_token"], f"/grants/{tokens['grant_id']}").status == 200
    code = house.allow(partner)["code"]
    stolen = house.token(settled, {**partner.redeeming(code)})
    assert stolen.json["error"] == "invalid_grant"
    assert house.token(settled, {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}).json["error"] == "invalid_grant"


def test_A20_the_customers_stop_ends_every_token_at_once(house: OAuthHouse, partner: Partner) -> None:
    tokens = house.tokens(partner)
    customer = house.run(house.records.find_authorization(tokens["grant_id"])).customer
    house.run(house.grants.stop_platform(customer, f"platform-{partner.client_id}"))
    assert house.show(partner, tokens["access_token"], f"/grants/{tokens['grant_id']}").json["error"] == "invalid_token"
    renewed = house.token(partner, {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]})
    assert renewed.json["error"] == "invalid_grant"
    assert house.post("/introspect", partner.authenticated({"token": tokens["access_token"]})).json == {"active": False}


def test_A20_no_token_outlives_the_consent(house: OAuthHouse, partner: Partner) -> None:
    asked = json.dumps([{**DETAILS, "duration_days": 1}])
    code = house.allow(partner, house.pushed(partner, authorization_details=asked), days="1")["code"]
    tokens = house.token(partner, partner.redeeming(code)).json
    house.clock.pass_by(timedelta(days=1, seconds=-100))
    renewed = house.token(partner, {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}).json
    assert renewed["expires_in"] <= 100
    house.clock.pass_by(timedelta(seconds=101))
    late = house.token(partner, {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]})
    assert late.json["error"] == "invalid_grant"


def test_a_refused_token_hears_how_tokens_are_shown(house: OAuthHouse, held: tuple[Partner, str, str]) -> None:
    partner, _, path = held
    challenge = house.show(partner, "unknown", path).header("www-authenticate") or ""
    assert challenge.startswith('DPoP error="invalid_token"')


def test_a_customer_who_has_just_signed_in_goes_straight_to_the_consent_page(house: OAuthHouse, partner: Partner) -> None:
    first = house.tokens(partner)
    customer = house.run(house.records.find_authorization(first["grant_id"])).customer
    house.signed_in["hers"] = customer

    def gone_on(browser: str) -> tuple[Visitor, str]:
        visitor = Visitor(house.origin)
        page = visitor.get(partner.authorize_url(house.pushed(partner)).removeprefix(house.origin))
        return visitor, visitor.post_form("/fapi/authorize", asking_fields(page), x_test_browser=browser).location

    visitor, location = gone_on("hers")
    assert location == "/consent"
    page = visitor.get("/consent")
    assert "code" in answer_in(visitor.post_form("/consent", visitor.consent_fields(page)).location)
    assert gone_on("another")[1].startswith(house.bank.origin)
    house.run(house.records.mark_link_lost(customer))
    assert gone_on("hers")[1].startswith(house.bank.origin)


def test_C17_a_strangers_proofs_leave_no_row(house: OAuthHouse, held: tuple[Partner, str, str]) -> None:
    partner, token, path = held

    def rows() -> int:
        return len(house.run(house.records._driver.read("SELECT key FROM seen_tokens")))

    before = rows()
    for number in range(20):
        assert house.show(partner, f"made-up-{number}", path).status == 401
        assert house.post("/par", {**partner.authenticated(partner.asked(), jti="x" * 600), "client_id": "x"}).status == 401
    assert rows() == before
    assert house.show(partner, token, path).status == 200
    assert rows() == before + 1


# Grant Management, as far as it is offered.


def test_a_grant_is_read_and_ended_by_its_own_token_alone(house: OAuthHouse, partner: Partner) -> None:
    other = house.partner(f"other-{next(_names)}")
    mine, theirs = house.tokens(partner), house.tokens(other)
    for method in ("GET", "DELETE"):
        seen = house.show(partner, mine["access_token"], f"/grants/{theirs['grant_id']}", method)
        assert (seen.status, seen.json["error"]) == (404, "invalid_grant_id")
    assert house.show(partner, mine["access_token"], f"/grants/{mine['grant_id']}", "DELETE").status == 204
    assert house.show(partner, mine["access_token"], f"/grants/{mine['grant_id']}").status == 401
    assert house.show(other, theirs["access_token"], f"/grants/{theirs['grant_id']}").status == 200


def test_a_new_consent_takes_the_place_of_the_old_one(house: OAuthHouse, partner: Partner) -> None:
    old = house.tokens(partner)
    new = house.tokens(partner, grant_management_action="replace", grant_id=old["grant_id"])
    assert new["grant_id"] == old["grant_id"]
    assert house.show(partner, old["access_token"], f"/grants/{old['grant_id']}").status == 401
    assert house.token(partner, {"grant_type": "refresh_token", "refresh_token": old["refresh_token"]}).json["error"] == "invalid_grant"
    assert house.show(partner, new["access_token"], f"/grants/{new['grant_id']}").status == 200


def test_nobody_replaces_another_clients_grant(house: OAuthHouse, partner: Partner) -> None:
    other = house.partner(f"other-{next(_names)}")
    theirs = house.tokens(other)
    told = house.allow(partner, house.pushed(partner, grant_management_action="replace", grant_id=theirs["grant_id"]))
    assert told["error"] == "access_denied"
    assert house.show(other, theirs["access_token"], f"/grants/{theirs['grant_id']}").status == 200
    for action, grant_id in (("merge", theirs["grant_id"]), ("replace", None), (None, theirs["grant_id"]), ("replace", "x")):
        assert house.push(partner, grant_management_action=action, grant_id=grant_id).json["error"] == "invalid_request"


def test_when_the_log_is_down_nothing_is_allowed_and_she_may_try_again(house: OAuthHouse, partner: Partner) -> None:
    visitor, page = house.to_consent(partner.authorize_url(house.pushed(partner)))
    house.log.down = True
    try:
        again = visitor.post_form("/consent", visitor.consent_fields(page))
    finally:
        house.log.down = False
    assert again.status == 503
    done = visitor.post_form("/consent", visitor.consent_fields(again))
    assert "code" in answer_in(done.location)


def test_pkce_is_checked(house: OAuthHouse, partner: Partner) -> None:
    code = house.allow(partner)["code"]
    for verifier in (None, "", "x" * 43, s256(partner.verifier), partner.verifier + "x"):
        assert house.token(partner, partner.redeeming(code, code_verifier=verifier)).json["error"] == "invalid_grant"
    assert house.token(partner, partner.redeeming(code, redirect_uri="https://partner.example/other")).json["error"] == "invalid_grant"
    assert house.token(partner, partner.redeeming(code)).status == 200


def registration(**changes: Any) -> Registration:
    plain = Registration("app", ClientProfile.FAPI, "platform-app", "An app", "app.example", ("https://app.example/cb",), None)
    return replace(plain, **({"jwks": json.dumps({"keys": [public(new_key(), kid="k")]}).encode()} | changes))
