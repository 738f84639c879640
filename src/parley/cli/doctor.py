"""Says what is wrong with an installation, and how to mend it. Reads and asks; changes nothing."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
from rich.console import Console
from rich.table import Table

from parley.app.frame import policy_file
from parley.log.client import NotaryClient
from parley.log.errors import LogError
from parley.model.refusals import Fault
from parley.offerings import load_offerings
from parley.policy import PolicyRejected, load_policy
from parley.proof import ProofRejected, Verifier
from parley.settings import Settings, SettingsRejected, load_settings
from parley.store import schema_found

DISK_BYTES_MIN = 500 * 1024 * 1024
SECONDS_MAX = 5.0


@dataclass(frozen=True)
class Finding:
    """One check: `well`, what was seen, and what to do where it is not well."""

    check: str
    well: bool
    seen: str
    mend: str = ""


async def examine(config: Path, *, as_json: bool) -> int:
    findings = [python_version()]
    try:
        settings = load_settings(config)
    except SettingsRejected as error:
        findings.append(Finding("settings", False, str(error), "Mend that line; every setting is explained in docs/settings.md."))
    else:
        findings.append(Finding("settings", True, f"{config} reads well"))
        for check in CHECKS:
            findings.append(await check(settings))
    show(findings, as_json=as_json)
    return 0 if all(each.well for each in findings) else 1


def show(findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(findings).decode())
        return
    table = Table("", "Check", "Seen", "What to do")
    for each in findings:
        table.add_row("ok" if each.well else "NO", each.check, each.seen, each.mend)
    Console().print(table)


def python_version() -> Finding:
    seen = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("python", sys.version_info >= (3, 11), seen, "" if sys.version_info >= (3, 11) else "Use Python 3.11 or newer.")


async def data_folder(settings: Settings) -> Finding:
    data = settings.data
    if not data.exists():
        return Finding("data folder", True, f"{data} will be made at the first start")
    mode = stat.S_IMODE(data.stat().st_mode)
    if mode & 0o077 or not os.access(data, os.W_OK):
        return Finding("data folder", False, f"{data} has mode {mode:o}", f"chmod 700 {data}, owned by the account that runs the gateway.")
    return Finding("data folder", True, f"{data}, mode {mode:o}")


async def secret_files(settings: Settings) -> Finding:
    """Keys that others may read are no keys."""
    folders = (settings.data / "keys", settings.data / "notary")
    secret = [path for folder in folders if folder.is_dir() for path in folder.iterdir() if path.suffix in (".key", ".pem")]
    loose = [path for path in secret if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if loose:
        return Finding("keys", False, f"{loose[0]} can be read by others", f"chmod 600 {loose[0]}; if somebody may have read it, rotate it.")
    return Finding("keys", True, f"{len(secret)} files, readable by their owner alone")


async def disk(settings: Settings) -> Finding:
    folder = next(each for each in (settings.data, *settings.data.parents) if each.exists())
    free = shutil.disk_usage(folder).free
    mend = "" if free > DISK_BYTES_MIN else "Free some space: a full disk stops every answer, because the log cannot be written."
    return Finding("disk", free > DISK_BYTES_MIN, f"{free // 1024**2:,} MiB free", mend)


async def policy(settings: Settings) -> Finding:
    try:
        loaded = load_policy(policy_file(settings))
    except PolicyRejected as error:
        return Finding("policy", False, str(error), "Mend the rule; `parley policy check FILE` shows what it allows.")
    if settings.platform not in loaded.platforms:
        return Finding("policy", False, f"it does not know the platform {settings.platform!r}", "Add it under [[platforms]], or set platform.")
    return Finding("policy", True, f"{loaded.name}, {len(loaded.table)} decisions")


async def offerings(settings: Settings) -> Finding:
    try:
        names = load_offerings(settings.offerings)
    except ValueError as error:
        return Finding("offerings", False, str(error), "Name folders under parley/offerings in the setting offerings.")
    return Finding("offerings", True, ", ".join(names))


async def records(settings: Settings) -> Finding:
    try:
        found = await schema_found(settings.records)
    except (Fault, ValueError) as error:
        where = "the PostgreSQL server and its account" if settings.records_url != "sqlite" else "the mode (0600) and owner of records.sqlite"
        return Finding("records", False, str(error), f"Check records_url, {where}; a newer schema needs the newer Parley.")
    return Finding("records", True, f"schema {found}" if found else "will be made at the first start")


async def port(settings: Settings) -> Finding:
    """Free, or taken by a gateway of ours."""
    address = f"{settings.listen_host}:{settings.listen_port}"
    family = socket.AF_INET6 if ":" in settings.listen_host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.listen_host, settings.listen_port))
        except OSError as error:
            if settings.notary_socket.exists():
                return Finding("port", True, f"{address} is in use, as it should be while the house runs")
            return Finding("port", False, f"{address}: {error.strerror}", "Set listen_port to a free port, or end what holds it.")
    return Finding("port", True, f"{address} is free")


async def notary(settings: Settings) -> Finding:
    """Running and signing with the key that it published."""
    if not settings.notary_socket.exists():
        return Finding("notary", True, "not running (fine while the house is stopped)")
    client = NotaryClient(settings.notary_socket)
    try:
        head = await client.head()
        vkey = (settings.data / "notary" / "log.vkey").read_text().strip()
        size = Verifier(vkey).verify_checkpoint(head).size
    except (LogError, OSError) as error:
        return Finding(
            "notary", False, f"does not answer ({type(error).__name__})", "Restart with `parley serve`; its first lines say why it stopped."
        )
    except ProofRejected as error:
        return Finding("notary", False, str(error), "Its key and log.vkey do not belong together: do not serve, look at who changed them.")
    finally:
        await client.aclose()
    return Finding("notary", True, f"signs a log of {size:,} entries")


async def bank(settings: Settings) -> Finding:
    """Its authorization server answers and calls itself what the settings call it."""
    issuer = settings.banks[0].issuer
    address = issuer + "/.well-known/oauth-authorization-server"
    try:
        timeout = aiohttp.ClientTimeout(total=SECONDS_MAX)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as client, client.get(address, allow_redirects=False) as answer:
            told = msgspec.json.decode(await answer.content.read(64 * 1024), type=dict[str, object]).get("issuer")
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
        return Finding("bank", False, f"{issuer} does not answer", "Check banks.issuer, the network and the bank's status page.")
    if told != issuer:
        return Finding("bank", False, "its issuer differs from the setting", "Set banks.issuer to exactly what the bank's metadata says.")
    return Finding("bank", True, f"{issuer} answers")


CHECKS: tuple[Callable[[Settings], Awaitable[Finding]], ...] = (data_folder, secret_files, disk, policy, offerings, records, port, notary, bank)
