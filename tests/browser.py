"""Debian's Chromium for every test that opens pages. Where it is missing the test is skipped with one line; under CI that is a failure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PICTURES = Path(__file__).parents[1] / ".cache" / "screenshots"


@contextmanager
def open_chromium() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        missing = "Chromium is not installed: the pages were not opened in a browser."
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield running
        running.close()


def ask(page: Page, text: str) -> Locator:
    """Types a question where the focus is and waits for the answer to it. Returns the answer's turn."""
    before = page.locator(".turn.theirs:not(.typing)").count()
    page.locator("#question").fill(text)
    page.keyboard.press("Enter")
    turn = page.locator(".turn.theirs:not(.typing)").nth(before)
    turn.wait_for()
    return turn
