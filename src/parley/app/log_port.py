"""The notary as the rooms see it: its answers, and its errors in the house's own words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from contextlib import suppress

from parley.log.client import NotaryClient
from parley.log.errors import GrantChanged, GrantClosed, LogError, LogRefused
from parley.model.refusals import GrantRevoked, LogUnavailable
from parley.proof import Inclusion, ProofRejected, Verifier
from parley.settings import Settings

VKEY_SECONDS_MAX = 15.0


class HouseLog:
    """The notary as the road and the grants see it: its errors in the house's own words."""

    def __init__(self, client: NotaryClient) -> None:
        self._client = client

    async def record(self, entry: bytes, side: bytes, *, handle: bytes | None, version: int | None) -> Inclusion:
        with_words = self._client.record(entry, side, handle=handle, version=version)
        return await translated(with_words)

    async def open_grant(self, entry: bytes, side: bytes, *, handle: bytes, version: int) -> Inclusion:
        return await translated(self._client.open_grant(entry, side, handle=handle, version=version))

    async def close_grant(self, entry: bytes, side: bytes, *, handle: bytes) -> Inclusion:
        return await translated(self._client.close_grant(entry, side, handle=handle))

    async def proved_entry(self, index: int, verifier: Verifier) -> bytes:
        """An entry recorded earlier, checked against the log's public key. Raises LogUnavailable where it is not shown or not proved."""
        try:
            proved = await self._client.prove(index)
            verifier.verify_inclusion(proved.entry, proved.inclusion)
        except LogError as error:
            raise LogUnavailable(error.code) from None
        except ProofRejected as error:
            raise LogUnavailable(f"the log's answer did not prove itself: {error.code}") from None
        return proved.entry


async def translated(call: Awaitable[Inclusion]) -> Inclusion:
    """Raises GrantRevoked where the notary holds another version of the grant, LogUnavailable for everything else that it says no to."""
    try:
        return await call
    except (GrantChanged, GrantClosed):
        raise GrantRevoked() from None
    except LogRefused as refused:
        raise LogUnavailable(f"the log refused: {refused.code}") from None
    except LogError as error:
        raise LogUnavailable(error.code) from None


async def log_vkey(settings: Settings) -> str:
    """The log's public key, which the notary writes at its first start."""
    path = settings.data / "notary" / "log.vkey"
    end = time.monotonic() + VKEY_SECONDS_MAX
    while time.monotonic() < end:
        with suppress(OSError):
            text = path.read_text().strip()
            if text:
                return text
        await asyncio.sleep(0.02)
    raise LogUnavailable("the notary has not written its public key")
