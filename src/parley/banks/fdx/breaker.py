"""Stops asking a bank that is down: our customers wait for nothing, and the bank is not kept down by us."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from parley.model.refusals import BankUnavailable


class Breaker:
    """Closed while the bank answers; open for `seconds` after `failures_max` failures in a row; then one probe decides.

    One per bank and process, owned by one event loop.
    """

    def __init__(self, failures_max: int, seconds: float, clock: Callable[[], datetime]) -> None:
        self._failures_max = failures_max
        self._pause = timedelta(seconds=seconds)
        self._clock = clock
        self._failures = 0
        self._opened_at: datetime | None = None
        self._probing = False

    def enter(self) -> bool:
        """Whether this call is the probe; `left` must be told so at its end. Raises BankUnavailable at once while the circuit is open."""
        if self._opened_at is None:
            return False
        now = self._clock()
        waited_enough = now - self._opened_at >= self._pause or now < self._opened_at  # a clock gone back must not keep it open
        if self._probing or not waited_enough:
            raise BankUnavailable("circuit open")
        self._probing = True
        return True

    def succeeded(self) -> None:
        """The bank answered, whatever it said."""
        self._failures = 0
        self._opened_at = None

    def failed(self) -> None:
        """The bank could not be reached, broke off, or said that it is broken."""
        self._failures += 1
        if self._opened_at is not None or self._failures >= self._failures_max:
            self._opened_at = self._clock()

    def left(self, probe: bool) -> None:
        """The call is over, also when it was cancelled and nothing was learnt."""
        if probe:
            self._probing = False
