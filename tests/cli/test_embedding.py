"""`huiyi embed` as a person types it: files, standard input, JSON, and a kill in the middle."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from conftest import REPOSITORY
from fake_model import fake_model
from huiyi.cli.app import main

FAKE = [sys.executable, str(REPOSITORY / "tests" / "fake_model.py")]
QUESTIONS = ["怎么开发票？", "包裹丢了，谁来赔\n我很着急", '他说"马上退款"']


def embed(*args: object, max_tokens: int = 8192) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["embed", *map(str, args)], load=lambda *_: fake_model(max_tokens=max_tokens))
    return ended.value.code


def test_a_file_becomes_vectors_and_the_output_says_how_it_was_read(tmp_path, capsys) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["id", "question"], *enumerate(QUESTIONS)])
    (tmp_path / "faq.csv").write_bytes(text.getvalue().encode("gb18030"))
    assert embed(tmp_path / "faq.csv", "-o", tmp_path / "out.npy") == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{tmp_path / 'out.npy'}: 3 vectors of 8 numbers, ")
    assert err == "huiyi: faq.csv: csv, gb18030, comma, 3 rows; texts from the column 'question'\n"
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), fake_model().encode(QUESTIONS), atol=1e-6)


@pytest.mark.parametrize("name", ["a.xlsx", "a.csv", "a.tsv", "a.jsonl", "a.txt"])
def test_every_format_gives_the_same_vectors(tmp_path, name) -> None:
    rows = ["one", "二", "3"]
    path = tmp_path / name
    if name == "a.xlsx":
        book = openpyxl.Workbook()
        for text in ["text", *rows]:
            book.active.append([text])
        book.save(path)
    else:
        lines = {"a.jsonl": map(json.dumps, rows), "a.txt": rows}.get(name, ["text", *rows])
        path.write_text("\n".join(lines), "utf-16" if name == "a.csv" else "utf-8")
    assert embed(path, "-o", tmp_path / "out.npy") == 0
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), fake_model().encode(rows), atol=1e-6)


def test_json_is_one_object_on_standard_output(tmp_path, capsys) -> None:
    (tmp_path / "in.txt").write_text("one\n\nthree and more")
    assert embed(tmp_path / "in.txt", "-o", tmp_path / "out.npy", "--json", max_tokens=8) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result.pop("seconds") > 0
    assert result == {
        "output": str(tmp_path / "out.npy"),
        "source": "in.txt: txt, utf-8, 3 rows",
        "column": "text",
        "rows": 3,
        "dimensions": 8,
        "tokens": 13,
        "full": 1,
        "empty": 1,
        "resumed_rows": 0,
        "changed": [],
        "model": "fake",
        "space": "fake",
    }
    assert "texts that fill all the tokens the model reads: 1; " in err
    assert "texts that are empty: 1" in err


@pytest.mark.parametrize(
    ("data", "options", "rows"),
    [
        ("一\n二".encode(), [], ["一", "二"]),
        ("一\n二\n".encode("gb18030"), [], ["一", "二"]),
        (b"id,text\n1,a\n", ["--format", "csv"], ["a"]),
        ("退貨".encode("big5"), ["--encoding", "big5"], ["退貨"]),
    ],
)
def test_standard_input(tmp_path, data, options, rows) -> None:
    command = [*FAKE, "embed", "-", "-o", str(tmp_path / "out.npy"), *options]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    assert b"standard input: " in done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), fake_model().encode(rows), atol=1e-6)


def test_bad_input_is_one_sentence(tmp_path, capsys) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "binary.txt").write_bytes(b"\x7fELF\0\0")
    (tmp_path / "faq.csv").write_text("id,body\n1,a\n")
    for name, options, sentence in [
        ("empty.csv", [], "empty.csv holds no rows"),
        ("binary.txt", [], "binary.txt is a binary file, not text"),
        ("faq.csv", [], "faq.csv has the columns id, body; name the one that holds the text with --text"),
        ("faq.csv", ["--text", "question"], "there is no column 'question': faq.csv has the columns id, body"),
    ]:
        assert embed(tmp_path / name, "-o", tmp_path / "out.npy", *options) == 1
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert sentence in err


def test_a_finished_file_is_replaced_with_force(tmp_path, capsys) -> None:
    (tmp_path / "in.txt").write_text("one")
    assert embed(tmp_path / "in.txt", "-o", tmp_path / "out.npy") == 0
    assert embed(tmp_path / "in.txt", "-o", tmp_path / "out.npy") == 1
    assert "--force" in capsys.readouterr().err
    assert embed(tmp_path / "in.txt", "-o", tmp_path / "out.npy", "--force") == 0


def kill_when_some_rows_are_certain(command: list[str], state: Path, env: dict[str, str]) -> None:
    run = subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and run.poll() is None:
        if state.exists() and json.loads(state.read_bytes())["done"]["rows"]:
            break
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    assert run.wait(timeout=30) == -signal.SIGKILL, "the run ended before it could be killed"


@pytest.mark.parametrize("name", ["out.npy", "out.jsonl", "out.parquet"])
def test_a_killed_run_goes_on_and_gives_the_same_bytes(tmp_path, name) -> None:
    (tmp_path / "in.txt").write_text("".join(f"ticket {n}: 我的订单还没有到\n" for n in range(2500)))
    command = [*FAKE, "embed", str(tmp_path / "in.txt"), "-o", str(tmp_path / name)]
    kill_when_some_rows_are_certain(command, tmp_path / f"{name}.partial.json", {"HUIYI_TEST_SLEEP": "5e-5", "HUIYI_TEST_KEEP": "0"})
    assert not (tmp_path / name).exists()
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert 0 < json.loads(done.stdout)["resumed_rows"] < 2500
    assert "going on after row " in done.stderr
    assert embed(tmp_path / "in.txt", "-o", tmp_path / f"whole-{name}") == 0
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"in.txt", name, f"whole-{name}"}


def test_a_killed_run_of_a_real_model_gives_the_same_bytes(tmp_path, minilm, monkeypatch) -> None:
    monkeypatch.setenv("HUIYI_MODEL", str(minilm))
    monkeypatch.setenv("HUIYI_TEST_REAL", "1")
    monkeypatch.setenv("HUIYI_TEST_KEEP", "0")
    texts = (f"Parcel {n} has not arrived; where is it, and who can tell me{' more' * (n % 9)}?\n" for n in range(1500))
    (tmp_path / "in.txt").write_text("".join(texts))
    command = [*FAKE, "embed", str(tmp_path / "in.txt"), "-o"]
    kill_when_some_rows_are_certain([*command, str(tmp_path / "out.npy")], tmp_path / "out.npy.partial.json", {})
    done = subprocess.run([*command, str(tmp_path / "out.npy"), "--json"], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert 0 < result["resumed_rows"] < 1500
    assert result["dimensions"] == 384
    subprocess.run([*command, str(tmp_path / "whole.npy")], capture_output=True, check=True)
    assert (tmp_path / "out.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_the_first_line_says_how_it_computes_and_offers_int8(tmp_path, minilm, capsys, own_home) -> None:
    (tmp_path / "texts.txt").write_text("One text.\n", "utf-8")
    with pytest.raises(SystemExit):
        main(["embed", str(tmp_path / "texts.txt"), "-o", str(tmp_path / "out.npy"), "-m", str(minilm)])
    said = capsys.readouterr().err
    assert "threads; --precision int8 is about" in said
