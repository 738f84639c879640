"""A guard for the road that a test turns: open, or shut from a chosen look on."""

from __future__ import annotations

from dataclasses import dataclass

from parley.model.words import Purpose


@dataclass
class TurnedGuard:
    """`raises` from the look numbered `from_look` on (0 is the first)."""

    raises: Exception | None = None
    from_look: int = 0
    looks: int = 0

    def check(self, platform: str, purpose: Purpose, policy_digest: str) -> None:
        self.looks += 1
        if self.raises is not None and self.looks > self.from_look:
            raise self.raises
