"""Everything that must not work at the demo bank's authorization server and login pages."""

import base64
import json
import re
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from parley_sandbox import oracle
from parley_sandbox.authorization import Authorizations, OAuthError
from parley_sandbox.clients import BadClientFile, Client, ClientRegister, read_clients
from parley_sandbox.ledger import Customer
from parley_sandbox.robot import (
    CALLBACK,
    BankProcess,
    Reply,
    RobotBrowser,
    RobotClient,
    call,
    details,
    hidden_fields,
    post_form,
    write_clients,
)

SEED, TODAY = 11, date(2026, 3, 5)
VERIFIER = "v" * 50
SHORT_KEY = {"kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode(b"\xc1" * 128).rstrip(b"=").decode()}


@pytest.fixture(scope="module")
def client() -> RobotClient:
    return RobotClient()


@pytest.fixture(scope="module")
def rival() -> RobotClient:
    return RobotClient(client_id="rival-client", redirect_uri="https://rival.invalid/back")


@pytest.fixture(scope="module")
def clients_file(client: RobotClient, rival: RobotClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clients(tmp_path_factory.mktemp("bank") / "clients.json", client, rival)


@pytest.fixture(scope="module")
def bank(client: RobotClient, rival: RobotClient, clients_file: Path) -> Iterator[BankProcess]:
    with BankProcess("--seed", str(SEED), "--today", TODAY.isoformat(), "--clients", str(clients_file)) as process:
        client.issuer = rival.issuer = process.url
        yield process


@pytest.fixture(scope="module")
def ada() -> Customer:
    return oracle.customer(SEED, TODAY, "ada")


def pushed_with(client: RobotClient, assertion: str, **fields: str) -> Reply:
    return client.post("/par", client.request_fields(VERIFIER, **fields), assertion)


def test_an_assertion_is_used_once_even_by_many_at_once(bank: BankProcess, client: RobotClient) -> None:
    assertion = client.assertion()
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: pushed_with(client, assertion).status, range(8)))
    assert sorted(replies) == [201] + [401] * 7


@pytest.mark.parametrize("audience", ["array", "/token", "/par", "/", "https://elsewhere.invalid", None])
def test_an_assertion_for_another_audience_is_refused(bank: BankProcess, client: RobotClient, audience: str | None) -> None:
    claimed: object = [bank.url] if audience == "array" else bank.url + audience if audience and audience.startswith("/") else audience
    refused = pushed_with(client, client.assertion(aud=claimed))
    assert (refused.status, refused.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None},
        {"exp": 1_000_000_000},
        {"exp": "soon"},
        {"exp": True},
        {"exp": 99_999_999_999},
        {"jti": None},
        {"jti": ""},
        {"jti": "x" * 500},
        {"jti": 7},
        {"iss": "rival-client"},
        {"sub": "rival-client"},
        {"nbf": 4_000_000_000},
        {"iat": 4_000_000_000},
        {"sub": None},
    ],
)
def test_an_assertion_with_wrong_claims_is_refused(bank: BankProcess, client: RobotClient, claims: dict[str, object]) -> None:
    assert pushed_with(client, client.assertion(**claims)).status == 401


def test_a_clock_a_few_seconds_ahead_is_forgiven(bank: BankProcess, client: RobotClient) -> None:
    soon = int(time.time()) + 9
    assert pushed_with(client, client.assertion(iat=soon, nbf=soon)).status == 201


def claims_of(client: RobotClient) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": client.client_id, "sub": client.client_id, "aud": client.issuer, "jti": secrets.token_hex(8), "exp": now + 60}


