"""The commands as scripts and operators use them: exit codes, JSON, one plain sentence, and the way out of each mistake."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parley.settings import SettingsRejected, load_settings
from tests.house import RunningHouse, ServedHouse, parley, until


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """One run of `parley demo --ask … --json --keep DIR`."""
    folder = tmp_path_factory.mktemp("demo") / "kept"
    questions = ("what's my balance?", "can I afford 640 USD?", "sing a song")
    run = parley("demo", *(part for text in questions for part in ("--ask", text)), "--json", "--keep", folder, "--customer", "chiara", "--seed", "7")
    assert run.returncode == 0, run.stderr
    return folder, [json.loads(line) for line in run.stdout.splitlines()]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHouse]:
    house = ServedHouse(tmp_path_factory.mktemp("served"))
    yield house
    house.stop()


# demo


def test_demo_prints_one_object_for_each_question_and_leaves_no_process(asked: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, answers = asked
    assert [each["outcome"] for each in answers] == ["answered", "answered", "not_understood"]
    assert "Euro account" in answers[0]["answer"]
    for each in answers[:2]:
        assert Path(each["receipt"]).is_file() and isinstance(each["log_index"], int)
        assert {"case", "bank", "record", "total"} <= each["ms"].keys()
        assert all(isinstance(figure, float) and figure >= 0 for figure in each["ms"].values())
    assert answers[2]["receipt"] is None and answers[2]["log_index"] is None
    assert (folder / "records.sqlite").is_file()
    assert not [each for each in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(each.info["cmdline"] or [])]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--customer", "nobody"], 1, "ada"),
        (["--channel", "smoke"], 2, "there is no channel 'smoke'"),
        (["--seed", "-1"], 2, "--seed"),
        (["--keep", "/proc/nowhere/at-all"], 1, "cannot make the folder"),
    ],
)
def test_demo_refuses_what_it_does_not_know_in_one_sentence(options: list[str], code: int, words: str) -> None:
    run = parley("demo", "--ask", "what's my balance?", "--json", *options)
    assert run.returncode == code and words in run.stderr and "Traceback" not in run.stderr and not run.stdout


# verify


def test_verify_says_yes_or_no_in_one_sentence(asked: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    receipt = Path(asked[1][0]["receipt"])
    good = parley("verify", receipt)
    assert good.returncode == 0 and good.stdout.startswith("This receipt holds") and good.stdout.count("\n") == 1
    facts = json.loads(parley("verify", receipt, "--json").stdout)
    assert facts["holds"] is True and facts["index"] == asked[1][0]["log_index"] and facts["entry"]["k"] == "release"
    changed = tmp_path / "changed.txt"
    text = receipt.read_text()
    changed.write_text(text.replace("index ", "index 1", 1))
    (tmp_path / "log.vkey").write_bytes((receipt.parent / "log.vkey").read_bytes())
    bad = parley("verify", changed)
    assert bad.returncode == 1 and bad.stdout.startswith("This receipt does not hold") and bad.stdout.count("\n") == 1


@pytest.mark.parametrize("what", ["missing", "directory", "binary", "huge", "no key", "wrong key", "key is binary", "empty"])
def test_verify_survives_whatever_it_is_given(asked: tuple[Path, list[dict[str, Any]]], tmp_path: Path, what: str) -> None:
    receipt = tmp_path / "receipt.txt"
    shutil.copy(asked[1][0]["receipt"], receipt)
    key = tmp_path / "log.vkey"
    shutil.copy(asked[0] / "notary" / "log.vkey", key)
    if what == "missing":
        receipt.unlink()
    elif what == "directory":
        receipt.unlink()
        receipt.mkdir()
    elif what == "binary":
        receipt.write_bytes(bytes(range(256)) * 20)
    elif what == "huge":
        with receipt.open("wb") as file:
            file.truncate(5 * 1024**3)
    elif what == "no key":
        key.unlink()
    elif what == "wrong key":
        key.write_text("other.example/log+00000000+AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh\n")
    elif what == "key is binary":
        key.write_bytes(b"\xff\0" * 400)
    else:
        receipt.write_bytes(b"")
    run = parley("verify", receipt)
    assert run.returncode == 1
    assert run.stdout.strip() and run.stdout.count("\n") == 1
    assert "Traceback" not in run.stderr


# audit


def test_log_audit_counts_what_left(asked: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    report = json.loads(parley("log", "audit", "--data", asked[0], "--json").stdout)
    assert report["sound"] is True
    assert (report["releases"], report["advertising_releases"], report["advertising_refused"]) == (2, 0, 0)
    assert report["releases_by_projection"] == {"balance.available": 1, "afford.yesno": 1}
    words = parley("log", "audit", "--data", asked[0])
    assert words.returncode == 0 and "0 carried an advertising purpose" in " ".join(words.stdout.split())
    nothing = parley("log", "audit", "--data", tmp_path)
    assert nothing.returncode == 1 and "there is no log in" in nothing.stderr


def test_log_audit_exits_1_when_an_entry_was_changed(asked: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    import sqlite3

    copy = tmp_path / "copy"
    shutil.copytree(asked[0] / "notary", copy / "notary")
    database = sqlite3.connect(copy / "notary" / "log.sqlite3")
    database.execute("UPDATE entries SET entry = CAST(replace(CAST(entry AS TEXT), 'balance.available', 'afford.yesno') AS BLOB)")
    database.commit()
    database.close()
    run = parley("log", "audit", "--data", copy, "--json")
    assert run.returncode == 1 and json.loads(run.stdout)["sound"] is False


# doctor, serve, init


def findings(config: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    run = parley("doctor", "--config", config, "--json")
    assert "Traceback" not in run.stderr, run.stderr
    return run.returncode, {each["check"]: each for each in json.loads(run.stdout)}


def test_doctor_finds_a_healthy_house_healthy(served: ServedHouse) -> None:
    code, seen = findings(served.config)
    assert code == 0, [each for each in seen.values() if not each["well"]]
    assert seen["notary"]["seen"].startswith("signs a log of") and seen["bank"]["well"]


def test_doctor_names_a_key_that_others_may_read_and_how_to_mend_it(served: ServedHouse) -> None:
    key = served.data / "keys" / "bank-client.pem"
    key.chmod(0o644)
    try:
        code, seen = findings(served.config)
    finally:
        key.chmod(0o600)
    assert code == 1 and not seen["keys"]["well"] and "chmod 600" in seen["keys"]["mend"]


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        (('issuer = "http', 'issuer = "http://127.0.0.1:9" # '), "bank", "does not answer"),
        (("listen_port = ", 'colour = "blue"\nlisten_port = '), "settings", "colour"),
        (("listen_port = ", "gateways = 2\nlisten_port = "), "settings", "gateways"),
        (("listen_port = ", 'time_zone = "Mars/Olympus"\nlisten_port = '), "settings", "time_zone"),
        (("listen_port = ", 'platform = "nowhere"\nlisten_port = '), "policy", "nowhere"),
        (("listen_port = ", 'offerings = ["horoscope"]\nlisten_port = '), "offerings", "horoscope"),
    ],
)
def test_doctor_says_which_setting_is_wrong(served: ServedHouse, tmp_path: Path, change: tuple[str, str], check: str, words: str) -> None:
    config = tmp_path / "changed.toml"
    config.write_text(served.config.read_text().replace(change[0], change[1], 1))
    code, seen = findings(config)
    assert code == 1 and not seen[check]["well"]
    assert words in seen[check]["seen"] and seen[check]["mend"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("listen_port = ", 'colour = "blue"\nlisten_port = '), "colour"),
        (("listen_port = ", 'policy_file = "{folder}/broken.toml"\nlisten_port = '), "refuses to start"),
        (("listen_port = ", 'offerings = ["horoscope"]\nlisten_port = '), "refuses to start"),
        (("listen_port = ", "listen_port = {taken} # "), "cannot listen on"),
        (("data_dir = ", 'data_dir = "/proc/nowhere" # '), "cannot make the folder"),
    ],
)
def test_serve_does_not_start_with_what_is_wrong_and_leaves_nothing_behind(
    served: ServedHouse, tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    (tmp_path / "broken.toml").write_text('name = "broken"\nbank = "b"\n[[rules]]\nid = "x"\neffect = "allow"\npurposes = ["advertising"]\n')
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        text = (
            served.config.read_text()
            .replace(str(served.data.resolve()), str(tmp_path / "d"))
            .replace(f"listen_port = {served.port}", "listen_port = 0")
        )
        new = change[1].format(folder=tmp_path, taken=taken.getsockname()[1])
        config = tmp_path / "changed.toml"
        config.write_text(text.replace(change[0], new, 1))
        run = parley("serve", "--config", config, seconds=40)
    assert run.returncode == 1
    assert words in run.stderr and "Traceback" not in run.stderr, run.stderr[-600:]
    assert not of_house(str(tmp_path))


def of_house(mark: str) -> list[psutil.Process]:
    """Processes that belong to a house, by what stands on their command lines."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if mark in " ".join(process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def test_init_writes_every_setting_once_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "parley.toml"
    assert parley("init", path).returncode == 0
    first = path.read_text()
    again = parley("init", path)
    assert again.returncode == 1 and "Traceback" not in again.stderr
    assert path.read_text() == first
    for row in json.loads(parley("settings", "--json").stdout):
        assert row["name"].removeprefix("banks.") in first and row["help"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "banks"),
        ("not toml [", "parley.toml"),
        ("answers_per_day = 0\n", "answers_per_day"),
        ('public_url = "http://chat.bank.example"\n', "public_url"),
        ('public_url = "https://chat.bank.example/path"\n', "public_url"),
        ('records_url = "mysql://x"\n', "records_url"),
        ('data_dir = "/' + "a" * 120 + '"\n', "data_dir"),
        ("listen_port = 99999\n", "listen_port"),
        ("a" * 70_000, "larger than"),
    ],
)
def test_every_error_in_the_settings_names_the_file_and_the_setting(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "parley.toml"
    bank = '[[banks]]\nname = "b"\napi_url = "https://api.bank.example"\nissuer = "https://bank.example"\nclient_id = "c"\n'
    path.write_text(text + (bank if text else ""))
    with pytest.raises(SettingsRejected) as refused:
        load_settings(path)
    assert str(path) in str(refused.value) and words in str(refused.value)


def test_a_file_of_settings_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    run = parley("serve", "--config", tmp_path / "nowhere.toml")
    assert run.returncode == 1 and "parley init" in run.stderr


# Ends and deaths.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_when_the_supervisor_ends_nothing_of_the_house_stays(tmp_path: Path, number: signal.Signals) -> None:
    house = ServedHouse(tmp_path)
    try:
        family = house.family()
        assert len(family) >= 2
        code = house.end(number)
        assert code == (-9 if number is signal.SIGKILL else 0)
        until(lambda: not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE])
        assert not (house.data / "notary.sock").exists() or number is signal.SIGKILL
        house.serve()
        assert house.process.poll() is None, "and it starts again where it was"
    finally:
        house.stop()


