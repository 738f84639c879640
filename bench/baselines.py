"""What people would run instead, without any protection: a bare proxy, and the usual stack. Both pass the bank's body on as it is."""

import argparse
import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from bench.processes import leave_with_parent

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def bare(bank: str) -> AsgiApp:
    """Plain ASGI and aiohttp's client: the cheapest proxy that Python people write."""
    import aiohttp

    sessions: list[aiohttp.ClientSession] = []

    async def lifespan(receive: Receive, send: Send) -> None:
        await receive()
        sessions.append(aiohttp.ClientSession())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await sessions[0].close()
        await send({"type": "lifespan.shutdown.complete"})

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        query = scope["query_string"]
        url = bank + scope["path"] + (f"?{query.decode()}" if query else "")
        async with sessions[0].get(url) as answer:
            body = await answer.read()
            headers = [(b"content-type", answer.headers["content-type"].encode()), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def usual(bank: str) -> AsgiApp:
    """FastAPI and httpx2's client, as their own introductions show them."""
    from collections.abc import AsyncIterator
    from contextlib import asynccontextmanager

    import httpx2
    from fastapi import FastAPI, Request, Response

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with httpx2.AsyncClient(base_url=bank) as client:
            app.state.client = client
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/{path:path}")
    async def forward(path: str, request: Request) -> Response:
        answer = await request.app.state.client.get(f"/{path}", params=request.query_params)
        return Response(answer.content, answer.status_code, media_type=answer.headers["content-type"])

    return app


class _Announcing(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        print(json.dumps({"url": self._url}), flush=True)


def main() -> None:
    """Serve one of them on a free port of this machine; says the address in one line of JSON."""
    parser = argparse.ArgumentParser(description="A proxy without protection.")
    parser.add_argument("which", choices=("bare", "usual"))
    parser.add_argument("--bank", required=True)
    options = parser.parse_args()
    leave_with_parent()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    app = bare(options.bank) if options.which == "bare" else usual(options.bank)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", ws="none", lifespan="on", access_log=False, log_level="warning", server_header=False
    )
    _Announcing(config, f"http://127.0.0.1:{listener.getsockname()[1]}").run(sockets=[listener])


if __name__ == "__main__":
    main()
