"""What officers decide while the log, the clock or a policy is against them: what closes takes effect, what opens does not."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import msgspec
import pytest

from parley.console.officer.charts import REST, over_time
from parley.console.officer.desks import Desks, open_desks
from parley.console.officer.roles import BaseMoved, DecidedAlready, FourEyes, InvitationSpent, PolicyUnfit, SignedOut, SignInTooOld, TooManyWait
from parley.console.officer.signing_in import hash_of, new_token
from parley.console.officer.tallies import PAGE, Tallies, by
from parley.console.passkeys import PasskeyRejected, PasskeySite
from parley.guard import Guard, PolicyInForce
from parley.model.refusals import LogUnavailable, SwitchedOff
from parley.model.staff import PolicyVersion, ProposalState, Role, Scope, StaffMember, StaffTicket, SwitchName, TicketKind
from parley.model.words import Purpose
from parley.policy import Policy, load_policy
from parley.proof import Inclusion, canonical
from parley.store import Records
from tests.fakes.authenticator import SoftAuthenticator
from tests.fakes.road import FORBID, POLICY, policy_from
from tests.fixtures_postgres import RecordsBench

SITE = PasskeySite.at("http://127.0.0.1:8080", "A bank")
EVERYTHING = SwitchName(Scope.EVERYTHING)


@dataclass
class PaperLog:
    """Keeps entries in order; `down` takes nothing and shows nothing."""

    down: bool = False
    kept: list[bytes] = field(default_factory=list)

    async def record(self, entry: bytes, side: bytes, *, handle: bytes | None, version: int | None) -> Inclusion:
        if self.down:
            raise LogUnavailable("down")
        self.kept.append(entry)
        return Inclusion(len(self.kept) - 1, b"", ())

    async def entries(self, first: int, count: int) -> Sequence[bytes]:
        if self.down:
            raise LogUnavailable("down")
        return self.kept[first : first + count]

    @property
    def acts(self) -> list[str]:
        return [str(facts.get("act", facts["k"])) for facts in map(msgspec.json.decode, self.kept)]


@dataclass
class Office:
    """The desks over real records, with a log that a test turns off."""

    records: Records
    bench: RecordsBench
    log: PaperLog
    policies: PolicyInForce
    guard: Guard
    desks: Desks
    rosa: StaffMember
    sam: StaffMember

    def changed(self) -> dict[str, bytes]:
        sources = self.policies.current().sources
        return {**sources, "policy.cedar": sources["policy.cedar"] + FORBID.replace("not-today", f"rule-{secrets.token_hex(4)}").encode()}


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return policy_from(tmp_path_factory.mktemp("policy"), POLICY)


@pytest.fixture
def tell(bench_of_records: RecordsBench, policy: Policy) -> Callable[[Callable[[Office], Awaitable[None]]], None]:
    """Tells a story in an office, on SQLite and on PostgreSQL."""

    def run(story: Callable[[Office], Awaitable[None]]) -> None:
        async def whole(records: Records) -> None:
            log = PaperLog()

            async def announce(found: Policy) -> int:
                entry = canonical({"b": 0, "k": "policy", "pol": found.digest, "v": 1})
                return (await log.record(entry, b"", handle=None, version=None)).index

            async def announce_only(found: Policy) -> None:
                await announce(found)

            async def must_be_logged(approved: PolicyVersion) -> None:
                assert msgspec.json.decode(log.kept[approved.log_index])["pol"] == approved.digest

            policies = PolicyInForce(policy, 0, records=records, load=load_policy, announce=announce_only, must_be_logged=must_be_logged)
            guard = Guard(records, policies)
            clock = lambda: bench_of_records.now  # noqa: E731
            desks = open_desks(records, log, policies, guard, site=SITE, announce=announce, clock=clock)
            people = [StaffMember(secrets.token_hex(8), name, Role.OFFICER, bench_of_records.now, enrolled=False) for name in ("Rosa", "Sam")]
            for each in people:
                invitation = StaffTicket(hash_of(each.name), TicketKind.INVITATION, each.id, b"", bench_of_records.now + timedelta(hours=24))
                await records.add_staff(each, invitation)
            await guard.look()
            await story(Office(records, bench_of_records, log, policies, guard, desks, *people))

        bench_of_records.run(whole)

    return run


def test_a_switch_works_while_the_log_is_down_and_the_log_hears_of_it_later(tell) -> None:
    async def story(office: Office) -> None:
        office.log.down = True
        await office.desks.switches.pull(office.rosa, EVERYTHING, "phishing\x1b[31m wave")
        with pytest.raises(SwitchedOff):
            office.guard.check("parley-web", Purpose.ANSWER_CUSTOMER, office.policies.digest)
        assert [each.log_index for each in await office.records.acts()] == [None]
        assert (await office.desks.switches.pulled())[0].reason == "phishing wave"
        office.log.down = False
        await office.desks.journal.tell()
        assert office.log.acts == [], "whoever pulled is trying at this moment"
        office.bench.now += timedelta(seconds=6)
        await office.desks.journal.tell()
        await office.desks.journal.tell()
        assert office.log.acts == ["pull"]

    tell(story)


def test_nothing_is_switched_on_while_the_log_is_down(tell) -> None:
    async def story(office: Office) -> None:
        await office.desks.switches.pull(office.rosa, EVERYTHING, "")
        await office.desks.switches.ask_undo(office.rosa, EVERYTHING)
        office.log.down = True
        with pytest.raises(LogUnavailable):
            await office.desks.switches.undo(office.sam, EVERYTHING)
        assert (await office.records.standing()).off
        office.log.down = False
        await office.desks.switches.undo(office.sam, EVERYTHING)
        assert not (await office.records.standing()).off
        office.guard.check("parley-web", Purpose.ANSWER_CUSTOMER, office.policies.digest)
        with pytest.raises(DecidedAlready):
            await office.desks.switches.undo(office.sam, EVERYTHING)

    tell(story)


def test_no_policy_takes_effect_while_the_log_is_down(tell) -> None:
    async def story(office: Office) -> None:
        before = office.policies.digest
        made = await office.desks.policy.propose(office.rosa, office.changed(), "why")
        office.log.down = True
        with pytest.raises(LogUnavailable):
            await office.desks.policy.approve(office.sam, made.id)
        assert (await office.records.standing()).version == 0
        assert office.policies.digest == before
        office.log.down = False
        await office.desks.policy.approve(office.sam, made.id)
        await office.desks.policy.caught_up()
        assert (office.policies.version, office.policies.digest) == (1, made.digest)
        assert office.log.acts.index("policy") < office.log.acts.index("approve")

    tell(story)


def test_four_eyes_and_one_decision(tell) -> None:
    async def story(office: Office) -> None:
        made = await office.desks.policy.propose(office.rosa, office.changed(), "why")
        other = await office.desks.policy.propose(office.sam, office.changed(), "why else")
        with pytest.raises(FourEyes):
            await office.desks.policy.approve(office.rosa, made.id)
        await office.desks.policy.approve(office.sam, made.id)
        await office.desks.policy.caught_up()
        for proposal in (made.id, other.id):
            with pytest.raises(DecidedAlready):
                await office.desks.policy.approve(office.rosa if proposal == other.id else office.sam, proposal)
        found = await office.records.proposal(other.id)
        assert found is not None and found.state is ProposalState.STALE

    tell(story)


def test_a_proposal_is_not_approved_over_a_policy_it_was_never_compared_with(tell) -> None:
    async def story(office: Office) -> None:
        made = await office.desks.policy.propose(office.rosa, office.changed(), "why")
        other = await load_elsewhere(office)
        await office.policies.replace(other)
        with pytest.raises(BaseMoved):
            await office.desks.policy.approve(office.sam, made.id)
        assert (await office.records.standing()).version == 0

    tell(story)


async def load_elsewhere(office: Office) -> Policy:
    """Another policy of the settings' own, as a reload of the file brings it."""
    return await office.policies.loaded(office.changed())


