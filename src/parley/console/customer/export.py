"""Her data to take away: everything as JSON, and the list of releases as a table that no spreadsheet runs as a program."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from parley.console.customer.views import title_words
from parley.model.customers import LedgerLine, SignIn, StoredPasskey
from parley.model.grants import Grant
from parley.model.ledger import LinkedAccount
from parley.model.plain_words import account_words

EXPORT_VERSION = 1
COLUMNS = ("number", "time_utc", "platform", "platform_name", "channel", "projection", "what", "purpose", "records", "grant", "version", "log_entry")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def export_json(
    *,
    bank: str,
    now: datetime,
    grants: Iterable[Sequence[Grant]],
    lines: Iterable[LedgerLine],
    accounts: Iterable[LinkedAccount],
    nicknames: Mapping[str, str],
    passkeys: Iterable[StoredPasskey],
    sign_ins: Iterable[SignIn],
    title: Callable[[str], str],
) -> bytes:
    """All that is kept of her that her page shows: machine-readable, times in UTC. Balances and transactions are kept nowhere, so none are here."""
    told = {
        "format": "parley-export",
        "version": EXPORT_VERSION,
        "bank": bank,
        "made_at": _utc(now),
        "accounts": [_account(account, nicknames) for account in accounts],
        "grants": [[_grant(version, title) for version in history] for history in grants],
        "releases": [_release(line, title) for line in lines],
        "passkeys": [{"name": each.name, "added_at": _utc(each.created_at), "used_at": _utc(each.used_at)} for each in passkeys],
        "sign_ins": [{"device": each.device, "method": each.method.value, "since": _utc(each.signed_in_at)} for each in sign_ins],
    }
    return msgspec.json.format(msgspec.json.encode(told), indent=2)


def export_csv(lines: Iterable[LedgerLine], title: Callable[[str], str]) -> bytes:
    """RFC 4180 with a header, UTF-8. A cell that a spreadsheet would take for a formula begins with an apostrophe."""
    table = io.StringIO()
    writer = csv.writer(table, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for line in lines:
        facts = _release(line, title)
        writer.writerow([harmless(str(facts[column])) for column in COLUMNS])
    return table.getvalue().encode()


def harmless(cell: str) -> str:
    """Spreadsheets run a cell that begins with one of these signs (OWASP, CSV injection), also behind blanks; platforms name themselves."""
    return f"'{cell}" if cell.lstrip(" \u00a0\ufeff").startswith(_FORMULA) else cell


def _account(account: LinkedAccount, nicknames: Mapping[str, str]) -> dict[str, str]:
    name, note = account_words(account)
    return {"ref": account.ref, "name": name, "kind_and_ending": note, "currency": account.currency, "nickname": nicknames.get(account.ref, "")}


def _grant(grant: Grant, title: Callable[[str], str]) -> dict[str, object]:
    return {
        "grant": grant.id,
        "version": grant.version,
        "state": grant.state.value,
        "platform": grant.platform,
        "platform_name": title_words(title(grant.platform), grant.platform),
        "channel": grant.channel,
        "purpose": grant.purpose.value,
        "purpose_dpv": grant.purpose.dpv,
        "projections": sorted(each.value for each in grant.projections),
        "accounts": list(grant.accounts),
        "delivery": grant.delivery.value,
        "lookback_days": grant.lookback_days,
        "provenance": grant.provenance.value,
        "answers_per_day": grant.budget.answers_per_day,
        "rows_per_day": grant.budget.rows_per_day,
        "given_at": _utc(grant.created_at),
        "ends_at": _utc(grant.expires_at),
        "text_sha256": grant.text_hash,
        "policy": grant.policy_digest,
        "log_entry": grant.log_index,
    }


def _release(line: LedgerLine, title: Callable[[str], str]) -> dict[str, object]:
    told = line.disclosed
    return {
        "number": line.number,
        "time_utc": _utc(told.at),
        "platform": told.platform,
        "platform_name": title_words(title(told.platform), told.platform),
        "channel": told.channel,
        "projection": told.projection.value,
        "what": told.projection.plain_words,
        "purpose": told.purpose.value,
        "records": told.records,
        "grant": told.grant_id,
        "version": told.grant_version,
        "log_entry": told.log_index,
    }


def _utc(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
