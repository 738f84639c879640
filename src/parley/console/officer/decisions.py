"""The desks where something is decided: policies with four eyes, and the switches that one person pulls and two undo."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from parley.console.officer.journal import Journal
from parley.console.officer.ports import Looker, Policies, RuleRecords, Tally
from parley.console.officer.roles import BaseMoved, DecidedAlready, FourEyes, NothingThere, PolicyUnfit, TooManyWait
from parley.model.refusals import Fault, LogUnavailable, PolicyChanged
from parley.model.staff import Proposal, ProposalState, PulledSwitch, Scope, StaffMember, SwitchName
from parley.model.strangers import clean
from parley.model.words import Purpose
from parley.policy import Policy, PolicyRejected
from parley.policy.difference import Difference, difference, kinds_by_case, touched

COUNT_SECONDS_MAX = 3.0
CATCH_UP_TRIES, CATCH_UP_PAUSE_SECONDS = 60, 0.05
WARM_MAX = 2
"""Newest proposals that every process loads ahead, so that an approval takes effect everywhere at once."""

Announce = Callable[[Policy], Awaitable[int]]
"""Put a policy's digests into the log; the entry's index. Raises LogUnavailable."""


@dataclass(frozen=True, slots=True)
class Review:
    """A proposal as it loads and proves now, and what it would change of the policy in force.

    `touched`: standing grants and customers that a change concerns, as counts; None where counting took too long for a page.
    """

    proposal: Proposal
    policy: Policy
    change: Difference
    touched: Tally | None


class PolicyDesk:
    """Propose, look at the difference, approve. The log holds the digests before anything is released under them."""

    def __init__(
        self, records: RuleRecords, policies: Policies, journal: Journal, looker: Looker, announce: Announce, clock: Callable[[], datetime]
    ) -> None:
        self._records = records
        self._policies = policies
        self._journal = journal
        self._looker = looker
        self._announce = announce
        self._clock = clock

    async def caught_up(self) -> None:
        """Wait until this process follows the policy that is in force by now, so that nobody compares with one that another process replaced.

        Raises PolicyChanged where that takes too long: the policy does not load here, and whoever runs the house must look.
        """
        for _ in range(CATCH_UP_TRIES):
            with suppress(Fault, PolicyRejected):
                await self._looker.look()
            if (await self._records.standing()).version == self._policies.version:
                return
            await asyncio.sleep(CATCH_UP_PAUSE_SECONDS)
        raise PolicyChanged("this process does not follow")

    async def propose(self, actor: StaffMember, sources: dict[str, bytes], note: str) -> Proposal:
        """Load, prove and keep it for others to decide on. Raises PolicyUnfit with file, rule and mend; TooManyWait."""
        policy = await self._load(sources)
        base = self._policies.current().digest
        if policy.digest == base:
            raise PolicyUnfit("no change", plain_words="That is the policy in force, word for word. There is nothing to decide.")
        now = self._clock()
        made = Proposal(secrets.token_hex(8), policy.digest, base, clean(note), policy.sources, actor.id, now, ProposalState.OPEN, "", None)
        try:
            await self._records.add_proposal(made)
        except Fault as fault:
            if fault.code == "records_conflict":
                raise TooManyWait() from None
            raise
        await self._journal.note(actor, "staff", act="propose", pol=policy.digest)
        return made

    async def review(self, proposal_id: str) -> Review:
        """Raises NothingThere, PolicyUnfit where this release of Parley refuses what another loaded."""
        proposal = await self._found(proposal_id)
        policy = await self._load(proposal.sources)
        # Beside the questions, not before them: two large tables take a moment to compare.
        change = await asyncio.to_thread(difference, self._policies.current(), policy)
        return Review(proposal, policy, change, await self._touched(change))

    async def approve(self, actor: StaffMember, proposal_id: str) -> None:
        """The second pair of eyes. Of several officers who approve at once exactly one has an effect.

        Raises FourEyes, DecidedAlready, BaseMoved, PolicyUnfit, LogUnavailable: after each of them nothing has changed.
        """
        proposal = await self._found(proposal_id)
        if proposal.proposed_by == actor.id:
            raise FourEyes()
        if proposal.state not in (ProposalState.OPEN, ProposalState.APPROVING):
            raise DecidedAlready(plain_words=decided_words(proposal.state))
        policy = await self._load(proposal.sources)
        after = (await self._records.standing()).version
        if after != self._policies.version or proposal.base != self._policies.current().digest or policy.digest != proposal.digest:
            raise BaseMoved()
        if not await self._records.begin_approval(proposal.id, actor.id, self._clock()):
            raise DecidedAlready()
        try:
            index = await self._announce(policy)
        except LogUnavailable:
            await self._records.give_up_approval(proposal.id, actor.id, ProposalState.OPEN)
            raise
        await self._take_effect(actor, proposal, after, index)
        await self._journal.note(actor, "staff", act="approve", pol=policy.digest)
        with suppress(Fault):
            await self._looker.look()

    async def reject(self, actor: StaffMember, proposal_id: str) -> None:
        """Any officer may; whoever proposed it takes it back that way. Raises NothingThere, DecidedAlready."""
        proposal = await self._found(proposal_id)
        if not await self._records.reject_proposal(proposal.id, actor.id, self._clock()):
            raise DecidedAlready(plain_words=decided_words(proposal.state))
        await self._journal.note(actor, "staff", act="reject", pol=proposal.digest)

    async def warm(self) -> None:
        """Load what waits for a decision. What does not load here will say so when somebody looks at it."""
        waiting = [each for each in await self._records.proposals() if each.state in (ProposalState.OPEN, ProposalState.APPROVING)]
        for each in waiting[:WARM_MAX]:
            with suppress(PolicyRejected):
                await self._policies.loaded(each.sources)

    async def _touched(self, change: Difference) -> Tally | None:
        by_case = kinds_by_case(change.changes)
        with suppress(TimeoutError):
            async with asyncio.timeout(COUNT_SECONDS_MAX):
                return await self._records.tally(lambda shape: frozenset(kind.value for kind in touched(shape, by_case)), self._clock())
        return None

    async def _take_effect(self, actor: StaffMember, proposal: Proposal, after: int, index: int) -> None:
        try:
            placed = await self._records.put_in_force(proposal.id, actor.id, after=after, log_index=index, now=self._clock())
        except Fault as fault:
            if fault.code != "records_conflict":
                raise
            await self._records.give_up_approval(proposal.id, actor.id, ProposalState.STALE)
            raise BaseMoved() from None
        if placed is None:
            raise DecidedAlready()

    async def _load(self, sources: dict[str, bytes]) -> Policy:
        try:
            return await self._policies.loaded(sources)
        except PolicyRejected as rejected:
            raise PolicyUnfit("the loader refused", plain_words=str(rejected)) from None

    async def _found(self, proposal_id: str) -> Proposal:
        proposal = await self._records.proposal(proposal_id)
        if proposal is None:
            raise NothingThere()
        return proposal


class SwitchDesk:
    """One person pulls, two undo."""

    def __init__(self, records: RuleRecords, policies: Policies, journal: Journal, looker: Looker, clock: Callable[[], datetime]) -> None:
        self._records = records
        self._policies = policies
        self._journal = journal
        self._looker = looker
        self._clock = clock

    def names(self) -> tuple[SwitchName, ...]:
        """Every switch that there is: everything, each platform of the policy in force, each purpose."""
        platforms = tuple(SwitchName(Scope.PLATFORM, platform) for platform in sorted(self._policies.current().platforms))
        return SwitchName(Scope.EVERYTHING), *platforms, *(SwitchName(Scope.PURPOSE, purpose.value) for purpose in Purpose)

    async def pulled(self) -> tuple[PulledSwitch, ...]:
        return await self._records.pulled_switches()

    async def pull(self, actor: StaffMember, name: SwitchName, reason: str) -> None:
        """Off at once; the log is told right after, or when it is back. Raises NothingThere for a switch that does not exist."""
        if name not in self.names():
            raise NothingThere()
        act = await self._journal.begin(actor, "switch", act="pull", **facts_of(name))
        await self._records.pull_switch(name, actor.id, clean(reason), self._clock())
        with suppress(Fault):
            await self._looker.look()
        await self._journal.say(act)

    async def ask_undo(self, actor: StaffMember, name: SwitchName) -> None:
        if not await self._records.ask_undo(name, actor.id):
            raise DecidedAlready()
        await self._journal.note(actor, "switch", act="ask_undo", **facts_of(name))

    async def keep_off(self, actor: StaffMember, name: SwitchName) -> None:
        if not await self._records.keep_off(name):
            raise DecidedAlready()
        await self._journal.note(actor, "switch", act="keep_off", **facts_of(name))

    async def undo(self, actor: StaffMember, name: SwitchName) -> None:
        """The second of two. Recorded before it has an effect. Raises NothingThere, DecidedAlready, FourEyes, LogUnavailable."""
        pulled = next((each for each in await self._records.pulled_switches() if each.name == name), None)
        if pulled is None or not pulled.undo_by:
            raise DecidedAlready()
        if pulled.undo_by == actor.id:
            raise FourEyes()
        await self._journal.first(actor, "switch", act="undo", **facts_of(name))
        if not await self._records.undo_switch(name, pulled.undo_by, actor.id):
            raise DecidedAlready()
        with suppress(Fault):
            await self._looker.look()


def facts_of(name: SwitchName) -> dict[str, str]:
    return {"scope": name.scope.value, "what": name.what} if name.what else {"scope": name.scope.value}


def decided_words(state: ProposalState) -> str:
    words = {
        ProposalState.IN_FORCE: "It was approved already.",
        ProposalState.REJECTED: "It was rejected already.",
        ProposalState.STALE: "Another policy took effect first, so this one no longer stands.",
        ProposalState.APPROVING: "Another officer is approving it at this moment.",
    }
    return f"{words.get(state, DecidedAlready.plain_words)} You changed nothing."
