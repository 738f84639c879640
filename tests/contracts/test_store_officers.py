"""What the officers' drawers promise, on both databases: one effect, whoever comes at once, and never the same person twice."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta

import pytest

from parley.model.refusals import Fault
from parley.model.staff import (
    Act,
    Proposal,
    ProposalState,
    Role,
    Scope,
    StaffMember,
    StaffPasskey,
    StaffSession,
    StaffTicket,
    Standing,
    SwitchName,
    TicketKind,
)
from parley.store import Records, RecordsConflict
from parley.store.driver import only
from tests.fixtures_postgres import RecordsBench

IDLE = timedelta(minutes=15)
EVERYTHING = SwitchName(Scope.EVERYTHING)
WEB = SwitchName(Scope.PLATFORM, "parley-web")


def member(bench: RecordsBench, name: str, role: Role = Role.OFFICER) -> StaffMember:
    return StaffMember(secrets.token_hex(8), name, role, bench.now, enrolled=False)


def ticket(bench: RecordsBench, staff: str, kind: TicketKind = TicketKind.INVITATION) -> StaffTicket:
    return StaffTicket(secrets.token_bytes(32), kind, staff, b"", bench.now + timedelta(hours=24))


async def enrolled(bench: RecordsBench, records: Records, name: str) -> tuple[StaffMember, StaffPasskey]:
    person = member(bench, name)
    invitation = ticket(bench, person.id)
    await records.add_staff(person, invitation)
    passkey = StaffPasskey(secrets.token_bytes(32), person, b"key", 0)
    assert await records.enrol(invitation.token_hash, passkey, bench.now)
    return person, passkey


def session(bench: RecordsBench, person: StaffMember) -> StaffSession:
    return StaffSession(secrets.token_hex(8), secrets.token_bytes(32), person, bench.now, bench.now, bench.now + timedelta(hours=8))


def proposal(bench: RecordsBench, by: str) -> Proposal:
    name = secrets.token_hex(8)
    return Proposal(name, "digest-" + name, "base", "why", {"policy.cedar": b"permit"}, by, bench.now, ProposalState.OPEN, "", None)


def test_an_invitation_makes_one_passkey(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        person = member(bench, "Rosa")
        invitation = ticket(bench, person.id)
        await records.add_staff(person, invitation)
        assert (await records.all_staff())[0].enrolled is False
        tries = [StaffPasskey(secrets.token_bytes(32), person, b"key", 0) for _ in range(4)]
        done = await asyncio.gather(*(records.enrol(invitation.token_hash, each, bench.now) for each in tries))
        assert sorted(done) == [False, False, False, True]
        assert (await records.all_staff())[0].enrolled is True
        assert len(await records.staff_passkeys_of(person.id)) == 1
        with pytest.raises(RecordsConflict):
            await records.add_staff(member(bench, "ROSA"), ticket(bench, "x"))

    bench.run(story)


def test_an_expired_invitation_and_somebody_elses_make_none(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        rosa, sam = member(bench, "Rosa"), member(bench, "Sam")
        for_rosa, for_sam = ticket(bench, rosa.id), ticket(bench, sam.id)
        await records.add_staff(rosa, for_rosa)
        await records.add_staff(sam, for_sam)
        assert not await records.enrol(for_sam.token_hash, StaffPasskey(b"one", rosa, b"key", 0), bench.now)
        late = bench.now + timedelta(hours=25)
        assert not await records.enrol(for_rosa.token_hash, StaffPasskey(b"two", rosa, b"key", 0), late)
        assert not any(each.enrolled for each in await records.all_staff())

    bench.run(story)


def test_a_count_signs_in_once_and_sessions_end(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        person, passkey = await enrolled(bench, records, "Rosa")
        sessions = [session(bench, person) for _ in range(3)]
        done = await asyncio.gather(*(records.open_staff_session(each, passkey, 1) for each in sessions))
        assert sorted(done) == [False, False, True]
        stood = sessions[done.index(True)]
        assert await records.find_staff_session(stood.token_hash, bench.now, IDLE)
        assert await records.find_staff_session(stood.token_hash, bench.now + IDLE, IDLE) is None
        await records.staff_session_seen(stood.id, bench.now + timedelta(minutes=10))
        assert await records.find_staff_session(stood.token_hash, bench.now + IDLE, IDLE)
        assert await records.find_staff_session(stood.token_hash, bench.now + timedelta(hours=8), timedelta(days=1)) is None
        assert [each.id for each in await records.staff_sessions(bench.now, IDLE)] == [stood.id]
        assert await records.end_staff_session(stood.id)
        assert await records.find_staff_session(stood.token_hash, bench.now, IDLE) is None

    bench.run(story)


def test_whoever_leaves_takes_her_sessions_and_passkeys_along(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        person, passkey = await enrolled(bench, records, "Rosa")
        stood = session(bench, person)
        assert await records.open_staff_session(stood, passkey, 0)
        assert await records.remove_staff(person.id)
        assert not await records.remove_staff(person.id)
        assert await records.find_staff_session(stood.token_hash, bench.now, IDLE) is None
        assert await records.find_staff_passkey(passkey.credential_id) is None

    bench.run(story)


def test_no_more_sign_ins_of_one_person_stand_than_allowed(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        person, passkey = await enrolled(bench, records, "Rosa")
        for _ in range(13):
            bench.now += timedelta(seconds=1)
            assert await records.open_staff_session(session(bench, person), passkey, 0)
        assert len(await records.staff_sessions(bench.now, IDLE)) == 10

    bench.run(story)


def test_a_proposal_is_taken_up_by_one_other_person_and_takes_effect_once(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        mine, other = proposal(bench, "rosa"), proposal(bench, "rosa")
        await records.add_proposal(mine)
        await records.add_proposal(other)
        assert not await records.begin_approval(mine.id, "rosa", bench.now)
        second = await bench.second()
        taken = await asyncio.gather(*(each.begin_approval(mine.id, who, bench.now) for each, who in ((records, "sam"), (second, "tess"))))
        assert sorted(taken) == [False, True]
        winner, loser = ("sam", "tess") if taken[0] else ("tess", "sam")
        assert await records.put_in_force(mine.id, loser, after=0, log_index=7, now=bench.now) is None
        assert await records.standing() == Standing(frozenset(), 0, "")
        placed = await records.put_in_force(mine.id, winner, after=0, log_index=7, now=bench.now)
        assert placed is not None and (placed.version, placed.sources) == (1, {"policy.cedar": b"permit"})
        assert await second.standing() == Standing(frozenset(), 1, mine.digest)
        assert await records.policy_in_force() == placed
        found = await records.proposal(other.id)
        assert found is not None and found.state is ProposalState.STALE
        assert not await records.begin_approval(other.id, "sam", bench.now)

    bench.run(story)


def test_a_policy_that_the_house_did_not_put_in_force_is_not_believed(bench_of_records: RecordsBench) -> None:
    """Somebody writes into the database: another text, an older approval under a newer number, another place in the log."""
    bench = bench_of_records

    async def story(records: Records) -> None:
        mine = proposal(bench, "rosa")
        await records.add_proposal(mine)
        assert await records.begin_approval(mine.id, "sam", bench.now)
        assert await records.put_in_force(mine.id, "sam", after=0, log_index=7, now=bench.now)
        row = (await records._driver.read("SELECT sources FROM policies"))[0][0]
        assert b"permit" not in row
        forged = (("UPDATE policies SET sources = ?", b"\x01" + row[1:-1] + b"x"), ("UPDATE policies SET version = ?", 2))
        back = (("UPDATE policies SET sources = ?", row), ("UPDATE policies SET version = ?", 1))
        for (sql, value), (undo, was) in zip(forged, back, strict=True):
            await records._driver.write(only(sql, value))
            with pytest.raises(Fault):
                await records.policy_in_force()
            await records._driver.write(only(undo, was))
        await records._driver.write(only("UPDATE policies SET log_index = 8"))
        with pytest.raises(Fault):
            await records.policy_in_force()

    bench.run(story)


def test_of_two_policies_approved_at_once_one_becomes_the_next_version(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        both = [proposal(bench, "rosa"), proposal(bench, "sam")]
        for each in both:
            await records.add_proposal(each)
            assert await records.begin_approval(each.id, "tess", bench.now)
        done = await asyncio.gather(
            *(records.put_in_force(each.id, "tess", after=0, log_index=7, now=bench.now) for each in both), return_exceptions=True
        )
        assert sum(isinstance(each, RecordsConflict) for each in done) == 1
        assert (await records.standing()).version == 1
        states = {each.state for each in await records.proposals()}
        assert states == {ProposalState.IN_FORCE, ProposalState.APPROVING}

    bench.run(story)


def test_an_approval_that_died_half_way_is_taken_up_again_after_a_while(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        mine = proposal(bench, "rosa")
        await records.add_proposal(mine)
        assert await records.begin_approval(mine.id, "sam", bench.now)
        assert not await records.begin_approval(mine.id, "tess", bench.now + timedelta(seconds=29))
        assert await records.begin_approval(mine.id, "tess", bench.now + timedelta(seconds=31))
        assert await records.put_in_force(mine.id, "sam", after=0, log_index=7, now=bench.now) is None
        await records.give_up_approval(mine.id, "tess", ProposalState.OPEN)
        assert await records.reject_proposal(mine.id, "tess", bench.now)
        assert not await records.reject_proposal(mine.id, "tess", bench.now)
        for _ in range(20):
            await records.add_proposal(proposal(bench, "rosa"))
        with pytest.raises(RecordsConflict):
            await records.add_proposal(proposal(bench, "rosa"))

    bench.run(story)


def test_one_person_pulls_a_switch_and_two_undo_it(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        await records.pull_switch(WEB, "rosa", "phishing wave", bench.now)
        await records.pull_switch(EVERYTHING, "rosa", "", bench.now)
        assert (await records.standing()).off == {"everything:", "platform:parley-web"}
        assert not await records.undo_switch(WEB, "", "sam")
        assert await records.ask_undo(WEB, "rosa")
        assert not await records.ask_undo(WEB, "tess")
        assert not await records.undo_switch(WEB, "rosa", "rosa")
        assert not await records.undo_switch(WEB, "tess", "sam")
        await records.pull_switch(WEB, "tess", "again", bench.now)
        assert not await records.undo_switch(WEB, "rosa", "sam"), "pulled again: the question is void"
        assert await records.ask_undo(WEB, "rosa")
        assert await records.keep_off(WEB) and not await records.keep_off(WEB)
        assert await records.ask_undo(WEB, "rosa")
        second = await bench.second()
        done = await asyncio.gather(records.undo_switch(WEB, "rosa", "sam"), second.undo_switch(WEB, "rosa", "tess"))
        assert sorted(done) == [False, True]
        assert (await records.standing()).off == {"everything:"}
        assert [each.reason for each in await records.pulled_switches()] == [""]

    bench.run(story)


def test_what_somebody_did_is_told_to_the_log_by_one_process_at_a_time(bench_of_records: RecordsBench) -> None:
    bench = bench_of_records

    async def story(records: Records) -> None:
        for number in range(3):
            await records.add_act(Act(f"act-{number}", "rosa", "switch", {"act": "pull"}, bench.now + timedelta(seconds=number), None))
        await records.act_logged("act-0", 41)
        bench.now += timedelta(seconds=20)
        second = await bench.second()
        leased = await asyncio.gather(*(each.lease_acts(bench.now, timedelta(seconds=5)) for each in (records, second)))
        assert sorted(act.id for acts in leased for act in acts) == ["act-1", "act-2"]
        assert await records.lease_acts(bench.now, timedelta(seconds=5)) == ()
        assert [act.log_index for act in await records.acts()] == [None, None, 41]

    bench.run(story)
