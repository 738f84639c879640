"""A customer at her own page, in a real browser and against the real house: passkeys, what was learned, receipts, switches, her data.

PARLEY_DOC_PICTURES=1 writes the pictures under docs/screenshots anew.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from parley.authorization.consent_record import RecordRejected, verify_consent_record
from parley.proof import verify_receipt
from tests.browser import PICTURES, ask, open_chromium
from tests.house import RunningHouse, parley

pytestmark = pytest.mark.browser

DOCS = Path(__file__).parents[2] / "docs" / "screenshots"
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
CONTRASTS = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (value) => { const part = value / 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; };
  const light = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parts(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest(".unseen")) continue;
    const [one, other] = [light(parts(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) low.push([ratio, walker.currentNode.textContent.trim().slice(0, 40)]);
  }
  return low;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_chromium() as running:
        yield running


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    running = RunningHouse(tmp_path_factory.mktemp("page"), "answers_per_day = 40\n", host="localhost").start()
    yield running
    running.stop_unharmed()


class Watched:
    """One browser of one customer, with an authenticator in it; what it complains about and whom it calls is written down."""

    def __init__(self, browser: Browser, house: RunningHouse, scheme: str = "light", width: int = 1100, height: int = 850) -> None:
        self.house = house
        self.look = f"{scheme}-{width}"
        colours: Any = "dark" if scheme == "dark" else "light"
        self.context: BrowserContext = browser.new_context(color_scheme=colours, viewport={"width": width, "height": height})
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.elsewhere.append(request.url) if not self._at_home(request.url) else None)
        devices = self.context.new_cdp_session(self.page)
        devices.send("WebAuthn.enable")
        devices.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})

    def _at_home(self, url: str) -> bool:
        return url.startswith((self.house.url + "/", self.house.demo.bank_url + "/", "data:", "blob:"))

    def bank_login(self, username: str) -> None:
        customer = self.house.customer(username)
        self.page.get_by_label("User name").fill(customer.username)
        self.page.get_by_label("Password").fill(customer.password)
        self.page.get_by_role("button", name="Log in").click()
        tick_all(self.page)
        self.page.get_by_role("button", name="Share the ticked accounts").click()

    def link(self, username: str) -> None:
        self.page.goto(self.house.url)
        self.page.get_by_role("button", name="Link your bank account").click()
        self.bank_login(username)
        self.page.get_by_role("button", name="Allow", exact=True).wait_for()
        tick_all(self.page)
        self.page.get_by_role("button", name="Allow", exact=True).click()
        self.page.get_by_role("textbox", name="Your question").wait_for()

    def open(self, path: str) -> None:
        self.page.goto(self.house.url + path)

    def picture(self, name: str, doc: str = "") -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"me-{name}-{self.look}.png", full_page=True)
        if doc and os.environ.get("PARLEY_DOC_PICTURES"):
            self.page.screenshot(path=DOCS / f"{doc}.png", full_page=True)

    def fetched(self, path: str) -> str:
        text: str = self.page.evaluate("path => fetch(path).then((answer) => answer.text())", path)
        return text

    def fit(self) -> bool:
        """Nothing sticks out to the side."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    def unnamed(self) -> list[str]:
        """Roles of whatever can be operated but has no name that a screen reader could say."""
        session = self.context.new_cdp_session(self.page)
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        session.detach()
        operable = {"button", "link", "textbox", "checkbox", "combobox"}
        found = [node for node in nodes if not node.get("ignored") and node.get("role", {}).get("value") in operable]
        assert found
        return [node["role"]["value"] for node in found if not node.get("name", {}).get("value", "").strip()]

    def calm(self) -> None:
        assert self.complaints == []
        assert self.elsewhere == []


@pytest.fixture
def watch(browser: Browser, house: RunningHouse) -> Iterator[Callable[..., Watched]]:
    opened: list[Watched] = []

    def begin(*look: Any) -> Watched:
        opened.append(Watched(browser, house, *look))
        return opened[-1]

    yield begin
    for each in opened:
        each.context.close()


def tick_all(page: Page) -> None:
    page.get_by_role("checkbox").first.wait_for()
    for box in page.get_by_role("checkbox").all():
        box.check()