def test_what_does_not_load_or_changes_nothing_is_not_proposed_and_too_many_do_not_wait(tell) -> None:
    async def story(office: Office) -> None:
        sources = office.policies.current().sources
        for bad in ({**sources, "policy.cedar": b"permit("}, {"policy.cedar": b""}, {**sources, "more.txt": b""}, sources):
            with pytest.raises(PolicyUnfit):
                await office.desks.policy.propose(office.rosa, bad, "")
        assert await office.records.proposals() == ()
        changed = office.changed()
        for _ in range(20):
            await office.desks.policy.propose(office.rosa, changed, "")
        with pytest.raises(TooManyWait):
            await office.desks.policy.propose(office.rosa, changed, "")

    tell(story)


def test_an_old_ceremony_an_idle_session_and_an_old_sign_in(tell) -> None:
    async def story(office: Office) -> None:
        signing, device = office.desks.signing, SoftAuthenticator(SITE.origin, SITE.relying_party)
        options, token = await signing.begin_enrolling("Rosa")
        await signing.enrol("Rosa", token, device.create(options))
        with pytest.raises(InvitationSpent):
            await signing.begin_enrolling("Rosa")
        options, token = await signing.begin_sign_in()
        office.bench.now += timedelta(minutes=3)
        with pytest.raises(PasskeyRejected):
            await signing.sign_in(token, device.get(options))
        options, token = await signing.begin_sign_in()
        session_token = await signing.sign_in(token, device.get(options))
        session = await signing.find(session_token)
        signing.must_be_fresh(session)
        office.bench.now += timedelta(minutes=10, seconds=1)
        with pytest.raises(SignInTooOld):
            signing.must_be_fresh(await signing.find(session_token))
        office.bench.now += timedelta(minutes=15)
        with pytest.raises(SignedOut):
            await signing.find(session_token)
        for stranger in (None, "", new_token(), "x" * 65, "ä"):
            with pytest.raises(SignedOut):
                await signing.find(stranger)

    tell(story)


