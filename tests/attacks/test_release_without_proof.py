"""No receipt, no release: a log that is down, forked, unsigned or lying, and a release with any one thing changed."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parley.model.money import Money
from parley.model.stages import Answer, AnswerLine, Release
from parley.model.words import Projection, Purpose
from parley.proof import Inclusion, ProofRejected, canonical, commitment_text
from parley.release.pipeline import Declined, Released
from tests.fakes.road import GRANT, TreeLog, build_town, forged_head, root_of, unsigned_head


def another_entrys_promise(log: TreeLog) -> Callable[[Inclusion], Inclusion]:
    return lambda _: log.promise(0)


def own_path_older_head(log: TreeLog) -> Callable[[Inclusion], Inclusion]:
    return lambda true: dataclasses.replace(true, checkpoint=log.head(1, root_of([b"\1" * 32])))


LIES: dict[str, Callable[[TreeLog], Callable[[Inclusion], Inclusion]]] = {
    "another entry's promise": another_entrys_promise,
    "a head that does not hold the entry": own_path_older_head,
    "a head signed by a stranger": lambda log: lambda true: dataclasses.replace(true, checkpoint=forged_head(log, true.index + 1, b"\2" * 32)),
    "an unsigned head": lambda log: lambda true: dataclasses.replace(true, checkpoint=unsigned_head(log, true.index + 1, b"\2" * 32)),
    "a fork: a signed head over another history": lambda log: lambda true: dataclasses.replace(true, checkpoint=log.head(true.index + 1, b"\3" * 32)),
    "another log's name": lambda log: lambda true: dataclasses.replace(true, checkpoint=log.head(true.index + 1, b"\3" * 32, name="log.test")),
    "no head": lambda log: lambda true: dataclasses.replace(true, checkpoint=b""),
    "the next index": lambda log: lambda true: dataclasses.replace(true, index=true.index + 1),
    "a negative index": lambda log: lambda true: dataclasses.replace(true, index=-1),
    "a path cut short": lambda log: lambda true: dataclasses.replace(true, hashes=true.hashes[:-1]),
    "a path that goes on": lambda log: lambda true: dataclasses.replace(true, hashes=(*true.hashes, b"\4" * 32)),
    "a path with one bit flipped": lambda log: lambda true: dataclasses.replace(true, hashes=(flip(true.hashes[0]), *true.hashes[1:])),
    "a path of odd hashes": lambda log: lambda true: dataclasses.replace(true, hashes=(b"short",)),
}


def flip(value: bytes, place: int = 0) -> bytes:
    return value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :]


@pytest.mark.parametrize("lie", LIES.values(), ids=list(LIES))
def test_a_log_that_lies_gets_no_release(lie: Callable[[TreeLog], Callable[[Inclusion], Inclusion]], tmp_path: Path) -> None:
    town = build_town(tmp_path)
    for number in range(5):
        town.log.append(canonical({"k": "heartbeat", "v": 1, "b": 600 * number}))
    town.log.lie = lie(town.log)
    outcome = asyncio.run(town.ask("what's my balance?"))
    assert isinstance(outcome, Declined)
    assert outcome.reason.code == "log_unavailable"
    assert "did not prove itself" in str(outcome.reason)


@pytest.mark.parametrize(("when", "standing"), [("before", 0), ("after", 1)])
def test_with_the_log_down_nothing_leaves_and_at_most_an_entry_stands(when: str, standing: int, tmp_path: Path) -> None:
    town = build_town(tmp_path)
    town.log.fails = when
    outcome = asyncio.run(town.ask("what's my balance?"))
    assert isinstance(outcome, Declined)
    assert (outcome.reason.code, len(town.log.entries)) == ("log_unavailable", standing)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 6, 7, 8, 31])
def test_a_true_promise_holds_at_every_size_of_the_tree(size: int, tmp_path: Path) -> None:
    town = build_town(tmp_path)
    for number in range(size):
        town.log.append(canonical({"k": "heartbeat", "v": 1, "b": 600 * number}))
    outcome = asyncio.run(town.ask("what's my balance?"))
    assert isinstance(outcome, Released)
    assert outcome.release.inclusion.index == size


@pytest.fixture
def true_release(tmp_path: Path) -> tuple[Release, TreeLog]:
    town = build_town(tmp_path)
    town.log.append(canonical({"k": "heartbeat", "v": 1, "b": 600}))
    outcome = asyncio.run(town.ask("what's my balance?"))
    assert isinstance(outcome, Released)
    return outcome.release, town.log


Tamper = Callable[[Release, TreeLog], dict[str, Any]]


def sealed(**changes: Any) -> Tamper:
    return lambda true, log: {"sealed": msgspec.structs.replace(true.sealed, **changes)}


def question(**changes: Any) -> Tamper:
    return lambda true, log: {"question": msgspec.structs.replace(true.question, **changes)}


def deep(structure: Any, path: str, value: Any) -> Any:
    """The same structure with one thing deep inside it changed, as `a.b.c`."""
    head, _, rest = path.partition(".")
    return msgspec.structs.replace(structure, **{head: deep(getattr(structure, head), rest, value) if rest else value})


def disclosure(path: str, value: Any) -> Tamper:
    return lambda true, log: {"sealed": deep(true.sealed, f"disclosure.{path}", value)}


def recorded(**changes: Any) -> Tamper:
    """The log holds, truly proven, an entry that says something else than what is to leave."""

    def tamper(true: Release, log: TreeLog) -> dict[str, Any]:
        entry = canonical({key: value for key, value in (json.loads(true.sealed.entry) | changes).items() if value is not None})
        return {"sealed": msgspec.structs.replace(true.sealed, entry=entry), "inclusion": log.promise(log.append(entry))}

    return tamper


def recorded_private(**changes: Any) -> Tamper:
    """The log holds a commitment to another private half, and the release carries that half."""

    def tamper(true: Release, log: TreeLog) -> dict[str, Any]:
        private = canonical(json.loads(true.sealed.private) | changes)
        entry = canonical(json.loads(true.sealed.entry) | {"c": commitment_text(true.sealed.salt, private)})
        return {"sealed": msgspec.structs.replace(true.sealed, entry=entry, private=private), "inclusion": log.promise(log.append(entry))}

    return tamper


def recorded_bytes(entry: bytes) -> Tamper:
    return lambda true, log: {"sealed": msgspec.structs.replace(true.sealed, entry=entry), "inclusion": log.promise(log.append(entry))}


RICHER = Answer("Your balances: Everyday Checking $9,999.99 available.", (), 2)
CARD_SAYS_MORE = (AnswerLine("Everyday Checking", "$9,999.99 available"),)
TAMPERED: dict[str, tuple[Tamper, str]] = {
    "entry changed after the record": (sealed(entry=b'{"k":"release"}'), "inclusion"),
    "salt": (sealed(salt=b"\0" * 32), "commitment"),
    "short salt": (sealed(salt=b"\0"), "commitment"),
    "private half": (sealed(private=b"{}"), "commitment"),
    "answer": (disclosure("answer", RICHER), "wrong_answer"),
    "answer's card": (disclosure("answer.lines", CARD_SAYS_MORE), "wrong_answer"),
    "grant": (disclosure("ruling.permission.grant.id", "another"), "wrong_grant"),
    "grant's version": (disclosure("ruling.permission.grant.version", 2), "wrong_grant"),
    "purpose": (disclosure("ruling.permission.request.purpose", Purpose.CUSTOMER_CARE), "wrong_ruling"),
    "projection": (disclosure("ruling.permission.request.projection", Projection.AFFORD_YESNO), "wrong_ruling"),
    "policy": (disclosure("ruling.policy_digest", "0" * 64), "wrong_ruling"),
    "request's channel": (disclosure("ruling.permission.request.channel", "messenger"), "wrong_channel"),
    "request's platform": (disclosure("ruling.permission.request.platform", "other-app"), "wrong_channel"),
    "question's channel": (question(channel="messenger"), "wrong_channel"),
    "question's platform": (question(platform="other-app"), "wrong_channel"),
    "index": (lambda true, log: {"inclusion": dataclasses.replace(true.inclusion, index=0)}, "inclusion"),
    "hashes": (lambda true, log: {"inclusion": dataclasses.replace(true.inclusion, hashes=())}, "path_length"),
    "checkpoint": (lambda true, log: {"inclusion": dataclasses.replace(true.inclusion, checkpoint=b"x")}, "checkpoint"),
    "no release but a refusal was recorded": (recorded(k="refusal"), "wrong_channel"),
    "recorded for another channel": (recorded(ch="messenger"), "wrong_channel"),
    "recorded for another platform": (recorded(p="other-app"), "wrong_channel"),
    "recorded under a forbidden purpose": (recorded(u="dpv:Advertising"), "wrong_ruling"),
    "recorded as something milder": (recorded(d="afford.yesno"), "wrong_ruling"),
    "recorded under another policy": (recorded(pol="1" * 64), "wrong_ruling"),
    "recorded without a commitment": (recorded(c=None), "commitment"),
    "recorded without a kind": (recorded(k=None), "wrong_channel"),
    "recorded digest of another answer": (recorded_private(answer_sha256="0" * 64), "wrong_answer"),
    "recorded under another grant": (recorded_private(grant="another"), "wrong_grant"),
    "recorded entry is not JSON": (recorded_bytes(b"\xff"), "entry_form"),
    "recorded entry is a list": (recorded_bytes(b"[]"), "entry_form"),
    "recorded entry is nested": (recorded_bytes(b"[" * 5000), "entry_form"),
}


@pytest.mark.parametrize(("tamper", "code"), TAMPERED.values(), ids=list(TAMPERED))
def test_a_release_with_one_thing_changed_cannot_be_built(tamper: Tamper, code: str, true_release: tuple[Release, TreeLog]) -> None:
    true, log = true_release
    with pytest.raises(ProofRejected) as caught:
        dataclasses.replace(true, **tamper(true, log))
    assert caught.value.code == code


def test_every_field_that_can_be_written_is_tampered_with_above(true_release: tuple[Release, TreeLog]) -> None:
    true, _ = true_release
    assert {each.name for each in dataclasses.fields(true)} == {"question", "sealed", "inclusion", "verifier"}
    assert set(true.sealed.__struct_fields__) == {"disclosure", "entry", "salt", "private", "side"}
    assert {each.name for each in dataclasses.fields(true.inclusion)} == {"index", "checkpoint", "hashes"}


def test_a_release_cannot_be_changed_or_derived_from(true_release: tuple[Release, TreeLog]) -> None:
    true, _ = true_release
    with pytest.raises(dataclasses.FrozenInstanceError):
        true.sealed = true.sealed  # type: ignore[misc]
    with pytest.raises(AttributeError):
        true.sealed.disclosure.answer.text = "more"  # type: ignore[misc]
    with pytest.raises(TypeError):
        type("Unproven", (Release,), {"__post_init__": lambda self: None})
    assert copy.copy(true).sealed is true.sealed


def test_a_release_prints_nothing_of_what_it_carries(true_release: tuple[Release, TreeLog]) -> None:
    true, _ = true_release
    assert not [word for word in ("2,143", "Checking", GRANT.id, "balance?", "conversation") if word in repr(true)]
    assert "5" not in repr(Money(555, "USD"))


def test_two_grants_racing_with_a_revocation_lose(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    assert isinstance(asyncio.run(town.ask("what's my balance?")), Released)
    del town.log.grants[GRANT.handle]
    outcome = asyncio.run(town.ask("what's my balance?", message_id="message-0002"))
    assert isinstance(outcome, Declined)
    assert outcome.reason.code == "grant_revoked"
    assert [each["k"] for each in town.log.read()] == ["release", "refusal"]
