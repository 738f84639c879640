"""The partners' API under attack: other customers' grants, more than was allowed, bodies that nobody should read, and what a "stop" does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from parley.proof import verify_receipt
from tests.fakes.allowing import AllowingRobot
from tests.fakes.partner import DETAILS, Partner, answer_in
from tests.house import Answer, RunningHouse, balance_line, parley, run
from tests.peers.partnered import register

REDIRECT = "https://partner.example/callback"
BALANCE = {"question": "what's my balance?"}


@dataclass
class Held:
    """A partner with a token of one customer."""

    house: RunningHouse
    partner: Partner
    token: str
    grant_id: str
    refresh_token: str
    projections: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.house.url}/api/v1/answers"

    def ask(self, body: Any, **changes: Any) -> Answer:
        token, scheme = changes.pop("token", self.token), changes.pop("scheme", "DPoP")
        proof = changes.pop("proof", None) or self.partner.proof("POST", self.url, token)
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"authorization": f"{scheme} {token}", "dpop": proof, "content-type": "application/json", **changes}
        return run(posted(self.url, sent, {name: value for name, value in headers.items() if value}))

    def end(self) -> int:
        path = f"{self.partner.issuer}/grants/{self.grant_id}"
        headers = {"authorization": f"DPoP {self.token}", "dpop": self.partner.proof("DELETE", path, self.token)}
        return run(posted(path, b"", headers, "DELETE")).status


async def posted(url: str, body: bytes, headers: dict[str, str], method: str = "POST") -> Answer:
    async with aiohttp.ClientSession(trust_env=False) as client, client.request(method, url, data=body, headers=headers) as answer:
        content = await answer.content.read(512 * 1024)
        return Answer(answer.status, content.decode(errors="replace"), {name.lower(): value for name, value in answer.headers.items()})


async def form(url: str, params: dict[str, Any], proof: str = "") -> dict[str, Any]:
    headers = {"dpop": proof} if proof else {}
    async with aiohttp.ClientSession(trust_env=False) as client, client.post(url, data=params, headers=headers) as answer:
        return dict(await answer.json(content_type=None))


def held(house: RunningHouse, partner: Partner, username: str, details: dict[str, Any] = DETAILS) -> Held:
    async def flow() -> dict[str, Any]:
        asked = partner.asked(authorization_details=json.dumps([details]))
        pushed = await form(f"{partner.issuer}/par", partner.authenticated(asked))
        async with AllowingRobot(house.url, REDIRECT) as robot:
            answer = answer_in(await robot.allow(partner.authorize_url(pushed["request_uri"]), house.customer(username)))
        url = f"{partner.issuer}/token"
        return await form(url, partner.authenticated(partner.redeeming(answer["code"])), partner.proof("POST", url))

    told = run(flow())
    return Held(house, partner, told["access_token"], told["grant_id"], told["refresh_token"], told["authorization_details"][0]["projections"])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    running = RunningHouse(tmp_path_factory.mktemp("api"), "answers_per_day = 24\n").start()
    yield running
    running.stop_unharmed()


@pytest.fixture(scope="module")
def partner(house: RunningHouse, tmp_path_factory: pytest.TempPathFactory) -> Partner:
    made = Partner(f"{house.url}/fapi", client_id="partner-app", redirect_uri=REDIRECT)
    register(house, json.loads(made.jwks), REDIRECT, tmp_path_factory.mktemp("keys"))
    return made


@pytest.fixture(scope="module")
def ada(house: RunningHouse, partner: Partner) -> Held:
    return held(house, partner, "ada")


def test_a_question_in_words_and_typed_have_the_same_answer_each_with_its_receipt(ada: Held) -> None:
    answers = [ada.ask(body) for body in (BALANCE, {"offering": "balance"}, {"offering": "balance", "purpose": "answer_customer"})]
    assert [each.status for each in answers] == [200, 200, 200]
    assert len({each.json["answer"] for each in answers}) == 1
    assert len({each.json["log_index"] for each in answers}) == 3
    for each in answers:
        assert verify_receipt(each.json["receipt"], ada.house.vkey)
        assert each.headers["cache-control"] == "no-store"
    figures = [balance_line(account)[1] for account in ada.house.customer("ada").accounts]
    assert any(figure in answers[0].json["answer"] for figure in figures)


def test_a_typed_amount_is_exact(ada: Held) -> None:
    seen = ada.ask({"offering": "afford", "slots": {"amount": "0.01", "currency": "USD"}})
    assert (seen.status, seen.json["projection"]) == (200, "afford.yesno")
    assert "0.01" in seen.json["answer"]


def test_what_was_not_allowed_is_insufficient_scope_and_the_bank_is_not_asked(ada: Held) -> None:
    before = ada.house.bank_reads()
    for body in ({"question": "show my last 5 transactions"}, {"offering": "transactions"}):
        seen = ada.ask(body)
        assert (seen.status, seen.code, seen.json["error"]) == (403, "not_consented", "insufficient_scope")
        assert 'error="insufficient_scope"' in seen.headers["www-authenticate"]
    for purpose, code in (("advertising", "purpose_forbidden"), ("warn_of_fraud", "not_consented"), ("because", "purpose_unknown")):
        assert (ada.ask({**BALANCE, "purpose": purpose}).status, ada.ask({**BALANCE, "purpose": purpose}).code) == (403, code)
    assert ada.house.bank_reads() == before


def test_a_token_opens_its_own_grants_and_no_others_of_the_same_customer(house: RunningHouse, partner: Partner, ada: Held) -> None:
    narrow = held(house, partner, "ada", {**DETAILS, "projections": ["afford.yesno"]})
    assert narrow.projections == ["afford.yesno"]
    assert (narrow.ask(BALANCE).status, narrow.ask(BALANCE).code) == (403, "not_consented")
    assert narrow.ask({"offering": "afford", "slots": {"amount": "5"}}).status == 200
    assert ada.ask(BALANCE).status == 200


def test_B27_C12_another_customers_token_answers_for_that_customer_alone(house: RunningHouse, partner: Partner, ada: Held) -> None:
    ben = held(house, partner, "ben")
    mine, theirs = ada.ask(BALANCE).json["answer"], ben.ask(BALANCE).json["answer"]
    assert mine != theirs
    for account in house.customer("ada").accounts:
        assert balance_line(account)[0] not in theirs


def test_C6_a_bound_token_as_a_bearer_token_is_worth_nothing(ada: Held) -> None:
    for changes in ({"scheme": "Bearer"}, {"dpop": ""}, {"dpop": "x"}, {"authorization": ""}, {"token": "unknown"}, {"token": ada.refresh_token}):
        seen = ada.ask(BALANCE, **changes)
        assert seen.status == 401
        assert seen.headers["www-authenticate"].startswith("DPoP algs=")
    refused = ada.ask(BALANCE, proof=ada.partner.proof("POST", ada.url.replace("answers", "other"), ada.token))
    assert (refused.status, refused.json["error"]) == (401, "invalid_dpop_proof")
    proof = ada.partner.proof("POST", ada.url, ada.token)
    assert [ada.ask(BALANCE, proof=proof).status for _ in range(2)] == [200, 401]


BODIES: list[tuple[Any, int, str]] = [
    (b"", 400, "body_not_json"),
    (b"{", 400, "body_not_json"),
    (b"[" * 4000, 400, "body_too_deep"),
    (b"\xff\xfe", 400, "body_not_json"),
    (b"x" * 9000, 413, "body_too_large"),
    ([], 422, "body_wrong_shape"),
    ({}, 422, "body_wrong_shape"),
    ({"question": "balance", "offering": "balance"}, 422, "body_wrong_shape"),
    ({"question": "balance", "slots": {"count": 1}}, 422, "body_wrong_shape"),
    ({"question": "balance", "customer": "ben"}, 422, "body_wrong_shape"),
    ({"question": " \x00 "}, 422, "text_empty"),
    ({"question": "b" * 501}, 422, "text_too_long"),
    ({"question": 7}, 422, "body_wrong_shape"),
    ({"offering": ""}, 422, "body_wrong_shape"),
    ({"offering": "o" * 65}, 422, "body_wrong_shape"),
    ({"offering": "nothing"}, 422, "offering_unknown"),
    ({"offering": "../balance"}, 422, "offering_unknown"),
    ({"offering": "afford", "slots": {"amount": "1e9"}}, 422, "body_wrong_shape"),
    ({"offering": "afford", "slots": {"amount": "-1"}}, 422, "body_wrong_shape"),
    ({"offering": "afford", "slots": {"amount": "NaN"}}, 422, "body_wrong_shape"),
    ({"offering": "afford", "slots": {"amount": 640.0}}, 422, "body_wrong_shape"),
    ({"offering": "afford", "slots": {"amount": "1", "currency": "XXX"}}, 422, "body_wrong_shape"),
    ({"offering": "transactions", "slots": {"count": 0}}, 422, "body_wrong_shape"),
    ({"offering": "transactions", "slots": {"count": True}}, 422, "body_wrong_shape"),
    ({"offering": "balance", "slots": {"account": "not mine"}}, 422, "no_suitable_account"),
    ({"question": "balance", "message_id": "short"}, 422, "body_wrong_shape"),
    (b'{"question":"balance","question":"balance"}', 400, "body_not_json"),
    ({"question": "what will the weather be"}, 422, "not_understood"),
]


@pytest.mark.parametrize(("body", "status", "code"), BODIES)
def test_bodies_that_cannot_be_read_are_refused_by_name(ada: Held, body: Any, status: int, code: str) -> None:
    seen = ada.ask(body)
    assert (seen.status, seen.code) == (status, code)
    assert seen.headers["content-type"] == "application/problem+json"
    assert seen.json["status"] == status


def test_a_message_is_answered_once(ada: Held) -> None:
    body = {**BALANCE, "message_id": "message-0001"}
    assert [ada.ask(body).status for _ in range(2)] == [200, 409]
    assert ada.ask({**BALANCE, "message_id": "message-0002"}).status == 200


def test_only_json_is_read_and_only_posted(ada: Held) -> None:
    assert ada.ask(BALANCE, **{"content-type": "text/plain"}).code == "content_type_wrong"
    assert run(posted(ada.url, b"", {}, "GET")).status == 405


def test_ending_the_grant_ends_it_for_the_next_question(house: RunningHouse, partner: Partner) -> None:
    cleo = held(house, partner, "ben")
    assert cleo.ask(BALANCE).status == 200
    assert cleo.end() == 204
    assert (cleo.ask(BALANCE).status, cleo.ask(BALANCE).json["error"]) == (401, "invalid_token")
    kinds = [each.facts["k"] for each in house.entries()]
    assert "revoke" in kinds


def test_a_stop_in_words_ends_it_too(house: RunningHouse, partner: Partner) -> None:
    ben = held(house, partner, "ben")
    assert ben.ask({"question": "stop sharing"}).code == "grant_revoked"
    assert ben.ask(BALANCE).json["error"] == "invalid_token"


def test_a_removed_client_asks_nothing_more(house: RunningHouse, partner: Partner, tmp_path: Path) -> None:
    other = Partner(f"{house.url}/fapi", client_id="other-app", redirect_uri=REDIRECT)
    register(house, json.loads(other.jwks), REDIRECT, tmp_path, "other-app", "larkspur-assistant")
    assert "error" in run(form(f"{other.issuer}/par", other.authenticated(other.asked())))  # The policy allows it nothing on this channel.
    listed = parley("client", "list", "--json", "--config", house.data / "parley.toml")
    assert {row["id"] for row in json.loads(listed.stdout)} == {"other-app", "partner-app"}
    assert "jwks" not in listed.stdout
    again = parley("client", "add", "third-app", "--platform", "larkspur-partner", "--title", "T", "--host", "t.example", "--redirect", REDIRECT,
                   "--jwks", tmp_path / "other-app-jwks.json", "--config", house.data / "parley.toml")  # fmt: skip
    assert again.returncode == 1
    assert "platform" in again.stderr
    gone = parley("client", "remove", "other-app", "--config", house.data / "parley.toml")
    assert gone.returncode == 0
    assert run(form(f"{other.issuer}/par", other.authenticated(other.asked())))["error"] == "invalid_client"
    assert parley("client", "remove", "other-app", "--config", house.data / "parley.toml").returncode == 1


def test_the_budget_of_the_day_holds(house: RunningHouse, partner: Partner) -> None:
    spender = held(house, partner, "ben")
    seen = [spender.ask({"offering": "afford", "slots": {"amount": "1"}}) for _ in range(25)]
    assert [each.status for each in seen[:24]] == [200] * 24
    assert (seen[24].status, seen[24].code) == (429, "budget_spent")
    assert 0 < int(seen[24].headers["retry-after"]) <= 86_401
