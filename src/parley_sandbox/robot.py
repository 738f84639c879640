"""A scripted customer and client over real HTTP, for tests and demonstrations: starts a bank, pushes a request, clicks through its pages."""

import base64
import hashlib
import http.client
import json
import re
import secrets
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import unescape
from http.cookies import SimpleCookie
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

from parley_sandbox.clients import ASSERTION_TYPE

CALLBACK = "http://127.0.0.1:9/callback"
CLUSTERS = ("ACCOUNT_BASIC", "BALANCES", "TRANSACTIONS")


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, unjudged: redirects are not followed, errors not raised."""

    status: int
    headers: dict[str, str]
    body: bytes
    cookies: tuple[str, ...] = ()

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def call(url: str, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None, seconds: float = 20) -> Reply:
    """One HTTP exchange with the bank on a connection of its own."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.request(method, f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", body, headers or {})
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, named, response.read(), tuple(response.headers.get_all("set-cookie") or ()))
    finally:
        connection.close()


class BankProcess:
    """A bank in a process of its own, as a context manager; leaving it, or dying, stops the bank."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "parley_sandbox", "serve", "--exit-with-parent", *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = ""
        self.pid = self._process.pid

    def __enter__(self) -> "BankProcess":
        if self._process.stdout is None:
            raise RuntimeError("the bank has no standard output")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the bank did not start: exit {self._process.wait(10)}")
        self.url = json.loads(line)["url"]
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.hang_up()
        self.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def hang_up(self) -> None:
        """Closes the bank's standard input, as the death of its parent would."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()

    def wait(self, seconds: float) -> int:
        """The exit status once it has stopped. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def faults(self, *faults: str | dict[str, object]) -> Reply:
        """Switches exactly these faults on."""
        body = json.dumps({"faults": list(faults)}).encode()
        return call(f"{self.url}/operator/faults", "POST", body, {"content-type": "application/json"})


@dataclass(slots=True)
class RobotClient:
    """A registered client with a P-256 key: signs assertions, pushes requests, redeems codes and reads."""

    issuer: str = ""
    client_id: str = "robot-client"
    redirect_uri: str = CALLBACK
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", parameters={"kid": secrets.token_hex(4)}))

    def registration(self) -> dict[str, object]:
        """This client's entry for the bank's file of clients."""
        jwk = self.key.as_dict(private=False)
        return {"client_id": self.client_id, "client_name": "Robot Client", "redirect_uris": [self.redirect_uri], "jwks": {"keys": [jwk]}}

    def assertion(self, **changes: object) -> str:
        """A client assertion (RFC 7523) that lives a minute; `changes` replace claims, None removes one."""
        now = int(time.time())
        claims: dict[str, object] = {"iss": self.client_id, "sub": self.client_id, "aud": self.issuer, "jti": secrets.token_hex(8)}
        claims |= {"iat": now, "exp": now + 60} | changes
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": "ES256", "kid": self.key.kid}, kept, self.key)

    def post(self, path: str, fields: dict[str, str], assertion: str | None = None) -> Reply:
        """A form to one of the OAuth endpoints, with the client's assertion."""
        proof = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion or self.assertion()}
        return post_form(self.issuer + path, {**fields, **proof})

    def request_fields(self, verifier: str, **changes: str) -> dict[str, str]:
        """The fields of a pushed request; `changes` replace some of them."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        fields = {"client_id": self.client_id, "response_type": "code", "redirect_uri": self.redirect_uri, "state": "robot state"}
        fields |= {"code_challenge": challenge, "code_challenge_method": "S256", "authorization_details": details()}
        return fields | changes

    def push(self, verifier: str, **changes: str) -> str:
        """Pushes a request and returns its request_uri. Raises RuntimeError when the bank refuses."""
        reply = self.post("/par", self.request_fields(verifier, **changes))
        if reply.status != 201:
            raise RuntimeError(f"the bank refused the pushed request: {reply.status}")
        return str(reply.json()["request_uri"])

    def redeem(self, code: str, verifier: str) -> Reply:
        """Asks for tokens."""
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect_uri, "code_verifier": verifier}
        return self.post("/token", fields)

    def link(self, username: str, password: str, accounts: Sequence[str] | None = None, **changes: str) -> dict[str, Any]:
        """The whole flow as one customer; returns the token answer. `accounts` None ticks every account on the page."""
        verifier = secrets.token_urlsafe(48)
        request_uri = self.push(verifier, **changes)
        landed = RobotBrowser(self.issuer).approve(self.client_id, request_uri, username, password, accounts)
        reply = self.redeem(landed["code"], verifier)
        if reply.status != 200:
            raise RuntimeError(f"the bank refused the code: {reply.status}")
        answer: dict[str, Any] = reply.json()
        return answer

    def read(self, token: str, path: str, **parameters: str) -> Reply:
        """GET from the resource API with a fresh interaction id."""
        address = f"{self.issuer}/fdx/v6{path}{'?' + urlencode(parameters) if parameters else ''}"
        return call(address, headers={"authorization": f"Bearer {token}", "x-fapi-interaction-id": str(uuid.uuid4())})


class RobotBrowser:
    """A browser without scripts: keeps cookies, fills in forms, stops at the redirect that leaves the bank."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cookies: dict[str, str] = {}

    def get(self, path: str) -> Reply:
        """Opens a page."""
        return self._remember(call(self.url + path, headers=self._headers()))

    def submit(self, path: str, fields: Sequence[tuple[str, str]], **headers: str) -> Reply:
        """Submits a form."""
        body = urlencode(list(fields)).encode()
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return self._remember(call(self.url + path, "POST", body, {**self._headers(), **kind, **headers}))

    def log_in(self, client_id: str, request_uri: str, username: str, password: str) -> Reply:
        """Opens the login page and logs in; the answer is a 303 to the account page when it worked."""
        shown = self.get(f"/authorize?{urlencode({'client_id': client_id, 'request_uri': request_uri})}")
        return self.submit("/authorize/login", [*hidden_fields(shown.body), ("username", username), ("password", password)])

    def approve(
        self, client_id: str, request_uri: str, username: str, password: str, accounts: Sequence[str] | None = None, decision: str = "approve"
    ) -> dict[str, str]:
        """Logs in, ticks accounts, decides; returns the parameters that came back to the client. Raises RuntimeError when stopped on the way."""
        step = self.log_in(client_id, request_uri, username, password)
        if step.status != 303:
            raise RuntimeError(f"the login failed: {step.status}")
        shown = self.get(step.headers["location"])
        offered = re.findall(r'name="account" value="([^"]+)"', shown.body.decode())
        ticked = [("account", account) for account in (offered if accounts is None else accounts)]
        done = self.submit("/authorize/accounts", [*hidden_fields(shown.body), *ticked, ("decision", decision)])
        if done.status != 303:
            raise RuntimeError(f"the decision was refused: {done.status}")
        return {name: values[0] for name, values in parse_qs(urlsplit(done.headers["location"]).query).items()}

    def _headers(self) -> dict[str, str]:
        return {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}

    def _remember(self, reply: Reply) -> Reply:
        for line in reply.cookies:
            self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(line).items()}
        return reply