@pytest.mark.parametrize(("scheme", "width", "height"), [("light", 1100, 850), ("dark", 390, 844)])
def test_she_sees_what_was_learned_and_checks_a_receipt(
    watch: Callable[..., Watched], house: RunningHouse, scheme: str, width: int, height: int
) -> None:
    seen = watch(scheme, width, height)
    page = seen.page
    seen.link("ada" if scheme == "light" else "ben")
    accounts = ask(page, "what's my balance?").locator(".lines > div").count()
    assert accounts > 0
    ask(page, "can I afford 5?")
    page.get_by_role("link", name="My consents").click()
    page.get_by_role("heading", name="Larkspur chat").wait_for()
    learned = page.get_by_role("list", name="What it has learned so far").inner_text()
    assert re.search(rf"{accounts}\s+balances?", learned), learned
    assert re.search(r"0\s+merchants", learned), learned
    assert re.search(r"1\s+yes-or-no answer", learned), learned
    assert "38 of 40 answers" in page.locator(".facts").first.inner_text()
    seen.picture("overview", doc="customer-page" if scheme == "light" else "customer-page-phone-dark")
    assert (page.evaluate(CONTRASTS), seen.unnamed(), seen.fit()) == ([], [], True)
    for tab in ("What was shared", "Accounts", "Sign-in", "Your data"):
        page.get_by_role("link", name=tab, exact=True).click()
        page.locator(f'a[aria-current="page"]:has-text("{tab}")').wait_for()
        seen.picture(tab.lower().replace(" ", "-"))
        assert (page.evaluate(CONTRASTS), seen.unnamed(), seen.fit()) == ([], [], True), tab
    seen.open("/me/releases")
    page.get_by_role("button", name="Check the receipt").first.click()
    page.locator(".verdict.good, .verdict.bad").first.wait_for()
    assert page.locator(".verdict").first.inner_text().startswith("Holds: entry ")
    index = page.locator(".release").first.get_attribute("data-index")
    assert verify_receipt(seen.fetched(f"/me/receipts/{index}"), house.vkey).entry["d"] == "afford.yesno"
    seen.picture("checked")
    seen.calm()


def test_a_changed_receipt_does_not_hold_in_the_browser(watch: Callable[..., Watched]) -> None:
    seen = watch()
    seen.link("chiara")
    ask(seen.page, "what's my balance?")
    seen.open("/me/releases")
    index = seen.page.locator(".release").first.get_attribute("data-index")
    receipt = seen.fetched(f"/me/receipts/{index}")
    lines = receipt.split("\n")
    changed = {
        "another index": receipt.replace(f"index {index}", f"index {int(index or 0) - 1}"),
        "another letter of the private half": receipt.replace(lines[1], lines[1][:-8] + ("A" if lines[1][-8] != "A" else "B") + lines[1][-7:]),
        "another head": receipt.replace(lines[-2], lines[-2][:-9] + ("A" if lines[-2][-9] != "A" else "B") + lines[-2][-8:]),
        "no signature": "\n".join(lines[:-2]) + "\n",
        "cut short": receipt[:80],
    }
    script = seen.page.locator("link[rel=modulepreload]").get_attribute("href")
    vkey = seen.page.locator("[data-vkey]").get_attribute("data-vkey")
    check = """async ([script, text, vkey]) => {
      const { verifyReceipt } = await import(script);
      try { return (await verifyReceipt(text, vkey)).index; } catch (problem) { return `no: ${problem.message}`; }
    }"""
    assert seen.page.evaluate(check, [script, receipt, vkey]) == int(index or 0)
    for what, text in changed.items():
        assert str(seen.page.evaluate(check, [script, text, vkey])).startswith("no: "), what
    other = (vkey or "").replace((vkey or "").rpartition("+")[2], "AfQ3iFRqGW0aF+4T0yDJ5aq8aD0tTx0l9N6y8wFqvV0x")
    assert str(seen.page.evaluate(check, [script, receipt, other])).startswith("no: ")
    seen.calm()


def test_a_passkey_opens_her_page_and_stops_doing_so_once_removed(watch: Callable[..., Watched], house: RunningHouse) -> None:
    seen = watch()
    page = seen.page
    seen.link("daichi")
    seen.open("/me/security")
    page.get_by_label("Its name").fill("My laptop")
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_text("Your new passkey works from now on.").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in with a passkey").wait_for()
    seen.picture("sign-in")
    seen.open("/me/releases")
    assert page.get_by_role("button", name="Sign in at your bank").is_visible(), "nothing of hers is shown after signing out"
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.get_by_role("heading", name="Larkspur chat").wait_for()
    seen.open("/me/security")
    assert "with a passkey" in page.locator("main").inner_text()
    page.get_by_role("button", name="Remove My laptop").click()
    page.get_by_text("That passkey no longer opens this page.").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.get_by_role("alert").filter(has_text="That passkey could not be checked").wait_for()
    seen.complaints = [each for each in seen.complaints if "401" not in each and "403" not in each]
    seen.calm()


