"""The black-box list: what a FAPI 2.0 server must do with right, bent and stolen requests, seen from outside only.

The same list runs against our server and against a certified one that nobody here wrote. Each check ends in a few words: what the server
did. What both must do is `expected`; where the certified server does otherwise, the difference is explained beside the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import urlencode

from joserfc.jwk import ECKey, OctKey, RSAKey

from tests.peers.raw_client import ASSERTION_TYPE, LEFT_OUT, RawClient, Told, unsigned


class Target(Protocol):
    """A running server with two registered clients, and a customer who walks its pages."""

    client: RawClient
    other: RawClient

    async def bring_back(self, url: str, *, agree: bool = True) -> dict[str, str]:
        """What the browser brings to the redirect address at the end of the server's own pages."""


Work = Callable[[Target], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Check:
    """`name` starts with the id in the checklist. `expected`: every outcome that is right."""

    name: str
    expected: frozenset[str]
    work: Work


CHECKS: list[Check] = []

REFUSED_CLIENT = ("401 invalid_client", "400 invalid_client")
REFUSED_REQUEST = ("400 invalid_request",)
REFUSED_CODE = ("400 invalid_grant",)
REFUSED_PROOF = ("400 invalid_dpop_proof", "401 invalid_dpop_proof")


def check(name: str, *expected: str) -> Callable[[Work], Work]:
    def keep(work: Work) -> Work:
        CHECKS.append(Check(name, frozenset(expected), work))
        return work

    return keep


def now() -> int:
    return int(datetime.now(UTC).timestamp())


async def agreed(target: Target, client: RawClient | None = None, **bent: object) -> str:
    """A fresh code."""
    asking = client or target.client
    pushed = await asking.par(**bent)
    brought = await target.bring_back(asking.authorization_url(pushed.body["request_uri"]))
    return brought["code"]


async def tokens(target: Target) -> Told:
    return await target.client.redeem(await agreed(target))


# Metadata.


@check("A1 the metadata names the issuer byte for byte, requires PAR, and knows S256 and code only", "right")
async def _(target: Target) -> str:
    told = target.client.metadata
    wrong = [
        name
        for name, right in {
            "issuer": target.client.issuer,
            "code_challenge_methods_supported": ["S256"],
            "response_types_supported": ["code"],
            "require_pushed_authorization_requests": True,
            "authorization_response_iss_parameter_supported": True,
        }.items()
        if told.get(name) != right
    ]
    return " ".join(wrong) or "right"


@check("A1 no algorithm named none anywhere", "right")
async def _(target: Target) -> str:
    listed = [name for name, value in target.client.metadata.items() if isinstance(value, list) and "none" in value and "alg" in name]
    return " ".join(listed) or "right"


for grant_type in ("password", "implicit", "client_credentials", "urn:example:unknown"):

    @check(f"A2 the grant type {grant_type} is refused", "400 unsupported_grant_type", "400 unauthorized_client", *REFUSED_REQUEST)
    async def _(target: Target, grant_type: str = grant_type) -> str:
        return (await target.client.token(grant_type=grant_type, username="a", password="b")).summary


# Who the client is.


@check("A3 a right request is pushed", "201")
async def _(target: Target) -> str:
    return (await target.client.par()).summary


@check("A3 without an assertion nothing is pushed", *REFUSED_CLIENT, *REFUSED_REQUEST)
async def _(target: Target) -> str:
    return (await target.client.par(client_assertion=LEFT_OUT, client_assertion_type=LEFT_OUT)).summary


@check("A3 a client secret is refused", *REFUSED_CLIENT, *REFUSED_REQUEST)
async def _(target: Target) -> str:
    return (await target.client.par(client_assertion=LEFT_OUT, client_assertion_type=LEFT_OUT, client_secret="secret")).summary


@check("A3 an unsigned assertion is refused", *REFUSED_CLIENT)
async def _(target: Target) -> str:
    moment = now()
    client = target.client
    claims = {"iss": client.client_id, "sub": client.client_id, "aud": client.issuer, "jti": "unsigned", "iat": moment, "exp": moment + 50}
    return (await client.par(assertion=unsigned({"alg": "none"}, claims))).summary


@check("A3 an assertion with HS256 is refused", *REFUSED_CLIENT)
async def _(target: Target) -> str:
    key = OctKey.import_key("a secret that is long enough for HS256, as it should be")
    return (await target.client.par(assertion=target.client.assertion(key=key, algorithm="HS256"))).summary


@check("A3 an assertion with RS256 is refused", *REFUSED_CLIENT)
async def _(target: Target) -> str:
    return (await target.client.par(assertion=target.client.assertion(key=RSAKey.generate_key(2048), algorithm="RS256"))).summary


AUDIENCES: dict[str, Callable[[RawClient], object]] = {
    "a list": lambda client: [client.issuer],
    "the token endpoint": lambda client: client.token_url,
    "the PAR endpoint": lambda client: client.par_url,
    "the issuer and a slash": lambda client: f"{client.issuer}/",
    "another server": lambda client: "https://other.example",
    "nobody": lambda client: LEFT_OUT,
}
for words, audience in AUDIENCES.items():

    @check(f"A4 an assertion for {words} is refused", *REFUSED_CLIENT)
    async def _(target: Target, audience: Callable[[RawClient], object] = audience) -> str:
        return (await target.client.par(assertion=target.client.assertion(aud=audience(target.client)))).summary


for name in ("iss", "sub", "exp", "jti"):

    @check(f"A5 an assertion without {name} is refused", *REFUSED_CLIENT)
    async def _(target: Target, name: str = name) -> str:
        return (await target.client.par(assertion=target.client.assertion(**{name: LEFT_OUT}))).summary


@check("A5 an assertion works once", *REFUSED_CLIENT)
async def _(target: Target) -> str:
    assertion = target.client.assertion()
    assert (await target.client.par(assertion=assertion)).status == 201
    return (await target.client.par(assertion=assertion)).summary


@check("A5 an assertion that has expired is refused", *REFUSED_CLIENT)
async def _(target: Target) -> str:
    return (await target.client.par(assertion=target.client.assertion(iat=now() - 400, exp=now() - 300))).summary


@check("A5 a clock 8 seconds ahead is borne", "201")
async def _(target: Target) -> str:
    return (await target.client.par(assertion=target.client.assertion(iat=now() + 8, nbf=now() + 8, exp=now() + 50))).summary


@check("A5 a clock two minutes ahead is not", *REFUSED_CLIENT)
async def _(target: Target) -> str:
    return (await target.client.par(assertion=target.client.assertion(iat=now() + 120, nbf=now() + 120, exp=now() + 170))).summary


@check("A5 another client's key is refused", *REFUSED_CLIENT)
async def _(target: Target) -> str:
    return (await target.client.par(assertion=target.client.assertion(key=target.other.key))).summary


@check("A5 a key in the assertion's own header is never used", *REFUSED_CLIENT)
async def _(target: Target) -> str:
    own = ECKey.generate_key("P-256")
    return (await target.client.par(assertion=target.client.assertion(key=own, header={"jwk": own.as_dict(private=False)}))).summary


# Tokens and their sender.


@check("A6 tokens are bound, short and renewed without rotation, twice", "right")
async def _(target: Target) -> str:
    told = await tokens(target)
    if told.status != 200 or str(told.body["token_type"]).lower() != "dpop" or not 0 < told.body["expires_in"] <= 600:
        return told.summary
    first = await target.client.refresh(told.body["refresh_token"])
    second = await target.client.refresh(told.body["refresh_token"])
    return "right" if (first.status, second.status) == (200, 200) else f"{first.summary}, {second.summary}"


@check("A6 no proof, no token", *REFUSED_REQUEST, *REFUSED_PROOF)
async def _(target: Target) -> str:
    return (await target.client.redeem(await agreed(target), proof=LEFT_OUT)).summary


@check("A7 a code works once, and using it twice takes back what it gave", "400 invalid_grant, then 400 invalid_grant")
async def _(target: Target) -> str:
    code = await agreed(target)
    told = await target.client.redeem(code)
    twice = await target.client.redeem(code)
    after = await target.client.refresh(told.body["refresh_token"])
    return f"{twice.summary}, then {after.summary}"


@check("A7 of sixteen uses of a code at once, one succeeds at most", "right")
async def _(target: Target) -> str:
    code = await agreed(target)
    answers = await asyncio.gather(*(target.client.redeem(code) for _ in range(16)))
    succeeded = sum(told.status == 200 for told in answers)
    return "right" if succeeded <= 1 and not any(told.status >= 500 for told in answers) else f"{succeeded} succeeded"


@check("A7 the code of another client is refused", *REFUSED_CODE)
async def _(target: Target) -> str:
    code = await agreed(target)
    other = target.other
    return (await other.redeem(code, redirect_uri=target.client.redirect_uri, code_verifier=target.client.verifier)).summary


@check("A7 a wrong verifier is refused", *REFUSED_CODE)
async def _(target: Target) -> str:
    return (await target.client.redeem(await agreed(target), code_verifier="v" * 43)).summary


@check("A8 a code bound to one key is not given for another", *REFUSED_CODE, *REFUSED_PROOF)
async def _(target: Target) -> str:
    client = target.client
    pushed = await client.par(dpop_jkt=client.dpop_key.thumbprint())
    brought = await target.bring_back(client.authorization_url(pushed.body["request_uri"]))
    return (await client.redeem(brought["code"], proof=client.proof("POST", client.token_url, key=ECKey.generate_key("P-256")))).summary


PROOFS: dict[str, Callable[[RawClient], object]] = {
    "for another address": lambda client: client.proof("POST", f"{client.issuer}/elsewhere"),
    "for another method": lambda client: client.proof("GET", client.token_url),
    "that is ten minutes old": lambda client: client.proof("POST", client.token_url, iat=now() - 600),
    "of the next hour": lambda client: client.proof("POST", client.token_url, iat=now() + 3600),
    "of another type": lambda client: client.proof("POST", client.token_url, header={"typ": "JWT"}),
    "without a jti": lambda client: client.proof("POST", client.token_url, jti=LEFT_OUT),
    "without a key": lambda client: client.proof("POST", client.token_url, header={"jwk": LEFT_OUT}),
    "with a private key in it": lambda client: client.proof("POST", client.token_url, header={"jwk": client.dpop_key.as_dict(private=True)}),
    "that is none": lambda client: "nonsense",
}
for words, bent in PROOFS.items():

    @check(f"A19 a proof {words} is refused", *REFUSED_PROOF)
    async def _(target: Target, bent: Callable[[RawClient], object] = bent) -> str:
        return (await target.client.redeem(await agreed(target), proof=bent(target.client))).summary


@check("A19 a proof works once", *REFUSED_PROOF)
async def _(target: Target) -> str:
    client = target.client
    told = await tokens(target)
    proof = client.proof("POST", client.token_url)
    assert (await client.refresh(told.body["refresh_token"], proof=proof)).status == 200
    return (await client.refresh(told.body["refresh_token"], proof=proof)).summary


# The authorization endpoint.


async def seen_at(target: Target, url: str) -> str:
    """How the endpoint answers a bare visit: "refused" on its own page, "redirected out" where it sends the browser to the client."""
    told = await target.client.ask("GET", url)
    onward = told.headers.get("location", "")
    if onward.startswith(target.client.redirect_uri):
        return "redirected out"
    return "refused" if told.status >= 400 else f"{told.status}"


@check("A11 plain parameters without a pushed request are refused", "refused", "redirected out")
async def _(target: Target) -> str:
    client = target.client
    plain = {name: str(value) for name, value in client.request(client_id=client.client_id).items()}
    return await seen_at(target, f"{client.metadata['authorization_endpoint']}?{urlencode(plain)}")


@check("A12 a pushed request of another client is refused", "refused")
async def _(target: Target) -> str:
    pushed = await target.client.par()
    return await seen_at(target, target.other.authorization_url(pushed.body["request_uri"]))


@check("A12 an unknown request_uri is refused", "refused")
async def _(target: Target) -> str:
    return await seen_at(target, target.client.authorization_url("urn:ietf:params:oauth:request_uri:unknown"))


@check("A12 a pushed request lives less than 600 seconds", "right")
async def _(target: Target) -> str:
    told = await target.client.par()
    return "right" if 0 < told.body["expires_in"] < 600 else str(told.body["expires_in"])


@check("A12 loading the page twice still works, answering twice does not", "a code, then refused")
async def _(target: Target) -> str:
    client = target.client
    pushed = await client.par()
    url = client.authorization_url(pushed.body["request_uri"])
    await client.ask("GET", url)
    brought = await target.bring_back(url)
    return f"{'a code' if 'code' in brought else 'no code'}, then {await seen_at(target, url)}"


PUSHED: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "without PKCE": ({"code_challenge": LEFT_OUT, "code_challenge_method": LEFT_OUT}, REFUSED_REQUEST),
    "with a plain challenge": ({"code_challenge_method": "plain"}, REFUSED_REQUEST),
    "without a redirect address": ({"redirect_uri": LEFT_OUT}, REFUSED_REQUEST),
    "with a request_uri inside": ({"request_uri": "urn:ietf:params:oauth:request_uri:x"}, ("400 request_uri_not_supported", *REFUSED_REQUEST)),
    "with another response type": ({"response_type": "token"}, ("400 unsupported_response_type", *REFUSED_REQUEST, "400 unauthorized_client")),
}
for words, (bent_form, right) in PUSHED.items():

    @check(f"A13 a request {words} is refused", *right)
    async def _(target: Target, bent_form: dict[str, object] = bent_form) -> str:
        return (await target.client.par(**bent_form)).summary


