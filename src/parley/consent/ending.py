"""When a customer is reminded that a grant ends."""

from __future__ import annotations

from datetime import datetime, timedelta

from parley.consent.check import ends_at, is_live
from parley.model.grants import Grant

REMIND_BEFORE = timedelta(days=30)
SHORT = timedelta(days=3)


def reminder_due(grant: Grant, now: datetime) -> bool:
    """In the last thirty days of a live grant, or in the last third of a shorter one. One of a few days needs none: its end was just chosen."""
    end = ends_at(grant)
    whole = end - grant.created_at
    return is_live(grant, now) and whole > SHORT and now >= end - min(REMIND_BEFORE, whole / 3)