def test_assertions_signed_with_anything_but_the_registered_key_are_refused(bank: BankProcess, client: RobotClient, rival: RobotClient) -> None:
    secret = OctKey.import_key("guessed-secret-guessed-secret-123")
    unsigned = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "none"}, claims_of(client)))
    stranger = ECKey.generate_key("P-256")
    kid = str(client.key.kid)
    forged = [
        jwt.encode({"alg": "ES256", "kid": kid}, claims_of(client), stranger),
        jwt.encode({"alg": "ES256", "kid": kid}, claims_of(client), rival.key),
        jwt.encode({"alg": "ES256", "kid": str(rival.key.kid)}, claims_of(client), rival.key),
        jwt.encode({"alg": "ES256", "jwk": stranger.as_dict(private=False)}, claims_of(client), stranger),
        jwt.encode({"alg": "HS256", "kid": kid}, claims_of(client), secret, algorithms=["HS256"]),
        jwt.encode({"alg": "ES256", "kid": kid, "typ": "dpop+jwt"}, claims_of(client), client.key),
        jwt.encode({"alg": "ES256", "kid": "unknown"}, claims_of(client), client.key),
        unsigned + ".",
        client.assertion()[:-4] + "AAAA",
        "a.b.c",
        "é",
        "[" * 4000,
        base64.urlsafe_b64encode(b"[" * 4000).decode() + ".e30.AA",
        "x" * 20_000,
    ]
    for assertion in forged:
        refused = pushed_with(client, assertion)
        assert (refused.status, refused.json()["error"]) == (401, "invalid_client"), assertion[:60]
    assert pushed_with(client, jwt.encode({"alg": "ES256", "kid": kid}, claims_of(client), client.key)).status == 201


@pytest.mark.filterwarnings("ignore:EdDSA")
@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (OKPKey.generate_key("Ed25519", parameters={"kid": "ed"}), "Ed25519"),
        (OKPKey.generate_key("Ed25519", parameters={"kid": "ed"}), "EdDSA"),
        (RSAKey.generate_key(2048, parameters={"kid": "rsa"}), "PS256"),
        (RSAKey.generate_key(2048, parameters={"kid": "rsa"}), "RS256"),
    ],
)
def test_the_three_good_algorithms_pass_and_rs256_does_not(
    bank: BankProcess, client: RobotClient, clients_file: Path, key: OKPKey | RSAKey, algorithm: str
) -> None:
    entry = {**RobotClient(client_id="other-keys").registration(), "jwks": {"keys": [key.as_dict(private=False)]}}
    clients_file.write_text(json.dumps([*json.loads(clients_file.read_text())[:2], entry]))
    claims = {**claims_of(client), "iss": "other-keys", "sub": "other-keys"}
    assertion = jwt.encode({"alg": algorithm, "kid": str(key.kid)}, claims, key, algorithms=[algorithm])
    reply = client.post("/par", client.request_fields(VERIFIER, client_id="other-keys"), assertion)
    assert reply.status == (401 if algorithm == "RS256" else 201)


