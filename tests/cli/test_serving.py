"""`huiyi serve` as a user starts it, on real weights: what it prints works, its keys stay secret, its names are as asked for."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import huiyi
from conftest import REPOSITORY
from huiyi import workspace
from huiyi.encoding import selfcheck
from huiyi.errors import InvalidInput, ModelFailed
from huiyi.server import connections
from huiyi.server.connections import DRAIN_S
from live_server import client, command, post
from tiny import tiny_qwen3

TEXTS = ["Where is my parcel?", "I want my money back.", "我的包裹在哪里?", "word " * 100]
KEY = "a-key-that-nobody-may-see"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


def test_a_real_model_as_the_article_starts_it(minilm, home, tmp_path) -> None:
    link = tmp_path / "all-MiniLM-L6-v2"
    link.mkdir()
    for file in minilm.rglob("*"):
        if file.is_file():
            target = link / file.relative_to(minilm)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file)
    with command(home, "--model-path", link, "--is-embedding", "--host", "127.0.0.1", log=tmp_path) as (_, url):
        answer = post(url, model="all-MiniLM-L6-v2", input=TEXTS, headers={"Authorization": "Bearer EMPTY"})
        assert answer.status_code == 200
        with huiyi.load(str(minilm)) as model:
            expected = model.encode(TEXTS)
        rows = np.array([row["embedding"] for row in answer.json()["data"]])
        assert np.einsum("nd,nd->n", rows, expected).min() > 0.9999
        alone = np.array([post(url, input=text).json()["data"][0]["embedding"] for text in TEXTS])
        assert np.einsum("nd,nd->n", rows, alone).min() > 0.9999
        with client(url) as http:
            hits = re.search(r'huiyi_cache_hits_total\{model="all-MiniLM-L6-v2"\} (\S+)', http.get("/metrics").text)
            assert float(hits[1]) == len(TEXTS)
        printed = (tmp_path / "out").read_text()
        shown = re.search(r"(?s)( *curl .*?)\n\n", printed)[1]
        done = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, check=True)
        assert '"embedding"' in done.stdout
        program = re.search(r"(?s)(  from openai.*?)\n\n", printed)[1]
        compile(program.replace("\n  ", "\n").strip(), "printed", "exec")


def test_a_server_that_others_can_reach_makes_a_key_and_keeps_it(minilm, tmp_path) -> None:
    home = tmp_path / "home"
    for _ in range(2):
        with command(home, "--model", minilm, "--host", "0.0.0.0", "--no-cache", log=tmp_path) as (_, url):
            key = (home / "api_key").read_text().strip()
            refused = post(url, input="a", headers={"Authorization": "Bearer EMPTY"})
            assert refused.status_code == 401
            assert str(home / "api_key") in refused.json()["error"]["message"]
            assert post(url, input="a", headers={"Authorization": f"Bearer {key}", "Host": "any.example"}).status_code == 200
            assert str(home / "api_key") in (tmp_path / "out").read_text()
            assert key not in (tmp_path / "out").read_text() + (tmp_path / "err").read_text() + refused.text
    assert stat.S_IMODE((home / "api_key").stat().st_mode) == 0o600


def test_a_key_is_in_no_process_list_log_or_error(minilm, home, tmp_path) -> None:
    with command(home, "--model", minilm, "--log-requests", log=tmp_path, HUIYI_API_KEY=KEY) as (process, url):
        assert post(url, input="a", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
        answers = [post(url, input="a"), post(url, input="a", headers={"Authorization": f"Bearer {KEY}x"})]
        assert [answer.status_code for answer in answers] == [401, 401]
        listed = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode()
        seen = listed + (tmp_path / "out").read_text() + (tmp_path / "err").read_text() + "".join(answer.text for answer in answers)
        assert KEY not in seen
        assert "huiyi" in listed


def test_several_models_each_under_its_name(minilm, home, tmp_path) -> None:
    qwen = tiny_qwen3(tmp_path / "tiny-qwen")
    names = ("--served-model-name", "english")
    with command(home, "-m", minilm, "-m", qwen, *names, log=tmp_path) as (_, url), client(url) as http:
        assert [model["id"] for model in http.get("/v1/models").json()["data"]] == ["english", "tiny-qwen"]
        english, tiny = (post(url, model=name, input="a").json() for name in ("english", "tiny-qwen"))
        assert [len(answer["data"][0]["embedding"]) for answer in (english, tiny)] == [384, 64]
        assert post(url, input="a").status_code == 400
        eos = post(url, model="tiny-qwen", input=[5, 6])
        assert "check_embedding_ctx_length=False" in eos.json()["error"]["message"]
        with huiyi.load(str(qwen)) as model:
            expected = model.encode_query(["a"], instruction="find it")[0, :40]
        got = post(url, model="tiny-qwen", input="a", input_type="query", instruction="find it", dimensions=40).json()
        assert np.array(got["data"][0]["embedding"]) @ expected / np.linalg.norm(expected) > 0.9999


def test_what_cannot_be_served_is_one_sentence(tmp_path, minilm) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("HUIYI_")} | {"HUIYI_HOME": str(tmp_path)}

    def fails(*options: object) -> str:
        words = [sys.executable, "-m", "huiyi", "serve", "--port", "0", *map(str, options)]
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        return done.stderr

    assert "HUIYI_MODEL" in fails()
    assert "no-auth" in fails("--no-auth", "--api-key-file", tmp_path / "keys")
    assert "cannot be read" in fails("--api-key-file", tmp_path / "gone")
    assert "--host" in fails("--model", minilm, "--host", "no.such.host.invalid")


def test_names_must_differ(minilm, own_home) -> None:
    with pytest.raises(InvalidInput, match="--served-model-name"):
        workspace.serve([str(minilm), str(minilm)])
    with pytest.raises(InvalidInput, match="2 served names for 1 models"):
        workspace.serve([str(minilm)], served_names=["a", "b"])


def test_a_model_whose_vectors_are_wrong_is_not_served(minilm, own_home, monkeypatch) -> None:
    real = selfcheck.check

    def one_fails(*arguments: object):
        report = real(*arguments)
        first, *others = report.checks
        return selfcheck.Report((type(first)(first.name, False, 0.5, ">= 0.9"), *others))

    monkeypatch.setattr(selfcheck, "check", one_fails)
    with pytest.raises(ModelFailed, match="huiyi model check"):
        workspace.serve([str(minilm)])


def test_the_unit_and_the_compose_file_start_what_there_is() -> None:
    folder = REPOSITORY / "packaging"
    lines = [(folder / "huiyi.service").read_text(), (folder / "compose.yaml").read_text()]
    commands = [re.search(r"(?m)^.*\b(serve --.*)$", text)[1] for text in lines]
    help_ = subprocess.run([sys.executable, "-m", "huiyi", "serve", "--help"], capture_output=True, text=True, check=True).stdout
    for command_ in commands:
        assert set(re.findall(r"--[a-z-]+", command_)) <= set(re.findall(r"--[a-z-]+", help_))
    assert all(int(seconds) > DRAIN_S for seconds in re.findall(r"(?:TimeoutStopSec=|stop_grace_period: )(\d+)", "".join(lines)))


def test_the_commands_of_the_servers_page_work(tmp_path, minilm) -> None:
    page = (REPOSITORY / "docs" / "server.md").read_text("utf-8")
    script = "".join(re.findall(r"(?ms)^```bash\n(.*?)^```$", page))
    bound = connections.bound("127.0.0.1", 0)
    port = str(bound.getsockname()[1])
    bound.close()
    script = (
        script.replace("Qwen/Qwen3-Embedding-0.6B", str(minilm)).replace("30000", port).replace('"dimensions": 256', '"dimensions": 384')
    )
    env = {**os.environ, "HUIYI_HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], env=env, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"usage"') == 5
