"""The profile of AI assistants: OAuth 2.1 public clients, as the Model Context Protocol asks for them (revision 2026-07-28, basic/authorization).

Nobody can prove to be a public client, so little hangs on it: a bearer token for five minutes and for one resource, refresh tokens that
rotate and whose second use ends the family, and a customer who is asked every time. What an assistant may ask for is two scopes, mapped to
the same kinds of grants that everybody else gets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from parley.authorization.server.client_documents import ClientDocument, ClientDocuments, DocumentRefused, is_document_address
from parley.authorization.server.errors import OAuthError
from parley.authorization.server.ports import ClientRecords, Params
from parley.authorization.server.profile import Asked, Authentication, Profile, Refresh, scopes_of
from parley.model.clients import Client, ClientProfile
from parley.model.grants import Grant
from parley.model.linking import Origin
from parley.model.words import Projection, Purpose
from parley.policy import purpose_named

PATH = "/assistants"
RESOURCE = "/mcp"
CHANNEL = "mcp"

SCOPE_PROJECTIONS: Mapping[str, tuple[Projection, ...]] = {
    "balance:read": (Projection.AFFORD_YESNO, Projection.BALANCE_AVAILABLE),
    "transactions:read": (Projection.TRANSACTIONS_AMOUNT, Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT),
}
"""What a customer may be asked to allow under each scope. She may allow less; what she allowed decides, not the scope."""

UNTOLD: tuple[str, ...] = ("balance:read",)
"""What a client that names no scope asks for: the least."""


def read_scopes(params: Params, client: Client) -> Asked:
    """Raises OAuthError("invalid_scope"), PurposeForbidden for a scope that means advertising, PurposeUnknown never."""
    if "authorization_details" in params:
        raise OAuthError("invalid_request", "This server has scopes, not authorization_details.")
    named = scopes_of(params) or UNTOLD
    for scope in named:
        if scope not in SCOPE_PROJECTIONS:
            check_not_a_purpose(scope)
            raise OAuthError("invalid_scope", "The scopes are balance:read and transactions:read.")
    projections = dict.fromkeys(each for scope in named for each in SCOPE_PROJECTIONS[scope])
    return Asked((Purpose.ANSWER_CUSTOMER,), tuple(projections))


def check_not_a_purpose(scope: str) -> None:
    """A scope that names a purpose of advertising is refused as such, and so recorded. Raises PurposeForbidden, or PurposeUnknown."""
    purpose_named(scope.partition(":")[0] if not scope.startswith("dpv:") else scope)


def scopes_granted(grants: Iterable[Grant]) -> tuple[str, ...]:
    """The scopes of which the customer allowed something."""
    allowed = {projection for grant in grants for projection in grant.projections}
    return tuple(scope for scope, projections in SCOPE_PROJECTIONS.items() if allowed & set(projections))


MCP = Profile(
    kind=ClientProfile.MCP,
    path=PATH,
    resource=RESOURCE,
    channel=CHANNEL,
    origin=Origin.OAUTH,
    reads=read_scopes,
    authentication=frozenset({Authentication.NONE}),
    pushed=False,
    bound=False,
    details=False,
    refresh=Refresh.ROTATES,
    scopes=tuple(SCOPE_PROJECTIONS),
    scopes_granted=scopes_granted,
    loopback=True,
    documents=True,
    introspects=False,
)


class DocumentedClients:
    """The registered clients, and beside them those that are known by a document at their own address. Implements ClientRecords.

    `platforms` maps each listed host to the platform that the bank's policy knows it as: all documents of one host are of one party, and
    that party is what the customer is shown.
    """

    def __init__(self, registered: ClientRecords, documents: ClientDocuments, platforms: Mapping[str, str]) -> None:
        self._registered = registered
        self._documents = documents
        self._platforms = platforms

    async def find_client(self, client_id: str) -> Client | None:
        if not is_document_address(client_id):
            return await self._registered.find_client(client_id)
        try:
            document = await self._documents.find(client_id)
        except DocumentRefused:
            return None
        platform = self._platforms.get(document.host)
        return client_of(document, platform) if platform is not None else None


def client_of(document: ClientDocument, platform: str) -> Client:
    """Unverified, and the same for the same document, so that a change between display and decision is noticed."""
    return Client(
        id=document.client_id,
        profile=ClientProfile.MCP,
        platform=platform,
        title=document.name or document.host,
        host=document.host,
        redirect_uris=tuple(sorted(document.redirect_uris)),
        created_at=datetime(1970, 1, 1, tzinfo=UTC),
        verified=False,
    )