def test_somebody_elses_ceremony_makes_nobody_a_passkey(tell) -> None:
    async def story(office: Office) -> None:
        signing, device = office.desks.signing, SoftAuthenticator(SITE.origin, SITE.relying_party)
        options, token = await signing.begin_enrolling("Sam")
        with pytest.raises(PasskeyRejected):
            await signing.enrol("Rosa", token, device.create(options))
        assert not any(each.enrolled for each in await office.records.all_staff())

    tell(story)


def test_the_log_is_counted_once_a_page_at_a_time_whatever_stands_in_it() -> None:
    import asyncio

    log = PaperLog()
    release = {"b": 86_400 * 20_000, "c": "x", "ch": "web", "d": "balance.available", "k": "release", "n": 0, "p": "parley-web", "pol": "p", "u": "u"}
    refusal = {"b": 86_400 * 20_001, "basis": "law", "ch": "web", "code": "purpose_forbidden", "k": "refusal", "p": "unknown", "pol": "p"}
    log.kept = [canonical(release)] * 250 + [b"not JSON", b"[" * 400] + [canonical(refusal)] * 3

    async def story() -> None:
        tallies = Tallies(log)
        await tallies.follow(entries_max=PAGE)
        assert (tallies.read, tallies.whole) == (PAGE, False)
        await tallies.follow()
        assert (tallies.read, tallies.whole) == (255, True)
        await tallies.follow()
        assert by(tallies.left, "platform") == {"parley-web": 250}
        assert by(tallies.refused, "code") == {"purpose_forbidden": 3}
        assert by(tallies.refused, "rule") == {"none": 3}
        assert tallies.kinds["unreadable"] == 2
        log.down = True
        with pytest.raises(LogUnavailable):
            await tallies.follow()
        assert by(tallies.left, "platform") == {"parley-web": 250}

    asyncio.run(story())


def test_a_picture_says_in_words_and_numbers_what_it_draws() -> None:
    today = date(2026, 11, 22)
    counts = Counter({(today - timedelta(days=number), f"kind-{number % 9}"): number + 1 for number in range(40)})
    chart = over_time("Things", counts, today)
    shown = sum(count for (day, _), count in counts.items() if day > today - timedelta(days=30))
    assert chart.total == shown == sum(sum(row) for _, row in chart.rows)
    assert len(chart.series) == 6 and chart.series[-1] == REST
    assert f"{shown:,}" in chart.summary
    assert all(bar.y >= 0 and bar.y + bar.height <= 200 and bar.x + bar.width <= 640 for bar in chart.bars)
    empty = over_time("Things", Counter(), today)
    assert empty.bars == () and "none" in empty.summary


def test_no_room_of_the_console_knows_a_word_for_a_value() -> None:
    """The officer's room imports nothing that could name a customer, an account, an amount or a statement."""
    folder = Path(__file__).parents[2] / "src" / "parley" / "console" / "officer"
    text = "\n".join(path.read_text() for path in folder.rglob("*.py"))
    for word in ("model.money", "model.ledger", "model.grants", "model.stages", "customers", "parley.store", "parley.banks", "side="):
        assert f"import {word}" not in text and f"parley.{word} " not in text
    assert "parley.model.stages" not in text and "CustomerVault" not in text
