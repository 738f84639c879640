"""A customer's receipt again, for every page that shows her one."""

from __future__ import annotations

from parley.log.client import NotaryClient
from parley.log.errors import LogError, LogRefused
from parley.model.refusals import Fault, LogUnavailable
from parley.proof import format_receipt
from parley.release.entries import open_private
from parley.store import Records


async def receipt_of(records: Records, notary: NotaryClient, customer: str, index: int) -> str | None:
    """The receipt of the entry at `index`, or None where it is not hers. Raises LogUnavailable.

    Only the customer's own key opens the private half, so that a receipt of somebody else's is the same as none.
    """
    vault = await records.vault_of(customer)
    if vault is None:
        return None
    try:
        proved = await notary.prove(index)
    except LogRefused:
        return None
    except LogError as error:
        raise LogUnavailable(error.code) from None
    try:
        salt, private = open_private(proved.side, vault)
    except Fault:
        return None
    return format_receipt(proved.entry, salt, private, proved.inclusion)