def test_a_client_without_proof_gets_nowhere(bank: BankProcess, client: RobotClient) -> None:
    fields = client.request_fields(VERIFIER)
    for path in ("/par", "/token", "/revoke"):
        for extra in ({}, {"client_secret": "guess"}, {"client_assertion": client.assertion()}):
            assert post_form(bank.url + path, {**fields, **extra}).json()["error"] == "invalid_client"
        proof = {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion": client.assertion()}
        assert post_form(bank.url + path, {**fields, **proof, "client_id": "rival-client"}).status == 401
        assert call(bank.url + path).status == 405


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": CALLBACK + "/"},
        {"redirect_uri": CALLBACK + "?x=1"},
        {"redirect_uri": CALLBACK + "#f"},
        {"redirect_uri": CALLBACK.upper()},
        {"redirect_uri": "http://127.0.0.1:9@elsewhere.invalid/callback"},
        {"redirect_uri": "http://localhost:9/callback"},
        {"redirect_uri": "https://rival.invalid/back"},
        {"redirect_uri": ""},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": ""},
        {"code_challenge": "short"},
        {"code_challenge": "!" * 43},
        {"response_type": "token"},
        {"response_type": "code id_token"},
        {"response_mode": "form_post"},
        {"request_uri": "urn:ietf:params:oauth:request_uri:x"},
        {"request": "eyJ"},
        {"scope": "openid"},
        {"state": "s" * 5000},
        {"state": "line\r\nbreak"},
    ],
)
def test_a_pushed_request_that_bends_the_rules_is_refused(bank: BankProcess, client: RobotClient, changes: dict[str, str]) -> None:
    assert client.post("/par", client.request_fields(VERIFIER, **changes)).status == 400


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "null",
        "[]",
        "{}",
        "[" * 4000,
        details() + " " * 5000,
        json.dumps(json.loads(details()) * 2),
        json.dumps([{"type": "payment_initiation"}]),
        json.dumps([{**json.loads(details())[0], "purpose": "advertising"}]),
        details(["ACCOUNT_BASIC", "PAYMENT_SUPPORT"]),
        details(["ACCOUNT_BASIC", "ACCOUNT_BASIC"]),
        details([]),
        details(days=0),
        details(days=366),
        details(days=True),
        details(lookback=0),
        details(lookback=100_000),
        details(lookback="90"),  # type: ignore[arg-type]
        details(durationType="FOREVER"),
        details(durationPeriod=None),
        details(resources=[]),
        details(resources=[{"resourceType": "CUSTOMER", "dataClusters": ["CUSTOMER_CONTACT"]}]),
        details(resources=[{"resourceType": "ACCOUNT", "dataClusters": ["CUSTOMER_CONTACT"]}]),
        details(resources=[{"resourceType": "ACCOUNT", "dataClusters": ["BALANCES"], "accountIds": ["x"]}]),
        details(purpose="advertising"),
    ],
)
def test_authorization_details_outside_the_closed_form_are_refused(bank: BankProcess, client: RobotClient, raw: str) -> None:
    refused = client.post("/par", client.request_fields(VERIFIER, authorization_details=raw))
    assert (refused.status, refused.json()["error"]) == (400, "invalid_authorization_details")


def test_repeated_parameters_big_bodies_and_wrong_types_are_refused(bank: BankProcess, client: RobotClient) -> None:
    pairs = [*client.request_fields(VERIFIER).items(), ("state", "second")]
    assert post_form(f"{bank.url}/par", pairs).json()["error"] == "invalid_request"
    assert post_form(f"{bank.url}/par", [(f"f{number}", "x") for number in range(1000)]).status == 400
    assert call(f"{bank.url}/par", "POST", b"x" * 200_000, {"content-type": "application/x-www-form-urlencoded"}).status == 413
    assert call(f"{bank.url}/par", "POST", b"{}", {"content-type": "application/json"}).status == 415
    assert call(f"{bank.url}/par", "POST", b"a=%ff", {"content-type": "application/x-www-form-urlencoded"}).status == 400
    assert client.post("/par?client_id=rival-client", client.request_fields(VERIFIER)).status == 400


@pytest.mark.parametrize("grant", ["password", "client_credentials", "implicit", "", "urn:ietf:params:oauth:grant-type:jwt-bearer"])
def test_other_grants_are_refused(bank: BankProcess, client: RobotClient, grant: str) -> None:
    assert client.post("/token", {"grant_type": grant}).json()["error"] == "unsupported_grant_type"


def approved_code(client: RobotClient, ada: Customer) -> dict[str, str]:
    return RobotBrowser(client.issuer).approve(client.client_id, client.push(VERIFIER), "ada", ada.password)


def test_a_code_used_twice_takes_back_what_it_gave(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    code = approved_code(client, ada)["code"]
    answer = client.redeem(code, VERIFIER).json()
    assert client.read(answer["access_token"], "/accounts").status == 200
    assert client.redeem(code, VERIFIER).json()["error"] == "invalid_grant"
    refused = client.read(answer["access_token"], "/accounts")
    assert (refused.status, refused.json()["code"]) == (401, "603")
    again = client.post("/token", {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]})
    assert again.json()["error"] == "invalid_grant"


