"""`oauth4webapi`, an OAuth client that nobody here wrote, walks the demo bank's whole flow, so that what we test against is a real bank's shape."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from parley_sandbox import oracle
from parley_sandbox.robot import BankProcess, RobotClient, details, write_clients
from tests.peers.node import installed, run

pytestmark = pytest.mark.peers

SEED = 7


def test_a_client_of_others_links_reads_renews_and_revokes(tmp_path: Path) -> None:
    folder = installed(Path(__file__).parent / "oauth4webapi")
    client = RobotClient()
    clients = write_clients(tmp_path / "clients.json", client)
    day = datetime.now(UTC).date()
    ada = oracle.customer(SEED, day, "ada")
    with BankProcess("--seed", str(SEED), "--today", day.isoformat(), "--clients", str(clients)) as bank:
        settings = {
            "issuer": bank.url,
            "client_id": client.client_id,
            "kid": client.key.kid,
            "jwk": client.key.as_dict(private=True),
            "redirect_uri": client.redirect_uri,
            "details": details(),
            "state": "s" * 40,
            "username": ada.username,
            "password": ada.password,
        }
        (tmp_path / "settings.json").write_text(json.dumps(settings))
        outcome = json.loads(run(folder, "client.mjs", str(tmp_path / "settings.json")))
    assert outcome == {
        "pushed_seconds": 540,
        "token_type": "bearer",
        "access_seconds": 900,
        "accounts": len(ada.accounts),
        "after_revocation": 401,
        "second_use_of_the_code": "invalid_grant",
        "tokens_of_a_code_used_twice": 401,
    }
