"""Checklist B towards banks: what we ask for, what belongs to one trip, and whose word about the customer counts."""

from __future__ import annotations

import json

import pytest

from parley.authorization.bank_client import BankClient, BankTrip, challenge_of
from parley.authorization.client_key import ClientKey
from parley.model.grants import BankTokens
from tests.attacks import test_bank_client_trips as trips
from tests.attacks.test_bank_client_trips import Door, at, back, good_tokens, told


@pytest.fixture(scope="module", autouse=True)
def a_key(tmp_path_factory: pytest.TempPathFactory) -> None:
    trips.KEY = ClientKey.load_or_create(tmp_path_factory.mktemp("key") / "client.pem")


def test_B4_a_bank_is_asked_for_reading_what_the_offerings_need_and_for_nothing_more() -> None:
    door = Door()
    at(door, lambda client: client.begin())
    (pushed,) = door.sent("/par")
    assert pushed["scope"].split() == ["fdx:accountbasic:read", "fdx:balances:read", "fdx:transactions:read"]
    (details,) = json.loads(pushed["authorization_details"])
    asked = details["consentRequest"]
    assert (asked["durationType"], asked["durationPeriod"] <= 365, asked["lookbackPeriod"] <= 730) == ("TIME_BOUND", True, True)
    assert asked["resources"] == [{"resourceType": "ACCOUNT", "dataClusters": ["ACCOUNT_BASIC", "BALANCES", "TRANSACTIONS"]}]


def test_B2_each_trip_has_a_state_and_a_verifier_of_its_own() -> None:
    door = Door()

    async def three(client: BankClient) -> list[BankTrip]:
        return [await client.begin() for _ in range(3)]

    made = at(door, three)
    assert len({trip.state for trip in made} | {trip.verifier for trip in made}) == 6
    assert all(len(trip.state) >= 43 and len(trip.verifier) >= 43 for trip in made)
    for trip, pushed in zip(made, door.sent("/par"), strict=True):
        assert (pushed["state"], pushed["code_challenge"], pushed["code_challenge_method"]) == (trip.state, challenge_of(trip.verifier), "S256")
        assert trip.verifier not in json.dumps(pushed)


def test_B13_no_identity_is_taken_from_a_token_that_nobody_checked() -> None:
    """Who came back is asked of the bank's API with the fresh token. An ID token that comes along is not read, whatever it says."""
    door = Door()
    door.tokens = told(good_tokens(id_token="eyJhbGciOiJub25lIn0.eyJzdWIiOiJzb21lYm9keSBlbHNlIn0.", sub="somebody else"))
    tokens = at(door, lambda client: client.finish(back(door.bank.url), "the-state", "v" * 43))
    assert isinstance(tokens, BankTokens)
    assert "somebody" not in str([getattr(tokens, name) for name in tokens.__struct_fields__])
