"""What the authorization server needs from the rooms beside it. The records implement the first two; `parley.store` says how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from parley.authorization.linking import Approval
from parley.model.clients import Client
from parley.model.grants import Grant
from parley.model.refusals import Refusal
from parley.model.tokens import Authorization, AuthorizationRequest, Code, Token
from parley.model.words import Projection, Purpose


class ClientRecords(Protocol):
    async def find_client(self, client_id: str) -> Client | None: ...


class TokenRecords(Protocol):
    async def add_request(self, reference_hash: bytes, request: AuthorizationRequest) -> None: ...
    async def peek_request(self, reference_hash: bytes, now: datetime) -> AuthorizationRequest | None: ...
    async def take_request(self, reference_hash: bytes, now: datetime) -> AuthorizationRequest | None:
        """Read and delete in one step: of two decisions about one request, one counts."""

    async def add_authorization(self, authorization: Authorization, code_hash: bytes, code: Code) -> None:
        """Both in one transaction. A version above 1 takes the place of the one before, whose tokens end. Raises a Fault."""

    async def peek_code(self, code_hash: bytes) -> Code | None: ...
    async def use_code(self, code_hash: bytes, now: datetime) -> bool:
        """True for the first use in time. A further use ends every token that came of the code."""

    async def add_tokens(self, tokens: tuple[tuple[bytes, Token], ...], *, code_hash: bytes | None = None, rotated_hash: bytes | None = None) -> bool:
        """False, and nothing stored: the authorization has changed or ended, or what they are given for was used again meanwhile."""

    async def find_token(self, token_hash: bytes, now: datetime) -> tuple[Token, Authorization] | None: ...
    async def use_token(self, token_hash: bytes, now: datetime) -> Token | None:
        """Use up a refresh token that rotates. A second use ends the whole family."""

    async def end_token(self, token_hash: bytes) -> None: ...
    async def end_family(self, family: bytes) -> None: ...
    async def find_authorization(self, authorization_id: str) -> Authorization | None: ...
    async def end_authorization(self, authorization_id: str) -> None: ...
    async def see_once(self, use: str, name: str, until: datetime) -> bool:
        """True the first time, in any process."""

    def seal_note(self, use: str, plain: bytes) -> bytes: ...
    def open_note(self, use: str, sealed: bytes) -> bytes | None: ...
    async def grants_of(self, customer: str, *, active_only: bool, now: datetime) -> tuple[Grant, ...]: ...


class ServerRecords(ClientRecords, TokenRecords, Protocol):
    """All of it, as one thing."""


class GrantMaker(Protocol):
    """Who makes grants and ends them, and records both."""

    async def approve(self, approval: Approval) -> tuple[Grant, ...]: ...
    async def end_grants(self, customer: str, grant_ids: Sequence[str]) -> None:
        """At once and everywhere. Idempotent; ids that are not hers are passed over."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the bank's policy goes for one platform, channel and purpose: nothing beyond may even be asked for. Days."""

    projections: frozenset[Projection]
    lookback_days_max: int


class Rules(Protocol):
    """The bank's policy, as far as asking goes."""

    def limits(self, platform: str, channel: str, purpose: Purpose) -> Limits: ...


class RefusalLog(Protocol):
    """Where a request for what the bank would never allow is recorded, without identity."""

    async def refused(self, platform: str, channel: str, refusal: Refusal) -> None: ...


class KeySource(Protocol):
    """The public keys of a client that has them at an address of its own: its JWK Set as fetched, within limits. Raises FetchRefused."""

    async def keys(self, url: str) -> bytes: ...


Params = Mapping[str, str]
"""Parameters of a request, each exactly once; checked for repetition before anything reads them."""
