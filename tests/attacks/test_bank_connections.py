"""Nobody is ever given another one's answer: what a bank, or somebody between, may do to the connections that are kept to it."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from parley.banks import pool
from parley.banks.pool import PooledTransport
from parley.model.refusals import BankNonsense, BankTimeout, BankUnavailable, Fault
from parley.model.transport import TransportResponse
from tests.fakes.scripted_bank import Line, ScriptedBank, good, path_of, scripted

Got = TypeVar("Got")
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
SECRET = "CANARY-TOKEN"
BYTES_MAX = 10_000


@pytest.fixture(autouse=True, params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test on both event loops: the gateway runs on uvloop, whose sockets and TLS are its own."""
    if request.param == "uvloop":
        monkeypatch.setattr(asyncio, "run", uvloop.run)
    return str(request.param)


def run(work: Awaitable[Got]) -> Got:
    async def inside() -> Got:
        async with asyncio.timeout(10):
            return await work

    return asyncio.run(inside())


async def ask(
    transport: PooledTransport, bank: ScriptedBank, path: str = "/mine", seconds: float = 2.0, bytes_max: int = 10_000
) -> TransportResponse:
    return await transport.get(bank.url + path, {"authorization": f"Bearer {SECRET}"}, seconds=seconds, bytes_max=bytes_max)


async def refusal(answer: Awaitable[TransportResponse]) -> Fault:
    """What the question ended in; no refusal quotes the bank, the address or the token."""
    with pytest.raises(Fault) as caught:
        await answer
    said = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert not [secret for secret in (SECRET, "/mine", "CANARY-BODY") if secret in said]
    return caught.value


async def echo(line: Line, request: bytes) -> None:
    """What a good bank does: each answer says which question it is for."""
    line.say(good(path_of(request)))


def test_a_connection_serves_one_question_after_the_other() -> None:
    async def work() -> None:
        async with scripted(echo) as bank, PooledTransport() as transport:
            for path in ("/a", "/b", "/c"):
                assert (await ask(transport, bank, path)).unverified_body == path.encode()
            assert bank.connections == 1
            many = [f"/{number}" for number in range(20)]
            answers = await asyncio.gather(*[ask(transport, bank, path) for path in many])
            assert [each.unverified_body.decode() for each in answers] == many
            assert 1 < bank.connections <= 20

    run(work())


def test_a_question_goes_out_as_it_was_meant() -> None:
    async def work() -> None:
        async with scripted(echo) as bank, PooledTransport() as transport:
            await ask(transport, bank, "/a?b=c")
            await transport.post_form(bank.url + "/p", {"a": "1 &", "ü": "="}, {"accept": "text/plain"}, seconds=1, bytes_max=100)
            host = bank.url.removeprefix("http://")
            always = "user-agent: parley-gateway\r\n{accept}accept-encoding: identity\r\n"
            asked = f"GET /a?b=c HTTP/1.1\r\nhost: {host}\r\n{always}authorization: Bearer {SECRET}\r\n\r\n"
            assert bank.requests[0].decode() == asked.format(accept="accept: application/json\r\n")
            posted = bank.requests[1].decode()
            assert posted.startswith(f"POST /p HTTP/1.1\r\nhost: {host}\r\n{always.format(accept='')}")
            assert posted.count("accept: ") == 1 and "accept: text/plain\r\n" in posted and posted.endswith("\r\n\r\na=1+%26&%C3%BC=%3D")

    run(work())


GOOD = {
    "a length": good(b"/mine"),
    "chunks": CHUNKED + b"2\r\n/m\r\n3\r\nine\r\n0\r\n\r\n",
    "chunks with words behind their sizes": CHUNKED + b"2;a=b\r\n/m\r\n03\r\nine\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"5\r\n/mine\r\n0\r\nx-later: y\r\n\r\n",
    "early hints first": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + good(b"/mine"),
    "a continue first": b"HTTP/1.1 100 Continue\r\n\r\n" + good(b"/mine"),
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n/mine",
}


