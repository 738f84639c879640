"""Why a policy does not take effect."""

from __future__ import annotations


class PolicyRejected(Exception):
    """A policy that may not take effect. The message names the file, the rule and the mend. What was in force before stays in force."""
