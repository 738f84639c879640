"""`parley staff` as whoever runs the house meets it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from parley.app.policies import loaded_first
from parley.cli.demo import write_config
from parley.cli.supervise import private_folder
from parley.model.staff import PolicyVersion
from parley.policy import PolicyRejected
from parley.settings import load_settings
from tests.house import RunningHouse, parley


def test_somebody_is_added_listed_invited_again_and_removed(small_house: RunningHouse) -> None:
    data = small_house.data
    added = parley("staff", "add", "Rosa Keller", "--role", "auditor", "--data", data, "--json")
    assert added.returncode == 0, added.stderr
    told = json.loads(added.stdout)
    assert (told["name"], told["role"]) == ("Rosa Keller", "auditor")
    assert told["link"].startswith("http://localhost:") and "/officer/enrol#" in told["link"]
    again = parley("staff", "add", "rosa keller", "--data", data)
    assert again.returncode == 1 and "already" in again.stderr and "Traceback" not in again.stderr
    invited = parley("staff", "invite", "Rosa Keller", "--data", data)
    assert "/officer/enrol#" in invited.stdout and told["link"] not in invited.stdout
    unknown = parley("staff", "remove", "Nobody", "--data", data)
    assert unknown.returncode == 1 and "parley staff list" in unknown.stderr
    listed = json.loads(parley("staff", "list", "--data", data, "--json").stdout)
    assert [(each["name"], each["enrolled"]) for each in listed if each["id"] == told["id"]] == [("Rosa Keller", False)]
    assert parley("staff", "remove", "Rosa Keller", "--data", data).returncode == 0
    acts = [(entry.facts["act"], entry.facts["whom"]) for entry in small_house.entries() if entry.facts["k"] == "staff"]
    assert [act for act, whom in acts if whom == told["id"]] == ["add", "invite", "remove"]
    assert "Rosa" not in b"".join(entry.entry for entry in small_house.entries()).decode()


def test_nobody_is_added_behind_the_logs_back(tmp_path: Path) -> None:
    data = private_folder(tmp_path / "house")
    write_config(data, "http://127.0.0.1:8080", 8080, "http://127.0.0.1:8081", "")
    done = parley("staff", "add", "Rosa Keller", "--data", data)
    assert done.returncode == 1
    assert "the log cannot be reached" in done.stderr and "parley serve" in done.stderr
    assert json.loads(parley("staff", "list", "--data", data, "--json").stdout) == []


def test_an_approved_policy_that_this_release_refuses_stops_the_start_with_the_way_out(tmp_path: Path) -> None:
    config = write_config(private_folder(tmp_path / "house"), "http://127.0.0.1:8080", 8080, "http://127.0.0.1:8081", "")
    broken = {"policy.cedar": b"permit(", "particulars.toml": b'name = "x"\nbank = "x"\nchannels = ["web"]\nplatforms = []\n'}
    approved = PolicyVersion(3, "digest", broken, "proposal", 7, datetime(2026, 11, 22, tzinfo=UTC))
    with pytest.raises(PolicyRejected, match=r"version 3.*policy\.cedar.*Start the release of Parley that approved it"):
        loaded_first(load_settings(config), approved)
