"""Her own names for her accounts: sealed beside what the bank calls them, so that linking again forgets none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from parley.model.ledger import LinkedAccount
from parley.model.refusals import Fault
from parley.store.driver import Driver
from parley.store.vault import CustomerVault

NICKNAMES_CONTEXT = "nicknames"
_decoder = msgspec.msgpack.Decoder(dict[str, str])


async def read_nicknames(driver: Driver, customer: str, vault: CustomerVault) -> dict[str, str]:
    """ref to name. Raises Fault when they do not open or are not what we wrote."""
    rows = await driver.read("SELECT sealed FROM nicknames WHERE customer = ?", (customer,))
    try:
        return _decoder.decode(vault.open(NICKNAMES_CONTEXT, rows[0][0])) if rows else {}
    except msgspec.MsgspecError:
        raise Fault("sealed nicknames have a foreign shape") from None


def seal_nicknames(names: Mapping[str, str], vault: CustomerVault) -> bytes:
    return vault.seal(NICKNAMES_CONTEXT, msgspec.msgpack.encode(dict(names)))


def nicknamed(accounts: Sequence[LinkedAccount], names: Mapping[str, str]) -> tuple[LinkedAccount, ...]:
    """The accounts under her own names, where she gave some."""
    return tuple(msgspec.structs.replace(account, name=names[account.ref]) if account.ref in names else account for account in accounts)
