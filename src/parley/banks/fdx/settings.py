"""What an operator decides about one FDX bank, checked when the house starts."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

import msgspec

from parley.model.money import EXPONENTS


class BadBankSettings(ValueError):
    """The settings of a bank cannot be used; the message says which, for the operator."""


class FdxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One bank that speaks FDX.

    `base_url` ends before `/accounts`, without a slash: https, or http on a loopback address. `currency_default` (ISO 4217) stands in only
    where neither the list nor the account names a currency; None leaves such an account uncertain, and it is then refused.
    Seconds: one request, and one order with all its requests. `bytes_max` of one answer; `rows_max` read for one order before the
    reading is called partial. `interaction_id_echoed`: refuse an answer that carries another request's id.
    """

    name: str
    base_url: str
    profile: str = "fdx6"
    request_seconds: float = 5.0
    order_seconds: float = 12.0
    page_limit: int = 500
    pages_max: int = 40
    accounts_max: int = 100
    rows_max: int = 20_000
    bytes_max: int = 2 * 1024 * 1024
    retries: int = 2
    retry_after_seconds_max: float = 2.0
    breaker_failures: int = 5
    breaker_seconds: float = 10.0
    reads_at_once: int = 4
    currency_default: str | None = None
    interaction_id_echoed: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", self.name):
            raise BadBankSettings("name is lower case letters, digits and hyphens")
        if self.profile != "fdx6":
            raise BadBankSettings("profile must be fdx6")
        if self.currency_default is not None and self.currency_default not in EXPONENTS:
            raise BadBankSettings("currency_default is not a currency that is known here")
        _check_url(self.base_url)
        _check_limits(self)


def _check_url(url: str) -> None:
    """A customer's token goes to this address, so nothing in it may be left to interpretation."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadBankSettings("base_url is not an address") from None
    plain = re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~\-]+)*", url)
    if not plain or not parts.hostname or port == 0 or any(part in (".", "..") for part in parts.path.split("/")):
        raise BadBankSettings("base_url is scheme, host and path, without query, user or a slash at its end")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise BadBankSettings("base_url must be https, or http on a loopback address")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_limits(settings: FdxSettings) -> None:
    counts = ("page_limit", "pages_max", "accounts_max", "rows_max", "bytes_max", "breaker_failures", "reads_at_once")
    seconds = ("request_seconds", "order_seconds", "breaker_seconds")
    for name in counts + seconds:
        if not 0 < getattr(settings, name) < 10**9:
            raise BadBankSettings(f"{name} must be positive")
    if not 0 <= settings.retries <= 5 or not 0 <= settings.retry_after_seconds_max <= 30:
        raise BadBankSettings("retries is 0 to 5, retry_after_seconds_max 0 to 30")
