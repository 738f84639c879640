"""The drawer's page for renewals: the same grant under a new end, once."""

from __future__ import annotations

from parley.model.grants import Grant, GrantState
from parley.store.driver import RecordsConflict, Work
from parley.store.grant_rows import GrantRows
from parley.store.grants import HOLDS_CUSTOMER, Grants, read_grant, replace_grant


class Renewals(Grants):
    """Implements `parley.authorization.renewal.RenewalRecords`."""

    async def renew_grant(self, before: Grant, after: Grant) -> None:
        """Put the next version in the place of `before`. Raises RecordsConflict when that is active no longer, or somebody was quicker."""
        await self._driver.write(lambda: _renew(self._grant_rows, before, after))


def _renew(rows: GrantRows, before: Grant, after: Grant) -> Work[None]:
    yield HOLDS_CUSTOMER, (before.customer,)
    stands = yield from read_grant(rows, before.id)
    if stands is None or (stands.customer, stands.version, stands.state) != (before.customer, before.version, GrantState.ACTIVE):
        raise RecordsConflict("the version before does not stand")
    if not (yield from replace_grant(rows, stands, after)):
        raise RecordsConflict("the grant was changed meanwhile")
