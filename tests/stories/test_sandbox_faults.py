"""Every fault of the demo bank can be switched on, does what its name says, and stops when told."""

import http.client
import json
import time
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest

from parley_sandbox import oracle
from parley_sandbox.faults import FAULTS, FaultBoard, written_fault
from parley_sandbox.ledger import Customer
from parley_sandbox.robot import BankProcess, Reply, RobotBrowser, RobotClient, call, details, write_clients
from parley_sandbox.web import Refusal

SEED, TODAY = 3, date(2026, 6, 17)


@pytest.fixture(scope="module")
def client() -> RobotClient:
    return RobotClient()


@pytest.fixture(scope="module")
def bank(client: RobotClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BankProcess]:
    clients = write_clients(tmp_path_factory.mktemp("bank") / "clients.json", client)
    with BankProcess("--seed", str(SEED), "--today", TODAY.isoformat(), "--clients", str(clients), "--fault", "error500:once") as process:
        client.issuer = process.url
        yield process


@pytest.fixture(scope="module")
def ada() -> Customer:
    return oracle.customer(SEED, TODAY, "ada")


@pytest.fixture(scope="module")
def token(bank: BankProcess, client: RobotClient, ada: Customer) -> str:
    fresh = str(client.link("ada", ada.password, authorization_details=details(lookback=730))["access_token"])
    assert client.read(fresh, "/accounts").status == 500
    assert client.read(fresh, "/accounts").status == 200
    return fresh


@pytest.fixture(autouse=True)
def _all_off(bank: BankProcess) -> Iterator[None]:
    yield
    assert bank.faults().status == 200


def rows(client: RobotClient, token: str, ada: Customer, **parameters: str) -> Reply:
    path = f"/accounts/{ada.accounts[0].account_id}/transactions"
    return client.read(token, path, startDate="2026-05-01", endDate="2026-06-17", **parameters)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("rate_limit=7", 429, "1207"),
        ("error500", 500, "500"),
        ("maintenance", 503, "503"),
        ("link_lost", 403, "602"),
        ("token_expired", 401, "603"),
    ],
)
def test_a_fault_answers_with_its_status_and_code_as_often_as_told(
    bank: BankProcess, client: RobotClient, token: str, fault: str, status: int, code: str
) -> None:
    bank.faults(f"{fault}:2")
    for _ in range(2):
        refused = client.read(token, "/accounts")
        assert (refused.status, refused.json()["code"]) == (status, code)
        assert status != 429 or refused.headers["retry-after"] == "7"
    assert client.read(token, "/accounts").status == 200


def test_slow_answers_wait(bank: BankProcess, client: RobotClient, token: str) -> None:
    bank.faults("slow=150ms:once")
    before = time.monotonic()
    assert client.read(token, "/accounts").status == 200
    assert time.monotonic() - before >= 0.15


