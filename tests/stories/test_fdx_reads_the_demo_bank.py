"""The FDX connector and the OAuth client against the demo bank's real process: what the customer is told equals what the bank's books say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import pytest

from parley.authorization.bank_client import BankClient, BankClientSettings
from parley.authorization.client_key import ClientKey
from parley.banks.fdx import FdxBank, FdxSettings, derived_id
from parley.banks.pool import PooledTransport
from parley.model.extensions import BankCredential, Order
from parley.model.grants import BankTokens
from parley.model.ledger import LinkedAccount, Quality, Statement, TransactionState
from parley.model.refusals import BankBusy, BankNonsense, BankTimeout, BankUnavailable, BankUncertain, LinkExpired, LinkLost, NotConsented
from parley.model.words import Field
from parley_sandbox import oracle
from parley_sandbox.ledger import Account, Customer, Posting
from parley_sandbox.robot import CALLBACK, BankProcess, RobotBrowser, call

SEED, TODAY = 23, date(2026, 3, 5)
FIRST = "11111111-1111-4111-8111-111111111111"
BALANCES = frozenset({Field.ACCOUNT_NAME, Field.BALANCE_AVAILABLE, Field.BALANCE_BOOKED})
ROWS = frozenset({Field.TRANSACTION_DATE, Field.TRANSACTION_AMOUNT, Field.TRANSACTION_STATE, Field.TRANSACTION_MERCHANT})
CLIENT_ID = "parley-test"

Result = TypeVar("Result")


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Gateway:
    """What the app wires for one bank."""

    url: str
    key: ClientKey
    page_limit: int = 500
    request_seconds: float = 5.0

    def run(self, use: Any) -> Any:
        async def inside() -> Any:
            async with PooledTransport() as transport:
                settings = FdxSettings(
                    name="larkspur", base_url=f"{self.url}/fdx/v6", page_limit=self.page_limit, request_seconds=self.request_seconds
                )
                client = BankClient(BankClientSettings("larkspur", self.url, CLIENT_ID, CALLBACK), self.key, transport, now)
                return await use(client, FdxBank(settings, transport, now))

        return asyncio.run(inside())

    def link(self, customer: Customer, accounts: list[str] | None = None, decision: str = "approve") -> BankTokens:
        async def trip(client: BankClient, bank: FdxBank) -> BankTokens:
            trip = await client.begin()
            sent = dict(parse_qsl(urlsplit(trip.url).query))
            assert set(sent) == {"client_id", "request_uri"}
            browser = RobotBrowser(self.url)
            back = await asyncio.to_thread(
                browser.approve, sent["client_id"], sent["request_uri"], customer.username, customer.password, accounts, decision
            )
            return await client.finish(list(back.items()), trip.state, trip.verifier)

        tokens: BankTokens = self.run(trip)
        return tokens

    def accounts(self, tokens: BankTokens) -> tuple[LinkedAccount, ...]:
        async def read(client: BankClient, bank: FdxBank) -> tuple[LinkedAccount, ...]:
            listed = await bank.accounts(credential(tokens), FIRST)
            return tuple(given_ref(each, number) for number, each in enumerate(listed))

        listed: tuple[LinkedAccount, ...] = self.run(read)
        return listed

    def fetch(self, tokens: BankTokens, order: Order) -> Statement:
        async def read(client: BankClient, bank: FdxBank) -> Statement:
            return await bank.fetch(credential(tokens), order)

        statement: Statement = self.run(read)
        return statement


def given_ref(account: LinkedAccount, number: int) -> LinkedAccount:
    return LinkedAccount(f"ref-{number}", account.bank, account.native_id, account.kind, account.name, account.mask, account.currency, account.status)


def credential(tokens: BankTokens) -> BankCredential:
    return BankCredential(tokens.access_token, tokens.expires_at)


def order_of(accounts: tuple[LinkedAccount, ...], fields: frozenset[Field], *, days: int = 730, rows_max: int = 100_000) -> Order:
    return Order(accounts, fields, TODAY - timedelta(days=days), TODAY + timedelta(days=1), rows_max, FIRST)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    import json

    folder = tmp_path_factory.mktemp("fdx")
    key = ClientKey.load_or_create(folder / "client.pem")
    clients = folder / "clients.json"
    clients.write_text(json.dumps([{"client_id": CLIENT_ID, "client_name": "Parley", "redirect_uris": [CALLBACK], "jwks": key.jwks()}]))
    with BankProcess("--seed", str(SEED), "--today", TODAY.isoformat(), "--clients", str(clients)) as process:
        yield Gateway(process.url, key)


@pytest.fixture(autouse=True)
def no_faults(gateway: Gateway) -> Iterator[None]:
    yield
    set_faults(gateway)


def set_faults(gateway: Gateway, *faults: str) -> None:
    import json

    body = json.dumps({"faults": list(faults)}).encode()
    assert call(f"{gateway.url}/operator/faults", "POST", body, {"content-type": "application/json"}).status == 200


@pytest.fixture(scope="module")
def ada() -> Customer:
    return oracle.customers(SEED, TODAY)[0]


@pytest.fixture(scope="module")
def tokens(gateway: Gateway, ada: Customer) -> BankTokens:
    return gateway.link(ada)


@pytest.fixture(scope="module")
def accounts(gateway: Gateway, tokens: BankTokens) -> tuple[LinkedAccount, ...]:
    return gateway.accounts(tokens)


def expected_rows(account: Account, since: date = date.min) -> dict[tuple[str, bool, date], int]:
    """The bank's own rows as (amount, pending, day) counts; a pending row whose booked twin is there is not shown to a customer."""
    settled = {row.reference for row in account.postings if not row.pending and row.reference}
    shown = [row for row in account.postings if row.day >= since and not (row.pending and row.transaction_id in settled)]
    return counted([(str(row.amount), row.pending, row.day) for row in shown])


