"""Which policy the house starts with, and how every process follows the one that officers put in force."""

from __future__ import annotations

from parley.app.diagnostics import diagnostics
from parley.app.frame import now, policy_file
from parley.app.log_port import HouseLog
from parley.guard import Guard, PolicyInForce
from parley.policy import Policy, load_policy
from parley.release.entries import policy_entry
from parley.settings import Settings
from parley.store import Records


async def open_guard(settings: Settings, records: Records, log: HouseLog) -> tuple[PolicyInForce, Guard]:
    """The policy that officers approved last, or else the one that the settings name; its digests stand in the log before anybody asks.

    Raises PolicyRejected where it does not load: nothing is released under a policy that was not proved.
    """

    async def announce(policy: Policy) -> None:
        await log.record(policy_entry(policy.digest, len(policy.table), now()), b"", handle=None, version=None)

    approved = await records.policy_in_force()
    policy = load_policy(approved.sources if approved is not None else policy_file(settings))
    if approved is not None and policy.digest != approved.digest:
        diagnostics.warning("policy_decided_by_another_release", approved=approved.digest, here=policy.digest)
    await announce(policy)
    version = approved.version if approved is not None else 0
    policies = PolicyInForce(policy, version, records=records, load=load_policy, announce=announce)
    guard = Guard(records, policies)
    await guard.look()
    return policies, guard


def not_looking(kind: str) -> None:
    diagnostics.error("guard_cannot_look", kind=kind)
