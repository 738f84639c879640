"""The page for strangers who write a verifier says what the code does: its example verifies, and every code is explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import parley.log
import parley.proof
from parley.log.entries import KINDS
from parley.proof import ProofRejected, verify_receipt

PAGE = (Path(__file__).parents[2] / "docs" / "audit" / "receipt.md").read_text()
INSIDE = {
    "origin",
    "key_exposed",
    "key_damaged",
    "key_other",
    "key_missing",
    "layout",
    "log_damaged",
    "rollback",
    "in_use",
    "socket_path",
}


def example() -> tuple[str, str]:
    vkey = re.search(r"^    (\S+\+[0-9a-f]{8}\+\S+)$", PAGE, re.MULTILINE)
    block = re.search(r"an example to test against.*?\n\n((?:(?:    .*)?\n)+?)\nIt holds", PAGE, re.DOTALL | re.IGNORECASE)
    assert vkey is not None and block is not None
    return vkey[1], "\n".join(line[4:] for line in block[1].split("\n")).strip("\n") + "\n"


def test_the_example_on_the_page_passes_and_a_changed_one_does_not() -> None:
    vkey, receipt = example()
    verified = verify_receipt(receipt, vkey)
    assert verified.entry["d"] == "balance.available" and verified.private["offering"] == "balance"
    for place, character in enumerate(receipt):
        with pytest.raises(ProofRejected):
            verify_receipt(receipt[:place] + ("x" if character != "x" else "y") + receipt[place + 1 :], vkey)


@pytest.mark.parametrize("room", [parley.log, parley.proof])
def test_every_code_is_on_the_page(room: object) -> None:
    folder = Path(str(room.__file__)).parent  # type: ignore[attr-defined]
    source = "\n".join(path.read_text() for path in folder.glob("*.py"))
    codes = set(re.findall(r'(?:LogRefused|ProofRejected|decode_base64|read_number|read_object)\([^()]*?"([a-z0-9_]+)"', source))
    assert len(codes) > 5
    assert not [code for code in codes - INSIDE if f"`{code}`" not in PAGE]


def test_every_kind_of_entry_is_on_the_page() -> None:
    assert not [kind for kind in KINDS if f"`{kind}`" not in PAGE]
