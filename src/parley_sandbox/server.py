"""Puts the bank's rooms together and serves them on a loopback port."""

import json
import logging
import os
import socket
import sys
import threading
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from parley_sandbox import browser, fdx, oauth, operator_desk
from parley_sandbox.bank import Bank
from parley_sandbox.pages import stylesheet
from parley_sandbox.sessions import GuessBrake, Sessions
from parley_sandbox.web import SafeEdge, json_response

HOST = "127.0.0.1"
GRACE_SECONDS = 2
IDLE_SECONDS = 75


def application(bank: Bank) -> ASGIApp:
    """The bank as an ASGI application."""
    app = Starlette(
        routes=[*browser.ROUTES, *oauth.ROUTES, *fdx.ROUTES, *operator_desk.ROUTES, Route("/larkspur.css", stylesheet)],
        exception_handlers={HTTPException: _no_such_page, Exception: _broken},
    )
    app.state.bank = bank
    app.state.login_sessions = Sessions(browser.COOKIE, bank.clock)
    app.state.operator_sessions = Sessions(operator_desk.COOKIE, bank.clock)
    app.state.guess_brake = GuessBrake(bank.clock)
    return SafeEdge(app, urlsplit(bank.issuer).netloc)


def listen(port: int) -> tuple[socket.socket, str]:
    """A bound loopback socket and the bank's address. Port 0 picks a free one. Raises OSError when the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    return listener, f"http://{HOST}:{listener.getsockname()[1]}"


def serve(bank: Bank, listener: socket.socket, *, exit_with_parent: bool = False) -> None:
    """Serves until stopped by a signal, or until standard input closes where `exit_with_parent` is asked for."""
    logging.getLogger("uvicorn.error").addFilter(_not_the_cut)
    config = uvicorn.Config(
        application(bank),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=500,
        backlog=512,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Announcing(config, bank.issuer)
    if exit_with_parent:
        threading.Thread(target=_exit_with_parent, args=(server,), daemon=True).start()
    server.run(sockets=[listener])


class _Announcing(uvicorn.Server):
    """Says in one line of JSON that it listens, once that is true."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(json.dumps({"event": "listening", "url": self._url, "pid": os.getpid()}), flush=True)


def _exit_with_parent(server: uvicorn.Server) -> None:
    """Waits until the parent's end of standard input closes, which the system does even when the parent is killed."""
    while os.read(sys.stdin.fileno(), 4096):  # not through the buffer, whose lock a blocked thread would hold at shutdown
        pass
    server.should_exit = True
    threading.Event().wait(GRACE_SECONDS)
    os._exit(0)


def _not_the_cut(record: logging.LogRecord) -> bool:
    """Keeps the deliberately cut answer out of the diagnostics."""
    problem = record.exc_info[1] if record.exc_info else None
    return not (isinstance(problem, RuntimeError) and "shorter than Content-Length" in str(problem))


async def _no_such_page(request: Request, problem: Exception) -> Response:
    del request
    status = problem.status_code if isinstance(problem, HTTPException) else 500
    return json_response({"code": str(status), "message": "There is nothing here that answers this."}, status)


async def _broken(request: Request, problem: Exception) -> Response:
    del request, problem
    return json_response({"code": "500", "message": "Something broke."}, 500)
