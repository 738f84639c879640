"""The server's addresses for programs: pushed requests, tokens, revocation, introspection, grants, metadata. One set for each profile.

    POST {issuer}/par  /token  /revoke  /introspect      GET, DELETE {issuer}/grants/{id}
    GET /.well-known/oauth-authorization-server{path}    GET /.well-known/oauth-protected-resource{path}

No CORS anywhere: a token never belongs into a browser's script (OWASP ASVS 5.0 10.1.1).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from parley.authorization.pages.onward import client_address
from parley.authorization.server.access import Access, OwnTokens, Shown
from parley.authorization.server.authentication import ClientGate
from parley.authorization.server.client_keys import ClientKeys
from parley.authorization.server.details import told_details
from parley.authorization.server.dpop import Proofs
from parley.authorization.server.errors import OAuthError
from parley.authorization.server.exchange import answered, header_values, one_header, read_params, told
from parley.authorization.server.issuing import Issuing
from parley.authorization.server.jose import ALGORITHMS
from parley.authorization.server.metadata import resource_metadata, server_metadata
from parley.authorization.server.ports import ClientRecords, GrantMaker, KeySource, Params, RefusalLog, Rules, ServerRecords
from parley.authorization.server.profile import Authentication, Profile, Refresh
from parley.authorization.server.requests import REQUEST_URI_PREFIX, Requests
from parley.authorization.sessions import Throttle
from parley.model.clients import Client
from parley.model.refusals import LogUnavailable

ADDRESS_FACTOR = 20


class AuthorizationServer:
    """One profile's server. `public_url` as clients spell it, without a slash at the end.

    `clients` finds clients: the records, or what a profile puts before them. `limits` bounds how often one client may ask (per second, at once).
    """

    def __init__(
        self,
        profile: Profile,
        *,
        public_url: str,
        records: ServerRecords,
        grants: GrantMaker,
        rules: Rules,
        refusals: RefusalLog,
        keys: KeySource | None,
        clock: Callable[[], datetime],
        clients: ClientRecords | None = None,
        limits: tuple[float, int] = (10.0, 300),
    ) -> None:
        self.profile = profile
        self.issuer = f"{public_url}{profile.path}"
        self.resource = f"{public_url}{profile.resource}"
        self.public_url = public_url
        self.records = records
        self.grants = grants
        self.clock = clock
        self.proofs = Proofs(records, clock, nonces=profile.nonces)
        self.gate = ClientGate(profile, self.issuer, clients or records, records, ClientKeys(keys, clock), clock)
        self.requests = Requests(profile, self.issuer, self.resource, rules, refusals, clock)
        self.issuing = Issuing(profile, self.issuer, records, clock)
        self.tokens = OwnTokens(self.issuer, self.resource, records, self.proofs if profile.bound else None, clock)
        self._clients = Throttle(per_second=limits[0], burst=limits[1])
        # Behind a proxy all clients share its address, so the bound on addresses is a wide one: it only stops floods of strangers.
        self._addresses = Throttle(per_second=limits[0] * ADDRESS_FACTOR, burst=limits[1] * ADDRESS_FACTOR)

    def admit(self, throttled: str, *, client: bool) -> None:
        """Raises OAuthError for a client, or an address, that asks faster than any need there is."""
        throttle = self._clients if client else self._addresses
        if not throttle.admits(throttled, self.clock()):
            raise OAuthError("temporarily_unavailable", "That was a lot in a short time.", status=429, headers={"retry-after": "30"})


def server_doors(server: AuthorizationServer, on_fault: Callable[[str], None] = lambda name: None) -> list[BaseRoute]:
    """The routes of one profile, for the app to mount at the root. `on_fault` hears the type of whatever broke unforeseen."""
    doors = _Doors(server, on_fault)
    path, resource = server.profile.path, server.profile.resource
    routes = [
        Route(f"{path}/token", doors.token, methods=["POST"]),
        Route(f"{path}/revoke", doors.revoke, methods=["POST"]),
        Route(f"/.well-known/oauth-authorization-server{path}", doors.metadata, methods=["GET"]),
        Route(f"/.well-known/oauth-protected-resource{resource}", doors.resource, methods=["GET"]),
    ]
    if server.profile.pushed:
        routes.append(Route(f"{path}/par", doors.par, methods=["POST"]))
    if server.profile.introspects:
        routes.append(Route(f"{path}/introspect", doors.introspect, methods=["POST"]))
    if server.profile.details:
        routes.append(Route(f"{path}/grants/{{grant_id}}", doors.grant, methods=["GET", "DELETE"]))
    return list(routes)


class _Doors:
    def __init__(self, server: AuthorizationServer, on_fault: Callable[[str], None]) -> None:
        self._server = server
        self._on_fault = on_fault
        self._metadata = server_metadata(server.profile, server.issuer)
        self._resource = resource_metadata(server.profile, server.issuer, server.resource)

    async def metadata(self, request: Request) -> Response:
        return told(self._metadata)

    async def resource(self, request: Request) -> Response:
        return told(self._resource)

    async def par(self, request: Request) -> Response:
        """RFC 9126: a reference to the request, good for one customer's decision within minutes."""

        async def work() -> Response:
            params, client = await self._proved(request)
            proofs = header_values(request, "dpop")
            jkt = await self._jkt(request, "par") if proofs else None
            reference_hash, reference, asked = await self._server.requests.read(params, client, jkt=jkt)
            await self._server.records.add_request(reference_hash, asked)
            seconds = int(self._server.profile.request_life.total_seconds())
            return told({"request_uri": f"{REQUEST_URI_PREFIX}{reference}", "expires_in": seconds}, 201)

        return await answered(work, self._on_fault)

    async def token(self, request: Request) -> Response:
        async def work() -> Response:
            try:
                async with asyncio.timeout(self._server.profile.answer_seconds_max):
                    return told(await self._tokens_for(request))
            except TimeoutError:
                raise OAuthError("temporarily_unavailable", "Please try again in a moment.", status=503, headers={"retry-after": "5"}) from None

        return await answered(work, self._on_fault)

    async def _tokens_for(self, request: Request) -> dict[str, Any]:
        params, client = await self._proved(request)
        jkt = await self._jkt(request, "token") if self._server.profile.bound else None
        kind = params.get("grant_type")
        if kind == "authorization_code":
            return await self._server.issuing.exchange(client, params, jkt)
        if kind == "refresh_token" and self._server.profile.refresh is not Refresh.NONE:
            return await self._server.issuing.renew(client, params, jkt)
        raise OAuthError("unsupported_grant_type", "Only codes, and refresh tokens where there are any.")

    async def revoke(self, request: Request) -> Response:
        async def work() -> Response:
            params, client = await self._proved(request)
            await self._server.issuing.revoke(client, params.get("token", ""))
            return told({})

        return await answered(work, self._on_fault)

    async def introspect(self, request: Request) -> Response:
        async def work() -> Response:
            params, client = await self._proved(request)
            return told(await self._server.issuing.introspect(client, params.get("token", "")))

        return await answered(work, self._on_fault)

    async def grant(self, request: Request) -> Response:
        """Grant Management: what stands, or its end, for whoever shows a token of this very grant. The same 404 for every other one."""

        async def work() -> Response:
            self._server.admit(client_address(request), client=False)
            access = await self._access(request)
            if request.path_params["grant_id"] != access.id:
                raise OAuthError("invalid_grant_id", "There is no such grant.", status=404)
            if request.method == "DELETE":
                with suppress(LogUnavailable):  # The end stands all the same, and the log is told later.
                    await self._server.grants.end_grants(access.customer, tuple(grant.id for grant in access.grants))
                await self._server.records.end_authorization(access.id)
                return Response(status_code=204)
            return told({"grant_id": access.id, "authorization_details": told_details(access.grants, self._server.clock())})

        return await answered(work, self._on_fault)

    async def _access(self, request: Request) -> Access:
        """What the request's token opens. A refusal says in WWW-Authenticate how a token is to be shown (RFC 9449 7.1)."""
        try:
            return await self._server.tokens.grant_from_token(shown(request, self._server.public_url))
        except OAuthError as error:
            if error.status == 401:
                error.headers["www-authenticate"] = f'DPoP error="{error.code}", algs="{" ".join(ALGORITHMS)}"'
            raise

    async def _proved(self, request: Request) -> tuple[Params, Client]:
        """The parameters, and the client that proved to have sent them."""
        self._server.admit(client_address(request), client=False)
        params = await read_params(request)
        client = await self._server.gate.proved(params, one_header(request, "authorization"))
        # A public client proves nothing, so that a stranger could use up its share: there, each address has a share of its own.
        public = Authentication.NONE in self._server.profile.authentication
        self._server.admit(f"{client.id} {client_address(request)}" if public else client.id, client=True)
        return params, client

    async def _jkt(self, request: Request, endpoint: str) -> str:
        return await self._server.proofs.key_of(header_values(request, "dpop"), method="POST", url=f"{self._server.issuer}/{endpoint}")


def shown(request: Request, public_url: str) -> Shown:
    """The token of a request to a resource. Raises OAuthError where there is none, it comes twice, or stands in the address."""
    if b"access_token" in request.scope.get("query_string", b""):
        raise OAuthError("invalid_request", "A token never belongs into an address.")
    values = header_values(request, "authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    if not token:
        raise OAuthError("invalid_token", "A token is needed.", status=401)
    return Shown(scheme, token.strip(), header_values(request, "dpop"), request.method, f"{public_url}{request.url.path}")
