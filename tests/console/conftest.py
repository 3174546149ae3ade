"""A browser (Debian's Chromium) and `huiyi serve` with its console, as a user starts it, over the bundled model.

Where there is no Chromium the tests of the pages are skipped; `make test` installs it where it may.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from live_server import command

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync"
)
SIZES = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
LOCALES = {"en": "en-US", "zh": "zh-CN"}
PATIENCE_MS = 120_000

Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Ended with its module: while it lives this thread has an event loop, and other tests want their own."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no Chromium on this machine (apt-get install chromium)")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def address(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server without keys."""
    with command(home, "--model", "starter", "--precision", "fp32", log=tmp_path_factory.mktemp("log")) as (_, url):
        yield url


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    """Opens a page of the server as somebody who comes for the first time; the test fails where it saw an error or another host."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(path: str = "/", language: str = "en", size: str = "desk", theme: str = "light", at: str = address) -> Page:
        # Without motion: nothing is looked at while it fades.
        context = browser.new_context(viewport=SIZES[size], locale=LOCALES[language], color_scheme=theme, reduced_motion="reduce")
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"{path}: {error}"))
        page.on("console", lambda said: complaints.append(f"{path}: {said.text}") if said.type == "error" else None)
        page.on("request", lambda asked: None if is_own(asked.url, at) else complaints.append(f"{path} asked {asked.url}"))
        page.on("websocket", lambda socket: None if is_own(socket.url, at) else complaints.append(f"{path} asked {socket.url}"))
        page.goto(at + path)
        page.locator("h1").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def is_own(url: str, address: str) -> bool:
    return url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:"))
