"""The examples of search run as a user runs them, against `huiyi serve` on the starter, and find what the article promises."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from conftest import REPOSITORY
from live_server import command

EXAMPLES = REPOSITORY / "examples"
PROMISED = "订单超过48小时未发货怎么办"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def url(home, tmp_path_factory) -> Iterator[str]:
    with command(home, "--model", "starter", log=tmp_path_factory.mktemp("log")) as (_, url):
        yield url + "/v1"


def run(home, script: str, *arguments: str, typed: str = "") -> list[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("HUIYI_")} | {"HUIYI_HOME": str(home), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        env=env, input=typed, capture_output=True, text=True, encoding="utf-8", check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_by_hand_and_with_huiyi_the_same_is_found(home, url) -> None:
    by_hand = run(home, "search_by_hand.py", url)
    assert by_hand[0] == "我昨天买的耳机还没发货"
    assert PROMISED in by_hand[1]
    with_huiyi = run(home, "search_with_huiyi.py")
    assert with_huiyi[0].startswith("7 texts embedded")
    assert PROMISED in with_huiyi[2]
    assert run(home, "search_with_huiyi.py")[0].startswith("0 texts embedded")


def test_the_bot_answers_what_it_knows_and_nothing_else(home, url) -> None:
    source = (EXAMPLES / "faq_bot.py").read_text("utf-8")
    assert len(source.splitlines()) <= 30
    known, unknown = run(home, "faq_bot.py", url, typed="退款多久到账\n\n  今天晚上吃什么  \n")
    assert re.match(r"退款多久能到账\((0\.\d\d|1\.00)\):", known)
    assert "三到五个工作日" in known
    assert unknown.startswith("没有找到答案(")
