"""What stands between a permitted answer and its leaving: the switches that officers pull, and the policy that they put in force."""

from parley.guard.policies import PolicyInForce, PolicyUnlogged
from parley.guard.switches import Guard

__all__ = ["Guard", "PolicyInForce", "PolicyUnlogged"]
