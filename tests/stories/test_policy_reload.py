"""The bank's operators change the policy file under the running house: what does not load changes nothing, what loads is logged first."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

import parley.policy
from parley.policy import load_policy
from tests.house import ServedHouse, until

STANDARD = Path(parley.policy.__file__).parent / "packs" / "standard"
FORBID = """
@id("no-balances") @reason("No balances today.") @basis("risk")
forbid (principal, action in [Action::"balance.band", Action::"balance.available"], resource);
"""


def entries(house: ServedHouse) -> list[dict[str, Any]]:
    database = sqlite3.connect(f"file:{house.data}/notary/log.sqlite3?mode=ro", uri=True)
    try:
        return [msgspec.json.decode(row[0], type=dict[str, Any]) for row in database.execute("SELECT entry FROM entries ORDER BY position")]
    finally:
        database.close()


@pytest.mark.timeout(120)
def test_the_old_policy_stays_until_the_new_one_is_proved_and_logged(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    shutil.copytree(STANDARD, folder, ignore=shutil.ignore_patterns("__pycache__"))
    text = (folder / "policy.cedar").read_text()
    old = load_policy(folder)
    house = ServedHouse(tmp_path, f'policy_file = "{folder}"\n')

    def said(words: str) -> bool:
        return words in house.diagnostics.read_text()

    async def story() -> None:
        async with house.visitor() as visitor:
            await visitor.link_as(house.customer("ada"))
            assert (await visitor.question("what's my balance?"))["outcome"] == "answered"
            for number, broken in enumerate((text.replace("answer_customer", "advertising"), text + "forbid (", text.replace("@id", "@idd"))):
                (folder / "policy.cedar").write_text(broken)
                house.process.send_signal(signal.SIGHUP)
                until(lambda times=number + 1: house.diagnostics.read_text().count("policy_not_reloaded") == times)
                assert (await visitor.question("what's my balance?"))["outcome"] == "answered"
            (folder / "policy.cedar").write_text(text + FORBID)
            house.process.send_signal(signal.SIGHUP)
            until(lambda: said("policy_reloaded"))
            refused = await visitor.question("what's my balance?")
            assert (refused["code"], refused["text"]) == ("not_allowed", "No balances today.")
            assert (await visitor.question("can I afford 1 dollar?"))["outcome"] == "answered"

    try:
        asyncio.run(story())
    finally:
        house.stop()
    new = load_policy(folder)
    logged = entries(house)
    announced = [entry for entry in logged if entry["k"] == "policy"]
    assert [(entry["pol"], entry["text"], entry["table"], entry["proof"]) for entry in announced] == [
        (each.digest, each.text_digest, each.table_digest, each.proof.digest) for each in (old, new)
    ]
    followed = [entry["pol"] for entry in logged[logged.index(announced[1]) :] if entry["k"] in ("release", "refusal")]
    assert followed and set(followed) == {new.digest}
    assert all(word in house.diagnostics.read_text() for word in ("rule own-chat", "does not end"))
