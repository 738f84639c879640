"""The FDX connector's small parts at their edges: figures, signs, dates, cursors, retries, the breaker, settings, strangers' text."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.banks.fdx import BadBankSettings, FdxBank, FdxSettings
from parley.banks.fdx.amounts import read_money
from parley.banks.fdx.dates import BadDate, read_moment
from parley.banks.fdx.pager import Pager
from parley.banks.fdx.reads import retry_after
from parley.banks.fdx.rows import RowReader
from parley.banks.fdx.signs import SignRules
from parley.banks.fdx.wire import Page, Row
from parley.banks.pool import PooledTransport
from parley.model.extensions import BankCredential, Order
from parley.model.ledger import AccountKind, AccountStatus, LinkedAccount, Quality
from parley.model.money import EXPONENTS, UncertainMoney, money_from_decimal
from parley.model.refusals import BankBusy, BankNonsense, BankUnavailable, BankUncertain, Fault
from parley.model.strangers import clean, clean_name
from parley.model.words import Field
from tests.fakes.hostile_bank import Asked, HostileBank, Told, running

NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
CREDENTIAL = BankCredential("t", NOW)
FIRST = "55555555-5555-4555-8555-555555555555"
CHECKING = LinkedAccount("r", "b", "1", AccountKind.CHECKING, "n", "", "USD", AccountStatus.OPEN)
PLAIN: frozenset[Quality] = frozenset()


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=None), st.sampled_from(sorted(EXPONENTS)))
def test_the_quick_way_to_read_a_figure_agrees_with_exact_arithmetic(amount: Decimal, currency: str) -> None:
    text = f"{amount:f}"
    try:
        expected: object = money_from_decimal(Decimal(text), currency)
    except UncertainMoney:
        expected = None
    for raw in (text, f'"{text}"'):
        try:
            found: object = read_money(msgspec.Raw(raw.encode()), currency)
        except UncertainMoney:
            found = None
        assert found == expected or (found is None and len(text) > 28)


@given(st.text(alphabet='0123456789.-+eE"_ ', max_size=30))
def test_a_figure_is_exact_or_refused_whatever_the_text(text: str) -> None:
    try:
        parsed = msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return
    try:
        money = read_money(parsed, "USD")
    except UncertainMoney as reason:
        assert not any(character.isdigit() for character in str(reason))
        return
    assert money.decimal() == Decimal(text.strip().strip('"').strip())


SIGNS: list[tuple[AccountKind, int, str | None, str | None, int | None, frozenset[Quality]]] = [
    (AccountKind.CHECKING, 500, "DEBIT", "POSDEBIT", -500, PLAIN),
    (AccountKind.CHECKING, -500, "DEBIT", "POSDEBIT", -500, PLAIN),
    (AccountKind.CHECKING, 500, "CREDIT", "DIRECTDEPOSIT", 500, PLAIN),
    (AccountKind.CHECKING, 500, "CREDIT", "TRANSFER", 500, PLAIN),
    (AccountKind.CHECKING, -500, "CREDIT", "TRANSFER", 500, frozenset({Quality.SIGN_DISAGREES})),
    (AccountKind.CHECKING, 500, "CREDIT", "POSDEBIT", None, PLAIN),
    (AccountKind.CHECKING, 500, "DEBIT", "DIRECTDEPOSIT", None, PLAIN),
    (AccountKind.CREDIT_CARD, 500, "DEBIT", "PURCHASE", -500, PLAIN),
    (AccountKind.CREDIT_CARD, 500, "CREDIT", "PAYMENT", 500, PLAIN),
    (AccountKind.CREDIT_CARD, 500, "CREDIT", "PURCHASE", 500, frozenset({Quality.SIGN_DISAGREES})),
    (AccountKind.CREDIT_CARD, -500, "CREDIT", "PURCHASE", 500, frozenset({Quality.SIGN_DISAGREES})),
    (AccountKind.CHECKING, -500, None, "POSDEBIT", -500, frozenset({Quality.SIGN_FROM_TYPE})),
    (AccountKind.CHECKING, 500, None, "POSDEBIT", -500, frozenset({Quality.SIGN_FROM_TYPE, Quality.SIGN_DISAGREES})),
    (AccountKind.CHECKING, 500, "MEMO", "INTEREST", 500, frozenset({Quality.SIGN_FROM_TYPE})),
    (AccountKind.CREDIT_CARD, 500, None, "INTEREST", -500, frozenset({Quality.SIGN_FROM_TYPE, Quality.SIGN_DISAGREES})),
    (AccountKind.CHECKING, -500, None, None, -500, frozenset({Quality.SIGN_FROM_BALANCE_TYPE})),
    (AccountKind.CHECKING, 500, None, None, None, PLAIN),
    (AccountKind.OTHER, -500, None, None, None, PLAIN),
    (AccountKind.OTHER, 500, "DEBIT", None, -500, PLAIN),
    (AccountKind.CHECKING, 500, "debit", None, None, PLAIN),
    (AccountKind.CHECKING, 0, None, None, 0, frozenset({Quality.SIGN_FROM_BALANCE_TYPE})),
]


@pytest.mark.parametrize(("kind", "minor", "memo", "row_type", "expected", "quality"), SIGNS)
def test_the_sign_of_a_row_alone(
    kind: AccountKind, minor: int, memo: str | None, row_type: str | None, expected: int | None, quality: frozenset[Quality]
) -> None:
    rules = SignRules(kind)
    if expected is None:
        with pytest.raises(BankUncertain):
            rules.signed(minor, memo, row_type)
            rules.settle()
        return
    assert rules.signed(minor, memo, row_type) == (expected, quality)
    rules.settle()


def test_one_reversal_among_ordinary_rows_is_flagged_and_not_refused() -> None:
    rules = SignRules(AccountKind.CHECKING)
    assert rules.signed(900, "DEBIT", "POSDEBIT")[1] == PLAIN
    assert rules.signed(900, "CREDIT", "POSDEBIT") == (900, frozenset({Quality.SIGN_DISAGREES}))
    rules.settle()


def test_a_positive_figure_is_believed_only_where_figures_are_seen_to_carry_signs() -> None:
    rules = SignRules(AccountKind.CHECKING)
    rules.signed(900, None, "TRANSFER")
    rules.signed(-100, None, None)
    rules.settle()
    rules.signed(300, "DEBIT", "CHECK")
    with pytest.raises(BankUncertain):
        rules.settle()


@pytest.mark.parametrize(
    ("text", "day", "noticed"),
    [
        ("2026-03-04T23:30:00Z", date(2026, 3, 4), PLAIN),
        ("2026-03-04T23:30:00.123-0500", date(2026, 3, 5), PLAIN),
        ("2026-03-04T23:30:00-05:00", date(2026, 3, 5), PLAIN),
        ("2026-03-04T23:30:00", date(2026, 3, 4), frozenset({Quality.DATE_WITHOUT_ZONE})),
        ("2026-03-04", date(2026, 3, 4), frozenset({Quality.DATE_WITHOUT_TIME})),
    ],
)
def test_dates_as_banks_write_them(text: str, day: date, noticed: frozenset[Quality]) -> None:
    moment, quality = read_moment(text)
    assert (moment.date(), quality) == (day, noticed) and moment.utcoffset() == timedelta(0)


@given(st.text(max_size=45) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T?[0-9:.+Z-]{0,20}", fullmatch=True))
def test_a_date_is_read_or_refused_whatever_the_text(text: str) -> None:
    try:
        moment, _ = read_moment(text)
    except BadDate as reason:
        assert str(reason) == "not a date"
    else:
        assert moment.tzinfo is UTC


@pytest.mark.parametrize(
    "href",
    [
        "https://bank.example.evil.example/fdx/accounts?pageKey=2", "http://bank.example/fdx/accounts?pageKey=2",
        "//evil.example/fdx/accounts?pageKey=2",
        "https://bank.example:8443/fdx/accounts?pageKey=2", "https://u@bank.example/fdx/accounts?pageKey=2", "https://bank.example/fdx/accounts/../x?a=1",
        "/fdx/accounts/?pageKey=2", "../accounts?pageKey=2", "https://bank.example/fdx/accounts", "file:///etc/passwd", "?a b", "?a=\r\nx: y", "https://[?x=1",
        "/fdx/accounts;x?pageKey=2", "\\\\evil.example\\fdx?x=1", "?pageKey=ü",
    ],
)  # fmt: skip
def test_a_link_to_another_place_is_never_followed(href: str) -> None:
    pager = Pager("https://bank.example/fdx", "/accounts?limit=2", 5)
    with pytest.raises(BankNonsense):
        pager.after(None, msgspec.Raw(msgspec.json.encode({"next": {"href": href}})))


def test_a_cursor_goes_back_as_it_came_and_never_twice() -> None:
    pager = Pager("https://bank.example/fdx", "/accounts?limit=2", 5)
    assert pager.after(Page(nextPageKey="a&b=c/../#"), msgspec.Raw(b"")) == "/accounts?limit=2&pageKey=a%26b%3Dc%2F..%2F%23"
    assert pager.after(Page(nextOffset=4), msgspec.Raw(b"")) == "/accounts?limit=2&offset=4"
    assert pager.after(None, msgspec.Raw(b'{"next":{"href":"?limit=2&pageKey=9"}}')) == "/accounts?limit=2&pageKey=9"
    with pytest.raises(BankNonsense):
        pager.after(Page(nextOffset="4"), msgspec.Raw(b""))
    with pytest.raises(BankNonsense):
        Pager("https://bank.example/fdx", "/accounts", 5).after(Page(nextPageKey="a" * 3000), msgspec.Raw(b""))
    for nothing in (b"", b"null", b"[]", b"{}", b'{"next":null}', b'{"next":{}}'):
        assert Pager("https://bank.example/fdx", "/accounts", 5).after(None, msgspec.Raw(nothing)) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2", 2),
        ("0", 0),
        ("", 0),
        ("-1", 0),
        ("1.5", 0),
        ("٣", 0),
        ("9" * 40, 0),
        ("Thu, 05 Mar 2026 12:00:30 GMT", 30),
        ("Thu, 05 Mar 2020 12:00:30 GMT", 0),
    ],
)
def test_how_long_a_bank_asks_us_to_wait(text: str, seconds: float) -> None:
    assert retry_after(text, NOW) == seconds


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def at(script: list[Told], use: Callable[[FdxBank, Clock, list[float], HostileBank], Awaitable[None]], **settings: Any) -> None:
    """A bank that says these things in turn, the last for ever; pauses between tries are recorded instead of slept."""

    async def inside() -> None:
        def answer(asked: Asked) -> Told:
            return script.pop(0) if len(script) > 1 else script[0]

        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        clock = Clock()
        async with running(HostileBank(answer)) as hostile, PooledTransport() as transport:
            fdx = FdxBank(FdxSettings("b", f"{hostile.url}/fdx/v6", **settings), transport, clock, sleep=sleep, chance=lambda: 0.5)
            await use(fdx, clock, slept, hostile)
            assert not hostile.mistakes

    asyncio.run(inside())


GOOD = Told(b'{"customerId":"c"}')
DOWN = Told(b"{}", 503)


def test_a_hiccup_is_tried_again_after_a_growing_pause() -> None:
    async def use(fdx: FdxBank, clock: Clock, slept: list[float], hostile: HostileBank) -> None:
        assert await fdx.owner(CREDENTIAL, FIRST) == "c"
        assert slept == [0.1, 0.2] and len({asked.headers["x-fapi-interaction-id"] for asked in hostile.asked}) == 1

    at([DOWN, DOWN, GOOD], use)


def test_a_short_wait_is_honoured_and_a_long_one_is_passed_on() -> None:
    async def short(fdx: FdxBank, clock: Clock, slept: list[float], hostile: HostileBank) -> None:
        assert await fdx.owner(CREDENTIAL, FIRST) == "c" and slept == [2.0]

    at([Told(b"{}", 429, {"retry-after": "2"}), GOOD], short)

    async def long(fdx: FdxBank, clock: Clock, slept: list[float], hostile: HostileBank) -> None:
        with pytest.raises(BankBusy):
            await fdx.owner(CREDENTIAL, FIRST)
        assert not slept and len(hostile.asked) == 1

    at([Told(b"{}", 429, {"retry-after": "3"})], long)


def test_a_bank_that_is_down_is_left_alone_until_one_probe_succeeds() -> None:
    async def use(fdx: FdxBank, clock: Clock, slept: list[float], hostile: HostileBank) -> None:
        for _ in range(3):
            with pytest.raises(BankUnavailable):
                await fdx.owner(CREDENTIAL, FIRST)
        assert len(hostile.asked) == 3
        for _ in range(10):
            with pytest.raises(BankUnavailable):
                await fdx.owner(CREDENTIAL, FIRST)
        assert len(hostile.asked) == 3
        clock.now += timedelta(seconds=10)
        with pytest.raises(BankUnavailable):
            await fdx.owner(CREDENTIAL, FIRST)
        assert len(hostile.asked) == 4
        clock.now += timedelta(seconds=9)
        with pytest.raises(BankUnavailable):
            await fdx.owner(CREDENTIAL, FIRST)
        assert len(hostile.asked) == 4
        clock.now += timedelta(seconds=1)
        hostile.answer = lambda asked: GOOD
        outcomes = await asyncio.gather(*(fdx.owner(CREDENTIAL, FIRST) for _ in range(8)), return_exceptions=True)
        assert len(hostile.asked) == 5 and outcomes.count("c") == 1
        assert await fdx.owner(CREDENTIAL, FIRST) == "c"

    at([DOWN], use, retries=0, breaker_failures=3)


def test_a_probe_that_is_cancelled_does_not_keep_the_circuit_open() -> None:
    async def use(fdx: FdxBank, clock: Clock, slept: list[float], hostile: HostileBank) -> None:
        with pytest.raises(BankUnavailable):
            await fdx.owner(CREDENTIAL, FIRST)
        clock.now += timedelta(seconds=10)
        probe = asyncio.ensure_future(fdx.owner(CREDENTIAL, FIRST))
        await asyncio.sleep(0)
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        hostile.answer = lambda asked: GOOD
        assert await fdx.owner(CREDENTIAL, FIRST) == "c"

    at([DOWN], use, retries=0, breaker_failures=1)


def test_a_customer_who_has_left_does_not_open_the_circuit_for_others() -> None:
    async def use(fdx: FdxBank, clock: Clock, slept: list[float], hostile: HostileBank) -> None:
        for _ in range(5):
            with pytest.raises(Exception, match="no longer accepts"):
                await fdx.owner(CREDENTIAL, FIRST)
        assert len(hostile.asked) == 5

    at([Told(b"", 401)], use, breaker_failures=1)


def test_a_failure_ends_the_other_reads_of_the_order() -> None:
    async def use(fdx: FdxBank, clock: Clock, slept: list[float], hostile: HostileBank) -> None:
        accounts = tuple(
            LinkedAccount(f"r{number}", "b", str(number), AccountKind.CHECKING, "n", "", "USD", AccountStatus.OPEN) for number in range(40)
        )
        order = Order(accounts, frozenset({Field.TRANSACTION_AMOUNT}), date(2026, 1, 1), date(2026, 3, 1), 10, FIRST)
        with pytest.raises(Fault):
            await fdx.fetch(CREDENTIAL, order)
        assert len(hostile.asked) <= 8
        assert len(asyncio.all_tasks()) <= 12

    at([Told(b"[[[")], use)


def test_an_account_ordered_twice_or_without_currency_is_refused_before_the_bank_is_asked() -> None:
    async def use(fdx: FdxBank, clock: Clock, slept: list[float], hostile: HostileBank) -> None:
        rows = frozenset({Field.TRANSACTION_AMOUNT})
        nameless = LinkedAccount("r", "b", "1", AccountKind.CHECKING, "n", "", "", AccountStatus.OPEN)
        for accounts in ((CHECKING, CHECKING), (nameless,)):
            with pytest.raises(BankUncertain):
                await fdx.fetch(CREDENTIAL, Order(accounts, rows, date(2026, 1, 1), date(2026, 3, 1), 10, FIRST))
        assert not hostile.asked

    at([GOOD], use)


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "http://bank.example/fdx"}, {"base_url": "https://bank.example/fdx/"}, {"base_url": "https://bank.example/fdx?x=1"},
        {"base_url": "https://u:p@bank.example/fdx"}, {"base_url": "https://bank.example/a/../b"}, {"base_url": "ftp://bank.example"},
        {"base_url": "https://"}, {"base_url": "http://localhost:1"}, {"base_url": "https://bank.example:0/x"}, {"base_url": "https://bank.example:99999"},
        {"name": "A Bank"}, {"profile": "fdx9"}, {"retries": -1}, {"retries": 99},
        {"pages_max": 0}, {"request_seconds": 0}, {"currency_default": "ZZZ"},
    ],
)  # fmt: skip
def test_settings_that_would_send_a_token_astray_stop_the_start(changes: dict[str, Any]) -> None:
    FdxSettings("b", "https://bank.example/fdx/v6")
    with pytest.raises(BadBankSettings):
        FdxSettings(**{"name": "b", "base_url": "https://bank.example/fdx/v6", **changes})


@given(st.text(max_size=3000))
def test_cleaned_text_is_one_short_visible_line_and_stays_as_it_is(text: str) -> None:
    for cleaner in (clean, clean_name):
        cleaned = cleaner(text)
        assert len(cleaned) <= 64 and cleaned.isprintable() and cleaned == cleaned.strip()
        assert cleaner(cleaned) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Bluebell Grocery", "Bluebell Grocery"),
        ("Caf\u0065\u0301  Rouge", "Caf\u00e9 Rouge"),
        ("\x1b[31mRED\x1b[0m", "RED"),
        ("pay\u202eevil\u2066\u200b\ufeff", "payevil"),
        ("a\nb\tc\r\nd", "a b c d"),
        ("tag\U000e0041\U000e007f", "tag"),
        ("\ue000\U000f0000x", "x"),
        ("\u3164\u2800\u115f", ""),
        ("ＦＵＬＬ", "FULL"),
        ("x" * 100, "x" * 64),
    ],
)
def test_what_strangers_hide_in_text_is_gone(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("TRANSFER WEB ID: 3770527921", "TRANSFER WEB ID: ****7921"),
        ("Acct 1234-5678-9012-3456", "Acct ****3456"),
        ("CARD ****4821", "CARD ****4821"),
        ("Shop 24", "Shop 24"),
        ("\uff11\uff12\uff13\uff14\uff15\uff16", "****3456"),
    ],
)
def test_account_numbers_in_text_are_cut_to_four_digits(text: str, cleaned: str) -> None:
    assert clean_name(text) == cleaned


def test_no_cookie_is_kept_and_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def use(fdx: FdxBank, clock: Clock, slept: list[float], hostile: HostileBank) -> None:
        assert await fdx.owner(CREDENTIAL, FIRST) == await fdx.owner(CREDENTIAL, FIRST) == "c"
        assert len(hostile.asked) == 2 and not [asked for asked in hostile.asked if "cookie" in asked.headers]

    at([Told(GOOD.body, 200, {"set-cookie": "track=customer; Path=/"})], use)


def test_a_pending_row_is_not_dropped_for_a_reference_that_is_none() -> None:
    reader = RowReader(CHECKING, date(2026, 1, 1), date(2026, 3, 6))
    common: dict[str, Any] = {"debitCreditMemo": "DEBIT", "postedTimestamp": "2026-03-01T00:00:00Z", "amount": msgspec.Raw(b"1.00")}
    reader.read([Row(transactionId="None", status="PENDING", **common), Row(transactionId="x", status="POSTED", **common)])
    assert sorted(draft.key for draft in reader.finish()) == ["None", "x"]


def test_ids_of_two_banks_or_accounts_never_meet() -> None:
    row = Row(transactionId="7", status="POSTED", debitCreditMemo="DEBIT", postedTimestamp="2026-03-01", amount=msgspec.Raw(b"1.00"))
    found = set()
    for bank, native in (("b", "1"), ("b", "11"), ("b1", "1"), ("c", "1")):
        reader = RowReader(msgspec.structs.replace(CHECKING, bank=bank, native_id=native), date(2026, 1, 1), date(2026, 3, 6))
        reader.read([row])
        found |= {reader.transaction(draft).id for draft in reader.finish()}
    assert len(found) == 4


def test_the_transport_itself_keeps_no_cookie_where_a_host_has_a_name() -> None:
    async def inside() -> None:
        told = Told(b"{}", 200, {"set-cookie": "track=customer; Path=/"})
        async with running(HostileBank(lambda asked: told)) as hostile, PooledTransport() as transport:
            for _ in range(2):
                await transport.get(hostile.url.replace("127.0.0.1", "localhost"), {}, seconds=2.0, bytes_max=1000)
            assert len(hostile.asked) == 2 and "cookie" not in hostile.asked[1].headers

    asyncio.run(inside())


def test_fewer_rows_than_the_bank_counts_are_not_all() -> None:
    row = b'{"transactionId":"1","status":"POSTED","debitCreditMemo":"DEBIT","postedTimestamp":"2026-03-01","amount":1.00}'

    async def use(fdx: FdxBank, clock: Clock, slept: list[float], hostile: HostileBank) -> None:
        order = Order((CHECKING,), frozenset({Field.TRANSACTION_AMOUNT}), date(2026, 1, 1), date(2026, 3, 6), 10, FIRST)
        told = await fdx.fetch(CREDENTIAL, order)
        assert told.partial and len(told.transactions) == 1
        hostile.answer = lambda asked: Told(b'{"transactions":[%b],"page":{"totalElements":1}}' % row)
        assert not (await fdx.fetch(CREDENTIAL, order)).partial

    at([Told(b'{"transactions":[%b],"page":{"totalElements":2}}' % row)], use)


def test_the_answer_to_another_request_is_not_taken() -> None:
    async def use(fdx: FdxBank, clock: Clock, slept: list[float], hostile: HostileBank) -> None:
        with pytest.raises(BankNonsense):
            await fdx.owner(CREDENTIAL, FIRST)

    at([Told(GOOD.body, 200, {"x-fapi-interaction-id": "66666666-6666-4666-8666-666666666666"})], use)
