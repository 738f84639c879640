"""Mishaps that can be switched on, so that a client of the bank can be seen to cope: each has a name, maybe a value, maybe a count."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from parley_sandbox.web import Refusal

FAULTS: dict[str, tuple[str, str]] = {
    "slow": ("800ms", "Waits before it answers (value: 800ms or 2s, at most 60s)."),
    "rate_limit": ("2", "429, code 1207, with Retry-After (value: seconds)."),
    "error500": ("", "500, code 500."),
    "maintenance": ("", "503, code 503."),
    "half_page": ("", "A body that stops in the middle, declared as complete."),
    "cut_connection": ("", "Announces the whole body, sends half and hangs up."),
    "partial": ("", "206: the last account or row of the list is replaced by an error or left out."),
    "garbage": ("", "200 and application/json, but the body is no JSON."),
    "nested": ("", "A body of 100,000 opening brackets."),
    "huge": ("12", "A well-formed body padded by so many megabytes (value: at most 64)."),
    "redirect": ("", "302 to a foreign origin."),
    "repeat_cursor": ("", "Every page names the same next page, for ever."),
    "foreign_next_link": ("", "The next page is a link to a foreign origin, and no page key is given."),
    "duplicate_rows": ("", "Each page repeats its last row at its end."),
    "link_lost": ("", "403, code 602: the customer's permission is gone."),
    "token_expired": ("", "401, code 603, as if the access token had expired."),
    "wrong_currency": ("ZZZ", "Accounts name this currency instead of their own."),
    "no_currency": ("", "Accounts name no currency."),
    "signed_amounts": ("", "Debits carry a minus sign beside debitCreditMemo."),
    "no_memo": ("", "Rows carry no debitCreditMemo."),
    "wrong_sign": ("", "debitCreditMemo contradicts the row's type and sign."),
    "string_amounts": ("", "Amounts are strings."),
    "foreign_account": ("", "Answers name an account that was not asked for."),
    "unknown_fields": ("", "Objects carry fields that no specification knows."),
    "old_categories": ("", "The category code stands in `category` with subCategory MCC, as before version 6.6."),
    "wrong_interaction_id": ("", "Another interaction id comes back."),
    "token_error": ("", "The token endpoint answers 503."),
    "wrong_iss": ("", "The authorization response names a foreign issuer."),
}
"""Every fault: its default value and what it does."""

_WRITTEN = re.compile(r"(?P<name>[a-z0-9_]{1,32})(=(?P<value>[A-Za-z0-9]{1,16}))?(:(?P<times>once|[0-9]{1,6}))?")
SECONDS_MAX = 60.0


@dataclass(slots=True)
class Fault:
    """A fault that is on. `left` counts how often it still strikes; None means until it is switched off."""

    name: str
    value: str
    left: int | None = None


class FaultBoard:
    """The faults that are on now. One event loop owns it, so reading and counting down need no lock."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._on: dict[str, Fault] = {}
        self.replace(faults)

    def replace(self, faults: Iterable[Fault]) -> None:
        """Switches exactly these faults on and all others off."""
        self._on = {fault.name: fault for fault in faults}

    def listed(self) -> list[dict[str, object]]:
        """What is on, for people and scripts."""
        return [{"name": fault.name, "value": fault.value, "times": fault.left} for fault in self._on.values()]

    def strikes(self, name: str) -> str | None:
        """The fault's value if it is on (and counts one occurrence), else None. A fault without value strikes with an empty string."""
        fault = self._on.get(name)
        if fault is None:
            return None
        if fault.left is not None:
            fault.left -= 1
            if fault.left <= 0:
                del self._on[name]
        return fault.value


def written_fault(text: str) -> Fault:
    """Reads NAME[=VALUE][:TIMES], for example `slow=800ms`, `rate_limit:once` or `error500:3`. Raises Refusal 400."""
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise Refusal(400, "unknown_fault", "A fault is written NAME[=VALUE][:TIMES].")
    times = match["times"]
    return checked_fault(match["name"], match["value"], 1 if times == "once" else int(times) if times else None)


def checked_fault(name: object, value: object = None, times: object = None) -> Fault:
    """A fault whose name is known and whose value makes sense. Raises Refusal 400."""
    if not isinstance(name, str) or name not in FAULTS:
        raise Refusal(400, "unknown_fault", "There is no such fault.")
    if times is not None and (not isinstance(times, int) or isinstance(times, bool) or not 1 <= times <= 999_999):
        raise Refusal(400, "bad_fault", "A fault's count is a whole number from 1.")
    chosen = value if value not in (None, "") else FAULTS[name][0]
    if not isinstance(chosen, str) or not re.fullmatch(r"[A-Za-z0-9]{0,16}", chosen):
        raise Refusal(400, "bad_fault", "A fault's value is a short word or number.")
    fault = Fault(name, chosen, times)
    if name == "slow":
        seconds(chosen)
    if name in ("rate_limit", "huge") and not (chosen.isdecimal() and 0 < int(chosen) <= 64):
        raise Refusal(400, "bad_fault", "That value is a whole number from 1 to 64.")
    return fault


def seconds(text: str) -> float:
    """Reads `800ms` or `2s`. Raises Refusal 400 beyond sixty seconds."""
    match = re.fullmatch(r"([0-9]{1,6})(ms|s)", text)
    duration = int(match[1]) / (1000 if match[2] == "ms" else 1) if match else -1.0
    if not 0 <= duration <= SECONDS_MAX:
        raise Refusal(400, "bad_fault", "A delay is written 800ms or 2s, at most 60s.")
    return duration
