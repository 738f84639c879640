"""The officer's console in a real browser with a real (virtual) authenticator, against the real house.

PARLEY_DOC_PICTURES=1 writes the pictures under docs/screenshots anew.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from parley.model.staff import Role
from tests.browser import PICTURES, open_chromium
from tests.conftest import GENEROUS
from tests.fakes.officer import FORBID, console_origin, invited, signed_in, texts_of
from tests.house import RunningHouse, written

pytestmark = pytest.mark.browser

DOCS = Path(__file__).parents[2] / "docs" / "screenshots"
PAGES = ("", "policy", "refusals", "releases", "switches", "people", "sign-ins", "policy/propose")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_chromium() as running:
        yield running


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    running = RunningHouse(tmp_path_factory.mktemp("console"), GENEROUS).start()
    yield running
    running.stop_unharmed()


@dataclass
class Desk:
    """One of the bank's people with a browser and an authenticator of her own."""

    house: RunningHouse
    page: Page
    troubles: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(f"{console_origin(self.house)}/officer/{path}")

    def click(self, name: str) -> None:
        self.page.get_by_role("button", name=name).click()

    def card(self, key: str) -> object:
        return self.page.locator(f'[data-switch="{key}"]')


def desk_of(browser: Browser, house: RunningHouse, name: str, *, dark: bool = False, phone: bool = False, role: Role = Role.OFFICER) -> Desk:
    """Enrols and signs in by the pages alone."""
    viewport = {"width": 390, "height": 844} if phone else {"width": 1180, "height": 860}
    context: BrowserContext = browser.new_context(color_scheme="dark" if dark else "light", viewport=viewport)  # type: ignore[arg-type]
    page = context.new_page()
    desk = Desk(house, page)
    page.on("console", lambda message: desk.troubles.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: desk.troubles.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(console_origin(house)) else desk.elsewhere.append(request.url))
    authenticator(context, page)
    page.goto(invited(house, name, role))
    page.get_by_role("button", name="Make a passkey").click()
    page.wait_for_url("**/officer/sign-in")
    page.get_by_role("button", name="Sign in with your passkey").click()
    page.wait_for_url("**/officer/")
    return desk


