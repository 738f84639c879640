"""The drawer's page for renewals: the same grant under a new end, once."""

from __future__ import annotations

from parley.model.grants import Grant, GrantState
from parley.store.driver import Work
from parley.store.grant_rows import GrantRows
from parley.store.grants import HOLDS_CUSTOMER, Grants, read_grant, replace_grant


class Renewals(Grants):
    """Implements `parley.authorization.renewal.RenewalRecords`."""

    async def renew_grant(self, before: Grant, after: Grant) -> bool:
        """Put the next version in the place of `before`. False when that stands no longer, or is not active: then nothing is changed."""
        return await self._driver.write(lambda: _renew(self._grant_rows, before, after))


def _renew(rows: GrantRows, before: Grant, after: Grant) -> Work[bool]:
    yield HOLDS_CUSTOMER, (before.customer,)
    stands = yield from read_grant(rows, before.id)
    if stands is None or (stands.customer, stands.version, stands.state) != (before.customer, before.version, GrantState.ACTIVE):
        return False
    return (yield from replace_grant(rows, stands, after))
