"""A grant that is about to end: she is reminded once, and goes on in two taps, within the same limits."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from starlette.applications import Starlette

from parley.app.customers_page import described
from parley.app.web_desk import WebDesk
from parley.authorization.grants import GrantDesk
from parley.authorization.pages.renewal_routes import renewal_routes
from parley.authorization.pages.routes import LinkingSettings
from parley.authorization.renewal import RenewalDesk, days_of
from parley.consent import reminder_due
from parley.model.grants import Grant, GrantState
from parley.model.refusals import BadInput, GrantExpired, GrantRevoked
from parley.proof import Inclusion
from parley.settings import BankSettings, Settings
from parley.store import Records
from tests.fakes.customers_page import ORIGIN, PageBrowser, PageHouse
from tests.fixtures_postgres import RecordsBench

SETTINGS = Settings(banks=(BankSettings(name="oakbank", api_url="https://oak.example/fdx", issuer="https://oak.example", client_id="parley"),))


class Notary:
    """Which handle stands at which version, as the notary keeps it."""

    def __init__(self) -> None:
        self.open: dict[bytes, int] = {}
        self.entries: list[bytes] = []

    async def open_grant(self, entry: bytes, side: bytes, *, handle: bytes, version: int) -> Inclusion:
        if version <= self.open.get(handle, 0):
            raise GrantRevoked()
        self.open[handle] = version
        self.entries.append(entry)
        return Inclusion(100 + len(self.entries), b"", ())

    async def close_grant(self, entry: bytes, side: bytes, *, handle: bytes) -> Inclusion:
        self.open.pop(handle, None)
        return Inclusion(99, b"", ())

    async def record(self, entry: bytes, side: bytes, *, handle: bytes | None, version: int | None) -> Inclusion:
        return Inclusion(98, b"", ())


class Renewing:
    def __init__(self, records: Records, bench: RecordsBench) -> None:
        self.notary = Notary()
        self.records, self.bench = records, bench
        self.page = PageHouse(records, lambda: bench.now)
        keeper: Any = GrantDesk(
            records=records, log=self.notary, platform="chat.example", policy_digest=lambda: "digest 2", clock=lambda: bench.now,
            random_bytes=secrets.token_bytes,
        )  # fmt: skip

        async def describe(grant: Grant) -> Any:
            return described(grant, "Brook chat", SETTINGS)

        self.desk = RenewalDesk(records=records, opener=keeper, describe=describe, policy_digest=lambda: "digest 2", clock=lambda: bench.now)
        routes = renewal_routes(desk=self.desk, sign_ins=self.page.sign_ins, settings=LinkingSettings(ORIGIN, "Brook Bank", "privacy@brook.example"))
        self.page.app = Starlette(routes=routes)


@pytest.fixture
def tell(bench_of_records: RecordsBench) -> Callable[[Callable[[Renewing], Awaitable[None]]], None]:
    def run(story: Callable[[Renewing], Awaitable[None]]) -> None:
        async def whole(records: Records) -> None:
            await story(Renewing(records, bench_of_records))

        bench_of_records.run(whole)

    return run


def form_of(text: str) -> dict[str, str]:
    found = {}
    for name in ("csrf", "version", "text_hash"):
        found[name] = text.partition(f'name="{name}" value="')[2].partition('"')[0]
    return found


async def signed_in(story: Renewing) -> tuple[Grant, PageBrowser]:
    customer, grant = await story.bench.linked(story.records)
    story.notary.open[grant.handle] = 1
    browser = story.page.browser()
    await browser.sign_in(customer)
    return grant, browser


async def sent(browser: PageBrowser, grant: Grant, fields: dict[str, str], **headers: str) -> Any:
    body = urlencode(fields).encode()
    kind = {"content-type": "application/x-www-form-urlencoded"}
    return await browser.send("POST", f"/consent/extend/{grant.id}", body, {**kind, **headers})


def test_two_taps_and_it_goes_on_with_the_same_limits(tell):
    async def story(it: Renewing) -> None:
        grant, browser = await signed_in(it)
        it.bench.now += timedelta(days=80)
        await browser.sign_in(grant.customer)
        page = await browser.get(f"/consent/extend/{grant.id}")
        for words in ("Go on with Brook chat for 90 days more?", "as before", "90 days at most", "At most 20 answers", "type stop"):
            assert words in page.text, words
        assert "checkbox" not in page.text
        answer = await sent(browser, grant, {**form_of(page.text), "decision": "allow"})
        assert answer.header("location") == "/me?done=extended"
        (before, after) = await it.records.grant_history(grant.id)
        assert (before.version, after.version) == (1, 2)
        assert after.expires_at == (it.bench.now + timedelta(days=90)).replace(microsecond=0)
        changed = {name for name in Grant.__struct_fields__ if getattr(before, name) != getattr(after, name)}
        assert changed == {"version", "created_at", "expires_at", "text_hash", "policy_digest", "log_index"}
        assert it.notary.open[grant.handle] == 2
        assert form_of(page.text)["text_hash"] == after.text_hash

    tell(story)


def test_a_page_counts_once_and_only_for_what_it_showed(tell):
    async def story(it: Renewing) -> None:
        grant, browser = await signed_in(it)
        fields = {**form_of((await browser.get(f"/consent/extend/{grant.id}")).text), "decision": "allow"}
        for changed in ({"csrf": "no"}, {"version": "2"}, {"version": "x"}, {"text_hash": "0" * 64}, {"decision": "perhaps"}):
            assert (await sent(browser, grant, {**fields, **changed})).status == 409, changed
        assert (await sent(browser, grant, fields, origin="https://evil.example")).status == 403
        assert (await sent(browser, grant, {**fields, "decision": "deny"})).header("location") == "/me"
        assert len(await it.records.grant_history(grant.id)) == 1
        assert (await sent(browser, grant, fields)).status == 303
        assert (await sent(browser, grant, fields)).status == 409, "the form was answered"
        assert len(await it.records.grant_history(grant.id)) == 2

    tell(story)


def test_nobody_extends_what_is_not_hers_has_ended_or_was_stopped(tell):
    async def story(it: Renewing) -> None:
        grant, browser = await signed_in(it)
        other, _ = await it.bench.linked(it.records, "owner-2", "conversation-two")
        for customer, grant_id in ((other, grant.id), (grant.customer, "0" * 32)):
            with pytest.raises(BadInput):
                await it.desk.show(customer, grant_id)
        assert (await it.page.browser().get(f"/consent/extend/{grant.id}")).header("location") == "/me"
        it.bench.now += timedelta(minutes=5)
        assert (await browser.get(f"/consent/extend/{grant.id}")).header("location") == f"/me/confirm?to=extend&grant={grant.id}"
        await it.records.end_grants((grant.id,), GrantState.PAUSED, it.bench.now)
        with pytest.raises(GrantExpired):
            await it.desk.show(grant.customer, grant.id)
        _, late = await it.bench.linked(it.records, "owner-3", "conversation-three")
        it.bench.now += timedelta(days=91)
        with pytest.raises(GrantExpired):
            await it.desk.allow(late.customer, late.id, 1, "0" * 64)

    tell(story)


def test_a_stop_while_the_page_is_open_wins(tell):
    async def story(it: Renewing) -> None:
        grant, _ = await signed_in(it)
        page = await it.desk.show(grant.customer, grant.id)
        found = it.records.find_grant

        async def stopped_meanwhile(grant_id: str) -> Grant | None:
            it.records.find_grant = found  # type: ignore[method-assign]
            seen = await found(grant_id)
            await it.records.end_grants((grant.id,), GrantState.REVOKED, it.bench.now)
            return seen

        it.records.find_grant = stopped_meanwhile  # type: ignore[method-assign]
        with pytest.raises(GrantExpired):
            await it.desk.allow(grant.customer, grant.id, 1, page.text.hash)
        assert grant.handle not in it.notary.open, "the handle is closed again"
        assert (await it.records.grant_history(grant.id))[-1].state is GrantState.REVOKED

    tell(story)


def test_two_pages_at_once_leave_one_version_that_log_and_records_agree_on(tell):
    async def story(it: Renewing) -> None:
        grant, _ = await signed_in(it)
        page = await it.desk.show(grant.customer, grant.id)
        made = await asyncio.gather(*(it.desk.allow(grant.customer, grant.id, 1, page.text.hash) for _ in range(3)), return_exceptions=True)
        assert any(isinstance(each, Grant) for each in made)
        (*_, stands) = await it.records.grant_history(grant.id)
        assert stands.state is GrantState.ACTIVE
        assert it.notary.open[grant.handle] == stands.version

    tell(story)


def test_a_crash_between_log_and_records_is_mended_by_extending_again(tell):
    async def story(it: Renewing) -> None:
        grant, _ = await signed_in(it)
        it.notary.open[grant.handle] = 2
        page = await it.desk.show(grant.customer, grant.id)
        renewed = await it.desk.allow(grant.customer, grant.id, 1, page.text.hash)
        assert renewed.version == it.notary.open[grant.handle] == 3

    tell(story)


@pytest.mark.parametrize(
    ("days", "before", "due"),
    [(90, 31, False), (90, 29, True), (90, 0, False), (365, 31, False), (365, 30, True), (30, 11, False), (30, 9, True), (1, 0.5, False)],
)
def test_a_reminder_is_due_thirty_days_before_the_end(days: int, before: float, due: bool) -> None:
    bench = RecordsBench("", Path())
    grant = msgspec.structs.replace(bench.grant("c" * 32), created_at=bench.now, expires_at=bench.now + timedelta(days=days))
    assert reminder_due(grant, grant.expires_at - timedelta(days=before)) is due
    assert not reminder_due(msgspec.structs.replace(grant, state=GrantState.REVOKED), grant.expires_at - timedelta(days=1))


def test_no_extension_is_longer_than_what_was_given_or_the_laws_year() -> None:
    grant = RecordsBench("", Path()).grant("c" * 32)
    assert days_of(grant) == 90
    assert days_of(msgspec.structs.replace(grant, expires_at=grant.created_at + timedelta(days=900))) == 365


def test_the_chat_says_once_that_a_permission_ends_and_where_to_extend_it(tell):
    async def story(it: Renewing) -> None:
        grant, _ = await signed_in(it)
        house: Any = SimpleNamespace(clock=lambda: it.bench.now)
        one, other = (WebDesk(house, it.records, Any, Any, SETTINGS) for _ in range(2))  # type: ignore[arg-type]
        outcome: Any = SimpleNamespace(release=SimpleNamespace(ruling=SimpleNamespace(permission=SimpleNamespace(grant=grant))))
        assert await one.notice(outcome) is None
        it.bench.now += timedelta(days=61)
        said = await one.notice(outcome)
        assert said is not None
        assert said.text == "Your permission for this chat ends on 20 February 2027."
        assert said.url == f"/consent/extend/{grant.id}"
        assert await one.notice(outcome) is None, "once in this process"
        assert await other.notice(outcome) is None, "and once in every other"

    tell(story)
