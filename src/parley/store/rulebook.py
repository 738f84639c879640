"""The drawer of what officers decide: proposed policies, the one in force, and the switches. Right with any number of officers and processes."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from parley.model.refusals import Fault
from parley.model.staff import PolicyVersion, Proposal, ProposalState, PulledSwitch, Standing, SwitchName
from parley.store.cabinet import Cabinet, from_micros, to_micros
from parley.store.driver import RecordsConflict, Row, Values, Work, only

PROPOSALS_MAX = 100
"""Shown at once, newest first."""

OPEN_MAX = 20
"""Proposals that may wait for a decision. Each is a policy that every process loads before it can take effect."""

APPROVAL_LEASE = timedelta(seconds=30)
"""How long an approval may be under way before somebody else may take it up: its process died between the log and the records."""
LEASE_MICROS = APPROVAL_LEASE // timedelta(microseconds=1)

_STANDING = """
SELECT name, 0, '' FROM switches UNION ALL SELECT '', version, digest FROM policies WHERE version = (SELECT max(version) FROM policies)
"""
_PROPOSAL = "SELECT id, digest, base, note, sources, proposed_by, proposed_at, state, decided_by, decided_at FROM proposals"
_ADD_PROPOSAL = """
INSERT INTO proposals (id, digest, base, note, sources, proposed_by, proposed_at, state, decided_by) VALUES (?, ?, ?, ?, ?, ?, ?, 'open', '')
"""
_BEGIN = """
UPDATE proposals SET state = 'approving', decided_by = ?, decided_at = ?
WHERE id = ? AND proposed_by <> ? AND (state = 'open' OR (state = 'approving' AND decided_at < ?)) RETURNING id
"""
_FINISH = "UPDATE proposals SET state = 'in_force', decided_at = ? WHERE id = ? AND state = 'approving' AND decided_by = ? RETURNING digest, sources"
_GIVE_UP = "UPDATE proposals SET state = ?, decided_by = ? WHERE id = ? AND state = 'approving' AND decided_by = ?"
_REJECT = """
UPDATE proposals SET state = 'rejected', decided_by = ?, decided_at = ?
WHERE id = ? AND (state = 'open' OR (state = 'approving' AND decided_at < ?)) RETURNING id
"""
_OUTDATE = "UPDATE proposals SET state = 'stale', decided_at = ? WHERE state = 'open' OR (state = 'approving' AND decided_at < ?)"
_POLICY = "SELECT version, digest, sources, proposal, log_index, since FROM policies"
_PULL = """
INSERT INTO switches (name, pulled_by, pulled_at, reason, undo_by) VALUES (?, ?, ?, ?, '')
ON CONFLICT (name) DO UPDATE SET undo_by = ''
"""
_SWITCHES = "SELECT name, pulled_by, pulled_at, reason, undo_by FROM switches"


class RuleBook(Cabinet):
    """Implements `parley.console.officer.ports.RuleRecords` and `parley.guard.standing.StandingRecords`."""

    async def standing(self) -> Standing:
        """Which switches are off and which policy is in force: one read."""
        rows = await self._driver.read(_STANDING)
        policy = next(((version, digest) for name, version, digest in rows if not name), (0, ""))
        return Standing(frozenset(name for name, _, _ in rows if name), *policy)

    # Policies.

    async def add_proposal(self, proposal: Proposal) -> None:
        """Raises RecordsConflict when too many wait already."""
        await self._driver.write(lambda: _add_proposal(proposal))

    async def proposal(self, proposal_id: str) -> Proposal | None:
        rows = await self._driver.read(f"{_PROPOSAL} WHERE id = ?", (proposal_id,))
        return _proposal(rows[0]) if rows else None

    async def proposals(self) -> tuple[Proposal, ...]:
        """The newest PROPOSALS_MAX, newest first."""
        return tuple(map(_proposal, await self._driver.read(f"{_PROPOSAL} ORDER BY proposed_at DESC, id LIMIT {PROPOSALS_MAX}")))

    async def begin_approval(self, proposal_id: str, actor: str, now: datetime) -> bool:
        """Take the proposal up, for one officer alone, who is not the one who proposed it. False when she may not or somebody else has."""
        moment = to_micros(now)
        sql = (actor, moment, proposal_id, actor, moment - LEASE_MICROS)
        return bool(await self._driver.write(only(_BEGIN, *sql)))

    async def put_in_force(self, proposal_id: str, actor: str, *, after: int, log_index: int, now: datetime) -> PolicyVersion | None:
        """The proposal that `actor` took up becomes version `after` + 1, and whatever else waits becomes stale, in one transaction.

        None when she no longer holds it. Raises RecordsConflict when another policy became that version first; nothing has changed then.
        """
        return await self._driver.write(lambda: self._put_in_force(proposal_id, actor, after + 1, log_index, to_micros(now)))

    async def give_up_approval(self, proposal_id: str, actor: str, state: ProposalState) -> None:
        """Nothing came of it: open again, or stale."""
        decided = "" if state is ProposalState.OPEN else actor
        await self._driver.write(only(_GIVE_UP, state.value, decided, proposal_id, actor))

    async def reject_proposal(self, proposal_id: str, actor: str, now: datetime) -> bool:
        """Also an approval whose process died between the log and the records: else nobody could ever say no to it."""
        moment = to_micros(now)
        return bool(await self._driver.write(only(_REJECT, actor, moment, proposal_id, moment - LEASE_MICROS)))

    async def policy_in_force(self) -> PolicyVersion | None:
        """The policy that officers approved last; None when they approved none yet. Raises Fault for a row that the house did not write."""
        rows = await self._driver.read(f"{_POLICY} ORDER BY version DESC LIMIT 1")
        return self._policy(rows[0]) if rows else None

    async def policy_versions(self) -> tuple[PolicyVersion, ...]:
        """Newest first."""
        return tuple(map(self._policy, await self._driver.read(f"{_POLICY} ORDER BY version DESC LIMIT {PROPOSALS_MAX}")))

    def _put_in_force(self, proposal_id: str, actor: str, version: int, log_index: int, now: int) -> Work[PolicyVersion | None]:
        rows = yield _FINISH, (now, proposal_id, actor)
        if not rows:
            return None
        digest, sources = rows[0]
        sealed = self._gateway.seal(_place_of(version, digest, log_index), sources)
        insert = "INSERT INTO policies (version, digest, sources, proposal, log_index, since) VALUES (?, ?, ?, ?, ?, ?)"
        yield insert, (version, digest, sealed, proposal_id, log_index, now)
        yield _OUTDATE, (now, now - LEASE_MICROS)
        return PolicyVersion(version, digest, _sources(sources), proposal_id, log_index, from_micros(now))

    def _policy(self, row: Row) -> PolicyVersion:
        version, digest, sealed, proposal, log_index, since = row
        sources = self._gateway.open(_place_of(version, digest, log_index), sealed)
        return PolicyVersion(version, digest, _sources(sources), proposal, log_index, from_micros(since))

    # Switches.

    async def pull_switch(self, name: SwitchName, actor: str, reason: str, now: datetime) -> None:
        """Off, at once. Pulled once more while somebody asks to switch on: her question is void."""
        await self._driver.write(only(_PULL, name.key, actor, to_micros(now), reason))

    async def pulled_switches(self) -> tuple[PulledSwitch, ...]:
        return tuple(map(_switch, await self._driver.read(f"{_SWITCHES} ORDER BY pulled_at DESC, name")))

    async def ask_undo(self, name: SwitchName, actor: str) -> bool:
        """The first of two. False when the switch is not off or somebody has asked already."""
        sql = "UPDATE switches SET undo_by = ? WHERE name = ? AND undo_by = '' RETURNING name"
        return bool(await self._driver.write(only(sql, actor, name.key)))

    async def keep_off(self, name: SwitchName) -> bool:
        """Whoever asked to switch on has been told no. False when nobody asks."""
        sql = "UPDATE switches SET undo_by = '' WHERE name = ? AND undo_by <> '' RETURNING name"
        return bool(await self._driver.write(only(sql, name.key)))

    async def undo_switch(self, name: SwitchName, asked_by: str, actor: str) -> bool:
        """The second of two: on again. False unless `asked_by`, somebody else, still asks."""
        if asked_by == actor:
            return False
        sql = "DELETE FROM switches WHERE name = ? AND undo_by = ? AND undo_by <> '' RETURNING name"
        return bool(await self._driver.write(only(sql, name.key, asked_by)))


def _add_proposal(proposal: Proposal) -> Work[None]:
    waiting = yield "SELECT count(*) FROM proposals WHERE state IN ('open', 'approving')", ()
    if waiting[0][0] >= OPEN_MAX:
        raise RecordsConflict("too many proposals wait for a decision")
    sources = msgspec.msgpack.encode(proposal.sources)
    at = to_micros(proposal.proposed_at)
    row: Values = (proposal.id, proposal.digest, proposal.base, proposal.note, sources, proposal.proposed_by, at)
    yield _ADD_PROPOSAL, row


def _place_of(version: int, digest: str, log_index: int) -> str:
    """What a policy in force is sealed for: whoever can write into the database but has not the keys puts no policy of his own in force."""
    return f"policy in force {version} {digest} {log_index}"


def _sources(packed: bytes) -> dict[str, bytes]:
    try:
        return msgspec.msgpack.decode(packed, type=dict[str, bytes])
    except msgspec.MsgspecError:
        raise Fault("a stored policy has a foreign shape") from None


def _proposal(row: Row) -> Proposal:
    decided_at = from_micros(row[9]) if row[9] is not None else None
    proposal_id, digest, base, note = row[:4]
    return Proposal(proposal_id, digest, base, note, _sources(row[4]), row[5], from_micros(row[6]), ProposalState(row[7]), row[8], decided_at)


def _switch(row: Row) -> PulledSwitch:
    return PulledSwitch(SwitchName.read(row[0]), row[1], from_micros(row[2]), row[3], row[4])
