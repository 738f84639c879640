"""The officer's console: its desks, its doors, and what goes on behind them."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute

from parley.app.diagnostics import diagnostics, unforeseen
from parley.app.frame import Frame
from parley.app.log_port import HouseLog
from parley.console.officer import ConsoleSettings, Desks, officer_routes, open_desks
from parley.console.passkeys import PasskeySite
from parley.log.client import NotaryClient
from parley.log.errors import LogError
from parley.model.refusals import LogUnavailable
from parley.policy import Policy
from parley.proof import Inclusion
from parley.release.entries import policy_entry


class OfficersLog:
    """The notary as the console sees it: officers' entries in, public halves out. Never a sealed side."""

    def __init__(self, log: HouseLog, notary: NotaryClient) -> None:
        self._log = log
        self._notary = notary

    async def record(self, entry: bytes, side: bytes, *, handle: bytes | None, version: int | None) -> Inclusion:
        return await self._log.record(entry, side, handle=handle, version=version)

    async def entries(self, first: int, count: int) -> Sequence[bytes]:
        try:
            return await self._notary.pages(first, count)
        except LogError as error:
            raise LogUnavailable(error.code) from None


def officers_site(public_url: str, bank_name: str) -> PasskeySite | None:
    """Where officers open their console; None where no browser makes passkeys for the public address: then there is no console."""
    try:
        return PasskeySite.at(public_url, f"{bank_name}, officer's console")
    except ValueError:
        return None


def officers_desks(frame: Frame) -> Desks | None:
    """What the console's doors lead to; None where there can be no console."""
    site = officers_site(frame.settings.public_url, frame.settings.bank_name)
    if site is None:
        diagnostics.warning("no_officers_console", reason="public_url is an address of digits, for which browsers make no passkeys")
        return None

    async def announce(policy: Policy) -> int:
        inclusion = await frame.log.record(policy_entry(policy, frame.clock()), b"", handle=None, version=None)
        return inclusion.index

    log = OfficersLog(frame.log, frame.notary)
    return open_desks(frame.records, log, frame.policies, frame.guard, site=site, announce=announce, clock=frame.clock)


def officers_routes(frame: Frame, desks: Desks | None) -> list[BaseRoute]:
    site = officers_site(frame.settings.public_url, frame.settings.bank_name)
    if desks is None or site is None:
        return []
    settings = ConsoleSettings(frame.settings.bank_name, secure=frame.settings.public_url.startswith("https://"))
    return officer_routes(desks=desks, site=site, settings=settings, clock=frame.clock, on_fault=unforeseen)
