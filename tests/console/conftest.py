"""A browser (Debian's Chromium) and `huiyi serve` with its console, as a user starts it, over the bundled model.

Where there is no Chromium the tests of the pages are skipped; `make test` installs it where it may.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

import tickets
from fakes import until
from huiyi import workspace
from live_server import command, get, post
from looks import JOB_MS, KEY, PATIENCE_MS, settled

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync"
)
SIZES = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
LOCALES = {"en": "en-US", "zh": "zh-CN"}
LIMIT_S = 1_200  # of a test: a page may take ten times as long as on an idle machine, and the first test starts the server
MESSAGES = [
    {"id": "1", "text": "退款还没有到账 <script>alert(1)</script>", "channel": "app", "price": 12},
    {"id": "2", "text": "I forgot my password", "channel": "email", "price": 3},
    {"id": "3", "text": "My parcel has not arrived", "channel": "app", "price": 7},
    {"id": "4", "text": "Where is my refund? I sent the shoes back", "channel": "email", "price": 40},
]

Visit = Callable[..., Page]


Finished = Callable[..., str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT_S))


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Ended with this package: while it lives this thread has an event loop, and other tests want their own."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no Chromium on this machine (apt-get install chromium)")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS.split(), timeout=PATIENCE_MS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collections tickets and others (two of the same, since tests change them) and messages."""
    folder = tmp_path_factory.mktemp("home")
    with workspace.load("starter", "fp32") as model:
        for name, rows in (("tickets", tickets.rows()), ("others", tickets.rows()), ("messages", MESSAGES)):
            source = folder / f"{name}.jsonl"
            source.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
            workspace.index(name, source, lambda name: model, home=folder)
    return folder


@pytest.fixture(scope="package")
def address(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server without keys."""
    with command(home, "--model", "starter", "--precision", "fp32", log=tmp_path_factory.mktemp("log")) as (_, url):
        yield url


@pytest.fixture(scope="package")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="package")
def locked(empty: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server with a key, which holds nothing."""
    log = tmp_path_factory.mktemp("log")
    with command(empty, "--model", "starter", "--precision", "fp32", log=log, HUIYI_API_KEY=KEY) as (_, url):
        yield url


@pytest.fixture(scope="package")
def finished(address: str) -> Finished:
    """The id of a job, submitted and done: `finished("tickets/cluster", date="when")`."""

    def submit(path: str, **body: object) -> str:
        job = post(address, f"/v1/collections/{path}", **body).json()["id"]
        until(lambda: get(address, f"/v1/jobs/{job}").json()["status"] not in ("queued", "running"), JOB_MS / 1000, 0.3)
        assert get(address, f"/v1/jobs/{job}").json()["status"] == "succeeded"
        return str(job)

    return submit


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
        settled(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def is_own(url: str, address: str) -> bool:
    return url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:"))
