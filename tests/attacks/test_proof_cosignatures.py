"""A witness's cosignature on a checkpoint holds for that witness, that checkpoint and that moment, and for nothing else."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from parley.proof import ProofRejected, Verifier, format_vkey, verify_cosignature

LOG, WITNESS = Ed25519PrivateKey.from_private_bytes(b"l" * 32), Ed25519PrivateKey.from_private_bytes(b"w" * 32)
TEXT = b"bank.example/log\n5\n" + b64encode(b"r" * 32) + b"\n"
MOMENT = 1_795_377_600


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def witness_key(name: str = "witness.example", key: Ed25519PrivateKey = WITNESS) -> tuple[str, bytes]:
    """The witness's vkey and its key id (c2sp.org/tlog-cosignature)."""
    identifier = sha256(name.encode() + b"\n\x04" + public(key)).digest()[:4]
    return f"{name}+{identifier.hex()}+{b64encode(bytes([4]) + public(key)).decode()}", identifier


def line(name: str, identifier: bytes, signature: bytes) -> bytes:
    return "— ".encode() + name.encode() + b" " + b64encode(identifier + signature) + b"\n"


def cosigned(
    text: bytes = TEXT, moment: int = MOMENT, stated: int = MOMENT, key: Ed25519PrivateKey = WITNESS, prefix: bytes = b"cosignature/v1"
) -> bytes:
    _, identifier = witness_key()
    signature = stated.to_bytes(8, "big") + key.sign(prefix + b"\ntime %d\n" % moment + text)
    own = bytes.fromhex(format_vkey("bank.example/log", public(LOG)).split("+")[1])
    return TEXT + b"\n" + line("bank.example/log", own, LOG.sign(TEXT)) + line("witness.example", identifier, signature)


def test_it_tells_when_the_witness_saw_the_head_and_the_logs_own_signature_holds_beside_it() -> None:
    assert verify_cosignature(cosigned(), witness_key()[0]) == MOMENT
    assert Verifier(format_vkey("bank.example/log", public(LOG))).verify_checkpoint(cosigned()).size == 5


@pytest.mark.parametrize(
    ("note", "code"),
    [
        (cosigned(text=TEXT.replace(b"5", b"6")), "cosignature"),
        (cosigned(stated=MOMENT + 1), "cosignature"),
        (cosigned(key=LOG), "cosignature"),
        (cosigned(prefix=b"cosignature/v2"), "cosignature"),
        (cosigned(prefix=b""), "cosignature"),
        (TEXT + b"\n" + line("witness.example", witness_key()[1], WITNESS.sign(TEXT)), "cosignature"),
        (TEXT + b"\n" + line("witness.example", witness_key()[1], b"short"), "cosignature"),
        (TEXT + b"\n" + line("other.example", witness_key()[1], b"x" * 72), "signature"),
        (cosigned() + cosigned()[len(TEXT) + 1 :], "signature"),
    ],
    ids=[
        "another head",
        "another moment",
        "another key",
        "another version",
        "no prefix",
        "a plain signature",
        "too short",
        "another witness",
        "twice",
    ],
)
def test_what_is_not_this_witness_on_this_head_is_refused(note: bytes, code: str) -> None:
    with pytest.raises(ProofRejected) as refused:
        verify_cosignature(note, witness_key()[0])
    assert refused.value.code == code


def test_a_logs_key_is_no_witnesss_key_and_the_other_way_round() -> None:
    with pytest.raises(ProofRejected):
        verify_cosignature(cosigned(), format_vkey("bank.example/log", public(LOG)))
    with pytest.raises(ProofRejected):
        Verifier(witness_key()[0])
