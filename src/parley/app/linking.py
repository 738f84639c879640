"""The authorization room's furniture: sessions, the trip to the bank, the consent page, and the desk that makes and ends grants."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from decimal import Decimal

from starlette.routing import BaseRoute

from parley.app.diagnostics import unforeseen
from parley.app.frame import Frame
from parley.app.offers import PolicyRules, within_policy
from parley.app.road import bank_transport, connector
from parley.authorization.bank_client import BankClient, BankClientSettings
from parley.authorization.bank_door import LinkedBank
from parley.authorization.client_key import ClientKey
from parley.authorization.consent_text import DAYS_OFFERED, ConsentOffer, offer_for
from parley.authorization.grants import ChatEnding, GrantDesk
from parley.authorization.linking import Ending, LinkingDesk
from parley.authorization.pages.routes import LinkingSettings, authorization_routes
from parley.authorization.pairing import PairingDesk
from parley.authorization.sessions import Sessions
from parley.authorization.sign_ins import SignIns
from parley.model.extensions import Offering
from parley.model.grants import Budget
from parley.model.linking import Asker, Errand, Origin
from parley.model.stages import Slots
from parley.model.words import Delivery, Provenance
from parley.settings import BankSettings, Settings

SAMPLE = Slots(amount=Decimal(1))
"""A question that names all that any offering asks for: tells which projection it cannot do without."""


@dataclass(frozen=True, slots=True)
class LinkingRooms:
    """What linking is made of, for the rooms whose doors lead to it."""

    sessions: Sessions
    sign_ins: SignIns
    grants: GrantDesk
    linking: LinkingDesk
    pairing: PairingDesk
    bank_clients: Mapping[str, BankClient]
    endings: MutableMapping[Origin, Ending]


def linking_rooms(frame: Frame) -> LinkingRooms:
    settings, records = frame.settings, frame.records
    bank = settings.banks[0]
    client = bank_client(frame, bank)
    offer = consent_offer(settings, frame.offerings)
    grants = GrantDesk(
        records=records,
        log=frame.log,
        platform=settings.platform,
        policy_digest=lambda: frame.policy().digest,
        clock=frame.clock,
        random_bytes=secrets.token_bytes,
    )
    rules = PolicyRules(frame)
    endings: dict[Origin, Ending] = {Origin.CHAT: ChatEnding(grants.approve)}
    secure = settings.public_url.startswith("https://")
    sessions = Sessions(records, secure=secure, clock=frame.clock)
    sign_ins = SignIns(records, secure=secure, clock=frame.clock)
    linking = LinkingDesk(
        records=records,
        sessions=sessions,
        door=LinkedBank(client, connector(frame, bank), secrets.token_bytes),
        home=Errand(Origin.CHAT, settings.platform, "web", Asker(settings.platform_name)),
        offers=lambda errand: offer_for(within_policy(offer, rules, frame.policy(), errand), errand),
        endings=endings,
        clock=frame.clock,
    )
    pairing = PairingDesk(records=records, session_records=records, sessions=sessions, clock=frame.clock)
    return LinkingRooms(sessions, sign_ins, grants, linking, pairing, {bank.name: client}, endings)


def linking_routes(frame: Frame, rooms: LinkingRooms) -> list[BaseRoute]:
    settings = frame.settings
    return authorization_routes(
        linking=rooms.linking,
        pairing=rooms.pairing,
        sessions=rooms.sessions,
        settings=LinkingSettings(settings.public_url, settings.bank_name, settings.contact),
        clock=frame.clock,
        arrivals=rooms.sign_ins,
        on_fault=unforeseen,
    )


def bank_client(frame: Frame, bank: BankSettings) -> BankClient:
    settings = frame.settings
    key = ClientKey.load_or_create(settings.data / bank.client_key_file)
    asked = BankClientSettings(
        bank.name,
        bank.issuer,
        bank.client_id,
        f"{settings.public_url}/link/callback",
        seconds=bank.timeout_seconds,
        bound_tokens=bank.bound_tokens,
    )
    return BankClient(asked, key, bank_transport(frame, bank), frame.clock)


def consent_offer(settings: Settings, offerings: Mapping[str, Offering]) -> ConsentOffer:
    """What the consent page puts up for choice: what the named offerings can be answered from, and no more."""
    purposes = dict.fromkeys(each.purpose for each in offerings.values())
    projections = dict.fromkeys(projection for each in offerings.values() for projection in each.projections)
    return ConsentOffer(
        platform_title=settings.platform_name,
        bank_title=settings.bank_name,
        purposes=tuple(purposes),
        projections=tuple(projections),
        needed_for={name: each.needs(SAMPLE, frozenset(each.projections)).projection for name, each in offerings.items()},
        delivery=Delivery.INLINE,
        lookback_days=settings.lookback_days,
        provenance=Provenance.ANY,
        budget=Budget(settings.answers_per_day, settings.rows_per_day),
        contact=settings.contact,
        days_offered=tuple(sorted({*DAYS_OFFERED, settings.grant_days})),
        days_default=settings.grant_days,
    )
