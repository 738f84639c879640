"""The running bank: its address, its day, its customers and everything that the endpoints share."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from starlette.requests import Request

from parley_sandbox.authorization import Authorizations
from parley_sandbox.books import find_person, keep_books
from parley_sandbox.clients import AssertionCheck, ClientRegister
from parley_sandbox.events import Messenger
from parley_sandbox.faults import FaultBoard
from parley_sandbox.ledger import Customer

NAME = "Larkspur Demo Bank"
READS_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Read:
    """That an answer with data was served: which interaction, in which minute, what class of path. Never a value."""

    interaction_id: str
    minute: str
    path_class: str
    consent_id: str


@dataclass
class Bank:
    """Shared state of one server process, owned by its event loop."""

    issuer: str
    seed: int
    today: date
    faults: FaultBoard
    register: ClientRegister
    clock: Callable[[], float] = time.time
    access_seconds: int = 900
    reads: deque[Read] = field(default_factory=lambda: deque(maxlen=READS_KEPT))
    reads_total: int = 0
    messenger: Messenger = field(default_factory=Messenger)
    authorizations: Authorizations = field(init=False)
    assertions: AssertionCheck = field(init=False)
    _customers: dict[str, Customer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.authorizations = Authorizations(self.clock, self.today, self.access_seconds)
        self.assertions = AssertionCheck(self.issuer, self.register, self.clock)

    def customer(self, username: str) -> Customer | None:
        """The customer of that user name, made on first use, or None."""
        if username not in self._customers:
            person = find_person(username)
            if person is None:
                return None
            self._customers[username] = keep_books(person, self.seed, self.today)
        return self._customers[username]

    def record_read(self, interaction_id: str, path_class: str, consent_id: str) -> None:
        """Notes a served read for later reconciliation."""
        minute = datetime.fromtimestamp(self.clock() // 60 * 60, UTC).isoformat().replace("+00:00", "Z")
        self.reads.append(Read(interaction_id, minute, path_class, consent_id))
        self.reads_total += 1


def new_bank(issuer: str, seed: int, today: date, clients: Path | None = None, faults: FaultBoard | None = None, access_seconds: int = 900) -> Bank:
    """A bank at this address. Raises BadClientFile."""
    return Bank(issuer, seed, today, faults or FaultBoard(), ClientRegister(clients), access_seconds=access_seconds)


def bank_of(request: Request) -> Bank:
    """The bank that serves this request."""
    bank = request.app.state.bank
    if not isinstance(bank, Bank):
        raise TypeError("the application was built without a bank")
    return bank
