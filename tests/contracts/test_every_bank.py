"""Every folder under src/parley/banks is attacked here before anybody reviews it.

A newcomer adds `tests/contracts/banks/<folder>.py` with `make(url, transport, clock)`, `answer(case)` and `LINK_LOST`, in which the bank
tells of the two accounts and four rows below; see docs/extend/bank.md.
"""

from __future__ import annotations

import asyncio
import importlib
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import TypeAlias

import pytest

import parley.banks
from parley.banks.pool import PooledTransport
from parley.banks.transport import AiohttpTransport
from parley.model.extensions import Bank, BankCredential, Order
from parley.model.ledger import AccountKind, AccountStatus, LinkedAccount, Quality, Statement, TransactionState
from parley.model.money import Money
from parley.model.refusals import BankBusy, BankNonsense, BankTimeout, BankUnavailable, BankUncertain, Fault, LinkLost
from parley.model.words import Field
from tests.fakes.hostile_bank import WIRE_MISCHIEF, HostileBank, Told, running

FOLDERS = sorted(each.parent.name for root in parley.banks.__path__ for each in Path(root).glob("*/__init__.py"))
CASES = Path(__file__).parent / "banks"
NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
TOKEN = "CANARY-TOKEN"
FIRST = "33333333-3333-4333-8333-333333333333"
CREDENTIAL = BankCredential(TOKEN, NOW)
ACCOUNTS = (
    LinkedAccount("a", "attacked", "chk-1", AccountKind.CHECKING, "Household", "4821", "USD", AccountStatus.OPEN),
    LinkedAccount("b", "attacked", "card-1", AccountKind.CREDIT_CARD, "Travel card", "9934", "USD", AccountStatus.OPEN),
)
EVERYTHING = frozenset(Field)
BALANCES = {"a": (125_040, 120_015), "b": (-31_000, 469_000)}
AMOUNTS = [("a", -825), ("a", -4210), ("b", -6000), ("a", 240_000)]
SECRETS = (TOKEN, "CANARY-BODY", "chk-1", "card-1", "cust-77", "Bluebell", "Household")
SECONDS_MAX = 6.0


def order(accounts: tuple[LinkedAccount, ...] = ACCOUNTS, fields: frozenset[Field] = EVERYTHING, rows_max: int = 100) -> Order:
    return Order(accounts, fields, date(2026, 2, 1), date(2026, 3, 6), rows_max, FIRST)


def harness(folder: str) -> ModuleType:
    return importlib.import_module(f"tests.contracts.banks.{folder}")


Way: TypeAlias = type[PooledTransport] | type[AiohttpTransport]


def attack(
    folder: str, case: str, use: Callable[[Bank], Awaitable[object]], mischief: str | None = None, way: Way = PooledTransport
) -> tuple[object, HostileBank]:
    """The outcome (a value, or the exception) of using the connector while the bank behaves like this. Anything unnamed fails at once."""

    async def inside() -> tuple[object, HostileBank]:
        module = harness(folder)
        hostile = HostileBank(module.answer(case), WIRE_MISCHIEF[mischief] if mischief else None)
        async with running(hostile), way() as transport:
            bank: Bank = module.make(hostile.url, transport, lambda: NOW)
            started = monotonic()
            try:
                outcome: object = await use(bank)
            except (Fault, LinkLost) as reason:
                outcome = reason
            assert monotonic() - started < SECONDS_MAX
            assert not hostile.mistakes
            return outcome, hostile

    outcome, hostile = asyncio.run(inside())
    if isinstance(outcome, BaseException):
        said = "".join(traceback.format_exception(outcome)) + repr(outcome) + str(outcome)
        assert not [secret for secret in SECRETS if secret in said.replace("file_", "")], "a refusal that tells"
    return outcome, hostile


def fetch(folder: str, case: str, asked: Order | None = None) -> object:
    return attack(folder, case, lambda bank: bank.fetch(CREDENTIAL, asked or order()))[0]


