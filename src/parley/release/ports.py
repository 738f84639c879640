"""What the road needs from the rooms beside it, each as small as it can be."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

from parley.model.extensions import BankCredential
from parley.model.grants import BankTokens, Grant
from parley.model.ledger import LinkedAccount
from parley.model.stages import Question
from parley.model.words import Purpose
from parley.proof import Inclusion


class Vault(Protocol):
    """One customer's key at work. Deleting her key row makes everything that it sealed unopenable."""

    def salt(self, nonce: bytes) -> bytes:
        """32 bytes, HMAC-SHA256 under her key of a 16 byte nonce: hides what a commitment commits to (proof.md 2.5)."""

    def seal(self, context: str, plain: bytes) -> bytes:
        """Authenticated encryption under a sub-key; `context` names customer-independent use and row, and is bound as associated data."""

    def open(self, context: str, sealed: bytes) -> bytes:
        """Raises Fault when it does not open."""


@dataclass(frozen=True, slots=True)
class CaseFile:
    """Everything the house already knows about a question, read at once. `customer` None: nobody is linked to this conversation."""

    customer: str | None
    grants: tuple[Grant, ...] = ()
    bank: str | None = None
    accounts: tuple[LinkedAccount, ...] = ()
    tokens: BankTokens | None = field(default=None, repr=False)
    vault: Vault | None = field(default=None, repr=False)


class Records(Protocol):
    async def open_case(self, question: Question) -> CaseFile:
        """The link of (channel, conversation), the customer's grants on that platform and channel, her bank link: one read."""

    async def claim(self, question: Question, grant: Grant, *, day: date, rows: int) -> None:
        """Mark the message as seen and charge the grant's budget for the UTC day, durably, in one transaction.

        Raises ReplayedMessage when the message was claimed before, BudgetSpent when answers or rows would pass the grant's budget.
        """


class Credentials(Protocol):
    async def credential(self, case: CaseFile) -> BankCredential:
        """A credential that is good for at least some seconds: refreshed at the bank, once at a time per customer, where it is nearly used up.

        Raises LinkLost when the bank no longer renews it, BankUnavailable when it cannot be reached.
        """

    async def renewed(self, case: CaseFile, refused: BankCredential) -> BankCredential:
        """Another credential than `refused`, which the bank did not take: asked of the bank's authorization server now, whatever the clock says.

        Raises LinkLost when that no longer renews it, BankUnavailable when it cannot be reached.
        """

    async def forget(self, case: CaseFile) -> None:
        """The bank said that the link is lost: remember it, so that the customer is asked to link again."""


class ReleaseLog(Protocol):
    """Sees entry bytes. Never a name or an amount."""

    async def record(self, entry: bytes, side: bytes, *, handle: bytes | None, version: int | None) -> Inclusion:
        """Durable and in the tree when it returns.

        Raises GrantRevoked when the notary holds another version of the grant, LogUnavailable when it cannot be recorded.
        """


class Guard(Protocol):
    """Whether what is permitted may leave at this very moment: the officers' switches, and whether the policy that ruled is still in force."""

    def check(self, platform: str, purpose: Purpose, policy_digest: str) -> None:
        """Raises SwitchedOff, GuardUnavailable where nobody can tell, PolicyChanged. Costs next to nothing, so the road asks more than once."""
