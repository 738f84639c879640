"""The road's own furniture: what `release()` is handed to walk it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from parley.app.frame import Frame
from parley.authorization.bank_client import BankClient
from parley.authorization.client_key import ClientKey
from parley.authorization.credentials import BankCredentials
from parley.authorization.dpop_client import DpopTransport
from parley.banks.fdx import FdxBank, FdxSettings
from parley.model.extensions import OfferingCard
from parley.model.transport import Transport
from parley.proof import Verifier
from parley.release.pipeline import House
from parley.settings import BankSettings
from parley.understanding import KeywordUnderstanding


def road(frame: Frame, bank_clients: Mapping[str, BankClient]) -> House:
    """Everything that one walk along the road may use, and no more."""
    offerings = dict(frame.offerings)
    return House(
        offerings=offerings,
        cards=tuple(OfferingCard(each.name, each.title, tuple(each.examples)) for each in offerings.values()),
        understanding=KeywordUnderstanding(),
        records=frame.records,
        credentials=BankCredentials(dict(bank_clients), frame.records, frame.clock),
        banks={bank.name: connector(frame, bank) for bank in frame.settings.banks},
        log=frame.log,
        guard=frame.guard,
        verifier=Verifier(frame.vkey),
        policy=frame.policy,
        clock=frame.clock,
        random_bytes=os.urandom,
        time_zone=frame.settings.zone,
        timer=time.perf_counter,
        noted=frame.ledger.released,
    )


def connector(frame: Frame, bank: BankSettings) -> FdxBank:
    settings = FdxSettings(bank.name, bank.api_url, bank.profile, request_seconds=bank.timeout_seconds)
    return FdxBank(settings, bank_transport(frame, bank), frame.clock)


def bank_transport(frame: Frame, bank: BankSettings) -> Transport:
    """The way to one bank, with a proof beside every request where its tokens are bound to our key: another key than our client's own."""
    if not bank.bound_tokens:
        return frame.transport
    key = ClientKey.load_or_create(frame.settings.data / "keys" / f"bank-{bank.name}-dpop.pem")
    return DpopTransport(frame.transport, key, frame.clock)
