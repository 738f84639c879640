"""One read at an FDX bank: headers, retries, the breaker, and what each error means for the customer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from uuid import NAMESPACE_OID, uuid5

from parley.banks.fdx.breaker import Breaker
from parley.banks.fdx.settings import FdxSettings
from parley.banks.fdx.wire import decode, problem_decoder
from parley.model.extensions import BankCredential
from parley.model.refusals import BankBusy, BankNonsense, BankTimeout, BankUnavailable, Fault, LinkLost
from parley.model.transport import Transport, TransportResponse

INTERACTION = "x-fapi-interaction-id"
_PERMISSION_GONE = frozenset({"602", "603", "403", "601"})
_ACCOUNT_GONE = frozenset({"701", "705", "706"})
_TRY_AGAIN = frozenset({429, 500, 502, 503, 504})


class AccountGone(Exception):
    """The bank no longer shows this one account: closed, locked, or taken out of the consent. Never leaves this folder."""


class NoData(Exception):
    """There are no rows in this window (FDX 1107). Never leaves this folder."""


class Desk:
    """What all reads at one bank share."""

    def __init__(
        self,
        settings: FdxSettings,
        transport: Transport,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self.transport = transport
        self.clock = clock
        self.sleep = sleep
        self.chance = chance
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_seconds, clock)


class Reads:
    """The reads of one order. The first carries the order's interaction id, the n-th (from 1) `derived_id(interaction_id, n)`."""

    def __init__(self, desk: Desk, credential: BankCredential, interaction_id: str) -> None:
        self._desk = desk
        self._interaction_id = interaction_id
        self._count = 0
        self._deadline = monotonic() + desk.settings.order_seconds
        self._headers = {
            "authorization": f"Bearer {credential.access_token}",
            "fdx-api-actor-type": "USER",
        }

    async def get(self, path_and_query: str) -> TransportResponse:
        """A 200 or 206 with JSON. Raises LinkLost, AccountGone, NoData or a Fault."""
        number, self._count = self._count, self._count + 1
        interaction_id = self._interaction_id if number == 0 else derived_id(self._interaction_id, number)
        headers = {**self._headers, INTERACTION: interaction_id}
        response = await self._answered(self._desk.settings.base_url + path_and_query, headers)
        if response.status not in (200, 206):
            raise refusal_of(response)
        if not _is_json(response):
            raise BankNonsense("not JSON")
        echo = response.headers.get(INTERACTION, interaction_id)
        if self._desk.settings.interaction_id_echoed and echo.lower() != interaction_id.lower():
            raise BankNonsense("the answer to another request")
        return response

    async def _answered(self, url: str, headers: dict[str, str]) -> TransportResponse:
        """Ask, and again where that may help: only reads come here, so asking twice changes nothing at the bank."""
        breaker, settings = self._desk.breaker, self._desk.settings
        probe = breaker.enter()
        try:
            for attempt in range(settings.retries + 1):
                try:
                    response = await self._once(url, headers)
                except BankTimeout:
                    raise
                except BankNonsense:
                    breaker.succeeded()
                    raise
                except BankUnavailable:
                    if attempt == settings.retries:
                        raise
                    await self._pause(attempt, 0.0)
                    continue
                if response.status not in _TRY_AGAIN or attempt == settings.retries:
                    break
                await self._pause(attempt, self._wait_asked(response))
            if response.status >= 500:
                breaker.failed()
            else:
                breaker.succeeded()
            return response
        except (BankBusy, BankNonsense):
            raise
        except BankUnavailable:
            breaker.failed()
            raise
        finally:
            breaker.left(probe)

    async def _once(self, url: str, headers: dict[str, str]) -> TransportResponse:
        settings = self._desk.settings
        left = self._deadline - monotonic()
        if left <= 0:
            raise BankTimeout("the order took too long")
        seconds = settings.request_seconds if left >= settings.request_seconds else left
        return await self._desk.transport.get(url, headers, seconds=seconds, bytes_max=settings.bytes_max)

    async def _pause(self, attempt: int, asked: float) -> None:
        """Back off with jitter, so that many gateways do not come back at the same moment."""
        wait = max(asked, 0.1 * 2**attempt * (0.5 + self._desk.chance()))
        if monotonic() + wait >= self._deadline:
            raise BankTimeout("no time left to try again")
        await self._desk.sleep(wait)

    def _wait_asked(self, response: TransportResponse) -> float:
        """Retry-After in seconds, 0 where there is none. Raises BankBusy or BankUnavailable when it is longer than a customer waits."""
        seconds = retry_after(response.headers.get("retry-after", ""), self._desk.clock())
        if seconds > self._desk.settings.retry_after_seconds_max:
            raise BankBusy("asked us to wait") if response.status == 429 else BankUnavailable("being mended")
        return seconds


def derived_id(interaction_id: str, number: int) -> str:
    """The interaction id of the n-th further read of an order: anyone who knows the first can find the others in the bank's access records."""
    return str(uuid5(NAMESPACE_OID, f"{interaction_id}/{number}"))


def retry_after(text: str, now: datetime) -> float:
    """Seconds to wait by a Retry-After header (RFC 9110 10.2.3): a number or a date. 0 where it cannot be read or lies in the past."""
    if text.isascii() and text.isdecimal() and len(text) <= 9:
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds()) if text and len(text) <= 64 else 0.0
    except (ValueError, TypeError, OverflowError):
        return 0.0


def refusal_of(response: TransportResponse) -> LinkLost | Fault | AccountGone | NoData:
    """What an answer that is neither 200 nor 206 means. Its message is a stranger's text and read by nobody."""
    status, code = response.status, _code(response)
    if status == 401 or (status == 403 and code in _PERMISSION_GONE) or (status == 404 and code == "601"):
        return LinkLost("the bank no longer accepts our access")
    if status in (403, 404, 409) and code in _ACCOUNT_GONE:
        return AccountGone()
    if status == 404 and code == "1107":
        return NoData()
    if status == 429:
        return BankBusy("too many requests")
    if status >= 500 or status == 403:
        return BankUnavailable(f"status {status}")
    return BankNonsense(f"status {status}")


def _code(response: TransportResponse) -> str:
    """FDX's error code; "403" for a bare 403 in JSON. Empty where a firewall or a proxy answered in place of the bank."""
    if not _is_json(response):
        return ""
    try:
        return str(decode(problem_decoder, response.unverified_body).code or response.status)
    except BankNonsense:
        return ""


def _is_json(response: TransportResponse) -> bool:
    media_type = response.media_type
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
