"""A real Chromium for the browser tests, and pages that note every complaint of the browser."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


def _chromium() -> str:
    for candidate in (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"):
        found = candidate and shutil.which(candidate)
        if found:
            return found
    pytest.fail("There is no Chromium. `make test` installs one; or set CHROMIUM to its path.")


@pytest.fixture(scope="module")
def browser():
    """A running Chromium; its event loop in this thread has to be gone before the next module."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Open a page in a context of its own: ``open_page(javascript=True, viewport=DESKTOP)``.

    Whatever the browser complains of (scripts, the content security policy, requests to other
    hosts) fails the test at its end.
    """
    contexts, complaints = [], []

    def note_request(request):
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            complaints.append(f"a request to {request.url}")

    def open_one(*, javascript=True, viewport=None, cookies=()):
        context = browser.new_context(viewport=viewport or DESKTOP, java_script_enabled=javascript)
        context.add_cookies(list(cookies))
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"a script error: {error}"))
        page.on(
            "console",
            lambda line: (
                complaints.append(f"the console says: {line.text}")
                if line.type == "error" and "Failed to load resource" not in line.text
                else None
            ),
        )
        page.on("request", note_request)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def screenshots(tmp_path):
    """Where screenshots go: ``SCREENSHOTS`` if set, to be looked at; otherwise a temporary folder."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