def counted(rows: list[Any]) -> dict[Any, int]:
    return {row: rows.count(row) for row in set(rows)}


def test_balances_and_two_years_of_rows_equal_the_banks_books_for_every_customer(gateway: Gateway) -> None:
    small_pages = replace(gateway, page_limit=97)
    for number, customer in enumerate(oracle.customers(SEED, TODAY)):
        tokens = gateway.link(customer)
        listed = gateway.accounts(tokens)
        statement = (small_pages if number % 2 else gateway).fetch(tokens, order_of(listed, BALANCES | ROWS))
        assert not statement.partial and statement.interaction_id == FIRST
        assert [each.native_id for each in listed] == [each.account_id for each in customer.accounts]
        for account, linked, told in zip(customer.accounts, listed, statement.balances, strict=True):
            assert told.ref == linked.ref and told.booked is not None
            assert (told.booked.minor, told.booked.currency) == (account.booked, account.currency)
            assert (told.available.minor if told.available else None) == (None if account.kind == "loan" else account.available)
            assert not told.quality and linked.mask == account.number[-4:] and linked.currency == account.currency
            rows = [row for row in statement.transactions if row.ref == linked.ref]
            found = counted([(str(row.amount.minor), row.state is TransactionState.PENDING, row.on) for row in rows])
            assert found == expected_rows(account, TODAY - timedelta(days=730)), (customer.username, account.kind)
        assert [row.on for row in statement.transactions] == sorted((row.on for row in statement.transactions), reverse=True)
        assert len({row.id for row in statement.transactions}) == len(statement.transactions)


def test_the_newest_rows_come_first_and_no_more_than_ordered(gateway: Gateway, tokens: BankTokens, accounts: Any, ada: Customer) -> None:
    everything = gateway.fetch(tokens, order_of(accounts, ROWS, days=60)).transactions
    five = gateway.fetch(tokens, order_of(accounts, ROWS, days=60, rows_max=5)).transactions
    assert len(five) == 5 and five == everything[:5]


