"""The demo bank over real HTTP: linking through its pages, balances, rows and the rules about days and pages."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from parley_sandbox import oracle
from parley_sandbox.ledger import Account, Customer
from parley_sandbox.robot import CLUSTERS, BankProcess, Reply, RobotClient, call, details, write_clients

SEED, TODAY = 11, date(2026, 3, 5)


@pytest.fixture(scope="module")
def client() -> RobotClient:
    return RobotClient()


@pytest.fixture(scope="module")
def bank(client: RobotClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BankProcess]:
    clients = write_clients(tmp_path_factory.mktemp("bank") / "clients.json", client)
    with BankProcess("--seed", str(SEED), "--today", TODAY.isoformat(), "--clients", str(clients)) as process:
        client.issuer = process.url
        yield process


@pytest.fixture(scope="module")
def ada() -> Customer:
    return oracle.customer(SEED, TODAY, "ada")


@pytest.fixture(scope="module")
def token(bank: BankProcess, client: RobotClient, ada: Customer) -> str:
    return str(client.link("ada", ada.password, authorization_details=details(lookback=730))["access_token"])


def exact(reply: Reply) -> Any:
    return json.loads(reply.body, parse_float=Decimal, parse_int=Decimal)


def minor(amount: Decimal, currency: str) -> int:
    scaled = amount.scaleb(0 if currency == "JPY" else 2)
    assert scaled == int(scaled)
    return int(scaled)


def all_rows(client: RobotClient, token: str, account: Account, **parameters: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    page_key: dict[str, str] = {}
    for _ in range(200):
        answer = exact(client.read(token, f"/accounts/{account.account_id}/transactions", **parameters, **page_key))
        rows += answer["transactions"]
        if "nextPageKey" not in answer["page"]:
            assert len(rows) == answer["page"]["totalElements"]
            return rows
        page_key = {"pageKey": answer["page"]["nextPageKey"]}
    raise AssertionError("the pages do not end")


def test_a_customer_links_two_accounts_and_only_those_exist(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    chosen = [account.account_id for account in ada.accounts[:2]]
    answer = client.link("ada", ada.password, chosen)
    assert answer["token_type"] == "Bearer"
    assert answer["grant_id"] == answer["fdxConsentId"]
    assert 0 < answer["expires_in"] <= 900
    assert answer["authorization_details"][0]["consentRequest"]["lookbackPeriod"] == 365
    listed = client.read(answer["access_token"], "/accounts").json()["accounts"]
    assert [account["accountId"] for account in listed] == chosen
    for hidden in (ada.accounts[2].account_id, oracle.customer(SEED, TODAY, "ben").accounts[0].account_id, "0" * 20):
        for path in (f"/accounts/{hidden}", f"/accounts/{hidden}/transactions"):
            refused = client.read(answer["access_token"], path)
            assert (refused.status, refused.json()["code"]) == (404, "701")


def test_the_light_list_has_no_balances_and_the_full_one_is_exact(client: RobotClient, token: str, ada: Customer) -> None:
    light = client.read(token, "/accounts").json()["accounts"]
    assert all("currentBalance" not in account for account in light)
    full = exact(client.read(token, "/accounts", resultType="details"))["accounts"]
    assert len(full) == len(ada.accounts)
    for shown, account in zip(full, ada.accounts, strict=True):
        sign = -1 if shown["balanceType"] == "LIABILITY" else 1
        assert sign * minor(shown["currentBalance"], account.currency) == account.booked
        available = shown["availableCredit"] if account.kind == "credit_card" else shown["availableBalance"]
        assert minor(available, account.currency) == account.available


def test_every_customer_can_log_in_and_her_rows_add_up_to_her_balance(bank: BankProcess, client: RobotClient) -> None:
    for customer in oracle.customers(SEED, TODAY):
        fresh = client.link(customer.username, customer.password, authorization_details=details(lookback=730))["access_token"]
        for account in customer.accounts:
            start = TODAY - timedelta(days=730)
            dates = {"startDate": start.isoformat(), "endDate": TODAY.isoformat(), "limit": "500"}
            rows = all_rows(client, fresh, account, **dates)
            assert len({row["transactionId"] for row in rows}) == len(rows)
            before = account.opening + sum(row.amount for row in account.postings if not row.pending and row.day < start)
            booked = sum(_signed(row, account) for row in rows if row["status"] == "POSTED")
            assert before + booked == account.booked, (customer.username, account.nickname)


def _signed(row: dict[str, Any], account: Account) -> int:
    return minor(row["amount"], account.currency) * (-1 if row["debitCreditMemo"] == "DEBIT" else 1)


@pytest.mark.parametrize("limit", [1, 7, 100, 500])
def test_paging_covers_every_row_once_whatever_the_page_size(client: RobotClient, token: str, ada: Customer, limit: int) -> None:
    days = 30 if limit == 1 else 200
    account = ada.accounts[2]
    start = TODAY - timedelta(days=days)
    rows = all_rows(client, token, account, startTime=f"{start}T00:00:00Z", endTime=f"{TODAY}T23:59:59Z", limit=str(limit))
    expected = [row.transaction_id for row in oracle.transactions(account, start, TODAY)]
    assert len(expected) > 20
    assert [row["transactionId"] for row in rows] == expected


def test_the_next_link_alone_also_leads_through_all_pages(client: RobotClient, token: str, ada: Customer) -> None:
    seen: list[str] = []
    path = "/accounts?limit=1&resultType=details"
    while path:
        answer = client.read(token, path).json()
        seen += [account["accountId"] for account in answer["accounts"]]
        assert "currentBalance" in answer["accounts"][0]
        path = answer.get("links", {}).get("next", {}).get("href", "").removeprefix("/fdx/v6")
    assert seen == [account.account_id for account in ada.accounts]


def test_without_dates_the_last_seven_days_are_meant(client: RobotClient, token: str, ada: Customer) -> None:
    rows = all_rows(client, token, ada.accounts[0])
    week = oracle.transactions(ada.accounts[0], TODAY - timedelta(days=6), TODAY)
    assert [row["transactionId"] for row in rows] == [row.transaction_id for row in week]
    assert rows


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"startDate": "2026-03-01"}, "703"),
        ({"endDate": "2026-03-01"}, "703"),
        ({"startTime": "2026-03-01", "endDate": "2026-03-02"}, "703"),
        ({"startDate": "2026-03-02", "endDate": "2026-03-01"}, "703"),
        ({"startDate": "2020-01-01", "endDate": "2026-03-01"}, "703"),
        ({"startDate": "01/03/2026", "endDate": "2026-03-01"}, "702"),
        ({"startDate": "2026-02-30", "endDate": "2026-03-01"}, "702"),
        ({"startTime": "0001-01-01T00:00:00+14:00", "endTime": "2026-03-01"}, "702"),
        ({"limit": "0"}, "401"),
        ({"limit": "501"}, "401"),
        ({"limit": "1e2"}, "401"),
        ({"pageKey": "AAAA"}, "401"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused_with_its_code(
    client: RobotClient, token: str, ada: Customer, parameters: dict[str, str], code: str
) -> None:
    refused = client.read(token, f"/accounts/{ada.accounts[0].account_id}/transactions", **parameters)
    assert (refused.status, refused.json()["code"]) == (400, code)


def test_the_lookback_agreed_is_the_lookback_kept(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    short = client.link("ada", ada.password, authorization_details=details(lookback=10))["access_token"]
    path = f"/accounts/{ada.accounts[0].account_id}/transactions"
    inside = {"startDate": (TODAY - timedelta(days=10)).isoformat(), "endDate": TODAY.isoformat()}
    outside = {**inside, "startDate": (TODAY - timedelta(days=11)).isoformat()}
    assert client.read(short, path, **inside).status == 200
    assert client.read(short, path, **outside).json()["code"] == "703"


def test_only_the_clusters_agreed_are_served(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    path = f"/accounts/{ada.accounts[0].account_id}"
    basic = client.link("ada", ada.password, authorization_details=details(["ACCOUNT_BASIC"]))["access_token"]
    assert "currentBalance" not in client.read(basic, path).json()
    assert client.read(basic, f"{path}/transactions").json()["code"] == "403"
    assert client.read(basic, "/customers/current").json() == {"customerId": ada.customer_id}
    named = client.link("ada", ada.password, authorization_details=details([*CLUSTERS, "CUSTOMER_CONTACT"]))["access_token"]
    assert client.read(named, "/customers/current").json()["name"] == {"first": "Ada", "last": "Merrow"}


def test_pending_rows_are_recent_and_some_have_a_posted_twin_that_names_them(client: RobotClient, token: str, ada: Customer) -> None:
    rows = [row for account in ada.accounts for row in all_rows(client, token, account)]
    pending = {row["transactionId"]: row for row in rows if row["status"] == "PENDING"}
    assert pending
    assert all((TODAY - date.fromisoformat(row["transactionTimestamp"][:10])).days <= 3 for row in pending.values())
    assert all("postedTimestamp" not in row for row in pending.values())
    twins = [row for row in rows if row["status"] == "POSTED" and row.get("referenceTransactionId") in pending]
    assert twins
    for twin in twins:
        assert twin["amount"] == pending[twin["referenceTransactionId"]]["amount"]


def test_refreshing_works_again_and_again_until_the_consent_is_revoked(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    answer = client.link("ada", ada.password)
    again = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
    tokens = [client.post("/token", again).json()["access_token"] for _ in range(3)]
    assert len({answer["access_token"], *tokens}) == 4
    consent = f"/fdx/v6/consents/{answer['grant_id']}"
    headers = {"authorization": f"Bearer {tokens[0]}", "x-fapi-interaction-id": "6d3f0c1e-9a55-4f1e-8c53-0a64c6d4a6b1"}
    assert call(bank.url + consent, headers=headers).json()["status"] == "ACTIVE"
    body = json.dumps({"reason": "USER_ACTION", "initiator": "INDIVIDUAL"}).encode()
    sent = {**headers, "content-type": "application/json"}
    assert call(f"{bank.url}{consent}/revocation", "PUT", body, sent).status == 204
    assert call(f"{bank.url}{consent}/revocation", "PUT", body, sent).status == 409
    assert call(f"{bank.url}{consent}/revocation", headers=headers).json()["revocations"][0]["reason"] == "USER_ACTION"
    assert call(bank.url + consent, headers=headers).json()["status"] == "REVOKED"
    for dead in (answer["access_token"], *tokens):
        refused = client.read(dead, "/accounts")
        assert (refused.status, refused.json()["code"]) == (403, "602")
    assert client.post("/token", again).json()["error"] == "invalid_grant"


def test_a_one_time_consent_has_no_refresh_token(bank: BankProcess, client: RobotClient, ada: Customer) -> None:
    answer = client.link("ada", ada.password, authorization_details=details(durationType="ONE_TIME"))
    assert "refresh_token" not in answer
    assert client.read(answer["access_token"], "/accounts").status == 200


def test_the_metadata_offers_what_is_built_and_nothing_else(bank: BankProcess) -> None:
    offered = call(f"{bank.url}/.well-known/oauth-authorization-server").json()
    assert offered["issuer"] == bank.url
    assert offered["require_pushed_authorization_requests"] is True
    assert offered["code_challenge_methods_supported"] == ["S256"]
    assert offered["grant_types_supported"] == ["authorization_code", "refresh_token"]
    assert offered["authorization_response_iss_parameter_supported"] is True
    assert "none" not in offered["token_endpoint_auth_signing_alg_values_supported"]
    assert "registration_endpoint" not in offered
    assert call(f"{bank.url}/register", "POST", b"{}", {"content-type": "application/json"}).status == 404


def test_served_reads_are_recorded_without_values(bank: BankProcess, client: RobotClient, token: str, ada: Customer) -> None:
    before = call(f"{bank.url}/operator/reads").json()["total"]
    headers = {"authorization": f"Bearer {token}", "x-fapi-interaction-id": "0b4d7f10-1111-4222-8333-444455556666"}
    echoed = call(f"{bank.url}/fdx/v6/accounts?resultType=details", headers=headers).headers["x-fapi-interaction-id"]
    assert echoed == headers["x-fapi-interaction-id"]
    client.read("unknown" * 5, "/accounts")
    client.read(token, "/accounts/none")
    after = call(f"{bank.url}/operator/reads")
    assert after.json()["total"] == before + 1
    assert after.json()["reads"][-1]["interactionId"] == headers["x-fapi-interaction-id"]
    assert after.json()["reads"][-1].keys() == {"interactionId", "minute", "pathClass", "consentId"}
    assert ada.accounts[0].account_id.encode() not in after.body


def test_equal_banks_answer_byte_for_byte_alike(client: RobotClient, ada: Customer, tmp_path: Path) -> None:
    other = RobotClient()
    answers = []
    for round_number in range(2):
        clients = write_clients(tmp_path / f"clients{round_number}.json", other)
        with BankProcess("--seed", str(SEED), "--today", TODAY.isoformat(), "--clients", str(clients)) as process:
            other.issuer = process.url
            fresh = other.link("liam", oracle.customer(SEED, TODAY, "liam").password)["access_token"]
            account = oracle.customer(SEED, TODAY, "liam").accounts[0].account_id
            paths = ("/accounts?resultType=details&limit=1", f"/accounts/{account}/transactions?startDate=2026-01-01&endDate=2026-03-05&limit=50")
            answers.append([other.read(fresh, path).body for path in paths])
    assert answers[0] == answers[1]


def test_the_bank_stops_when_its_parent_hangs_up() -> None:
    with BankProcess() as process:
        process.hang_up()
        assert process.wait(10) == 0