for redirect in ("/", "?x=1", "#x", "/../other", "%2f", ".other.example", ":8443"):

    @check(f"A13 C7 the redirect address with {redirect} behind it is refused", "400 invalid_request", "400 invalid_redirect_uri")
    async def _(target: Target, redirect: str = redirect) -> str:
        return (await target.client.par(redirect_uri=target.client.redirect_uri + redirect)).summary


@check("A13 a parameter that comes twice is refused", *REFUSED_REQUEST)
async def _(target: Target) -> str:
    return (await target.client.par(extra=[("state", "another")])).summary


for method in ("GET", "PUT"):

    @check(f"A13 {method} is no way to push", "404", "405", "400 invalid_request", "404 invalid_request")
    async def _(target: Target, method: str = method) -> str:
        return (await target.client.ask(method, target.client.par_url)).summary


@check("A14 the answer names the issuer and brings the state back, all 1,000 characters", "right")
async def _(target: Target) -> str:
    pushed = await target.client.par(state="x" * 1000)
    brought = await target.bring_back(target.client.authorization_url(pushed.body["request_uri"]))
    return "right" if (brought.get("iss"), brought.get("state")) == (target.client.issuer, "x" * 1000) else str(sorted(brought))


@check("A14 where no state was sent, none comes back", "right")
async def _(target: Target) -> str:
    pushed = await target.client.par(state=LEFT_OUT)
    brought = await target.bring_back(target.client.authorization_url(pushed.body["request_uri"]))
    return "right" if sorted(brought) == ["code", "iss"] else str(sorted(brought))


