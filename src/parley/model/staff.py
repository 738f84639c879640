"""The bank's own people at the officer's console, what they propose, and what they have switched off. Values only; times are UTC."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from parley.model.ledger import Discreet


class Role(StrEnum):
    """What somebody at the bank may do here. No role may see a customer or a value: there is no page that shows one."""

    OFFICER = "officer"
    """Proposes and approves policies, pulls and undoes switches."""
    AUDITOR = "auditor"
    """Reads everything that the console shows, changes nothing."""
    OPERATOR = "operator"
    """Sees counts and switches, and may pull one at night."""


class StaffMember(msgspec.Struct, frozen=True):
    """One of the bank's people. `id`: 16 random hex digits, the only thing about her that the log ever holds. `enrolled`: has a passkey."""

    id: str
    name: str
    role: Role
    created_at: datetime
    enrolled: bool


class StaffPasskey(Discreet, frozen=True):
    """A passkey and whose it is."""

    credential_id: bytes
    staff: StaffMember
    public_key: bytes
    sign_count: int


class TicketKind(StrEnum):
    """What waits to be used once: a link that makes somebody's first passkey, and the two ceremonies (see console/passkeys.py)."""

    INVITATION = "invitation"
    ENROLLING = "enrolling"
    SIGNING_IN = "signing_in"


class StaffTicket(Discreet, frozen=True):
    """`token_hash` SHA-256 of what the browser holds; `challenge` of a ceremony, empty for an invitation; `staff` empty until somebody is known."""

    token_hash: bytes
    kind: TicketKind
    staff: str
    challenge: bytes
    expires_at: datetime


class StaffSession(Discreet, frozen=True):
    """A signed-in browser. `id` names it on pages; the token's SHA-256 finds it. `signed_in_at` tells how fresh the sign-in is."""

    id: str
    token_hash: bytes
    staff: StaffMember
    signed_in_at: datetime
    seen_at: datetime
    expires_at: datetime


class ProposalState(StrEnum):
    OPEN = "open"
    APPROVING = "approving"
    """Somebody approved it and the log is being told; nothing has changed yet."""
    IN_FORCE = "in_force"
    """It took effect. A later one may have taken its place."""
    REJECTED = "rejected"
    STALE = "stale"
    """Another policy took effect after it was proposed, so what its page compared is no longer what would change."""


class Proposal(msgspec.Struct, frozen=True):
    """A policy that somebody proposes. `sources`: its files by name; `base`: digest of the policy that it was compared with."""

    id: str
    digest: str
    base: str
    note: str
    sources: dict[str, bytes]
    proposed_by: str
    proposed_at: datetime
    state: ProposalState
    decided_by: str
    decided_at: datetime | None

    def __repr__(self) -> str:
        return f"Proposal({self.id})"


class PolicyVersion(msgspec.Struct, frozen=True):
    """A policy that officers put in force. `version` counts from 1; the highest one counts."""

    version: int
    digest: str
    sources: dict[str, bytes]
    proposal: str
    log_index: int
    since: datetime

    def __repr__(self) -> str:
        return f"PolicyVersion({self.version})"


class Scope(StrEnum):
    """What a switch stops."""

    EVERYTHING = "everything"
    PLATFORM = "platform"
    PURPOSE = "purpose"


class SwitchName(msgspec.Struct, frozen=True):
    """One switch. `what`: a platform's id or a purpose's word; empty for everything."""

    scope: Scope
    what: str = ""

    @property
    def key(self) -> str:
        return f"{self.scope.value}:{self.what}"

    @classmethod
    def read(cls, key: str) -> SwitchName:
        """From its key. Raises ValueError for a scope that this release does not know: whoever reads it must then let nothing pass."""
        scope, _, what = key.partition(":")
        return cls(Scope(scope), what)


class PulledSwitch(msgspec.Struct, frozen=True):
    """A switch that is off. `undo_by`: who asked to switch on again; another officer has to agree. Empty where nobody asked."""

    name: SwitchName
    pulled_by: str
    pulled_at: datetime
    reason: str
    undo_by: str


class Act(msgspec.Struct, frozen=True):
    """Something that one of the staff did. `facts` are what the log's entry says; `log_index` None until the log holds it."""

    id: str
    actor: str
    kind: str
    facts: dict[str, str]
    at: datetime
    log_index: int | None


class Standing(msgspec.Struct, frozen=True):
    """What every process must know at every moment: which switches are off (their keys), and which policy officers put in force.

    `version` 0 and an empty `digest`: officers have approved none yet, so the one that the settings name is in force.
    """

    off: frozenset[str]
    version: int
    digest: str
