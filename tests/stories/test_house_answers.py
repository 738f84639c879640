"""The main job, end to end over HTTP: link, ask, get the right answer, hold a receipt that an independent check accepts."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import date

import pytest

from parley.log.audit import audit
from parley.proof import ProofRejected, verify_receipt
from parley_sandbox.ledger import Customer
from tests.house import RunningHouse, balance_line, written


@pytest.mark.parametrize("username", ["ada", "chiara", "daichi", "jonas"])
def test_a_customer_links_asks_for_her_balance_and_hears_what_the_bank_knows(house: RunningHouse, username: str) -> None:
    customer = house.customer(username)

    async def story() -> None:
        async with house.visitor() as visitor:
            assert (await visitor.question("what's my balance?"))["code"] == "not_linked"
            await visitor.link_as(customer)
            reply = await visitor.question("what's my balance?")
            assert reply["outcome"] == "answered"
            shown = [(line["label"], line["value"]) for line in reply["lines"]]
            assert sorted(shown) == sorted(balance_line(account) for account in customer.accounts if account.status == "OPEN")
            assert all(f"{label} {value}" in reply["text"] or f"{label}: {value}" in reply["text"] for label, value in shown)

    asyncio.run(story())


def newest_days(customer: Customer, count: int) -> list[date]:
    settled = {row.reference for account in customer.accounts for row in account.postings if not row.pending and row.reference}
    rows = [row for each in customer.accounts for row in each.postings if not (row.pending and row.transaction_id in settled)]
    return sorted((row.day for row in rows), reverse=True)[:count]


def test_the_last_transactions_are_rows_of_the_banks_books(house: RunningHouse) -> None:
    customer = house.customer("mei")
    known = Counter(written(row.amount, account.currency) for account in customer.accounts for row in account.postings)

    async def story() -> None:
        async with house.visitor() as visitor:
            await visitor.link_as(customer)
            reply = await visitor.question("show my last 7 transactions")
            assert reply["outcome"] == "answered"
            assert len(reply["lines"]) == 7
            figures = Counter(line["value"].removeprefix("+") for line in reply["lines"])
            assert figures <= known
            days = newest_days(customer, 7)
            told = Counter(line["label"].split(",")[0].removesuffix(" (pending)") for line in reply["lines"])
            assert told == Counter(day_in_words(day, house.day) for day in days)

    asyncio.run(story())


def day_in_words(day: date, today: date) -> str:
    words = {0: "Today", 1: "Yesterday"}.get((today - day).days)
    return words or f"{day.day} {day:%b}" + ("" if day.year == today.year else f" {day.year}")


def test_can_i_afford_it_is_one_word_and_turns_at_the_last_cent(house: RunningHouse) -> None:
    customer = house.customer("ada")
    own = sum(account.available for account in customer.accounts if account.kind == "checking")

    async def story() -> None:
        async with house.visitor() as visitor:
            await visitor.link_as(customer)
            yes = await visitor.question(f"can I afford {own / 100:.2f}?")
            no = await visitor.question(f"can I afford {(own + 1) / 100:.2f}?")
            assert yes["text"].startswith("Yes,"), yes["code"]
            assert no["text"].startswith("No,"), no["code"]
            for reply in (yes, no):
                assert not reply["lines"]
                assert house.verified(reply).entry["d"] == "afford.yesno"

    asyncio.run(story())


def test_every_answer_carries_a_receipt_that_holds_and_that_no_changed_byte_survives(house: RunningHouse) -> None:
    async def story() -> None:
        async with house.visitor() as visitor:
            await visitor.link_as(house.customer("ada"))
            reply = await visitor.question("what's my balance?")
            receipt = reply["why"]["receipt"]
            held = verify_receipt(receipt, house.vkey)
            assert (held.entry["k"], held.entry["u"], held.index) == ("release", "dpv:RequestedServiceProvision", reply["why"]["log_index"])
            assert next(each.entry for each in house.entries(held.index)).decode().count(str(held.entry["c"])) == 1
            again = await visitor.receipt(held.index)
            assert verify_receipt(again.text, house.vkey).private == held.private
            for at in range(0, len(receipt), 29):
                changed = receipt[:at] + chr(ord(receipt[at]) ^ 1) + receipt[at + 1 :]
                with pytest.raises(ProofRejected):
                    verify_receipt(changed, house.vkey)

    asyncio.run(story())


def test_nobody_else_can_fetch_her_receipt(house: RunningHouse) -> None:
    async def story() -> None:
        async with house.visitor() as visitor, house.visitor() as linked_stranger, house.visitor() as stranger:
            await visitor.link_as(house.customer("ada"))
            await linked_stranger.link_as(house.customer("noor"))
            index = (await visitor.question("can I afford 3?"))["why"]["log_index"]
            assert (await visitor.receipt(index)).status == 200
            for other in (linked_stranger, stranger):
                refused = await other.receipt(index)
                assert (refused.status, refused.code) == (404, "receipt_unknown")

    asyncio.run(story())


def test_the_audit_counts_what_left_and_finds_no_advertising(house: RunningHouse) -> None:
    async def story() -> int:
        async with house.visitor() as visitor:
            await visitor.link_as(house.customer("ada"))
            for text in ("what's my balance?", "show my last 3 transactions", "can I afford 12?"):
                assert (await visitor.question(text))["outcome"] == "answered"
        return 3

    before = audit(house.data)
    told = asyncio.run(story())
    after = audit(house.data)
    assert before.sound and after.sound
    assert after.releases - before.releases == told
    assert after.kinds["grant"] - before.kinds.get("grant", 0) == 1
    assert after.releases_by_purpose == {"dpv:RequestedServiceProvision": after.releases}
    assert after.advertising_releases == 0


def test_the_same_customer_on_another_conversation_is_one_customer_with_grants_of_their_own(house: RunningHouse) -> None:
    customer = house.customer("hugo")

    async def story() -> None:
        async with house.visitor() as first, house.visitor() as second:
            await first.link_as(customer)
            one = house.verified(await first.question("can I afford 5?"))
            await second.link_as(customer)
            two = house.verified(await second.question("can I afford 5?"))
            assert one.private["grant"] != two.private["grant"]
            assert one.private["accounts"] == two.private["accounts"]
            # One customer, one key: either conversation opens the receipts of both.
            assert (await second.receipt(one.index)).status == (await first.receipt(two.index)).status == 200
            assert one.entry["c"] != two.entry["c"]

    asyncio.run(story())


def test_a_message_sent_again_is_answered_once(house: RunningHouse) -> None:
    async def story() -> None:
        async with house.visitor() as visitor:
            await visitor.link_as(house.customer("ada"))
            same = "message-sent-by-two-taps"
            replies = await asyncio.gather(*(visitor.question("can I afford 7?", same) for _ in range(12)))
            assert Counter(reply["code"] for reply in replies) == {"answered": 1, "replayed_message": 11}

    asyncio.run(story())


def test_budgets_are_the_customers_limit_for_a_day(small_house: RunningHouse) -> None:
    async def story() -> None:
        async with small_house.visitor() as visitor:
            await visitor.link_as(small_house.customer("kamala"))
            replies = await asyncio.gather(*(visitor.question("can I afford 7?") for _ in range(10)))
            assert Counter(reply["code"] for reply in replies) == {"answered": 4, "budget_spent": 6}
        async with small_house.visitor() as visitor:
            await visitor.link_as(small_house.customer("mei"))
            codes = [(await visitor.question("show my last 5 transactions"))["code"] for _ in range(3)]
            assert codes == ["answered", "answered", "budget_spent"]
            assert (await visitor.question("can I afford 7?"))["code"] == "answered"

    asyncio.run(story())
