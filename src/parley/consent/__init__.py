"""What the customer agreed to: does a grant cover this request? Pure decisions over values."""

from parley.consent.check import check_consent, check_still_live, ends_at, is_live
from parley.consent.ending import reminder_due

__all__ = ["check_consent", "check_still_live", "ends_at", "is_live", "reminder_due"]
