"""What the bank allows: load its rules, and rule on a permitted request. The baseline is outside the bank's reach."""

from parley.policy.load import Policy, PolicyRejected, load_policy
from parley.policy.purposes import purpose_named
from parley.policy.ruling import allows_platform, rule

__all__ = ["Policy", "PolicyRejected", "allows_platform", "load_policy", "purpose_named", "rule"]
