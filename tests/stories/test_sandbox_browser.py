"""The demo bank's pages in a real browser: phone width, keyboard, dark mode, and the way back to the client under the strict policy."""

import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from parley_sandbox.people import CAST
from parley_sandbox.robot import BankProcess, RobotClient, call, write_clients

if TYPE_CHECKING:
    from playwright.sync_api import Page

SEED = 5
CHROMIUM = shutil.which("chromium")
SHOTS = os.environ.get("PARLEY_SCREENSHOTS")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="not run: the bank's pages in Chromium (no chromium here)"),
]


class _Callback(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"back at the client")

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture(scope="module")
def client() -> Iterator[RobotClient]:
    server = HTTPServer(("127.0.0.1", 0), _Callback)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield RobotClient(redirect_uri=f"http://127.0.0.1:{server.server_port}/callback")
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def bank(client: RobotClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BankProcess]:
    clients = write_clients(tmp_path_factory.mktemp("bank") / "clients.json", client)
    with BankProcess("--seed", str(SEED), "--clients", str(clients)) as process:
        client.issuer = process.url
        yield process


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_customer_links_with_the_keyboard_on_a_phone(bank: BankProcess, client: RobotClient, scheme: str) -> None:
    from playwright.sync_api import sync_playwright

    verifier = "v" * 50
    address = f"{bank.url}/authorize?{urlencode({'client_id': client.client_id, 'request_uri': client.push(verifier)})}"
    home = call(f"{bank.url}/").body.decode()
    password = home.split("<code>ada</code>")[1].split("<code>")[1].split("</code>")[0]
    troubles: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme="dark" if scheme == "dark" else "light")
        page.on("console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None)
        for path in ("/", "/operator"):
            page.goto(bank.url + path)
            _look(page, f"bank{path.replace('/', '-')}-{scheme}")
        page.goto(address)
        _look(page, f"bank-login-{scheme}")
        page.get_by_label("User name").fill("ada")
        page.get_by_label("Password").fill(password)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Share data with Robot Client?").wait_for()
        boxes = page.get_by_role("checkbox")
        assert boxes.count() == 3
        assert not any(boxes.nth(index).is_checked() for index in range(3))
        boxes.first.focus()
        page.keyboard.press("Space")
        _look(page, f"bank-accounts-{scheme}")
        page.get_by_role("button", name="Share the ticked accounts").press("Enter")
        page.get_by_text("back at the client").wait_for()
        landed = parse_qs(urlsplit(page.url).query)
        browser.close()
    assert troubles == []
    assert landed["iss"] == [bank.url]
    answer = client.redeem(landed["code"][0], verifier).json()
    listed = client.read(answer["access_token"], "/accounts").json()["accounts"]
    assert [account["nickname"] for account in listed] == [CAST[0].holdings[0].nickname]


def _look(page: "Page", name: str) -> None:
    """Nothing may stick out at the side; a picture is kept where PARLEY_SCREENSHOTS names a folder."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=name.startswith("bank-"))
