"""The whole house as a bank runs it, for tests: demo bank, notary and gateways as processes, and browsers that walk through its pages."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import uuid4

import aiohttp
import msgspec
import psutil

from parley.authorization.client_key import ClientKey
from parley.cli.demo import CLIENT_ID, Demo, Plan, free_port, running, write_config
from parley.cli.robot import Page, Robot
from parley.cli.supervise import Child, private_folder
from parley.proof import VerifiedReceipt, verify_receipt
from parley_sandbox import oracle
from parley_sandbox.ledger import Account, Customer
from parley_sandbox.robot import BankProcess

SEED = 7
START_SECONDS_MAX = 60.0
ANSWER_BYTES_MAX = 512 * 1024
T = TypeVar("T")
_serial = itertools.count(1)


class RunningHouse:
    """A house that runs until `stop`. The supervisor lives on a thread of its own, so that tests may block or run loops as they like."""

    def __init__(self, folder: Path, extra_settings: str = "", *, records: str = "sqlite", bank_settings: str = "", host: str = "127.0.0.1") -> None:
        """`host` localhost where browsers are to make passkeys."""
        self.records = records
        self.plan = Plan(seed=SEED, host=host, keep=folder, extra_settings=extra_settings, extra_bank_settings=bank_settings)
        self.reports: list[str] = []
        self.day: date
        self.demo: Demo
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="house", daemon=True)
        self._enough: asyncio.Event
        self._whole: Future[None]

    def start(self) -> RunningHouse:
        """Returns once everything answers. Raises whatever stopped the start."""
        self.day = datetime.now(UTC).date()
        self._thread.start()
        up = threading.Event()
        self._whole = asyncio.run_coroutine_threadsafe(self._live(up), self._loop)
        self._whole.add_done_callback(lambda _: up.set())
        up.wait(START_SECONDS_MAX)
        if self._whole.done():
            self._whole.result()
        return self

    async def _live(self, up: threading.Event) -> None:
        self._enough = asyncio.Event()
        async with running(self.plan, self.reports.append) as demo:
            self.demo = demo
            up.set()
            await self._enough.wait()

    def stop_unharmed(self) -> None:
        """The end of a house that nobody was meant to harm: no part of it may have died on the way."""
        self.stop()
        if self.reports:
            raise AssertionError(self.reports)

    def stop(self) -> None:
        """Everything ends, in order."""
        if not self._whole.done():
            self._loop.call_soon_threadsafe(self._enough.set)
            self._whole.result(START_SECONDS_MAX)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return self.demo.chat_url

    @property
    def data(self) -> Path:
        return self.demo.data

    @property
    def vkey(self) -> str:
        return (self.data / "notary" / "log.vkey").read_text().strip()

    @property
    def notary(self) -> Child:
        return self.demo.supervisor.notary

    @property
    def gateways(self) -> list[Child]:
        return self.demo.supervisor.gateways

    def customer(self, username: str) -> Customer:
        """What the bank must answer about her: straight from its books."""
        return oracle.customer(SEED, self.day, username)

    def visitor(self) -> Visitor:
        return Visitor(self.url)

    @contextmanager
    def faults(self, *faults: str) -> Iterator[None]:
        """These faults of the bank are on inside the block, and none after it."""
        self.set_faults(*faults)
        try:
            yield
        finally:
            self.set_faults()

    def set_faults(self, *faults: str) -> None:
        http("POST", f"{self.demo.bank_url}/operator/faults", {"faults": list(faults)})

    def bank_reads(self) -> int:
        """How many reads the bank has served so far, by its own count."""
        return int(http("GET", f"{self.demo.bank_url}/operator/reads")["total"])

    def entries(self, first: int = 0) -> list[LoggedEntry]:
        """The log as it stands on disk."""
        database = sqlite3.connect(f"file:{self.data}/notary/log.sqlite3?mode=ro", uri=True)
        try:
            rows = database.execute("SELECT position, entry FROM entries WHERE position >= ? ORDER BY position", (first,)).fetchall()
        finally:
            database.close()
        return [LoggedEntry(position, bytes(entry)) for position, entry in rows]

    def verified(self, reply: dict[str, Any]) -> VerifiedReceipt:
        """The receipt of an answer, checked against the log's public key alone. Raises ProofRejected."""
        return verify_receipt(reply["why"]["receipt"], self.vkey)


