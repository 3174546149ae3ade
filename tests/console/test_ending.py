"""A server ends well although somebody looks at its console."""

import signal
from pathlib import Path

from playwright.sync_api import Browser

from live_server import command
from looks import PATIENCE_MS, settled


def test_a_server_with_an_open_page_ends_when_it_is_told_to(browser: Browser, tmp_path: Path) -> None:
    with command(tmp_path, "--model", "starter", log=tmp_path) as (process, url):
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(url + "/server")
        settled(page)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0  # and not when the time for requests in flight is over, after 120 s
        page.close()