def test_without_the_merchant_field_no_merchant_is_there_and_ids_stay_the_same(gateway: Gateway, tokens: BankTokens, accounts: Any) -> None:
    with_merchants = gateway.fetch(tokens, order_of(accounts, ROWS, days=60)).transactions
    without = gateway.fetch(tokens, order_of(accounts, ROWS - {Field.TRANSACTION_MERCHANT}, days=60)).transactions
    assert any(row.merchant for row in with_merchants) and not any(row.merchant for row in without)
    assert [row.id for row in without] == [row.id for row in with_merchants]


def test_a_question_for_what_is_available_learns_neither_booked_balance_nor_name(gateway: Gateway, tokens: BankTokens, accounts: Any) -> None:
    for asked in (accounts[:1], accounts):
        statement = gateway.fetch(tokens, order_of(asked, frozenset({Field.BALANCE_AVAILABLE})))
        assert all(each.available and each.booked is None and each.name is None for each in statement.balances)
        assert len(statement.balances) == len(asked) and not statement.transactions


def test_memos_and_peoples_names_never_come_in(gateway: Gateway) -> None:
    memos, people = set(), set()
    for customer in oracle.customers(SEED, TODAY)[:4]:
        tokens = gateway.link(customer)
        statement = gateway.fetch(tokens, order_of(gateway.accounts(tokens), ROWS))
        shown = " ".join(row.merchant or "" for row in statement.transactions)
        postings: list[Posting] = [row for account in customer.accounts for row in account.postings]
        memos |= {row.memo for row in postings if row.memo and row.memo in shown}
        people |= {row.individual for row in postings if row.individual and row.individual in shown}
        assert not any(character < " " for character in shown)
    assert not memos and not people


def test_the_banks_own_access_record_holds_every_read_and_no_other(gateway: Gateway, tokens: BankTokens, accounts: Any) -> None:
    first = "22222222-2222-4222-8222-222222222222"
    order = order_of(accounts, BALANCES | ROWS, days=30)
    gateway.fetch(tokens, Order(order.accounts, order.fields, order.since, order.until, order.rows_max, first))
    recorded = call(f"{gateway.url}/operator/reads").body.decode()
    reads = 1 + len(accounts)
    assert [name in recorded for name in (first, *(derived_id(first, number) for number in range(1, reads)))] == [True] * reads
    assert derived_id(first, reads) not in recorded


def test_the_owner_is_the_same_person_on_every_link(gateway: Gateway, tokens: BankTokens, ada: Customer) -> None:
    async def read(client: BankClient, bank: FdxBank) -> str:
        return await bank.owner(credential(tokens), FIRST)

    assert gateway.run(read) == ada.customer_id


@pytest.mark.parametrize(
    ("fault", "refusal"),
    [
        ("slow=3s", BankTimeout),
        ("rate_limit=60", BankBusy),
        ("error500", BankUnavailable),
        ("maintenance", BankUnavailable),
        ("half_page", BankNonsense),
        ("cut_connection", BankUnavailable),
        ("garbage", BankNonsense),
        ("nested", BankNonsense),
        ("huge=12", BankNonsense),
        ("redirect", BankNonsense),
        ("repeat_cursor", BankNonsense),
        ("foreign_next_link", BankNonsense),
        ("link_lost", LinkLost),
        ("token_expired", LinkLost),
        ("wrong_currency", BankUncertain),
        ("wrong_sign", BankUncertain),
        ("no_memo", BankUncertain),
        ("foreign_account", BankUncertain),
        ("wrong_interaction_id", BankNonsense),
    ],
)
def test_each_mishap_of_the_bank_has_its_named_refusal(
    gateway: Gateway, tokens: BankTokens, accounts: Any, fault: str, refusal: type[Exception]
) -> None:
    set_faults(gateway, fault)
    impatient = replace(gateway, request_seconds=1.0)
    with pytest.raises(refusal) as caught:
        impatient.fetch(tokens, order_of(accounts, BALANCES | ROWS, days=60))
    assert type(caught.value) is refusal


