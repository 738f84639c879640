"""Renders the bank's pages: plain HTML, one stylesheet, no script; everything that people or strangers wrote is escaped."""

from functools import cache
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from parley_sandbox.bank import NAME, bank_of

_HERE = Path(__file__).parent / "templates"


def page(request: Request, template: str, status: int = 200, *, form_targets: str = "'self'", **values: Any) -> Response:
    """An HTML answer. `form_targets` are the origins to which its forms may lead, redirects included."""
    html = _environment().get_template(template).render(bank=NAME, today=bank_of(request).today, **values)
    policy = f"default-src 'none'; style-src 'self'; form-action {form_targets}; frame-ancestors 'none'; base-uri 'none'"
    return Response(html, status, {"content-security-policy": policy, "cache-control": "no-store"}, "text/html")


def problem(request: Request, status: int, message: str) -> Response:
    """A page that says what went wrong; it never sends the browser elsewhere."""
    return page(request, "problem.html", status, message=message)


async def stylesheet(request: Request) -> Response:
    """The one stylesheet."""
    del request
    return Response((_HERE / "larkspur.css").read_bytes(), media_type="text/css", headers={"cache-control": "max-age=300"})


@cache
def _environment() -> Any:
    """Made on the first page, because a bank that only serves its API never needs it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