def test_signing_in_at_the_bank_shows_her_page_and_links_nothing(watch: Callable[..., Watched], house: RunningHouse) -> None:
    seen, elsewhere = watch(), watch("dark", 390, 844)
    seen.link("esme")
    page = elsewhere.page
    elsewhere.open("/me")
    page.get_by_role("button", name="Sign in at your bank").click()
    elsewhere.bank_login("esme")
    page.get_by_role("heading", name="Larkspur chat").wait_for()
    assert "Lines" not in ask(seen.page, "what's my balance?").inner_text(), "her link works on"
    assert seen.page.locator(".lines dt").count() > 0
    elsewhere.open("/me/security")
    page.get_by_role("button", name="End all others").click()
    page.get_by_text("Ended. That browser has to sign in again.").wait_for()
    seen.open("/me")
    seen.page.get_by_role("button", name="Sign in at your bank").wait_for()
    seen.calm()
    elsewhere.calm()


def test_somebody_who_linked_nothing_is_told_so_and_nothing_is_made_of_it(watch: Callable[..., Watched]) -> None:
    seen = watch()
    seen.open("/me")
    seen.page.get_by_role("button", name="Sign in at your bank").click()
    seen.bank_login("farid")
    seen.page.get_by_role("heading", name="Nothing of yours is kept here").wait_for()
    seen.open("/me")
    seen.page.get_by_role("button", name="Sign in at your bank").wait_for()
    seen.calm()


def test_pause_resume_stop_with_the_keyboard_alone(watch: Callable[..., Watched]) -> None:
    seen = watch()
    page = seen.page
    seen.link("grace")
    seen.open("/me")
    press(page, page.get_by_role("button", name="Pause", exact=True))
    page.get_by_text("Paused. Nothing is answered there until you resume.").wait_for()
    seen.picture("paused")
    seen.open("/")
    assert "grant_paused" in ask(page, "what's my balance?").inner_text()
    seen.open("/me")
    press(page, page.get_by_role("button", name="Resume", exact=True))
    page.get_by_text("Resumed.").wait_for()
    seen.open("/")
    assert "available" in ask(page, "what's my balance?").inner_text()
    seen.open("/me")
    press(page, page.locator("summary").filter(has_text=re.compile("^Stop$")))
    press(page, page.locator(".platform").get_by_role("button", name="Yes, stop"))
    page.get_by_text("Stopped. Nothing more leaves, from this moment on.").wait_for()
    seen.picture("stopped")
    page.locator(".past summary").click()
    page.get_by_role("link", name="History and signed record").first.click()
    versions = page.get_by_role("heading", name=re.compile("^Version [0-9]")).all_inner_texts()
    assert [each.split(": ")[1] for each in versions] == ["Stopped", "May ask, then replaced", "Paused, then replaced", "May ask, then replaced"]
    seen.picture("history")
    seen.open("/")
    assert ask(page, "what's my balance?").locator(".lines div").count() == 0
    seen.calm()


def press(page: Page, target: Any) -> None:
    """To a button with the Tab key, and Enter."""
    target.first.wait_for()
    for _ in range(60):
        if target.first.evaluate("element => element === document.activeElement"):
            page.keyboard.press("Enter")
            return
        page.keyboard.press("Tab")
    raise AssertionError("The Tab key never gets there.")


def test_the_signed_record_of_every_version_is_hers_to_keep(watch: Callable[..., Watched], house: RunningHouse, tmp_path: Path) -> None:
    seen = watch()
    seen.link("hugo")
    seen.open("/me")
    seen.page.get_by_role("link", name="History and signed record").click()
    address = seen.page.get_by_role("link", name="Signed record of version 1").get_attribute("href")
    file, keys = seen.fetched(address or ""), seen.fetched("/consent-records.jwks")
    record = verify_consent_record(file.encode(), keys.encode())
    assert record["event"]["event_state"] == "consent given"
    assert record["event"]["validity_duration"] == "P90D"
    proved = verify_receipt(json.loads(file)["log_receipt"], house.vkey)
    assert proved.index == record["parley"]["log_index"]
    assert f"sha256:{proved.private['text_sha256']}" == record["pii_processing"]["privacy_notice"]
    names = {"record.json": file, "consent-records.jwks": keys, "log.vkey": house.vkey}
    for name, text in names.items():
        (tmp_path / name).write_text(text)
    checked = parley("verify", tmp_path / "record.json")
    assert (checked.returncode, checked.stdout[:28]) == (0, "This consent record holds: v"), checked
    (tmp_path / "record.json").write_text(file.replace("balance.available", "balance.everything"))
    assert parley("verify", tmp_path / "record.json").returncode == 1
    with pytest.raises(RecordRejected):
        verify_consent_record(file.replace('"P90D"', '"P99D"').encode(), keys.encode())
    seen.calm()