@check("A15 her no is access_denied, with the issuer", "access_denied, right")
async def _(target: Target) -> str:
    pushed = await target.client.par()
    brought = await target.bring_back(target.client.authorization_url(pushed.body["request_uri"]), agree=False)
    return f"{brought.get('error')}, {'right' if brought.get('iss') == target.client.issuer and 'code' not in brought else sorted(brought)}"


@check("A16 no other site's script may read the authorization endpoint", "right")
async def _(target: Target) -> str:
    url = target.client.authorization_url("urn:ietf:params:oauth:request_uri:x")
    told = await target.client.ask("GET", url, headers={"origin": "https://other.example"})
    return told.headers.get("access-control-allow-origin", "right")


@check("A17 an unknown client is never redirected", "refused")
async def _(target: Target) -> str:
    client = target.client
    asked = {"client_id": "nobody", "redirect_uri": client.redirect_uri, "response_type": "code"}
    return await seen_at(target, f"{client.metadata['authorization_endpoint']}?{urlencode(asked)}")


# Ends.


@check("A20 a revoked refresh token is refused", *REFUSED_CODE)
async def _(target: Target) -> str:
    client = target.client
    told = await tokens(target)
    form = client.authenticated({"token": told.body["refresh_token"], "token_type_hint": "refresh_token"})
    assert (await client.ask("POST", str(client.metadata["revocation_endpoint"]), form=form)).status == 200
    return (await client.refresh(told.body["refresh_token"])).summary


@check("A20 another client cannot use a refresh token", *REFUSED_CODE)
async def _(target: Target) -> str:
    return (await target.other.refresh((await tokens(target)).body["refresh_token"])).summary


@check("B14 a proof is no assertion", *REFUSED_CLIENT)
async def _(target: Target) -> str:
    client = target.client
    proof = client.proof("POST", client.par_url)
    return (await client.par(client_assertion=proof, client_assertion_type=ASSERTION_TYPE)).summary


@check("C17 four thousand brackets of authorization details are refused", "400 invalid_authorization_details", *REFUSED_REQUEST)
async def _(target: Target) -> str:
    return (await target.client.par(authorization_details="[" * 4000)).summary


@check("C17 a hundred thousand characters of state are no server error", "right")
async def _(target: Target) -> str:
    told = await target.client.par(state="x" * 100_000)
    return "right" if 400 <= told.status < 500 else told.summary


@check("C24 details of a type that nobody offers are refused", "400 invalid_authorization_details")
async def _(target: Target) -> str:
    return (await target.client.par(authorization_details='[{"type": "targeted_advertising"}]')).summary
