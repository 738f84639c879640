"""Turns the console's facts into HTML. Everything is escaped by the templates; nothing from outside is ever marked as safe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, PlainTextResponse, Response

MEDIA_TYPES: Mapping[str, str] = {"css": "text/css", "js": "text/javascript"}
STATIC_FILES = ("officer.css", "officer.js")
STATIC_PATH = "/officer/static"


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """What the pages say of the house. `secure`: the public address is https."""

    bank_title: str
    secure: bool


class Pages:
    """The templates, and the static files under names with their hash."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._templates = Environment(
            loader=PackageLoader("parley.console.officer"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._files: dict[str, tuple[bytes, str]] = {}
        urls = {name: self._hashed(name) for name in STATIC_FILES}
        self._templates.globals |= {"bank_title": settings.bank_title, "files": urls}
        self._templates.filters |= {"moment": moment, "short": short}

    def page(self, template: str, *, status: int = 200, **values: object) -> Response:
        response = HTMLResponse(self._templates.get_template(template).render(values), status)
        response.headers["referrer-policy"] = "same-origin"  # so that browsers name our origin with our own forms
        return response

    def message(self, heading: str, words: str, *, status: int, code: str = "", back: str = "/officer/") -> Response:
        return self.page("message.html", status=status, heading=heading, words=words, code=code, back=back, visit=None)

    def static(self, name: str) -> Response:
        found = self._files.get(name)
        if found is None:
            return PlainTextResponse("Not found\n", status_code=404)
        return Response(found[0], media_type=found[1], headers={"cache-control": "public, max-age=31536000, immutable"})

    def _hashed(self, name: str) -> str:
        content = files("parley.console.officer").joinpath("static", name).read_bytes()
        stem, _, kind = name.rpartition(".")
        hashed = f"{stem}.{sha256(content).hexdigest()[:16]}.{kind}"
        self._files[hashed] = (content, MEDIA_TYPES[kind])
        return f"{STATIC_PATH}/{hashed}"


def moment(when: datetime | None) -> str:
    """UTC to the minute, which is what the bank's people compare between offices."""
    return when.strftime("%Y-%m-%d %H:%M UTC") if when is not None else "–"


def short(digest: str) -> str:
    """Enough of a digest to recognise it; the whole stands in its title."""
    return digest[:12]
