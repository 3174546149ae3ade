"""`huiyi index`, `reindex` and `collections` as a person types them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from conftest import REPOSITORY
from fake_model import fake_model
from huiyi.cli.app import main

FAKE = [sys.executable, str(REPOSITORY / "tests" / "fake_model.py")]
FAQ = "id,question,lang\n1,where is my parcel,en\n2,how do I get an invoice,en\n3,包裹到哪儿了,zh\n"


def huiyi(*args: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, args)), load=lambda *_: fake_model())
    return ended.value.code


@pytest.fixture
def faq(tmp_path, own_home, capsys):
    (tmp_path / "faq.csv").write_text(FAQ, "utf-8")
    assert huiyi("index", "faq", tmp_path / "faq.csv", "--text", "question") == 0
    capsys.readouterr()
    return tmp_path


def test_index_says_what_it_did(tmp_path, own_home, capsys) -> None:
    (tmp_path / "faq.csv").write_text(FAQ, "utf-8")
    assert huiyi("index", "faq", tmp_path / "faq.csv", "--text", "question", "--id", "id", "--meta", "lang") == 0
    out, err = capsys.readouterr()
    assert out.startswith("faq: 3 records (3 added, 0 changed, 0 unchanged, 0 deleted), 3 texts embedded, ")
    assert "faq.csv: csv, utf-8, comma, 3 rows; texts from 'question', ids from 'id', metadata: lang" in err
    assert "3 texts to embed with fake" in err
    (tmp_path / "faq.csv").write_text(FAQ.replace("3,包裹到哪儿了,zh\n", "4,new,en\n"), "utf-8")
    assert huiyi("index", "faq", tmp_path / "faq.csv", "--text", "question", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert {key: result[key] for key in ("records", "added", "changed", "unchanged", "deleted", "embedded", "model")} == {
        "records": 3,
        "added": 1,
        "changed": 0,
        "unchanged": 2,
        "deleted": 1,
        "embedded": 1,
        "model": "fake",
    }


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["index", "faq", "nothing.csv"], 1, "there is no file nothing.csv"),
        (["index", "a b", "FILE", "--text", "question"], 1, "cannot be a collection's name"),
        (["index", "faq", "FILE", "--text", "txt"], 1, "there is no column 'txt'"),
        (["index", "new", "FILE", "--text", "question", "--store", "oracle"], 1, "there is no store 'oracle'"),
        (["index", "faq", "FILE", "--meta", "lang", "--no-meta"], 2, "do not go together"),
        (["reindex", "nope"], 1, "there is no collection nope; there are faq"),
        (["collections", "show", "nope"], 1, "there is no collection nope"),
        (["collections", "export", "faq", "-o", "out.pdf"], 1, "end it in .csv"),
        (["collections", "export", "faq", "-o", "out.csv", "--filter", "{lang"], 2, "--filter is JSON"),
        (["collections", "export", "faq", "-o", "out.csv", "--filter", '["a"]'], 2, "--filter is a JSON object"),
        (["collections", "export", "faq", "-o", "out.csv", "--filter", '{"a": {"$x": 1}}'], 1, "is not an operator"),
        (["collections", "delete", "faq", "--id", "1", "--filter", "{}"], 2, "do not go together"),
        (["collections", "restore", "new", "nothing.backup"], 1, "there is no file nothing.backup"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(faq, capsys, monkeypatch, args, code, words) -> None:
    monkeypatch.chdir(faq)
    assert huiyi(*[faq / "faq.csv" if arg == "FILE" else arg for arg in args]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert "Traceback" not in err


def test_listing_and_showing(faq, capsys) -> None:
    assert huiyi("collections", "list") == 0
    assert capsys.readouterr().out.startswith("faq: 3 records, fake, 8 numbers, local, ")
    assert huiyi("collections", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["collections"][0]["records"] == 3
    assert huiyi("collections", "show", "faq", "--first", 1) == 0
    out = capsys.readouterr().out
    assert "   model  fake, 8 numbers\n" in out
    assert out.endswith('\n1  {"lang": "en"}\nwhere is my parcel\n')
    assert huiyi("collections", "show", "faq", "--json") == 0
    assert json.loads(capsys.readouterr().out)["fields"] == ["lang"]


def test_export_backup_restore_check_delete(faq, capsys, monkeypatch) -> None:
    monkeypatch.chdir(faq)
    assert huiyi("collections", "export", "faq", "-o", "out.jsonl", "--filter", '{"lang": "zh"}') == 0
    assert capsys.readouterr().out == "out.jsonl: 1 records\n"
    assert json.loads((faq / "out.jsonl").read_text("utf-8")) == {"id": "3", "text": "包裹到哪儿了", "lang": "zh"}
    assert huiyi("collections", "backup", "faq") == 0
    assert len(list(faq.glob("faq-*.backup"))) == 1
    assert huiyi("collections", "backup", "faq", "-o", "b", "--json") == 0
    assert huiyi("collections", "restore", "faq", "b") == 1
    assert huiyi("collections", "restore", "faq", "b", "--force") == 0
    assert huiyi("collections", "restore", "two", "b") == 0
    assert huiyi("collections", "check", "two") == 0
    assert capsys.readouterr().out.endswith("two: 3 records, all as they were written\n")
    assert huiyi("collections", "delete", "two", "--id", "1") == 0
    assert huiyi("collections", "delete", "two", "--yes") == 0
    assert capsys.readouterr().out == "two: 1 records deleted\ntwo: 2 records deleted, and the collection\n"


def test_a_collection_is_not_deleted_without_asking(faq, capsys, monkeypatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert huiyi("collections", "delete", "faq") == 130
    assert huiyi("collections", "show", "faq") == 0


def test_reindex_names_both_models(faq, capsys) -> None:
    assert huiyi("reindex", "faq", "--model", "another") == 0
    assert capsys.readouterr().out == "faq: 3 records, now with fake (before: fake), 3 texts embedded\n"


def test_no_collections_yet(own_home, capsys) -> None:
    assert huiyi("collections", "list") == 0
    assert "huiyi index NAME FILE makes one" in capsys.readouterr().err


def test_an_index_run_that_is_killed_keeps_what_it_embedded_and_goes_on(tmp_path, own_home) -> None:
    (tmp_path / "in.txt").write_text("\n".join(f"text number {i}" for i in range(3000)))
    command = [*FAKE, "index", "big", str(tmp_path / "in.txt"), "--json"]
    process = subprocess.Popen(command, env=os.environ | {"HUIYI_TEST_SLEEP": "0.00005"}, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    database = own_home / "collections" / "big" / "collection.sqlite3-wal"
    end = time.monotonic() + 30
    while time.monotonic() < end and not (database.exists() and database.stat().st_size > 300_000):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    result = json.loads(done.stdout)
    assert result["records"] == 3000
    assert result["unchanged"] % 256 == 0
    assert 0 < result["unchanged"] < 3000
    assert result["embedded"] == result["added"] == 3000 - result["unchanged"]
