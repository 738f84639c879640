"""The terminal as a chat: the same door as the web page, with a bearer token instead of a cookie."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from parley.cli.robot import PAGE_BYTES_MAX, Robot, RobotLost

SECONDS_MAX = 20.0
POLL_SECONDS = 1.0
PAIRING_POLLS_MAX = 600
LINE_BYTES_MAX = 4096
QUIT = frozenset({"quit", "exit", "bye", ":q"})
HELP = frozenset({"help", "?", "/help"})

screen = Console(highlight=False)


class ChatLost(Exception):
    """The gateway could not be reached or did not speak as expected; one sentence with the way out."""


class Terminal:
    """One conversation of a terminal with a gateway. Use as an async context manager."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.token = ""
        self.client: aiohttp.ClientSession

    async def __aenter__(self) -> Terminal:
        self.client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS_MAX), trust_env=False)
        try:
            self.token = (await self.call("POST", "/terminal/session", {}))["token"]
        except BaseException:
            await self.client.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """Raises ChatLost when nothing answers there, or something that is not a gateway."""
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {self.token}"} if self.token else {})
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self.client.request(method, self.url + path, data=data, headers=headers, allow_redirects=False) as answer:
                return msgspec.json.decode(await answer.content.read(PAGE_BYTES_MAX), type=dict[str, Any])
        except (aiohttp.ClientError, TimeoutError):
            raise ChatLost(f"nothing answers at {self.url}. Start a house with `parley demo`, or name another with --url.") from None
        except msgspec.DecodeError:
            raise ChatLost(f"what answers at {self.url} is not a gateway.") from None

    async def pair(self) -> tuple[str, str]:
        offer = await self.call("POST", "/terminal/pair", {})
        if "url" not in offer:
            raise ChatLost(str(offer.get("text", "linking is not possible just now.")))
        return str(offer["url"]), str(offer["number"])

    async def linked(self) -> bool:
        return bool((await self.call("GET", "/terminal/state", None)).get("linked"))

    async def log_key(self) -> str:
        """The log's public key, for receipts that are kept."""
        async with self.client.get(self.url + "/log.vkey", allow_redirects=False) as answer:
            return (await answer.content.read(LINE_BYTES_MAX)).decode("ascii", "replace")

    async def ask(self, text: str) -> dict[str, Any]:
        return await self.call("POST", "/chat/ask", {"message_id": uuid4().hex, "text": text})


async def converse(url: str, customer: str, password: str) -> int:
    """Until the customer leaves. 0 unless the gateway was lost."""
    try:
        async with Terminal(url) as terminal:
            if customer:
                await link_as(terminal, customer, password)
            screen.print("Ask about your accounts: [bold]what's my balance?[/]  Type [bold]link[/], [bold]stop[/], [bold]help[/] or [bold]quit[/].")
            receipts = Path(tempfile.mkdtemp(prefix="parley-receipts-"))
            (receipts / "log.vkey").write_text(await terminal.log_key())
            return await listen(terminal, receipts)
    except (ChatLost, RobotLost) as error:
        print(f"parley chat: {error}", file=sys.stderr)
        return 1


async def listen(terminal: Terminal, receipts: Path) -> int:
    while True:
        try:
            text = (await asyncio.to_thread(read_line)).strip()
        except (EOFError, KeyboardInterrupt):
            return 0
        if text.casefold() in QUIT:
            return 0
        if text.casefold() == "link":
            await link_in_browser(terminal)
        elif text.casefold() in HELP:
            show(await terminal.ask("help"), receipts)
        elif text:
            show(await terminal.ask(text), receipts)


def read_line() -> str:
    return input("you> " if sys.stdin.isatty() else "")


async def link_in_browser(terminal: Terminal) -> None:
    """The customer opens the address herself and types the number that only this screen shows."""
    url, number = await terminal.pair()
    screen.print(f"Open  [bold]{escape(url)}[/]\nand type this number there: [bold]{number[:3]} {number[3:]}[/]")
    with screen.status("Waiting for your bank …"):
        for _ in range(PAIRING_POLLS_MAX):
            if await terminal.linked():
                break
            await asyncio.sleep(POLL_SECONDS)
        else:
            screen.print("That took too long; type link to start again.")
            return
    screen.print("Linked. Ask away.")


async def link_as(terminal: Terminal, customer: str, password: str) -> None:
    """A demo customer walks through the same pages that a browser would show."""
    url, number = await terminal.pair()
    async with Robot(terminal.url) as robot:
        page = await robot.get(url)
        login = await robot.submit(page, page.form_with("number"), {"number": [number]})
        await robot.sign_in_and_allow(login, customer, password, home="/paired")
    if not await terminal.linked():
        raise ChatLost("the demo customer could not be linked.")


def show(reply: dict[str, Any], receipts: Path) -> None:
    """The answer, its lines as a table, and why it may be trusted. Everything in it is escaped: merchants write their own names."""
    colour = {"answered": "green", "refused": "yellow", "fault": "red"}.get(str(reply.get("outcome")), "cyan")
    lines = reply.get("lines") or []
    if lines:
        table = Table(show_header=False, box=None)
        table.add_column()
        table.add_column(justify="right")
        for line in lines:
            table.add_row(escape(str(line["label"])), escape(str(line["value"])))
        screen.print(table)
    else:
        screen.print(f"[{colour}]bank>[/] {escape(str(reply.get('text', '')))}")
    for suggestion in reply.get("suggestions") or []:
        screen.print(f"      {escape(str(suggestion))}")
    show_why(reply, receipts)


def show_why(reply: dict[str, Any], receipts: Path) -> None:
    why = reply.get("why")
    if why:
        saved = receipts / f"receipt-{int(why['log_index'])}.txt"
        saved.write_text(str(why["receipt"]))
        screen.print(f"[dim]      left: {escape(str(why['what_left']))}; entry {why['log_index']}. Check it: parley verify {saved}[/]")
    elif reply.get("outcome") in ("refused", "fault"):
        screen.print(f"[dim]      nothing left ({escape(str(reply.get('code')))})[/]")
