"""A running house with a registered partner, for clients that nobody here wrote."""

from __future__ import annotations

import json
from pathlib import Path

from tests.house import RunningHouse, parley

CLIENT = "partner-app"
PLATFORM = "larkspur-partner"


def register(house: RunningHouse, jwks: dict[str, object], redirect_uri: str, folder: Path, name: str = CLIENT, platform: str = PLATFORM) -> None:
    """As the bank's operator does it, while the gateway runs."""
    keys = folder / f"{name}-jwks.json"
    keys.write_text(json.dumps(jwks))
    told = ["--platform", platform, "--title", "Larkspur Partner", "--host", "partner.example", "--redirect", redirect_uri, "--jwks", str(keys)]
    done = parley("client", "add", name, *told, "--config", house.data / "parley.toml")
    assert done.returncode == 0, done.stderr


def unregister(house: RunningHouse, name: str = CLIENT) -> None:
    done = parley("client", "remove", name, "--config", house.data / "parley.toml")
    assert done.returncode == 0, done.stderr
