"""Policies of any size, made by a seed: for the speed table, and for tests that compare engines on rules that nobody chose."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from parley.model.words import Assurance, Projection, Purpose

CHANNELS = ("web", "mcp", "messenger", "whatsapp", "alexa")
RULES_PER_PLATFORM = 50


def made_policy(rules: int, seed: int, *, plain: bool = False) -> dict[str, bytes]:
    """The two files of a policy with this many rules, 50 to a platform: two permits to each forbid, conditions of several shapes.

    `plain`: each condition reads one thing, so that every policy language can say it.
    """
    chance = Random(seed)
    platforms = [f"platform-{number}" for number in range(max(1, rules // RULES_PER_PLATFORM))]
    text = "\n".join(made_rule(number, platforms[number % len(platforms)], chance, plain) for number in range(rules))
    return {"policy.cedar": text.encode(), "particulars.toml": made_particulars(platforms, chance).encode()}


def made_particulars(platforms: Sequence[str], chance: Random) -> str:
    lines = ['name = "made"', 'bank = "Larkspur Demo Bank"', f"channels = [{', '.join(map(quoted, CHANNELS))}]"]
    for platform in platforms:
        off = "true" if chance.random() < 0.3 else "false"
        lines.append(f'[[platforms]]\nid = "{platform}"\nname = "{platform}"\nwebsite = "w"\ncontact = "c"\noff_platform = {off}')
    return "\n".join(lines)


def made_rule(number: int, platform: str, chance: Random, plain: bool) -> str:
    forbids = number % 3 == 2
    obligation = "" if forbids else f'@rows_max("{chance.randint(1, 100)}") @lookback_days_max("{chance.randint(0, 365)}")'
    projections = ", ".join(f'Action::"{each}"' for each in some(tuple(Projection), chance))
    conditions = forbidding(chance, plain) if forbids else permitting(chance)
    return (
        f'@id("rule-{number}") @reason("Rule {number} of a made policy.") {obligation}\n'
        f"{'forbid' if forbids else 'permit'} (principal == Platform::{quoted(platform)}, action in [{projections}], resource)\n"
        f"when {{ {' && '.join(conditions)} }};"
    )


def permitting(chance: Random) -> list[str]:
    """A permit names its data, channels and purposes; one in five asks for a confirmed customer."""
    data = some(("account", "on_platform", "off_platform"), chance)
    named = [
        f"[{entities('Data', data)}].contains(resource)",
        f"[{entities('Purpose', some(tuple(Purpose), chance))}].contains(context.purpose)",
        f"context.channel in [{entities('Channel', some(CHANNELS, chance))}]",
    ]
    if chance.random() < 0.2:
        named.append(f"context.assurance == Assurance::{quoted(Assurance.CONFIRMED)}")
    return named


def forbidding(chance: Random, plain: bool) -> list[str]:
    """A forbid may say what it likes: unequal, not, or, and conditions on several things at once."""
    purpose, other = (quoted(each) for each in chance.sample(tuple(Purpose), 2))
    channel, second = (quoted(each) for each in chance.sample(CHANNELS, 2))
    shapes = (
        f"context.purpose == Purpose::{purpose} && context.channel != Channel::{channel}",
        f"!(context.channel in [Channel::{channel}, Channel::{second}]) && context.purpose in [Purpose::{purpose}, Purpose::{other}]",
        f'(context.purpose == Purpose::{purpose} || context.channel == Channel::{channel}) && resource == Data::"account"',
        f"(context.channel == Channel::{channel} && context.purpose != Purpose::{purpose}) || Channel::{second} == context.channel",
    )
    return [chance.choice(shapes[:2] if plain else shapes)]


def some(values: Sequence[str], chance: Random) -> list[str]:
    return sorted(chance.sample(values, chance.randint(1, min(3, len(values)))))


def entities(kind: str, values: Sequence[str]) -> str:
    return ", ".join(f"{kind}::{quoted(value)}" for value in values)


def quoted(value: str) -> str:
    return f'"{value}"'
