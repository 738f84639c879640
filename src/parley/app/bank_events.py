"""The bank's own events, wired: open for the banks whose settings name a secret."""

from __future__ import annotations

from starlette.routing import BaseRoute

from parley.app.diagnostics import unforeseen
from parley.app.frame import Frame
from parley.app.linking import LinkingRooms
from parley.authorization.bank_events import bank_event_routes, read_secrets


def bank_events(frame: Frame, linking: LinkingRooms) -> list[BaseRoute]:
    """Raises BadSecretFile, which stops the start."""
    settings = frame.settings
    return bank_event_routes(
        secrets={bank.name: read_secrets(settings.data / bank.event_secret_file) for bank in settings.banks if bank.event_secret_file},
        ended=linking.grants.ended_at_bank,
        records=frame.records,
        clock=frame.clock,
        on_fault=unforeseen,
    )