def post_form(url: str, fields: dict[str, str] | Sequence[tuple[str, str]]) -> Reply:
    """One form, without cookies."""
    return call(url, "POST", urlencode(fields).encode(), {"content-type": "application/x-www-form-urlencoded"})


def hidden_fields(html: bytes) -> list[tuple[str, str]]:
    """The hidden fields of a page's form, in order."""
    return [(name, unescape(value)) for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', html.decode())]


def details(clusters: Sequence[str] = CLUSTERS, days: int = 90, lookback: int = 365, **changes: object) -> str:
    """`authorization_details` for these clusters, TIME_BOUND; CUSTOMER_CONTACT becomes a resource of its own."""
    resources = [{"resourceType": "ACCOUNT", "dataClusters": [cluster for cluster in clusters if cluster != "CUSTOMER_CONTACT"]}]
    if "CUSTOMER_CONTACT" in clusters:
        resources.append({"resourceType": "CUSTOMER", "dataClusters": ["CUSTOMER_CONTACT"]})
    request: dict[str, object] = {"durationType": "TIME_BOUND", "durationPeriod": days, "lookbackPeriod": lookback, "resources": resources}
    return json.dumps([{"type": "fdx_v1.0", "consentRequest": request | changes}])


def write_clients(path: Path, *clients: RobotClient) -> Path:
    """Writes the bank's file of clients."""
    path.write_text(json.dumps([client.registration() for client in clients]))
    return path
