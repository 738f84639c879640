"""Somebody who can write the database, but has no key: what he changes is noticed, row by row."""

from __future__ import annotations

import msgspec
import pytest

from parley.model.refusals import Fault
from parley.model.words import Projection
from parley.store import Records
from parley.store.driver import only
from tests.fixtures_postgres import RecordsBench


async def _two(bench: RecordsBench, records: Records) -> tuple[str, str]:
    """Alice at conversation-one; Mallory at conversation-two, with a wider grant."""
    alice, _ = await bench.linked(records, "alice")
    mallory = await records.save_bank_link("oakbank", "mallory", bench.tokens(), (bench.account(),))
    wide = msgspec.structs.replace(bench.grant(mallory), projections=frozenset(Projection), lookback_days=730)
    await records.join("web", "conversation-two", mallory, (wide,))
    return alice, mallory


WIDENED = {
    "other terms": "UPDATE grants SET terms = (SELECT max(number) FROM terms)",
    "reworded terms": "UPDATE terms SET lookback_days = 730",
    "another platform": "UPDATE terms SET platform = 'other.example'",
    "other accounts": "UPDATE grants SET accounts = handle",
    "a longer life": "UPDATE grants SET expires_at = expires_at + 86400",
    "another beginning": "UPDATE grants SET created_at = created_at + 1",
    "another version": "UPDATE grants SET version = version + 1",
    "another handle": "UPDATE grants SET handle = text_hash",
    "another text": "UPDATE grants SET text_hash = mac",
    "another mark": "UPDATE grants SET mac = (SELECT g.mac FROM grants g ORDER BY g.number DESC LIMIT 1)",
    "no mark": "UPDATE grants SET mac = NULL",
}


@pytest.mark.parametrize("how", WIDENED)
def test_a_grant_that_was_widened_in_the_database_is_no_consent(bench_of_records, how):
    bench = bench_of_records

    async def story(records: Records) -> None:
        alice, _ = await _two(bench, records)
        await records._driver.write(only(WIDENED[how]))
        stranger = await bench.second()  # Another process, which has read nothing yet.
        for desk in (stranger,) if "terms" in how or "platform" in how else (records, stranger):
            with pytest.raises(Fault):
                await desk.grants_of(alice, active_only=False, now=bench.now)
            with pytest.raises(Fault):
                await desk.open_case(bench.question(platform="other.example" if how == "another platform" else "chat.example"))

    bench.run(story)


def test_a_revoked_grant_is_not_brought_back_by_its_state_alone(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records)
        await records.revoke_grant(grant.id, bench.now)
        await records._driver.write(only("UPDATE grants SET state = 1"))
        with pytest.raises(Fault):
            await records.open_case(bench.question())

    bench.run(story)


def test_a_grant_is_not_given_to_another_customer(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, mallory = await _two(bench, records)
        await records._driver.write(only("UPDATE grants SET customer = (SELECT max(number) FROM customers)"))
        await records._driver.write(only("UPDATE grants SET customer = (SELECT number FROM customers WHERE id = ?)", mallory))
        with pytest.raises(Fault):
            await records.grants_of(mallory, active_only=False, now=bench.now)

    bench.run(story)


def test_a_conversation_is_not_bound_to_another_customer(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        alice, mallory = await _two(bench, records)
        await records._driver.write(only("UPDATE links SET customer = ? WHERE customer = ?", alice, mallory))
        with pytest.raises(Fault):
            await records.open_case(bench.question(conversation="conversation-two"))
        with pytest.raises(Fault):
            await records.customer_of("web", "conversation-two")
        assert await records.customer_of("web", "conversation-one") == alice

    bench.run(story)


def test_a_spoiled_grant_keeps_nobody_from_stopping_the_others_or_being_erased(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, grant = await bench.linked(records)
        other = bench.grant(customer)
        await records.join("web", "conversation-one", customer, (other,))
        await records._driver.write(only("UPDATE grants SET mac = ? WHERE id = ?", bytes(16), bytes.fromhex(other.id)))
        await records.revoke_grant(grant.id, bench.now)
        assert [due.id for due in await records.revocations_due()] == [grant.id]
        await records.erase(customer, bench.now)
        assert await records.vault_of(customer) is None
        await records.revocation_told(grant.id, 3)
        assert await records._driver.read("SELECT 1 FROM grants") == []

    bench.run(story)
