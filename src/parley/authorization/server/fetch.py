"""The one way out to a client's own documents (client ID metadata, `jwks_uri`): an outbound request that a stranger may trigger.

Whoever names the address would like us to knock on doors inside the bank for her (server-side request forgery, OWASP API7). So: https
on port 443 only, hosts that the bank listed, every resolved address public, the connection made to the very address that was checked
(a name that changes between check and connection is useless), no redirects, no proxy, no compression, caps on bytes and seconds.
Logos are never fetched at all.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from urllib.parse import SplitResult, unquote, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from parley.authorization.sessions import Throttle
from parley.model.ledger import Discreet

HTTPS_PORT = 443
URL_CHARS_MAX = 1024
DOCUMENT_BYTES_MAX = 5 * 1024
KEYS_BYTES_MAX = 64 * 1024
SECONDS_MAX = 3.0
ADDRESSES_MAX = 16
HEADER_BYTES_MAX = 8 * 1024
AT_ONCE_MAX = 8
AGE_SECONDS_MAX = 86_400

LookUp = Callable[[str], Awaitable[Sequence[str]]]
"""The addresses of a host name, as text. Raises OSError where there are none."""

Dial = Callable[[str], tuple[str, int]]
"""Where to open the connection to a checked address: itself on port 443, but for tests, whose servers listen elsewhere."""


class FetchRefused(Exception):
    """Nothing usable came, or nothing was asked. `code` is stable and for operators; neither it nor the message holds the address."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Fetched(Discreet, frozen=True):
    """A document as it came, within its limits, and not believed yet. `max_age` seconds for which its server lets it be kept (at most a day)."""

    unverified_body: bytes
    max_age: int


class GuardedFetcher:
    """Gets JSON documents from the hosts that the bank listed. `hosts` are exact names; an empty list fetches nothing at all."""

    def __init__(
        self,
        hosts: Collection[str],
        clock: Callable[[], datetime],
        *,
        tls: ssl.SSLContext | None = None,
        look_up: LookUp | None = None,
        dial: Dial = lambda address: (address, HTTPS_PORT),
        throttle: Throttle | None = None,
    ) -> None:
        self._hosts = frozenset(hosts)
        self._clock = clock
        self._tls = tls
        self._look_up = look_up or system_look_up
        self._dial = dial
        self._throttle = throttle or Throttle(per_second=1, burst=30, clients_max=1024)
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)

    def lists(self, url: str) -> bool:
        """Whether the address is one that may be fetched at all. Asks nobody."""
        try:
            checked_url(url, self._hosts)
        except FetchRefused:
            return False
        return True

    async def get(self, url: str, *, bytes_max: int = DOCUMENT_BYTES_MAX, seconds: float = SECONDS_MAX) -> Fetched:
        """One GET. Raises FetchRefused and nothing else, whatever is at the other end."""
        host = checked_url(url, self._hosts).netloc.partition(":")[0]
        if not self._throttle.admits(host, self._clock()):
            raise FetchRefused("too_many")
        try:
            async with asyncio.timeout(seconds), self._turns:
                return await self._exchange(url, bytes_max)
        except TimeoutError:
            raise FetchRefused("too_slow") from None
        except FetchRefused:
            raise
        except (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError):
            raise FetchRefused("not_reached") from None

    async def _exchange(self, url: str, bytes_max: int) -> Fetched:
        resolver = _CheckedAddresses(self._look_up, self._dial)
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, ssl=self._tls or True, force_close=True)
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )
        headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "parley-gateway"}
        try:
            async with session.get(URL(url, encoded=True), headers=headers, allow_redirects=False) as response:
                return await _document(response, bytes_max)
        finally:
            await session.close()


def address_is_public(text: str) -> bool:
    """Whether an address (as text) belongs to the public internet: the only place where a stranger's document may be fetched from.

    IPv6 only inside 2000::/3 and outside the ranges that carry or document other addresses; IPv4 as Python's `is_global`, minus what that
    lets through (multicast, 192.0.0.0/24, the old 6to4 relay). Scoped and mapped forms are never public.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in NEVER_V4)
    return address.scope_id is None and address in GLOBAL_UNICAST_V6 and not any(address in network for network in NEVER_V6)


NEVER_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
GLOBAL_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
NEVER_V6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
"""Protocol assignments (Teredo among them), documentation, 6to4: each can carry an inner address of anywhere, or belongs to nobody."""


def checked_url(url: str, hosts: Collection[str]) -> SplitResult:
    """The parts of an address that may be fetched: https, a listed host, port 443, nothing that two readers could read differently."""
    if len(url) > URL_CHARS_MAX or not _PLAIN_URL.fullmatch(url):
        raise FetchRefused("address_form")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise FetchRefused("address_form") from None
    host, _, port = parts.netloc.partition(":")
    if parts.scheme != "https" or port not in ("", str(HTTPS_PORT)) or not _HOST.fullmatch(host):
        raise FetchRefused("address_form")
    if {".", ".."} & set(unquote(parts.path).split("/")):
        raise FetchRefused("address_form")
    if host not in hosts:
        raise FetchRefused("host_unlisted")
    return parts


_PLAIN_URL = re.compile(r"https://[a-z0-9.:-]+/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*")
"""No userinfo, fragment, backslash, blank or letter beyond ASCII; the host in lower case."""

_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""A name of at least two labels whose last begins with a letter: no address in any base, no local name."""


async def system_look_up(host: str) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, HTTPS_PORT, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class _CheckedAddresses(AbstractResolver):
    """Resolves once, for this one connection, and hands on nothing unless every address is public.

    One bad address among good ones refuses all: an attacker who mixes them only needs the connection to pick hers once.
    """

    def __init__(self, look_up: LookUp, dial: Dial) -> None:
        self._look_up = look_up
        self._dial = dial

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        addresses = tuple(dict.fromkeys(await self._look_up(host)))
        if not addresses or len(addresses) > ADDRESSES_MAX or not all(address_is_public(each) for each in addresses):
            raise FetchRefused("address_not_public")
        return [self._result(host, each) for each in addresses]

    def _result(self, host: str, address: str) -> ResolveResult:
        where, port = self._dial(address)
        kind = socket.AF_INET6 if ":" in where else socket.AF_INET
        return ResolveResult(hostname=host, host=where, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)

    async def close(self) -> None:
        """Holds nothing."""


async def _document(response: aiohttp.ClientResponse, bytes_max: int) -> Fetched:
    if response.status != 200:
        raise FetchRefused("status")
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise FetchRefused("compressed")
    if not _JSON_TYPE.fullmatch(response.headers.get("content-type", "").partition(";")[0].strip().lower()):
        raise FetchRefused("not_json")
    if (response.content_length or 0) > bytes_max:
        raise FetchRefused("too_large")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > bytes_max:
            raise FetchRefused("too_large")
    return Fetched(bytes(body), _max_age(response.headers.get("cache-control", "")))


_JSON_TYPE = re.compile(r"application/(?:[a-z0-9.-]+\+)?json")


def _max_age(cache_control: str) -> int:
    """Seconds that a document may be kept; none said, or anything forbidding it: zero."""
    directives = [each.strip().lower() for each in cache_control.split(",")]
    if {"no-store", "no-cache"} & set(directives):
        return 0
    ages = [each[8:] for each in directives if each.startswith("max-age=")]
    if len(ages) != 1 or not re.fullmatch(r"[0-9]{1,9}", ages[0]):
        return 0
    return min(int(ages[0]), AGE_SECONDS_MAX)
