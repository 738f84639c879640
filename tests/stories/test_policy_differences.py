"""What a new policy would change, and how many customers and grants would meet it: counts, and nobody's name."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from random import Random

import msgspec

from bench.policies import made_policy
from parley.cli.policy_cases import ANY, DATA_OF, DATA_WORDS, together
from parley.model.words import Assurance, Projection, Purpose
from parley.policy import Case, Data, load_policy
from parley.policy.difference import ChangeKind, difference, kinds_by_case, touched
from parley.policy.packs import policy_place
from parley.store import Records, migrate
from parley.store.tallies import Tally, open_for_counting, tally
from tests.fakes.officer_desk import NO_MERCHANTS, SHORTER, own_copy, said, told
from tests.fixtures_postgres import RecordsBench


def test_diff_is_empty_where_only_the_words_differ(tmp_path: Path) -> None:
    mine = own_copy(tmp_path / "mine", ("// What the demo runs on", "// What our demo runs on"))
    code, report = told("policy", "diff", "standard", mine)
    assert code == 0 and report["changes"] == {} and report["decisions"] == [] and report["old"] != report["new"]
    assert "alike" in said("policy", "diff", "standard", mine).stdout


def test_diff_names_every_decision_that_changes_and_no_other(tmp_path: Path) -> None:
    code, report = told("policy", "diff", "standard", own_copy(tmp_path / "less", NO_MERCHANTS))
    assert code == 3
    assert {(each["case"][3], each["kind"]) for each in report["decisions"]} == {("transactions.merchant_and_amount", "newly_refused")}
    assert report["changes"] == {"newly_refused": len(report["decisions"])} and report["touched"] is None
    code, back = told("policy", "diff", tmp_path / "less", "standard")
    assert code == 3 and back["changes"] == {"newly_allowed": len(report["decisions"])}
    code, shorter = told("policy", "diff", "standard", own_copy(tmp_path / "shorter", SHORTER))
    assert code == 3 and set(shorter["changes"]) == {"other_terms"}
    assert {tuple(each["terms"]) for each in shorter["decisions"]} == {("lookback_days_max",)}
    assert all(each["case"][3].startswith("transactions.") and each["case"][0] == "parley-web" for each in shorter["decisions"])
    words = " ".join(said("policy", "diff", "standard", tmp_path / "shorter").stdout.split())
    assert "at most 90 days back" in words and "at most 30 days back" in words


def test_lines_of_a_table_stand_for_exactly_their_cases() -> None:
    """Cases that are told together, told apart again: none is lost, and none is made up."""
    chance = Random(5)
    cases = [Case(*words) for name in ("standard", "1033") for words in load_policy(policy_place(name)).table]
    for size in (0, 1, 2, 7, 40, 300, len(set(cases))):
        some = set(chance.sample(sorted(set(cases)), size))
        apart: list[Case] = []
        for line in together(some):
            for platform, channel, purpose, projection, assurance in product(*line[:4], line[5]):
                kinds = DATA_OF[Projection(projection)] if line[4] == (ANY,) else [each for each in Data if DATA_WORDS[each] in line[4]]
                apart += [Case(platform, channel, Purpose(purpose), Projection(projection), data, Assurance(assurance)) for data in kinds]
        assert len(apart) == len(some) and set(apart) == some


def test_diff_is_what_comparing_case_by_case_finds() -> None:
    old, new = (load_policy(made_policy(150, seed)) for seed in (1, 2))
    found = {change.case: change.kind for change in difference(old, new).changes}
    for case in old.table.keys() | new.table.keys():
        before, after = old.table.get(case), new.table.get(case)
        was, will = before is not None and before.allow, after is not None and after.allow
        if was != will:
            assert found.pop(case) is (ChangeKind.NEWLY_ALLOWED if will else ChangeKind.NEWLY_REFUSED)
        elif before == after or (not was and (before is None) == (after is None) and before and after and before.reason == after.reason):
            assert case not in found
        elif not was:
            assert found.pop(case, ChangeKind.OTHER_REASON) is ChangeKind.OTHER_REASON
        else:
            assert found.pop(case, ChangeKind.OTHER_TERMS) is ChangeKind.OTHER_TERMS
    assert not found


def test_a_table_says_how_much_it_leaves_out(tmp_path: Path) -> None:
    run = said("policy", "diff", "standard", "1033", "--rows", "2")
    assert run.exit_code == 3 and " more" in run.stdout


def test_diff_counts_customers_and_grants_and_names_nobody(bench_of_records: RecordsBench, tmp_path: Path) -> None:
    """Ada holds two grants that the change meets and Ben one; Chiara's is for something else, Dan has stopped, Eve's has run out."""
    bench = bench_of_records
    merchants, balances = frozenset({Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT}), frozenset({Projection.BALANCE_AVAILABLE})
    customers: list[str] = []
    gone = bench.now - timedelta(seconds=1)
    found = difference(load_policy(policy_place("standard")), load_policy(own_copy(tmp_path / "mine", NO_MERCHANTS)))
    by_case = kinds_by_case(found.changes)

    async def story(records: Records) -> None:
        for owner, several in {
            "ada": [(merchants, "parley-web", "web"), (merchants | balances, "larkspur-partner", "api"), (balances, "parley-web", "web")],
            "ben": [(merchants, "parley-web", "web")],
            "chiara": [(balances, "parley-web", "web"), (merchants, "parley-web", "mcp")],
            "dan": [(merchants, "parley-web", "web")],
            "eve": [(merchants, "parley-web", "web")],
        }.items():
            customer = await records.save_bank_link("oakbank", owner, bench.tokens(), (bench.account(),))
            customers.append(customer)
            grants = [
                msgspec.structs.replace(bench.grant(customer, platform=platform, channel=channel), projections=projections)
                for projections, platform, channel in several
            ]
            if owner == "eve":
                grants = [msgspec.structs.replace(each, created_at=gone - timedelta(days=90), expires_at=gone) for each in grants]
            await records.join("web", f"conversation-{owner}", customer, tuple(grants))
            if owner == "dan":
                await records.revoke_grant(grants[0].id, bench.now)
        counted = await records.tally(lambda shape: touched(shape, by_case), bench.now)
        assert counted == Tally(6, 3, {"newly_refused": 3}, {"newly_refused": 2})
        async with open_for_counting(bench.url) as reader:
            for page_rows in (1, 2, 5):
                seen: list[tuple[int, int]] = []
                again = await tally(reader, lambda shape: touched(shape, by_case), bench.now, seen_by(seen), page_rows=page_rows)
                assert again == counted and seen[-1] == (6, 6)

    bench.run(story)
    config = tmp_path / "parley.toml"
    config.write_text(SETTINGS + f'records_url = "{bench.url}"\n' + BANK) if bench.url.startswith("postgresql") else None
    where = ("--config", config) if config.exists() else ("--data", Path(bench.url.removeprefix("sqlite:///")).parent)
    if not config.exists():
        (where[1] / "records.db").rename(where[1] / "records.sqlite")
    code, report = told("policy", "diff", "standard", tmp_path / "mine", *where)
    assert code == 3 and report["touched"]["customers"] == {"newly_refused": 2}
    words = said("policy", "diff", "standard", tmp_path / "mine", *where)
    assert "Of 6 standing grants of 3 customers." in words.stdout
    assert not [customer for customer in customers if customer in words.stdout or customer in json.dumps(report)]


def seen_by(steps: list[tuple[int, int]]) -> Callable[[int, int], None]:
    return lambda done, total: steps.append((done, total))


SETTINGS = 'public_url = "http://127.0.0.1:9"\n'
BANK = '[[banks]]\nname = "b"\napi_url = "https://api.bank.example"\nissuer = "https://bank.example"\nclient_id = "c"\n'


def test_counting_changes_nothing_and_needs_no_key(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    run = said("policy", "diff", "standard", "1033", "--data", data)
    assert run.exit_code == 1 and "no records" in run.stderr
    assert list(data.iterdir()) == [], "nothing was made there"
    asyncio.run(migrate(f"sqlite:///{data / 'records.sqlite'}"))
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    assert told("policy", "diff", "standard", "1033", "--data", data)[1]["touched"] == {
        "all_grants": 0, "all_customers": 0, "grants": {}, "customers": {},
    }  # fmt: skip
    assert {path.name: path.read_bytes() for path in data.iterdir() if path.name in before} == before
    assert "keys" not in {path.name for path in data.iterdir()}
    with sqlite3.connect(data / "records.sqlite") as database:
        database.execute("UPDATE schema_version SET version_num = '0001'")
    database.close()
    run = said("policy", "diff", "standard", "1033", "--data", data)
    assert run.exit_code == 1 and "start its gateway once" in run.stderr
    run = said("policy", "diff", "standard", "1033", "--config", tmp_path / "nowhere.toml")
    assert run.exit_code == 1 and "parley init" in run.stderr


def test_a_grant_that_cannot_be_read_stops_the_count_with_the_way_out(tmp_path: Path) -> None:
    bench = RecordsBench(f"sqlite:///{tmp_path / 'data' / 'records.sqlite'}", tmp_path / "keys", now=datetime.now(UTC))
    bench.run(bench.linked)
    words = ("policy", "diff", "standard", "1033", "--data", tmp_path / "data")
    assert told(*words)[1]["touched"]["all_grants"] == 1
    with sqlite3.connect(tmp_path / "data" / "records.sqlite") as database:
        database.execute("UPDATE terms SET purpose = 'advertising'")
    database.close()
    refused = said(*words)
    assert refused.exit_code == 1 and "cannot be counted" in refused.stderr and "parley doctor" in refused.stderr
    (tmp_path / "data" / "records.sqlite").chmod(0o644)
    refused = said(*words)
    assert refused.exit_code == 1 and "cannot be counted" in refused.stderr
    (tmp_path / "data" / "records.sqlite").chmod(0o600)
    (tmp_path / "data" / "records.sqlite").write_bytes(b"not a database" * 100)
    refused = said(*words)
    assert refused.exit_code == 1 and "cannot be counted" in refused.stderr and "Traceback" not in refused.stderr
