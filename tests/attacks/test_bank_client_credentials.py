"""Renewing a customer's bank credential: many questions at once, two gateways, a bank that rotates, one that says no, one that is down."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from parley.authorization.credentials import BankCredentials
from parley.model.extensions import BankCredential
from parley.model.grants import BankTokens
from parley.model.refusals import BankUnavailable, LinkLost
from parley.release.ports import CaseFile

NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)


def tokens(name: str, seconds: int, refresh: str | None = "r") -> BankTokens:
    return BankTokens(f"{name}-access", refresh and f"{name}-{refresh}", NOW + timedelta(seconds=seconds), None, "")


class Records:
    def __init__(self, held: BankTokens | None) -> None:
        self.held = held
        self.lost: list[str] = []

    async def bank_tokens(self, customer: str) -> tuple[str, BankTokens] | None:
        await asyncio.sleep(0)
        return ("bank", self.held) if self.held else None

    async def update_tokens(self, customer: str, tokens: BankTokens, *, instead_of: BankTokens | None = None) -> BankTokens:
        await asyncio.sleep(0)
        if self.held is None:
            raise LinkLost("the link was lost")
        if instead_of is None or self.held == instead_of:
            self.held = tokens
        return self.held

    async def mark_link_lost(self, customer: str) -> None:
        self.lost.append(customer)


class RotatingBank:
    """Gives a new refresh token each time; one that was used before ends the link, as banks do against thieves."""

    def __init__(self, first: str | None, failure: Exception | None = None) -> None:
        self.good = first
        self.renewals = 0
        self.failure = failure
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def refresh(self, held: BankTokens) -> BankTokens:
        if self.failure:
            raise self.failure
        if held.refresh_token != self.good:
            self.good = None
            raise LinkLost()
        self.renewals += 1
        self.asked.set()
        fresh = tokens(f"new{self.renewals}", 900)
        self.good = fresh.refresh_token
        await self.gate.wait()
        return fresh


def case(held: BankTokens | None, customer: str | None = "c1") -> CaseFile:
    return CaseFile(customer=customer, bank="bank", tokens=held)


def desk(records: Records, bank: RotatingBank) -> BankCredentials:
    return BankCredentials({"bank": bank}, records, lambda: NOW)


def test_a_fresh_credential_is_used_as_it_is() -> None:
    held = tokens("old", 31)
    bank = RotatingBank(held.refresh_token)
    credential = asyncio.run(desk(Records(held), bank).credential(case(held)))
    assert credential.access_token == "old-access" and bank.renewals == 0


def test_fifty_questions_at_once_renew_once_even_where_the_bank_rotates() -> None:
    held = tokens("old", 5)
    records, bank = Records(held), RotatingBank(held.refresh_token)

    async def ask() -> None:
        credentials = desk(records, bank)
        first = await asyncio.gather(*(credentials.credential(case(held)) for _ in range(50)))
        late = await credentials.credential(case(held))
        assert {each.access_token for each in (*first, late)} == {"new1-access"}

    asyncio.run(ask())
    assert bank.renewals == 1 and records.held is not None and records.held.refresh_token == "new1-r" and not records.lost


def test_a_customer_who_hangs_up_does_not_lose_the_rotated_token() -> None:
    held = tokens("old", 5)
    records, bank = Records(held), RotatingBank(held.refresh_token)

    async def ask() -> None:
        bank.gate.clear()
        credentials = desk(records, bank)
        question = asyncio.ensure_future(credentials.credential(case(held)))
        await bank.asked.wait()
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        bank.gate.set()
        assert (await credentials.credential(case(held))).access_token == "new1-access"

    asyncio.run(ask())
    assert records.held is not None and records.held.access_token == "new1-access"


def test_another_gateway_that_was_quicker_does_not_end_the_link() -> None:
    held, fresh = tokens("old", 5), tokens("other", 900)

    class Slower(RotatingBank):
        async def refresh(self, used: BankTokens) -> BankTokens:
            records.held = fresh
            return await super().refresh(used)

    records, bank = Records(held), Slower("somebody-used-it")
    credential = asyncio.run(desk(records, bank).credential(case(held)))
    assert credential.access_token == "other-access" and not records.lost


def test_a_bank_that_says_no_ends_it_and_one_that_is_down_does_not() -> None:
    held = tokens("old", 1)
    with pytest.raises(LinkLost):
        asyncio.run(desk(Records(held), RotatingBank(None)).credential(case(held)))
    with pytest.raises(BankUnavailable):
        asyncio.run(desk(Records(held), RotatingBank(None, BankUnavailable())).credential(case(held)))
    lasting = tokens("old", 20)
    credential = asyncio.run(desk(Records(lasting), RotatingBank(None, BankUnavailable())).credential(case(lasting)))
    assert credential.access_token == "old-access"


def test_a_link_for_one_time_only_lasts_as_long_as_it_does() -> None:
    short = tokens("once", 10, refresh=None)
    assert asyncio.run(desk(Records(short), RotatingBank(None)).credential(case(short))).access_token == "once-access"
    gone = tokens("once", 1, refresh=None)
    with pytest.raises(LinkLost):
        asyncio.run(desk(Records(gone), RotatingBank(None)).credential(case(gone)))


def test_nobody_without_a_link_gets_a_credential() -> None:
    held = tokens("old", 900)
    for records, asked in ((Records(held), case(None)), (Records(held), case(held, None)), (Records(None), case(tokens("old", 1)))):
        with pytest.raises(LinkLost):
            asyncio.run(desk(records, RotatingBank("old-r")).credential(asked))


def test_forgetting_spares_a_link_that_was_made_anew_meanwhile() -> None:
    old, new = tokens("old", 900), tokens("new", 900)
    records = Records(new)
    asyncio.run(desk(records, RotatingBank(None)).forget(case(old)))
    assert not records.lost
    asyncio.run(desk(records, RotatingBank(None)).forget(case(new)))
    assert records.lost == ["c1"]


def refused(held: BankTokens) -> BankCredential:
    return BankCredential(held.access_token, held.expires_at)


def test_a_token_that_the_bank_refused_before_its_time_is_renewed_once_for_all_who_were_refused() -> None:
    held = tokens("old", 900)
    records, bank = Records(held), RotatingBank(held.refresh_token)

    async def ask() -> None:
        credentials = desk(records, bank)
        fresh = await asyncio.gather(*(credentials.renewed(case(held), refused(held)) for _ in range(20)))
        late = await credentials.renewed(case(held), refused(held))
        assert {each.access_token for each in (*fresh, late)} == {"new1-access"}

    asyncio.run(ask())
    assert bank.renewals == 1 and not records.lost


def test_a_link_that_nothing_renews_is_lost_and_a_bank_that_is_down_loses_none() -> None:
    for held, bank, reason in (
        (tokens("old", 900), RotatingBank(None), LinkLost),
        (tokens("once", 900, refresh=None), RotatingBank(None), LinkLost),
        (tokens("old", 900), RotatingBank(None, BankUnavailable()), BankUnavailable),
    ):
        with pytest.raises(reason):
            asyncio.run(desk(Records(held), bank).renewed(case(held), refused(held)))
    for asked in (case(None), case(tokens("old", 900), None)):
        with pytest.raises(LinkLost):
            asyncio.run(desk(Records(None), RotatingBank("r")).renewed(asked, refused(tokens("old", 900))))


def test_a_bank_that_refuses_the_renewed_token_too_ends_the_link_and_a_new_link_stands() -> None:
    held = tokens("old", 900)

    async def ask(linked_anew: bool) -> list[str]:
        records, bank = Records(held), RotatingBank(held.refresh_token)
        credentials = desk(records, bank)
        await credentials.renewed(case(held), refused(held))
        if linked_anew:
            records.held = tokens("anew", 900)
        await credentials.forget(case(held))
        return records.lost

    assert asyncio.run(ask(False)) == ["c1"] and asyncio.run(ask(True)) == []


def test_a_renewal_for_the_time_alone_does_not_hand_out_the_refused_token_again() -> None:
    """One question renews because time is up by its own look, another because the bank said no: both wait for one renewal."""
    held = tokens("old", 900)
    records, bank = Records(held), RotatingBank(held.refresh_token)

    async def ask() -> None:
        credentials = desk(records, bank)
        by_time = asyncio.ensure_future(credentials.credential(case(tokens("older", 5))))
        await asyncio.sleep(0)
        assert (await credentials.renewed(case(held), refused(held))).access_token == "new1-access"
        assert (await by_time).access_token == "old-access"

    asyncio.run(ask())
    assert bank.renewals == 1
