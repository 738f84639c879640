"""The pages in Debian's Chromium: a phone's width and a desktop's, light and dark, keyboard only, with a bank on another site."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route

from tests.browser import PICTURES, ask, open_chromium
from tests.fakes.web_house import House, running_house

pytestmark = pytest.mark.browser

LOOKS = [("light", 1280, 800), ("dark", 360, 740)]

CONTRASTS = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (value) => { const part = value / 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; };
  const light = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parts(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
      if (colour[3] !== 0) throw new Error("half transparent background");
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest(".unseen, script, option")) continue;
    const [one, other] = [light(parts(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    found.push([ratio, walker.currentNode.textContent.trim().slice(0, 40)]);
  }
  for (const input of document.querySelectorAll("input[placeholder]")) {
    const [one, other] = [light(parts(getComputedStyle(input, "::placeholder").color)), light(behind(input))];
    found.push([(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), "placeholder"]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_chromium() as running:
        yield running


@pytest.fixture
def house() -> Iterator[House]:
    with running_house() as running:
        yield running


class Watched:
    """A page whose console, errors and requests are written down."""

    def __init__(self, context: BrowserContext, house: House) -> None:
        self.page = context.new_page()
        self.house = house
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._heard(request.url))

    def _heard(self, url: str) -> None:
        if not url.startswith((self.house.origin + "/", self.house.bank.origin + "/", "data:")):
            self.elsewhere.append(url)

    def picture(self, name: str, *, full: bool = False) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=full)


@pytest.fixture
def watch(browser: Browser, house: House) -> Iterator[Callable[..., Watched]]:
    contexts: list[BrowserContext] = []

    def begin(**options: Any) -> Watched:
        contexts.append(browser.new_context(**options))
        return Watched(contexts[-1], house)

    yield begin
    for context in contexts:
        context.close()


def tab_to(page: Page, target: Locator, presses_max: int = 40) -> None:
    """Moves the focus with the Tab key alone, as somebody without a mouse does."""
    for _ in range(presses_max):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("The Tab key never gets there.")


def link(page: Page, house: House) -> None:
    """The way to the bank and back, with everything allowed."""
    page.goto(house.origin + "/")
    page.get_by_role("button", name="Link your bank account").click()
    page.get_by_role("button", name="Sign in").click()
    for box in page.get_by_role("checkbox").all():
        box.check()
    page.get_by_role("button", name="Allow", exact=True).click()
    page.wait_for_url(house.origin + "/")


def low_contrasts(page: Page) -> list[Any]:
    measured = page.evaluate(CONTRASTS)
    assert len(measured) > 3
    return [each for each in measured if each[0] < 4.5]


def names_missing(page: Page) -> list[str]:
    """Roles of whatever can be operated but has no name that a screen reader could say."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    operable = {"button", "link", "textbox", "checkbox", "combobox", "log", "group", "form"}
    found = [node for node in nodes if not node.get("ignored") and node.get("role", {}).get("value") in operable - {"form"}]
    assert found
    return [node["role"]["value"] for node in found if not node.get("name", {}).get("value", "").strip() and node["role"]["value"] != "group"]


