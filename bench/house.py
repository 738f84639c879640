"""The thing itself: the demo's bank, gateway and notary, as `parley serve` runs them, with customers who linked through the real pages."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from bench.load import Numbers, Target, drive
from bench.processes import LOAD_CORE, SERVER_CORE, BenchFailed, Process, python
from parley.authorization.client_key import ClientKey
from parley.cli.robot import Robot

SERVE = ("-m", "parley.cli", "serve", "--config")
ROWS = 20
SEED = 7
CLIENT_ID = "parley-bench"
READY_SECONDS_MAX = 30.0
ACCESS_TOKEN_SECONDS = 900
"""As long as the sandbox allows: a run that takes longer refreshes, as a bank's customers do."""

SETTINGS = """
data_dir = {data}
public_url = "{url}"
listen_port = {port}
log_origin = "bench.parley.example/log"
answers_per_day = 1000000000
rows_per_day = 1000000000

[[banks]]
name = "larkspur"
api_url = "{api}/fdx/v6"
issuer = "{issuer}"
client_id = "{client}"
"""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and whether it makes the gateway read transactions."""

    name: str
    text: str
    reads_rows: bool

    def is_about(self, target: str) -> bool:
        """Whether this address at the bank is what the question makes the gateway read."""
        return ("/transactions" in target) == self.reads_rows


BALANCE = Question("balance", "What is my balance?", False)
TRANSACTIONS = Question(f"{ROWS} transactions", f"Show my last {ROWS} transactions", True)
QUESTIONS = (BALANCE, TRANSACTIONS)


@dataclass(frozen=True, slots=True)
class Chat:
    """A linked customer's session: the headers that her page sends, and her one account at the bank."""

    headers: bytes = field(repr=False)
    account: str


class House:
    """Two banks (the one that links, the one that repeats), and the gateway with its notary."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[Process] = []
        self.url = self.bank_url = self._issuer = ""
        self._chats: list[Chat] = []

    async def start(self, customers: int) -> None:
        """Start everything and link so many customers. Raises BenchFailed with what the process that failed said last."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        key = ClientKey.load_or_create(_private(self._folder / "data" / "keys") / "bank-client.pem")
        registered = {"client_id": CLIENT_ID, "client_name": "Bench", "redirect_uris": [f"{self.url}/link/callback"], "jwks": key.jwks()}
        clients = self._folder / "clients.json"
        clients.write_text(json.dumps([registered]))
        self._issuer = self._started_bank(clients)
        self.bank_url = str(self._run("the repeating bank", ["-m", "bench.bank", "--upstream", self._issuer, "--rows", str(ROWS)], LOAD_CORE))
        config = self._settings(port)
        self.gateway = Process("parley serve", python(*SERVE, str(config)), cores=SERVER_CORE)
        self._processes.append(self.gateway)
        await self._answers()
        people = await asyncio.to_thread(customers_of, SEED)
        for person in busiest(people)[:customers]:
            self._chats.append(await self._linked(person))

    def recorded(self, question: Question) -> list[tuple[str, bytes]]:
        """What the gateway read at the bank for a question: (path with query, body), one for each customer."""
        with urllib.request.urlopen(self.bank_url + "/bench/recorded", timeout=5) as answer:
            told: dict[str, str] = json.load(answer)
        return [(target, body.encode()) for target, body in sorted(told.items()) if question.is_about(target)]

    def target(self, question: Question, needles: Sequence[bytes] = ()) -> Target:
        """What the load generator asks the gateway. `needles`: bytes that the answer of each customer must hold, in the customers' order."""
        place = urlsplit(self.url)
        run = f"{time.time_ns():x}"
        ending = f'","text":{json.dumps(question.text)}}}'
        chats = [chat.headers for chat in self._chats]
        wanted = list(needles) or [b"{"] * len(chats)

        def request(number: int) -> bytes:
            body = f'{{"message_id":"{run}-{number}{ending}'.encode()
            return b"POST /chat/ask HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n%b" % (chats[number % len(chats)], len(body), body)

        def is_right(number: int, body: bytes) -> bool:
            return b'"outcome":"answered"' in body and wanted[number % len(wanted)] in body

        return Target(str(place.hostname), int(place.port or 0), request, is_right)

    async def checked(self, question: Question, numbers: Numbers) -> Target:
        """The same, after each customer's answer has been compared with what the bank says: from here on every answer must have these words."""
        plain = self.target(question)
        bodies: dict[int, bytes] = {}

        def keep(number: int, body: bytes) -> bool:
            bodies[number % len(self._chats)] = body
            return plain.is_right(number, body)

        await drive(replace(plain, is_right=keep), connections=1, numbers=numbers, count=len(self._chats))
        at_bank = self.recorded(question)
        needles = []
        for place, chat in enumerate(self._chats):
            told = [body for target, body in at_bank if f"/{chat.account}" in target or chat.account in target]
            needles.append(right_words(question, bodies[place], told))
        return self.target(question, needles)

    async def stop(self) -> None:
        """End everything, the gateway first."""
        for process in reversed(self._processes):
            await asyncio.to_thread(process.stop)

    def _started_bank(self, clients: Path) -> str:
        command = ["-m", "parley_sandbox", "serve", "--port", "0", "--seed", str(SEED), "--clients", str(clients)]
        return self._run("the sandbox bank", [*command, "--access-token-seconds", str(ACCESS_TOKEN_SECONDS), "--exit-with-parent"], LOAD_CORE)

    def _run(self, name: str, arguments: list[str], cores: set[int]) -> str:
        process = Process(name, python(*arguments), cores=cores)
        self._processes.append(process)
        return str(process.ready_json('"url"')["url"])

    def _settings(self, port: int) -> Path:
        config = self._folder / "parley.toml"
        values = {"data": json.dumps(str(self._folder / "data")), "url": self.url, "port": port, "client": CLIENT_ID}
        config.write_text(SETTINGS.format(**values, api=self.bank_url, issuer=self._issuer))
        return config

    async def _answers(self) -> None:
        end = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < end:
            if await asyncio.to_thread(_is_up, self.url):
                return
            await asyncio.sleep(0.05)
        raise BenchFailed(f"The gateway did not come up: {self.gateway.complaint()}")

    async def _linked(self, person: Mapping[str, Any]) -> Chat:
        """Link one account through the pages, and take along what her browser would send with a question."""
        async with Robot(self.url) as robot:
            account = await link_one_account(robot, person)
            home = await robot.get(self.url + "/")
            cookies = "; ".join(f"{each.key}={each.value}" for each in robot.client.cookie_jar if each.key == "parley")
            csrf = next((value for form in home.read().forms for value in form.values("csrf")), "")
        if not cookies or not csrf:
            raise BenchFailed("The chat page gave no session to ask with.")
        lines = [f"host: {urlsplit(self.url).netloc}", f"cookie: {cookies}", f"x-parley-csrf: {csrf}", f"origin: {self.url}"]
        lines += ["sec-fetch-site: same-origin", "content-type: application/json"]
        return Chat("\r\n".join([*lines, ""]).encode(), account)


