"""The notary's quick check of an entry and the auditor's slow one must never disagree: between them an entry could have two readings."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parley.log.entries import KINDS, check_entry, heartbeat
from parley.log.errors import LogRefused
from parley.proof import FORBIDDEN_PURPOSES, ProofRejected, canonical, is_forbidden, read_entry

PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
ODD = st.text(max_size=6)
NUMBERS = st.integers(-(2**54), 2**54)
OBJECTS = st.dictionaries(PLAIN | ODD, PLAIN | ODD | NUMBERS | st.booleans() | st.none() | st.floats() | st.lists(NUMBERS, max_size=2), max_size=5)
SPELLINGS = st.sampled_from([{"separators": (",", ":")}, {"separators": (",", ": ")}, {"separators": (",", ":"), "ensure_ascii": False}])


def notary_takes(entry: bytes) -> bool:
    """Whether the form is accepted; the fields that every entry needs are supplied beforehand."""
    try:
        check_entry(entry)
    except LogRefused as no:
        return no.code not in {"entry_not_canonical", "entry_too_large"}
    return True


def auditor_takes(entry: bytes) -> bool:
    try:
        read_entry(entry)
    except ProofRejected:
        return False
    return True


@settings(max_examples=400, deadline=None)
@given(OBJECTS, SPELLINGS, st.booleans())
def test_both_checks_agree_on_every_object_in_every_spelling(value: dict[str, object], spelling: dict[str, object], in_order: bool) -> None:
    try:
        entry = json.dumps(value, sort_keys=in_order, **spelling).encode()  # type: ignore[arg-type]
    except UnicodeEncodeError:
        return
    assert notary_takes(entry) == auditor_takes(entry)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(PLAIN, PLAIN | NUMBERS, max_size=4), st.integers(0, 200), st.integers(0, 255))
@example({"a": -0}, 0, 0)
@example({"a": "\x7f"}, 0, 0)
def test_both_checks_agree_on_every_damaged_entry(value: dict[str, str | int], place: int, byte: int) -> None:
    entry = bytearray(canonical(value))
    entry[place % len(entry)] = byte
    assert notary_takes(bytes(entry)) == auditor_takes(bytes(entry))


@pytest.mark.parametrize(
    "text", [b'{"a":-0}', b'{"a":1e2}', b'{"a":00}', b'{"a":9007199254740991}', b'{"a":-9007199254740992}', b"{}", b" {}", b'{"a":1,"a":1}']
)
def test_both_checks_agree_on_numbers_and_doubled_keys(text: bytes) -> None:
    assert notary_takes(text) == auditor_takes(text)


@pytest.mark.parametrize("purpose", sorted(FORBIDDEN_PURPOSES))
def test_no_forbidden_purpose_passes_under_any_prefix(purpose: str) -> None:
    for spelled in [purpose, f"dpv:{purpose}", f"DPV:{purpose.upper()}", f"https://w3id.org/dpv#{purpose}", f"x/{purpose.lower()} "]:
        entry = canonical({"b": 0, "c": "A" * 44, "k": "release", "u": spelled, "v": 1})
        with pytest.raises(LogRefused) as refused:
            check_entry(entry)
        assert refused.value.code == "purpose_forbidden" and is_forbidden(spelled)


def test_what_a_gateway_asks_for_honestly_is_not_forbidden() -> None:
    for purpose in ["dpv:RequestedServiceProvision", "dpv:FraudPreventionAndDetection", "dpv:PaymentManagement", "dpv:CustomerCare"]:
        assert not is_forbidden(purpose)


def test_the_list_of_kinds_is_closed() -> None:
    kinds = "release refusal policy grant revoke erasure manifest canary incident heartbeat key build aggregate grantmap switch staff"
    assert set(kinds.split()) == KINDS
    assert check_entry(heartbeat(600), "heartbeat") == ("heartbeat", 600)