@pytest.mark.parametrize(("scheme", "width", "height"), LOOKS)
def test_she_links_and_asks_with_the_keyboard_alone(watch: Callable[..., Watched], house: House, scheme: str, width: int, height: int) -> None:
    seen = watch(color_scheme=scheme, viewport={"width": width, "height": height})
    page, look = seen.page, f"{scheme}-{width}"
    page.goto(house.origin + "/")
    assert low_contrasts(page) == []
    assert names_missing(page) == []
    seen.picture(f"empty-{look}")
    # She asks before she has linked, and is told what to do.
    tab_to(page, page.get_by_role("textbox", name="Your question"))
    refused = ask(page, "What’s my balance?")
    assert "Not answered" in refused.inner_text()
    assert "not_linked" in refused.inner_text()
    assert low_contrasts(page) == []
    seen.picture(f"refused-{look}")
    # To the bank and back.
    page.keyboard.press("Shift+Tab")
    tab_to(page, refused.get_by_role("button", name="Link your bank account"))
    page.keyboard.press("Enter")
    page.wait_for_url(house.bank.origin + "/**")
    tab_to(page, page.get_by_role("button", name="Sign in"))
    page.keyboard.press("Enter")
    page.wait_for_url(house.origin + "/consent")
    # The consent page: nothing ticked, everything reachable, and the Enter key alone decides nothing.
    assert page.locator("input:checked").count() == 0
    assert page.get_by_role("combobox", name="For how long").input_value() == "90"
    assert low_contrasts(page) == []
    assert names_missing(page) == []
    seen.picture(f"consent-{look}", full=True)
    tab_to(page, page.get_by_role("checkbox", name="Everyday"))
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    assert "Nothing has been decided yet" in page.get_by_role("alert").inner_text()
    assert house.desk.approvals == []
    assert page.get_by_role("checkbox", name="Everyday").is_checked()
    seen.complaints.clear()  # the browser notes the 422 of that page
    tab_to(page, page.get_by_role("checkbox", name="The balance of each chosen account"))
    page.keyboard.press("Space")
    assert low_contrasts(page) == []
    tab_to(page, page.get_by_role("button", name="Allow", exact=True))
    page.keyboard.press("Enter")
    page.wait_for_url(house.origin + "/")
    assert len(house.desk.approvals) == 1
    assert "30 May 2027" in page.locator("#linked").inner_text()
    # Her answer, read out by the log, with the focus still where she types.
    tab_to(page, page.get_by_role("textbox", name="Your question"))
    answer = ask(page, "What’s my balance?")
    assert "$2,417.08" in answer.inner_text()
    log = page.get_by_role("log", name="Conversation")
    assert log.get_attribute("aria-live") == "polite"
    assert log.evaluate("(log, turn) => log.contains(turn)", answer.element_handle())
    assert page.evaluate("document.activeElement.id") == "question"
    seen.picture(f"answered-{look}")
    # Why she may trust it.
    tab_to(page, answer.locator("summary"), 60)
    page.keyboard.press("Enter")
    assert "Entry 41 of the log, 2027-03-01 09:30 UTC" in answer.inner_text()
    assert "parley verify parley-receipt-41.txt" in answer.inner_text()
    assert low_contrasts(page) == []
    assert names_missing(page) == []
    answer.get_by_role("link", name="Download receipt").scroll_into_view_if_needed()
    seen.picture(f"why-{look}")
    with page.expect_download() as saved:
        answer.get_by_role("link", name="Download receipt").click()
    assert saved.value.suggested_filename == "parley-receipt-41.txt"
    # And out again.
    tab_to(page, page.get_by_role("button", name="Stop sharing", exact=True), 60)
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "stop-yes"
    assert low_contrasts(page) == []
    seen.picture(f"stop-{look}")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "stop"
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.locator("#unlinked").wait_for()
    assert house.desk.joined == {}
    assert seen.complaints == []
    assert seen.elsewhere == []


def test_what_she_asked_survives_a_lost_line_and_is_sent_as_the_same_message(watch: Callable[..., Watched], house: House) -> None:
    page = watch().page
    link(page, house)
    page.context.set_offline(True)
    lost = ask(page, "What’s my balance?")
    assert "still here" in lost.inner_text()
    page.context.set_offline(False)
    lost.get_by_role("button", name="Try again").click()
    page.locator(".turn.answered").wait_for()
    assert page.locator(".turn.mine").count() == 1
    assert page.evaluate("document.activeElement.id") == "question"


def test_an_answer_lost_on_the_way_is_never_given_twice_under_one_message(watch: Callable[..., Watched], house: House) -> None:
    page = watch().page
    link(page, house)

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/chat/ask", lose)
    lost = ask(page, "What’s my balance?")
    page.unroute("**/chat/ask")
    lost.get_by_role("button", name="Try again").click()
    replayed = page.locator(".turn.refused")
    replayed.wait_for()
    assert "replayed_message" in replayed.inner_text()
    replayed.get_by_role("button", name="Ask again").click()
    page.locator(".turn.answered").wait_for()
    first, second, third = house.desk.ids
    assert first == second != third


def test_what_the_bank_says_is_text_and_never_markup(watch: Callable[..., Watched], house: House) -> None:
    seen = watch()
    link(seen.page, house)
    answer = ask(seen.page, "markup please")
    assert "<img src=x onerror=alert(1)>" in answer.inner_text()
    assert answer.locator("img, script, b").count() == 0
    assert seen.complaints == []


def test_the_browser_keeps_nothing_of_the_chat(watch: Callable[..., Watched], house: House) -> None:
    page = watch().page
    link(page, house)
    ask(page, "What’s my balance?")
    kept = page.evaluate(
        "async () => [localStorage.length, sessionStorage.length, document.cookie, (await indexedDB.databases()).length,"
        " 'caches' in window ? (await caches.keys()).length : 0, (await navigator.serviceWorker?.getRegistrations() ?? []).length, history.state]"
    )
    assert kept == [0, 0, "", 0, 0, 0, None]
    page.reload()
    assert page.locator(".turn").count() == 0
    assert page.locator("#question").input_value() == ""


@pytest.mark.parametrize("width", [320, 360, 640, 1280])
def test_nothing_sticks_out_sideways_at_any_width_or_zoom(watch: Callable[..., Watched], house: House, width: int) -> None:
    """1280 wide at 200 % is 640, at 400 % is 320: the reflow of WCAG 1.4.10."""
    page = watch(viewport={"width": width, "height": 500}).page

    def fits() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    page.goto(house.origin + "/")
    assert fits()
    page.get_by_role("button", name="Link your bank account").click()
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/consent")
    assert fits()
    link(page, house)
    ask(page, "Show my last transactions").locator("summary").click()
    assert fits()
    page.locator("#stop").click()
    assert fits()