def test_a_name_of_hers_is_what_answers_say_and_the_export_has_everything(watch: Callable[..., Watched], house: RunningHouse) -> None:
    seen = watch()
    page = seen.page
    seen.link("iris")
    seen.open("/me/accounts")
    page.get_by_label("Your name for it").first.fill("Rent & <b>food</b>")
    page.get_by_role("button", name="Save").first.click()
    page.get_by_text("Renamed.").wait_for()
    seen.open("/")
    assert "Rent & <b>food</b>" in ask(page, "what's my balance?").inner_text()
    seen.open("/me/data")
    told = json.loads(seen.fetched("/me/export.json"))
    assert "Rent & <b>food</b>" in [each["nickname"] for each in told["accounts"]]
    assert [each["projection"] for each in told["releases"]] == ["balance.available"]
    assert told["grants"][0][0]["state"] == "active"
    rows = list(csv.DictReader(seen.fetched("/me/export.csv").splitlines()))
    assert [each["platform_name"] for each in rows] == ["Larkspur chat"]
    seen.calm()


def test_erasing_takes_a_typed_word_and_leaves_nothing_to_sign_in_to(watch: Callable[..., Watched], house: RunningHouse) -> None:
    seen = watch()
    page = seen.page
    seen.link("jonas")
    ask(page, "what's my balance?")
    seen.open("/me/data")
    page.get_by_role("link", name="Erase…").click()
    page.get_by_label("Type “erase” to go on").fill("no")
    page.get_by_role("button", name="Erase everything").click()
    page.get_by_role("alert").filter(has_text="Nothing was erased").wait_for()
    seen.picture("erase")
    page.get_by_label("Type “erase” to go on").fill("erase")
    page.get_by_role("button", name="Erase everything").click()
    page.get_by_role("heading", name="Everything is erased").wait_for()
    seen.open("/me")
    page.get_by_role("button", name="Sign in at your bank").click()
    seen.bank_login("jonas")
    page.get_by_role("heading", name="Nothing of yours is kept here").wait_for()
    seen.open("/")
    assert ask(page, "what's my balance?").locator(".lines div").count() == 0
    seen.complaints = [each for each in seen.complaints if "422" not in each]
    seen.calm()


def test_the_page_works_without_a_script(browser: Browser, house: RunningHouse) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(house.url + "/me")
    page.get_by_role("button", name="Sign in at your bank").click()
    customer = house.customer("ada")
    page.get_by_label("User name").fill(customer.username)
    page.get_by_label("Password").fill(customer.password)
    page.get_by_role("button", name="Log in").click()
    tick_all(page)
    page.get_by_role("button", name="Share the ticked accounts").click()
    page.get_by_role("heading", name=re.compile("Larkspur chat|Nothing of yours is kept here")).wait_for()
    assert "UTC" in page.locator("time").first.inner_text()
    context.close()


def test_extending_shows_every_limit_again_and_makes_the_next_version(watch: Callable[..., Watched]) -> None:
    seen = watch("light", 390, 844)
    page = seen.page
    seen.link("kamala")
    seen.open("/me")
    address = page.get_by_role("link", name="History and signed record").get_attribute("href") or ""
    seen.open(f"/consent/extend/{address.rpartition('/')[2]}")
    page.get_by_role("heading", name="Go on with Larkspur chat for 90 days more?").wait_for()
    assert page.get_by_role("checkbox").count() == 0
    assert (page.evaluate(CONTRASTS), seen.unnamed(), seen.fit()) == ([], [], True)
    seen.picture("extend")
    press(page, page.get_by_role("button", name="Allow for 90 days more"))
    page.get_by_text("Extended, within the same limits.").wait_for()
    page.get_by_role("link", name="History and signed record").click()
    versions = page.get_by_role("heading", name=re.compile("^Version [0-9]")).all_inner_texts()
    assert versions == ["Version 2: May ask", "Version 1: May ask, then replaced"]
    seen.open("/")
    assert "available" in ask(page, "what's my balance?").inner_text(), "the notary holds the next version, too"
    seen.calm()
