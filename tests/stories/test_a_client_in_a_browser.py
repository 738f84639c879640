"""A client sends a customer to our pages, in a real browser: who asks is on the screen, and every decision leads back to that client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tests.browser import PICTURES, open_chromium
from tests.fakes.oauth_house import OAuthHouse, oauth_house
from tests.fakes.partner import DETAILS, Partner
from tests.fakes.web_house import listen, served

pytestmark = pytest.mark.browser


@dataclass
class App:
    """The client's own site, on another origin than ours, and what browsers brought it."""

    origin: str
    partner: Partner
    brought: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuthHouse]:
    with oauth_house(tmp_path_factory.mktemp("oauth")) as running:
        yield running
        assert running.faults == []


@pytest.fixture(scope="module")
def app(house: OAuthHouse) -> Iterator[App]:
    place = listen()
    origin = f"http://127.0.0.1:{place.getsockname()[1]}"
    made = App(origin, house.partner("app-in-a-browser", redirect_uri=f"{origin}/callback"))

    async def callback(request: Request) -> Response:
        made.brought.append(dict(request.query_params))
        return HTMLResponse("<!doctype html><title>App</title><link rel=icon href=data:,><h1>Back in the app</h1>")

    with served(Starlette(routes=[Route("/callback", callback)]), place):
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_chromium() as running:
        yield running


def opened(browser: Browser, house: OAuthHouse, app: App, **size: int) -> tuple[Page, list[str]]:
    page = browser.new_context(viewport={"width": size.get("width", 1100), "height": size.get("height", 820)}).new_page()  # type: ignore[typeddict-item]
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None)
    asked = json.dumps([{**DETAILS, "lookback_days": 30, "duration_days": 30}])
    page.goto(app.partner.authorize_url(house.pushed(app.partner, authorization_details=asked)))
    return page, troubles


@pytest.mark.parametrize(("width", "height"), [(1100, 820), (390, 844)])
def test_A18_she_sees_who_asks_allows_and_lands_in_the_app(browser: Browser, house: OAuthHouse, app: App, width: int, height: int) -> None:
    page, troubles = opened(browser, house, app, width=width, height=height)
    asking = page.locator("main").inner_text()
    assert "A partner wants to ask about your accounts" in asking
    assert "partner.example" in asking
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing hangs over the edge"
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(PICTURES / f"oauth-asking-{width}.png"), full_page=True)
    page.get_by_role("button", name="Go on to Brook Bank").click()
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Allow", exact=True).wait_for()
    page.screenshot(path=str(PICTURES / f"oauth-consent-{width}.png"), full_page=True)
    assert page.get_by_role("checkbox", checked=True).count() == 0
    for words in ("A partner", "partner.example", "30 days", "never used for advertising"):
        assert words in page.locator("main").inner_text(), words
    for box in page.get_by_role("checkbox").all():
        box.check()
    page.get_by_role("button", name="Allow", exact=True).click()
    page.get_by_role("heading", name="Back in the app").wait_for()
    brought = app.brought[-1]
    assert set(brought) == {"code", "iss", "state"}
    assert house.token(app.partner, app.partner.redeeming(brought["code"])).status == 200
    assert troubles == [], "no page broke its own Content-Security-Policy"
    page.context.close()


@pytest.mark.parametrize("where", ["first page", "bank", "consent page"])
def test_A15_her_no_leads_back_too(browser: Browser, house: OAuthHouse, app: App, where: str) -> None:
    page, troubles = opened(browser, house, app)
    if where == "first page":
        page.get_by_role("button", name="Don't share").click()
    else:
        page.get_by_role("button", name="Go on to Brook Bank").click()
        page.get_by_role("button", name="Cancel" if where == "bank" else "Sign in").click()
        if where == "consent page":
            page.get_by_role("button", name="Don't allow").click()
    page.get_by_role("heading", name="Back in the app").wait_for()
    assert app.brought[-1]["error"] == "access_denied"
    assert troubles == []
    page.context.close()


def test_C20_the_page_stands_in_no_frame(browser: Browser, house: OAuthHouse, app: App) -> None:
    url = app.partner.authorize_url(house.pushed(app.partner))
    page = browser.new_page()
    page.goto(f"{app.origin}/callback?frame=1")
    page.evaluate("url => { const frame = document.createElement('iframe'); frame.src = url; document.body.append(frame) }", url)
    page.wait_for_function("() => document.querySelector('iframe').contentDocument === null")
    framed = next(frame for frame in page.frames if frame != page.main_frame)
    assert "wants to ask" not in framed.content()
    page.close()
