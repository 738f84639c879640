"""The one way out to a bank: HTTP over a shared pool of aiohttp connections, with a limit on everything that comes back.

The peer is a bank's server, trusted for what it says about its customers and for nothing else: it may be slow, broken, or in the hands
of somebody who wants our memory, our time or a request to another host. Hence no redirects, no cookies, no decompression, no proxy from
the environment, and a cap on bytes and seconds.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from parley.model.refusals import BankNonsense, BankTimeout, BankUnavailable
from parley.model.transport import TransportResponse

CONNECTIONS_MAX = 200
CONNECTIONS_PER_HOST = 64
CONNECT_SECONDS_MAX = 3.0
KEEP_ALIVE_SECONDS = 25.0
HEADER_BYTES_MAX = 8 * 1024

_ALWAYS = {"user-agent": "parley-gateway", "accept": "application/json", "accept-encoding": "identity"}


class AiohttpTransport:
    """Implements parley.model.transport.Transport. `tls` replaces the system's trust, for a bank with a private authority or client certificates.

    Made anywhere; opens its session on the first call, inside the running loop. Close it with `aclose` or `async with`.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    async def get(self, url: str, headers: Mapping[str, str], *, seconds: float, bytes_max: int) -> TransportResponse:
        return await self._exchange("GET", url, {**_ALWAYS, **headers}, None, seconds, bytes_max)

    async def post_form(self, url: str, form: Mapping[str, str], headers: Mapping[str, str], *, seconds: float, bytes_max: int) -> TransportResponse:
        typed = {**_ALWAYS, "content-type": "application/x-www-form-urlencoded", **headers}
        return await self._exchange("POST", url, typed, urlencode(form).encode(), seconds, bytes_max)

    async def aclose(self) -> None:
        """Close every connection. The next call would open new ones."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def __aenter__(self) -> AiohttpTransport:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def _exchange(
        self, method: str, url: str, headers: dict[str, str], data: bytes | None, seconds: float, bytes_max: int
    ) -> TransportResponse:
        # The causes are cut off (`from None`): aiohttp's exceptions carry the URL, and URLs name accounts.
        session = self._session or self._open()
        try:
            async with session.request(
                method, URL(url, encoded=True), headers=headers, data=data, allow_redirects=False, timeout=self._timeout(seconds)
            ) as response:
                body = await _read(response, bytes_max)
                return TransportResponse(response.status, _headers(response.headers), body)
        except TimeoutError:
            raise BankTimeout("no whole answer in time") from None
        except aiohttp.ClientResponseError:
            raise BankNonsense("the answer is not HTTP") from None
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError):
            raise BankUnavailable("not reached, or cut off") from None
        except ValueError:
            raise BankNonsense("the answer is not HTTP, or no address to ask") from None

    def _open(self) -> aiohttp.ClientSession:
        settings: dict[str, Any] = {} if self._tls is None else {"ssl": self._tls}
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX, limit_per_host=CONNECTIONS_PER_HOST, keepalive_timeout=KEEP_ALIVE_SECONDS, ttl_dns_cache=60, **settings
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            raise_for_status=False,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )
        return self._session

    def _timeout(self, seconds: float) -> aiohttp.ClientTimeout:
        known = self._timeouts.get(seconds)
        if known is None:
            known = aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, CONNECT_SECONDS_MAX))
            if len(self._timeouts) < 16:
                self._timeouts[seconds] = known
        return known


def _headers(raw: Mapping[str, str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in raw.items():
        headers.setdefault(name.lower(), value)
    return headers


async def _read(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """The body, refused as soon as it is known to be too large. We asked for no compression, so a compressed one is a bomb or a mistake."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise BankNonsense("a compressed answer that nobody asked for")
    length = response.content_length
    if length is not None and length > bytes_max:
        response.close()
        raise BankNonsense("an answer beyond the limit")
    if length is not None:
        return await response.read()
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > bytes_max:
            response.close()
            raise BankNonsense("an answer beyond the limit")
    return bytes(body)