def figures(statement: object) -> tuple[dict[str, tuple[int, int]], list[tuple[str, int]]]:
    assert isinstance(statement, Statement), statement
    balances = {}
    for each in statement.balances:
        assert each.booked is not None and each.available is not None
        balances[each.ref] = (each.booked.minor, each.available.minor)
    return balances, [(row.ref, row.amount.minor) for row in statement.transactions]


def qualities(statement: object) -> set[Quality]:
    assert isinstance(statement, Statement)
    return {quality for record in (*statement.balances, *statement.transactions) for quality in record.quality}


def test_every_bank_has_somebody_who_attacks_it() -> None:
    assert FOLDERS and [folder for folder in FOLDERS if not (CASES / f"{folder}.py").exists()] == []
    for folder in FOLDERS:
        home = Path(next(iter(parley.banks.__path__))) / folder
        assert (home / "README.md").exists() and (home / "scale.toml").exists(), folder


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_good_bank_is_understood_to_the_cent(folder: str) -> None:
    statement = fetch(folder, "good")
    assert figures(statement) == (BALANCES, AMOUNTS)
    assert isinstance(statement, Statement)
    assert not statement.partial and statement.interaction_id == FIRST and statement.fetched_at == NOW
    newest = statement.transactions[0]
    assert (newest.state, newest.on, newest.merchant) == (TransactionState.PENDING, date(2026, 3, 5), "Corner Coffee")
    assert len({row.id for row in statement.transactions}) == 4 and not any("t1" in row.id for row in statement.transactions)
    owner, _ = attack(folder, "good", lambda bank: bank.owner(CREDENTIAL, FIRST))
    assert owner == "cust-77"
    listed, _ = attack(folder, "good", lambda bank: bank.accounts(CREDENTIAL, FIRST))
    assert isinstance(listed, tuple)
    told = [(each.native_id, each.kind, each.name, each.mask, each.currency, each.status, each.ref) for each in listed]
    assert told == [(each.native_id, each.kind, each.name, each.mask, each.currency, each.status, "") for each in ACCOUNTS]


@pytest.mark.parametrize("folder", FOLDERS)
def test_only_what_was_ordered_is_told(folder: str) -> None:
    for field in (Field.BALANCE_AVAILABLE, Field.BALANCE_BOOKED):
        statement = fetch(folder, "good", order(fields=frozenset({field})))
        assert isinstance(statement, Statement) and len(statement.balances) == 2 and not statement.transactions
        for each in statement.balances:
            assert each.name is None
            assert (each.available is None, each.booked is None) == (field is Field.BALANCE_BOOKED, field is Field.BALANCE_AVAILABLE)
    rows = fetch(folder, "good", order(fields=frozenset({Field.TRANSACTION_AMOUNT, Field.TRANSACTION_DATE})))
    assert isinstance(rows, Statement) and not rows.balances
    assert [row.merchant for row in rows.transactions] == [None] * 4
    two = fetch(folder, "good", order(rows_max=2))
    assert figures(two)[1] == AMOUNTS[:2]
    nothing, hostile = attack(folder, "good", lambda bank: bank.fetch(CREDENTIAL, order(fields=frozenset())))
    assert isinstance(nothing, Statement) and not nothing.balances + nothing.transactions and not hostile.asked


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_read_says_who_asks_and_under_which_number(folder: str) -> None:
    _, hostile = attack(folder, "good", lambda bank: bank.fetch(CREDENTIAL, order()))
    numbers = [asked.headers["x-fapi-interaction-id"] for asked in hostile.asked]
    assert FIRST in numbers and len(set(numbers)) == len(numbers)
    for asked in hostile.asked:
        assert asked.headers["authorization"] == f"Bearer {TOKEN}" and TOKEN not in str(asked.query) + asked.path
        assert "cookie" not in asked.headers and asked.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("case", ["extra fields", "nulls", "missing fields", "text figures", "times without zone", "days without time",
                                  "offset without colon", "no ids", "duplicates", "hostile names"])  # fmt: skip
