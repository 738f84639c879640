"""A proof costs a stranger nothing: made by the thousand for tokens that are not ours, it must cost us no row that outlives the request."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.oauth_house import OAuthHouse, oauth_house


@pytest.fixture
def house(tmp_path: Path) -> Iterator[OAuthHouse]:
    with oauth_house(tmp_path) as running:
        yield running
        assert running.faults == []


def proofs_remembered(house: OAuthHouse) -> int:
    rows = house.run(house.records._driver.read("SELECT count(*) FROM seen_tokens"))
    return int(rows[0][0])


def test_C17_a_proof_for_an_unknown_token_leaves_no_row(house: OAuthHouse) -> None:
    stranger = house.partner("stranger")
    before = proofs_remembered(house)
    for _ in range(5):
        assert house.show(stranger, secrets.token_urlsafe(32), "/grants/anything").status == 401
    assert proofs_remembered(house) == before


def test_C5_a_proof_for_a_token_of_ours_still_works_once(house: OAuthHouse) -> None:
    partner = house.partner("partner")
    told = house.tokens(partner)
    path, token = f"/grants/{told['grant_id']}", told["access_token"]
    proof = partner.proof("GET", f"{house.issuer}{path}", token)
    assert house.show(partner, token, path, proof=proof).status == 200
    again = house.show(partner, token, path, proof=proof)
    assert (again.status, again.json["error"]) == (401, "invalid_dpop_proof")