@pytest.mark.parametrize("answer", GOOD.values(), ids=GOOD.keys())
@pytest.mark.parametrize("at_once", [1, 10_000])
def test_a_good_answer_is_understood_however_it_is_cut_up(answer: bytes, at_once: int) -> None:
    async def in_pieces(line: Line, request: bytes) -> None:
        for at in range(0, len(answer), at_once):
            line.say(answer[at : at + at_once])
            await asyncio.sleep(0)

    async def work() -> None:
        async with scripted(in_pieces) as bank, PooledTransport() as transport:
            for _ in range(2):
                told = await ask(transport, bank)
                assert (told.status, told.unverified_body) == (200, b"/mine")
            assert bank.connections == (2 if b"HTTP/1.0" in answer else 1)

    run(work())


DOUBTFUL = {
    "two answers to one question": good(b"/mine") + good(b"CANARY-BODY"),
    "a second answer behind an empty one": b"HTTP/1.1 204 None\r\n\r\n" + good(b"CANARY-BODY"),
    "a body where none may be": b"HTTP/1.1 204 None\r\ncontent-length: 5\r\n\r\nhello",
    "a body beyond its length": good(b"/mine") + b"CANARY-BODY",
    "two lengths": OK + b"content-length: 5\r\ncontent-length: 7\r\n\r\n/mine",
    "the same length twice": OK + b"content-length: 5\r\ncontent-length: 5\r\n\r\n/mine",
    "a list of lengths": OK + b"content-length: 5, 5\r\n\r\n/mine",
    "a length with a sign": OK + b"content-length: +5\r\n\r\n/mine",
    "a length without end": OK + b"content-length: 99999999999999999999999999\r\n\r\n/mine",
    "length and chunks": OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\n/mine\r\n0\r\n\r\n",
    "chunks and length": OK + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\n/mine\r\n0\r\n\r\n",
    "chunked twice": OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n5\r\n/mine\r\n0\r\n\r\n",
    "chunked and something else": OK + b"transfer-encoding: gzip, chunked\r\n\r\n5\r\n/mine\r\n0\r\n\r\n",
    "something like chunked": OK + b"transfer-encoding: xchunked\r\n\r\n5\r\n/mine\r\n0\r\n\r\n",
    "not chunked any more": OK + b"transfer-encoding: identity\r\n\r\n/mine",
    "neither length nor chunks": OK + b"\r\n/mine",
    "a negative chunk": CHUNKED + b"-5\r\n/mine\r\n0\r\n\r\n",
    "a chunk without end": CHUNKED + b"fffffffffffffffffff\r\n/mine",
    "a chunk longer than it says": CHUNKED + b"2\r\n/mine\r\n0\r\n\r\n",
    "a size that ends in a bare newline": CHUNKED + b"5\n/mine\r\n0\r\n\r\n",
    "a space before the colon": OK + b"content-length : 5\r\n\r\n/mine",
    "a header that goes on in the next line": OK + b"x: a\r\n content-length: 0\r\ncontent-length: 5\r\n\r\n/mine",
    "bare newlines": b"HTTP/1.1 200 OK\ncontent-length: 5\n\n/mine",
    "a bare return in a header": OK + b"x: a\rcontent-length: 0\r\ncontent-length: 5\r\n\r\n/mine",
    "a NUL in a header": OK + b"x: a\0b\r\ncontent-length: 5\r\n\r\n/mine",
    "a header without a name": OK + b": a\r\ncontent-length: 5\r\n\r\n/mine",
    "a status of two digits": b"HTTP/1.1 20 OK\r\ncontent-length: 5\r\n\r\n/mine",
    "a status beyond all": b"HTTP/1.1 999 OK\r\ncontent-length: 5\r\n\r\n/mine",
    "HTTP/2.0 in words": b"HTTP/2.0 200 OK\r\ncontent-length: 5\r\n\r\n/mine",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\ncontent-length: 5\r\n\r\n/mine",
    "another protocol": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n" + good(b"/mine"),
    "another protocol without a word": b"HTTP/1.1 101 Switching\r\n\r\n" + good(b"/mine"),
    "promises without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + good(b"/mine"),
    "a request": b"GET /mine HTTP/1.1\r\n\r\n",
    "an answer too large": good(b" " * 10_001),
    "chunks too large together": CHUNKED
    + b"1000\r\n"
    + b" " * 4096
    + b"\r\n1000\r\n"
    + b" " * 4096
    + b"\r\n1000\r\n"
    + b" " * 4096
    + b"\r\n0\r\n\r\n",
    "too many headers": OK + b"".join(b"x-%d: y\r\n" % number for number in range(200)) + b"content-length: 5\r\n\r\n/mine",
    "headers too large": OK + b"".join(b"x-%d: %b\r\n" % (number, b"y" * 4000) for number in range(5)) + b"content-length: 5\r\n\r\n/mine",
    "one header without end": OK + b"x: " + b"y" * 20_000,
    "trailers too large": CHUNKED + b"5\r\n/mine\r\n0\r\n" + b"".join(b"x: %b\r\n" % (b"y" * 4000) for _ in range(5)) + b"\r\n",
    "words without end behind a chunk's size": CHUNKED + b"5;" + b"a" * 2_000_000,
    "a compressed answer": good(b"/mine", "content-encoding: gzip"),
    "compressed and not": good(b"/mine", "content-encoding: identity", "content-encoding: gzip"),
}


