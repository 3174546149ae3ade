"""`huiyi train` and `huiyi reproduce` as a person types them: killed and given again, wrong options, the table of rows."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny

TOPICS = ["包裹", "退款", "密码", "发票", "parcel", "refund", "password", "invoice"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_qwen3(tmp_path_factory.mktemp("model") / "m", dim=32, intermediate=48, head_dim=8)


def write_pairs(file: Path, count: int, seed: int) -> Path:
    random = np.random.default_rng(seed)
    lines = ["sentence1\tsentence2\tlabel"]
    for row in range(count):
        a, b = random.choice(TOPICS, 2, replace=False)
        lines.append(f"where is my {a} {seed}.{row}\t请问 {a if row % 2 else b} 怎么办\t{row % 2}")
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_pairs(folder / "afqmc_train.tsv", 240, 0)
    write_pairs(folder / "afqmc_dev.tsv", 60, 1)
    return folder


def command(*words: Any) -> list[str]:
    return [sys.executable, "-m", "huiyi", *map(str, words)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def run(*words: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, check=False, env=environment(), timeout=240)


def training(data: Path, model: Path, out: Path) -> list[Any]:
    source, judging = data / "afqmc_train.tsv", data / "afqmc_dev.tsv"
    options = ["--epochs", 6, "--batch-size", 4, "--patience", 0, "--evaluations", 60, "--learning-rate", 1e-3, "--threads", 1]
    return ["train", source, "--base", model, "--eval", judging, "--out", out, *options, "--precision", "fp32", "--json"]


def test_a_run_that_is_killed_ends_as_one_that_was_not(data: Path, model: Path, tmp_path: Path) -> None:
    whole = run(*training(data, model, tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(command(*training(data, model, tmp_path / "killed")), env=environment(), stderr=subprocess.DEVNULL)
    state, deadline = tmp_path / "killed" / "run" / "state.safetensors", time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert not (tmp_path / "killed" / "huiyi.json").exists()
    again = run(*training(data, model, tmp_path / "killed"))
    assert "going on" in again.stderr
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]
    first, second = (json.loads(done.stdout) for done in (whole, again))
    assert first["after"] == second["after"]
    assert (tmp_path / "killed" / "run" / "curves.html").stat().st_size > 1_000_000  # the script that draws is inside
    assert not list((tmp_path / "killed" / "run").glob("*.safetensors"))


def test_an_adapter_is_told_of_in_plain_words(data: Path, model: Path, tmp_path: Path) -> None:
    done = run("train", data / "afqmc_train.tsv", "--base", model, "--out", tmp_path / "a", "--epochs", 1, "--recipe", "pair-classifier")
    assert done.returncode == 0, done.stderr
    assert "held back to judge by" in done.stderr
    assert "of the head" in done.stdout
    assert "--adapter" in done.stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--target", "wq"], "no linear 'wq'"),
        (["--dimensions", "a,b"], "--dimensions takes numbers"),
        (["--eval", "nowhere.tsv"], "nowhere.tsv"),
        (["--base", ""], "--base"),
    ],
)
def test_wrong_options_are_told_in_one_sentence(options: list[str], told: str, data: Path, model: Path, tmp_path: Path) -> None:
    done = run("train", data / "afqmc_train.tsv", "--base", model, "--out", tmp_path / "a", *options)
    assert done.returncode != 0
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a" / "huiyi.json").exists()


def test_the_table_has_all_rows_and_goes_on_row_by_row(data: Path, model: Path, tmp_path: Path) -> None:
    bert = tiny.tiny_bert(tmp_path / "bert", dim=32, intermediate=48)
    words = ["reproduce", "afqmc", "--data", data, "--base", model, "--baseline", bert, "--out", tmp_path / "t", "--epochs", 2]
    done = run(*words, "--batch-size", 16, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [row["name"] for row in result["rows"]] == ["majority", "tfidf", "zero-shot", "similarity", "pair-classifier", "baseline"]
    assert not result["official"]
    assert "NOT the official split" in result["note"]
    for row in result["rows"]:
        for name in ("accuracy", "auc"):
            low, high = row["figures"][name]["ci"]
            assert low <= row["figures"][name]["value"] <= high
    kept = tmp_path / "t" / "rows" / "tfidf.json"
    (tmp_path / "t" / "rows" / "majority.json").unlink()
    before = kept.stat().st_mtime_ns
    again = run(*words, "--batch-size", 16, "--json")
    assert json.loads(again.stdout)["rows"][3]["figures"] == result["rows"][3]["figures"]
    assert kept.stat().st_mtime_ns == before
    assert "similarity:" not in again.stderr
    other = run(*words, "--batch-size", 8)
    assert other.returncode == 1
    assert "other settings" in other.stderr


def test_data_that_is_not_there_is_named(tmp_path: Path, model: Path) -> None:
    (tmp_path / "d").mkdir()
    done = run("reproduce", "afqmc", "--data", tmp_path / "d", "--base", model, "--out", tmp_path / "t")
    assert done.returncode == 1
    assert "afqmc_train.tsv" in done.stderr


def test_a_model_that_cannot_be_had_is_told_before_the_first_row(data: Path, model: Path, tmp_path: Path) -> None:
    words = ["reproduce", "afqmc", "--data", data, "--base", model, "--baseline", tmp_path / "nowhere", "--out", tmp_path / "t"]
    done = run(*words, "--rows", "tfidf,baseline")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert not list((tmp_path / "t" / "rows").iterdir())
    assert run(*words, "--rows", "tfidf").returncode == 0
