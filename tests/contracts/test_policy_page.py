"""docs/policy.md says what is true: its example loads and rules as it says, and every limit, word and annotation on it is the code's."""

from __future__ import annotations

import re
from pathlib import Path

from parley.model.words import Assurance, Delivery, Projection, Purpose
from parley.policy import ROWS_HARD_MAX, Case, Data, load_policy
from parley.policy.invariants import INVARIANTS
from parley.policy.judge import ROWS_COMPARED_MAX
from parley.policy.particulars import CHANNELS_MAX, PLATFORMS_MAX
from parley.policy.read import WORDS
from parley.policy.rules import BANDS_MAX, DELAY_DAYS_MAX, LOOKBACK_DAYS_HARD_MAX, OBLIGATIONS, REASON_CHARACTERS_MAX, ROUNDING_MAX
from parley.policy.table import COMPARISONS_MAX, RULES_PER_ROW_MAX, TABLE_ROWS_MAX
from parley.policy.text import NESTING_MAX, OPERATORS_MAX, RULE_CHARACTERS_MAX, RULES_MAX
from parley.policy.watch import EVERY
from parley.proof import FORBIDDEN_PURPOSES
from parley.release.coarsen import BANDS_DEFAULT

PAGE = (Path(__file__).parent.parent.parent / "docs" / "policy.md").read_text()


def block(language: str) -> bytes:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert len(found) == 1
    return found[0].encode()


def test_the_example_loads_and_rules_as_it_reads() -> None:
    policy = load_policy({"particulars.toml": block("toml"), "policy.cedar": block("cedar")})
    ask = Purpose.ANSWER_CUSTOMER
    rows = Case("parley-web", "web", ask, Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT, Data.OFF_PLATFORM, Assurance.LINKED)
    assert policy.table[rows].allow and policy.table[rows].rows_max == 25
    aloud = rows._replace(platform="speaker", channel="alexa")
    assert not policy.table[aloud].allow and "no-rows-out-loud" in policy.table[aloud].rules
    band = Case("speaker", "alexa", ask, Projection.BALANCE_BAND, Data.ACCOUNT, Assurance.CONFIRMED)
    assert policy.table[band].bands == (0, 500, 2000, 10000)
    assert band._replace(assurance=Assurance.LINKED) not in policy.table
    assert not policy.platforms["speaker"].missing_particulars
    assert policy.platforms["parley-web"].missing_particulars == ("lei",)


def test_every_annotation_word_and_invariant_stands_on_the_page() -> None:
    for name in (*WORDS, *OBLIGATIONS):
        assert f"| `@{name}` |" in PAGE
    for word in (*Projection, *Purpose, *Assurance, *Data):
        assert f'"{word}"' in PAGE
    for delivery in Delivery:
        assert f"`{delivery}`" in PAGE
    for invariant in INVARIANTS:
        assert invariant.sentence in PAGE


def test_every_limit_on_the_page_is_the_codes() -> None:
    for said in (
        f"{RULES_MAX:,} rules; 10,000 rules are refused",
        f"{RULE_CHARACTERS_MAX:,} characters, brackets {NESTING_MAX} deep, {OPERATORS_MAX} operators",
        f"{PLATFORMS_MAX:,} platforms, {CHANNELS_MAX} channels",
        f"| {TABLE_ROWS_MAX:,} |",
        f"| {COMPARISONS_MAX:,} |",
        f"| {RULES_PER_ROW_MAX}: their ids",
        f"1 to {ROWS_HARD_MAX} rows",
        f"0 to {LOOKBACK_DAYS_HARD_MAX};",
        f"1 to {ROUNDING_MAX}:",
        f"up to {BANDS_MAX} rising",
        f"1 to {DELAY_DAYS_MAX}:",
        f"{REASON_CHARACTERS_MAX} characters at most",
        f"than {ROWS_COMPARED_MAX:,}",
        f"the {len(FORBIDDEN_PURPOSES)} words",
        ", ".join(f"{edge:,}" for edge in BANDS_DEFAULT),
    ):
        assert said in PAGE, said
    assert EVERY == 100 and "one decision in a hundred" in PAGE