def authenticator(context: BrowserContext, page: Page) -> None:
    """Chromium's virtual authenticator, which keeps passkeys and says that the person was verified."""
    devtools = context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True}
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": {**options, "automaticPresenceSimulation": True}})


Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def ask(house: RunningHouse) -> Iterator[Ask]:
    """Ada at the chat, linked once: ask(text) is the chat's whole reply."""
    visitor = house.visitor()

    def wait(story: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(story, house._loop).result(60)

    async def begin() -> None:
        await visitor.__aenter__()
        await visitor.link_as(house.customer("ada"))

    wait(begin())
    yield lambda text, **more: wait(visitor.question(text, **more))
    wait(visitor.__aexit__(None, None, None))


def test_two_officers_pull_a_switch_and_change_the_policy_with_four_eyes(browser: Browser, house: RunningHouse, ask: Ask) -> None:
    rosa, sam = desk_of(browser, house, "Rosa Keller"), desk_of(browser, house, "Sam Ortiz", dark=True, phone=True)
    assert rosa.page.get_by_text("Everything is on.").is_visible()
    assert rosa.page.get_by_text("none from").first.is_visible(), "an empty chart says so in words"
    for text in ("what's my balance?", "show my last 3 transactions", "can I afford 5?", "can I afford 10?", "what's my balance?"):
        assert ask(text)["outcome"] == "answered"
    assert ask("what's my balance?", purpose="advertising")["code"] == "purpose_forbidden"

    # Rosa pulls; a question is refused; she cannot undo it alone; Sam agrees.
    rosa.open("switches")
    rosa.page.get_by_label("Why, for your colleagues (platform parley-web)").fill("phishing wave")
    rosa.click("Switch off: platform parley-web")
    rosa.page.locator('[data-switch="platform:parley-web"]').locator(".state", has_text="OFF").wait_for()
    picture(rosa.page, "officer-switches", doc="officer-switches")
    assert ask("what's my balance?")["code"] == "switched_off"
    sam.open("")
    assert sam.page.get_by_role("heading", name="1 switch is off").is_visible()
    rosa.click("Ask to switch on: platform parley-web")
    assert rosa.page.get_by_text("Another officer has to agree.").is_visible()
    assert rosa.page.get_by_role("button", name="Agree: switch on").count() == 0
    sam.open("switches")
    picture(sam.page, "officer-switches-phone-dark")
    sam.click("Agree: switch on: platform parley-web")
    sam.page.locator(".switch.off").wait_for(state="detached")
    assert ask("what's my balance?")["outcome"] == "answered"

    # Rosa proposes; the page shows what would change; Sam approves; the next question is ruled by it.
    rosa.open("policy/propose")
    rosa.page.get_by_label("Why, in a sentence").fill("Close it for today")
    text = rosa.page.get_by_label("policy.cedar")
    text.fill(text.input_value() + FORBID)
    rosa.click("Load, prove and propose")
    rosa.page.get_by_role("heading", name="Close it for today").wait_for()
    assert rosa.page.get_by_text("You proposed this. Another officer has to approve it.").is_visible()
    assert rosa.page.get_by_text("newly refused").first.is_visible()
    assert rosa.page.get_by_text("1 grant of 1 customer").is_visible(), "how many customers it would concern, as counts"
    picture(rosa.page, "officer-proposal", doc="officer-proposal")
    address = rosa.page.url
    sam.page.goto(address)
    sam.click("Approve: put it in force")
    sam.page.get_by_role("heading", name="Policy in force").wait_for()
    refused = ask("what's my balance?")
    assert (refused["code"], refused["text"]) == ("not_allowed", "Your bank has closed this today.")

    rosa.open("refusals")
    rows = rosa.page.get_by_role("region", name="All refusals, since the log began").inner_text()
    assert all(code in rows for code in ("purpose_forbidden", "switched_off", "not_allowed"))
    assert rosa.page.get_by_text("closed-today").is_visible(), "the rule's own id for the officer"
    picture(rosa.page, "officer-refusals")
    rosa.open("")
    picture(rosa.page, "officer-overview", doc="officer-overview")
    sam.open("releases")
    picture(sam.page, "officer-releases-phone-dark")
    assert sam.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no page is wider than a phone"
    for desk in (rosa, sam):
        assert desk.troubles == [] and desk.elsewhere == []
        desk.page.context.close()
    # As it was, for whoever comes next.
    back = signed_in(house, "Tess")
    old = signed_in(house, "Una")
    texts = texts_of(back)
    made = back.post("/officer/policy/propose", note="Open again", **{**texts, "policy.cedar": texts["policy.cedar"].replace(FORBID, "")})
    assert old.post(made.headers["location"] + "/approve").status == 303


def test_the_officer_never_sees_a_value(house: RunningHouse, ask: Ask) -> None:
    """Everything that a customer was told, her names and accounts: none of it is on any page, in no role."""
    ada = house.customer("ada")
    replies = [ask(text) for text in ("what's my balance?", "show my last 10 transactions", "what's my balance at Zanzibar Needles?")]
    assert replies[0]["outcome"] == replies[1]["outcome"] == "answered"
    officers = [signed_in(house, f"Looks everywhere {role.value}", role) for role in Role]
    pages = {path: officer.get(f"/officer/{path}") for officer in officers for path in PAGES}
    text = "\n".join(page.text for page in pages.values())
    needles = {ada.username, "Zanzibar", *(account.nickname for account in ada.accounts), *(account.number[-4:] for account in ada.accounts)}
    needles |= {written(figure, account.currency) for account in ada.accounts for figure in (account.booked, account.available)}
    needles |= {part for reply in replies for line in (reply.get("lines") or []) for part in flat(line)}
    assert len(needles) > 10
    for needle in needles:
        if len(needle) > 3:
            assert needle not in text, needle
    assert "answer_customer" in text or "RequestedServiceProvision" in text, "the pages were not empty"


def test_everything_is_reached_by_keyboard_alone(browser: Browser, house: RunningHouse) -> None:
    desk = desk_of(browser, house, "Keyboard only")
    page = desk.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = set()
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.textContent.trim().split('\\n')[0]"))
    assert {"Overview", "Policy", "Refusals", "Releases", "Switches", "People", "Sign out"} <= reached
    desk.open("switches")
    page.get_by_label("Why, for your colleagues (purpose customer_care)").focus()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    page.locator('[data-switch="purpose:customer_care"]').locator(".state", has_text="OFF").wait_for()
    page.get_by_role("button", name="Ask to switch on: purpose customer_care").press("Enter")
    page.get_by_text("Another officer has to agree.").wait_for()
    other = signed_in(house, "The second of two")
    assert other.post("/officer/switches/undo", scope="purpose", what="customer_care").status == 303
    assert desk.troubles == []
    page.context.close()


def test_every_page_names_its_parts_for_a_screen_reader(browser: Browser, house: RunningHouse) -> None:
    desk = desk_of(browser, house, "Listens", role=Role.OFFICER)
    for path in PAGES:
        desk.open(path)
        page = desk.page
        assert page.get_by_role("heading", level=1).count() == 1, path
        assert page.get_by_role("main").count() == 1 and page.title()
        unnamed = page.evaluate(
            "[...document.querySelectorAll('input:not([type=hidden]),textarea,button,a')]"
            ".filter(e => !(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label'))).length"
        )
        assert unnamed == 0, path
        assert page.locator("svg[role=img]:not([aria-labelledby])").count() == 0
    assert desk.troubles == []
    desk.page.context.close()


def test_without_a_passkey_the_page_says_so_in_words(browser: Browser, house: RunningHouse) -> None:
    page = browser.new_context().new_page()
    authenticator(page.context, page)
    page.goto(f"{console_origin(house)}/officer/enrol#not-an-invitation")
    page.get_by_role("button", name="Make a passkey").click()
    page.get_by_text("That link has expired or was used already.").wait_for()
    page.context.close()


def flat(value: object) -> Iterator[str]:
    """Every text in a line of an answer."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from flat(each)
    elif isinstance(value, list):
        for each in value:
            yield from flat(each)


def picture(page: Page, name: str, doc: str = "") -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=not doc)
    if doc and os.environ.get("PARLEY_DOC_PICTURES"):
        page.screenshot(path=DOCS / f"{doc}.png")
