"""What somebody might do to a receipt, a checkpoint or a key, and the check that must stop it."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.log.key import LogKey, signed_note
from parley.log.tree import Tree
from parley.proof import (
    Inclusion,
    ProofRejected,
    Verifier,
    canonical,
    commitment_text,
    format_receipt,
    leaf_hash,
    parse_receipt,
    verify_receipt,
)
from parley.proof.note import key_id, read_vkey

KEY = LogKey("bank.example/log", bytes(range(32)))
STRANGER = LogKey("bank.example/log", bytes(32))
SALT = bytes(range(32, 64))
PRIVATE = canonical({"account": "a1", "fields": ["balance"], "t_ms": 1795377600123})


def entry(**changed: str | int) -> bytes:
    fields = {"b": 1795377600, "c": commitment_text(SALT, PRIVATE), "ch": "web", "d": "balance.available", "k": "release"}
    more = {"n": 0, "p": "web.example", "pol": "digest", "u": "dpv:RequestedServiceProvision", "v": 1}
    return canonical({**fields, **more, **changed})


def no_tile(level: int, number: int) -> bytes:
    raise AssertionError((level, number))


def logged(subject: bytes, size: int = 21, index: int = 13, key: LogKey = KEY, named: str | None = None) -> Inclusion:
    tree = Tree(no_tile)
    tree.append([leaf_hash(subject if place == index else b"%d" % place) for place in range(size)])
    crown = tree.crown()
    path = tree.path(index, crown)
    signature = key.sign(crown.size, crown.root)
    return Inclusion(index, key.note(crown.size, crown.root, signature), tuple(path[at : at + 32] for at in range(0, len(path), 32)))


def receipt(subject: bytes | None = None, private: bytes = PRIVATE) -> str:
    subject = subject or entry()
    return format_receipt(subject, SALT, private, logged(subject))


def refused(text: str | bytes, vkey: str = KEY.vkey) -> str:
    with pytest.raises(ProofRejected) as rejected:
        verify_receipt(text, vkey)
    assert str(rejected.value).endswith(".")
    return rejected.value.code


def test_an_honest_receipt_shows_what_left() -> None:
    verified = verify_receipt(receipt(), KEY.vkey)
    assert verified.entry["u"] == "dpv:RequestedServiceProvision"
    assert verified.private == {"account": "a1", "fields": ["balance"], "t_ms": 1795377600123}
    assert (verified.index, verified.checkpoint.size, verified.checkpoint.origin) == (13, 21, "bank.example/log")


def test_every_flipped_bit_of_a_receipt_is_refused() -> None:
    honest = receipt().encode()
    for place in range(len(honest)):
        for bit in range(8):
            forged = bytearray(honest)
            forged[place] ^= 1 << bit
            refused(bytes(forged))


def test_every_shortened_or_doubled_receipt_is_refused() -> None:
    honest = receipt().encode()
    for end in range(len(honest)):
        refused(honest[:end])
    lines = receipt().split("\n")
    for place in range(len(lines)):
        refused("\n".join([*lines[:place], *lines[place + 1 :]]))
        refused("\n".join([*lines[: place + 1], *lines[place:]]))


def test_a_receipt_of_a_million_entries_stays_under_two_kilobytes() -> None:
    inclusion = logged(entry())
    inclusion = Inclusion(999_999, inclusion.checkpoint, inclusion.hashes + (bytes(range(32)),) * (20 - len(inclusion.hashes)))
    assert len(format_receipt(entry(), SALT, PRIVATE, inclusion).encode()) <= 2048


def test_another_banks_key_is_refused() -> None:
    assert refused(receipt(), STRANGER.vkey) == "signature"
    assert refused(receipt(), LogKey("other.example/log", bytes(range(32))).vkey) == "signature"


def test_a_forked_checkpoint_signed_by_the_same_key_does_not_hold_the_entry() -> None:
    other = logged(entry(n=1))
    honest = logged(entry())
    forged = Inclusion(honest.index, other.checkpoint, honest.hashes)
    assert refused(format_receipt(entry(), SALT, PRIVATE, forged)) == "inclusion"


def test_a_checkpoint_that_names_another_log_is_refused() -> None:
    name, identifier, _ = read_vkey(KEY.vkey)
    other = LogKey("other.example/log", bytes(range(32)))
    checkpoint = logged(entry(), key=other).checkpoint
    signature = other.sign(21, Verifier(other.vkey).verify_checkpoint(checkpoint).root)
    text = checkpoint[: checkpoint.rindex(b"\n\n") + 1]
    forged = text + f"\n— {name} {b64encode(identifier + signature).decode()}\n".encode()
    with pytest.raises(ProofRejected) as rejected:
        Verifier(KEY.vkey).verify_checkpoint(forged)
    assert rejected.value.code == "origin"


def test_an_index_that_is_not_the_entrys_is_refused() -> None:
    text = receipt()
    assert refused(text.replace("index 13", "index 12")) == "inclusion"
    assert refused(text.replace("index 13", "index 21")) == "index_outside"
    for spelling in ["013", "+13", "-1", "13 ", "0x0d", "١٣", "", "9" * 4000]:
        assert refused(text.replace("index 13", f"index {spelling}")) == "receipt_form"


def test_a_private_half_that_was_not_committed_to_is_refused() -> None:
    other = canonical({"account": "a2", "fields": ["balance"], "t_ms": 1795377600123})
    assert refused(receipt(private=other)) == "commitment"
    assert refused(format_receipt(entry(), bytes(32), PRIVATE, logged(entry()))) == "commitment"


def test_an_entry_without_a_commitment_gives_no_receipt() -> None:
    bare = canonical({"b": 1795377600, "k": "heartbeat", "v": 1})
    assert refused(receipt(bare)) == "commitment"


@pytest.mark.parametrize(
    "odd",
    [
        b'{"c":"x","k":"release","k":"refusal"}',
        b'{"k":"release", "v":1}',
        b'{"v":1,"k":"release"}',
        b'{"n":1.0}',
        b'{"n":1e3}',
        b'{"n":NaN}',
        b'{"n":9007199254740992}',
        b'{"n":true}',
        b'{"n":null}',
        b'{"n":[1]}',
        b'{"n":{"m":1}}',
        b'{"n":"\\u0041"}',
        b'{"n":"a\\nb"}',
        '{"n":"é"}'.encode(),
        b'{"n":"\x7f"}',
        b"[1]",
        b'"release"',
        b"{}x",
        b"\xff",
        b'{"n":' + b"[" * 400,
    ],
)
def test_an_entry_with_two_readings_is_refused_even_when_logged(odd: bytes) -> None:
    assert refused(receipt(odd)) == "entry_form"


def test_an_oversized_entry_is_refused_even_when_logged() -> None:
    assert refused(receipt(entry(p="x" * 500))) == "entry_size"


@pytest.mark.parametrize("odd", [b'{"a":1,"a":2}', b'{"a": 1}', b'{"a":1.5}', b"[]", b"\xff", b'{"a":' + b"[" * 3000, b'{"a":"\\ud800"}'])
def test_a_private_half_with_two_readings_is_refused_even_when_committed(odd: bytes) -> None:
    assert refused(receipt(entry(c=commitment_text(SALT, odd)), odd)) == "private_form"


def test_more_than_the_limits_is_refused_before_anything_is_computed() -> None:
    assert refused("x" * (16 * 1024 + 1)) == "receipt_size"
    head, _, note = receipt().partition("\n\n")
    lines = head.split("\n")
    assert refused("\n".join(lines + lines[3:4] * 65) + "\n\n" + note) == "hashes"
    assert refused("\ud800") == "receipt_form"
    assert refused(b"\xff\xfe") == "receipt_form"


def test_a_witness_line_beside_the_logs_is_passed_over_and_a_second_one_of_the_log_is_not() -> None:
    line = "— witness.example " + b64encode(bytes(76)).decode() + "\n"
    assert verify_receipt(receipt() + line, KEY.vkey).index == 13
    own = receipt().splitlines()[-1] + "\n"
    assert refused(receipt() + own) == "signature"
    assert refused(receipt() + line * 16) == "checkpoint"


@pytest.mark.parametrize(
    "text",
    [
        b"bank.example/log\n21\n",
        b"bank.example/log\n21\n%s\nextension\n",
        b"bank.example/log\n021\n%s\n",
        b"bank.example/log\n-1\n%s\n",
        b"bank.example/log\n21\n%s=\n",
        b"\n21\n%s\n",
    ],
)
def test_a_signed_text_that_is_not_a_checkpoint_is_refused(text: bytes) -> None:
    text = text.replace(b"%s", b64encode(bytes(32)))
    private = KEY._private
    name, identifier, _ = read_vkey(KEY.vkey)
    forged = text + f"\n— {name} {b64encode(identifier + private.sign(text)).decode()}\n".encode()
    with pytest.raises(ProofRejected) as rejected:
        Verifier(KEY.vkey).verify_checkpoint(forged)
    assert rejected.value.code == "checkpoint"


@pytest.mark.parametrize("vkey", ["", "a", "a+b", "a+b+c", "+12345678+AQ==", KEY.vkey[:-4], KEY.vkey.replace("bank", "rank"), KEY.vkey + "A"])
def test_a_damaged_key_text_is_refused(vkey: str) -> None:
    with pytest.raises(ProofRejected) as rejected:
        Verifier(vkey)
    assert rejected.value.code == "vkey"


def test_a_forged_note_is_never_taken_for_one_that_was_checked_before() -> None:
    verifier = Verifier(KEY.vkey)
    honest = logged(entry())
    verifier.verify_inclusion(entry(), honest)
    forged = bytearray(honest.checkpoint)
    forged[-5] ^= 1
    for _ in range(2):
        with pytest.raises(ProofRejected):
            verifier.verify_inclusion(entry(), Inclusion(honest.index, bytes(forged), honest.hashes))
    for size in range(14, 64):
        verifier.verify_inclusion(entry(), logged(entry(), size=size))
    assert verifier.verify_inclusion(entry(), honest).size == 21


def test_neither_receipt_nor_its_reading_prints_the_private_half() -> None:
    shown = repr(parse_receipt(receipt())) + repr(verify_receipt(receipt(), KEY.vkey))
    assert "'a1'" not in shown and "balance" not in shown and SALT.hex() not in shown


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600))
def test_any_bytes_at_all_end_in_a_plain_refusal(data: bytes) -> None:
    refused(data)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200), st.text(max_size=100), st.text(max_size=100))
def test_any_text_in_the_shape_of_a_receipt_ends_in_a_plain_refusal(first: str, second: str, third: str) -> None:
    refused(f"c2sp.org/tlog-proof@v1\nextra {first}\nindex {second}\n\n{third}")


def test_the_key_id_depends_on_the_name() -> None:
    public = read_vkey(KEY.vkey)[2].public_bytes_raw()
    assert key_id("bank.example/log", public) != key_id("bank.example/logs", public)
    assert signed_note("a", b"1234", 0, bytes(32), bytes(64)).startswith(b"a\n0\n")
