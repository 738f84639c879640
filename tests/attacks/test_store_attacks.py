"""What must not work against the records: races, swapped rows, stolen files, lying disks."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import stat
import traceback
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from parley.model.linking import Asker, Errand, LinkAttempt, Origin, Session
from parley.model.refusals import BudgetSpent, Fault, RecordsUnavailable, ReplayedMessage
from parley.store import FileKeyRing, KeysUnsafe, Records, RecordsConflict, open_records
from parley.store.driver import only
from parley.store.postgres import require_tls

only_sqlite = pytest.mark.parametrize("bench_of_records", ["sqlite"], indirect=True)

ERRAND = Errand(Origin.CHAT, "parley-web", "web", Asker("Chat"), wish="balance")


async def _outcomes(*attempts) -> list[str]:
    results = await asyncio.gather(*attempts, return_exceptions=True)
    return sorted(type(result).__name__ for result in results)


def test_sixteen_claims_of_one_message_have_one_winner(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records)
        desks = [records, await bench.second()]
        outcomes = await _outcomes(*(desks[n % 2].claim(bench.question(), grant, day=bench.today, rows=1) for n in range(16)))
        assert outcomes == ["NoneType"] + ["ReplayedMessage"] * 15

    bench.run(story)


def test_sixteen_questions_at_once_cannot_pass_the_budget(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records, answers=5)
        desks = [records, await bench.second()]
        outcomes = await _outcomes(*(desks[n % 2].claim(bench.question(f"m{n}"), grant, day=bench.today, rows=1) for n in range(16)))
        assert outcomes == ["BudgetSpent"] * 11 + ["NoneType"] * 5

    bench.run(story)


def test_a_refused_neighbour_in_the_same_commit_takes_nobody_along(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records)
        _, spent = await bench.linked(records, "owner-2", "conversation-two", answers=0)
        mixed = [records.claim(bench.question(f"m{n}"), (grant, spent)[n % 2], day=bench.today, rows=1) for n in range(16)]
        assert await _outcomes(*mixed) == ["BudgetSpent"] * 8 + ["NoneType"] * 8
        for n in range(16):
            with pytest.raises(BudgetSpent if n % 2 else ReplayedMessage):
                await records.claim(bench.question(f"m{n}"), (grant, spent)[n % 2], day=bench.today, rows=1)

    bench.run(story)


def test_a_state_taken_twice_at_once_is_taken_once(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        other = await bench.second()
        attempt = LinkAttempt(secrets.token_bytes(32), bytes(32), "oakbank", "verifier", ERRAND, bench.now + timedelta(minutes=5))
        await records.add_attempt(attempt)
        taken = await asyncio.gather(*(desk.take_attempt(attempt.state_hash, bench.now) for desk in (records, other) * 4))
        assert [found for found in taken if found is not None] == [attempt]

    bench.run(story)


def test_one_person_linking_twice_at_once_is_one_customer_with_one_key(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        desks = [records, await bench.second()]
        saved = (desks[n % 2].save_bank_link("oakbank", "owner-1", bench.tokens(), (bench.account(),)) for n in range(8))
        customers = set(await asyncio.gather(*saved))
        assert len(customers) == 1
        customer = customers.pop()
        for desk in desks:
            assert await desk.bank_tokens(customer) == ("oakbank", bench.tokens())

    bench.run(story)


def test_revoking_twice_at_once_is_one_revocation(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records)
        desks = [records, await bench.second()]
        revoked = await asyncio.gather(*(desks[n % 2].revoke_grant(grant.id, bench.now) for n in range(8)))
        assert {found.version for found in revoked} == {2}
        assert [found.version for found in await records.grant_history(grant.id)] == [1, 2]

    bench.run(story)


def test_a_revocation_is_seen_by_the_other_process_at_once(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records)
        other = await bench.second()
        assert (await other.open_case(bench.question())).grants == (grant,)
        await records.revoke_grant(grant.id, bench.now)
        assert (await other.open_case(bench.question())).grants[0].version == 2

    bench.run(story)


def test_two_gateways_that_start_at_once_agree_on_the_gateways_key(bench_of_records):
    bench = bench_of_records

    async def both() -> None:
        first, second = await asyncio.gather(bench.open(), bench.open())
        try:
            await bench.linked(first)
            assert (await second.open_case(bench.question())).customer is not None
        finally:
            await first.aclose()
            await second.aclose()

    asyncio.run(both())


@pytest.mark.parametrize("column", ["sealed_tokens", "sealed_accounts"])
def test_what_was_sealed_for_one_customer_does_not_open_as_anothers(bench_of_records, column):
    bench = bench_of_records

    async def story(records: Records) -> None:
        alice, _ = await bench.linked(records, "alice")
        bob, _ = await bench.linked(records, "bob", "conversation-two")
        swap = f"UPDATE bank_links SET {column} = (SELECT {column} FROM bank_links WHERE customer = ?) WHERE customer = ?"
        await records._driver.write(only(swap, alice, bob))
        with pytest.raises(Fault):
            await records.open_case(bench.question(conversation="conversation-two"))
        swap = "UPDATE customers SET wrapped_key = (SELECT wrapped_key FROM customers WHERE id = ?) WHERE id = ?"
        await records._driver.write(only(swap, alice, bob))
        with pytest.raises(Fault):
            await records.open_case(bench.question(conversation="conversation-two"))
        assert (await records.open_case(bench.question())).tokens == bench.tokens()

    bench.run(story)


def test_sealed_accounts_put_in_place_of_sealed_tokens_do_not_open(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, _ = await bench.linked(records)
        await records._driver.write(only("UPDATE bank_links SET sealed_tokens = sealed_accounts"))
        with pytest.raises(Fault):
            await records.bank_tokens(customer)

    bench.run(story)


def test_a_session_row_copied_under_another_token_does_not_open(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        session = Session(bytes(32), "conversation-one", "csrf", bench.now, bench.now + timedelta(hours=1))
        await records.add_session(session)
        mine = secrets.token_bytes(32)
        copy = "INSERT INTO sessions (token_hash, sealed, expires_at) SELECT ?, sealed, expires_at FROM sessions"
        await records._driver.write(only(copy, mine))
        with pytest.raises(Fault):
            await records.find_session(mine, bench.now)

    bench.run(story)


def test_a_grant_row_with_an_unknown_word_is_no_consent(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        await bench.linked(records)
        await records._driver.write(only("UPDATE terms SET purpose = 'advertising'"))
        with pytest.raises(Fault):
            await records.open_case(bench.question())

    bench.run(story)


def test_nobody_stores_a_grant_for_another_customer(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        alice, _ = await bench.linked(records, "alice")
        bob, _ = await bench.linked(records, "bob", "conversation-two")
        with pytest.raises(ValueError, match="another customer"):
            await records.join("web", "conversation-two", bob, (bench.grant(alice),))
        stolen = msgspec.structs.replace((await records.grants_of(alice, active_only=False, now=bench.now))[0], customer=bob, version=2)
        with pytest.raises(RecordsConflict):
            await records.join("web", "conversation-two", bob, (stolen,))
        assert len(await records.grants_of(alice, active_only=True, now=bench.now)) == 1

    bench.run(story)


def test_strange_letters_in_a_conversation_are_only_letters(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        for conversation in ("\ud800", "nul\0nul", "'; DROP TABLE links; --", "x" * 100_000, ""):
            customer, _ = await bench.linked(records, conversation=conversation)
            assert await records.customer_of("web", conversation) == customer
            question = bench.question("\udfff\0", conversation=conversation)
            await records.claim(question, (await records.open_case(question)).grants[0], day=bench.today, rows=0)

    bench.run(story)


def test_a_restored_backup_does_not_bring_an_erased_customer_back(bench_of_records):
    bench = bench_of_records
    kept = {}
    tables = {"customers": "id, wrapped_key, created_at", "bank_links": "customer, bank, sealed_tokens, sealed_accounts, linked_at"}

    async def erase(records: Records) -> None:
        customer, _ = await bench.linked(records)
        for table, columns in tables.items():
            kept[table] = (columns, await records._driver.read(f"SELECT {columns} FROM {table}"))
        kept["customer"] = customer
        await records.erase(customer, bench.now)

    async def restore(records: Records) -> None:
        await records._driver.write(only("DELETE FROM tombstones"))
        for table in ("customers", "bank_links"):
            columns, rows = kept[table]
            marks = ", ".join("?" * len(rows[0]))
            await records._driver.write(only(f"INSERT INTO {table} ({columns}) VALUES ({marks})", *rows[0]))
        assert await records.bank_tokens(kept["customer"]) is not None

    async def after(records: Records) -> None:
        assert await records.vault_of(kept["customer"]) is None
        assert await records.bank_tokens(kept["customer"]) is None

    bench.run(erase)
    bench.run(restore)
    bench.run(after)


def test_no_file_of_the_records_shows_whom_or_what_it_holds(bench_of_records, request):
    bench = bench_of_records
    needles = [b"access-first", b"refresh-first", b"bank-consent-first", b"Holiday savings", b"Q7X9", b"native-4711", b"conversation-one", b"owner-1"]
    needles += [b"message-id-77", b"csrf-value", b"verifier-value", b"what is my balance"]

    async def story(records: Records) -> None:
        customer, grant = await bench.linked(records)
        await records.claim(bench.question("message-id-77"), grant, day=bench.today, rows=1)
        await records.add_session(Session(bytes(32), "conversation-one", "csrf-value", bench.now, bench.now + timedelta(hours=1)))
        await records.add_attempt(LinkAttempt(bytes(32), bytes(32), "oakbank", "verifier-value", ERRAND, bench.now + timedelta(hours=1)))
        await records.update_tokens(customer, bench.tokens())
        _find_none(await asyncio.to_thread(_directory, bench, request), needles, b"chat.example")

    bench.run(story)
    _find_none(_directory(bench, request), needles, b"chat.example")


def _directory(bench, request) -> Path:
    if bench.url.startswith("sqlite"):
        return Path(bench.url.removeprefix("sqlite:///")).parent
    server = request.getfixturevalue("postgres_server")
    server.run("CHECKPOINT")
    return server.directory


def _find_none(directory: Path, needles: list[bytes], present: bytes) -> None:
    """`present` must be found: a search that finds nothing proves nothing unless it can find something."""
    content = [path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.suffix != ".json" and path.name != "log"]
    assert any(present in held for held in content)
    assert [needle for needle in needles if any(needle in held for held in content)] == []


@only_sqlite
def test_an_erased_key_is_gone_from_every_byte_of_the_file(bench_of_records):
    bench = bench_of_records
    directory = Path(bench.url.removeprefix("sqlite:///")).parent

    async def story(records: Records) -> None:
        customer, _ = await bench.linked(records)
        ((wrapped_key, sealed_tokens),) = await records._driver.read("SELECT c.wrapped_key, b.sealed_tokens FROM customers c, bank_links b")
        _find_none(directory, [], wrapped_key)
        await records.erase(customer, bench.now)
        _find_none(directory, [wrapped_key, sealed_tokens], b"chat.example")

    bench.run(story)


def test_files_are_private_to_the_account_that_runs_the_gateway(tmp_path, bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        await bench.linked(records)
        paths = [path for folder in ("data", "keys") for path in (tmp_path / folder).rglob("*")]
        assert len(paths) >= 1
        assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
        assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700

    bench.run(story)


@pytest.mark.parametrize(("name", "mode"), [("keys/wrapping-1.key", 0o640), ("keys/wrapping-1.key", 0o604), ("keys", 0o750)])
def test_keys_that_others_may_read_are_refused(tmp_path, name, mode):
    FileKeyRing(tmp_path / "keys")
    (tmp_path / name).chmod(mode)
    with pytest.raises(KeysUnsafe):
        FileKeyRing(tmp_path / "keys")


@pytest.mark.parametrize(("name", "mode"), [("data/records.db", 0o644), ("data", 0o755)])
def test_records_that_others_may_read_are_refused(tmp_path, name, mode):
    async def whole() -> None:
        keys = FileKeyRing(tmp_path / "keys")
        url = f"sqlite:///{tmp_path / 'data' / 'records.db'}"
        await (await open_records(url, keys, lambda: None)).aclose()
        (tmp_path / name).chmod(mode)
        with pytest.raises(KeysUnsafe):
            await open_records(url, keys, lambda: None)

    asyncio.run(whole())


def test_a_key_or_database_that_is_a_link_to_elsewhere_is_refused(tmp_path):
    FileKeyRing(tmp_path / "keys")
    (tmp_path / "keys" / "wrapping-1.key").rename(tmp_path / "elsewhere.key")
    (tmp_path / "keys" / "wrapping-1.key").symlink_to(tmp_path / "elsewhere.key")
    with pytest.raises(KeysUnsafe):
        FileKeyRing(tmp_path / "keys")


def test_a_key_of_the_wrong_length_is_refused(tmp_path):
    FileKeyRing(tmp_path / "keys")
    for content in (b"", b"short", bytes(33)):
        (tmp_path / "keys" / "wrapping-1.key").write_bytes(content)
        with pytest.raises(KeysUnsafe):
            FileKeyRing(tmp_path / "keys")


def test_records_do_not_open_with_other_keys(bench_of_records, tmp_path):
    bench = bench_of_records

    async def story(records: Records) -> None:
        await bench.linked(records)
        with pytest.raises(KeysUnsafe):
            await open_records(bench.url, FileKeyRing(tmp_path / "other-keys"), lambda: bench.now)

    bench.run(story)


def test_a_wrapped_key_that_was_changed_does_not_unwrap(tmp_path):
    ring = FileKeyRing(tmp_path / "keys")

    async def story() -> None:
        wrapped = await ring.wrap(bytes(range(32)))
        assert await ring.unwrap(wrapped) == bytes(range(32))
        changed = [wrapped[:n] + bytes([wrapped[n] ^ 1]) + wrapped[n + 1 :] for n in range(len(wrapped))]
        for bad in (*changed, b"", wrapped[:-1], wrapped + b"\0", wrapped[:4]):
            with pytest.raises(KeysUnsafe):
                await ring.unwrap(bad)

    asyncio.run(story())


@only_sqlite
def test_a_full_disk_refuses_and_takes_no_more_writes_until_a_restart(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records)
        await records._driver.write(only("PRAGMA max_page_count = 1"))
        big = Session(bytes(32), "c" * 1_000_000, "csrf", bench.now, bench.now + timedelta(hours=1))
        with pytest.raises(RecordsUnavailable, match="SQLITE_FULL"):
            await records.add_session(big)
        with pytest.raises(RecordsUnavailable):
            await records.claim(bench.question(), grant, day=bench.today, rows=0)
        assert (await records.open_case(bench.question())).grants == (grant,)

    async def after(records: Records) -> None:
        grant = (await records.open_case(bench.question())).grants[0]
        await records.claim(bench.question(), grant, day=bench.today, rows=0)

    bench.run(story)
    bench.run(after)


def test_a_database_locked_by_another_process_is_a_fault_that_passes(tmp_path, monkeypatch):
    monkeypatch.setattr("parley.store.sqlite.BUSY_TIMEOUT_MS", 50)

    async def whole() -> None:
        records = await open_records(f"sqlite:///{tmp_path / 'data' / 'records.db'}", FileKeyRing(tmp_path / "keys"), lambda: None)
        other = sqlite3.connect(tmp_path / "data" / "records.db", isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(RecordsUnavailable, match="SQLITE_BUSY"):
                await records.end_session(bytes(32))
            other.execute("ROLLBACK")
            await records.end_session(bytes(32))
        finally:
            other.close()
            await records.aclose()

    asyncio.run(whole())


def test_a_postgresql_that_goes_away_is_a_fault_and_comes_back(postgres_server, postgres_bench):
    bench = postgres_bench
    name = bench.url.partition("?")[0].rpartition("/")[2]

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records)
        kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        await asyncio.to_thread(postgres_server.run, kill)
        results = []
        for number in range(20):
            try:
                await records.claim(bench.question(f"m{number}"), grant, day=bench.today, rows=0)
                results.append("claimed")
            except RecordsUnavailable:
                results.append("fault")
        assert results[-1] == "claimed"

    bench.run(story)


def test_a_postgresql_that_is_not_there_is_a_fault(tmp_path):
    url = f"postgresql://postgres@/postgres?host={tmp_path}"
    with pytest.raises(RecordsUnavailable):
        asyncio.run(open_records(url, FileKeyRing(tmp_path / "keys"), lambda: None))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:secret@db.bank.example/records",
        "postgresql://user:secret@db.bank.example/records?sslmode=require",
        "postgresql://user:secret@localhost,db.bank.example/records",
        "postgresql://user:secret@/records?host=db.bank.example",
        "postgresql://user:secret@localhost/records?host=db.bank.example",
    ],
)
def test_a_remote_postgresql_without_a_verified_certificate_is_refused_and_its_password_not_repeated(url):
    with pytest.raises(ValueError, match="verify-full") as caught:
        require_tls(url)
    assert "secret" not in str(caught.value)
    require_tls("postgresql://user:secret@db.bank.example/records?sslmode=verify-full")


def test_no_error_and_no_printed_object_repeats_a_secret(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, grant = await bench.linked(records)
        case = await records.open_case(bench.question())
        shown = [repr(case.vault), repr(case.tokens), repr(records), repr(FileKeyRing(bench.keys_directory)), repr(case)]
        try:
            await records.join("web", bench.question().conversation, customer, (grant,))
        except RecordsConflict as error:
            shown.append("".join(traceback.format_exception(error)))
        assert len(shown) == 6
        secrets_known = ("access-first", "Holiday", "native-4711", "conversation-one", grant.id, grant.handle.hex())
        assert [secret for secret in secrets_known if any(secret in text for text in shown)] == []

    bench.run(story)


def test_the_keys_directory_is_not_asked_to_note_anything_but_customer_ids(tmp_path):
    ring = FileKeyRing(tmp_path / "keys")
    for name in ("../../etc/passwd", "short", "Z" * 32, "0" * 33, "0" * 32 + "\n"):
        with pytest.raises(ValueError, match="customer id"):
            asyncio.run(ring.remember_erased(name))
    asyncio.run(ring.remember_erased("0" * 32))
    assert asyncio.run(ring.erased()) == {"0" * 32}
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["erased", "wrapping-1.key"]
