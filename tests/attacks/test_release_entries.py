"""What the log may show to everyone: small, coarse, and without anything that leads to a person."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.log.entries import check_entry
from parley.model.refusals import BAD_INPUT, Basis, Fault, Refusal
from parley.model.stages import Answer, Disclosure, Permission, Question, Request, Ruling, Slots
from parley.model.words import Delivery, Projection, Purpose
from parley.proof import commitment_text, is_forbidden, read_entry
from parley.proof.entry import ENTRY_BYTES_MAX
from parley.release.entries import (
    bucket,
    build_entry,
    count_class,
    grant_entry,
    incident_entry,
    open_private,
    policy_entry,
    refusal_entry,
    seal_entry,
)
from parley.release.pipeline import Released
from tests.fakes.road import GRANT, NOW, PRIVATE_WORDS, KeyVault, build_town, policy_from

LONGEST = "a" * 64
QUESTION = Question(LONGEST, LONGEST, "conversation", "message", "what's my balance?", NOW)


def disclosure(purpose: Purpose, projection: Projection, records: int) -> Disclosure:
    request = Request("c", LONGEST, LONGEST, "balance", purpose, projection, (), 0, 0, Slots(), NOW)
    ruling = Ruling(Permission(GRANT, request, ("ref-checking",)), "f" * 64, ("rule",), projection.fields, Delivery.INLINE, 100)
    return Disclosure(ruling, Answer("x", (), records), "interaction", NOW)


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize("projection", Projection)
def test_the_longest_release_entry_fits_and_the_notary_takes_it(purpose: Purpose, projection: Projection) -> None:
    sealed = seal_entry(disclosure(purpose, projection, 10**6), KeyVault(), b"n" * 16, datetime(9000, 1, 1, tzinfo=UTC))
    assert len(sealed.entry) <= ENTRY_BYTES_MAX
    assert check_entry(sealed.entry)[0] == "release"
    assert read_entry(sealed.entry)["u"] == purpose.dpv


def every_refusal(kind: type[Refusal] = Refusal) -> list[type[Refusal]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in every_refusal(sub))]


def test_the_longest_refusal_entry_fits_and_the_notary_takes_it() -> None:
    codes = {each.code for each in every_refusal()} | set(BAD_INPUT)
    for code in codes:
        for basis in Basis:
            entry = refusal_entry(QUESTION, code=code, basis=basis, policy_digest="f" * 64, rule="r" * 64, known_platform=True, now=NOW)
            assert len(entry) <= ENTRY_BYTES_MAX
            assert check_entry(entry)[0] == "refusal"


def test_other_entries_of_the_house_fit_and_the_notary_takes_them(tmp_path: Path) -> None:
    policy = policy_from(tmp_path)
    announced = policy_entry(policy, NOW)
    assert check_entry(announced)[0] == "policy"
    assert {json.loads(announced)[name] for name in ("pol", "text", "table", "proof")} == {
        policy.digest,
        policy.text_digest,
        policy.table_digest,
        policy.proof.digest,
    }
    assert check_entry(incident_entry("policy_disputed", policy.digest, NOW))[0] == "incident"
    assert check_entry(build_entry("0.1.0", NOW))[0] == "build"
    for kind in ("grant", "revoke"):
        assert check_entry(grant_entry(kind, "c" * 44, LONGEST, LONGEST, NOW), kind)[0] == kind


def test_a_platform_that_nobody_knows_is_not_repeated() -> None:
    stranger = Question("web", "dpv:Advertising Inc <b>", "c", "m", "t", NOW)
    entry = refusal_entry(stranger, code="platform_unknown", basis=Basis.BANK_POLICY, policy_digest="f", rule=None, known_platform=False, now=NOW)
    assert json.loads(entry)["p"] == "unknown"


def test_two_entries_of_one_customer_share_nothing_but_public_words(tmp_path: Path) -> None:
    """The same question, twice in a row and from a stranger: only the commitment differs, and it differs each time."""
    town = build_town(tmp_path)
    for number in (1, 2):
        assert isinstance(asyncio.run(town.ask("what's my balance?", message_id=f"message-{number}")), Released)
    stranger = build_town(tmp_path, seed=8)
    stranger.change_case(vault=KeyVault(b"z" * 32))
    assert isinstance(asyncio.run(stranger.ask("what's my balance?")), Released)
    entries = [*town.log.read(), *stranger.log.read()]
    commitments = [entry.pop("c") for entry in entries]
    assert len(set(commitments)) == 3
    assert entries[0] == entries[1] == entries[2]
    assert set(entries[0]) == {"b", "ch", "d", "k", "n", "p", "pol", "u", "v"}
    assert len({side[:16] for side in town.log.sides}) == 2


def test_no_entry_holds_a_name_a_figure_or_an_id(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    for number, text in enumerate(["what's my balance?", "show my last 3 transactions", "can I afford 42.17?"]):
        assert isinstance(asyncio.run(town.ask(text, message_id=f"message-{number}")), Released)
    for text in town.public_texts():
        assert not [word for word in PRIVATE_WORDS if word in text]
    for side in town.log.sides:
        assert not [word for word in PRIVATE_WORDS if word.encode() in side]


def test_the_private_half_opens_only_under_the_customers_key(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    outcome = asyncio.run(town.ask("what's my balance?"))
    (side,) = town.log.sides
    salt, private = open_private(side, KeyVault())
    assert commitment_text(salt, private) == town.log.read()[0]["c"]
    half = json.loads(private)
    assert half["answer_sha256"] == sha256(outcome.release.answer.text.encode()).hexdigest()
    assert (half["grant"], half["grant_version"], half["accounts"]) == (GRANT.id, 1, ["ref-checking", "ref-savings"])
    with pytest.raises(Fault):
        open_private(side, KeyVault(b"e" * 32))


def test_the_commitment_cannot_be_guessed_without_the_salt(tmp_path: Path) -> None:
    """Who knows the whole private half still cannot show that an entry is this customer's."""
    town = build_town(tmp_path)
    outcome = asyncio.run(town.ask("what's my balance?"))
    private = outcome.release.sealed.private
    for guess in (b"\0" * 32, sha256(private).digest(), sha256(b"").digest()):
        assert commitment_text(guess, private) != town.log.read()[0]["c"]


@pytest.mark.parametrize(("records", "expected"), [(0, 0), (1, 0), (2, 1), (10, 1), (11, 2), (50, 2), (51, 3), (100, 3)])
def test_counts_are_told_in_four_classes(records: int, expected: int) -> None:
    assert count_class(records) == expected


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 7 * 10**9), st.integers(0, 999_999))
def test_a_time_is_told_in_ten_minutes(seconds: int, microseconds: int) -> None:
    now = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
    start = datetime.fromtimestamp(bucket(now), UTC)
    assert start <= now < start + timedelta(minutes=10)
    assert bucket(now) % 600 == 0


def test_no_entry_that_the_road_can_write_names_a_forbidden_purpose() -> None:
    for purpose in Purpose:
        for projection in Projection:
            entry = seal_entry(disclosure(purpose, projection, 1), KeyVault(), b"n" * 16, NOW).entry
            assert not is_forbidden(json.loads(entry)["u"])
