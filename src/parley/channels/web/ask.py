"""The hot path: one question over HTTP, as plain ASGI. Everything that can refuse a request does so before the house hears of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from starlette.types import Receive, Scope, Send

from parley.channels.web.conversation import BODY_BYTES_MAX, WebConversation, check_sender, read_nothing
from parley.channels.web.desk import ChatDesk, SessionReader, SessionView, WebSettings
from parley.channels.web.protect import respond
from parley.channels.web.reply import INTERNAL, Reply, encode_reply, reply_to_failure, status_of
from parley.model.refusals import BadInput, Fault, NotUnderstood, Refusal
from parley.model.stages import Envelope


class JsonDoor:
    """POST in, Reply out. `work` is given the envelope and the session that sent it. Never a 500, whatever comes in or breaks."""

    def __init__(
        self,
        sessions: SessionReader,
        work: Callable[[Envelope, SessionView], Awaitable[Reply]],
        *,
        clock: Callable[[], datetime],
        on_fault: Callable[[str], None],
        suggestions: tuple[str, ...] = (),
    ) -> None:
        self._sessions = sessions
        self._work = work
        self._clock = clock
        self._on_fault = on_fault
        self._suggestions = suggestions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = await self._reply(scope, receive)
        await respond(send, status_of(reply), encode_reply(reply))

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        try:
            headers = read_headers(scope)
            body = await read_body(headers.get("content-length", ""), receive)
            session = await self._sessions.find(headers)
            if session is None:
                raise BadInput("session_unknown")
            return await self._work(Envelope(body, headers, self._clock()), session)
        except (Refusal, NotUnderstood, Fault) as failure:
            return reply_to_failure(failure, self._suggestions)
        except Exception as unforeseen:
            self._on_fault(type(unforeseen).__name__)
            return INTERNAL


def ask_door(
    desk: ChatDesk, sessions: SessionReader, settings: WebSettings, *, clock: Callable[[], datetime], on_fault: Callable[[str], None]
) -> JsonDoor:
    async def ask(envelope: Envelope, session: SessionView) -> Reply:
        return await desk.answer(envelope, WebConversation(session, public_origin=settings.public_origin, platform=settings.platform))

    return JsonDoor(sessions, ask, clock=clock, on_fault=on_fault, suggestions=settings.examples)


def stop_door(
    desk: ChatDesk, sessions: SessionReader, settings: WebSettings, *, clock: Callable[[], datetime], on_fault: Callable[[str], None]
) -> JsonDoor:
    async def stop(envelope: Envelope, session: SessionView) -> Reply:
        check_sender(envelope.unverified_headers, session, settings.public_origin)
        read_nothing(envelope.unverified_body)
        return await desk.stop(session.conversation)

    return JsonDoor(sessions, stop, clock=clock, on_fault=on_fault)


def read_headers(scope: Scope) -> dict[str, str]:
    """Header names in lower case; repeated ones joined, so that a repetition never passes an exact comparison."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name in headers:
            value = f"{headers[name]}{'; ' if name == 'cookie' else ', '}{value}"
        headers[name] = value
    return headers


async def read_body(declared: str, receive: Receive) -> bytes:
    """The body. Raises BadInput as soon as it is longer than a question can be; the rest is never read."""
    if declared.isdecimal() and int(declared[:20]) > BODY_BYTES_MAX:
        raise BadInput("body_too_large")
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadInput("body_not_json", "gone before the end")
        body += bytes(message.get("body", b""))
        if len(body) > BODY_BYTES_MAX:
            raise BadInput("body_too_large")
        if not message.get("more_body", False):
            return body
