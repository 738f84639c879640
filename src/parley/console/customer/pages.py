"""Turns views into HTML. Everything is escaped by the templates; nothing from outside is ever marked as safe."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from types import MappingProxyType

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from parley.console.customer.ports import CustomerSettings

STATIC: Mapping[str, str] = MappingProxyType({"me.css": "text/css", "me.js": "text/javascript", "verify.js": "text/javascript"})
CACHE_FOR_GOOD = "public, max-age=31536000, immutable"
PAGE_HEADERS: Mapping[str, str] = MappingProxyType({"cache-control": "no-store", "referrer-policy": "same-origin"})
"""same-origin, so that browsers name our origin with our own forms; nothing is told to other sites."""

DONE: Mapping[str, str] = MappingProxyType(
    {
        "paused": "Paused. Nothing is answered there until you resume.",
        "resumed": "Resumed. What you had allowed may be asked again, and nothing more.",
        "stopped": "Stopped. Nothing more leaves, from this moment on.",
        "paused-unlogged": "Paused. Nothing is answered there. The log could not be told yet and will be, as soon as it answers.",
        "stopped-unlogged": "Stopped. Nothing more leaves. The log could not be told yet and will be, as soon as it answers.",
        "renamed": "Renamed. Answers use the new name from the next question on.",
        "passkey-added": "Your new passkey works from now on.",
        "passkey-removed": "That passkey no longer opens this page.",
        "ended": "Ended. That browser has to sign in again.",
        "extended": "Extended, within the same limits.",
        "nothing": "Nothing needed to be changed.",
    }
)
"""What a page may say at its top after a form; the address names one of these and nothing else is ever repeated from it."""


class Pages:
    def __init__(self, settings: CustomerSettings) -> None:
        self._settings = settings
        self._templates = Environment(
            loader=PackageLoader("parley.console.customer"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._templates.filters |= {"when": self._when, "iso": _iso, "day": self._day}
        self._files: dict[str, tuple[bytes, str]] = {}
        urls = {name: self._asset(name, kind) for name, kind in STATIC.items()}
        self._templates.globals |= {"settings": settings, "assets": urls}

    def render(self, template: str, *, status: int = 200, **values: object) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(values), status_code=status, headers=dict(PAGE_HEADERS))

    def static(self, name: str) -> Response:
        found = self._files.get(name)
        if found is None:
            return PlainTextResponse("Not found\n", status_code=404)
        return Response(found[0], media_type=found[1], headers={"cache-control": CACHE_FOR_GOOD})

    def _asset(self, name: str, kind: str) -> str:
        """Files under names with their hash, so that browsers may keep them for good and never mix versions."""
        content = files("parley.console.customer").joinpath("static", name).read_bytes()
        stem, _, ending = name.rpartition(".")
        hashed = f"{stem}.{sha256(content).hexdigest()[:16]}.{ending}"
        self._files[hashed] = (content, kind)
        return f"/static/me/{hashed}"

    def _when(self, moment: datetime) -> str:
        local = moment.astimezone(self._settings.zone)
        return f"{local.day} {local:%b %Y, %H:%M} {local.tzname()}"

    def _day(self, moment: datetime) -> str:
        local = moment.astimezone(self._settings.zone)
        return f"{local.day} {local:%b %Y}"


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
