"""The policy in force in this process: the one that officers approved last, loaded and proved here, too, before anything leaves under it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from parley.model.refusals import Fault
from parley.model.staff import PolicyVersion, Standing
from parley.policy import Policy

RETRY_SECONDS = 10.0
"""Between two tries to load a policy that did not load. Meanwhile nothing leaves this process."""

KEPT_MAX = 4
"""Policies that were loaded ahead of their approval and are kept, so that taking effect costs no time."""

Load = Callable[[Mapping[str, bytes]], Policy]
"""Raises PolicyRejected."""


class PolicyRecords(Protocol):
    async def policy_in_force(self) -> PolicyVersion | None:
        """The one that officers approved last; None when they approved none yet."""


MustBeLogged = Callable[[PolicyVersion], Awaitable[None]]
"""Raises PolicyUnlogged unless the log holds the announcement of that policy; LogUnavailable where that cannot be told."""


class PolicyUnlogged(Fault):
    """The records name a policy that the log never heard of. Nothing is released under it."""

    code = "policy_unlogged"


class PolicyInForce:
    """Holds the policy that every question is ruled by. `version` 0 is the one that the settings name.

    While a newer one is being loaded the old one is still `current`, and the guard refuses what it ruled. Where the newer one does not
    load in this process nothing leaves it, until a person has looked.
    """

    def __init__(
        self,
        policy: Policy,
        version: int,
        *,
        records: PolicyRecords,
        load: Load,
        announce: Callable[[Policy], Awaitable[None]],
        must_be_logged: MustBeLogged,
    ) -> None:
        """`announce` puts a policy's digests into the log, and returns once they stand there."""
        self._current = policy
        self.version = version
        self.digest = policy.digest
        self._records = records
        self._load = load
        self._announce = announce
        self._must_be_logged = must_be_logged
        self._kept: dict[str, Policy] = {}
        self._following: asyncio.Task[None] | None = None
        self._not_before = 0.0

    def current(self) -> Policy:
        return self._current

    async def loaded(self, sources: Mapping[str, bytes]) -> Policy:
        """Load and prove, beside the questions and not before them, and keep it for the moment when it may take effect. Raises PolicyRejected."""
        known = next((each for each in (self._current, *self._kept.values()) if each.sources == sources), None)
        if known is not None:
            return known
        policy = await asyncio.to_thread(self._load, sources)
        self._kept[policy.digest] = policy
        if len(self._kept) > KEPT_MAX:
            self._kept.pop(next(iter(self._kept)))
        return policy

    async def replace(self, policy: Policy) -> None:
        """Put another policy in the place of the settings' own: first into the log, then in force. What the old one ruled and has not left
        yet is refused by the guard. Raises what `announce` raises, and then the old one stays."""
        await self._announce(policy)
        if not self.version:
            self._current, self.digest = policy, policy.digest

    async def follow(self, standing: Standing) -> None:
        """Begin to take over the policy in force where that is not the current one; returns at once. The next call raises what it failed with."""
        loop = asyncio.get_running_loop()
        if self._following is not None and self._following.done():
            ended, self._following = self._following, None
            self._not_before = loop.time() + RETRY_SECONDS if ended.exception() else 0.0
            ended.result()
        if standing.version > self.version and self._following is None and loop.time() >= self._not_before:
            self._following = asyncio.create_task(self._take_over())

    async def _take_over(self) -> None:
        approved = await self._records.policy_in_force()
        if approved is None:
            return
        await self._must_be_logged(approved)
        policy = self._kept.get(approved.digest) or await self.loaded(approved.sources)
        if policy.digest != approved.digest:
            # Another release of Parley approved it, and its table is made of other words. Ours is named in the log before it is used.
            await self._announce(policy)
        self._current, self.digest, self.version = policy, policy.digest, approved.version