def test_what_leaves_the_figures_certain_is_tolerated(folder: str, case: str) -> None:
    statement = fetch(folder, case)
    balances, rows = figures(statement)
    assert balances == BALANCES and sorted(rows) == sorted(AMOUNTS)
    expected = {
        "text figures": Quality.AMOUNT_WAS_TEXT,
        "times without zone": Quality.DATE_WITHOUT_ZONE,
        "days without time": Quality.DATE_WITHOUT_TIME,
        "missing fields": Quality.STATUS_MISSING,
        "no ids": Quality.SYNTHETIC_ID,
        "duplicates": Quality.DUPLICATE_ROW,
    }
    assert qualities(statement) == ({expected[case]} if case in expected else set())


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize(
    ("case", "refusal"),
    [
        ("float noise", BankUncertain),
        ("a fraction of a cent", BankUncertain),
        ("absurd figures", BankUncertain),
        ("monstrous figures", BankUncertain),
        ("a figure of a thousand digits", BankUncertain),
        ("figures that are none", BankUncertain),
        ("figures that are true", BankUncertain),
        ("figures that are lists", BankUncertain),
        ("figures in full-width digits", BankUncertain),
        ("figures with underscores", BankUncertain),
        ("no figure in rows", BankUncertain),
        ("wrong currency", BankUncertain),
        ("unknown currency", BankUncertain),
        ("a currency that is markup", BankUncertain),
        ("no sign told", BankUncertain),
        ("a memo that is none", BankUncertain),
        ("asset and debt at once", BankUncertain),
        ("one id, two figures", BankUncertain),
        ("another account", BankUncertain),
        ("dates that are none", BankNonsense),
        ("repeated cursor", BankNonsense),
        ("foreign next link", BankNonsense),
        ("next link to another path", BankNonsense),
    ],
)
def test_what_makes_a_figure_uncertain_is_refused(folder: str, case: str, refusal: type[Fault]) -> None:
    assert type(fetch(folder, case)) is refusal
    one = order(ACCOUNTS[:1])
    assert type(fetch(folder, case, one)) is refusal


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("fields", [frozenset({Field.BALANCE_AVAILABLE}), frozenset({Field.TRANSACTION_AMOUNT})])
def test_another_persons_account_is_never_told(folder: str, fields: frozenset[Field]) -> None:
    for accounts in (ACCOUNTS, ACCOUNTS[:1]):
        assert type(fetch(folder, "another account", order(accounts, fields))) is BankUncertain


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_row_that_was_pending_is_told_once_it_is_booked(folder: str) -> None:
    statement = fetch(folder, "pending and booked")
    assert figures(statement) == (BALANCES, AMOUNTS)
    assert isinstance(statement, Statement)
    coffee = statement.transactions[0]
    pending = fetch(folder, "good")
    assert isinstance(pending, Statement)
    assert coffee.state is TransactionState.BOOKED and coffee.replaces == pending.transactions[0].id != coffee.id


@pytest.mark.parametrize("folder", FOLDERS)
def test_rows_outside_the_ordered_window_never_come_in(folder: str) -> None:
    for case in ("rows outside the window", "dates beyond time"):
        statement = fetch(folder, case)
        assert isinstance(statement, BankNonsense) or figures(statement)[1] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_something_missing_is_said_and_the_rest_is_told(folder: str) -> None:
    for case, missing in (("206", 0), ("one account failed", 1), ("one account gone", 0)):
        statement = fetch(folder, case)
        assert isinstance(statement, Statement) and statement.partial, case
        assert len(statement.balances) == 2 - missing
    endless, hostile = attack(folder, "endless pages", lambda bank: bank.fetch(CREDENTIAL, order()))
    assert len(hostile.asked) < 40
    assert isinstance(endless, BankNonsense) or (isinstance(endless, Statement) and endless.partial)