def right_words(question: Question, reply: bytes, at_bank: Sequence[bytes]) -> bytes:
    """The reply's text as it stands in the JSON, once every figure of the bank is found in it. Raises BenchFailed."""
    told = msgspec.json.decode(reply, type=dict[str, Any])
    text, lines = str(told["text"]), told["lines"]
    figures = [figure for body in at_bank for figure in figures_of(question, body)]
    wrong = [figure for figure in figures if figure not in text]
    if told["outcome"] != "answered" or not figures or wrong or len(lines) != len(figures):
        lacking = f"{len(lines)} lines, {len(wrong)} of {len(figures)} figures missing"
        raise BenchFailed(f"The answer about {question.name} is not what the bank says: {lacking}.")
    return b'"text":' + msgspec.json.encode(text)


def figures_of(question: Question, body: bytes) -> list[str]:
    """The amounts in what the bank said that the answer must tell of, as the chat writes them."""
    told = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    amounts = [row["amount"] for row in told["transactions"]] if question.reads_rows else [told["availableBalance"]]
    return [f"{amount:,.2f}" for amount in amounts]


async def link_one_account(robot: Robot, person: Mapping[str, Any]) -> str:
    """From the chat page to an allowed consent for her everyday account alone, and for everything on offer. Returns the account's id."""
    account = str(everyday(person)["accountId"])
    home = await robot.get(robot.chat_url + "/")
    login = await robot.submit(home, home.form_for("/link"), {})
    name = {"username": [str(person["username"])], "password": [str(person["password"])]}
    choice = await robot.submit(login, login.form_with("username", "password"), name)
    consent = await robot.submit(choice, choice.form_with("account", "decision"), {"account": [account], "decision": ["approve"]})
    form = consent.form_with("account", "projection", "decision")
    ticked = {"account": form.values("account"), "projection": form.values("projection"), "decision": ["allow"]}
    done = await robot.submit(consent, form, ticked)
    if done.status != 200 or urlsplit(done.url).path != "/":
        raise BenchFailed(f"Linking ended on {urlsplit(done.url).path} with status {done.status}.")
    return account


def customers_of(seed: int) -> list[dict[str, Any]]:
    """The demo bank's customers from its own command: user names, passwords, accounts."""
    told = subprocess.run(python("-m", "parley_sandbox", "customers", "--seed", str(seed), "--json"), stdout=subprocess.PIPE, check=True)
    people: list[dict[str, Any]] = json.loads(told.stdout)
    return people


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def everyday(person: Mapping[str, Any]) -> Mapping[str, Any]:
    """Her checking account with the most rows."""
    checking = [each for each in person["accounts"] if each["kind"] == "checking"]
    found: Mapping[str, Any] = max(checking, key=lambda each: int(each["rows"]))
    return found


def busiest(people: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Customers, those with the most rows first, so that a month holds as many as are asked for."""
    return sorted(people, key=lambda person: -int(everyday(person)["rows"]))


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _private(folder: Path) -> Path:
    """Only its owner may look inside: keys and the log live below."""
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(0o700)
    return folder
