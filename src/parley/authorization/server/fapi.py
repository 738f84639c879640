"""The first profile: FAPI 2.0 Security Profile, for partners' apps and other gateways that the bank registered beforehand."""

from __future__ import annotations

from parley.authorization.server.details import read_details
from parley.authorization.server.profile import Authentication, Profile, Refresh
from parley.model.clients import ClientProfile
from parley.model.linking import Origin

FAPI = Profile(
    kind=ClientProfile.FAPI,
    path="/fapi",
    resource="/api/v1",
    channel="api",
    origin=Origin.OAUTH,
    reads=read_details,
    authentication=frozenset({Authentication.PRIVATE_KEY_JWT}),
    pushed=True,
    bound=True,
    details=True,
    refresh=Refresh.KEPT,
)
