"""A consent record is worth its signature: whoever changes a word of it, or signs with another key, has a record that does not hold."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parley.authorization.client_key import BadKeyFile
from parley.authorization.consent_record import RecordKey, RecordParties, RecordRejected, signed_record, verify_consent_record
from parley.model.grants import GrantState
from parley.proof import Inclusion, canonical, format_receipt
from tests.fixtures_postgres import RecordsBench

BENCH = RecordsBench("", Path())
PARTIES = RecordParties("Brook Bank", "privacy@brook.example", "https://chat.bank.example", "log.example/demo")


@pytest.fixture
def key(tmp_path: Path) -> RecordKey:
    return RecordKey.load_or_create(tmp_path / "keys" / "consent-record.pem")


def record(key: RecordKey, **changes: Any) -> bytes:
    grant = msgspec.structs.replace(BENCH.grant("c" * 32), **changes)
    return signed_record(grant, "Brook chat", PARTIES, key, None, BENCH.now)


def published(key: RecordKey) -> bytes:
    return json.dumps(key.jwks()).encode()


def test_a_record_has_every_section_of_the_standard_and_holds(key: RecordKey) -> None:
    told = verify_consent_record(record(key), published(key))
    assert {"schema_version", "record_id", "pii_principal_id", "pii_processing", "parties", "event"} <= told.keys()
    (purpose,) = told["pii_processing"]["purposes"]
    assert {
        "purpose",
        "lawful_basis",
        "pii_information",
        "pii_controllers",
        "recipient_third_parties",
        "retention_period",
        "withdrawal_method",
    } <= purpose.keys()
    assert [each["party_role"] for each in told["parties"]] == ["pii_controller", "recipient"]
    assert told["event"] == {
        "event_time": told["event"]["event_time"],
        "validity_duration": "P90D",
        "valid_until": told["event"]["valid_until"],
        "event_type": "explicit",
        "event_state": "consent given",
        "entity_id": "c" * 32,
    }
    assert told["event"]["event_time"].startswith("2026-11-22T12:00:")
    assert told["parley"]["log_index"] == 7


@pytest.mark.parametrize(
    ("state", "said"), [(GrantState.REVOKED, "consent withdrawn"), (GrantState.EXPIRED, "consent expired"), (GrantState.PAUSED, "consent given")]
)
def test_a_record_says_what_became_of_the_consent(key: RecordKey, state: GrantState, said: str) -> None:
    assert verify_consent_record(record(key, state=state), published(key))["event"]["event_state"] == said


@pytest.mark.parametrize("state", [GrantState.REVOKED, GrantState.EXPIRED, GrantState.PAUSED])
def test_an_end_has_the_time_of_the_end_and_never_that_of_the_giving(key: RecordKey, state: GrantState) -> None:
    """The signature stands under the time, too. As long as the log does not tell it, the record says none."""
    ended = msgspec.structs.replace(BENCH.grant("c" * 32), state=state, version=2)
    stopped = BENCH.now + timedelta(days=3, hours=4)

    def told(receipt: str | None) -> dict[str, Any]:
        return verify_consent_record(signed_record(ended, "Brook chat", PARTIES, key, receipt, BENCH.now), published(key))["event"]

    def receipt(version: int) -> str:
        private = canonical({"grant": ended.id, "grant_version": version, "t_ms": int(stopped.timestamp() * 1000)})
        return format_receipt(canonical({"k": "revoke"}), bytes(32), private, Inclusion(7, b"log.example/demo\n8\nAAAA\n", ()))

    assert told(receipt(2))["event_time"] == "2026-11-25T16:00:00Z"
    assert "event_time" not in told(None)
    assert "event_time" not in told(receipt(1)), "another version's entry"


def test_no_record_promises_longer_than_the_law_allows(key: RecordKey) -> None:
    told = verify_consent_record(record(key, expires_at=BENCH.now + timedelta(days=4000)), published(key))
    assert told["event"]["validity_duration"] == "P365D"


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told["record"].update(record_id="another"),
        lambda told: told["record"]["pii_processing"]["purposes"][0].update(purpose="dpv:Marketing"),
        lambda told: told["record"]["event"].update(valid_until="2099-01-01T00:00:00Z"),
        lambda told: told["record"].update(added="field"),
        lambda told: told["signature"].update(signature=told["signature"]["signature"][:-4] + "AAAA"),
        lambda told: told["signature"].update(protected="eyJhbGciOiJub25lIn0"),
        lambda told: told["signature"].update(kid="another"),
        lambda told: told["signature"].pop("signature"),
        lambda told: told.pop("signature"),
        lambda told: told.update(record=[]),
    ],
)
def test_a_changed_record_does_not_hold(key: RecordKey, change: Any) -> None:
    told = json.loads(record(key))
    change(told)
    with pytest.raises(RecordRejected):
        verify_consent_record(json.dumps(told).encode(), published(key))


def test_somebody_elses_key_signs_nothing_of_ours(key: RecordKey, tmp_path: Path) -> None:
    other = RecordKey.load_or_create(tmp_path / "other" / "key.pem")
    with pytest.raises(RecordRejected):
        verify_consent_record(record(other), published(key))
    told = json.loads(record(other))
    told["signature"]["kid"] = key.thumbprint
    with pytest.raises(RecordRejected):
        verify_consent_record(json.dumps(told).encode(), published(key))


@pytest.mark.parametrize("sent", [b"", b"[]", b"null", b"[" * 60_000, b"{" * 9000, b'{"record":{},"signature":{}}', b"x" * 70_000, b"\xff"])
def test_nonsense_is_no_record(key: RecordKey, sent: bytes) -> None:
    for told, keys in ((sent, published(key)), (record(key), sent)):
        with pytest.raises(RecordRejected):
            verify_consent_record(told, keys)


def test_the_key_stays_the_same_and_is_readable_by_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "consent-record.pem"
    first = RecordKey.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert RecordKey.load_or_create(path).thumbprint == first.thumbprint
    assert "d" not in first.jwks()["keys"][0]
    assert repr(first) == "RecordKey(***)"
    path.chmod(0o644)
    with pytest.raises(BadKeyFile):
        RecordKey.load_or_create(path)
    path.chmod(0o600)
    path.write_bytes(b"nonsense")
    with pytest.raises(BadKeyFile):
        RecordKey.load_or_create(path)
