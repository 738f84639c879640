"""One person under two names: whoever is removed, and comes back under another id, must not be the second pair of eyes for herself."""

from __future__ import annotations

import secrets
from datetime import timedelta

from parley.model.staff import Proposal, ProposalState, Role, Scope, StaffMember, StaffTicket, SwitchName, TicketKind
from parley.store import Records
from parley.store.rulebook import APPROVAL_LEASE
from tests.fixtures_postgres import RecordsBench

EVERYTHING = SwitchName(Scope.EVERYTHING)


async def added(bench: RecordsBench, records: Records, name: str) -> str:
    person = StaffMember(secrets.token_hex(8), name, Role.OFFICER, bench.now, enrolled=False)
    await records.add_staff(person, StaffTicket(secrets.token_bytes(32), TicketKind.INVITATION, person.id, b"", bench.now + timedelta(hours=24)))
    return person.id


async def proposed(bench: RecordsBench, records: Records, by: str) -> str:
    name = secrets.token_hex(8)
    await records.add_proposal(
        Proposal(name, "digest-" + name, "base", "why", {"policy.cedar": b"permit"}, by, bench.now, ProposalState.OPEN, "", None)
    )
    return name


async def state_of(records: Records, proposal: str) -> ProposalState:
    found = await records.proposal(proposal)
    assert found is not None
    return found.state


def test_what_a_removed_officer_asked_for_cannot_be_agreed_to_under_her_new_id(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        before = await added(bench, records, "Rosa")
        await records.pull_switch(EVERYTHING, "somebody", "phishing", bench.now)
        assert await records.ask_undo(EVERYTHING, before)
        waiting, under_way = await proposed(bench, records, before), await proposed(bench, records, before)
        assert await records.begin_approval(under_way, "sam", bench.now)
        others = await proposed(bench, records, "sam")
        assert await records.remove_staff(before)
        after = await added(bench, records, "Rosa")
        bench.now += APPROVAL_LEASE + timedelta(seconds=1)
        for proposal in (waiting, under_way):
            assert not await records.begin_approval(proposal, after, bench.now)
            assert await state_of(records, proposal) is ProposalState.REJECTED
        assert await records.put_in_force(under_way, "sam", after=0, log_index=1, now=bench.now) is None
        assert not await records.undo_switch(EVERYTHING, before, after)
        assert (await records.standing()).off == {EVERYTHING.key}
        assert await state_of(records, others) is ProposalState.OPEN, "what others asked for stays"
        assert await records.ask_undo(EVERYTHING, after), "she asks anew, and somebody else agrees"

    bench.run(story)


def test_an_approval_whose_process_died_can_be_rejected_and_does_not_wait_for_ever(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        first, second, third = [await proposed(bench, records, "rosa") for _ in range(3)]
        for each in (first, second):
            assert await records.begin_approval(each, "sam", bench.now)
        assert not await records.reject_proposal(first, "tara", bench.now), "somebody is approving it at this moment"
        bench.now += APPROVAL_LEASE + timedelta(seconds=1)
        assert await records.reject_proposal(first, "tara", bench.now)
        assert await records.put_in_force(first, "sam", after=0, log_index=1, now=bench.now) is None, "too late"
        assert await records.begin_approval(third, "tara", bench.now)
        assert await records.put_in_force(third, "tara", after=0, log_index=2, now=bench.now) is not None
        assert await state_of(records, second) is ProposalState.STALE

    bench.run(story)
