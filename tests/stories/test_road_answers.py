"""What a customer lives through on the road, from her question to a receipt that a stranger verifies."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from parley.model.extensions import BankCredential
from parley.model.grants import Budget, GrantState
from parley.model.refusals import BankTimeout
from parley.model.words import Projection
from parley.proof import ProofRejected, format_receipt, verify_receipt
from parley.release.pipeline import Declined, Released
from tests.fakes.road import CARD, STATEMENT, Town, TreeLog, balance, build_town


def ask(town: Town, text: str, number: int = 1) -> Released:
    outcome = asyncio.run(town.ask(text, message_id=f"message-{number}"))
    assert isinstance(outcome, Released), outcome.reason
    return outcome


CONVERSATION = [
    ("what's my balance?", "Your balances: Everyday Checking $2,143.87 available ($2,200.11 booked); Rainy Day $10,500.99 available."),
    ("How much is in Rainy Day?", "Rainy Day: $10,500.99 available."),
    ("how much is in my savings", "Rainy Day: $10,500.99 available."),
    ("Can I pay 640 rent on Friday?", "Yes, you can afford $640.00 right now."),
    ("can I afford $3,000?", "No, you cannot afford $3,000.00 right now."),
    ("show my last 2 transactions", "Your latest 2 transactions: Yesterday, Quillfeather Books: -$42.17; 20 Nov, Zephyr Payroll: +$3,200.55."),
    ("what was my last payment?", "Your latest transaction: Yesterday, Quillfeather Books: -$42.17."),
]


def test_a_customer_asks_and_each_answer_has_its_own_entry(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    for number, (text, expected) in enumerate(CONVERSATION):
        assert ask(town, text, number).release.answer.text == expected
    entries = town.log.read()
    assert [entry["k"] for entry in entries] == ["release"] * len(CONVERSATION)
    assert [entry["n"] for entry in entries] == [1, 0, 0, 0, 0, 1, 0]
    assert {entry["d"] for entry in entries} == {"balance.available", "afford.yesno", "transactions.merchant_and_amount"}
    assert all(entry["u"] == "dpv:RequestedServiceProvision" for entry in entries)


def test_her_receipt_verifies_on_nothing_but_the_logs_public_key(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    ask(town, "can I afford 20?", 1)
    release = ask(town, "what's my balance?", 2).release
    sealed = release.sealed
    receipt = format_receipt(sealed.entry, sealed.salt, sealed.private, release.inclusion)
    verified = verify_receipt(receipt, town.log.vkey)
    assert verified.private["answer_sha256"] == sha256(release.answer.text.encode()).hexdigest()
    assert (verified.index, verified.entry["d"]) == (1, "balance.available")
    stranger = TreeLog(seed=b"o" * 32)
    with pytest.raises(ProofRejected):
        verify_receipt(receipt, stranger.vkey)


def test_after_she_revokes_nothing_is_fetched_and_the_log_says_why(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    ask(town, "what's my balance?")
    town.change_grant(state=GrantState.REVOKED, version=2)
    outcome = asyncio.run(town.ask("what's my balance?", message_id="message-2"))
    assert isinstance(outcome, Declined)
    assert len(town.bank.orders) == 1
    assert [(entry["k"], entry.get("code")) for entry in town.log.read()] == [("release", None), ("refusal", "grant_revoked")]


def test_she_asks_again_after_the_bank_was_slow_and_gets_her_answer(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    town.bank.raises = BankTimeout()
    assert asyncio.run(town.ask("what's my balance?")).reason.code == "bank_timeout"
    town.bank.raises = None
    ask(town, "what's my balance?", 2)
    assert [entry["k"] for entry in town.log.read()] == ["release"]


def test_the_same_message_twice_is_answered_once(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    ask(town, "what's my balance?", 5)
    assert asyncio.run(town.ask("what's my balance?", message_id="message-5")).reason.code == "replayed_message"
    assert len(town.bank.orders) == 1


def test_two_questions_at_once_cannot_pass_the_budget(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    town.change_grant(budget=Budget(50, 7))

    async def both() -> list[Released | Declined]:
        return list(await asyncio.gather(*(town.ask("show my last 5 transactions", message_id=f"m-{number}") for number in range(3))))

    outcomes = asyncio.run(both())
    assert sorted(type(each).__name__ for each in outcomes) == ["Declined", "Declined", "Released"]
    assert [entry.get("code") for entry in town.log.read()].count("budget_spent") == 2


def test_tomorrow_the_budget_is_fresh(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    town.change_grant(budget=Budget(1, 10))
    ask(town, "what's my balance?", 1)
    assert asyncio.run(town.ask("what's my balance?", message_id="m-2")).reason.code == "budget_spent"
    town.clock.now += timedelta(days=1)
    ask(town, "what's my balance?", 3)


def test_a_card_she_linked_later_is_not_in_the_grant_and_not_in_the_answer(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    town.change_case(accounts=(*town.records.case.accounts, CARD))
    town.bank.statement = msgspec.structs.replace(STATEMENT, balances=(*STATEMENT.balances, balance(CARD, 0, booked=-12_000)))
    assert "Blue Card" not in ask(town, "what's my balance?").release.answer.text
    assert asyncio.run(town.ask("what's the balance of Blue Card?", message_id="m-2")).reason.code == "not_consented"
    assert asyncio.run(town.ask("balance of my credit card", message_id="m-3")).reason.code == "no_suitable_account"


def test_who_granted_no_merchants_is_shown_none(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    town.change_grant(projections=frozenset({Projection.TRANSACTIONS_AMOUNT}))
    answer = ask(town, "show my last 2 transactions").release.answer
    assert answer.text == "Your latest 2 transactions: Yesterday: -$42.17; 20 Nov: +$3,200.55."
    assert json.loads(town.log.entries[0])["d"] == "transactions.amount"


def test_late_in_the_evening_today_is_still_the_customers_today(tmp_path: Path) -> None:
    """02:00 UTC on the 23rd is the evening of the 22nd in New York."""
    town = build_town(tmp_path)
    town.clock.now = town.clock.now.replace(day=23, hour=2)
    assert "Yesterday, Quillfeather" in ask(town, "what was my last payment?").release.answer.text


def test_an_access_token_that_ended_early_costs_no_link(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    case = town.records.case
    assert case.tokens is not None
    town.bank.refuses = frozenset({case.tokens.access_token})
    town.credentials.fresh = BankCredential("another", case.tokens.expires_at)
    assert ask(town, "what's my balance?").release.answer.text == CONVERSATION[0][1]
    assert len(town.bank.orders) == 2 and town.bank.orders[0] == town.bank.orders[1] and not town.credentials.forgotten


def test_a_bank_that_takes_the_renewed_token_no_more_than_the_old_one_is_asked_twice_and_the_link_is_lost(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    case = town.records.case
    assert case.tokens is not None
    town.bank.refuses = frozenset({case.tokens.access_token, "another"})
    town.credentials.fresh = BankCredential("another", case.tokens.expires_at)
    outcome = asyncio.run(town.ask("what's my balance?"))
    assert isinstance(outcome, Declined) and outcome.reason.code == "link_lost"
    assert len(town.bank.orders) == 2 and town.credentials.forgotten == 1
