"""Tokens that no grant lives on go back to the bank: later, again and again until it takes them, and nobody waits for it."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from parley.authorization.bank_returns import OWED_FOR_MAX, PAUSE_MAX, UNDECIDED_FOR, BankReturns, pause_after
from parley.model.grants import BankTokens, GrantState
from parley.model.refusals import BankUnavailable, LinkLost
from parley.store import Records
from tests.fixtures_postgres import RecordsBench


class TokenTaker:
    """The bank's revocation endpoint, which may be down."""

    def __init__(self) -> None:
        self.taken: list[BankTokens] = []
        self.tried = 0
        self.down = False

    async def revoke(self, tokens: BankTokens) -> None:
        self.tried += 1
        if self.down:
            raise BankUnavailable("down")
        self.taken.append(tokens)


def returns(bench: RecordsBench, records: Records, bank: TokenTaker) -> BankReturns:
    return BankReturns(records, {"oakbank": bank}, lambda: bench.now)


def test_the_tokens_go_with_the_last_grant_that_stands(bench_of_records):
    bench, bank = bench_of_records, TokenTaker()

    async def story(records: Records) -> None:
        customer, first = await bench.linked(records)
        paused = bench.grant(customer)
        await records.join("web", "conversation-one", customer, (paused,))
        await records.end_grants((paused.id,), GrantState.PAUSED, bench.now)
        await records.revoke_grant(first.id, bench.now)
        assert await returns(bench, records, bank).give_back() == 0
        assert await records.bank_tokens(customer) is not None  # A pause is no end.
        await records.revoke_grant(paused.id, bench.now)
        assert await records.bank_tokens(customer) is None  # Gone from the link at once, whatever the bank does.
        assert await returns(bench, records, bank).give_back() == 1
        assert bank.taken == [bench.tokens()]
        assert await returns(bench, records, bank).give_back() == 0

    bench.run(story)


def test_a_bank_that_is_down_is_asked_again_after_a_restart(bench_of_records):
    bench, bank = bench_of_records, TokenTaker()
    bank.down = True

    async def before(records: Records) -> None:
        _, grant = await bench.linked(records)
        await records.revoke_grant(grant.id, bench.now)
        for _ in range(3):
            assert await returns(bench, records, bank).give_back() == 0
        assert bank.tried == 1  # Not again before its pause is over.
        bench.now += timedelta(minutes=1)
        assert await returns(bench, records, bank).give_back() == 0
        assert bank.tried == 2

    async def after(records: Records) -> None:
        bench.now += timedelta(minutes=5)
        assert await returns(bench, records, bank).give_back() == 1
        assert len(bank.taken) == 1

    bench.run(before)
    bank.down = False
    bench.run(after)


def test_an_erased_customers_tokens_still_go_back(bench_of_records):
    """They wait under the gateway's key: hers is gone by then."""
    bench, bank = bench_of_records, TokenTaker()

    async def story(records: Records) -> None:
        customer, _ = await bench.linked(records)
        await records.erase(customer, bench.now)
        assert await returns(bench, records, bank).give_back() == 1
        assert bank.taken == [bench.tokens()]

    bench.run(story)


def test_a_consent_page_that_was_closed_leaves_no_access_behind(bench_of_records):
    bench, bank = bench_of_records, TokenTaker()

    async def story(records: Records) -> None:
        undecided = await records.save_bank_link("oakbank", "owner-2", bench.tokens("undecided"), (bench.account(),))
        decided, _ = await bench.linked(records)
        bench.now += UNDECIDED_FOR - timedelta(minutes=1)
        assert await returns(bench, records, bank).give_back() == 0
        assert await records.bank_tokens(undecided) is not None
        bench.now += timedelta(minutes=1)
        assert await returns(bench, records, bank).give_back() == 1
        assert [tokens.refresh_token for tokens in bank.taken] == ["refresh-undecided"]
        assert await records.bank_tokens(undecided) is None
        assert await records.bank_tokens(decided) is not None

    bench.run(story)


def test_linking_again_gives_the_earlier_tokens_back_and_keeps_the_grants(bench_of_records):
    bench, bank = bench_of_records, TokenTaker()

    async def story(records: Records) -> None:
        customer, grant = await bench.linked(records)
        second = bench.tokens("second")
        await records.save_bank_link("oakbank", "owner-1", second, (bench.account(),))
        assert await returns(bench, records, bank).give_back() == 1
        assert bank.taken == [bench.tokens()]
        assert await records.bank_tokens(customer) == ("oakbank", second)
        # The page was closed this time; what she had agreed to before stands, and so do the tokens.
        bench.now += UNDECIDED_FOR
        assert await returns(bench, records, bank).give_back() == 0
        assert await records.grants_of(customer, active_only=True, now=bench.now) == (grant,)
        assert await records.bank_tokens(customer) == ("oakbank", second)

    bench.run(story)


def test_of_two_gateways_one_asks_the_bank(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records)
        other = await bench.second()
        await records.revoke_grant(grant.id, bench.now)
        due = [await desk.bank_returns_due(bench.now) for desk in (records, other)]
        assert due[0] == due[1] != ()
        claims = [await desk.claim_bank_return(due[0][0].number, bench.now, bench.now + PAUSE_MAX) for desk in (records, other)]
        assert claims == [True, False]

    bench.run(story)


def test_a_renewal_that_is_late_revives_nothing(bench_of_records):
    bench, bank = bench_of_records, TokenTaker()

    async def story(records: Records) -> None:
        customer, grant = await bench.linked(records)
        await records.update_tokens(customer, bench.tokens("renewed"))
        await records.revoke_grant(grant.id, bench.now)
        with pytest.raises(LinkLost):
            await records.update_tokens(customer, bench.tokens("late"))
        assert await returns(bench, records, bank).give_back() == 1
        assert [tokens.refresh_token for tokens in bank.taken] == ["refresh-renewed"]

    bench.run(story)


def test_a_bank_that_never_takes_them_back_is_given_up_after_thirty_days(bench_of_records):
    bench, bank = bench_of_records, TokenTaker()
    bank.down = True

    async def story(records: Records) -> None:
        _, grant = await bench.linked(records)
        await records.revoke_grant(grant.id, bench.now)
        bench.now += OWED_FOR_MAX + timedelta(seconds=1)
        assert await returns(bench, records, bank).give_back() == 0
        bench.now += timedelta(days=1)
        assert await records.bank_returns_due(bench.now) == ()

    bench.run(story)


def test_pauses_double_and_end_at_an_hour():
    pauses = [pause_after(tries) for tries in range(200)]
    assert pauses[:3] == [timedelta(seconds=5), timedelta(seconds=10), timedelta(seconds=20)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == PAUSE_MAX


def test_grants_expire_in_turn_and_their_tokens_go(bench_of_records):
    bench, bank = bench_of_records, TokenTaker()

    async def story(records: Records) -> None:
        customer, short = await bench.linked(records)
        long = msgspec.structs.replace(bench.grant(customer), expires_at=bench.now + timedelta(days=360))
        await records.join("web", "conversation-one", customer, (long,))
        bench.now = short.expires_at
        assert [grant.id for grant in await records.expire_some(bench.now)] == [short.id]
        assert await records.expire_some(bench.now) == ()
        assert await returns(bench, records, bank).give_back() == 0
        bench.now = long.expires_at
        assert [(grant.id, grant.state) for grant in await records.expire_some(bench.now)] == [(long.id, GrantState.EXPIRED)]
        assert await returns(bench, records, bank).give_back() == 1
        assert {due.id for due in await records.revocations_due()} == {short.id, long.id}

    bench.run(story)
