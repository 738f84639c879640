"""Which rows a query means: FDX's date rules, page sizes and the opaque page keys with which a list is continued."""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import msgspec

from parley_sandbox.web import Refusal

DEFAULT_DAYS = 7
LIMIT_DEFAULT, LIMIT_MAX = 100, 500
PAGE_KEY_CHARACTERS_MAX = 400
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Window:
    """Days from start to end, both included."""

    start: date
    end: date


def read_window(parameters: dict[str, str], today: date, earliest: date) -> Window:
    """The window of startTime/endTime or startDate/endDate; neither means the last seven days, today included.

    Half a pair, a reversed pair or one older than the consent's lookback is Refusal 400 with code 703; an unreadable day has code 702.
    """
    pairs = [(parameters.get(f"start{word}"), parameters.get(f"end{word}")) for word in ("Time", "Date")]
    given = [pair for pair in pairs if pair != (None, None)]
    if not given:
        return Window(max(today - timedelta(days=DEFAULT_DAYS - 1), earliest), today)
    start, end = given[0]
    if len(given) > 1 or start is None or end is None:
        raise Refusal(400, "703", "Give a start and an end together, as times or as dates.")
    window = Window(_day(start), _day(end))
    if window.start > window.end:
        raise Refusal(400, "703", "The window ends before it starts.")
    if window.start < earliest:
        raise Refusal(400, "703", "The window starts before the agreed lookback.")
    return window


def _day(text: str) -> date:
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
        moment = datetime.fromisoformat(text) if len(text) <= 40 else None
    except ValueError:
        moment = None
    if moment is None:
        raise Refusal(400, "702", "A day is written YYYY-MM-DD.")
    try:
        return moment.astimezone(UTC).date() if moment.tzinfo else moment.date()
    except OverflowError:
        raise Refusal(400, "702", "A day is written YYYY-MM-DD.") from None


def read_limit(parameters: dict[str, str]) -> int:
    """How many rows a page holds: 1 to 500, 100 unless told. Raises Refusal 400."""
    text = parameters.get("limit", str(LIMIT_DEFAULT))
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= LIMIT_MAX:
        raise Refusal(400, "401", f"limit is 1 to {LIMIT_MAX}.")
    return int(text)


class PageKey(msgspec.Struct, frozen=True):
    """Where a list goes on: what is listed, in which window, after how many rows."""

    subject: str
    start: str
    end: str
    offset: int


def write_page_key(seed: int, key: PageKey) -> str:
    """The opaque, signed form. The signature only catches tampering: whatever a key says is checked against the token again.

    The signing key comes from the seed, so that equal banks give equal answers.
    """
    payload = msgspec.json.encode(key)
    return base64.urlsafe_b64encode(_tag(seed, payload) + payload).rstrip(b"=").decode()


def read_page_key(seed: int, text: str, subject: str) -> PageKey:
    """The page key for this list. Raises Refusal 400 for one that was altered or belongs to another list."""
    refusal = Refusal(400, "401", "pageKey is not valid here.")
    if len(text) > PAGE_KEY_CHARACTERS_MAX:
        raise refusal
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        tag, payload = raw[:16], raw[16:]
        if not hmac.compare_digest(tag, _tag(seed, payload)):
            raise refusal
        key = msgspec.json.decode(payload, type=PageKey)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise refusal from None
    if key.subject != subject:
        raise refusal
    return key


def _tag(seed: int, payload: bytes) -> bytes:
    return hmac.new(f"page key {seed}".encode(), payload, hashlib.sha256).digest()[:16]
