"""npm's `openid-client`, as docs/platform/authorization.md uses it: the programs on that page are the ones that run here, letter by letter."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from parley.cli.demo import free_port
from parley.proof import verify_receipt
from tests.fakes.allowing import AllowingRobot
from tests.house import RunningHouse, balance_line, parley, run
from tests.peers.node import BIN, environment, installed
from tests.peers.node import run as run_node

pytestmark = pytest.mark.peers
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "platform" / "authorization.md"


def program(name: str) -> str:
    found = re.search(rf"```js {re.escape(name)}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None, name
    return found[1]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    running = RunningHouse(tmp_path_factory.mktemp("partnered")).start()
    yield running
    running.stop_unharmed()


def test_the_programs_of_the_page_take_an_app_from_nothing_to_an_answer(house: RunningHouse, tmp_path: Path) -> None:
    package = installed(Path(__file__).parent / "openid_client")
    shutil.copytree(package, tmp_path / "app", symlinks=True)
    app = tmp_path / "app"
    for name in ("make-key.mjs", "partner.mjs"):
        (app / name).write_text(program(name))
    run_node(app, "make-key.mjs")

    # The bank registers it, with the command of the page.
    redirect_uri = f"http://127.0.0.1:{free_port()}/callback"
    command = re.search(r"```\nparley (client add .*?)```", PAGE.read_text(), re.DOTALL)
    assert command is not None
    told = words_of(command[1].replace("http://127.0.0.1:4711/callback", redirect_uri).replace("client-jwks.json", str(app / "client-jwks.json")))
    told[told.index("parley.toml")] = str(house.data / "parley.toml")
    done = parley(*told)
    assert done.returncode == 0, done.stderr
    assert f"{house.url}/fapi" in done.stdout

    # The app asks; the customer allows it in her browser; the app gets its answers.
    ada = house.customer("ada")
    arguments = [str(BIN / "node"), "partner.mjs", f"{house.url}/fapi", f"{house.url}/api/v1", redirect_uri]
    process = subprocess.Popen(arguments, cwd=app, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    kill = threading.Timer(60, process.kill)
    kill.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1][-2000:]

        async def browse() -> str:
            async with AllowingRobot(house.url, redirect_uri) as robot:
                address = await robot.allow(json.loads(line)["open"], ada)
                async with robot.client.get(address) as landed:
                    return await landed.text()

        assert "You can close this page" in run(browse())
        output, complaint = process.communicate(timeout=60)
    finally:
        kill.cancel()
    assert process.returncode == 0, complaint[-2000:]

    granted, balance, afford = (json.loads(each) for each in output.splitlines())
    assert granted["allowed"][0]["projections"] == ["afford.yesno", "balance.available"]
    assert granted["allowed"][0]["accounts_chosen"] > 0
    assert balance["projection"] == "balance.available"
    assert any(balance_line(account)[1] in balance["answer"] for account in ada.accounts)
    assert (afford["projection"], afford["purpose"]) == ("afford.yesno", "answer_customer")
    assert re.match(r"(Yes|No)", afford["answer"])
    for answer in (balance, afford):
        assert verify_receipt(answer["receipt"], house.vkey)
        facts = house.entries(answer["log_index"])[0].facts
        assert (facts["k"], facts["ch"], facts["p"]) == ("release", "api", "larkspur-partner")


def words_of(command: str) -> list[str]:
    return shlex.split(command.replace("\\\n", " "))