@pytest.mark.parametrize("answer", DOUBTFUL.values(), ids=DOUBTFUL.keys())
@pytest.mark.parametrize("in_pieces", [False, True], ids=["at once", "in pieces"])
def test_an_answer_in_doubt_is_refused_and_its_connection_never_used_again(answer: bytes, in_pieces: bool) -> None:
    async def doubtful_at_first(line: Line, request: bytes) -> None:
        if line.number > 0:
            await echo(line, request)
        elif not in_pieces or len(answer) > 5_000:
            line.say(answer)
        else:
            for at in range(0, len(answer), 7):
                line.say(answer[at : at + 7])

    async def work() -> None:
        async with scripted(doubtful_at_first) as bank, PooledTransport() as transport:
            assert type(await refusal(ask(transport, bank))) is BankNonsense
            assert (await ask(transport, bank, "/next")).unverified_body == b"/next"
            assert bank.connections == 2

    run(work())


def test_what_comes_when_nobody_asked_is_never_an_answer() -> None:
    """An answer too many is followed by a pause: the next question must not find it waiting."""

    async def one_too_many(line: Line, request: bytes) -> None:
        await echo(line, request)
        if line.number == 0:
            await asyncio.sleep(0.02)
            line.say(good(b"CANARY-BODY"))

    async def work() -> None:
        async with scripted(one_too_many) as bank, PooledTransport() as transport:
            assert (await ask(transport, bank, "/first")).unverified_body == b"/first"
            await asyncio.sleep(0.08)
            assert (await ask(transport, bank, "/next")).unverified_body == b"/next"
            assert bank.connections == 2

    run(work())


def test_an_answer_that_waits_unread_is_not_taken_for_the_next_one(loop: str) -> None:
    """The event loop is busy as the stray answer arrives: it stands in the socket, unread, when the next question is about to go out."""
    stray = asyncio.Event()

    async def one_too_many(line: Line, request: bytes) -> None:
        await echo(line, request)
        if line.number == 0:
            await stray.wait()
            line.say(good(b"CANARY-BODY"))

    async def work() -> None:
        async with scripted(one_too_many) as bank, PooledTransport() as transport:
            assert (await ask(transport, bank, "/first")).unverified_body == b"/first"
            stray.set()
            for _ in range(1 if loop == "asyncio" else 3):
                await asyncio.sleep(0)  # The bank writes in this turn of the loop (uvloop: in the next); our end is not read before the one after.
            assert (await ask(transport, bank, "/next")).unverified_body == b"/next"
            assert bank.connections == 2

    run(work())


