"""Servers of others as they are installed, behind `huiyi serve --upstream`: llama.cpp's own and infinity.

Each needs a Python of its own, since they want other releases of our libraries. HUIYI_TEST_LLAMA names one that has `xllamacpp` and `gguf`,
HUIYI_TEST_INFINITY one that has `infinity-emb[server,torch]`; docs/upstreams.md says how they were installed.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

import huiyi
from conftest import REPOSITORY
from fakes import until
from huiyi.encoding.probes import TEXTS
from huiyi.engines.child import free_port
from huiyi.engines.hub import locate
from live_server import command, get, post
from tiny import tiny_qwen3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]
START_S = 400
SENT = [*TEXTS[:40], " blanks around ", "a\nb\tc", "😀", "e\u0301 in two letters", "<|endoftext|> inside", "Instruct: a\nQuery:b"]


def python_of(name: str) -> str:
    if not os.environ.get(name):
        pytest.skip(f"{name} names no Python that has this server")
    return os.environ[name]


@contextmanager
def process(words: list[str], log: Path, is_ready: Callable[[str], bool]) -> Iterator[None]:
    quiet = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as out:
        started = subprocess.Popen(words, env=os.environ | quiet, cwd=log.parent, stdout=out, stderr=out)
    try:

        def ready() -> bool:
            assert started.poll() is None, log.read_text()[-3000:]
            return is_ready(log.read_text())

        until(ready, START_S)
        yield
    finally:
        started.kill()
        started.wait()


@contextmanager
def llama(folder: Path, tmp_path: Path, *options: str, port: int = 0) -> Iterator[str]:
    """llama.cpp's server over a checkpoint, and its address."""
    python, file, log = python_of("HUIYI_TEST_LLAMA"), tmp_path / "model.gguf", tmp_path / "llama.log"
    subprocess.run([python, str(REPOSITORY / "tests" / "as_gguf.py"), str(folder), str(file), *options], check=True)
    with process([python, str(REPOSITORY / "tests" / "llama_server.py"), str(file), str(port)], log, lambda said: "ready: " in said):
        yield next(line for line in log.read_text().splitlines() if line.startswith("ready: ")).removeprefix("ready: ")


def assert_same(gateway: str, folder: Path | str) -> None:
    """What comes through is what the weights give on this machine."""
    with huiyi.load(str(folder), precision="fp32", threads=1) as model:
        for kind in ("document", "query"):
            answer = post(gateway, input=SENT, input_type=kind)
            assert answer.status_code == 200, answer.text
            rows = np.array([row["embedding"] for row in answer.json()["data"]])
            due = model.encoder.embed(SENT, kind)  # type: ignore[arg-type]
            assert np.einsum("nd,nd->n", rows, due.vectors).min() > 0.999
            assert answer.json()["usage"]["prompt_tokens"] == due.tokens.sum()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_qwen3(tmp_path_factory.mktemp("tiny"), dtype="float32")


@pytest.mark.parametrize("options", [[], ["--no-end"]], ids=["complete", "a file without the end-of-text token"])
def test_llama_cpp(options, tiny, tmp_path) -> None:
    with (
        llama(tiny, tmp_path, *options) as url,
        command(tmp_path / "home", "--upstream", url, "--model", tiny, "--no-console", log=tmp_path) as (_, gateway),
    ):
        assert_same(gateway, tiny)
        assert get(gateway, "/v1/models").json()["data"][0]["max_tokens"] == 1023
        cut = post(gateway, input="word " * 3000, truncate="end")
        assert cut.status_code == 200, cut.text
        assert post(gateway, input="word " * 3000).json()["error"]["code"] == "text_too_long"


def test_one_of_two_llama_cpp_servers_is_killed_and_comes_back(tiny, tmp_path) -> None:
    port, places = free_port(), [tmp_path / name for name in ("first", "second", "again")]
    for place in places:
        place.mkdir()
    with llama(tiny, places[0]) as first, ExitStack() as stack:
        second = stack.enter_context(llama(tiny, places[1], port=port))
        options = ("--upstream", first, "--upstream", second, "--model", tiny, "--no-console", "--no-cache")
        with command(tmp_path / "home", *options, log=tmp_path) as (_, gateway):

            def is_up(server: str) -> bool:
                return f'huiyi_upstream_up{{model="{tiny.name}",upstream="{server}"}} 1.0' in get(gateway, "/metrics").text

            assert_same(gateway, tiny)
            stack.close()
            for text in SENT:
                assert post(gateway, input=text).status_code == 200
            until(lambda: is_up(first) and not is_up(second))
            with llama(tiny, places[2], port=port):
                until(lambda: is_up(second))
                assert_same(gateway, tiny)


def test_infinity(tmp_path) -> None:
    python, port, folder = python_of("HUIYI_TEST_INFINITY"), free_port(), locate("starter")
    words = [str(Path(python).with_name("infinity_emb")), "v2", "--model-id", str(folder), "--engine", "torch", "--device", "cpu"]
    words += ["--no-bettertransformer", "--no-model-warmup", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    options = ("--upstream", f"http://127.0.0.1:{port}", "--model", "starter", "--no-console")
    with (
        process(words, tmp_path / "infinity.log", lambda said: "Uvicorn running" in said),
        command(tmp_path / "home", *options, log=tmp_path) as (_, gateway),
    ):
        assert_same(gateway, folder)
