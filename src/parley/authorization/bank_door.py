"""The bank as linking needs it: its OAuth server and the two reads that say who came back, and with which accounts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from parley.authorization.bank_client import BankClient, BankTrip
from parley.model.extensions import Bank, BankCredential
from parley.model.grants import BankTokens
from parley.model.ledger import LinkedAccount


class LinkedBank:
    """Implements parley.authorization.ports.BankDoor with one bank's OAuth client and connector."""

    def __init__(self, client: BankClient, bank: Bank, random_bytes: Callable[[int], bytes]) -> None:
        self._client = client
        self._bank = bank
        self._random_bytes = random_bytes

    @property
    def name(self) -> str:
        return self._bank.name

    async def begin(self) -> BankTrip:
        return await self._client.begin()

    async def finish(self, params: Sequence[tuple[str, str]], state: str, verifier: str) -> BankTokens:
        return await self._client.finish(params, state, verifier)

    async def owner(self, tokens: BankTokens) -> str:
        return await self._bank.owner(credential_of(tokens), self._interaction_id())

    async def accounts(self, tokens: BankTokens) -> tuple[LinkedAccount, ...]:
        return await self._bank.accounts(credential_of(tokens), self._interaction_id())

    async def revoke(self, tokens: BankTokens) -> None:
        await self._client.revoke(tokens)

    def _interaction_id(self) -> str:
        return str(UUID(bytes=self._random_bytes(16), version=4))


def credential_of(tokens: BankTokens) -> BankCredential:
    return BankCredential(tokens.access_token, tokens.expires_at)
