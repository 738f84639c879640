"""C8: a stranger names an address and the gateway fetches it. It must never knock on a door inside the bank, nor hold its breath for one."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from parley.authorization.server.fetch import Fetched, FetchRefused, GuardedFetcher, LookUp, address_is_public
from parley.authorization.sessions import Throttle
from tests.fakes.tls_host import HOST, PUBLIC, Play, TlsHost, answer

URL = f"https://{HOST}/client.json"

TRAPS = (
    "127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.88.99.1", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:7f00:1::", "fe80::1", "fec0::1", "fd00:ec2::254", "ff02::1",
)  # fmt: skip
"""The 28 addresses: every one is something that a naive check has let through somewhere."""

MORE_TRAPS = (
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "2001:db8::1",
    "3fff::1",
    "2001:2::1",
    "5f00::1",
    "4000::1",
    "2130706433",
    "0177.0.0.1",
    "127.1",
    "",
)
PUBLIC_ONES = ("93.184.215.14", "8.8.8.8", "2606:4700::6810:84e5", "2a00:1450:4001:80b::200e")


def always(*addresses: str) -> LookUp:
    async def look_up(host: str) -> Sequence[str]:
        return addresses

    return look_up


def clock() -> datetime:
    return datetime.now(UTC)


def fetch(
    tmp_path: Path, play: bytes | Play, *, look_up: LookUp | None = None, url: str = URL, seconds: float = 2.0
) -> tuple[Fetched | str, TlsHost]:
    """What one fetch gives, or the code of its refusal; and the server, which tells what it was asked."""

    async def story() -> tuple[Fetched | str, TlsHost]:
        async with TlsHost(tmp_path) as host:
            host.play = play
            fetcher = GuardedFetcher([HOST], clock, tls=host.trust, look_up=look_up or always(PUBLIC), dial=host.dial)
            try:
                return await fetcher.get(url, seconds=seconds), host
            except FetchRefused as refused:
                return refused.code, host

    return asyncio.run(story())


def test_C8_a_listed_public_host_is_fetched_and_asked_for_nothing_but_plain_json(tmp_path: Path) -> None:
    got, host = fetch(tmp_path, answer(b'{"client_id": "x"}', cache_control="max-age=60"))
    assert isinstance(got, Fetched)
    assert (got.unverified_body, got.max_age) == (b'{"client_id": "x"}', 60)
    asked = host.asked[0].lower()
    assert b"accept-encoding: identity" in asked
    assert b"cookie" not in asked


def test_C8_there_are_28_traps() -> None:
    assert len(set(TRAPS)) == 28


@pytest.mark.parametrize("address", TRAPS + MORE_TRAPS)
def test_B33_C8_an_address_that_is_not_public_is_never_connected_to(tmp_path: Path, address: str) -> None:
    assert not address_is_public(address)
    got, host = fetch(tmp_path, answer(b"{}"), look_up=always(address))
    assert (got, host.asked) == ("address_not_public", [])


@pytest.mark.parametrize("address", PUBLIC_ONES)
def test_C8_public_addresses_pass(address: str) -> None:
    assert address_is_public(address)


def test_C8_one_inner_address_among_public_ones_refuses_all(tmp_path: Path) -> None:
    got, host = fetch(tmp_path, answer(b"{}"), look_up=always(PUBLIC, "10.0.0.1"))
    assert (got, host.asked) == ("address_not_public", [])


def test_C8_a_name_that_changes_after_the_check_gains_nothing(tmp_path: Path) -> None:
    """Rebinding: the second look-up would lead inside. There is no second look-up: the checked address is the one that is dialled."""
    looked_up: list[str] = []
    dialled: list[str] = []

    async def rebinding(host: str) -> Sequence[str]:
        looked_up.append(host)
        return [PUBLIC] if len(looked_up) == 1 else ["127.0.0.1"]

    async def story() -> None:
        async with TlsHost(tmp_path) as host:

            def dial(address: str) -> tuple[str, int]:
                dialled.append(address)
                return host.dial(address)

            fetcher = GuardedFetcher([HOST], clock, tls=host.trust, look_up=rebinding, dial=dial)
            await fetcher.get(URL)
            assert (looked_up, dialled) == ([HOST], [PUBLIC])
            with pytest.raises(FetchRefused, match="address_not_public"):
                await fetcher.get(URL)
            assert len(host.asked) == 1

    asyncio.run(story())


@pytest.mark.parametrize(
    "url",
    [
        f"http://{HOST}/client.json",
        f"https://{HOST}:8443/client.json",
        f"https://{HOST}:443@evil.example/client.json",
        f"https://user@{HOST}/client.json",
        f"https://{HOST}\\@evil.example/client.json",
        f"https://{HOST}/client.json#fragment",
        f"https://{HOST}/a/../client.json",
        f"https://{HOST}/%2e%2e/client.json",
        f"https://{HOST}/client\n.json",
        f"https://{HOST}\t/client.json",
        f"https://{HOST}./client.json",
        f"https://{HOST.upper()}/client.json",
        f"https://{HOST}",
        "https://2130706433/client.json",
        "https://0x7f000001/client.json",
        "https://0177.0.0.1/client.json",
        "https://127.0.0.1/client.json",
        "https://[::1]/client.json",
        "https://[fe80::1%25eth0]/client.json",
        "https://localhost/client.json",
        "https://xn--clent-9ta.example/client.json",
        "https://clıent.example/client.json",
        "https://client.example.evil.example/client.json",
        "https://evil.example/client.json",
        "file:///etc/passwd",
        "gopher://client.example/x",
        f"https://{HOST}/" + "a" * 2000,
        "",
    ],
)
def test_C8_addresses_of_any_other_form_or_host_are_not_even_looked_up(tmp_path: Path, url: str) -> None:
    looked_up: list[str] = []

    async def look_up(host: str) -> Sequence[str]:
        looked_up.append(host)
        return [PUBLIC]

    got, host = fetch(tmp_path, answer(b"{}"), look_up=look_up, url=url)
    assert got in ("address_form", "host_unlisted")
    assert (looked_up, host.asked) == ([], [])


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_C8_redirects_lead_nowhere(tmp_path: Path, status: str) -> None:
    got, host = fetch(tmp_path, answer(b"{}", status, location="https://169.254.169.254/latest/meta-data"))
    assert got == "status"
    assert len(host.asked) == 1


async def endless(writer: asyncio.StreamWriter) -> None:
    """10 MB without saying how long it is."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n")
    for _ in range(160):
        writer.write(b"[" * 65_536)
        await writer.drain()


