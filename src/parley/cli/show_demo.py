"""What a person or a script sees of the demo."""

from __future__ import annotations

import asyncio
import os
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec
from rich.console import Console
from rich.panel import Panel

from parley.cli.demo import Asked, Demo, Plan, ask_all, port_or_free, receipts_folder, running
from parley.cli.robot import RobotLost
from parley.cli.supervise import ChildFailed, stop_signals

DEMO_OFFICERS = ("Rosa", "Sam")
screen = Console(stderr=True, highlight=False)


async def ask_and_stop(asks: Sequence[str], *, seed: int, customer: str, keep: Path | None, as_json: bool) -> int:
    """One JSON object (or a few lines) for each question; 0 when the house worked, whatever it answered."""
    plan = Plan(seed=seed, keep=keep, customer=customer)
    try:
        with screen.status("Starting the demo bank, the notary and the gateway …"):
            async with running(plan, report) as demo:
                receipts = receipts_folder(plan)
                async for asked in ask_all(demo, asks, receipts):
                    tell(asked, as_json=as_json)
    except (ChildFailed, RobotLost) as error:
        print(f"parley demo: {error}", file=sys.stderr)
        return 1
    return 0


def tell(asked: Asked, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(asdict(asked)).decode(), flush=True)
        return
    print(f"> {asked.question}\n{asked.answer}", flush=True)
    if asked.receipt:
        print(f"  recorded as entry {asked.log_index}; check it with: parley verify {asked.receipt}", flush=True)
    elif asked.outcome != "answered":
        print(f"  nothing left ({asked.code})", flush=True)


async def stay_open(*, seed: int, keep: Path | None, port: int | None, bank_port: int | None, open_page: bool) -> int:
    plan = Plan(seed=seed, host="localhost", keep=keep, port=port_or_free(port, 8080), bank_port=port_or_free(bank_port, 8081))
    stop = stop_signals()
    try:
        async with running(plan, report) as demo:
            links = await invited_officers(demo)
            screen.print(welcome(demo))
            screen.print(officers_welcome(demo, links), soft_wrap=True)
            if open_page and has_screen():
                await asyncio.to_thread(webbrowser.open, demo.chat_url)
            await stop.wait()
            screen.print("Stopping …")
    except ChildFailed as error:
        print(f"parley demo: {error}", file=sys.stderr)
        return 1
    return 0


def welcome(demo: Demo) -> Panel:
    kept = f"Data stays in [bold]{demo.data}[/]." if demo.plan.keep else "Everything it stores goes when it stops; --keep DIR keeps it."
    return Panel(
        f"""Chat   [bold]{demo.chat_url}[/]
Page   [bold]{demo.chat_url}/me[/]   (a customer's own page: consents, what was learned, receipts, passkeys)
Bank   [bold]{demo.bank_url}[/]   (its customers and their passwords stand on its first page)

1. Open the chat, choose [bold]Link your bank account[/], sign in at the demo bank (try [bold]ada[/]), choose accounts, allow.
2. Ask: [bold]what's my balance?[/]  [bold]show my last 5 transactions[/]  [bold]can I afford 640?[/]
3. Under each answer: why you may trust it, and a receipt. Save it, then: [bold]parley verify RECEIPT[/]

In the terminal: [bold].venv/bin/parley chat --url {demo.chat_url}[/]
The whole log:   [bold].venv/bin/parley log audit --data {demo.data}[/]
Break the bank:  [bold]{demo.bank_url}/operator[/]

{kept} Stop with Ctrl-C.""",
        title="Parley demo: no receipt, no release",
        expand=False,
    )


async def invited_officers(demo: Demo) -> dict[str, str]:
    """Links with which two demo officers make their passkeys: a policy needs four eyes. Raises ChildFailed."""
    from parley.cli import staff_desk
    from parley.model.staff import Role
    from parley.settings import load_settings

    settings = load_settings(demo.config)
    links: dict[str, str] = {}
    for name in DEMO_OFFICERS:
        try:
            links[name] = (await staff_desk.add(settings, name, Role.OFFICER)).link
        except staff_desk.StaffTrouble:
            links[name] = (await staff_desk.invite(settings, name)).link  # Kept data: she is known there.
    return links


def officers_welcome(demo: Demo, links: dict[str, str]) -> str:
    """Beside the panel, not in it: a link must stay in one piece to be clicked."""
    lines = [f"  {name}: {link}" for name, link in links.items()]
    return "\n".join(
        [f"Officers [bold]{demo.chat_url}/officer/[/]   (policy with four eyes, what left, the switch; each link makes one passkey)", *lines]
    )


def has_screen() -> bool:
    """Somebody sits in front of it: never open a browser from a script or on a server."""
    return sys.stdin.isatty() and bool(sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def report(line: str) -> None:
    print(f"parley: {line}", file=sys.stderr, flush=True)