@pytest.mark.parametrize("ending", ["given up", "timed out"])
def test_the_late_answer_to_a_question_given_up_goes_to_nobody(ending: str) -> None:
    late = asyncio.Event()

    async def slow_at_first(line: Line, request: bytes) -> None:
        if path_of(request) == b"/slow":
            await late.wait()
        await echo(line, request)

    async def work() -> None:
        async with scripted(slow_at_first) as bank, PooledTransport() as transport:
            slow = asyncio.ensure_future(ask(transport, bank, "/slow", seconds=0.1 if ending == "timed out" else 5))
            await bank.asked(1)
            if ending == "given up":
                slow.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await slow
            else:
                assert type(await refusal(slow)) is BankTimeout
            late.set()
            for path in ("/next", "/after"):
                assert (await ask(transport, bank, path)).unverified_body == path.encode()
            assert bank.connections == 2

    run(work())


def test_a_connection_that_the_bank_gave_up_meanwhile_costs_no_question() -> None:
    async def once(line: Line, request: bytes) -> None:
        await echo(line, request)
        await line.hang_up()

    async def work() -> None:
        async with scripted(once) as bank, PooledTransport() as transport:
            for path in ("/a", "/b", "/c"):
                assert (await ask(transport, bank, path)).unverified_body == path.encode()
            assert [path_of(request) for request in bank.requests] == [b"/a", b"/b", b"/c"]

    run(work())


def test_a_read_is_asked_once_more_where_a_kept_connection_ends_without_a_byte_and_nothing_else_ever_is() -> None:
    async def second_time_silent(line: Line, request: bytes) -> None:
        if line.asked > 1 or path_of(request) == b"/never":
            await line.hang_up()
        else:
            await echo(line, request)

    async def work() -> None:
        async with scripted(second_time_silent) as bank, PooledTransport() as transport:
            await ask(transport, bank, "/a")
            assert (await ask(transport, bank, "/b")).unverified_body == b"/b"
            assert [path_of(request) for request in bank.requests] == [b"/a", b"/b", b"/b"]
            answer = transport.post_form(bank.url + "/c", {}, {}, seconds=1, bytes_max=100)
            assert type(await refusal(answer)) is not BankNonsense
            assert [path_of(request) for request in bank.requests[3:]] == [b"/c"]
            assert isinstance(await refusal(ask(transport, bank, "/never")), BankUnavailable)
            assert [path_of(request) for request in bank.requests[4:]] == [b"/never"]

    run(work())


def test_an_answer_that_was_begun_is_never_asked_for_again() -> None:
    async def cut(line: Line, request: bytes) -> None:
        if line.asked == 1:
            await echo(line, request)
        else:
            line.say(good(b"/mine")[:-2])
            await line.hang_up()

    async def work() -> None:
        async with scripted(cut) as bank, PooledTransport() as transport:
            await ask(transport, bank)
            assert type(await refusal(ask(transport, bank))) is BankUnavailable
            assert len(bank.requests) == 2

    run(work())


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nx: y", "a\rx", "a\0b", "ü", "a\r\n\r\nGET /other HTTP/1.1"])
def test_no_header_smuggles_in_a_line_of_its_own(value: str) -> None:
    """A token comes from the bank's authorization server: a stranger's text in our request."""

    async def work() -> None:
        async with scripted(echo) as bank, PooledTransport() as transport:
            assert type(await refusal(transport.get(bank.url + "/mine", {"authorization": value}, seconds=1, bytes_max=9))) is BankNonsense
            assert type(await refusal(transport.get(bank.url + "/mine", {value: "a"}, seconds=1, bytes_max=9))) is BankNonsense
            assert not bank.requests

    run(work())