class ServedHouse:
    """A demo bank and `parley serve` as the bank's operators start it; everything that it prints is kept in `diagnostics`."""

    def __init__(self, folder: Path, extra_settings: str = "", *, scheme: str = "http") -> None:
        self.data = private_folder(folder / "data")
        self.diagnostics = folder / "diagnostics.txt"
        self.port = free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.day = datetime.now(UTC).date()
        key = ClientKey.load_or_create(private_folder(self.data / "keys") / "bank-client.pem")
        record = {"client_id": CLIENT_ID, "client_name": "Larkspur chat", "redirect_uris": [f"{self.url}/link/callback"], "jwks": key.jwks()}
        clients = folder / "clients.json"
        clients.write_bytes(msgspec.json.encode([record]))
        self.bank = BankProcess("--seed", str(SEED), "--today", self.day.isoformat(), "--clients", str(clients)).__enter__()
        self.config = write_config(self.data, self.url, self.port, self.bank.url, extra_settings)
        self.process = self.serve()

    def serve(self) -> subprocess.Popen[bytes]:
        with self.diagnostics.open("ab") as out:
            command = [sys.executable, "-m", "parley.cli", "serve", "--config", str(self.config)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        until(lambda: self.process.poll() is not None or b"open at" in self.diagnostics.read_bytes())
        return self.process

    def family(self) -> list[psutil.Process]:
        """The supervisor's children: notary and gateways."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal the supervisor and wait for it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)

    def stop(self) -> None:
        self.end()
        self.bank.__exit__(None, None, None)

    def customer(self, username: str) -> Customer:
        return oracle.customer(SEED, self.day, username)

    def visitor(self) -> Visitor:
        return Visitor(self.url)


@dataclass(frozen=True)
class LoggedEntry:
    """One entry of the log: where it stands, its bytes and what they say."""

    index: int
    entry: bytes = field(repr=False)

    @property
    def facts(self) -> dict[str, Any]:
        return msgspec.json.decode(self.entry, type=dict[str, Any])


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: its status and its body, as JSON where it is an object."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def json(self) -> dict[str, Any]:
        return msgspec.json.decode(self.text, type=dict[str, Any])

    @property
    def code(self) -> str:
        return str(self.json["code"])


class Visitor(Robot):
    """One browser, from an address of its own, as different customers have (the house slows down an address that does too much)."""

    def __init__(self, chat_url: str) -> None:
        super().__init__(chat_url)
        self.csrf = ""

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(local_addr=(own_address(), 0), limit=0)
        jar = aiohttp.CookieJar(unsafe=True)
        self.client = aiohttp.ClientSession(cookie_jar=jar, connector=connector, timeout=aiohttp.ClientTimeout(total=20), trust_env=False)
        await self.reload()
        return self

    async def reload(self) -> Page:
        """Open the chat page, and learn the token that its script would send along."""
        home = await self.get(self.chat_url + "/")
        self.csrf = home.read().csrf
        return home

    async def link_as(self, customer: Customer) -> Self:
        await self.link(customer.username, customer.password)
        await self.reload()
        return self

    async def question(self, text: str, message_id: str = "", **more: Any) -> dict[str, Any]:
        """The chat's answer to one question, whatever it is; ids are fresh unless given."""
        return (await self.post_json("/chat/ask", {"message_id": message_id or uuid4().hex, "text": text, **more})).json

    async def stop(self) -> dict[str, Any]:
        return (await self.post_json("/chat/stop", {})).json

    async def receipt(self, index: int) -> Answer:
        return await self.call("GET", f"/chat/receipts/{index}")

    async def post_json(self, path: str, body: Any, **headers: str) -> Answer:
        sent = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.call("POST", path, sent, **{"content-type": "application/json", **headers})

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request as the page's script would send it; `headers` change or (empty) remove one of them."""
        sent = {"x-parley-csrf": self.csrf, "origin": self.chat_url, **{name.replace("_", "-"): value for name, value in headers.items()}}
        kept = {name: value for name, value in sent.items() if value}
        async with self.client.request(method, self.chat_url + path, data=body, headers=kept, allow_redirects=False) as answer:
            content = await answer.content.read(ANSWER_BYTES_MAX)
            return Answer(answer.status, content.decode(errors="replace"), {name.lower(): value for name, value in answer.headers.items()})


def own_address() -> str:
    """A loopback address that no other visitor has; where the system has only one, that one."""
    number = next(_serial)
    return f"127.{1 + number // 62_500}.{number // 250 % 250}.{number % 250 + 2}" if sys.platform == "linux" else "127.0.0.1"


def http(method: str, url: str, body: Any = None) -> Any:
    """One plain request to the demo bank's operator desk, and its JSON."""

    async def ask() -> Any:
        headers = {"content-type": "application/json"} if body is not None else {}
        data = None if body is None else msgspec.json.encode(body)
        async with aiohttp.ClientSession(trust_env=False) as client, client.request(method, url, data=data, headers=headers) as answer:
            text = await answer.read()
            if answer.status != 200:
                raise AssertionError(f"{method} {url}: {answer.status}")
            return msgspec.json.decode(text)

    return run(ask())


def run(story: Coroutine[Any, Any, T]) -> T:
    """Tell one story on a loop of its own; a thread of its own where one runs already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(story)
    box: list[T] = []
    thread = threading.Thread(target=lambda: box.append(asyncio.run(story)))
    thread.start()
    thread.join()
    return box[0]


def until(condition: Callable[[], T], seconds: float = 20.0) -> T:
    """Ask again until it is true; AssertionError when it never is."""
    end = time.monotonic() + seconds
    while True:
        seen = condition()
        if seen:
            return seen
        if time.monotonic() > end:
            raise AssertionError("what was waited for did not happen")
        time.sleep(0.02)


def parley(*arguments: str | Path, seconds: float = 60.0, **more: Any) -> subprocess.CompletedProcess[str]:
    """The `parley` command, to its end."""
    command = [sys.executable, "-m", "parley.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, **more)


DIGITS = {"JPY": 0}
SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}


def written(minor: int, currency: str) -> str:
    """A sum as the house must write it, worked out apart from the house."""
    digits = DIGITS.get(currency, 2)
    return f"{'-' if minor < 0 else ''}{SIGNS[currency]}{Decimal(abs(minor)).scaleb(-digits):,.{digits}f}"


def balance_line(account: Account) -> tuple[str, str]:
    """(name, figures) of one open account as "what's my balance?" must show it."""
    booked, available = written(account.booked, account.currency), written(account.available, account.currency)
    if account.owes:
        owed = f"{written(-account.booked, account.currency)} owed" if account.booked < 0 else "nothing owed"
        return account.nickname, owed if account.kind == "loan" else f"{owed}, {available} of credit left"
    return account.nickname, f"{available} available" if account.available == account.booked else f"{available} available ({booked} booked)"
