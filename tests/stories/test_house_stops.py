"""Revoke means now: on every process, on every conversation of the customer, and against answers that are already on their way."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from parley.log.audit import audit
from parley.proof import verify_receipt
from tests.house import RunningHouse, Visitor

CONNECTIONS = 40


async def storm(visitor: Visitor, count: int = CONNECTIONS) -> list[dict[str, Any]]:
    """Many questions at once, and so over many connections: every gateway gets some."""
    return await asyncio.gather(*(visitor.question("can I afford 9?") for _ in range(count)))


@pytest.mark.parametrize("words", ["stop", "unlink"])
def test_stop_typed_in_the_chat_ends_every_answer_on_every_gateway_at_once(house: RunningHouse, words: str) -> None:
    async def story() -> None:
        async with house.visitor() as visitor:
            await visitor.link_as(house.customer("grace"))
            assert Counter(reply["code"] for reply in await storm(visitor, 6)) == {"answered": 6}
            reads = house.bank_reads()
            assert (await visitor.question(words))["code"] == "stopped"
            assert Counter(reply["code"] for reply in await storm(visitor)) == {"grant_revoked": CONNECTIONS}
            assert house.bank_reads() == reads, "after a stop nothing is fetched"

    asyncio.run(story())


def test_a_stop_on_one_conversation_holds_on_the_customers_other_one_too(house: RunningHouse) -> None:
    async def story() -> None:
        async with house.visitor() as first, house.visitor() as second:
            await first.link_as(house.customer("esme"))
            await second.link_as(house.customer("esme"))
            assert (await first.stop())["code"] == "stopped"
            for visitor in (first, second):
                assert (await visitor.question("what's my balance?"))["code"] == "grant_revoked"
            await second.link_as(house.customer("esme"))
            assert (await second.question("what's my balance?"))["outcome"] == "answered"

    asyncio.run(story())


@pytest.mark.parametrize("answers_before", [0, 7, 31, 90])
def test_an_answer_in_flight_at_the_moment_of_revocation_is_neither_recorded_nor_delivered(house: RunningHouse, answers_before: int) -> None:
    """Questions keep coming while she stops. The notary's order decides: no release of that grant stands behind its revocation."""

    async def story() -> None:
        async with house.visitor() as visitor:
            await visitor.link_as(house.customer("farid"))
            first = (await visitor.question("can I afford 9?"))["why"]["log_index"]
            replies: list[dict[str, Any]] = []
            enough, stopped = asyncio.Event(), asyncio.Event()

            async def asking() -> None:
                while not stopped.is_set():
                    replies.append(await visitor.question("can I afford 9?"))
                    if len(replies) >= 10 + answers_before:
                        enough.set()

            askers = [asyncio.create_task(asking()) for _ in range(24)]
            await enough.wait()
            assert (await visitor.stop())["code"] == "stopped"
            after = await storm(visitor, 16)
            stopped.set()
            await asyncio.gather(*askers)
            assert {reply["code"] for reply in after} == {"grant_revoked"}
            assert {reply["code"] for reply in replies} <= {"answered", "grant_revoked"}
            answered = [reply for reply in replies if reply["code"] == "answered"]
            assert len(answered) >= 10 and len(answered) < len(replies)
            await compare(visitor, first, answered)

    async def compare(visitor: Visitor, first: int, answered: list[dict[str, Any]]) -> None:
        grant = verify_receipt((await visitor.receipt(first)).text, house.vkey).private["grant"]
        released, revoked = [], []
        for each in house.entries(first):
            kind = each.facts["k"]
            if kind not in ("release", "revoke"):
                continue
            private = verify_receipt((await visitor.receipt(each.index)).text, house.vkey).private
            if private["grant"] == grant:
                (released if kind == "release" else revoked).append(each.index)
        assert len(revoked) == 1
        assert max(released) < revoked[0], "a release stands behind the revocation of its grant"
        delivered = {reply["why"]["log_index"] for reply in answered}
        assert delivered <= set(released) and max(delivered) < revoked[0]

    asyncio.run(story())


def test_who_never_linked_has_nothing_to_stop(house: RunningHouse) -> None:
    async def story() -> None:
        async with house.visitor() as visitor:
            assert (await visitor.stop())["code"] == "stopped"
            assert (await visitor.question("stop sharing"))["outcome"] == "answered"

    entries = len([each for each in house.entries() if each.facts["k"] == "revoke"])
    asyncio.run(story())
    assert len([each for each in house.entries() if each.facts["k"] == "revoke"]) == entries


@pytest.mark.parametrize(
    ("purpose", "code", "advertising"),
    [
        ("advertising", "purpose_forbidden", 1),
        ("dpv:Marketing", "purpose_forbidden", 1),
        ("personalised marketing offers", "purpose_forbidden", 1),
        ("weather forecast", "purpose_unknown", 0),
        ("ANSWER_CUSTOMER", "purpose_unknown", 0),
        ("", "purpose_unknown", 0),
    ],
)
def test_a_purpose_that_is_not_on_the_list_is_refused_with_a_reason_logged_and_the_bank_not_asked(
    house: RunningHouse, purpose: str, code: str, advertising: int
) -> None:
    async def story() -> None:
        async with house.visitor() as visitor:
            await visitor.link_as(house.customer("ada"))
            before, reads = audit(house.data), house.bank_reads()
            reply = await visitor.question("what's my balance?", purpose=purpose)
            assert (reply["outcome"], reply["code"]) == ("refused", code)
            assert (len(reply["text"]) > 30 and "why" not in reply) or reply["why"] is None
            after = audit(house.data)
            assert house.bank_reads() == reads
            assert after.advertising_releases == 0
            assert after.advertising_refused - before.advertising_refused == advertising
            assert after.refusals_by_code[code] - before.refusals_by_code.get(code, 0) == 1
            assert after.releases == before.releases
            entry = next(each.facts for each in reversed(house.entries()) if each.facts["k"] == "refusal")
            assert entry["code"] == code and not {"c", "u"} & entry.keys()

    asyncio.run(story())


def test_the_closed_purpose_by_its_own_name_is_answered(house: RunningHouse) -> None:
    async def story() -> None:
        async with house.visitor() as visitor:
            await visitor.link_as(house.customer("ada"))
            for purpose in ("answer_customer", "dpv:RequestedServiceProvision"):
                assert (await visitor.question("can I afford 2?", purpose=purpose))["outcome"] == "answered"

    asyncio.run(story())
