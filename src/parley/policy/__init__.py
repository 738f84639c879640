"""What the bank allows: load its rules, prove them, and rule on a permitted request. The baseline is outside the bank's reach."""

from parley.policy.domain import Case, Data
from parley.policy.fairness import Treatment, Unevenness, uneven
from parley.policy.load import Key, Policy, Step, Verdict, load_policy
from parley.policy.purposes import purpose_named
from parley.policy.rejection import PolicyRejected
from parley.policy.rules import ROWS_HARD_MAX
from parley.policy.ruling import allows_platform, rule

__all__ = [
    "ROWS_HARD_MAX",
    "Case",
    "Data",
    "Key",
    "Policy",
    "PolicyRejected",
    "Step",
    "Treatment",
    "Unevenness",
    "Verdict",
    "allows_platform",
    "load_policy",
    "purpose_named",
    "rule",
    "uneven",
]
