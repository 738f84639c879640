"""Which policy the house starts with, and how every process follows the one that officers put in force."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from parley.app.diagnostics import diagnostics
from parley.app.frame import now, policy_file
from parley.app.log_port import HouseLog, log_vkey
from parley.guard import Guard, PolicyInForce, PolicyUnlogged
from parley.model.refusals import Fault, PolicyDisputed, Refusal
from parley.model.staff import PolicyVersion, Scope, SwitchName
from parley.policy import Policy, PolicyRejected, load_policy
from parley.proof import Verifier, read_entry
from parley.release.entries import incident_entry, policy_entry
from parley.settings import Settings
from parley.store import Records

JUDGING_PERIOD_SECONDS = 0.5


class SwitchRecords(Protocol):
    async def pull_switch(self, name: SwitchName, actor: str, reason: str, now: datetime) -> None:
        """Off on every process within a second. Raises RecordsUnavailable."""


async def open_guard(settings: Settings, records: Records, log: HouseLog) -> tuple[PolicyInForce, Guard]:
    """The policy that officers approved last, or else the one that the settings name; its digests stand in the log before anybody asks.

    Raises PolicyRejected where it does not load, PolicyUnlogged where the log never heard of it: nothing is released under a policy that was
    not proved and announced.
    """

    async def announce(policy: Policy) -> None:
        await log.record(policy_entry(policy, now()), b"", handle=None, version=None)

    verifier = Verifier(await log_vkey(settings))

    async def must_be_logged(approved: PolicyVersion) -> None:
        entry = read_entry(await log.proved_entry(approved.log_index, verifier))
        if (entry.get("k"), entry.get("pol")) != ("policy", approved.digest):
            raise PolicyUnlogged("the log holds something else where this policy was announced")

    approved = await records.policy_in_force()
    if approved is not None:
        await must_be_logged(approved)
    policy = loaded_first(settings, approved)
    if approved is not None and policy.digest != approved.digest:
        diagnostics.warning("policy_decided_by_another_release", approved=approved.digest, here=policy.digest)
    await announce(policy)
    version = approved.version if approved is not None else 0
    policies = PolicyInForce(policy, version, records=records, load=load_policy, announce=announce, must_be_logged=must_be_logged)
    guard = Guard(records, policies)
    await guard.look()
    return policies, guard


def loaded_first(settings: Settings, approved: PolicyVersion | None) -> Policy:
    """Raises PolicyRejected; for a policy that officers approved with the way out, since no file of the settings can mend that."""
    if approved is None:
        return load_policy(policy_file(settings))
    try:
        return load_policy(approved.sources)
    except PolicyRejected as rejected:
        way_out = "Start the release of Parley that approved it, approve a mended policy in the officer's console, then start this one."
        raise PolicyRejected(f"the policy that officers approved (version {approved.version}): {rejected} {way_out}") from None


async def keep_judging(policies: PolicyInForce, log: HouseLog, records: SwitchRecords) -> None:
    """Have the Rust engine repeat what waits to be repeated. Where it disagrees once, nothing leaves this process under that policy any more;
    then every process is stopped by the officers' own switch, which needs two people to undo, and the log gets an incident. Neither holds
    the question or the case.
    """
    told: str | None = None
    while True:
        await asyncio.sleep(JUDGING_PERIOD_SECONDS)
        policy = policies.current()
        if policy.watch.waiting:
            await asyncio.to_thread(policy.watch.look)
        if policy.watch.disputed and told != policy.digest:
            diagnostics.error("policy_disputed", policy=policy.digest)
            with suppress(Fault, Refusal):
                await records.pull_switch(SwitchName(Scope.EVERYTHING), "house", "The two engines that read the policy disagree.", now())
                await log.record(incident_entry(PolicyDisputed.code, policy.digest, now()), b"", handle=None, version=None)
                told = policy.digest


async def reload_on_hangup(settings: Settings, policies: PolicyInForce) -> None:
    """On SIGHUP read the settings' own policy again. It takes effect once it is proved and logged; until then, or where it does not load,
    the old one stays in force. A policy that officers approved is never replaced by a file."""
    asked = asyncio.Event()
    with suppress(ValueError, RuntimeError):  # Only a process's main thread hears signals; a house in a test's thread does without.
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    while True:
        await asked.wait()
        asked.clear()
        if policies.version:
            diagnostics.warning("policy_file_ignored", reason="officers approved another policy; propose the file in their console")
            continue
        try:
            policy = await asyncio.to_thread(load_policy, policy_file(settings))
            await policies.replace(policy)
        except (PolicyRejected, Fault, Refusal) as reason:
            diagnostics.error("policy_not_reloaded", reason=str(reason))
        else:
            diagnostics.info("policy_reloaded", policy=policy.digest)


def not_looking(kind: str) -> None:
    diagnostics.error("guard_cannot_look", kind=kind)
