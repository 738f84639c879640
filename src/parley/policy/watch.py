"""One decision in a hundred is asked of the Rust engine again, off the hot path. One disagreement stops every release under the policy."""

from __future__ import annotations

from collections import deque

from parley.policy.judge import Judge, Opinion
from parley.policy.rules import Words
from parley.policy.table import Verdict

EVERY = 100
WAITING_MAX = 256
"""Decisions that wait to be asked about. When more come than are looked at, the oldest go: the share grows smaller, nothing slower."""


class Watch:
    """Remembers every hundredth decision, the first of all among them, until `look` asks the engine about them.

    `disputed` is set by the first disagreement and never taken back: a new policy, or a mended release of the gateway, brings a new watch.
    Owned by the event loop; `look` may run in another thread, since it only takes from the queue and sets one flag.
    """

    def __init__(self, judge: Judge, every: int = EVERY) -> None:
        self._judge = judge
        self._every = every
        self._count = 0
        self._waiting: deque[tuple[Words, Verdict | None]] = deque(maxlen=WAITING_MAX)
        self.disputed = False
        self.asked = 0

    def saw(self, case: Words, verdict: Verdict | None) -> None:
        """On the hot path: a count, and for one decision in a hundred a place in the queue."""
        if not self._count:
            self._count = self._every
            self._waiting.append((case, verdict))
        self._count -= 1

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def look(self) -> Words | None:
        """Ask the engine about what waits. Returns the first case on which the engines disagree, None where there is none.

        An engine that cannot be asked counts as a disagreement: a check that fails quietly is none.
        """
        while self._waiting:
            case, verdict = self._waiting.popleft()
            self.asked += 1
            if not self._same(case, verdict):
                self.disputed = True
                return case
        return None

    def _same(self, case: Words, verdict: Verdict | None) -> bool:
        try:
            (opinion,) = self._judge.opinions(case[0], [case])
        except (ValueError, TypeError):
            return False
        return opinion == expected(verdict)


def expected(verdict: Verdict | None) -> Opinion:
    """What the engine must say where our table says this."""
    return Opinion(verdict is not None and verdict.allow, frozenset(verdict.rules if verdict else ()), False)