def test_the_demo_ends_with_its_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "parley.cli", "demo", "--port", "0", "--bank-port", "0", "--no-open", "--keep", str(tmp_path / "d")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    text = ""
    end = time.monotonic() + 40
    while "Ctrl-C" not in text and time.monotonic() < end:
        text += process.stderr.readline()
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3 and "http://127.0.0.1" in text
    process.send_signal(signal.SIGINT)
    code = process.wait(30)
    process.stderr.close()
    assert code == 0
    until(lambda: not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE])


# chat


def test_chat_links_a_demo_customer_answers_and_keeps_a_receipt_that_holds(small_house: RunningHouse) -> None:
    customer = small_house.customer("jonas")
    run = parley(
        "chat", "--url", small_house.url, "--customer", customer.username, "--password", customer.password, input="can I afford 3?\nhelp\nquit\n"
    )
    assert run.returncode == 0, run.stderr
    assert "Yes, you can afford" in run.stdout
    words = run.stdout.split()
    receipt = words[words.index("verify") + 1]
    assert parley("verify", receipt).returncode == 0


def test_chat_without_a_link_says_so_and_what_to_do(small_house: RunningHouse) -> None:
    run = parley("chat", "--url", small_house.url, input="what's my balance?\n")
    assert run.returncode == 0 and "link" in run.stdout and "not_linked" in run.stdout


def test_chat_with_nobody_there_says_how_to_start_one() -> None:
    run = parley("chat", "--url", "http://127.0.0.1:9", input="hello\n")
    assert run.returncode == 1 and "parley demo" in run.stderr and "Traceback" not in run.stderr
