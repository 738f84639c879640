"""What a client may ask for and what a customer agreed to: the closed form of `authorization_details` and the consents made from it."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import msgspec

DETAILS_BYTES_MAX = 4096
LOOKBACK_DAYS_MAX = 730
DURATION_DAYS_MAX = 365

Cluster = Literal["ACCOUNT_BASIC", "BALANCES", "TRANSACTIONS", "CUSTOMER_CONTACT"]
DurationType = Literal["ONE_TIME", "PERSISTENT", "TIME_BOUND"]
State = Literal["ACTIVE", "EXPIRED", "REVOKED"]
Reason = Literal["USER_ACTION", "BUSINESS_RULE", "SECURITY_EVENT", "OTHER"]

SCOPES: dict[str, str] = {
    "ACCOUNT_BASIC": "fdx:accountbasic:read",
    "BALANCES": "fdx:balances:read",
    "TRANSACTIONS": "fdx:transactions:read",
    "CUSTOMER_CONTACT": "fdx:customercontact:read",
}


class BadDetails(Exception):
    """The authorization details are not of the one form that this bank knows; the message is safe to send back."""


class Resource(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One kind of thing asked for, with its data clusters."""

    resourceType: Literal["ACCOUNT", "CUSTOMER"]
    dataClusters: list[Cluster]


class ConsentRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How long, how far back, and what. Periods are days."""

    durationType: DurationType
    resources: list[Resource]
    durationPeriod: int | None = None
    lookbackPeriod: int = 90


class Detail(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One authorization detail of type fdx_v1.0 (RFC 9396)."""

    type: Literal["fdx_v1.0"]
    consentRequest: ConsentRequest


def read_details(raw: str) -> ConsentRequest:
    """The consent request in `authorization_details`. Unknown fields, clusters and types are refused, not ignored. Raises BadDetails."""
    if len(raw) > DETAILS_BYTES_MAX:
        raise BadDetails("authorization_details is too long")
    try:
        details = msgspec.json.decode(raw, type=list[Detail])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise BadDetails("authorization_details is not a list of one fdx_v1.0 object of the documented form") from None
    if len(details) != 1:
        raise BadDetails("exactly one authorization detail is accepted")
    request = details[0].consentRequest
    _check(request)
    return request


def _check(request: ConsentRequest) -> None:
    kinds = [resource.resourceType for resource in request.resources]
    if not kinds or len(set(kinds)) != len(kinds) or "ACCOUNT" not in kinds:
        raise BadDetails("resources must hold ACCOUNT once, and CUSTOMER at most once")
    for resource in request.resources:
        contact = [cluster == "CUSTOMER_CONTACT" for cluster in resource.dataClusters]
        if not contact or len(set(resource.dataClusters)) != len(contact):
            raise BadDetails("dataClusters must not be empty or repeat itself")
        if any(contact) if resource.resourceType == "ACCOUNT" else not all(contact):
            raise BadDetails("a data cluster does not belong to its resource type")
    if request.durationType == "TIME_BOUND" and request.durationPeriod is None:
        raise BadDetails("TIME_BOUND needs durationPeriod")
    if request.durationPeriod is not None and not 1 <= request.durationPeriod <= DURATION_DAYS_MAX:
        raise BadDetails("durationPeriod is 1 to 365 days")
    if not 1 <= request.lookbackPeriod <= LOOKBACK_DAYS_MAX:
        raise BadDetails("lookbackPeriod is 1 to 730 days")


def clusters(request: ConsentRequest) -> tuple[str, ...]:
    """All data clusters asked for, in the order of the request."""
    return tuple(cluster for resource in request.resources for cluster in resource.dataClusters)


@dataclass(slots=True)
class Consent:
    """What a customer agreed to. Only its state changes, and only towards its end."""

    consent_id: str
    client_id: str
    username: str
    request: ConsentRequest
    account_ids: tuple[str, ...]
    created: float
    expires: float
    earliest_day: date
    revoked: float | None = None
    reason: str = ""
    initiator: str = ""
    clusters: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.clusters = frozenset(clusters(self.request))

    def state(self, now: float) -> State:
        """ACTIVE until it is revoked or its time is over."""
        if self.revoked is not None:
            return "REVOKED"
        return "ACTIVE" if now < self.expires else "EXPIRED"

    def wire(self, now: float) -> dict[str, object]:
        """The consent as FDX shows it."""
        return {
            "id": self.consent_id,
            "status": self.state(now),
            "createdTime": _instant(self.created),
            "expirationTime": _instant(self.expires),
            "durationType": self.request.durationType,
            "durationPeriod": self.request.durationPeriod or DURATION_DAYS_MAX,
            "lookbackPeriod": self.request.lookbackPeriod,
            "parties": [{"name": self.client_id, "type": "DATA_RECIPIENT"}],
            "resources": [
                {"resourceType": resource.resourceType, "dataClusters": list(resource.dataClusters)}
                | ({"resourceIds": list(self.account_ids)} if resource.resourceType == "ACCOUNT" else {})
                for resource in self.request.resources
            ],
        }

    def revocation(self) -> list[dict[str, object]]:
        """How it ended, or an empty list."""
        if self.revoked is None:
            return []
        ended = _instant(self.revoked)
        return [{"status": "REVOKED", "reason": self.reason, "initiator": self.initiator, "updatedTime": ended}]


def new_consent(
    consent_id: str, client_id: str, username: str, request: ConsentRequest, account_ids: tuple[str, ...], now: float, today: date
) -> Consent:
    """A consent that starts now. Its lookback is reckoned from the bank's today; a one-time consent ends with its day."""
    days = 1 if request.durationType == "ONE_TIME" else request.durationPeriod or DURATION_DAYS_MAX
    earliest = today - timedelta(days=request.lookbackPeriod)
    return Consent(consent_id, client_id, username, request, account_ids, now, now + days * 86400, earliest)


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
