"""The demo: a sandbox bank, the notary and the gateway, started as a bank would start them, with nothing preconfigured."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from parley.authorization.client_key import ClientKey
from parley.cli.robot import Robot
from parley.cli.supervise import Child, ChildFailed, Supervisor, end, private_folder
from parley.settings import load_settings

BANK_NAME = "larkspur"
CLIENT_ID = "parley-demo"
EVENT_SECRET_FILE = "keys/bank-events.secret"  # noqa: S105 - where it lies
LINE_BYTES_MAX = 4096
BANK_SECONDS_MAX = 15.0


@dataclass(frozen=True)
class Plan:
    """What a demo is started with. `keep`: the data directory stays; otherwise it goes with the demo. `port` 0 picks a free one.

    `host`: 127.0.0.1 or localhost; browsers make passkeys for the latter alone.
    """

    seed: int = 7
    host: str = "127.0.0.1"
    port: int = 0
    bank_port: int = 0
    keep: Path | None = None
    customer: str = "ada"
    extra_settings: str = ""
    extra_bank_settings: str = ""


@dataclass
class Demo:
    """A running demo."""

    plan: Plan
    data: Path
    chat_url: str
    bank_url: str
    supervisor: Supervisor
    bank: Child
    config: Path


@asynccontextmanager
async def running(plan: Plan, report: Callable[[str], None]) -> AsyncIterator[Demo]:
    """Start everything, and stop everything at the end. Raises ChildFailed with what to do about it."""
    data = private_folder(plan.keep) if plan.keep else Path(tempfile.mkdtemp(prefix="parley-demo-"))
    bank: Child | None = None
    supervisor: Supervisor | None = None
    try:
        chat_port = plan.port or free_port()
        chat_url = f"http://{plan.host}:{chat_port}"
        bank, bank_url = await start_bank(plan, data, chat_url)
        bank_settings = f'event_secret_file = "{EVENT_SECRET_FILE}"\n{plan.extra_bank_settings}'
        config = write_config(data, chat_url, chat_port, bank_url, plan.extra_settings, bank_settings)
        supervisor = Supervisor(load_settings(config), config, report)
        await supervisor.start()
        yield Demo(plan, data, chat_url, bank_url, supervisor, bank, config)
    finally:
        if supervisor is not None:
            await supervisor.stop()
        if bank is not None:
            await end(bank)
        if plan.keep is None:
            shutil.rmtree(data, ignore_errors=True)


async def start_bank(plan: Plan, data: Path, chat_url: str) -> tuple[Child, str]:
    """The sandbox bank as its own process, told who we are the way a bank's registration would: client id, redirect address, public key,
    and where we hear of consents that end there."""
    key = ClientKey.load_or_create(private_folder(data / "keys") / "bank-client.pem")
    clients = data / "sandbox-clients.json"
    redirects = [f"{chat_url}/link/callback"]
    record = {"client_id": CLIENT_ID, "client_name": "Larkspur chat", "redirect_uris": redirects, "jwks": key.jwks()}
    events = {"events_url": f"{chat_url}/bank/events/{BANK_NAME}", "events_secret": event_secret(data / EVENT_SECRET_FILE)}
    write_private(clients, json.dumps([record | events]))
    command = [sys.executable, "-m", "parley_sandbox", "serve", "--port", str(plan.bank_port), "--seed", str(plan.seed)]
    bank = Child("bank", [*command, "--clients", str(clients), "--exit-with-parent"])
    bank.process = await asyncio.create_subprocess_exec(
        *bank.command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True, limit=LINE_BYTES_MAX
    )
    if bank.process.stdout is None:
        raise ChildFailed("the demo bank has no output")
    try:
        line = await asyncio.wait_for(bank.process.stdout.readline(), BANK_SECONDS_MAX)
        return bank, str(json.loads(line)["url"])
    except (TimeoutError, ValueError, KeyError):
        await end(bank)
        raise ChildFailed("the demo bank did not start; its own message is above") from None


def event_secret(path: Path) -> str:
    """The secret that the demo bank and the gateway share, made on the first start."""
    if not path.exists():
        write_private(path, f"whsec_{b64encode(secrets.token_bytes(32)).decode()}\n")
    return path.read_text().strip()


def write_private(path: Path, text: str) -> None:
    """Only our own account reads it, from its first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def write_config(data: Path, chat_url: str, chat_port: int, bank_url: str, extra: str, extra_of_bank: str = "") -> Path:
    config = data / "parley.toml"
    config.write_text(
        f"""# Written by `parley demo`; every setting is explained in docs/settings.md.
data_dir = {json.dumps(str(data.resolve()))}
public_url = "{chat_url}"
listen_port = {chat_port}
log_origin = "demo.parley.example/log"
{extra}
[[banks]]
name = "{BANK_NAME}"
dialect = "fdx"
profile = "fdx6"
api_url = "{bank_url}/fdx/v6"
issuer = "{bank_url}"
client_id = "{CLIENT_ID}"
{extra_of_bank}
"""
    )
    return config


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_or_free(asked: int | None, usual: int) -> int:
    """The port that was asked for; else the usual one, or any other where that is taken."""
    if asked is not None:
        return asked
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", usual))
        except OSError:
            return 0
    return usual


async def demo_customer(seed: int, username: str) -> dict[str, Any]:
    """One of the demo bank's customers, from its own command: username, password, accounts. Raises ChildFailed for a name it does not know."""
    command = [sys.executable, "-m", "parley_sandbox", "customers", "--seed", str(seed), "--json", "--username", username]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
    output, _ = await process.communicate()
    if process.returncode:
        raise ChildFailed(f"no demo customer is called {username!r}; the bank's first page lists them, ada is one")
    return msgspec.json.decode(output, type=list[dict[str, Any]])[0]


@dataclass(frozen=True)
class Asked:
    """One question of `parley demo --ask` and what came of it, as its JSON line says it."""

    question: str
    answer: str
    outcome: str
    code: str | None
    receipt: str | None
    log_index: int | None
    ms: dict[str, float]


async def ask_all(demo: Demo, asks: Sequence[str], receipts: Path) -> AsyncIterator[Asked]:
    """Link a demo customer through the real pages, then ask. Receipts are written into `receipts`, with the log's public key beside them."""
    customer = await demo_customer(demo.plan.seed, demo.plan.customer)
    async with Robot(demo.chat_url) as robot:
        await robot.link(customer["username"], customer["password"])
        shutil.copyfile(demo.data / "notary" / "log.vkey", receipts / "log.vkey")
        for text in asks:
            started = time.perf_counter()
            reply = await robot.ask(text, uuid4().hex)
            yield asked(text, reply, receipts, round((time.perf_counter() - started) * 1000, 3))


def asked(text: str, reply: dict[str, Any], receipts: Path, total_ms: float) -> Asked:
    why: dict[str, Any] = reply.get("why") or {}
    index = why.get("log_index")
    receipt: Path | None = None
    if why.get("receipt"):
        receipt = receipts / f"receipt-{index}.txt"
        receipt.write_text(why["receipt"])
    ms = {**(reply.get("ms") or {}), "total": total_ms}
    return Asked(text, reply.get("text", ""), reply.get("outcome", "fault"), reply.get("code"), str(receipt) if receipt else None, index, ms)


def receipts_folder(plan: Plan) -> Path:
    """Receipts outlive the demo: beside the kept data, or in a folder of their own that stays."""
    if plan.keep is not None:
        folder = plan.keep / "receipts"
        folder.mkdir(parents=True, exist_ok=True)
        return folder.resolve()
    return Path(tempfile.mkdtemp(prefix="parley-receipts-"))
