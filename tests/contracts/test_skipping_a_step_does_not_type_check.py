"""The road's shapes: mypy refuses every way of leaving out a step, and accepts the whole chain."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[2]
HEAD = """\
from collections.abc import Sequence
from datetime import date, datetime

from parley.consent import check_consent
from parley.model.extensions import Bank, BankCredential, Channel, Offering, Order
from parley.model.grants import Grant
from parley.model.ledger import Statement
from parley.model.stages import Answer, Disclosure, Envelope, Permission, Question, Release, Request, Ruling, SealedEntry
from parley.policy import Policy, purpose_named, rule
from parley.proof import Inclusion, Verifier
from parley.release.entries import seal_entry
from parley.release.minimise import minimise
from parley.release.ports import ReleaseLog, Vault


async def road(
    envelope: Envelope, channel: Channel, question: Question, request: Request, permission: Permission, ruling: Ruling, policy: Policy,
    grants: Sequence[Grant], bank: Bank, credential: BankCredential, order: Order, statement: Statement, offering: Offering, today: date,
    disclosure: Disclosure, sealed: SealedEntry, vault: Vault, log: ReleaseLog, inclusion: Inclusion, verifier: Verifier, now: datetime,
) -> Release:
"""
WHOLE = """\
    question = channel.open(envelope)
    permission = check_consent(request, grants, now)
    ruling = rule(permission, policy)
    statement = await bank.fetch(credential, order)
    disclosure = minimise(statement, order, ruling, offering, today)
    sealed = seal_entry(disclosure, vault, b"", now)
    inclusion = await log.record(sealed.entry, sealed.side, handle=permission.grant.handle, version=permission.grant.version)
    return Release(question, sealed, inclusion, verifier)
"""
SKIPS = {
    "unopened envelope": ("return Release(envelope, sealed, inclusion, verifier)", '"Envelope"; expected "Question"'),
    "question as request": ("check_consent(question, grants, now)", '"Question"; expected "Request"'),
    "request without consent": ("rule(request, policy)", '"Request"; expected "Permission"'),
    "grant as permission": ("rule(grants[0], policy)", '"Grant"; expected "Permission"'),
    "permission without a ruling": ("minimise(statement, order, permission, offering, today)", '"Permission"; expected "Ruling"'),
    "statement to the log": ("seal_entry(statement, vault, b'', now)", '"Statement"; expected "Disclosure"'),
    "answer to the log": ("seal_entry(disclosure.answer, vault, b'', now)", '"Answer"; expected "Disclosure"'),
    "disclosure released unsealed": ("return Release(question, disclosure, inclusion, verifier)", '"Disclosure"; expected "SealedEntry"'),
    "no inclusion": ("return Release(question, sealed, verifier=verifier)", 'Missing positional argument "inclusion"'),
    "inclusion of nothing": ("return Release(question, sealed, None, verifier)", '"None"; expected "Inclusion"'),
    "no verifier": ("return Release(question, sealed, inclusion)", 'Missing positional argument "verifier"'),
    "a promise not awaited": ("return Release(question, sealed, log.record(b'', b'', handle=None, version=None), verifier)", 'expected "Inclusion"'),
    "the bank handed the question": ("await bank.fetch(credential, question)", '"Question"; expected "Order"'),
    "the offering handed a statement": ("offering.answer(statement, request.slots, today)", '"Statement"; expected "RuledValues"'),
    "a purpose in a stranger's words": ("Request('c', 'w', 'p', 'o', 'Ads', request.projection, (), 0, 0, request.slots, now)", '"Purpose"'),
    "an answer as a release": ("return disclosure.answer", 'got "Answer", expected "Release"'),
    "a release changed afterwards": ("Release(question, sealed, inclusion, verifier).sealed = sealed", "read-only"),
}
SUBCLASS = """\

class Unproven(Release):
    def __post_init__(self) -> None: ...
"""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What mypy --strict says of each snippet: file name to its errors. One run for all."""
    directory = tmp_path_factory.mktemp("snippets")
    (directory / "whole.py").write_text(HEAD + WHOLE)
    (directory / "subclass.py").write_text(HEAD + WHOLE + SUBCLASS)
    for number, (line, _) in enumerate(SKIPS.values()):
        (directory / f"skip_{number}.py").write_text(f"{HEAD}    {line}\n    raise ValueError\n")
    config = directory / "mypy.ini"
    config.write_text(f"[mypy]\nstrict = True\nmypy_path = {ROOT / 'src'}\ncache_dir = {directory / 'cache'}\nwarn_unreachable = False\n")
    out, errors, _ = api.run(["--config-file", str(config), *sorted(map(str, directory.glob("*.py")))])
    assert not errors
    said: dict[str, str] = {file.stem: "" for file in directory.glob("*.py")}
    for line in out.splitlines():
        if found := re.match(r".*?(\w+)\.py:\d+: error: (.*)", line):
            assert found[1] in said, line
            said[found[1]] += found[2] + "\n"
    return said


def test_the_whole_chain_type_checks(verdicts: dict[str, str]) -> None:
    assert verdicts["whole"] == ""


@pytest.mark.parametrize("number", range(len(SKIPS)), ids=list(SKIPS))
def test_a_skipped_step_does_not(number: int, verdicts: dict[str, str]) -> None:
    _, expected = list(SKIPS.values())[number]
    assert expected in verdicts[f"skip_{number}"]


def test_a_release_with_its_checks_taken_out_does_not(verdicts: dict[str, str]) -> None:
    assert 'Cannot inherit from final class "Release"' in verdicts["subclass"]
