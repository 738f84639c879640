"""What the records promise to the customer's own page, on both databases."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec
import pytest

from parley.model.customers import Disclosed, PasskeyChallenge, PasskeyUse, SignIn, SignInMethod, Spent, StoredPasskey
from parley.model.refusals import LinkExpired
from parley.model.words import Projection, Purpose
from parley.store import Records, RecordsConflict
from parley.store.disclosures import Note
from parley.store.passkeys import PASSKEYS_MAX, SIGN_INS_MAX, id_hash


def sign_in(customer: str, now: datetime, *, token: bytes = b"token", minutes: int = 60) -> SignIn:
    end = now + timedelta(minutes=minutes)
    return SignIn(sha256(token).digest(), customer, "csrf", SignInMethod.PASSKEY, "Firefox on Linux", now, now, now, end)


def passkey(now: datetime, credential_id: bytes = b"credential") -> StoredPasskey:
    return StoredPasskey(credential_id, b"public key", 3, "My phone", now)


def disclosed(now: datetime, index: int) -> Disclosed:
    return Disclosed("grant", 1, "parley-web", "web", Projection.BALANCE_AVAILABLE, Purpose.ANSWER_CUSTOMER, 2, index, now)


def test_a_sign_in_stands_until_its_end_and_only_its_owner_ends_it(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, _ = await bench.linked(records)
        made = sign_in(customer, bench.now)
        await records.add_sign_in(made)
        assert await records.find_sign_in(made.token_hash, bench.now) == made
        assert await records.find_sign_in(made.token_hash, bench.now + timedelta(minutes=60)) is None
        assert await records.find_sign_in(sha256(b"another").digest(), bench.now) is None
        later = bench.now + timedelta(minutes=5)
        await records.touch_sign_in(made.token_hash, later)
        assert await records.sign_ins_of(customer, later) == (msgspec.structs.replace(made, seen_at=later),)
        assert not await records.end_sign_in(made.token_hash, "0" * 32)
        assert await records.end_sign_in(made.token_hash, customer)
        assert await records.find_sign_in(made.token_hash, bench.now) is None

    bench.run(story)


def test_one_customer_holds_a_bounded_number_of_sign_ins_and_may_end_all_others(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, _ = await bench.linked(records)
        for number in range(SIGN_INS_MAX + 2):
            moment = bench.now + timedelta(seconds=number)
            await records.add_sign_in(sign_in(customer, moment, token=b"%d" % number))
        kept = await records.sign_ins_of(customer, bench.now)
        assert len(kept) == SIGN_INS_MAX
        assert sha256(b"0").digest() not in {each.token_hash for each in kept}
        assert await records.end_other_sign_ins(kept[0].token_hash, customer) == SIGN_INS_MAX - 1
        assert await records.sign_ins_of(customer, bench.now) == kept[:1]
        assert await records.prune_sign_ins(bench.now + timedelta(days=1)) == 1

    bench.run(story)


def test_a_passkey_counts_once_for_two_sign_ins_at_once(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, _ = await bench.linked(records)
        await records.add_passkey(customer, passkey(bench.now))
        assert await records.find_passkey(b"unknown") is None
        found = await records.find_passkey(b"credential")
        assert found == (customer, passkey(bench.now))
        assert await records.passkey_used(customer, found[1], 4, bench.now)
        assert not await records.passkey_used(customer, found[1], 5, bench.now)
        (kept,) = await records.passkeys_of(customer)
        assert (kept.sign_count, kept.uses, kept.used_at) == (4, 1, bench.now)
        with pytest.raises(RecordsConflict):
            await records.add_passkey(customer, passkey(bench.now))
        assert not await records.remove_passkey("0" * 32, id_hash(b"credential"))
        assert await records.remove_passkey(customer, id_hash(b"credential"))
        assert await records.passkeys_of(customer) == ()

    bench.run(story)


def test_nobody_collects_passkeys_without_end(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, _ = await bench.linked(records)
        for number in range(PASSKEYS_MAX):
            await records.add_passkey(customer, passkey(bench.now, b"%d" % number))
        with pytest.raises(RecordsConflict):
            await records.add_passkey(customer, passkey(bench.now, b"one more"))

    bench.run(story)


def test_a_challenge_is_answered_once_and_in_time(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        made = PasskeyChallenge(sha256(b"knock").digest(), PasskeyUse.SIGN_IN, None, secrets.token_bytes(32), bench.now + timedelta(minutes=2))
        await records.add_challenge(made)
        assert await records.take_challenge(made.token_hash, bench.now) == made
        assert await records.take_challenge(made.token_hash, bench.now) is None
        await records.add_challenge(made)
        assert await records.take_challenge(made.token_hash, made.expires_at) is None

    bench.run(story)


def test_the_ledger_keeps_every_release_once_in_order(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, _ = await bench.linked(records)
        vault = await records.vault_of(customer)
        notes = [Note(customer, vault, secrets.token_bytes(32), disclosed(bench.now, index)) for index in range(7)]
        await records.note_disclosures(notes[:5])
        await records.note_disclosures(notes)
        lines = await records.disclosures_of(customer)
        assert [(line.number, line.disclosed.log_index) for line in lines] == [(number, number - 1) for number in range(7, 0, -1)]
        assert await records.disclosures_of(customer, before=3) == lines[5:]
        assert await records.disclosures_of(customer, count=2) == lines[:2]
        assert await records.disclosures_of("0" * 32) == ()

    bench.run(story)


def test_an_erased_customer_leaves_no_page_behind(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, grant = await bench.linked(records)
        vault = await records.vault_of(customer)
        made = sign_in(customer, bench.now)
        await records.add_sign_in(made)
        await records.add_passkey(customer, passkey(bench.now))
        await records.note_disclosures([Note(customer, vault, bytes(32), disclosed(bench.now, 1))])
        await records.remind_once(customer, grant.id, 1, bench.now)
        await records.erase(customer, bench.now)
        assert await records.find_sign_in(made.token_hash, bench.now) is None
        assert await records.find_passkey(b"credential") is None
        await records.note_disclosures([Note(customer, vault, bytes(32), disclosed(bench.now, 2))])
        assert await records.disclosures_of(customer) == ()
        for late in (records.add_sign_in(made), records.add_passkey(customer, passkey(bench.now)), records.remind_once(customer, "g", 1, bench.now)):
            with pytest.raises(LinkExpired):
                await late

    bench.run(story)


def test_a_nickname_is_what_the_very_next_answer_says(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, _ = await bench.linked(records)
        (account,) = (await records.open_case(bench.question())).accounts
        assert not await records.rename_account(customer, "ffffffffffffffff", "Mine")
        assert await records.rename_account(customer, account.ref, "Rent and food")
        assert [each.name for each in (await records.open_case(bench.question())).accounts] == ["Rent and food"]
        assert await records.nicknames(customer) == {account.ref: "Rent and food"}
        await bench.linked(records)
        assert [each.name for each in await records.bank_accounts(customer)] == ["Rent and food"], "linking again forgets no name"
        assert await records.rename_account(customer, account.ref, None)
        assert await records.nicknames(customer) == {}
        assert not await records.rename_account("0" * 32, account.ref, "Theirs")

    bench.run(story)


def test_what_was_spent_today_is_told_per_grant(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records)
        day = bench.now.date()
        assert await records.spent([grant.id], day) == {}
        await records.claim(bench.question(), grant, day=day, rows=2)
        assert await records.spent([grant.id, "unknown"], day) == {grant.id: Spent(1, 2)}
        assert await records.spent([grant.id], day + timedelta(days=1)) == {}

    bench.run(story)


def test_a_reminder_is_given_once_for_each_version(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, grant = await bench.linked(records)
        assert await records.remind_once(customer, grant.id, 1, bench.now)
        assert not await records.remind_once(customer, grant.id, 1, bench.now)
        assert await records.remind_once(customer, grant.id, 2, bench.now)

    bench.run(story)