def test_sixteen_at_once_redeem_a_code_once(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    code = approved_code(client, ada)["code"]
    with ThreadPoolExecutor(16) as pool:
        statuses = [reply.status for reply in pool.map(lambda _: client.redeem(code, VERIFIER), range(16))]
    assert statuses.count(200) == 1


def test_a_code_is_worthless_without_its_verifier_its_client_and_its_address(
    bank: BankProcess, client: RobotClient, rival: RobotClient, ada: Customer
) -> None:
    code = approved_code(client, ada)["code"]
    assert client.redeem(code, "w" * 50).status == 400
    assert client.redeem(code, "").status == 400
    assert rival.redeem(code, VERIFIER).status == 400
    fields = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
    assert client.post("/token", fields).status == 400
    assert client.post("/token", {**fields, "redirect_uri": CALLBACK + "/"}).status == 400
    assert client.redeem(code, VERIFIER).status == 200


def test_another_client_can_neither_refresh_nor_revoke(bank: BankProcess, client: RobotClient, rival: RobotClient, ada: Customer) -> None:
    answer = client.link("ada", ada.password)
    stolen = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
    assert rival.post("/token", stolen).json()["error"] == "invalid_grant"
    assert rival.post("/revoke", {"token": answer["refresh_token"]}).status == 200
    assert client.read(answer["access_token"], "/accounts").status == 200
    assert client.post("/revoke", {"token": "unknown"}).status == 200
    assert client.post("/revoke", {"token": answer["refresh_token"]}).status == 200
    assert client.read(answer["access_token"], "/accounts").status == 401
    assert client.post("/token", stolen).status == 400


def test_a_refresh_token_opens_no_account_and_an_access_token_refreshes_nothing(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    answer = client.link("ada", ada.password)
    assert client.read(answer["refresh_token"], "/accounts").status == 401
    swapped = {"grant_type": "refresh_token", "refresh_token": answer["access_token"]}
    assert client.post("/token", swapped).json()["error"] == "invalid_grant"


def test_a_request_is_bound_to_its_client_and_decided_once(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    request_uri = client.push(VERIFIER)
    browser = RobotBrowser(bank.url)
    for stranger in ("rival-client", "unknown", ""):
        refused = browser.get(f"/authorize?{urlencode({'client_id': stranger, 'request_uri': request_uri})}")
        assert refused.status == 400
        assert "location" not in refused.headers
    named = {"client_id": client.client_id, "request_uri": request_uri}
    assert [browser.get(f"/authorize?{urlencode(named)}").status for _ in range(2)] == [200, 200]
    assert browser.approve(client.client_id, request_uri, "ada", ada.password)["code"]
    assert browser.get(f"/authorize?{urlencode(named)}").status == 400
    with pytest.raises(RuntimeError, match="login failed"):
        browser.approve(client.client_id, request_uri, "ada", ada.password)


def test_plain_parameters_without_a_pushed_request_never_redirect(bank: BankProcess, client: RobotClient) -> None:
    fields = client.request_fields(VERIFIER, redirect_uri="https://elsewhere.invalid/")
    refused = RobotBrowser(bank.url).get(f"/authorize?{urlencode(fields)}")
    assert refused.status == 400
    assert "location" not in refused.headers
    twice = "client_id=a&client_id=b&request_uri=x"
    assert RobotBrowser(bank.url).get(f"/authorize?{twice}").status == 400


def test_parameters_beside_the_pushed_request_change_nothing(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    request_uri = client.push(VERIFIER, state="mine")
    browser = RobotBrowser(bank.url)
    query = {"client_id": client.client_id, "request_uri": request_uri, "redirect_uri": "https://elsewhere.invalid/", "state": "theirs"}
    shown = browser.get(f"/authorize?{urlencode(query)}")
    step = browser.submit("/authorize/login", [*hidden_fields(shown.body), ("username", "ada"), ("password", ada.password)])
    page = browser.get(step.headers["location"])
    fields = [*hidden_fields(page.body), ("account", ada.accounts[0].account_id), ("decision", "approve"), ("state", "theirs")]
    done = browser.submit("/authorize/accounts", [*fields, ("redirect_uri", "https://elsewhere.invalid/")])
    assert done.status == 303
    assert done.headers["location"].startswith(CALLBACK + "?code=")
    assert parse_qs(urlsplit(done.headers["location"]).query)["state"] == ["mine"]


def test_a_no_comes_back_as_access_denied_with_state_and_issuer(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    state = secrets.token_urlsafe(740)
    denied = RobotBrowser(bank.url).approve(client.client_id, client.push(VERIFIER, state=state), "ada", ada.password, decision="deny")
    assert denied["error"] == "access_denied"
    assert denied["state"] == state
    assert denied["iss"] == bank.url
    assert "code" not in denied
    agreed = RobotBrowser(bank.url).approve(client.client_id, client.push(VERIFIER, state=state), "ada", ada.password)
    assert (agreed["iss"], agreed["state"]) == (bank.url, state)


def test_the_decision_needs_the_form_of_this_very_session(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    request_uri = client.push(VERIFIER)
    browser, attacker = RobotBrowser(bank.url), RobotBrowser(bank.url)
    step = browser.log_in(client.client_id, request_uri, "ada", ada.password)
    page = browser.get(step.headers["location"])
    other = attacker.get(f"/authorize?{urlencode({'client_id': client.client_id, 'request_uri': request_uri})}")
    good = [*hidden_fields(page.body), ("account", ada.accounts[0].account_id), ("decision", "approve")]
    stolen_token = [*hidden_fields(other.body), ("account", ada.accounts[0].account_id), ("decision", "approve")]
    without = [field for field in good if field[0] != "csrf"]
    assert browser.submit("/authorize/accounts", without).status == 403
    assert browser.submit("/authorize/accounts", stolen_token).status == 403
    assert attacker.submit("/authorize/accounts", good).status == 403
    assert attacker.submit("/authorize/accounts", stolen_token).status == 403
    assert RobotBrowser(bank.url).submit("/authorize/accounts", good).status == 403
    assert browser.submit("/authorize/accounts", good, origin="https://elsewhere.invalid").status == 403
    assert browser.submit("/authorize/accounts", good, origin="null").status == 403
    assert browser.submit("/authorize/accounts", good, **{"sec-fetch-site": "cross-site"}).status == 403
    assert browser.get(f"/authorize/accounts?{urlencode(good)}&decision=approve").status == 400
    assert browser.submit("/authorize/accounts", good, origin=bank.url, **{"sec-fetch-site": "same-origin"}).status == 303
    assert browser.submit("/authorize/accounts", good).status == 403


def test_logging_in_changes_the_session_and_counts_for_one_request_only(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    first, second = client.push(VERIFIER), client.push(VERIFIER)
    browser = RobotBrowser(bank.url)
    shown = browser.get(f"/authorize?{urlencode({'client_id': client.client_id, 'request_uri': first})}")
    before = dict(browser.cookies)
    step = browser.log_in(client.client_id, first, "ada", ada.password)
    assert browser.cookies != before
    assert "HttpOnly" in step.cookies[0]
    assert "samesite=strict" in step.cookies[0].lower()
    sent_back = browser.get(f"/authorize/accounts?{urlencode({'client_id': client.client_id, 'request_uri': second})}")
    assert sent_back.status == 303
    assert sent_back.headers["location"].startswith("/authorize?")
    fixed = RobotBrowser(bank.url)
    fixed.cookies = dict(before)
    assert fixed.get(step.headers["location"]).status == 303
    fixed.cookies = dict(before)
    assert fixed.submit("/authorize/login", [*hidden_fields(shown.body), ("username", "ada"), ("password", ada.password)]).status == 403


def test_accounts_of_others_cannot_be_chosen_and_nothing_is_ticked_beforehand(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    foreign = oracle.customer(SEED, TODAY, "ben").accounts[0].account_id
    request_uri = client.push(VERIFIER)
    browser = RobotBrowser(bank.url)
    step = browser.log_in(client.client_id, request_uri, "ada", ada.password)
    page = browser.get(step.headers["location"])
    text = page.body.decode()
    assert "checked" not in text
    assert all(word in text for word in ("Robot Client", "90 days", "365 days", "Their balances", "Their transactions"))
    assert re.findall(r'name="account" value="([^"]+)"', text) == [account.account_id for account in ada.accounts]
    hidden = hidden_fields(page.body)
    assert browser.submit("/authorize/accounts", [*hidden, ("decision", "approve")]).status == 400
    assert browser.submit("/authorize/accounts", [*hidden, ("account", foreign), ("decision", "approve")]).status == 400
    assert browser.submit("/authorize/accounts", [*hidden, ("account", ada.accounts[0].account_id)]).status == 400
    many = [("account", ada.accounts[0].account_id), ("account", foreign)]
    assert browser.submit("/authorize/accounts", [*hidden, *many, ("decision", "approve")]).status == 400


def test_guessing_is_slowed_and_tells_nothing_about_who_exists(bank: BankProcess, client: RobotClient) -> None:
    farid = oracle.customer(SEED, TODAY, "farid")
    request_uri = client.push(VERIFIER)
    answers: dict[str, list[tuple[int, bytes]]] = {}
    for username in ("farid", "ghost"):
        browser = RobotBrowser(bank.url)
        for attempt in range(6):
            reply = browser.log_in(client.client_id, request_uri, username, f"wrong {attempt}")
            page = re.sub(rb'value="[^"]*"', b"", reply.body)
            answers.setdefault(username, []).append((reply.status, page))
    assert [status for status, _ in answers["farid"]] == [401] * 5 + [429]
    assert answers["farid"] == answers["ghost"]
    assert RobotBrowser(bank.url).log_in(client.client_id, request_uri, "farid", farid.password).status == 429


def test_pages_carry_strict_headers_and_escape_what_was_typed(bank: BankProcess, client: RobotClient) -> None:
    request_uri = client.push(VERIFIER)
    browser = RobotBrowser(bank.url)
    reply = browser.log_in(client.client_id, request_uri, '"><script>alert(1)</script>', "x")
    assert b"<script" not in reply.body
    for shown in (reply, browser.get("/"), browser.get("/operator"), browser.get("/nowhere"), browser.get("/larkspur.css")):
        policy = shown.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert shown.headers["x-content-type-options"] == "nosniff"
        assert "server" not in shown.headers
        assert b"<script" not in shown.body
        assert b"style=" not in shown.body


def test_a_foreign_host_name_is_turned_away(bank: BankProcess) -> None:
    for host in ("evil.invalid", "localhost:1", "127.0.0.1", bank.url.removeprefix("http://") + ".evil.invalid"):
        for path in ("/", "/operator", "/operator/reads", "/fdx/v6/accounts", "/.well-known/oauth-authorization-server"):
            assert call(bank.url + path, headers={"host": host}).status == 421


def test_the_operators_desk_refuses_other_sites(bank: BankProcess) -> None:
    kind = {"content-type": "application/json"}
    body = b'{"faults":["error500"]}'
    address = f"{bank.url}/operator/faults"
    assert call(address, "POST", body, {**kind, "origin": "https://elsewhere.invalid"}).status == 403
    assert call(address, "POST", body, {**kind, "sec-fetch-site": "cross-site"}).status == 403
    assert call(address, "POST", body, {"content-type": "text/plain"}).status == 415
    assert call(address, "POST", b"fault=error500&csrf=guess", {"content-type": "application/x-www-form-urlencoded"}).status == 403
    assert call(f"{bank.url}/operator/reads", headers={"sec-fetch-site": "same-site"}).status == 403
    for nonsense in (b"[" * 4000, b'{"faults":["no_such"]}', b'{"faults":[{"name":"slow","value":"1h"}]}', b'{"faults":{}}', b"{}", b"\xff"):
        assert call(address, "POST", nonsense, kind).status == 400
    assert call(address).json()["faults"] == []


def test_the_form_of_the_desk_works_with_its_own_token(bank: BankProcess) -> None:
    browser = RobotBrowser(bank.url)
    hidden = hidden_fields(browser.get("/operator").body)
    sent = [*hidden[:1], ("fault", "slow"), ("value_slow", "5ms"), ("times_slow", "2")]
    assert browser.submit("/operator/faults", sent).status == 303
    assert call(f"{bank.url}/operator/faults").json()["faults"] == [{"name": "slow", "value": "5ms", "times": 2}]
    assert RobotBrowser(bank.url).submit("/operator/faults", hidden[:1]).status == 403
    assert browser.submit("/operator/faults", hidden[:1]).status == 303
    assert call(f"{bank.url}/operator/faults").json()["faults"] == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": "Bearer unknown-unknown-unknown"},
        {"authorization": "Basic dXNlcjpwYXNz"},
        {"authorization": "Bearer " + "x" * 5000},
    ],
)
def test_without_a_good_token_nothing_is_read(bank: BankProcess, headers: dict[str, str]) -> None:
    interaction = {"x-fapi-interaction-id": "0b4d7f10-1111-4222-8333-444455556666"}
    for path in ("/accounts", "/accounts/x", "/accounts/x/transactions", "/customers/current", "/consents/x"):
        refused = call(f"{bank.url}/fdx/v6{path}", headers={**interaction, **headers})
        assert (refused.status, refused.json()["code"]) == (401, "603")
        assert refused.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("interaction", [None, "", "1", "0b4d7f10-1111-4222-8333-44445555666g", "0b4d7f1011114222833344445555 6666"])
def test_a_read_without_a_proper_interaction_id_is_refused(bank: BankProcess, client: RobotClient, ada: Customer, interaction: str | None) -> None:
    token = client.link("ada", ada.password)["access_token"]
    headers = {"authorization": f"Bearer {token}"} | ({} if interaction is None else {"x-fapi-interaction-id": interaction})
    assert call(f"{bank.url}/fdx/v6/accounts", headers=headers).status == 400


def test_a_token_in_the_address_is_refused(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    token = client.link("ada", ada.password)["access_token"]
    assert client.read(token, "/accounts", access_token=token).status == 400


def test_page_keys_cannot_be_altered_or_taken_elsewhere(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    token = client.link("ada", ada.password)["access_token"]
    here, there = (f"/accounts/{account.account_id}/transactions" for account in (ada.accounts[0], ada.accounts[2]))
    dates = {"startDate": "2026-01-01", "endDate": "2026-03-05"}
    key = client.read(token, here, limit="5", **dates).json()["page"]["nextPageKey"]
    assert client.read(token, here, limit="5", pageKey=key, **dates).status == 200
    assert client.read(token, there, limit="5", pageKey=key).status == 400
    assert client.read(token, "/accounts", pageKey=key).status == 400
    assert client.read(token, here, pageKey=key, startDate="2026-02-01", endDate="2026-03-05").status == 400
    for place in (0, 10, len(key) // 2, len(key) - 2):
        altered = key[:place] + ("A" if key[place] != "A" else "B") + key[place + 1 :]
        assert client.read(token, here, limit="5", pageKey=altered).status == 400
    narrow = client.link("ada", ada.password, authorization_details=details(lookback=10))["access_token"]
    assert client.read(narrow, here, limit="5", pageKey=key).json()["code"] == "703"


def test_a_consent_is_seen_by_its_own_token_only(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    mine, other = (client.link("ada", ada.password) for _ in range(2))
    headers = {"authorization": f"Bearer {other['access_token']}", "x-fapi-interaction-id": "0b4d7f10-1111-4222-8333-444455556666"}
    path = f"{bank.url}/fdx/v6/consents/{mine['grant_id']}"
    assert call(path, headers=headers).status == 404
    sent = {**headers, "content-type": "application/json"}
    assert call(f"{path}/revocation", "PUT", b'{"reason":"USER_ACTION"}', sent).status == 404
    assert client.read(mine["access_token"], "/accounts").status == 200
    own = f"{bank.url}/fdx/v6/consents/{other['grant_id']}/revocation"
    for nonsense in (b"[]", b'{"reason":"ADVERTISING"}', b'{"reason":"OTHER","extra":1}', b"[" * 4000):
        assert call(own, "PUT", nonsense, sent).status == 400


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture()
def clock() -> Clock:
    return Clock()


@pytest.fixture()
def authorizations(clock: Clock) -> Authorizations:
    return Authorizations(clock, TODAY)


@pytest.fixture()
def registered(tmp_path: Path) -> Client:
    found = ClientRegister(write_clients(tmp_path / "clients.json", RobotClient())).find("robot-client")
    assert found is not None
    return found


def fields_for(client: Client) -> dict[str, str]:
    return RobotClient(client_id=client.client_id).request_fields(VERIFIER)


def test_requests_codes_and_tokens_die_on_time(authorizations: Authorizations, registered: Client, clock: Clock) -> None:
    request_uri, seconds = authorizations.push(registered, fields_for(registered))
    assert seconds < 600
    request = authorizations.pushed(registered.client_id, request_uri)
    code = authorizations.approve(request, "ada", ("a",))
    clock.now += 59
    issued = authorizations.redeem(registered, code, CALLBACK, VERIFIER)
    clock.now += 899
    assert authorizations.holder(issued.access_token) is issued.consent
    clock.now += 1
    assert authorizations.holder(issued.access_token) is None
    late, _ = authorizations.push(registered, fields_for(registered))
    late_request = authorizations.pushed(registered.client_id, late)
    clock.now += seconds
    with pytest.raises(OAuthError):
        authorizations.pushed(registered.client_id, late)
    with pytest.raises(OAuthError):
        authorizations.approve(late_request, "ada", ("a",))
    clock.now += 90 * 86400
    assert issued.consent.state(clock.now) == "EXPIRED"
    with pytest.raises(OAuthError):
        authorizations.refresh(registered, issued.refresh_token or "")


def test_a_code_a_minute_old_is_dead(authorizations: Authorizations, registered: Client, clock: Clock) -> None:
    request_uri, _ = authorizations.push(registered, fields_for(registered))
    code = authorizations.approve(authorizations.pushed(registered.client_id, request_uri), "ada", ("a",))
    clock.now += 60
    with pytest.raises(OAuthError):
        authorizations.redeem(registered, code, CALLBACK, VERIFIER)


@pytest.mark.filterwarnings("ignore:Key size")
@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uris": ["http://elsewhere.invalid/cb"]},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"redirect_uris": ["https://user@bank.invalid/cb"]},
        {"redirect_uris": ["https://bank.invalid/cb#f"]},
        {"redirect_uris": ["https://bank.invalid/c b"]},
        {"redirect_uris": ["https://bank.invalid/cb\r\nset-cookie: a=b"]},
        {"redirect_uris": []},
        {"client_name": ""},
        {"client_name": "x" * 61},
        {"client_name": "evil\u202ename"},
        {"client_id": "a b"},
        {"jwks": {"keys": []}},
        {"jwks": {"keys": [RobotClient().key.as_dict(private=True)]}},
        {"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}},
        {"jwks": {"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}},
        {"jwks": {"keys": [SHORT_KEY]}},
        {"extra": 1},
    ],
)
def test_a_file_with_a_dangerous_client_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "clients.json"
    path.write_text(json.dumps([{**RobotClient().registration(), **change}]))
    with pytest.raises(BadClientFile):
        read_clients(path)
