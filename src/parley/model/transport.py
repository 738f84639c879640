"""How the house talks to a bank over HTTP: the shape of the port only. What implements it lives with the banks and is handed in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from parley.model.ledger import Discreet


class TransportResponse(Discreet, frozen=True):
    """What came back, whole and within its limits, and not believed yet. Header names are lower case; of a repeated header the first value."""

    status: int
    headers: Mapping[str, str]
    unverified_body: bytes

    @property
    def media_type(self) -> str:
        """The content type without parameters, lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Transport(Protocol):
    """One HTTP exchange. Never follows a redirect, keeps no cookie, reads no environment, refuses more than `bytes_max` or `seconds`.

    Every method raises BankTimeout, BankUnavailable (not reached, cut off) or BankNonsense (too large, compressed, not HTTP), and nothing else;
    no exception holds the URL, a header or the body.
    """

    async def get(self, url: str, headers: Mapping[str, str], *, seconds: float, bytes_max: int) -> TransportResponse: ...

    async def post_form(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str], *, seconds: float, bytes_max: int
    ) -> TransportResponse: ...
