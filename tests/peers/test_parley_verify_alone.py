"""The small distribution for auditors: built from the same folder, it checks a receipt of a real log where nothing else of ours is installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import parley.proof
from tests.house import RunningHouse, run

PACKAGE = Path(__file__).parents[2] / "packages" / "parley-verify"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's files and nothing else."""
    folder = tmp_path_factory.mktemp("verify")
    build = "import hatchling.build as b, sys; print(b.build_wheel(sys.argv[1]))"
    made = subprocess.run([sys.executable, "-c", build, str(folder)], cwd=PACKAGE, capture_output=True, text=True, check=True, timeout=60)
    with zipfile.ZipFile(folder / made.stdout.split()[-1]) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def verify(alone: Path, *arguments: Path) -> subprocess.CompletedProcess[str]:
    """Isolated from the environment and the working folder; the finder lets nothing named `parley` be imported."""
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); sys.modules['parley'] = None\n"
        "from parley_verify.__main__ import main\nsys.argv[0] = 'parley-verify'\nsys.exit(main())"
    )
    command = [sys.executable, "-I", "-c", program, str(alone), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def asked(house: RunningHouse) -> str:
    async with house.visitor() as visitor:
        await visitor.link_as(house.customer("ada"))
        reply = await visitor.question("what's my balance?")
        return str(reply["why"]["receipt"])


def test_it_accepts_a_receipt_and_refuses_it_with_one_letter_changed(alone: Path, small_house: RunningHouse, tmp_path: Path) -> None:
    receipt, key = tmp_path / "receipt.txt", tmp_path / "log.vkey"
    text = run(asked(small_house))
    receipt.write_text(text)
    key.write_text(small_house.vkey + "\n")
    held = verify(alone, receipt, key)
    assert held.returncode == 0, held.stderr
    assert held.stdout.startswith("This receipt holds: entry ") and "dpv:RequestedServiceProvision" in held.stdout
    receipt.write_text(text.replace("\nindex ", "\nindex 1", 1))
    refused = verify(alone, receipt, key)
    assert refused.returncode == 1 and refused.stdout.startswith("This receipt does not hold: ") and not refused.stderr


def test_it_says_how_it_is_used_and_what_it_cannot_read(alone: Path, tmp_path: Path) -> None:
    assert verify(alone).returncode == 2
    missing = verify(alone, tmp_path / "nothing", tmp_path / "nothing")
    assert missing.returncode == 1 and not missing.stderr


def test_it_is_the_same_folder_that_the_gateway_uses(alone: Path) -> None:
    ours = {path.name: path.read_bytes() for path in Path(parley.proof.__file__).parent.glob("*.py")}
    assert {path.name: path.read_bytes() for path in (alone / "parley_verify").glob("*.py")} == ours
