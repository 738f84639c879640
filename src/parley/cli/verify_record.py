"""Checking a consent record without trusting whoever sent it: the gateway's signature, and the log's receipt inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from parley.authorization.consent_record import RECORD_BYTES_MAX, RecordRejected, verify_consent_record
from parley.cli.verify import key_text, read_bounded, verdict
from parley.proof import ProofRejected, verify_receipt

KEYS_FILE = "consent-records.jwks"


def looks_like_record(file: Path) -> bool:
    """A record is a JSON object; a receipt never begins with a brace. Raises OSError."""
    return read_bounded(file, 64).lstrip().startswith(b"{")


def verify_record_file(file: Path, key: str, keys: str, *, as_json: bool) -> int:
    """0 and one sentence when both the signature and the receipt inside hold, else 1. `keys`: the file with the published key set."""
    try:
        sent = read_bounded(file, RECORD_BYTES_MAX)
        record = verify_consent_record(sent, read_bounded(Path(keys) if keys else file.parent / KEYS_FILE, RECORD_BYTES_MAX))
        receipt = json.loads(sent).get("log_receipt")
        proved = verify_receipt(str(receipt), key_text(file, key)) if receipt is not None else None
        if proved is not None:
            check_same(record, proved.private, proved.index)
    except (RecordRejected, ProofRejected) as rejected:
        return verdict(False, f"This consent record does not hold: {rejected}", {"code": "record_rejected"}, as_json=as_json)
    except FileNotFoundError as error:
        words = f"Cannot read {error.filename}: put {KEYS_FILE} beside the record, or name it with --keys FILE."
        return verdict(False, words, {"code": "unreadable"}, as_json=as_json)
    except (OSError, ValueError) as error:
        return verdict(False, str(error), {"code": "unreadable"}, as_json=as_json)
    where = (
        f", recorded as entry {proved.index} of the log {proved.checkpoint.origin}" if proved is not None else "; it carries no receipt of the log"
    )
    grant = record["parley"]
    words = f"This consent record holds: version {grant['version']} of grant {grant['grant']}, {record['event']['event_state']}{where}."
    return verdict(True, words, {"record": record}, as_json=as_json)


def check_same(record: dict[str, Any], private: dict[str, Any], index: int) -> None:
    """The receipt is of this very version, with this text and this end. Raises RecordRejected."""
    ours = record.get("parley", {})
    purposes = record.get("pii_processing", {}).get("purposes", [{}])
    told = (ours.get("grant"), ours.get("version"), ours.get("log_index"), record.get("pii_processing", {}).get("privacy_notice"))
    proved = (private.get("grant"), private.get("grant_version"), index, f"sha256:{private.get('text_sha256')}")
    projections = sorted(str(each.get("pii_type")) for each in purposes[0].get("pii_information", []))
    if told != proved or projections != private.get("projections") or sorted(purposes[0].get("pii_sources", [])) != private.get("accounts"):
        raise RecordRejected("The log's receipt inside is of another grant or version.")
