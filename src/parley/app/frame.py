"""What the wiring of every room is handed: the settings and the few things that there is one of in a process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from parley.app.ledger_gaps import LedgerWatch
from parley.app.log_port import HouseLog
from parley.console.customer import Ledger
from parley.guard import Guard, PolicyInForce
from parley.log.client import NotaryClient
from parley.model.extensions import Offering
from parley.model.transport import Transport
from parley.policy import Policy
from parley.policy.packs import policy_place
from parley.settings import Settings
from parley.store import Records
from parley.store.disclosures import Note


@dataclass(frozen=True, slots=True)
class Frame:
    """`policy` gives the policy in force at the moment of asking; `vkey` is the log's public key; `clock` tells aware UTC times.

    `policies` holds the policy in force and `guard` knows the officers' switches; both follow the records. `ledger` notes every release
    for the customer's own page, and `ledger_watch` finds what a process that died had not written down.
    """

    settings: Settings
    records: Records
    notary: NotaryClient
    log: HouseLog
    transport: Transport
    policy: Callable[[], Policy]
    policies: PolicyInForce
    guard: Guard
    vkey: str
    offerings: Mapping[str, Offering]
    ledger: Ledger[Note]
    ledger_watch: LedgerWatch
    clock: Callable[[], datetime]


def now() -> datetime:
    return datetime.now(UTC)


def policy_file(settings: Settings) -> Path:
    """Where the first policy lies: a pack by its name, or the bank's own. Raises PolicyRejected where there is neither."""
    return policy_place(settings.policy_file)
