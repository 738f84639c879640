"""Our Cedar: the schema with its closed lists, and the baseline that no bank can write around."""

from __future__ import annotations

from collections.abc import Iterable

from parley.model.words import Assurance, Projection, Purpose
from parley.policy.domain import FORBIDDEN, Data
from parley.policy.particulars import Particulars

BASELINE_PREFIX = "baseline-"


def schema_text(particulars: Particulars) -> str:
    """The strict schema that a bank's rules are validated against: every word in it is on a closed list, and no attribute is optional.

    An unknown platform, channel, purpose, projection, kind of data or assurance is an error of the rule that names it, not a rule that
    never matches. Purposes in the words of the W3C Data Privacy Vocabulary stand in parley.model.words.DPV_TERMS.
    """
    context = "{ purpose: Purpose, channel: Channel, assurance: Assurance }"
    return "\n".join(
        (
            enumeration("Platform", (platform.id for platform in particulars.platforms)),
            enumeration("Channel", particulars.channels),
            enumeration("Purpose", Purpose),
            enumeration("Data", Data),
            enumeration("Assurance", Assurance),
            f"action {quoted(Projection)} appliesTo {{ principal: Platform, resource: Data, context: {context} }};",
        )
    )


def enumeration(name: str, values: Iterable[str]) -> str:
    return f"entity {name} enum [{quoted(values)}];"


def quoted(values: Iterable[str]) -> str:
    return ", ".join(f'"{value}"' for value in values)


def baseline_text(particulars: Particulars) -> str:
    """The rules that stand above every bank's own. They are ours: a bank's file cannot name, change or outweigh them.

    Purposes: an allow-list, because a list of what is forbidden lets a word slip through that nobody thought of; and the forbidden words
    beside it, because a list of what is allowed could be lengthened by a slip of our own. Both must be wrong before anything leaves for
    advertising.
    """
    listed = [platform.id for platform in particulars.platforms if platform.off_platform]
    unless = f"\nunless {{ [{entities('Platform', listed)}].contains(principal) }}" if listed else ""
    return f"""@id("baseline-purposes")
@reason("Bank data only leaves for a purpose on the closed list.")
@basis("law")
forbid (principal, action, resource)
unless {{ [{entities("Purpose", Purpose)}].contains(context.purpose) }};

@id("baseline-no-advertising")
@reason("Bank data is never shared for advertising, selling, profiling or training.")
@basis("law")
forbid (principal, action, resource)
when {{ [{entities("Purpose", FORBIDDEN)}].contains(context.purpose) }};

@id("baseline-off-platform")
@reason("Transactions that were not made here stay away from here.")
@basis("bank_policy")
forbid (principal, action, resource == Data::"{Data.OFF_PLATFORM}"){unless};
"""


def entities(kind: str, values: Iterable[str]) -> str:
    return ", ".join(f'{kind}::"{value}"' for value in values)
