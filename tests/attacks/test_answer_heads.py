"""The head of an answer is put together quickly, and still no value breaks out of its line."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvicorn

from parley.app import http
from parley.app.http import BoundedHttp, plain_head

LENGTH = (b"content-length", b"2")


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: x=y", b"a\nb", b"a\rb", b"a\0b", b"\x7f"])
@pytest.mark.parametrize("again", [1, 2])
def test_a_value_never_brings_a_line_of_its_own(value: bytes, again: int) -> None:
    for _ in range(again):
        assert plain_head(200, [(b"x-name", value), LENGTH]) is None
        assert plain_head(200, [(value, b"x"), LENGTH]) is None


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [LENGTH, LENGTH],
        [LENGTH, (b"transfer-encoding", b"chunked")],
        [(b"Content-Length", b"2")],
        [(b"content-length", b"-2")],
        [(b"content-length", b"2\r\n")],
        [LENGTH, (b"connection", b"close")],
    ],
)
def test_whatever_decides_where_an_answer_ends_is_left_to_the_server(headers: list[tuple[bytes, bytes]]) -> None:
    assert plain_head(200, headers) is None


def test_a_plain_head_is_what_the_server_itself_would_write() -> None:
    for _ in range(2):
        head = plain_head(200, [(b"date", b"today")], [(b"X-Name", b"a b"), LENGTH])
        assert head == (b"HTTP/1.1 200 OK\r\ndate: today\r\nx-name: a b\r\ncontent-length: 2\r\n\r\n", 2)


def test_what_is_remembered_has_an_end_and_holds_no_cookie_and_no_code() -> None:
    for number in range(http.LINES_KEPT * 2):
        plain_head(
            200, [(b"x-number", str(number).encode()), (b"set-cookie", b"secret"), (b"Location", b"/?code=secret"), (b"x", b"y" * 5000), LENGTH]
        )
        assert len(http._lines) <= http.LINES_KEPT
    kept = b"".join(http._lines.values())
    assert b"secret" not in kept and b"yyyy" not in kept


APP_HEADERS = [(b"content-type", b"text/plain"), LENGTH, (b"x-security", b"on")]


async def app(scope: object, receive: object, send: object) -> None:
    await receive()  # type: ignore[operator]
    await send({"type": "http.response.start", "status": 200, "headers": APP_HEADERS})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b"ok"})  # type: ignore[operator]


async def say(requests: bytes) -> bytes:
    """What the server answers on one connection until it closes it."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=BoundedHttp, lifespan="off", log_config=None, access_log=False, server_header=False)
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    try:
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(requests)
        told = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return told
    finally:
        server.should_exit = True
        await serving


ASK = b"GET / HTTP/1.1\r\nhost: x\r\n"


def test_questions_that_come_at_once_are_answered_in_order_and_the_last_one_ends_the_connection() -> None:
    told = asyncio.run(say((ASK + b"\r\n") * 3 + ASK + b"connection: close\r\n\r\n"))
    assert told.count(b"HTTP/1.1 200 OK\r\n") == told.count(b"x-security: on\r\n") == told.count(b"\r\n\r\nok") == 4
    assert told.count(b"connection: close") == 1


def test_a_head_request_gets_the_head_alone_and_an_old_client_is_hung_up_on() -> None:
    told = asyncio.run(say(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n" + b"GET / HTTP/1.0\r\n\r\n"))
    first, second = told.split(b"\r\n\r\n", 1)
    assert b"content-length: 2" in first and second.startswith(b"HTTP/1.1 200 OK") and second.endswith(b"\r\n\r\nok")
