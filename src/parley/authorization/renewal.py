"""Going on with a grant that is about to end: the same limits, shown again in full, under a new end. Nothing gets wider here.

Two taps: "Extend" on her page, then "Allow" on the page that this module makes. Both want a sign-in whose proof is fresh, because a
grant that lives longer is more than the one that she gave. Anything wider goes over the consent page.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from parley.authorization.consent_text import ConsentOffer, RenewalText, renewal_text
from parley.consent import ends_at, is_live
from parley.model.grants import GRANT_LIFETIME_MAX, Grant, GrantState
from parley.model.ledger import LinkedAccount
from parley.model.refusals import BadInput, GrantExpired, GrantRevoked, LogUnavailable

OPENINGS_MAX = 4
"""Versions that a renewal tries at the notary: one for each crash between the log's word and the records'."""


class RenewalRecords(Protocol):
    async def find_grant(self, grant_id: str) -> Grant | None: ...
    async def bank_accounts(self, customer: str) -> tuple[LinkedAccount, ...]: ...
    async def renew_grant(self, before: Grant, after: Grant) -> bool:
        """False when `before` is active no longer."""


class Opener(Protocol):
    async def open_version(self, grant: Grant) -> int:
        """Record this version in the log and open its handle there: the entry's index. Raises GrantRevoked, LogUnavailable."""

    async def close_version(self, grant: Grant) -> None:
        """Close its handle again, because this version never came to stand. Raises LogUnavailable."""


@dataclass(frozen=True, slots=True)
class RenewalPage:
    """The page to show. `version` and the text's hash go along in the form, so that it counts once, and for what was shown."""

    grant_id: str
    version: int
    text: RenewalText = field(repr=False)


class RenewalDesk:
    """`describe`: what a grant says, in the consent page's own terms (its platform's title, the bank's, whom to write to)."""

    def __init__(
        self,
        *,
        records: RenewalRecords,
        opener: Opener,
        describe: Callable[[Grant], Awaitable[ConsentOffer]],
        policy_digest: Callable[[], str],
        clock: Callable[[], datetime],
    ) -> None:
        self._records = records
        self._opener = opener
        self._describe = describe
        self._policy_digest = policy_digest
        self._clock = clock

    async def show(self, customer: str, grant_id: str) -> RenewalPage:
        """The page for one of her live grants. Raises BadInput("receipt_unknown") for any other id, GrantExpired for one that has ended."""
        grant = await self._hers(customer, grant_id)
        return RenewalPage(grant.id, grant.version, await self._text(grant))

    async def allow(self, customer: str, grant_id: str, version: int, text_hash: str) -> Grant:
        """The next version. Raises BadInput("form_stale") when it is not what she was shown, and then nothing is extended."""
        # 1. Hers, alive, and the version that she saw.
        grant = await self._hers(customer, grant_id)
        text = await self._text(grant)
        if grant.version != version or not hmac.compare_digest(text.hash.encode(), text_hash.encode()):
            raise BadInput("form_stale", "not what was shown")
        # 2. The same in everything but its end.
        now = self._clock()
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        until = (now + timedelta(days=days_of(grant))).replace(microsecond=0)
        terms = {"created_at": now, "expires_at": until, "text_hash": text.hash, "policy_digest": self._policy_digest()}
        # 3. The log first, then the records: a crash in between leaves a grant that answers nothing until it is extended again.
        for number in range(grant.version + 1, grant.version + 1 + OPENINGS_MAX):
            later = msgspec.structs.replace(grant, version=number, **terms)
            try:
                index = await self._opener.open_version(later)
            except GrantRevoked:
                continue
            return await self._stored(grant, msgspec.structs.replace(later, log_index=index))
        raise LogUnavailable("the log holds a much later version")

    async def _stored(self, before: Grant, renewed: Grant) -> Grant:
        """The records follow the log. Raises GrantExpired where she stopped it meanwhile; then the handle is closed again.

        Where another page of hers was quicker, its version stands in the records and ours at the notary, so ours takes its place.
        """
        for _ in range(OPENINGS_MAX):
            if await self._records.renew_grant(before, renewed):
                return renewed
            stands = await self._records.find_grant(before.id)
            if stands is None or stands.state is not GrantState.ACTIVE:
                await self._opener.close_version(renewed)
                raise GrantExpired("it was ended while the page was open")
            if stands.version >= renewed.version:
                return stands
            before = stands
        raise LogUnavailable("the grant is being changed")

    async def _hers(self, customer: str, grant_id: str) -> Grant:
        grant = await self._records.find_grant(grant_id)
        if grant is None or grant.customer != customer:
            raise BadInput("receipt_unknown", "no such grant of hers")
        if not is_live(grant, self._clock()):
            raise GrantExpired("it cannot be extended any more")
        return grant

    async def _text(self, grant: Grant) -> RenewalText:
        return renewal_text(await self._describe(grant), grant, await self._records.bank_accounts(grant.customer), days_of(grant))


def days_of(grant: Grant) -> int:
    """For how long it was given, in whole days; never more than the law's year."""
    return max(1, min(round((ends_at(grant) - grant.created_at) / timedelta(days=1)), GRANT_LIFETIME_MAX.days))
