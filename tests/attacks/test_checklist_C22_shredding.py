"""C22: after a customer is erased nothing of hers opens again, whatever is restored, copied or remembered."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from pathlib import Path

import pytest

from parley.app.log_port import HouseLog
from parley.authorization.grants import GrantDesk
from parley.log.client import NotaryClient
from parley.model.refusals import Fault
from parley.proof import Verifier, canonical
from parley.release.entries import PRIVATE_CONTEXT, bucket
from parley.store import FileKeyRing, KeysUnsafe, Records
from tests.fixtures_postgres import RecordsBench
from tests.notary_process import NotaryProcess


def _sqlite(tmp_path: Path) -> RecordsBench:
    return RecordsBench(f"sqlite:///{tmp_path / 'data' / 'records.db'}", tmp_path / "keys")


def test_C22_a_restored_backup_of_every_file_brings_nobody_back(tmp_path):
    """The records, their write-ahead log and the claims' file, copied while they were open, put back after the erasure."""
    bench = _sqlite(tmp_path)
    kept: dict[str, object] = {}

    async def before(records: Records) -> None:
        customer, grant = await bench.linked(records)
        await records.claim(bench.question(), grant, day=bench.today, rows=1)
        vault = await records.vault_of(customer)
        assert vault is not None
        kept.update(customer=customer, grant=grant.id, side=vault.seal(PRIVATE_CONTEXT, b"what was promised"))
        shutil.copytree(tmp_path / "data", tmp_path / "backup")
        await records.erase(customer, bench.now)

    async def after(records: Records) -> None:
        customer = str(kept["customer"])
        assert await records.vault_of(customer) is None
        assert await records.bank_tokens(customer) is None
        assert await records.bank_accounts(customer) == ()
        assert (await records.open_case(bench.question())).customer is None
        assert await records.grants_of(customer, active_only=True, now=bench.now) == ()
        assert await records.bank_returns_due(bench.now) == ()

    bench.run(before)
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(tmp_path / "backup", tmp_path / "data")
    bench.run(after)
    bench.run(after)


def test_C22_a_backup_from_before_a_rotation_opens_no_more_once_its_key_is_destroyed(tmp_path):
    """Even one who restores a backup and cuts the list of the erased out of the keys' folder has nothing."""
    bench = _sqlite(tmp_path)

    async def before(records: Records) -> None:
        customer, _ = await bench.linked(records)
        shutil.copytree(tmp_path / "data", tmp_path / "backup")
        await records.erase(customer, bench.now)
        await records._keys.rotate()
        await records.rewrap()
        await records.destroy_wrapping_key(1)

    bench.run(before)
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(tmp_path / "backup", tmp_path / "data")
    (tmp_path / "keys" / "erased").unlink()
    with pytest.raises(KeysUnsafe):
        bench.run(before)


def test_C22_what_another_process_remembers_is_of_no_use(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        customer, grant = await bench.linked(records)
        other = await bench.second()
        assert (await other.open_case(bench.question())).customer == customer
        assert await other.bank_tokens(customer) is not None
        await records.erase(customer, bench.now)
        assert (await other.open_case(bench.question())).customer is None
        assert await other.vault_of(customer) is None
        assert await other.bank_tokens(customer) is None
        with pytest.raises(Exception, match="grant_revoked"):
            await other.claim(bench.question("late"), grant, day=bench.today, rows=0)

    bench.run(story)


def test_C22_the_logs_private_halves_close_for_good_and_the_log_still_verifies(bench_of_records, tmp_path_factory):
    bench = bench_of_records
    folder = tmp_path_factory.mktemp("shred")
    notary = NotaryProcess(folder / "log", folder / "socket", options=("--ahead-seconds-max", str(400 * 86_400)))
    notary.start()

    async def story(records: Records) -> None:
        client = NotaryClient(folder / "socket")
        log = HouseLog(client)
        desk = GrantDesk(
            records=records, log=log, platform="chat.example", policy_digest=lambda: "digest", clock=lambda: bench.now,
            random_bytes=secrets.token_bytes,
        )  # fmt: skip
        try:
            customer, grant = await bench.linked(records)
            vault = await records.vault_of(customer)
            assert vault is not None
            side = vault.seal(PRIVATE_CONTEXT, b"what was promised")
            entry = canonical({"b": bucket(bench.now), "c": "A" * 43 + "=", "k": "grant", "v": 1})
            given = await log.open_grant(entry, side, handle=grant.handle, version=1)
            await desk.erase(customer)
            entries = await client.pages(0, 100)
            assert [kind for kind in ("revoke", "erasure") if any(f'"k":"{kind}"'.encode() in each for each in entries)] == ["revoke", "erasure"]
            proved = await client.prove(given.index)
            assert proved.entry == entry
            assert Verifier(notary.vkey).verify_inclusion(proved.entry, proved.inclusion).size > given.index
            assert await records.vault_of(customer) is None
            stranger, _ = await bench.linked(records)
            for other in (await records.vault_of(stranger),):
                assert other is not None
                with pytest.raises(Fault):
                    other.open(PRIVATE_CONTEXT, proved.side)
            assert await records.erasures_due() == ()
        finally:
            await client.aclose()

    try:
        bench.run(story)
    finally:
        notary.stop()


def test_C22_an_erasure_during_an_outage_of_the_log_stands_and_is_told_later(bench_of_records, tmp_path_factory):
    bench = bench_of_records
    folder = tmp_path_factory.mktemp("outage")
    notary = NotaryProcess(folder / "log", folder / "socket", options=("--ahead-seconds-max", str(400 * 86_400)))

    async def story(records: Records) -> None:
        client = NotaryClient(folder / "socket", connect_seconds_max=0.05)
        desk = GrantDesk(
            records=records, log=HouseLog(client), platform="chat.example", policy_digest=lambda: "digest", clock=lambda: bench.now,
            random_bytes=secrets.token_bytes,
        )  # fmt: skip
        try:
            customer, grant = await bench.linked(records)
            await desk.erase(customer)
            assert await records.vault_of(customer) is None
            assert len(await records.erasures_due()) == 1
            await asyncio.to_thread(notary.start)
            await HouseLog(client).open_grant(
                canonical({"b": bucket(bench.now), "c": "A" * 43 + "=", "k": "grant", "v": 1}), b"", handle=grant.handle, version=1
            )
            await desk.keep_up()
            assert (await records.erasures_due(), await records.revocations_due()) == ((), ())
            assert await records.grant_history(grant.id) == ()
        finally:
            await client.aclose()

    try:
        bench.run(story)
    finally:
        notary.stop()


def test_C22_who_reads_only_the_keys_folder_learns_no_name(tmp_path):
    bench = _sqlite(tmp_path)

    async def story(records: Records) -> None:
        customer, _ = await bench.linked(records)
        await records.erase(customer, bench.now)
        content = b"".join(path.read_bytes() for path in (tmp_path / "keys").iterdir())
        assert customer.encode() in content
        assert not any(name in content for name in (b"owner-1", b"oakbank", b"native-4711"))
        assert await FileKeyRing(tmp_path / "keys").erased() == {customer}

    bench.run(story)
