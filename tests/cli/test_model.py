"""`huiyi model`: pull, list, info and check, as a person and as a program read them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import minilm_folder
from huiyi.cli.app import main
from huiyi.encoding import selfcheck
from huiyi.encoding.encoder import LocalEncoder
from huiyi.types import Embedded
from huiyi.workspace import models
from standin_hub import StandInHub
from tiny import rewrite_json, tiny_qwen3


@pytest.fixture(autouse=True)
def _own_home(own_home: Path) -> None:
    pass


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_qwen3(tmp_path_factory.mktemp("tiny"), max_seq_length=512)


@pytest.fixture
def huiyi(capsys: pytest.CaptureFixture[str]):
    """Run a command: (exit code, standard output, standard error)."""

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        told = capsys.readouterr()
        return ended.value.code, told.out, told.err

    return run


def test_info_says_what_a_model_is(huiyi, qwen: Path) -> None:
    code, told, _ = huiyi("model", "info", minilm_folder())
    assert code == 0
    for fact in ("bert", "22,565,376", "6 layers", "45 MB in bf16", "384 numbers", "mean, unit length", "256 tokens, 512", "apache-2.0"):
        assert fact in told

    info = json.loads(huiyi("model", "info", qwen, "--json")[1])
    assert (info["family"], info["pooling"], info["dim"], info["dimensions"], info["licence"]) == ("qwen3", "last", 64, "32 to 64", None)
    assert info["prompts"]["query"].startswith("Instruct:")
    assert info["max_tokens"] == 512


def test_info_names_the_model_of_the_environment(huiyi, qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, told = huiyi("model", "info")
    assert (code, "HUIYI_MODEL" in told) == (1, True)
    monkeypatch.setenv("HUIYI_MODEL", str(qwen))
    assert str(qwen) in huiyi("model", "info")[1]


def test_a_sound_model_passes(huiyi, qwen: Path) -> None:
    for folder in (qwen, minilm_folder()):
        code, told, _ = huiyi("model", "check", folder, "--precision", "fp32")
        assert code == 0
        assert "FAILED" not in told
    checks = {check["name"]: check for check in json.loads(huiyi("model", "check", qwen, "--json")[1])["checks"]}
    assert checks["one EOS"]["ok"] is checks["dimensions"]["ok"] is True
    assert checks["published values"]["ok"] is None


def test_int8_is_held_against_fp32(huiyi) -> None:
    code, told, heard = huiyi("model", "check", minilm_folder(), "--precision", "int8", "--json")
    checked = json.loads(told)
    assert code == 0
    assert "comparing int8 with fp32 over 200 texts" in heard
    assert (checked["precision"], checked["comparison"]["texts"], checked["comparison"]["ok"]) == ("int8", 200, True)
    assert 0.99 < checked["comparison"]["mean_cosine"] < 1
    assert "int8 beside fp32" in huiyi("model", "check", minilm_folder(), "--precision", "int8")[1]


def test_int8_that_has_gone_far_is_an_exit_code_and_a_reason(huiyi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(selfcheck.SAME_WEIGHTS, "int8", 0.9999)
    code, told, heard = huiyi("model", "check", minilm_folder(), "--precision", "int8")
    assert code == 1
    assert "FAILED  int8 beside fp32" in told
    assert "too far from fp32" in heard.splitlines()[-1]


def test_vectors_that_are_wrong_are_an_exit_code_and_a_reason(huiyi, qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a causal model would give them that is pooled at its first token."""
    sound = LocalEncoder.embed

    def blind(self, texts, *args, **options) -> Embedded:
        return sound(self, [text[:1] for text in texts], *args, **options)

    monkeypatch.setattr(LocalEncoder, "embed", blind)
    code, told, heard = huiyi("model", "check", qwen)
    assert code == 1
    assert "FAILED  reads the last word" in told
    assert "reads the last word" in heard.splitlines()[-1]


