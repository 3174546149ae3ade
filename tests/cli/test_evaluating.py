"""`huiyi evaluate` as a person types it."""

import json
import random

import pytest

from fake_model import fake_model
from huiyi.cli.app import main


def evaluate(*args: object, load=lambda *_, **__: fake_model()) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, args)], load=load)
    return ended.value.code


@pytest.fixture
def dev(tmp_path):
    draw = random.Random(0)
    words = [f"{draw.choice('花呗借呗额度还款逾期')}{draw.choice('怎么可以什么为何')}{number}" for number in range(120)]
    rows = [(word, word + "吗" * (number % 3) if number % 2 else draw.choice(words), number % 2) for number, word in enumerate(words)]
    path = tmp_path / "dev.csv"
    path.write_bytes("".join(f"{a},{b},{c}\n" for a, b, c in [("a", "b", "same"), *rows]).encode("gb18030"))
    return path


COLUMNS = ("--columns", "sentence1=a,sentence2=b,label=same")


def test_pairs_as_a_table(dev, capsys) -> None:
    assert evaluate("pairs", dev, *COLUMNS, "--against", "bm25") == 0
    out, err = capsys.readouterr()
    assert "dev.csv: csv, gb18030, comma, 120 rows" in err
    assert "dev.csv: 120 rows; 95 % intervals in brackets" in out
    head, *rows = [line.split() for line in out.splitlines()[1:12]]
    assert head == ["fake", "majority", "tfidf", "bm25", "minus", "bm25"]
    assert [row[0] for row in rows] == [
        *("accuracy", "f1", "f1_weighted", "precision", "recall", "average_precision", "auc", "spearman", "brier", "threshold")
    ]
    assert "learned by 5 folds" in out
    assert "most changed from bm25:" in out


def test_pairs_as_json(dev, tmp_path, capsys) -> None:
    assert evaluate("pairs", dev, *COLUMNS, "--json", "--against", "bm25", "--report", tmp_path / "r.html") == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    for name in ("accuracy", "f1", "spearman", "auc", "threshold"):
        low, high = found[name]["ci"]
        assert low <= found[name]["value"] <= high
    assert found["baselines"]["majority"]["spearman"]["value"] is None
    assert found["baselines"]["tfidf"]["accuracy"]["value"] > 0.5
    assert len(found["against"]["bm25"]["changed"]) == 20
    assert "r.html: the same with charts" in err
    assert "<html" in (tmp_path / "r.html").read_text("utf-8")


def test_wrong_use_is_told(dev, tmp_path, capsys) -> None:
    assert evaluate("pairs", dev) == 1
    assert "dev.csv has the columns a, b, same; pairs are in sentence1 and sentence2" in capsys.readouterr().err
    assert evaluate("pairs", dev, "--columns", "sentence1") == 2
    assert "ROLE=COLUMN" in capsys.readouterr().err
    assert evaluate("pairs", tmp_path / "none.csv") == 1
    assert "there is no file" in capsys.readouterr().err
    dev.write_text("sentence1,sentence2,label\na,b,2\n", "utf-8")
    assert evaluate("pairs", dev) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "huiyi: dev.csv, line 2: label is '2', not 0 or 1; for graded scores, name the column score"
    )


def test_an_adapter_reaches_the_model(dev) -> None:
    asked = []

    def load(model, precision, threads, **options):
        asked.append((model, options))
        return fake_model()

    assert evaluate("pairs", dev, *COLUMNS, "--model", "m", "--adapter", "folder", "--against", "old", load=load) == 0
    assert asked == [("m", {"adapter": "folder"}), ("old", {})]


def test_data_is_told_without_a_model(dev, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.delenv("HUIYI_MODEL", raising=False)
    assert evaluate("data", dev, *COLUMNS, "--eval", dev) == 0
    out, err = capsys.readouterr()
    assert "label 1" in out
    assert "leaks" in out
    assert "token lengths are not counted: name a model with --model" in err
    assert evaluate("data", dev, *COLUMNS, "--json") == 0
    assert json.loads(capsys.readouterr().out)["labels"] == {"0": 60, "1": 60}


def test_data_with_the_tokens_of_a_model(dev, minilm, tmp_path, capsys) -> None:
    assert evaluate("data", dev, *COLUMNS, "-m", minilm, "--report", tmp_path / "r.html") == 0
    assert "max_length, pair" in capsys.readouterr().out
    assert "max_length" in (tmp_path / "r.html").read_text("utf-8")


def labelled(path, count: int):
    lines = [f"{word} {number}\t{word}" for number in range(count) for word in ("refund", "card")]
    path.write_text("\n".join(["text\tlabel", *lines]), "utf-8")
    return path


def test_the_other_tasks(tmp_path, capsys) -> None:
    texts = labelled(tmp_path / "a.tsv", 30)
    assert evaluate("classification", texts, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["baselines"]["tfidf"]["accuracy"]["value"] == 1
    assert {"accuracy", "f1_macro"} < found.keys()
    assert evaluate("clustering", texts, "--against", "tfidf") == 0
    assert "told that there are 2 classes" in capsys.readouterr().out
    (tmp_path / "q.tsv").write_text("query\tpositive\nrefund\trefund 3\nlost card\tcard 4\n", "utf-8")
    assert evaluate("retrieval", tmp_path / "q.tsv", "--corpus", texts, "--kind", "document") == 0
    assert "ndcg@10" in capsys.readouterr().out
    assert evaluate("retrieval", tmp_path / "q.tsv", "--kind", "document", "--instruction", "x") == 2
