"""Browser sessions of the login pages: random identifiers kept as hashes, each with its own CSRF token, and a brake on guessing."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from parley_sandbox.web import Refusal

SESSION_SECONDS = 900
SESSIONS_MAX = 10_000
FAILURES_MAX, FAILURE_SECONDS = 5, 60
NAMES_MAX = 10_000


@dataclass(slots=True)
class Session:
    """One browser. `signed_in` says who logged in for which request; every request needs its own login."""

    expires: float
    csrf: str = field(repr=False)
    signed_in: dict[str, str] = field(default_factory=dict)


class Sessions:
    """Sessions by hashed identifier, in one cookie that scripts cannot read and other sites cannot send."""

    def __init__(self, cookie: str, clock: Callable[[], float]) -> None:
        self._cookie = cookie
        self._clock = clock
        self._sessions: dict[str, Session] = {}

    def of(self, request: Request, seconds: int = 0) -> Session | None:
        """The session of this browser if it will live for that many seconds more, or None."""
        session = self._sessions.get(_hashed(request.cookies.get(self._cookie, "")))
        return session if session is not None and self._clock() + seconds < session.expires else None

    def checked(self, request: Request, csrf: str) -> Session:
        """The session whose own token came with the form. Raises Refusal 403."""
        session = self.of(request)
        if session is None or not hmac.compare_digest(session.csrf.encode(), csrf.encode("utf-8", "surrogatepass")):
            raise Refusal(403, "csrf", "This page is too old or was not opened here. Please start again.")
        return session

    def start(self, response: Callable[[Session], Response]) -> Response:
        """Makes a fresh session, hands it to the page and sets its cookie on the answer."""
        self._forget_expired()
        identifier = secrets.token_urlsafe(32)
        session = Session(self._clock() + SESSION_SECONDS, secrets.token_urlsafe(32))
        self._sessions[_hashed(identifier)] = session
        answer = response(session)
        answer.set_cookie(self._cookie, identifier, max_age=SESSION_SECONDS, path="/", httponly=True, samesite="strict")
        return answer

    def end(self, request: Request) -> None:
        """Forgets this browser's session."""
        self._sessions.pop(_hashed(request.cookies.get(self._cookie, "")), None)

    def _forget_expired(self) -> None:
        if len(self._sessions) >= SESSIONS_MAX:
            self._sessions = {key: session for key, session in self._sessions.items() if self._clock() < session.expires}
        if len(self._sessions) >= SESSIONS_MAX:
            raise Refusal(503, "busy", "Too many people are logging in. Please try again shortly.")


class GuessBrake:
    """Five wrong passwords a minute per user name, known or not; then even the right one has to wait, so that guessing tells nothing."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: dict[str, list[float]] = {}

    def holds(self, username: str) -> bool:
        """Whether this name has to wait."""
        return len(self._recent(username)) >= FAILURES_MAX

    def failed(self, username: str) -> None:
        """Counts a wrong password."""
        if len(self._failures) >= NAMES_MAX:
            self._failures = {name: times for name, times in self._failures.items() if times[-1] > self._clock() - FAILURE_SECONDS}
        if len(self._failures) >= NAMES_MAX:
            raise Refusal(429, "busy", "Too many wrong passwords. Please wait a minute.", {"retry-after": str(FAILURE_SECONDS)})
        self._failures[username] = [*self._recent(username), self._clock()]

    def _recent(self, username: str) -> list[float]:
        since = self._clock() - FAILURE_SECONDS
        return [time for time in self._failures.get(username, []) if time > since]


def _hashed(identifier: str) -> str:
    return hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()