def test_a_folder_that_is_no_model_is_one_sentence(huiyi, qwen: Path, tmp_path: Path) -> None:
    for command in ("info", "check"):
        code, told, heard = huiyi("model", command, tmp_path)
        assert (code, told) == (1, "")
        assert "config.json" in heard
    broken = shutil.copytree(qwen, tmp_path / "broken")
    rewrite_json(broken / "config.json", model_type="llama")
    assert "llama" in huiyi("model", "check", broken)[2]


@pytest.fixture
def fresh_huiyi(tmp_path: Path):
    """The same in a process and a home of its own, since huggingface_hub reads its environment when it is imported."""

    def run(endpoint: str, *words: str) -> tuple[int, str, str]:
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUIYI_"))}
        own = {"HF_HOME": str(tmp_path / "hf"), "HUIYI_HOME": str(tmp_path / "huiyi"), "HOME": str(tmp_path), "HF_ENDPOINT": endpoint}
        done = subprocess.run([sys.executable, "-m", "huiyi", *words], env=keep | own, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_model_is_pulled_once_and_then_there(fresh_huiyi, qwen: Path) -> None:
    with StandInHub({"tiny/qwen3": qwen}) as hub:
        code, told, heard = fresh_huiyi(hub.url, "model", "list")
        assert (code, told) == (0, "")
        assert "huiyi model pull" in heard
        code, told, _ = fresh_huiyi(hub.url, "model", "pull", "tiny/qwen3")
        assert (code, told.startswith("tiny/qwen3: ")) == (0, True)
        assert "model.safetensors" in hub.fetched()
        code, _, heard = fresh_huiyi(hub.url, "model", "pull", "tiny/other")
        assert (code, "tiny/other" in heard.splitlines()[-1]) == (1, True)
    nowhere = "http://127.0.0.1:9"
    (listed,) = json.loads(fresh_huiyi(nowhere, "model", "list", "--json")[1])["models"]
    assert (listed["name"], listed["hub"], listed["revision"]) == ("tiny/qwen3", "hf", None)
    assert listed["size_bytes"] >= (qwen / "model.safetensors").stat().st_size
    assert "tiny/qwen3 (hf)" in fresh_huiyi(nowhere, "model", "list")[1]
    assert fresh_huiyi(nowhere, "model", "check", "tiny/qwen3")[0] == 0


def test_the_published_file_is_known_by_its_bytes_and_not_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "Qwen3-Embedding-0.6B"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert models.published_sha256(folder) is None
    monkeypatch.setattr(selfcheck, "PUBLISHED_BYTES", len(b"other weights"))
    assert models.published_sha256(folder) not in (None, selfcheck.PUBLISHED_SHA256)


def test_offline_a_model_that_is_not_here_is_refused_without_asking_anybody(huiyi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody answers there; whoever asks is told so
    for command in (("model", "info"), ("model", "check"), ("similarity", "a", "b", "-m"), ("serve", "-m")):
        code, _, told = huiyi(*command, "somebody/not-here", "--offline")
        assert code == 1
        assert "somebody/not-here" in told
        assert "127.0.0.1:9" not in told


def test_the_longest_text_can_be_raised_as_far_as_the_model_has_positions(huiyi, tmp_path: Path) -> None:
    qwen, long = tiny_qwen3(tmp_path / "tiny", max_seq_length=512, positions=8192), "word " * 700
    same = ("similarity", long + "one", long + "another", "-m", qwen, "--truncate", "none")
    code, _, told = huiyi(*same)
    assert (code, "512" in told) == (1, True)
    code, told, _ = huiyi(*same, "--max-tokens", 8192)
    assert code == 0
    assert float(told) == pytest.approx(1, abs=0.1)  # the same 700 words before the last one
    code, _, told = huiyi(*same, "--max-tokens", 10**6)
    assert code == 1
    assert "reads up to" in told
