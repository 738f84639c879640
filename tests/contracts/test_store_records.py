"""What the records promise, on both databases."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta

import msgspec
import pytest

from parley.model.grants import GrantState
from parley.model.linking import Asker, ConsentAttempt, Errand, LinkAttempt, Origin, Pairing, Session
from parley.model.refusals import BudgetSpent, Fault, GrantRevoked, LinkExpired, LinkLost, ReplayedMessage
from parley.store import FileKeyRing, KeysUnsafe, Records, RecordsConflict

ERRAND = Errand(Origin.CHAT, "parley-web", "web", Asker("Chat"), wish="balance")


def test_nobody_stands_behind_an_unknown_conversation(bench_of_records):
    async def story(records: Records) -> None:
        case = await records.open_case(bench_of_records.question())
        assert case.customer is None
        assert case.grants == ()
        assert await records.customer_of("web", "conversation-one") is None

    bench_of_records.run(story)


def test_everything_about_a_linked_customer_is_read_at_once(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, grant = await bench.linked(records)
        for _ in range(2):
            case = await records.open_case(bench.question())
            assert (case.customer, case.bank, case.grants, case.tokens) == (customer, "oakbank", (grant,), bench.tokens())
            assert [msgspec.structs.replace(account, ref="") for account in case.accounts] == [bench.account()]
            assert len(case.accounts[0].ref) == 16
            assert case.vault is not None
            assert case.vault.open("a context", case.vault.seal("a context", b"")) == b""
            assert len(case.vault.salt(bytes(16))) == 32

    bench.run(story)


def test_a_change_is_seen_by_the_very_next_question(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, grant = await bench.linked(records)
        await records.open_case(bench.question())
        await records.update_tokens(customer, bench.tokens("second"))
        assert (await records.open_case(bench.question())).tokens == bench.tokens("second")
        await records.revoke_grant(grant.id, bench.now)
        assert (await records.open_case(bench.question())).grants[0].state is GrantState.REVOKED
        await records.mark_link_lost(customer)
        case = await records.open_case(bench.question())
        assert case.bank == "oakbank"
        assert case.tokens is None
        await records.erase(customer, bench.now)
        assert (await records.open_case(bench.question())).customer is None

    bench.run(story)


def test_a_grant_on_one_platform_is_not_shown_to_another(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        await bench.linked(records)
        assert (await records.open_case(bench.question(platform="other.example"))).grants == ()
        assert (await records.open_case(bench.question(channel="messenger"))).customer is None

    bench.run(story)


def test_active_grants_come_before_revoked_ones_and_newer_before_older(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, first = await bench.linked(records)
        second, third = bench.grant(customer), bench.grant(customer)
        await records.join("web", "conversation-one", customer, (second, third))
        await records.revoke_grant(third.id, bench.now)
        case = await records.open_case(bench.question())
        assert [grant.id for grant in case.grants] == [second.id, first.id, third.id]

    bench.run(story)


def test_the_same_person_is_the_same_customer_on_every_channel(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        first = await records.save_bank_link("oakbank", "owner-1", bench.tokens(), (bench.account(),))
        refs = [account.ref for account in await records.bank_accounts(first)]
        again = await records.save_bank_link("oakbank", "owner-1", bench.tokens("later"), (bench.account(), bench.account("native-2")))
        other_owner = await records.save_bank_link("oakbank", "owner-2", bench.tokens(), (bench.account(),))
        other_bank = await records.save_bank_link("elmbank", "owner-1", bench.tokens(), (bench.account(),))
        assert again == first
        assert len({first, other_owner, other_bank}) == 3
        assert [account.ref for account in await records.bank_accounts(first)][:1] == refs
        assert [account.ref for account in await records.bank_accounts(other_owner)] != refs
        assert await records.bank_tokens(first) == ("oakbank", bench.tokens("later"))

    bench.run(story)


def test_a_renewal_that_was_overtaken_replaces_nothing(bench_of_records):
    """She linked anew while a renewal was under way, or another gateway renewed first: what is stored stands."""
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, _ = await bench.linked(records)
        held = await records.bank_tokens(customer)
        assert held is not None
        before = held[1]
        assert await records.update_tokens(customer, bench.tokens("renewed"), instead_of=before) == bench.tokens("renewed")
        assert await records.update_tokens(customer, bench.tokens("late"), instead_of=before) == bench.tokens("renewed")
        assert await records.bank_tokens(customer) == ("oakbank", bench.tokens("renewed"))
        at_once = [records.update_tokens(customer, bench.tokens(f"n{number}"), instead_of=bench.tokens("renewed")) for number in range(5)]
        assert len({told.access_token for told in await asyncio.gather(*at_once)}) == 1

    bench.run(story)


def test_a_lost_link_has_no_tokens_and_a_renewal_does_not_revive_it(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, _ = await bench.linked(records)
        await records.mark_link_lost(customer)
        assert await records.bank_tokens(customer) is None
        with pytest.raises(LinkLost):
            await records.update_tokens(customer, bench.tokens("late"))
        with pytest.raises(LinkLost):
            await records.update_tokens("0" * 32, bench.tokens())
        assert len(await records.bank_accounts(customer)) == 1
        await records.save_bank_link("oakbank", "owner-1", bench.tokens("anew"), (bench.account(),))
        assert await records.bank_tokens(customer) == ("oakbank", bench.tokens("anew"))

    bench.run(story)


def test_a_session_lasts_until_it_ends_or_expires(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        session = Session(secrets.token_bytes(32), "conversation-one", "csrf-value", bench.now, bench.now + timedelta(hours=1))
        await records.add_session(session)
        assert await records.find_session(session.token_hash, bench.now) == session
        assert await records.find_session(bytes(32), bench.now) is None
        assert await records.find_session(session.token_hash, session.expires_at) is None
        await records.end_session(session.token_hash)
        assert await records.find_session(session.token_hash, bench.now) is None

    bench.run(story)


def test_an_attempt_works_once_and_only_in_time(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        token, late = secrets.token_bytes(32), secrets.token_bytes(32)
        expires_at = bench.now + timedelta(minutes=5)
        link = LinkAttempt(token, bytes(32), "oakbank", "verifier", ERRAND, expires_at)
        consent = ConsentAttempt(token, bytes(32), "c" * 32, ERRAND, "7" * 64, expires_at)
        pairing = Pairing(token, bytes(32), "42 17", expires_at)
        await records.add_attempt(link)
        await records.add_consent_attempt(consent)
        await records.add_pairing(pairing)
        assert await records.peek_pairing(token, bench.now) == pairing
        assert await records.take_attempt(token, bench.now) == link
        assert await records.take_consent_attempt(token, bench.now) == consent
        assert await records.take_pairing(token, bench.now) == pairing
        for take in (records.take_attempt, records.take_consent_attempt, records.take_pairing, records.peek_pairing):
            assert await take(token, bench.now) is None
        await records.add_attempt(msgspec.structs.replace(link, state_hash=late))
        await records.add_pairing(msgspec.structs.replace(pairing, token_hash=late))
        assert await records.peek_pairing(late, expires_at) is None
        assert await records.take_attempt(late, expires_at) is None
        assert await records.take_attempt(late, bench.now) is None

    bench.run(story)


def test_a_revocation_stands_at_once_and_is_due_until_the_notary_was_told(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, grant = await bench.linked(records)
        other = bench.grant(customer)
        await records.join("web", "conversation-one", customer, (other,))
        revoked = await records.revoke_grant(grant.id, bench.now)
        assert revoked == msgspec.structs.replace(grant, version=2, state=GrantState.REVOKED, log_index=None)
        assert await records.revoke_grant(grant.id, bench.now) == revoked
        assert await records.revoke_grant("unknown", bench.now) is None
        assert await records.grants_of(customer, active_only=True, now=bench.now) == (other,)
        assert set(await records.grants_of(customer, active_only=False, now=bench.now)) == {other, revoked}
        assert await records.revocations_due() == (revoked,)
        await records.revocation_told(grant.id, 99)
        assert await records.revocations_due() == ()
        assert await records.grant_history(grant.id) == (grant, msgspec.structs.replace(revoked, log_index=99))

    bench.run(story)


def test_an_expired_grant_is_not_active(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, grant = await bench.linked(records)
        assert await records.grants_of(customer, active_only=True, now=grant.expires_at - timedelta(seconds=1)) == (grant,)
        assert await records.grants_of(customer, active_only=True, now=grant.expires_at) == ()
        assert await records.grants_of(customer, active_only=False, now=grant.expires_at) == (grant,)

    bench.run(story)


def test_a_changed_grant_takes_the_place_of_the_one_that_stands(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, grant = await bench.linked(records)
        narrower = msgspec.structs.replace(grant, version=2, accounts=grant.accounts[:1])
        await records.join("web", "conversation-one", customer, (narrower,))
        assert (await records.open_case(bench.question())).grants == (narrower,)
        await records.revoke_grant(grant.id, bench.now)
        with pytest.raises(RecordsConflict):
            await records.join("web", "conversation-one", customer, (msgspec.structs.replace(grant, version=4),))
        with pytest.raises(RecordsConflict):
            await records.join("web", "conversation-one", customer, (grant,))

    bench.run(story)


def test_a_message_is_answered_once(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records)
        await records.claim(bench.question("m1"), grant, day=bench.today, rows=1)
        with pytest.raises(ReplayedMessage):
            await records.claim(bench.question("m1"), grant, day=bench.today, rows=1)
        await records.claim(bench.question("m2"), grant, day=bench.today, rows=1)
        await records.claim(bench.question("m1", conversation="another"), grant, day=bench.today, rows=1)

    bench.run(story)


def test_the_budget_of_answers_ends_at_its_edge_and_begins_anew_at_midnight(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records, answers=2)
        await records.claim(bench.question("m1"), grant, day=bench.today, rows=0)
        await records.claim(bench.question("m2"), grant, day=bench.today, rows=0)
        with pytest.raises(BudgetSpent):
            await records.claim(bench.question("m3"), grant, day=bench.today, rows=0)
        await records.claim(bench.question("m3"), grant, day=bench.today + timedelta(days=1), rows=0)

    bench.run(story)


def test_the_budget_of_rows_ends_at_its_edge_and_a_refusal_spends_nothing(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records, rows=10)
        with pytest.raises(BudgetSpent):
            await records.claim(bench.question("m0"), grant, day=bench.today, rows=11)
        await records.claim(bench.question("m0"), grant, day=bench.today, rows=6)
        with pytest.raises(BudgetSpent):
            await records.claim(bench.question("m1"), grant, day=bench.today, rows=5)
        await records.claim(bench.question("m1"), grant, day=bench.today, rows=4)
        with pytest.raises(ValueError, match="give rows back"):
            await records.claim(bench.question("m2"), grant, day=bench.today, rows=-1)

    bench.run(story)


def test_a_grant_without_answers_gives_none(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records, answers=0)
        with pytest.raises(BudgetSpent):
            await records.claim(bench.question(), grant, day=bench.today, rows=0)

    bench.run(story)


def test_nothing_is_claimed_under_a_grant_that_was_revoked_meanwhile(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records)
        revoked = await records.revoke_grant(grant.id, bench.now)
        for version in (grant, revoked):
            with pytest.raises(GrantRevoked):
                await records.claim(bench.question(), version, day=bench.today, rows=1)

    bench.run(story)


def test_seen_messages_are_forgotten_after_eight_days_and_not_before(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records)
        await records.claim(bench.question(), grant, day=bench.today, rows=1)
        bench.now += timedelta(days=7, hours=23)
        assert await records.prune() == 0
        with pytest.raises(ReplayedMessage):
            await records.claim(bench.question(), grant, day=bench.today, rows=1)
        bench.now += timedelta(days=2)
        assert await records.prune() == 2
        await records.claim(bench.question(), grant, day=bench.today, rows=1)

    bench.run(story)


def test_many_old_messages_are_forgotten_step_by_step_and_no_young_one(bench_of_records, monkeypatch):
    bench = bench_of_records
    monkeypatch.setattr("parley.store.cases._PRUNED_AT_ONCE", 4)

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records, answers=1_000)
        for number in range(11):
            await records.claim(bench.question(f"old-{number}"), grant, day=bench.today, rows=0)
        bench.now += timedelta(days=9)
        for number in range(7):
            await records.claim(bench.question(f"young-{number}"), grant, day=bench.today, rows=0)
        deleted = [await records.prune() for _ in range(12)]
        assert max(deleted) <= 5 and sum(deleted) == 11 + 1  # The old day's budget goes, too.
        for number in range(7):
            with pytest.raises(ReplayedMessage):
                await records.claim(bench.question(f"young-{number}"), grant, day=bench.today, rows=0)

    bench.run(story)


def test_claims_forget_what_is_old_as_they_go(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records, answers=1_000)
        session = Session(bytes(32), "conversation", "csrf", bench.now, bench.now + timedelta(hours=1))
        await records.add_session(session)
        bench.now += timedelta(hours=2)
        for number in range(130):
            await records.claim(bench.question(f"m{number}"), grant, day=bench.today, rows=0)
        assert await records.prune() == 0
        await records.add_session(session)

    bench.run(story)


def test_erasure_leaves_nothing_that_opens_and_tells_the_notary(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, grant = await bench.linked(records)
        other, other_grant = await bench.linked(records, "owner-2", "conversation-two")
        await records.erase(customer, bench.now)
        await records.erase(customer, bench.now)
        assert (await records.open_case(bench.question())).customer is None
        assert await records.vault_of(customer) is None
        assert await records.bank_tokens(customer) is None
        assert await records.bank_accounts(customer) == ()
        assert [due.id for due in await records.revocations_due()] == [grant.id]
        with pytest.raises(LinkExpired):
            await records.join("web", "conversation-one", customer, (bench.grant(customer),))
        await records.revocation_told(grant.id, 5)
        assert await records.grant_history(grant.id) == ()
        assert (await records.open_case(bench.question(conversation="conversation-two"))).grants == (other_grant,)
        assert await records.vault_of(other) is not None

    bench.run(story)


def test_who_was_erased_and_comes_back_is_someone_new(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, _ = await bench.linked(records)
        before = (await records.open_case(bench.question())).accounts[0].ref
        await records.erase(customer, bench.now)
        again, _ = await bench.linked(records)
        assert again != customer
        assert (await records.open_case(bench.question())).accounts[0].ref != before

    bench.run(story)
    bench.extra.clear()

    async def after_a_restart(records: Records) -> None:
        assert (await records.open_case(bench.question())).customer is not None

    bench.run(after_a_restart)


def test_everything_is_there_after_a_restart(bench_of_records):
    bench = bench_of_records
    kept = []

    async def before(records: Records) -> None:
        kept.extend(await bench.linked(records))
        case = await records.open_case(bench.question())
        assert case.vault is not None
        kept.append(case.vault.seal("private half", b"what was promised"))

    async def after(records: Records) -> None:
        case = await records.open_case(bench.question())
        assert (case.customer, case.grants[0]) == tuple(kept[:2])
        assert case.vault is not None
        assert case.vault.open("private half", kept[2]) == b"what was promised"

    bench.run(before)
    bench.run(after)


def test_a_new_wrapping_key_takes_over_without_touching_the_data(bench_of_records):
    bench = bench_of_records
    sealed = []

    async def rotate(records: Records) -> None:
        await bench.linked(records)
        await bench.linked(records, "owner-2", "conversation-two")
        case = await records.open_case(bench.question())
        assert case.vault is not None
        sealed.append(case.vault.seal("x", b"kept"))
        ring = records._keys
        assert await ring.rotate() == 2
        assert await records.rewrap() == 3
        assert await records.rewrap() == 0
        await ring.destroy(1)
        with pytest.raises(KeysUnsafe):
            await ring.destroy(2)

    async def after(records: Records) -> None:
        assert await FileKeyRing(bench.keys_directory).newest() == 2
        case = await records.open_case(bench.question())
        assert case.vault is not None
        assert case.tokens == bench.tokens()
        assert case.vault.open("x", sealed[0]) == b"kept"

    bench.run(rotate)
    bench.run(after)


def test_a_closed_house_answers_with_a_fault(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records)
        await records.aclose()
        await records.aclose()
        with pytest.raises(Fault):
            await records.open_case(bench.question())
        with pytest.raises(Fault):
            await records.claim(bench.question(), grant, day=bench.today, rows=0)

    bench.run(story)