def test_no_address_smuggles_in_another() -> None:
    async def work() -> None:
        async with scripted(echo) as bank, PooledTransport() as transport:
            host = bank.url.removeprefix("http://")
            addresses = [
                *(bank.url + path for path in ("/a b", "/a\r\nx: y", "/a#b", "/ü", "/a\0", "/" + "a" * 20_000)),
                *(f"{start}{host}/a" for start in ("ftp://", "http://user@", "http:/", "//", "", "http://x\\@", "HTTP//")),
                "http://",
                "http:///a",
                "https://:443/a",
                f"http://{host}0000/a",
                "http://[::1/a",
            ]
            for address in addresses:
                assert isinstance(await refusal(transport.get(address, {}, seconds=1, bytes_max=99)), BankNonsense | BankUnavailable), address
            assert not bank.requests

    run(work())


def test_who_asks_too_much_at_once_waits_for_a_turn_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CONNECTIONS_PER_ORIGIN", 2)
    hold = asyncio.Event()

    async def held(line: Line, request: bytes) -> None:
        await hold.wait()
        await echo(line, request)

    async def work() -> None:
        async with scripted(held) as bank, PooledTransport() as transport:
            first = [asyncio.ensure_future(ask(transport, bank, path)) for path in ("/a", "/b")]
            await bank.asked(2)
            assert type(await refusal(ask(transport, bank, seconds=0.05))) is BankTimeout
            given_up = asyncio.ensure_future(ask(transport, bank, "/given-up"))
            patient = asyncio.ensure_future(ask(transport, bank, "/patient"))
            await asyncio.sleep(0.01)
            given_up.cancel()
            assert len(bank.requests) == 2
            hold.set()
            assert [(await each).unverified_body for each in (*first, patient)] == [b"/a", b"/b", b"/patient"]
            assert (await asyncio.gather(given_up, return_exceptions=True))[0].__class__ is asyncio.CancelledError
            for path in ("/c", "/d", "/e"):
                assert (await ask(transport, bank, path)).unverified_body == path.encode()
            assert bank.connections == 2 and b"/given-up" not in map(path_of, bank.requests)

    run(work())


def test_strangers_addresses_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "ORIGINS_MAX", 2)

    async def work() -> None:
        async with scripted(echo) as one, scripted(echo) as two, scripted(echo) as three, PooledTransport() as transport:
            for bank in (one, two, three, one):
                assert (await ask(transport, bank)).unverified_body == b"/mine"
            assert one.connections == 2

    run(work())


def test_whoever_waits_as_the_house_closes_is_told() -> None:
    async def silent(line: Line, request: bytes) -> None:
        await asyncio.sleep(60)

    async def work() -> None:
        async with scripted(silent) as bank, PooledTransport() as transport:
            waiting = asyncio.ensure_future(ask(transport, bank, seconds=30))
            await bank.asked(1)
            await transport.aclose()
            assert type(await refusal(waiting)) is BankUnavailable

    run(work())


def certificate(folder: Path, host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(the server's context, one that trusts this certificate and no other)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
    signed = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, SHA256())
    chain, private = folder / f"{host}.pem", folder / f"{host}.key"
    chain.write_bytes(signed.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, private)
    return server, ssl.create_default_context(cafile=str(chain))


def test_over_tls_only_the_bank_that_its_certificate_names_is_asked(tmp_path: Path) -> None:
    right, trusts_right = certificate(tmp_path, "127.0.0.1")
    wrong, trusts_wrong = certificate(tmp_path, "127.0.0.9")

    async def work() -> None:
        async with scripted(echo, right) as bank, scripted(echo, wrong) as impostor:
            async with PooledTransport(tls=trusts_right) as transport:
                for path in ("/a", "/b", "/c"):
                    assert (await ask(transport, bank, path)).unverified_body == path.encode()
                assert bank.connections == 1
            refused: list[tuple[Callable[[], PooledTransport], ScriptedBank]] = [
                (PooledTransport, bank),
                (lambda: PooledTransport(tls=trusts_wrong), bank),
                (lambda: PooledTransport(tls=trusts_wrong), impostor),
            ]
            for make, asked in refused:
                async with make() as transport:
                    assert type(await refusal(ask(transport, asked))) is BankUnavailable
            assert len(bank.requests) == 3 and not impostor.requests

    run(work())