async def dripping(writer: asyncio.StreamWriter) -> None:
    """A byte now and then, so that no single wait is ever too long."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 4000\r\n\r\n")
    for _ in range(100):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def long_header(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 1_000_000 + b"\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    ("play", "code"),
    [
        (endless, "too_large"),
        (answer(b"{}", content_length="10000000"), "too_large"),
        (answer(b"x" * 6000), "too_large"),
        (answer(gzip.compress(b" " * 10_000_000), content_encoding="gzip"), "compressed"),
        (answer(b"{}", content_type="text/html"), "not_json"),
        (answer(b"{}", content_type=""), "not_json"),
        (answer(b"{}", "404 Not Found"), "status"),
        (answer(b"{}", "500 Oh"), "status"),
        (long_header, "not_reached"),
        (b"this is not HTTP\r\n\r\n", "not_reached"),
        (b"", "not_reached"),
        (answer(b"{}", content_length="400"), "not_reached"),
    ],
    ids=["endless", "said", "6000", "gzip", "html", "untyped", "404", "500", "header", "nonsense", "nothing", "cut off"],
)
def test_C8_what_comes_back_has_a_limit(tmp_path: Path, play: bytes | Play, code: str) -> None:
    assert fetch(tmp_path, play)[0] == code


def test_C8_a_body_that_drips_is_given_up(tmp_path: Path) -> None:
    assert fetch(tmp_path, dripping, seconds=0.4)[0] == "too_slow"


def test_C8_a_slow_name_server_is_given_up(tmp_path: Path) -> None:
    async def never(host: str) -> Sequence[str]:
        await asyncio.sleep(60)
        return [PUBLIC]

    assert fetch(tmp_path, answer(b"{}"), look_up=never, seconds=0.2)[0] == "too_slow"


def test_C8_a_server_without_a_certificate_that_we_trust_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with TlsHost(tmp_path) as host:
            fetcher = GuardedFetcher([HOST], clock, tls=ssl.create_default_context(), look_up=always(PUBLIC), dial=host.dial)
            with pytest.raises(FetchRefused, match="not_reached"):
                await fetcher.get(URL)
            assert host.asked == []

    asyncio.run(story())


def test_C8_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with TlsHost(tmp_path, "other.example") as host:
            fetcher = GuardedFetcher([HOST], clock, tls=host.trust, look_up=always(PUBLIC), dial=host.dial)
            with pytest.raises(FetchRefused, match="not_reached"):
                await fetcher.get(URL)

    asyncio.run(story())


def test_C17_strangers_cannot_make_us_hammer_a_listed_host(tmp_path: Path) -> None:
    async def story() -> None:
        async with TlsHost(tmp_path) as host:
            fetcher = GuardedFetcher(
                [HOST], clock, tls=host.trust, look_up=always(PUBLIC), dial=host.dial, throttle=Throttle(per_second=0.001, burst=3)
            )
            for number in range(3):
                await fetcher.get(f"https://{HOST}/{number}.json")
            with pytest.raises(FetchRefused, match="too_many"):
                await fetcher.get(f"https://{HOST}/more.json")
            assert len(host.asked) == 3

    asyncio.run(story())


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("max-age=60", 60),
        ("public, max-age=99999999", 86_400),
        ("no-store, max-age=60", 0),
        ("no-cache", 0),
        ("", 0),
        ("max-age=-1", 0),
        ("max-age=1, max-age=9", 0),
        ("max-age=٣", 0),
    ],
)
def test_C9_a_document_is_kept_no_longer_than_its_server_lets_us(tmp_path: Path, said: str, kept: int) -> None:
    got, _ = fetch(tmp_path, answer(b"{}", cache_control=said))
    assert isinstance(got, Fetched)
    assert got.max_age == kept


def test_C16_a_refusal_holds_nothing_of_the_address() -> None:
    fetcher = GuardedFetcher([], clock)
    with pytest.raises(FetchRefused) as caught:
        asyncio.run(fetcher.get("https://secret.example/token-in-path"))
    assert "secret" not in str(caught.value) + repr(caught.value)
