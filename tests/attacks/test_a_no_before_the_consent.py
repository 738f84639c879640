"""The bank's no to a client that asks for too much is said before a customer hears of it, and is on record like every other no."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.oauth_house import OAuthHouse, oauth_house
from tests.fakes.partner import DETAILS


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuthHouse]:
    with oauth_house(tmp_path_factory.mktemp("oauth")) as running:
        yield running
        assert running.faults == []


@pytest.mark.parametrize("beyond", [{"projections": ["balance.available", "transactions.amount"]}, {"lookback_days": 91}])
def test_whoever_asks_for_more_than_the_policy_allows_is_on_record(house: OAuthHouse, beyond: dict[str, Any]) -> None:
    partner = house.partner(f"partner-{'-'.join(beyond)}".replace("_", "-"))
    before = len(house.refusals.noted)
    assert house.push(partner).status == 201
    assert house.refusals.noted[before:] == []
    seen = house.push(partner, authorization_details=json.dumps([{**DETAILS, **beyond}]))
    assert (seen.status, seen.json["error"]) == (400, "invalid_authorization_details")
    assert house.refusals.noted[before:] == [(f"platform-{partner.client_id}", "api", "not_allowed")]
