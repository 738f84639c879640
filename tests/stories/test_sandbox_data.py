"""The demo bank's books: they add up, they are the same every time, and they hold what a gateway has to cope with."""

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta

import pytest

from parley_sandbox import oracle
from parley_sandbox.calendar_days import history_start, months_between
from parley_sandbox.entities import account_entity, transaction_entity
from parley_sandbox.ledger import Account, Customer, Posting
from parley_sandbox.web import JSON

TODAY = date(2026, 11, 22)
BANKS = [(7, TODAY), (1, date(2026, 3, 1)), (2024, date(2024, 2, 29))]


@pytest.fixture(scope="module", params=BANKS, ids=lambda bank: f"seed{bank[0]}-{bank[1]}")
def bank(request: pytest.FixtureRequest) -> tuple[date, tuple[Customer, ...]]:
    seed, today = request.param
    return today, oracle.customers(seed, today)


@pytest.fixture(scope="module")
def customers() -> dict[str, Customer]:
    return {customer.username: customer for customer in oracle.customers(7, TODAY)}


def every_account(customers: tuple[Customer, ...]) -> list[tuple[str, Account]]:
    return [(customer.username, account) for customer in customers for account in customer.accounts]


def test_opening_balance_and_booked_rows_make_the_balance(bank: tuple[date, tuple[Customer, ...]]) -> None:
    for username, account in every_account(bank[1]):
        running = account.opening
        for row in sorted((row for row in account.postings if row.posted_at), key=lambda row: row.posted_at or row.occurred_at):
            running += row.amount
        assert running == account.booked, (username, account.nickname)
        settled = {row.reference for row in account.postings if row.posted_at}
        holds = sum(row.amount for row in account.postings if row.posted_at is None and row.transaction_id not in settled and row.amount < 0)
        assert account.available == running + holds + account.credit_line


def test_rows_have_their_own_ids_and_stand_newest_first_within_two_years(bank: tuple[date, tuple[Customer, ...]]) -> None:
    today, customers = bank
    account_ids = [account.account_id for _, account in every_account(customers)]
    assert len(set(account_ids)) == len(account_ids)
    for _, account in every_account(customers):
        assert len({row.transaction_id for row in account.postings}) == len(account.postings)
        times = [row.posted_at or row.occurred_at for row in account.postings]
        assert times == sorted(times, reverse=True)
        assert all(row.occurred_at <= (row.posted_at or row.occurred_at) for row in account.postings)
        assert all(history_start(today) <= row.occurred_at.date() <= today for row in account.postings)
        assert all(time <= datetime.combine(today, _one_o_clock()) for time in times)
        assert all((today - row.day).days <= 3 for row in account.postings if row.pending)


def _one_o_clock() -> time:
    return time(1, tzinfo=UTC)


def test_the_sums_look_like_a_persons_money(bank: tuple[date, tuple[Customer, ...]]) -> None:
    for username, account in every_account(bank[1]):
        digits = len(str(abs(account.booked)))
        assert digits <= 7, (username, account.nickname, account.booked)
        if account.kind == "credit_card":
            assert -account.credit_line < account.booked <= 0
        if account.kind == "savings":
            assert account.booked >= 0


def test_making_one_customer_does_not_depend_on_the_others(customers: dict[str, Customer]) -> None:
    alone = oracle.customer(7, TODAY, "mei")
    assert alone == customers["mei"]
    assert [account.postings for account in alone.accounts] == [account.postings for account in customers["mei"].accounts]
    assert oracle.customer(8, TODAY, "mei").accounts[0].postings != alone.accounts[0].postings
    with pytest.raises(KeyError):
        oracle.customer(7, TODAY, "nobody")


def test_the_first_customer_is_good_on_stage(customers: dict[str, Customer]) -> None:
    ada = next(iter(customers.values()))
    assert ada.username == "ada"
    assert [account.kind for account in ada.accounts] == ["checking", "savings", "credit_card"]
    days = {row.day for account in ada.accounts for row in account.postings}
    assert {TODAY, TODAY - timedelta(days=1)} <= days
    assert 100_000 < ada.accounts[0].booked < 1_000_000


def test_the_cast_covers_the_kinds_of_accounts_a_gateway_meets(customers: dict[str, Customer]) -> None:
    accounts = [account for customer in customers.values() for account in customer.accounts]
    assert len(customers) >= 12
    assert {account.kind for account in accounts} == {"checking", "savings", "credit_card", "loan"}
    assert {account.currency for account in accounts} == {"USD", "EUR", "JPY"}
    assert {account.status for account in accounts} == {"OPEN", "CLOSED", "RESTRICTED"}
    closed = next(account for account in accounts if account.status == "CLOSED")
    assert closed.booked == 0
    assert closed.postings
    nicknames = [account.nickname for account in customers["esme"].accounts]
    assert len([name for name in nicknames if name.startswith("Esme")]) == 3
    assert len({customer.password for customer in customers.values()}) == len(customers)


def rows_of(customer: Customer, kind: str = "") -> list[Posting]:
    return [row for account in customer.accounts for row in account.postings if not kind or row.transaction_type == kind]


def test_salaries_come_twice_a_month_and_rise_once(customers: dict[str, Customer]) -> None:
    pay = rows_of(customers["ada"], "DIRECTDEPOSIT")
    assert 46 <= len(pay) <= 50
    assert len({row.amount for row in pay}) == 2


