"""What every drawer of the records shares: the driver, the keys, the clock, and bounded memories of what was unwrapped."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from parley.model.linking import Session
from parley.store.driver import Driver
from parley.store.grant_rows import TERMS_OF, GrantRows, Terms
from parley.store.keys import KeyRing
from parley.store.memory import Memory
from parley.store.vault import CustomerVault, GatewayKeys

Clock = Callable[[], datetime]
"""Now, UTC and aware."""

CASES_MAX = 2_048
VAULTS_MAX = 4_096
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Cabinet:
    """The drawers' common frame. `keys` wraps, `gateway` hashes and seals what belongs to no customer, `clock` tells UTC."""

    def __init__(self, driver: Driver, keys: KeyRing, gateway: GatewayKeys, clock: Clock) -> None:
        self._driver = driver
        self._keys = keys
        self._gateway = gateway
        self._clock = clock
        self._grant_rows = GrantRows(gateway)
        self._sittings: Memory[tuple[bytes, bytes], Session] = Memory(CASES_MAX)
        self._vaults: Memory[tuple[str, bytes], CustomerVault] = Memory(VAULTS_MAX)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"

    def _forget(self) -> None:
        """Drop every unwrapped key and opened case from memory."""
        self._vaults.clear()
        self._sittings.clear()

    async def _terms(self, number: int) -> Terms:
        known = self._grant_rows.known_terms(number)
        return known if known is not None else self._grant_rows.learn_terms(number, await self._driver.read(TERMS_OF, (number,)))

    async def _vault(self, customer: str, wrapped_key: bytes) -> CustomerVault:
        vault = self._vaults.get((customer, wrapped_key))
        if vault is None:
            vault = CustomerVault(customer, await self._keys.unwrap(wrapped_key))
            self._vaults.put((customer, wrapped_key), vault)
        return vault


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC. Raises ValueError for a time without a zone: it could mean any hour."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