def test_bodies_can_be_cut_broken_nested_or_huge(bank: BankProcess, client: RobotClient, token: str) -> None:
    whole = client.read(token, "/accounts").body
    bank.faults("half_page")
    assert client.read(token, "/accounts").body == whole[: len(whole) // 2]
    bank.faults("garbage")
    broken = client.read(token, "/accounts")
    assert (broken.status, broken.headers["content-type"]) == (200, "application/json")
    with pytest.raises(ValueError):
        broken.json()
    bank.faults("nested")
    assert client.read(token, "/accounts").body == b"[" * 100_000
    bank.faults("huge=3")
    huge = client.read(token, "/accounts")
    assert len(huge.body) > 3 * 1024 * 1024
    assert huge.json() == json.loads(whole)
    bank.faults("cut_connection")
    with pytest.raises(http.client.IncompleteRead):
        client.read(token, "/accounts")
    bank.faults("redirect")
    sent_away = client.read(token, "/accounts")
    assert (sent_away.status, sent_away.headers["location"].startswith("https://elsewhere.invalid")) == (302, True)


def test_a_repeated_cursor_never_ends(bank: BankProcess, client: RobotClient, token: str, ada: Customer) -> None:
    bank.faults("repeat_cursor")
    first = rows(client, token, ada, limit="5").json()
    second = rows(client, token, ada, limit="5", pageKey=first["page"]["nextPageKey"]).json()
    assert second == first
    alone = client.read(token, "/accounts").json()
    assert client.read(token, "/accounts", pageKey=alone["page"]["nextPageKey"]).json() == alone


def test_lists_can_lead_away_repeat_rows_or_stay_incomplete(bank: BankProcess, client: RobotClient, token: str, ada: Customer) -> None:
    whole = rows(client, token, ada, limit="5").json()
    bank.faults("foreign_next_link")
    away = rows(client, token, ada, limit="5").json()
    assert away["links"]["next"]["href"].startswith("https://elsewhere.invalid/")
    assert "nextPageKey" not in away["page"]
    bank.faults("duplicate_rows")
    twice = rows(client, token, ada, limit="5").json()["transactions"]
    assert twice[-1] == twice[-2]
    bank.faults("partial")
    some = rows(client, token, ada, limit="5")
    assert some.status == 206
    assert some.json()["transactions"] == whole["transactions"][:-1]
    accounts = client.read(token, "/accounts", resultType="details")
    assert accounts.status == 206
    assert accounts.json()["accounts"][-1]["error"]["code"] == "500"
    assert "currentBalance" not in accounts.json()["accounts"][-1]


def test_values_can_be_wrong_in_every_way_a_connector_must_notice(bank: BankProcess, client: RobotClient, token: str, ada: Customer) -> None:
    first = ada.accounts[0].account_id
    true_rows = json.loads(rows(client, token, ada).body, parse_float=Decimal)["transactions"]
    bank.faults("wrong_currency")
    assert client.read(token, f"/accounts/{first}").json()["currency"] == {"currencyCode": "ZZZ"}
    bank.faults("wrong_currency=EUR")
    assert {account["currency"]["currencyCode"] for account in client.read(token, "/accounts").json()["accounts"]} == {"EUR"}
    bank.faults("no_currency")
    assert "currency" not in client.read(token, f"/accounts/{first}").json()
    bank.faults("foreign_account")
    assert client.read(token, f"/accounts/{first}").json()["accountId"] != first
    bank.faults("string_amounts")
    assert isinstance(client.read(token, f"/accounts/{first}").json()["currentBalance"], str)
    changes: dict[str, list[dict[str, object]]] = {}
    for fault in ("signed_amounts", "no_memo", "wrong_sign", "unknown_fields", "old_categories"):
        bank.faults(fault)
        changes[fault] = json.loads(rows(client, token, ada).body, parse_float=Decimal)["transactions"]
    for index, row in enumerate(true_rows):
        debit = row["debitCreditMemo"] == "DEBIT"
        assert changes["signed_amounts"][index]["amount"] == (-row["amount"] if debit else row["amount"])
        assert changes["no_memo"][index] == {name: value for name, value in row.items() if name != "debitCreditMemo"}
        assert changes["wrong_sign"][index]["debitCreditMemo"] == ("CREDIT" if debit else "DEBIT")
        assert changes["unknown_fields"][index].keys() > row.keys()
        if "categoryCode" in row:
            assert changes["old_categories"][index]["category"] == row["categoryCode"]
            assert changes["old_categories"][index]["subCategory"] == "MCC"


def test_identities_can_be_confused(bank: BankProcess, client: RobotClient, token: str, ada: Customer) -> None:
    bank.faults("wrong_interaction_id")
    assert client.read(token, "/accounts").headers["x-fapi-interaction-id"] == "00000000-0000-0000-0000-000000000000"
    bank.faults("wrong_iss")
    landed = RobotBrowser(bank.url).approve(client.client_id, client.push("v" * 50), "ada", ada.password)
    assert landed["iss"] == "https://elsewhere.invalid"
    bank.faults("token_error:once")
    assert client.redeem(landed["code"], "v" * 50).status == 503
    assert client.redeem(landed["code"], "v" * 50).status == 200


def test_the_customer_can_cut_the_link_at_the_bank(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    answer = client.link("ada", ada.password)
    end = f"{bank.url}/operator/consents/{answer['grant_id']}/end"
    kind = {"content-type": "application/json"}
    assert call(end, "POST", b"{}", kind).json() == {"ended": True}
    assert call(end, "POST", b"{}", kind).json() == {"ended": False}
    assert client.read(answer["access_token"], "/accounts").json()["code"] == "602"
    states = {consent["id"]: consent["status"] for consent in call(f"{bank.url}/operator/consents").json()["consents"]}
    assert states[answer["grant_id"]] == "REVOKED"


def test_an_unauthenticated_call_uses_no_fault_up(bank: BankProcess, client: RobotClient, token: str) -> None:
    bank.faults("error500:once")
    assert client.read("unknown" * 5, "/accounts").status == 401
    assert client.read(token, "/accounts").status == 500


def test_every_fault_listed_can_be_switched_on_by_name(bank: BankProcess) -> None:
    assert bank.faults(*FAULTS).status == 200
    listed = call(f"{bank.url}/operator/faults").json()
    assert {fault["name"] for fault in listed["faults"]} == set(FAULTS) == set(listed["known"])


@pytest.mark.parametrize(
    "text", ["", "slow=", "slow=61s", "slow=x", "error500:0", "error500:-1", "error500:often", "huge=65", "huge=x", "rate_limit=0", "a b"]
)
def test_a_fault_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        written_fault(text)


def test_a_board_forgets_a_fault_once_its_count_is_used_up() -> None:
    board = FaultBoard([written_fault("slow=5ms:2"), written_fault("garbage")])
    assert [board.strikes("slow") for _ in range(3)] == ["5ms", "5ms", None]
    assert [board.strikes("garbage") for _ in range(3)] == [""] * 3