def test_subscriptions_recur_and_their_prices_rise(customers: dict[str, Customer]) -> None:
    charges = sorted((row for row in rows_of(customers["ada"]) if row.merchant == "Reelharbor"), key=lambda row: row.occurred_at)
    charges = [row for row in charges if not row.pending]
    assert len({(row.day.year, row.day.month) for row in charges}) == len(charges) >= 23
    assert list(dict.fromkeys(row.amount for row in charges)) == [-1199, -1399, -1599]
    assert [row.amount for row in charges] == sorted((row.amount for row in charges), reverse=True)
    assert all(months_between(charges[0].day, row.day) == index for index, row in enumerate(charges))


def test_there_are_duplicates_refunds_fees_interest_cash_and_checks(customers: dict[str, Customer]) -> None:
    iris = Counter((row.merchant, row.amount, row.occurred_at.date()) for row in rows_of(customers["iris"]) if row.merchant and not row.pending)
    assert [key for key, count in iris.items() if count > 1]
    hugo = rows_of(customers["hugo"])
    assert len([row for row in hugo if row.description.endswith("RETURN") and row.amount > 0]) > 10
    assert [row for row in rows_of(customers["ben"], "FEE") if row.description == "OVERDRAFT FEE"]
    assert [row for row in rows_of(customers["ada"], "INTEREST") if row.amount > 0]
    assert [row for row in rows_of(customers["jonas"], "INTEREST") if row.amount < 0]
    assert rows_of(customers["jonas"], "ATMWITHDRAWAL")
    assert len(rows_of(customers["kamala"], "CHECK")) >= 23
    assert [row for row in rows_of(customers["ada"], "PERSONTOPERSON") if row.individual]


def test_foreign_charges_name_the_foreign_sum_and_cost_a_fee(customers: dict[str, Customer]) -> None:
    foreign = [row for row in rows_of(customers["noor"]) if row.foreign_currency]
    assert {row.foreign_currency for row in foreign} <= {"EUR", "GBP", "CAD"}
    assert len(foreign) > 5
    assert [row for row in rows_of(customers["noor"], "FEE") if row.description == "FOREIGN TRANSACTION FEE"]


def test_fraud_starts_with_a_small_charge_and_ends_in_a_restriction(customers: dict[str, Customer]) -> None:
    card = next(account for account in customers["grace"].accounts if account.kind == "credit_card")
    assert card.status == "RESTRICTED"
    unknown = ("Qkpay", "Giftcard Depot", "Electro Bazaar")
    burst = [row for row in card.postings if (TODAY - row.occurred_at.date()).days == 14 and row.merchant in unknown]
    assert sorted(-row.amount for row in burst) == [100, 41290, 50000, 50000]
    assert all((TODAY - row.occurred_at.date()).days >= 9 for row in card.postings)


def test_strangers_write_hostile_things_and_the_bank_passes_them_on(customers: dict[str, Customer]) -> None:
    account = customers["liam"].accounts[0]
    memos = "".join(row.memo for row in account.postings)
    assert all(mark in memos for mark in ("Ignore all previous", "<script>", "\x1b[31m", "\x00", "\u202e", "\U000e0049", "${jndi"))
    rows = [json.loads(JSON.encode(transaction_entity(account, row))) for row in account.postings]
    assert "".join(row.get("memo", "") for row in rows) == memos


def test_amounts_are_exact_numbers_with_the_decimals_of_their_currency(customers: dict[str, Customer]) -> None:
    for username, pattern in (("ada", rb"-?\d+\.\d\d"), ("daichi", rb"\d+")):
        account = next(found for found in customers[username].accounts if username == "ada" or found.currency == "JPY")
        shown = JSON.encode(account_entity(account, frozenset({"BALANCES"}), details=True))
        shown += b"".join(JSON.encode(transaction_entity(account, row)) for row in account.postings)
        numbers = re.findall(rb'"(?:amount|currentBalance|availableBalance)":([^,}]+)', shown)
        assert len(numbers) == len(account.postings) + 2
        assert all(re.fullmatch(pattern, number) for number in numbers)


def test_a_statement_never_shows_more_than_four_digits_of_a_number(customers: dict[str, Customer]) -> None:
    for customer in customers.values():
        for account in customer.accounts:
            shown = JSON.encode(account_entity(account, frozenset({"ACCOUNT_BASIC", "BALANCES"}), details=True))
            shown += b"".join(JSON.encode(transaction_entity(account, row)) for row in account.postings)
            assert account.number.encode() not in shown
            assert account.number_display == "****" + account.number[-4:]


def test_the_command_line_prints_what_the_oracle_says(customers: dict[str, Customer]) -> None:
    command = [sys.executable, "-m", "parley_sandbox", "customers", "--seed", "7", "--today", "2026-11-22"]
    listed = json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True, timeout=60).stdout)
    assert [shown["username"] for shown in listed] == list(customers)
    for shown, customer in zip(listed, customers.values(), strict=True):
        assert shown["password"] == customer.password
        assert [account["bookedMinor"] for account in shown["accounts"]] == [account.booked for account in customer.accounts]
    ada = customers["ada"]
    plain = subprocess.run([*command, "--username", "ada"], capture_output=True, check=True, timeout=60).stdout.decode()
    assert "Ada Merrow" in plain
    assert f"{ada.accounts[0].booked / 100:,.2f} USD" in plain
    assert "Okafor" not in plain
    assert subprocess.run([*command, "--username", "ghost"], capture_output=True, check=False, timeout=60).returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [["--today", "yesterday"], ["--today", "1066-10-14"], ["--fault", "no_such"], ["--fault", "slow=2h"], ["--clients", "/nowhere/clients.json"]],
)
def test_the_bank_says_in_one_line_why_it_does_not_start(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "parley_sandbox", "serve", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.startswith(b"parley-sandbox: ")
    assert done.stderr.count(b"\n") == 1
