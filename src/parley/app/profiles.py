"""The authorization server's other profiles, wired: AI assistants with their endpoint, voice platforms, and Messenger."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from starlette.routing import BaseRoute

from parley import __version__
from parley.app.api_desk import TokenDesk
from parley.app.diagnostics import diagnostics, unforeseen
from parley.app.frame import Frame
from parley.app.linking import LinkingRooms
from parley.authorization.pages import LinkingSettings
from parley.authorization.server.access import Access, OwnTokens, Shown
from parley.authorization.server.client_documents import ClientDocuments
from parley.authorization.server.doors import AuthorizationServer
from parley.authorization.server.errors import OAuthError
from parley.authorization.server.fetch import GuardedFetcher
from parley.authorization.server.mcp import DocumentedClients, scopes_granted
from parley.authorization.server.messenger import MessengerDesk
from parley.authorization.server.messenger_pages import messenger_routes
from parley.authorization.sessions import Throttle
from parley.channels.mcp import McpAnswer, McpSettings, TooManyCalls, mcp_routes
from parley.model.extensions import Channel, Understood
from parley.model.linking import Origin
from parley.model.refusals import Fault, NotUnderstood, Refusal
from parley.model.stages import Envelope

CALLS_PER_SECOND = 5.0
CALLS_AT_ONCE = 60


@dataclass(frozen=True, slots=True)
class AssistantAccess:
    """Implements parley.channels.mcp.desk.Access: a token's admission, of which the channel sees no more than it needs."""

    admitted: Access = field(repr=False)
    scopes: frozenset[str]

    @property
    def conversation(self) -> str:
        return self.admitted.conversation

    @property
    def platform(self) -> str:
        return self.admitted.platform


class AssistantTokens:
    """Implements parley.channels.mcp.desk.AccessReader over the assistants' own tokens."""

    def __init__(self, tokens: OwnTokens, resource: str, clock: Callable[[], datetime]) -> None:
        self._tokens = tokens
        self._resource = resource
        self._clock = clock
        self._calls = Throttle(per_second=CALLS_PER_SECOND, burst=CALLS_AT_ONCE)

    async def access(self, token: str) -> AssistantAccess | None:
        """Raises TooManyCalls, or another Fault."""
        try:
            admitted = await self._tokens.grant_from_token(Shown("Bearer", token, (), "POST", self._resource))
        except OAuthError:
            return None
        if not self._calls.admits(admitted.id, self._clock()):
            raise TooManyCalls()
        return AssistantAccess(admitted, frozenset(scopes_granted(admitted.grants)))


class AssistantDesk:
    """Implements parley.channels.mcp.desk.McpDesk: down the road with the grants of that token and no others."""

    def __init__(self, desk: TokenDesk) -> None:
        self._desk = desk

    async def answer(self, envelope: Envelope, channel: Channel, access: AssistantAccess, asked: Understood) -> McpAnswer:
        try:
            told = await self._desk.answer(envelope, channel, access.admitted, asked)
        except Refusal as refusal:
            return McpAnswer("refused", refusal.code, refusal.plain_words)
        except NotUnderstood as baffled:
            return McpAnswer("not_understood", baffled.code, baffled.plain_words)
        except Fault as fault:
            return McpAnswer("fault", fault.code, fault.plain_words)
        return McpAnswer(
            "answered", "answered", told.answer, told.heading, told.lines, purpose=told.purpose, log_index=told.log_index, receipt=told.receipt
        )


def documented_clients(frame: Frame) -> DocumentedClients:
    """The registered clients, and those that the listed hosts' documents tell of."""
    platforms = {each.host: each.platform for each in frame.settings.assistant_hosts}
    return DocumentedClients(frame.records, ClientDocuments(GuardedFetcher(platforms, frame.clock), frame.clock), platforms)


def assistant_routes(frame: Frame, server: AuthorizationServer, desk: TokenDesk) -> list[BaseRoute]:
    """The assistants' endpoint."""
    settings = frame.settings
    told = McpSettings(server.resource, server.issuer, settings.public_url, settings.bank_name, __version__)
    return mcp_routes(
        desk=AssistantDesk(desk),
        access=AssistantTokens(server.tokens, server.resource, frame.clock),
        settings=told,
        clock=frame.clock,
        random_hex=lambda: secrets.token_hex(16),
        on_fault=unforeseen,
    )


def messenger_desk(frame: Frame, linking: LinkingRooms) -> MessengerDesk:
    """What becomes of consents for a Messenger chat; also what the channel calls, once it has verified a webhook."""
    records = frame.records

    async def end(chat: str) -> None:
        customer = await records.customer_of("messenger", chat)
        if customer is not None:
            await linking.grants.stop_platform(customer, frame.settings.messenger_platform)

    return MessengerDesk(
        platform=frame.settings.messenger_platform,
        title="Messenger",
        records=records,
        approve=linking.grants.approve,
        end=end,
        clock=frame.clock,
        alarm=lambda code: diagnostics.error("alarm", code=code),
    )


def messenger_page_routes(frame: Frame, linking: LinkingRooms) -> list[BaseRoute]:
    """Nothing where the bank does not link Messenger."""
    settings = frame.settings
    if not settings.messenger_platform:
        return []
    desk = messenger_desk(frame, linking)
    linking.endings[Origin.MESSENGER] = desk
    return messenger_routes(
        desk=desk,
        linking=linking.linking,
        sessions=linking.sessions,
        settings=LinkingSettings(settings.public_url, settings.bank_name, settings.contact),
        clock=frame.clock,
        on_fault=unforeseen,
    )
