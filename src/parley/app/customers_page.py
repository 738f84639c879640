"""The customer's page, wired: her sign-ins, her grants and receipts, her ledger, and the key that signs consent records."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from parley.app.diagnostics import diagnostics, unforeseen
from parley.app.frame import Frame
from parley.app.linking import LinkingRooms
from parley.app.receipts import receipt_of
from parley.authorization.consent_record import RecordKey, RecordParties, signed_record
from parley.authorization.consent_text import ConsentOffer
from parley.authorization.pages.renewal_routes import renewal_routes
from parley.authorization.pages.routes import LinkingSettings
from parley.authorization.renewal import RenewalDesk
from parley.authorization.sessions import Throttle
from parley.console.customer import CustomerSettings, Ledger, customer_routes
from parley.console.customer.ports import House
from parley.console.passkeys import PasskeySite
from parley.model.customers import Disclosed
from parley.model.grants import Grant
from parley.model.refusals import Fault
from parley.proof import canonical
from parley.release.entries import bucket
from parley.release.ports import Vault
from parley.settings import Settings
from parley.store import Records
from parley.store.disclosures import Note

CEREMONIES_PER_SECOND = 0.5
CEREMONIES_AT_ONCE = 60


def open_ledger(records: Records) -> Ledger[Note]:
    """Its `released` goes on the road; its `run` beside it."""

    def make(customer: str, vault: Vault, salt: bytes, disclosed: Disclosed) -> Note:
        return Note(customer, vault, salt, disclosed)

    return Ledger(records.note_disclosures, make, on_fault=lambda code: diagnostics.warning("ledger", code=code))


def record_key(settings: Settings) -> RecordKey:
    return RecordKey.load_or_create(settings.data / "keys" / "consent-record.pem")


def record_key_entry(thumbprint: str, now: datetime) -> bytes:
    """Which key signs consent records from here on: an entry of the log."""
    return canonical({"b": bucket(now), "k": "key", "kid": thumbprint, "use": "consent-record", "v": 1})


def customers_page_routes(frame: Frame, linking: LinkingRooms, key: RecordKey) -> list[BaseRoute]:
    settings, records = frame.settings, frame.records
    throttle = Throttle(per_second=CEREMONIES_PER_SECOND, burst=CEREMONIES_AT_ONCE)
    parties = RecordParties(settings.bank_name, settings.contact, settings.public_url, settings.log_origin)

    async def receipt(customer: str, index: int) -> str | None:
        return await receipt_of(frame.records, frame.notary, customer, index)

    async def catch_up(customer: str) -> None:
        """What is in memory, and what a process that died took with it. Where the log is out of reach, the latter waits for another time."""
        await frame.ledger.flush()
        with suppress(Fault):
            await frame.ledger_watch.fill(customer)

    async def titles() -> Mapping[str, str]:
        """The house's own chat, and the clients that the bank registered. Whatever else a platform is, it goes by its registered name."""
        return {client.platform: client.title for client in await records.clients()} | {settings.platform: settings.platform_name}

    async def describe(grant: Grant) -> ConsentOffer:
        return described(grant, (await titles()).get(grant.platform, grant.platform), settings)

    async def consent_record(grant: Grant) -> bytes:
        proved = await receipt(grant.customer, grant.log_index) if grant.log_index is not None else None
        title = (await titles()).get(grant.platform, grant.platform)
        return signed_record(grant, title, parties, key, proved, frame.clock())

    async def keys(request: Request) -> Response:
        return Response(msgspec.json.encode(key.jwks()), media_type="application/jwk-set+json")

    house = House(
        records=records,
        sign_ins=linking.sign_ins,
        visitors=linking.sessions,
        keeper=linking.grants,
        receipt=receipt,
        consent_record=consent_record,
        titles=titles,
        log_vkey=frame.vkey,
        admits=lambda client: throttle.admits(client, frame.clock()),
        clock=frame.clock,
        chance=secrets.token_bytes,
        catch_up=catch_up,
    )
    renewal = RenewalDesk(
        records=records,
        opener=linking.grants,
        describe=describe,
        policy_digest=lambda: frame.policy().digest,
        clock=frame.clock,
    )
    words = LinkingSettings(settings.public_url, settings.bank_name, settings.contact)
    page = CustomerSettings(settings.public_url, settings.bank_name, settings.contact, settings.zone, passkey_site(settings))
    return [
        *customer_routes(house, page, on_fault=unforeseen),
        *renewal_routes(desk=renewal, sign_ins=linking.sign_ins, settings=words, on_fault=unforeseen),
        Route("/consent-records.jwks", keys, methods=["GET"]),
    ]


def described(grant: Grant, title: str, settings: Settings) -> ConsentOffer:
    """A grant in the consent page's terms, with nothing to choose."""
    return ConsentOffer(
        platform_title=title,
        bank_title=settings.bank_name,
        purposes=(grant.purpose,),
        projections=tuple(sorted(grant.projections)),
        needed_for={},
        delivery=grant.delivery,
        lookback_days=grant.lookback_days,
        provenance=grant.provenance,
        budget=grant.budget,
        contact=settings.contact,
    )


def passkey_site(settings: Settings) -> PasskeySite | None:
    """None where customers open an address of digits: a passkey would belong to another address than theirs."""
    try:
        site = PasskeySite.at(settings.public_url, settings.bank_name)
    except ValueError:
        return None
    return site if site.origin == settings.public_url else None
