"""The OAuth endpoints that clients call: metadata (RFC 8414), pushed requests (RFC 9126), tokens and revocation (RFC 7009)."""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from parley_sandbox.authorization import Issued, OAuthError
from parley_sandbox.bank import Bank, bank_of
from parley_sandbox.clients import ALGORITHMS, Client, InvalidClient
from parley_sandbox.consents import SCOPES, clusters
from parley_sandbox.web import Refusal, json_response, read_form, single

Answer = Callable[[Bank, Client, dict[str, str]], dict[str, object] | None]


async def metadata(request: Request) -> Response:
    """What this authorization server offers; there is nothing else."""
    issuer = bank_of(request).issuer
    return json_response(
        {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "pushed_authorization_request_endpoint": f"{issuer}/par",
            "revocation_endpoint": f"{issuer}/revoke",
            "require_pushed_authorization_requests": True,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
            "authorization_response_iss_parameter_supported": True,
            "authorization_details_types_supported": ["fdx_v1.0"],
            "scopes_supported": list(SCOPES.values()),
        }
    )


def push(bank: Bank, client: Client, fields: dict[str, str]) -> dict[str, object]:
    """POST /par."""
    request_uri, expires_in = bank.authorizations.push(client, fields)
    return {"request_uri": request_uri, "expires_in": expires_in}


def token(bank: Bank, client: Client, fields: dict[str, str]) -> dict[str, object]:
    """POST /token with an authorization code or a refresh token."""
    grant = fields.get("grant_type")
    if grant == "authorization_code":
        given = [fields.get(name, "") for name in ("code", "redirect_uri", "code_verifier")]
        return _token_answer(bank.authorizations.redeem(client, *given))
    if grant == "refresh_token":
        return _token_answer(bank.authorizations.refresh(client, fields.get("refresh_token", "")))
    raise OAuthError("unsupported_grant_type", "authorization_code and refresh_token are supported")


def revoke(bank: Bank, client: Client, fields: dict[str, str]) -> None:
    """POST /revoke: 200 whether or not the token was known."""
    bank.authorizations.revoke_token(client, fields.get("token", ""))


def _token_answer(issued: Issued) -> dict[str, object]:
    request = issued.consent.request
    answer: dict[str, object] = {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        "scope": " ".join(SCOPES[cluster] for cluster in clusters(request)),
        "grant_id": issued.consent.consent_id,
        "fdxConsentId": issued.consent.consent_id,
        "authorization_details": [{"type": "fdx_v1.0", "consentRequest": msgspec.to_builtins(request)}],
    }
    return answer if issued.refresh_token is None else answer | {"refresh_token": issued.refresh_token}


def _endpoint(answer: Answer, status: int = 200) -> Callable[[Request], Awaitable[Response]]:
    """Wraps an answer in what all three endpoints share: read the form, authenticate the client, speak OAuth's errors."""

    async def endpoint(request: Request) -> Response:
        bank = bank_of(request)
        try:
            if request.url.query:
                raise OAuthError("invalid_request", "parameters belong in the body")
            fields = single(await read_form(request))
            if answer is token and bank.faults.strikes("token_error") is not None:
                raise OAuthError("temporarily_unavailable", "a fault is switched on", 503)
            client = bank.assertions.client(fields)
            return json_response(answer(bank, client, fields) or {}, status)
        except InvalidClient:
            return _refused("invalid_client", "the client could not be authenticated", 401)
        except OAuthError as refusal:
            return _refused(refusal.error, refusal.description, refusal.status)
        except Refusal as refusal:
            return _refused("invalid_request", refusal.message, refusal.status)

    return endpoint


def _refused(error: str, description: str, status: int) -> Response:
    return json_response({"error": error, "error_description": description}, status)


ROUTES = [
    Route("/.well-known/oauth-authorization-server", metadata, methods=["GET"]),
    Route("/par", _endpoint(push, 201), methods=["POST"]),
    Route("/token", _endpoint(token), methods=["POST"]),
    Route("/revoke", _endpoint(revoke), methods=["POST"]),
]
