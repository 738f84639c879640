"""How the authorization server says no to a program: the error codes of OAuth, and nothing that helps a stranger."""

from __future__ import annotations

from collections.abc import Mapping


class OAuthError(Exception):
    """`code` as RFC 6749, 9126, 9396, 9449 and their registry spell it; `words` for the developer, never with anything of a token or customer."""

    def __init__(self, code: str, words: str = "", *, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.words = words
        self.status = status
        self.headers = dict(headers or {})


class NoClient(OAuthError):
    """One answer for every way in which a client fails to prove who it is, so that nobody can try out names and keys."""

    def __init__(self) -> None:
        super().__init__("invalid_client", "The client did not prove who it is.", status=401)