@pytest.mark.parametrize(
    ("fault", "noticed"),
    [
        ("string_amounts", Quality.AMOUNT_WAS_TEXT),
        ("no_currency", Quality.CURRENCY_FROM_ACCOUNT),
        ("duplicate_rows", Quality.DUPLICATE_ROW),
        ("signed_amounts", None),
        ("unknown_fields", None),
        ("old_categories", None),
        ("error500:once", None),
        ("rate_limit=1:once", None),
    ],
)
def test_what_leaves_the_figures_certain_is_tolerated_and_noted(
    gateway: Gateway, tokens: BankTokens, accounts: Any, fault: str, noticed: Quality | None
) -> None:
    order = order_of(accounts, BALANCES | ROWS, days=60)
    plain = gateway.fetch(tokens, order)
    set_faults(gateway, fault)
    bent = gateway.fetch(tokens, order)
    assert [(row.id, row.amount, row.on) for row in bent.transactions] == [(row.id, row.amount, row.on) for row in plain.transactions]
    assert [(each.booked, each.available) for each in bent.balances] == [(each.booked, each.available) for each in plain.balances]
    qualities = {quality for record in (*bent.balances, *bent.transactions) for quality in record.quality}
    assert (noticed in qualities) if noticed else not qualities
    assert not bent.partial


def test_an_answer_with_something_missing_says_so(gateway: Gateway, tokens: BankTokens, accounts: Any) -> None:
    set_faults(gateway, "partial")
    statement = gateway.fetch(tokens, order_of(accounts, BALANCES))
    assert statement.partial and len(statement.balances) == len(accounts) - 1
    assert gateway.fetch(tokens, order_of(accounts, ROWS, days=60)).partial


def test_an_account_that_is_gone_is_missing_and_the_others_are_told(gateway: Gateway, ada: Customer) -> None:
    narrow = gateway.link(ada, [each.account_id for each in ada.accounts[:1]])
    wide = gateway.accounts(gateway.link(ada))
    statement = gateway.fetch(narrow, order_of(wide, BALANCES | ROWS, days=30))
    assert statement.partial and [each.ref for each in statement.balances] == ["ref-0"]
    assert {row.ref for row in statement.transactions} <= {"ref-0"}


def test_a_customer_who_says_no_at_her_bank_is_not_linked(gateway: Gateway, ada: Customer) -> None:
    with pytest.raises(NotConsented):
        gateway.link(ada, decision="deny")


def test_a_code_works_once_and_the_second_use_kills_what_it_gave(gateway: Gateway, ada: Customer) -> None:
    async def twice(client: BankClient, bank: FdxBank) -> None:
        trip = await client.begin()
        sent = dict(parse_qsl(urlsplit(trip.url).query))
        browser = RobotBrowser(gateway.url)
        back = await asyncio.to_thread(browser.approve, sent["client_id"], sent["request_uri"], ada.username, ada.password)
        tokens = await client.finish(list(back.items()), trip.state, trip.verifier)
        with pytest.raises(LinkExpired):
            await client.finish(list(back.items()), trip.state, trip.verifier)
        with pytest.raises(LinkLost):
            await bank.owner(credential(tokens), FIRST)

    gateway.run(twice)


def test_tokens_are_renewed_and_given_back(gateway: Gateway, ada: Customer) -> None:
    tokens = gateway.link(ada)

    async def renew_and_revoke(client: BankClient, bank: FdxBank) -> None:
        fresh = await client.refresh(tokens)
        assert fresh.access_token != tokens.access_token and fresh.refresh_token == tokens.refresh_token
        assert fresh.consent_id == tokens.consent_id is not None
        assert await bank.owner(credential(fresh), FIRST) == ada.customer_id
        await client.revoke(fresh)
        with pytest.raises(LinkLost):
            await client.refresh(fresh)
        with pytest.raises(LinkLost):
            await bank.owner(credential(fresh), FIRST)

    gateway.run(renew_and_revoke)


def test_the_issuer_is_checked_on_the_way_back_from_the_real_bank(gateway: Gateway, ada: Customer) -> None:
    from parley.model.refusals import ForgedMessage

    set_faults(gateway, "wrong_iss")
    with pytest.raises(ForgedMessage):
        gateway.link(ada)
    set_faults(gateway, "token_error")
    with pytest.raises(BankUnavailable):
        gateway.link(ada)
