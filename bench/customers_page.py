"""What the customer's ledger costs for each answer: on the road, and beside it. Run: `python -m bench.customers_page`."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from parley.console.customer import Ledger
from parley.model.grants import BankTokens
from parley.model.ledger import AccountKind, AccountStatus, LinkedAccount
from parley.model.stages import Release
from parley.release.ports import Vault
from parley.store import FileKeyRing, Records, open_records
from parley.store.disclosures import Note

ANSWERS = 2_000
ROUNDS = 7
GOAL_US = 10.0


async def measure(release: Release) -> tuple[float, float]:
    """(µs of CPU on the road, µs of CPU beside it) for each answer, medians of the rounds. `release`: any finished one."""
    with tempfile.TemporaryDirectory(prefix="parley-ledger-") as folder:
        records = await open_records(f"sqlite:///{folder}/data/records.db", FileKeyRing(Path(folder) / "keys"), lambda: datetime.now(UTC))
        try:
            customer = await linked(records)
            vault = await records.vault_of(customer)
            if vault is None:
                raise RuntimeError("the customer has no key")
            rounds = [await one_round(records, release, customer, vault) for _ in range(ROUNDS)]
        finally:
            await records.aclose()
    return statistics.median(each[0] for each in rounds), statistics.median(each[1] for each in rounds)


async def one_round(records: Records, release: Release, customer: str, vault: Vault) -> tuple[float, float]:
    ledger: Ledger[Note] = Ledger(
        records.note_disclosures, lambda _customer, vault, _salt, told: Note(customer, vault, secrets.token_bytes(32), told)
    )
    started = time.process_time()
    for _ in range(ANSWERS):
        ledger.released(release, vault)
    between = time.process_time()
    await ledger.flush()
    ended = time.process_time()
    return (between - started) * 1e6 / ANSWERS, (ended - between) * 1e6 / ANSWERS


async def linked(records: Records) -> str:
    account = LinkedAccount("", "bank", "1", AccountKind.CHECKING, "Checking", "0001", "USD", AccountStatus.OPEN)
    return await records.save_bank_link("bank", secrets.token_hex(4), BankTokens("a", "r", datetime.now(UTC), "c", "s"), (account,))


def main() -> None:
    from tests.fakes.road import build_town  # A whole road with fakes beside it: what it releases is a true Release.

    with tempfile.TemporaryDirectory() as folder:
        release = asyncio.run(build_town(Path(folder)).ask("what's my balance?")).release
    on_road, beside = asyncio.run(measure(release))
    print(f"on the road {on_road:.1f} µs an answer (goal: under {GOAL_US:.0f}), beside it {beside:.1f} µs")


if __name__ == "__main__":
    main()