@pytest.mark.parametrize("folder", FOLDERS)
def test_strangers_text_shows_nothing_unseen(folder: str) -> None:
    statement = fetch(folder, "hostile names")
    assert isinstance(statement, Statement)
    shown = [row.merchant or "" for row in statement.transactions] + [each.name or "" for each in statement.balances]
    assert all(len(text) <= 64 and text.isprintable() for text in shown)
    assert not [text for text in shown for character in text if character in "\u202e\u200b\x1b\x00\ue000\U000e0041"]
    listed, _ = attack(folder, "hostile names", lambda bank: bank.accounts(CREDENTIAL, FIRST))
    assert isinstance(listed, tuple) and all(each.name.isprintable() and each.name for each in listed)


@pytest.mark.parametrize("folder", FOLDERS)
def test_nobody_is_linked_whom_the_bank_does_not_name(folder: str) -> None:
    assert isinstance(attack(folder, "no owner", lambda bank: bank.owner(CREDENTIAL, FIRST))[0], BankUncertain)
    assert isinstance(attack(folder, "ids that lead elsewhere", lambda bank: bank.accounts(CREDENTIAL, FIRST))[0], BankNonsense)


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("mischief", WIRE_MISCHIEF)
@pytest.mark.parametrize("way", [PooledTransport, AiohttpTransport])
def test_whatever_comes_over_the_wire_ends_in_a_named_refusal_and_in_time(folder: str, mischief: str, way: Way) -> None:
    async def all_doors(bank: Bank) -> object:
        """All three doors at once; the answer is what each said."""

        async def through(door: Awaitable[object]) -> object:
            try:
                return await door
            except (Fault, LinkLost) as reason:
                return reason

        return await asyncio.gather(
            through(bank.fetch(CREDENTIAL, order())), through(bank.owner(CREDENTIAL, FIRST)), through(bank.accounts(CREDENTIAL, FIRST))
        )

    outcomes, hostile = attack(folder, "good", all_doors, mischief, way)
    assert isinstance(outcomes, list)
    for outcome in outcomes:
        assert isinstance(outcome, Fault | LinkLost), outcome
        said = "".join(traceback.format_exception(outcome)) + repr(outcome)
        assert not [secret for secret in SECRETS if secret in said]
    # Five reads with two more tries each; aiohttp silently asks once more where a connection ends before any answer.
    assert len(hostile.asked) <= 5 * 3 * 2
    assert _named(mischief, outcomes[0])


def _named(mischief: str, outcome: object) -> bool:
    """The customer's words differ by these classes, so they matter."""
    names: dict[str, type[Exception]] = {
        "slow first byte": BankTimeout,
        "one byte at a time": BankTimeout,
        "401 without a body": LinkLost,
        "403 from a firewall": BankUnavailable,
        "hangs up at once": BankUnavailable,
        "cut in the middle": BankUnavailable,
        "half a head": BankUnavailable,
        "500": BankUnavailable,
        "503 for an hour": BankUnavailable,
        "429 for an hour": BankBusy,
        "429 without a word": BankBusy,
        "429 until a bad date": BankBusy,
    }
    return type(outcome) is names.get(mischief, BankNonsense)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_customer_who_left_at_the_bank_is_asked_to_link_again(folder: str) -> None:
    async def inside() -> int:
        module = harness(folder)
        lost: Told = module.LINK_LOST
        async with running(HostileBank(lambda asked: lost)) as hostile, PooledTransport() as transport:
            bank: Bank = module.make(hostile.url, transport, lambda: NOW)
            for door in (bank.fetch(CREDENTIAL, order()), bank.owner(CREDENTIAL, FIRST), bank.accounts(CREDENTIAL, FIRST)):
                with pytest.raises(LinkLost):
                    await door
            return len(hostile.asked)

    assert 3 <= asyncio.run(inside()) <= 5


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_that_a_bank_said_is_printed(folder: str) -> None:
    statement = fetch(folder, "good")
    assert "***" in repr(statement) and "Bluebell" not in repr(statement) and "4210" not in repr(statement)
    assert TOKEN not in repr(CREDENTIAL) and "125040" not in repr(Money(125_040, "USD"))
