"""Charts: one file, nothing fetched, texts of users stay texts, and a browser draws them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from huiyi.charts import chart, escape, page
from huiyi.errors import MissingExtra

EVIL = "</script><script>document.title='broken in'</script>"
FIGURE = {
    "data": [{"type": "scattergl", "mode": "markers", "x": np.arange(3), "y": np.array([1.0, 2.0, 0.5]), "text": ["花呗", EVIL, "c"]}]
}


def test_a_figure_is_kept_as_data_and_texts_of_users_cannot_leave_it() -> None:
    place = chart(FIGURE, label='three "points"')
    assert place.count("<script") == 1
    found = re.search(r'<script type="application/json">(.*?)</script>', place)
    assert found
    assert json.loads(found[1])["data"][0]["text"][1] == EVIL
    assert json.loads(found[1])["data"][0]["x"] == [0, 1, 2]
    assert "&quot;points&quot;" in place


def test_numbers_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        chart({"data": [{"y": [float("nan")]}]})


def test_a_page_fetches_nothing() -> None:
    html = page("报告 & report", chart(FIGURE), language="zh")
    assert not re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="?(?:https?:)?//', html)
    assert "<title>报告 &amp; report</title>" in html
    assert len(html) > 1_000_000  # the script that draws is inside
    assert len(page("no chart", f"<p>{escape(EVIL)}</p>")) < 10_000


def test_a_browser_draws_it_from_disk(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    file = tmp_path / "report.html"
    figure = {"data": [{"type": "bar", "x": ["花呗"], "y": [3]}], "layout": {"title": {"text": "drawn"}}}
    file.write_text(page("report", chart(figure) + chart({"data": [{"type": "bar", "x": [EVIL], "y": [1]}]})), "utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--virtual-time-budget=10000"]
    command = [chromium, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert dom.count('class="main-svg"') >= 2
    assert "<title>report</title>" in dom


def test_without_the_console_s_part_the_way_out_is_named_and_plain_pages_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huiyi.charts.find_spec", lambda name: None)
    assert "<p>" in page("plain", "<p>nothing drawn</p>")
    with pytest.raises(MissingExtra, match=r"huiyi\[console\]"):
        page("charts", chart(FIGURE))
