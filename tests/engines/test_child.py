"""SGLang and vLLM as children: started as their pages say, waited for, started again when they end, ended with us."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import huiyi
from conftest import REPOSITORY
from huiyi import workspace
from huiyi.engines.child import command_of
from huiyi.errors import InvalidInput, ModelFailed, NotFound, Unavailable
from live_server import command, post

LIMIT_S = 60


@pytest.fixture
def installed(tmp_path, monkeypatch, own_home) -> Path:
    """A folder on PATH with both programs, which are stand-ins."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sglang", "vllm"):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{REPOSITORY / "tests" / "standin_engine.py"}" {name} "$@"\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return programs


def pids(home: Path, engine: str) -> list[int]:
    file = home / "logs" / f"{engine}.log"
    return [int(pid) for pid in re.findall(r"with pid (\d+)", file.read_text())] if file.exists() else []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(condition) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
def test_an_engine_is_started_served_and_ended(engine, installed, own_home) -> None:
    (served,) = workspace.serve(["starter"], engine=engine)
    try:
        with huiyi.load("starter", threads=1) as model:
            due = model.encoder.embed(["Where is my parcel?", ""], "query", dimensions=64)
        got = served.embed(served.token_ids(["Where is my parcel?", ""], "query"), 64)
        assert np.einsum("nd,nd->n", got.vectors, due.vectors).min() > 0.9999
        (pid,) = pids(own_home, engine)
        assert alive(pid)
    finally:
        served.close()
    until(lambda: not alive(pid))
    assert f"{engine} ended cleanly" in (own_home / "logs" / f"{engine}.log").read_text()


def test_an_engine_that_ends_is_started_again_and_its_texts_wait(installed, own_home) -> None:
    (served,) = workspace.serve(["starter"], engine="sglang", cache=False)
    try:
        rows = served.token_ids(["Where is my parcel?"])
        first = served.embed(rows).vectors
        os.kill(pids(own_home, "sglang")[0], signal.SIGKILL)
        until(lambda: not alive(pids(own_home, "sglang")[0]))
        np.testing.assert_allclose(served.embed(rows).vectors, first, atol=1e-5)
        assert len(pids(own_home, "sglang")) == 2
    finally:
        served.close()
    until(lambda: not any(map(alive, pids(own_home, "sglang"))))


def test_an_engine_that_cannot_start_says_its_last_words(installed, own_home) -> None:
    with pytest.raises(Unavailable, match="CUDA out of memory"):
        workspace.serve(["starter"], engine="vllm", engine_arguments=["--refuse-to-start"])
    with pytest.raises(Unavailable, match="unrecognized arguments: --no-such-option"):
        workspace.serve(["starter"], engine="vllm", engine_arguments=["--no-such-option"])


def test_an_engine_whose_vectors_are_wrong_is_refused_and_ended(installed, own_home) -> None:
    with pytest.raises(ModelFailed, match="pooling"):
        workspace.serve(["starter"], engine="sglang", engine_arguments=["--pooling=mean"])
    until(lambda: not any(map(alive, pids(own_home, "sglang"))))


def test_the_command_lines_are_those_of_their_pages(installed) -> None:
    words = command_of("sglang", "/models/qwen", "qwen", 30000, ["--tp=2"])
    assert " ".join(words[1:]) == (
        "serve --model-path /models/qwen --is-embedding --host 127.0.0.1 --port 30000 --served-model-name qwen --tp=2"
    )
    words = command_of("vllm", "/models/qwen", "qwen", 8000)
    assert " ".join(words[1:]) == "serve /models/qwen --runner pooling --host 127.0.0.1 --port 8000 --served-model-name qwen"


def test_what_is_not_there_is_named(monkeypatch, own_home) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotFound, match="pip install vllm"):
        workspace.serve(["starter"], engine="vllm")
    with pytest.raises(InvalidInput, match="sglang and vllm"):
        workspace.serve(["starter"], engine="ollama")
    with pytest.raises(InvalidInput, match="upstreams"):
        workspace.serve(["starter"], engine="vllm", upstreams=workspace.Upstreams(("http://127.0.0.1:9",)))


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_serve_takes_its_engine_with_it_however_it_ends(sent, installed, tmp_path) -> None:
    home = tmp_path / "home"
    with command(home, "--model", "starter", "--engine", "sglang", "--no-console", log=tmp_path) as (process, url):
        assert post(url, input="a").status_code == 200
        (pid,) = pids(home, "sglang")
        process.send_signal(sent)
        assert process.wait(LIMIT_S) == (0 if sent == signal.SIGTERM else -sent)
    until(lambda: not alive(pid))
