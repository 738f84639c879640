"""A stranger's first minute, in a real browser and against the real house: bank page, consent, questions, receipt, stop.

PARLEY_DOC_PICTURES=1 writes the pictures under docs/screenshots anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from parley.proof import verify_receipt
from tests.browser import PICTURES, ask, open_chromium
from tests.house import RunningHouse

pytestmark = pytest.mark.browser

DOCS = Path(__file__).parents[2] / "docs" / "screenshots"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_chromium() as running:
        yield running


@pytest.mark.parametrize(("scheme", "width", "height"), [("light", 1100, 820), ("dark", 390, 844)])
def test_a_customer_links_asks_keeps_a_receipt_and_stops(
    browser: Browser, small_house: RunningHouse, tmp_path: Path, scheme: str, width: int, height: int
) -> None:
    house = small_house
    ada = house.customer("ada")
    page = browser.new_page(color_scheme="dark" if scheme == "dark" else "light", viewport={"width": width, "height": height})
    troubles: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: elsewhere.append(request.url) if not at_home(request.url, house) else None)

    page.goto(house.url)
    picture(page, f"house-empty-{scheme}")
    page.get_by_role("button", name="Link your bank account").click()
    page.get_by_label("User name").fill(ada.username)
    page.get_by_label("Password").fill(ada.password)
    page.get_by_role("button", name="Log in").click()
    tick_all(page)
    picture(page, f"house-bank-{scheme}")
    page.get_by_role("button", name="Share the ticked accounts").click()
    page.get_by_role("button", name="Allow", exact=True).wait_for()
    assert page.get_by_role("checkbox", checked=True).count() == 0, "nothing is ticked before the customer ticks it"
    picture(page, f"house-consent-{scheme}", doc="consent" if scheme == "light" else "", full=True)
    tick_all(page)
    page.get_by_role("button", name="Allow", exact=True).click()

    answered = ask(page, "what's my balance?")
    assert ada.accounts[0].nickname in answered.inner_text()
    assert answered.locator(".lines dt").first.bounding_box()["width"] > 100, "a label is not squeezed by a long figure"  # type: ignore[index]
    picture(page, f"house-balance-{scheme}", doc="chat-balance-phone-dark" if scheme == "dark" else "")
    assert "Yes" in ask(page, "can I afford 5?").inner_text()
    rows = ask(page, "show my last 4 transactions")
    assert rows.locator(".lines > div").count() == 4
    rows.locator("summary").click()
    rows.locator("summary").scroll_into_view_if_needed()
    picture(page, f"house-why-{scheme}", doc="chat-answered" if scheme == "light" else "")
    with page.expect_download() as download:
        rows.get_by_role("link", name="Download receipt").click()
    download.value.save_as(tmp_path / "receipt.txt")
    receipt = verify_receipt((tmp_path / "receipt.txt").read_bytes(), house.vkey)
    assert receipt.entry["d"] == "transactions.merchant_and_amount"

    stopped = ask(page, "stop")
    assert "stopped sharing" in stopped.inner_text()
    assert "not_linked" in ask(page, "what's my balance?").inner_text() or "grant_revoked" in page.content()
    picture(page, f"house-stopped-{scheme}")
    assert troubles == []
    assert elsewhere == []
    page.close()


def at_home(url: str, house: RunningHouse) -> bool:
    return url.startswith((house.url + "/", house.demo.bank_url + "/", "data:", "blob:"))


def tick_all(page: Page) -> None:
    page.get_by_role("checkbox").first.wait_for()
    for box in page.get_by_role("checkbox").all():
        box.check()


def picture(page: Page, name: str, *, doc: str = "", full: bool = False) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=full)
    if doc and os.environ.get("PARLEY_DOC_PICTURES"):
        DOCS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=DOCS / f"{doc}.png", full_page=full)
