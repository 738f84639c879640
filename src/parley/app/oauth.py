"""The authorization server, wired: one server for each profile, what each may ask for, and the doors that its tokens open."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.routing import BaseRoute

from parley.app.api_desk import TokenDesk, TokenGate
from parley.app.diagnostics import unforeseen
from parley.app.frame import Frame
from parley.app.linking import LinkingRooms
from parley.app.offers import PolicyRules
from parley.app.profiles import assistant_routes, documented_clients, messenger_page_routes
from parley.app.road import road
from parley.authorization.client_key import ClientKey
from parley.authorization.foreign import ForeignServer, ForeignTokens
from parley.authorization.linking import leads_to
from parley.authorization.pages.render import Pages
from parley.authorization.server.access import GrantSource
from parley.authorization.server.asking import asking_doors
from parley.authorization.server.doors import AuthorizationServer, server_doors
from parley.authorization.server.ending import OAuthEnding
from parley.authorization.server.fapi import FAPI
from parley.authorization.server.fetch import KEYS_BYTES_MAX, GuardedFetcher
from parley.authorization.server.link import ClientsOfPlatform, link_profile
from parley.authorization.server.mcp import MCP
from parley.authorization.server.ports import ClientRecords
from parley.authorization.server.profile import Profile
from parley.channels.api import api_routes
from parley.model.linking import Origin
from parley.model.refusals import Refusal
from parley.model.stages import Question
from parley.release.entries import refusal_entry
from parley.release.pipeline import House


@dataclass(frozen=True, slots=True)
class OAuthRooms:
    """What the profiles share: the house that their tokens' questions go through, and what was wired for each."""

    house: House
    desk: TokenDesk
    fapi: AuthorizationServer
    assistants: AuthorizationServer
    linked: tuple[AuthorizationServer, ...]


class RefusedRequests:
    """Implements parley.authorization.server.ports.RefusalLog: who asks for advertising, or for more than the bank allows, is on record for it."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    async def refused(self, platform: str, channel: str, refusal: Refusal) -> None:
        policy, now = self._frame.policy(), self._frame.clock()
        entry = refusal_entry(
            Question(channel, platform, "", "", "", now),
            code=refusal.code,
            basis=refusal.basis,
            policy_digest=policy.digest,
            rule=None,
            known_platform=platform in policy.platforms,
            now=now,
        )
        await self._frame.log.record(entry, b"", handle=None, version=None)


class GuardedKeys:
    """Implements parley.authorization.server.ports.KeySource: only from hosts that the bank listed."""

    def __init__(self, fetcher: GuardedFetcher) -> None:
        self._fetcher = fetcher

    async def keys(self, url: str) -> bytes:
        return (await self._fetcher.get(url, bytes_max=KEYS_BYTES_MAX)).unverified_body


def oauth_rooms(frame: Frame, linking: LinkingRooms) -> OAuthRooms:
    house = road(frame, linking.bank_clients)
    documented = documented_clients(frame)
    linking.endings[Origin.OAUTH] = OAuthEnding(frame.records, linking.grants, frame.clock, clients=documented)
    keys = GuardedKeys(GuardedFetcher(frame.settings.client_hosts, frame.clock))
    return OAuthRooms(
        house,
        TokenDesk(house, linking.grants),
        fapi=server_of(FAPI, frame, linking, keys=keys),
        assistants=server_of(MCP, frame, linking, clients=documented),
        linked=tuple(
            server_of(link_profile(each.channel), frame, linking, clients=ClientsOfPlatform(frame.records, each.platform))
            for each in frame.settings.linked_platforms
        ),
    )


def server_of(
    profile: Profile, frame: Frame, linking: LinkingRooms, *, keys: GuardedKeys | None = None, clients: ClientRecords | None = None
) -> AuthorizationServer:
    return AuthorizationServer(
        profile,
        public_url=frame.settings.public_url,
        records=frame.records,
        grants=linking.grants,
        rules=PolicyRules(frame),
        refusals=RefusedRequests(frame),
        keys=keys,
        clock=frame.clock,
        clients=clients,
    )


def oauth_routes(frame: Frame, linking: LinkingRooms) -> list[BaseRoute]:
    """Everything that others' programs reach: each profile's doors, its page for browsers, and what its tokens open."""
    rooms = oauth_rooms(frame, linking)
    gate = TokenGate(token_source(frame, rooms.fapi), frame.settings.public_url)
    servers = (rooms.fapi, rooms.assistants, *rooms.linked)
    return [
        *(route for server in servers for route in profile_routes(server, frame, linking)),
        *api_routes_of(frame, rooms, gate),
        *assistant_routes(frame, rooms.assistants, rooms.desk),
        *messenger_page_routes(frame, linking),
    ]


def token_source(frame: Frame, own: AuthorizationServer) -> GrantSource:
    """Whose tokens the API takes: our server's, or those of the one that the bank named in its place."""
    if not frame.settings.token_servers:
        return own.tokens
    named = frame.settings.token_servers[0]
    bank = frame.settings.banks[0].name
    return ForeignTokens(
        ForeignServer(named.issuer, named.client_id, named.audience, named.clients, named.timeout_seconds),
        key=ClientKey.load_or_create(frame.settings.data / named.client_key_file),
        transport=frame.transport,
        records=frame.records,
        proofs=own.proofs,
        is_person=lambda subject, customer: frame.records.is_person(bank, subject, customer),
        clock=frame.clock,
    )


def profile_routes(server: AuthorizationServer, frame: Frame, linking: LinkingRooms) -> list[BaseRoute]:
    settings = frame.settings
    pages = asking_doors(
        server,
        linking=linking.linking,
        sessions=linking.sessions,
        pages=Pages(settings.bank_name, settings.contact),
        bank_origins=[leads_to(bank.issuer) for bank in settings.banks],
        signed_in=linking.sign_ins.fresh_customer,
        clock=frame.clock,
        on_fault=unforeseen,
    )
    return [*server_doors(server, unforeseen), *pages]


def api_routes_of(frame: Frame, rooms: OAuthRooms, gate: TokenGate) -> list[BaseRoute]:
    metadata = f"{frame.settings.public_url}/.well-known/oauth-protected-resource{FAPI.resource}"
    challenge = f'DPoP algs="PS256 ES256 EdDSA", resource_metadata="{metadata}"'
    return api_routes(gate=gate, desk=rooms.desk, challenge=challenge, clock=frame.clock, on_fault=unforeseen)