def test_the_page_does_not_jump_while_it_loads(watch: Callable[..., Watched], house: House) -> None:
    page = watch(viewport={"width": 360, "height": 740}).page
    page.goto(house.origin + "/", wait_until="networkidle")
    shift = page.evaluate(
        """() => new Promise((done) => {
          let sum = 0;
          const watch = new PerformanceObserver((list) => { for (const entry of list.getEntries()) sum += entry.value; });
          watch.observe({ type: "layout-shift", buffered: true });
          requestAnimationFrame(() => requestAnimationFrame(() => done(sum)));
        })"""
    )
    assert shift < 0.05


def test_who_asked_for_less_motion_sees_none(watch: Callable[..., Watched], house: House) -> None:
    for wish, expected in (("reduce", "none"), ("no-preference", "breathe")):
        page = watch(reduced_motion=wish).page
        page.goto(house.origin + "/")
        page.evaluate("document.getElementById('log').append(document.getElementById('t-typing').content.cloneNode(true))")
        assert page.locator(".typing i").first.evaluate("dot => getComputedStyle(dot).animationName") == expected


def test_another_site_cannot_frame_the_pages(watch: Callable[..., Watched], house: House) -> None:
    page = watch().page
    page.goto(house.bank.origin + "/authorize")
    page.evaluate("url => { const frame = document.createElement('iframe'); frame.src = url; document.body.append(frame); }", house.origin + "/")
    page.wait_for_function("frames.length === 1")
    page.wait_for_load_state("networkidle")
    frame = page.frames[-1]
    assert frame.locator("#question").count() == 0


def test_another_site_cannot_send_her_forms(watch: Callable[..., Watched], house: House) -> None:
    """The victim has a session; the other site posts a form to us with everything it can know, in her browser."""
    page = watch().page
    link(page, house)
    page.goto(house.bank.origin + "/authorize")
    page.evaluate(
        "url => { const form = document.createElement('form'); form.method = 'post'; form.action = url; document.body.append(form); form.submit(); }",
        house.origin + "/signout",
    )
    page.wait_for_url(house.origin + "/signout")
    assert "origin_wrong" in page.content()
    page.goto(house.origin + "/")
    assert page.locator("#linked").is_visible()


def test_the_back_button_after_deciding_says_that_it_is_over(watch: Callable[..., Watched], house: House) -> None:
    page = watch().page
    link(page, house)
    page.go_back()
    page.wait_for_url("**/consent")
    assert "form_stale" in page.content()
    assert len(house.desk.approvals) == 1


def test_her_no_at_the_bank_brings_her_back_kindly(watch: Callable[..., Watched], house: House) -> None:
    page = watch().page
    page.goto(house.origin + "/")
    page.get_by_role("button", name="Link your bank account").click()
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_url(house.origin + "/link/callback**")
    assert page.get_by_role("heading", name="Nothing was linked").is_visible()
    page.get_by_role("link", name="Back to the chat").click()
    page.wait_for_url(house.origin + "/")


def test_without_scripts_she_is_told_so_and_can_still_link(watch: Callable[..., Watched], house: House) -> None:
    page = watch(java_script_enabled=False).page
    page.goto(house.origin + "/")
    assert "needs JavaScript" in page.content()
    page.get_by_role("button", name="Link your bank account").click()
    page.wait_for_url(house.bank.origin + "/**")


def test_a_typed_stop_shows_at_once_that_nothing_is_linked_any_more(watch: Callable[..., Watched], house: House) -> None:
    page = watch().page
    link(page, house)
    ask(page, "stop")
    assert page.locator("#unlinked").is_visible()
    assert not page.locator("#linked").is_visible()


def test_she_signs_out(watch: Callable[..., Watched], house: House) -> None:
    page = watch().page
    link(page, house)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/signed-out")
    assert house.records.sessions == {}
    assert page.context.cookies(house.origin) == []


def test_a_terminal_is_confirmed_in_the_browser(watch: Callable[..., Watched], house: House) -> None:
    seen = watch(viewport={"width": 360, "height": 740})
    page = seen.page
    terminal = page.request.post(house.origin + "/terminal/session", data={}).json()
    pairing = page.request.post(house.origin + "/terminal/pair", data={}, headers={"authorization": f"Bearer {terminal['token']}"}).json()
    page.goto(pairing["url"])
    seen.picture("pair-light-360")
    assert low_contrasts(page) == []
    page.get_by_label("The six digits that your terminal shows").fill(pairing["number"])
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("checkbox", name="Everyday").check()
    page.get_by_role("checkbox", name="Whether you can afford").check()
    page.get_by_role("button", name="Allow", exact=True).click()
    page.wait_for_url("**/paired")
    assert page.get_by_role("heading", name="Your terminal is linked").is_visible()
