"""`huiyi demo` as a person starts it: it prints what it found, then serves it."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from fakes import until
from huiyi.cli.demonstrating import _bars, _cell, _columns, _free

DEMO = [sys.executable, "-m", "huiyi", "demo"]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One home for all: the first start finds, the others look it up."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUIYI_") and name != "DISPLAY"}
    return {**kept, "HUIYI_HOME": str(tmp_path_factory.mktemp("home")), "HF_HUB_OFFLINE": "1"}


def run(env: dict[str, str], *options: str) -> str:
    done = subprocess.run([*DEMO, "--no-serve", *options], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_prints_what_every_job_found(env: dict[str, str]) -> None:
    printed = run(env)
    for title in ("Search", "Answers", "Similarity", "Topics", "Repeats", "Sorting"):
        assert re.search(rf"^{title}.*\(.*\d s\)$", printed, re.MULTILINE), title
    assert "560 texts embedded" in printed
    assert "? 我昨天买的耳机还没发货" in printed
    assert "  1. " in printed.partition("我昨天买的耳机还没发货")[2]
    assert "Arabic" in printed
    assert "huiyi demo --model Qwen/Qwen3-Embedding-0.6B" in printed
    assert max(map(_columns, printed.splitlines())) <= 140


def test_a_later_start_looks_it_up_and_json_has_the_same_figures(env: dict[str, str]) -> None:
    printed, found = run(env), json.loads(run(env, "--json"))
    assert found["kept"]
    assert found["gathered"]["embedded"] == 0
    assert f"{found['gathered']['messages']} messages" in printed
    assert f"{found['repeats']['found']} of {found['repeats']['planted']} planted repeats" in printed
    assert found["faq"]["hits"][0]["question"] in printed


def test_then_it_serves_the_collections_on_a_free_port(env: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "out"
    with log.open("w") as out, subprocess.Popen([*DEMO, "--port", "0", "--no-open"], env=env, stdout=out, stderr=out) as started:
        try:
            until(lambda: started.poll() is not None or "ready: http" in log.read_text())
            address = re.search(r"ready: (http://127\.0\.0\.1:\d+)", log.read_text())
            assert address, log.read_text()
            assert httpx.get(f"{address[1]}/ready", timeout=60).status_code == 200
            answer = httpx.post(f"{address[1]}/v1/embeddings", json={"input": "我的包裹在哪里"}, timeout=60)
            assert len(answer.json()["data"][0]["embedding"]) == 256
            started.send_signal(signal.SIGINT)
            started.wait(60)
        finally:
            started.kill()


def test_a_taken_port_is_left_to_its_owner() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert _free(taken.getsockname()[1]) != taken.getsockname()[1]


def test_bars_and_cells_fit_a_terminal() -> None:
    assert _bars((0, 1, 5, 10)) == " ▁▄█"
    assert _bars((0, 0)) == "  "
    assert _cell("付款失败了", 8) == "付款失… "
    assert _columns(_cell("付款 failed again", 10)) == 10
    assert _cell("a\nb", 5) == "a b  "
