"""Checking without trusting: a receipt, a whole log."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from parley.log.audit import AuditReport, audit
from parley.proof import ProofRejected, VerifiedReceipt, verify_receipt
from parley.proof.receipt import RECEIPT_BYTES_MAX

KEY_BYTES_MAX = 4096


def verify_file(file: Path, key: str, *, as_json: bool) -> int:
    """0 and one sentence when the receipt holds, 1 and one sentence when it does not or cannot be read."""
    try:
        receipt = verify_receipt(read_bounded(file, RECEIPT_BYTES_MAX), key_text(file, key))
    except ProofRejected as rejected:
        return verdict(False, f"This receipt does not hold: {rejected}", {"code": rejected.code}, as_json=as_json)
    except OSError as error:
        name = error.filename or file
        return verdict(False, f"Cannot read {name}: {error.strerror}.", {"code": "unreadable"}, as_json=as_json)
    except ValueError as error:
        return verdict(False, str(error), {"code": "key_unusable"}, as_json=as_json)
    return verdict(True, sentence(receipt), facts(receipt), as_json=as_json)


def key_text(file: Path, key: str) -> str:
    """The log's public key: as given, from the file that is given, or from log.vkey beside the receipt. Raises OSError."""
    if "+" in key and not Path(key).exists():
        return key.strip()
    path = Path(key) if key else file.parent / "log.vkey"
    try:
        return read_bounded(path, KEY_BYTES_MAX).decode("ascii").strip()
    except FileNotFoundError:
        if key:
            raise
        raise ValueError(f"No public key: put the log's log.vkey beside {file.name}, or name it with --key FILE.") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} does not hold a log's public key.") from None


def read_bounded(path: Path, bytes_max: int) -> bytes:
    with path.open("rb") as file:
        return file.read(bytes_max + 1)


def sentence(receipt: VerifiedReceipt) -> str:
    entry = receipt.entry
    bucket = entry.get("b")
    when = datetime.fromtimestamp(bucket, UTC).strftime("%Y-%m-%d %H:%M") if isinstance(bucket, int) else "an unknown time"
    return (
        f"This receipt holds: entry {receipt.index} of the log {receipt.checkpoint.origin} records a {entry.get('k')} of {entry.get('d')}"
        f" to {entry.get('p')} for {entry.get('u')}, within ten minutes from {when} UTC."
    )


def facts(receipt: VerifiedReceipt) -> dict[str, object]:
    checkpoint = receipt.checkpoint
    return {"index": receipt.index, "entry": receipt.entry, "private": receipt.private, "origin": checkpoint.origin, "size": checkpoint.size}


def verdict(holds: bool, words: str, more: dict[str, object], *, as_json: bool) -> int:
    if as_json:
        print(msgspec.json.encode({"holds": holds, "sentence": words, **more}).decode())
    else:
        print(words)
    return 0 if holds else 1


def audit_log(data: Path, *, as_json: bool) -> int:
    """0 when the log is sound and no release was for advertising."""
    columns = (TextColumn("Checking entries"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True, disable=as_json) as progress:
            task = progress.add_task("audit", total=None)
            report = audit(data, lambda done, total: progress.update(task, completed=done, total=total))
    except FileNotFoundError:
        print(f"parley log audit: there is no log in {data}. Name the gateway's data directory with --data DIR.", file=sys.stderr)
        return 1
    if as_json:
        print(msgspec.json.encode(report).decode())
    else:
        show_audit(report)
    return 0 if report.sound and report.advertising_releases == 0 else 1


def show_audit(report: AuditReport) -> None:
    console = Console()
    table = Table("What", "Which", "How many", title=f"Log {report.origin}: {report.size} entries")
    for title, counts in (
        ("Entries", report.kinds),
        ("Releases by purpose", report.releases_by_purpose),
        ("Releases by platform", report.releases_by_platform),
        ("Releases by what left", report.releases_by_projection),
        ("Refusals", report.refusals_by_code),
    ):
        for number, (name, count) in enumerate(sorted(counts.items())):
            table.add_row(title if number == 0 else "", name, f"{count:,}")
    console.print(table)
    for problem in report.problems:
        console.print(f"Problem: {problem}", style="bold red")
    sound = "Every entry is in the tree that the log signed." if report.sound else "The log is not sound."
    console.print(f"{sound} {report.heads:,} signed heads were recomputed.")
    console.print(
        f"{report.releases:,} releases; [bold]{report.advertising_releases}[/] carried an advertising purpose"
        f" ({report.advertising_refused} requests for one were refused)."
    )
    console.print(
        "This shows what left through the gateway, and for which stated purpose. It does not show what a platform did with an answer"
        " afterwards, nor that nothing left by another way.",
        style="dim",
    )
