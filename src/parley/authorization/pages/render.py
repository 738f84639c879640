"""Turns consent texts and refusals into HTML. Everything is escaped by the templates; nothing from outside is ever marked as safe."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from types import MappingProxyType

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from parley.authorization.linking import ConsentPage
from parley.authorization.renewal import RenewalPage

MESSAGES: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "declined_at_bank": (
            "Nothing was linked",
            ("You said no at your bank, so nothing is shared. You can start again whenever you like.",),
        ),
        "not_allowed": (
            "Nothing is shared",
            ("You didn't allow it, so no answer can be given, and the access that your bank prepared was given back.",),
        ),
        "paired": (
            "Your terminal is linked",
            ("Go back to your terminal and ask your question there. You can close this page.",),
        ),
        "unknown_here": (
            "Nothing of yours is kept here",
            ("You are signed in at your bank, but you have linked no chat, so there is nothing to show. Nothing was linked now, either.",),
        ),
        "signed_out": (
            "You are signed out",
            (
                "This browser can no longer ask about your accounts.",
                "Your permission itself stays until it ends, but nobody can use it from here. To end it at once, use “Stop sharing” instead.",
            ),
        ),
    }
)

CACHE_FOR_GOOD = "public, max-age=31536000, immutable"


class Pages:
    """The templates with the bank's name in them."""

    def __init__(self, bank_title: str, contact: str) -> None:
        self._templates = Environment(
            loader=PackageLoader("parley.authorization.pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        style = files("parley.authorization").joinpath("static", "pages.css").read_bytes()
        self._styles = {f"pages.{sha256(style).hexdigest()[:16]}.css": style}
        self._templates.globals |= {"bank_title": bank_title, "contact": contact, "style": f"/static/linking/{next(iter(self._styles))}"}

    def consent(self, page: ConsentPage, *, status: int) -> Response:
        return self._render("consent.html", status, page=page, text=page.text)

    def extend(self, page: RenewalPage, *, csrf: str) -> Response:
        return self._render("extend.html", 200, page=page, text=page.text, csrf=csrf)

    def pair(self, token: str, csrf: str) -> Response:
        return self._render("pair.html", 200, token=token, csrf=csrf)

    def messenger_link(self, *, csrf: str, redirect_uri: str, token: str) -> Response:
        return self._render("messenger_link.html", 200, csrf=csrf, redirect_uri=redirect_uri, token=token)

    def messenger_number(self, *, number: str, url: str) -> Response:
        return self._render("messenger_number.html", 200, number=number, url=url)

    def ask(self, *, asker: str, host: str, verified: bool, on_loopback: bool, action: str, csrf: str, client_id: str, request_uri: str) -> Response:
        """A client's request, before anybody goes anywhere. `on_loopback`: the answer goes to a program on the customer's own computer."""
        shown = {"asker": asker, "host": host, "verified": verified, "on_loopback": on_loopback, "action": action}
        return self._render("ask.html", 200, csrf=csrf, client_id=client_id, request_uri=request_uri, **shown)

    def message(self, key: str, *, status: int) -> Response:
        heading, lines = MESSAGES[key]
        return self._render("message.html", status, heading=heading, lines=lines, code=None)

    def refusal(self, code: str, plain_words: str, *, status: int) -> Response:
        heading = "That didn't work this time" if status == 503 else "This can't go on here"
        response = self._render("message.html", status, heading=heading, lines=(plain_words,), code=code)
        if status in (429, 503):
            response.headers["retry-after"] = "60" if status == 429 else "5"
        return response

    def static(self, name: str) -> Response:
        style = self._styles.get(name)
        if style is None:
            return PlainTextResponse("Not found\n", status_code=404)
        return Response(style, media_type="text/css", headers={"cache-control": CACHE_FOR_GOOD})

    def _render(self, template: str, status: int, **values: object) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(values), status_code=status, headers=dict(PAGE_HEADERS))


PAGE_HEADERS: Mapping[str, str] = MappingProxyType({"cache-control": "no-store", "referrer-policy": "same-origin"})
"""Pages with forms say same-origin, not no-referrer: with the latter, browsers send `Origin: null` with our own forms, and the check of
where a form came from would have to accept it. Nothing is told to other sites either way."""
