"""What the log keeps of a disclosure or a refusal: a coarse public half, and a private half that only the customer's key ties to it.

Layout: docs/audit/receipt.md. The public half names no customer, grant, account or amount, and nothing in it links two entries of one
customer: the commitment is salted afresh for each.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

import msgspec

from parley.model.refusals import Basis
from parley.model.stages import Disclosure, Question, SealedEntry, answer_digest
from parley.policy import Policy
from parley.proof import canonical, commitment_text
from parley.release.ports import Vault

ENTRY_VERSION = 1
BUCKET_SECONDS = 600
NONCE_BYTES = 16
PRIVATE_CONTEXT = "log-private"
_encode = msgspec.json.Encoder(order="sorted").encode
"""The canonical form at a tenth of the cost: every value here is ASCII of our own making, for which both encoders write the same bytes."""


def seal_entry(disclosure: Disclosure, vault: Vault, nonce: bytes, now: datetime) -> SealedEntry:
    """The entry of a release, its private half, and the private half sealed under the customer's key. `nonce`: 16 fresh random bytes."""
    private = _encode(private_half(disclosure, now))
    salt = vault.salt(nonce)
    entry = _encode(public_half(disclosure, commitment_text(salt, private), now))
    return SealedEntry(disclosure, entry, salt, private, nonce + vault.seal(PRIVATE_CONTEXT, private))


def open_private(side: bytes, vault: Vault) -> tuple[bytes, bytes]:
    """(salt, private half) of a stored side, for a customer who wants her receipt again. Raises Fault when her key is gone."""
    nonce, sealed = side[:NONCE_BYTES], side[NONCE_BYTES:]
    return vault.salt(nonce), vault.open(PRIVATE_CONTEXT, sealed)


def public_half(disclosure: Disclosure, commitment: str, now: datetime) -> dict[str, str | int]:
    ruling = disclosure.ruling
    request = ruling.permission.request
    return {
        "b": bucket(now),
        "c": commitment,
        "ch": request.channel,
        "d": request.projection.value,
        "k": "release",
        "n": count_class(disclosure.answer.records),
        "p": request.platform,
        "pol": ruling.policy_digest,
        "u": request.purpose.dpv,
        "v": ENTRY_VERSION,
    }


def private_half(disclosure: Disclosure, now: datetime) -> dict[str, str | int | list[str]]:
    """What the customer can show with her receipt: under which grant, from which accounts, with which fields, and a digest of the very answer."""
    ruling = disclosure.ruling
    permission = ruling.permission
    return {
        "accounts": list(permission.accounts),
        "answer_sha256": answer_digest(disclosure.answer),
        "fields": sorted(ruling.fields),
        "grant": permission.grant.id,
        "grant_version": permission.grant.version,
        "interaction": disclosure.interaction_id,
        "offering": permission.request.offering,
        "rules": list(ruling.rules),
        "t_ms": int(now.timestamp() * 1000),
    }


def refusal_entry(question: Question, *, code: str, basis: Basis, policy_digest: str, rule: str | None, known_platform: bool, now: datetime) -> bytes:
    """A "no" without identity. A platform that the policy does not know is a stranger's word and is not repeated."""
    facts: dict[str, str | int] = {
        "b": bucket(now),
        "basis": basis.value,
        "ch": question.channel,
        "code": code,
        "k": "refusal",
        "p": question.platform if known_platform else "unknown",
        "pol": policy_digest,
        "v": ENTRY_VERSION,
    }
    if rule is not None:
        facts["rule"] = sha256(rule.encode()).hexdigest()[:16]
    return canonical(facts)


def bucket(now: datetime) -> int:
    """Unix seconds, rounded down to ten minutes, so that an entry's time does not single out a person."""
    seconds = int(now.astimezone(UTC).timestamp())
    return seconds - seconds % BUCKET_SECONDS


def count_class(records: int) -> int:
    """0: one record, 1: 2 to 10, 2: 11 to 50, 3: more."""
    return 0 if records <= 1 else 1 if records <= 10 else 2 if records <= 50 else 3


def policy_entry(policy: Policy, now: datetime) -> bytes:
    """A policy that is about to take effect: its digest, the size of its decision table, and the digests of text, table and proof.

    Whoever has the two files can load them and must arrive at the same four digests (docs/policy.md).
    """
    return canonical(
        {
            "b": bucket(now),
            "k": "policy",
            "pol": policy.digest,
            "proof": policy.proof.digest,
            "rows": len(policy.table),
            "table": policy.table_digest,
            "text": policy.text_digest,
            "v": ENTRY_VERSION,
        }
    )


def incident_entry(code: str, policy_digest: str, now: datetime) -> bytes:
    """Something that must not happen did, and stopped every release under this policy: a stable code, nothing of any customer."""
    return canonical({"b": bucket(now), "code": code, "k": "incident", "pol": policy_digest, "v": ENTRY_VERSION})


def grant_entry(kind: str, commitment: str, channel: str, platform: str, now: datetime) -> bytes:
    """A grant given (`grant`) or taken back (`revoke`): commitment only."""
    return canonical({"b": bucket(now), "c": commitment, "ch": channel, "k": kind, "p": platform, "v": ENTRY_VERSION})


def erasure_entry(now: datetime) -> bytes:
    """Somebody was erased: who, on which platform and under which grants, not even a commitment says."""
    return canonical({"b": bucket(now), "k": "erasure", "v": ENTRY_VERSION})


def build_entry(version: str, now: datetime) -> bytes:
    """Which release of the gateway runs from here on."""
    return canonical({"b": bucket(now), "build": version, "k": "build", "v": ENTRY_VERSION})


def staff_entry(kind: str, facts: dict[str, str], now: datetime) -> bytes:
    """What one of the bank's people did (`switch`, `staff`): `facts` of plain ASCII, nothing of any customer. Raises ValueError for another kind."""
    if kind not in ("switch", "staff"):
        raise ValueError("not an officer's kind of entry")
    return canonical({**facts, "b": bucket(now), "k": kind, "v": ENTRY_VERSION})


def private_json(private: bytes) -> dict[str, object]:
    return msgspec.json.decode(private, type=dict[str, object])
