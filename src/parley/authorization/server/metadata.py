"""What the server says of itself: RFC 8414 for each profile's issuer, RFC 9728 for the resource. Made from the profile, so that it is true."""

from __future__ import annotations

from typing import Any

from parley.authorization.server.details import DETAILS_TYPE
from parley.authorization.server.jose import ALGORITHMS
from parley.authorization.server.profile import Authentication, Profile, Refresh

ALGORITHM_NAMES = list(ALGORITHMS)


def server_metadata(profile: Profile, issuer: str) -> dict[str, Any]:
    """RFC 8414, with the members of RFC 7636, 9126, 9207, 9396 and 9449 that hold for this profile."""
    authentication = sorted(profile.authentication)
    told: dict[str, Any] = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "revocation_endpoint": f"{issuer}/revoke",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code"] if profile.refresh is Refresh.NONE else ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "token_endpoint_auth_methods_supported": authentication,
        "revocation_endpoint_auth_methods_supported": authentication,
        "require_pushed_authorization_requests": profile.pushed,
    }
    if profile.introspects:
        told |= {"introspection_endpoint": f"{issuer}/introspect", "introspection_endpoint_auth_methods_supported": authentication}
    if Authentication.PRIVATE_KEY_JWT in profile.authentication:
        for endpoint in ("token", "revocation", *(("introspection",) if profile.introspects else ())):
            told[f"{endpoint}_endpoint_auth_signing_alg_values_supported"] = ALGORITHM_NAMES
    if profile.pushed:
        told["pushed_authorization_request_endpoint"] = f"{issuer}/par"
    if profile.bound:
        told["dpop_signing_alg_values_supported"] = ALGORITHM_NAMES
    if profile.details:
        told |= {
            "authorization_details_types_supported": [DETAILS_TYPE],
            "grant_management_endpoint": f"{issuer}/grants",
            "grant_management_actions_supported": ["create", "replace", "query", "revoke"],
        }
    if profile.scopes:
        told["scopes_supported"] = list(profile.scopes)
    if profile.documents:
        told["client_id_metadata_document_supported"] = True
    return told


def resource_metadata(profile: Profile, issuer: str, resource: str) -> dict[str, Any]:
    """RFC 9728: which server's tokens the resource takes, and how they are to be shown."""
    told: dict[str, Any] = {
        "resource": resource,
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
    }
    if profile.bound:
        told |= {"dpop_bound_access_tokens_required": True, "dpop_signing_alg_values_supported": ALGORITHM_NAMES}
    if profile.details:
        told["authorization_details_types_supported"] = [DETAILS_TYPE]
    if profile.scopes:
        told["scopes_supported"] = list(profile.scopes)
    return told
