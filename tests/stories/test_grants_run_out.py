"""A grant whose time is over ends by itself on the running house: in the records, at the notary, and its tokens go back to the bank."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from parley.app.house import open_house
from parley.app.log_port import HouseLog
from parley.cli.demo import free_port, write_config
from parley.cli.supervise import private_folder
from parley.log.client import NotaryClient
from parley.model.grants import GrantState
from parley.model.refusals import GrantRevoked
from parley.proof import canonical
from parley.release.entries import bucket
from parley.settings import load_settings
from parley.store import FileKeyRing, Records, open_records
from tests.fixtures_postgres import RecordsBench
from tests.notary_process import NotaryProcess

LOOKS_MAX = 600


def test_a_grant_that_runs_out_is_over_everywhere(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(private_folder(tmp_path / "data"), f"http://127.0.0.1:{port}", port, f"http://127.0.0.1:{free_port()}", "")
    settings = load_settings(config)
    notary = NotaryProcess(
        settings.data, Path(settings.notary_socket), origin=settings.log_origin, options=("--ahead-seconds-max", str(400 * 86_400))
    )
    bench = RecordsBench(settings.records, settings.data / "keys", now=datetime.now(UTC).replace(microsecond=0))

    async def story() -> None:
        async with open_house(settings, lambda: bench.now):
            records = await open_records(settings.records, FileKeyRing(settings.data / "keys"), lambda: bench.now)
            client = NotaryClient(settings.notary_socket)
            log = HouseLog(client)
            try:
                customer = await records.save_bank_link(settings.banks[0].name, "owner-1", bench.tokens(), (bench.account(),))
                grant = msgspec.structs.replace(bench.grant(customer), handle=secrets.token_bytes(16))
                entry = canonical({"b": bucket(bench.now), "c": "A" * 43 + "=", "k": "grant", "v": 1})
                await log.open_grant(entry, b"", handle=grant.handle, version=1)
                await records.join("web", "conversation-one", customer, (grant,))
                bench.now = grant.expires_at + timedelta(seconds=1)
                for _ in range(LOOKS_MAX):
                    if await _over(records, grant.id):
                        break
                    await asyncio.sleep(0.05)
                assert await _over(records, grant.id)
                release = canonical({"b": bucket(bench.now), "c": "A" * 43 + "=", "k": "release", "u": "dpv:RequestedServiceProvision", "v": 1})
                with pytest.raises(GrantRevoked):
                    await log.record(release, b"", handle=grant.handle, version=1)
                assert await records.bank_tokens(customer) is None
                owed = await records.bank_returns_due(bench.now + timedelta(days=1))
                assert [each.tokens.refresh_token for each in owed] == ["refresh-first"]  # That bank is not there; it stays owed.
            finally:
                await client.aclose()
                await records.aclose()

    notary.start()
    try:
        asyncio.run(story())
    finally:
        notary.stop()


async def _over(records: Records, grant_id: str) -> bool:
    found = await records.find_grant(grant_id)
    return found is not None and found.state is GrantState.EXPIRED and await records.revocations_due() == ()
