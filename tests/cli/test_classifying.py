"""`huiyi classify` as a person types it: fit, predict, zero-shot, suggest, and every refusal."""

import csv
import json

import pytest

from fake_model import fake_model
from huiyi.cli.app import main

TOPICS = {
    "refund": ["I want my money back", "please refund my order", "how do I get a refund", "return the money for this purchase"],
    "delivery": ["where is my parcel", "my package has not arrived", "when will the delivery come", "track my shipment"],
    "login": ["I forgot my password", "cannot sign in to my account", "reset my login password", "my account is locked"],
}


def classify(*args: object, load=None) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["classify", *map(str, args)], load=load)
    return ended.value.code


@pytest.fixture
def labelled(tmp_path):
    with (tmp_path / "in.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["question", "label"], *([text, label] for label in TOPICS for text in TOPICS[label]), ["", ""]])
    return tmp_path / "in.csv"


@pytest.fixture
def fitted(labelled, own_home, minilm, capsys):
    assert classify("fit", "support", labelled, "--text", "question", "-m", minilm, "--target-precision", 0.7) == 0
    capsys.readouterr()
    return own_home


def test_a_few_examples_sort_new_texts(labelled, own_home, tmp_path, minilm, capsys) -> None:
    report, errors = tmp_path / "report.html", tmp_path / "errors.jsonl"
    more = ("--report", report, "--errors", errors, "-m", minilm, "--target-precision", 0.7)
    assert classify("fit", "support", labelled, "--text", "question", *more) == 0
    out, err = capsys.readouterr()
    assert "support: 3 classes from 12 rows" in out
    assert "held out (12 rows" in out
    assert "always the largest class: 33.3%" in out
    assert "rows without a label or a text, left out: 1" in err
    assert 'class="chart"' in report.read_text("utf-8")
    assert errors.exists()
    (tmp_path / "new.txt").write_text("refund me please\nthe parcel is lost\nwrong password\nphotosynthesis in plants\n", "utf-8")
    assert classify("predict", "support", tmp_path / "new.txt", "-o", tmp_path / "out.jsonl", "-m", minilm) == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [row["best"] for row in rows[:3]] == ["refund", "delivery", "login"]
    assert rows[3]["verdict"] == "out of scope"
    assert all((row["predicted"] == row["best"]) == (row["verdict"] == "sure") for row in rows)
    assert list(rows[0]) == ["text", "predicted", "probability", "best", "verdict"]


def test_what_is_kept_holds_no_pickle_and_is_listed(fitted, capsys) -> None:
    folder = fitted / "classifiers" / "support"
    assert sorted(path.name for path in folder.iterdir()) == ["classifier.json", "model.safetensors"]
    facts = json.loads((folder / "classifier.json").read_text("utf-8"))
    assert facts["state"]["classes"] == sorted(TOPICS)
    assert classify("list", "--json") == 0
    (known,) = json.loads(capsys.readouterr().out)["classifiers"]
    assert (known["name"], known["classes"], known["rows"]) == ("support", 3, 12)


def test_another_model_is_refused_with_both_names(fitted, tmp_path, capsys, minilm) -> None:
    (tmp_path / "new.txt").write_text("refund me please\n", "utf-8")
    command = ["predict", "support", tmp_path / "new.txt", "-o", tmp_path / "out.csv"]
    assert classify(*command, load=lambda *_: fake_model()) == 1
    err = capsys.readouterr().err
    assert "fake" in err
    assert str(minilm) in err
    assert not (tmp_path / "out.csv").exists()


def test_the_same_vectors_under_another_digest_are_the_same_space(fitted, tmp_path, minilm, capsys) -> None:
    """As when the same weights lie behind another server: what the probe texts give decides."""
    facts = fitted / "classifiers" / "support" / "classifier.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text("utf-8")), "space": "another"}), "utf-8")
    (tmp_path / "new.txt").write_text("refund me please\n", "utf-8")
    assert classify("predict", "support", tmp_path / "new.txt", "-o", tmp_path / "out.csv", "-m", minilm) == 0


def test_names_of_classes_are_enough(tmp_path, own_home, minilm, capsys) -> None:
    (tmp_path / "labels.txt").write_text("refund: the customer wants money back\ndelivery: where a parcel is\nlog_in\n", "utf-8")
    (tmp_path / "new.txt").write_text("I want my money back\nwhere is my parcel\ncannot log in\n", "utf-8")
    out = tmp_path / "out.csv"
    assert classify("predict", "--zero-shot", tmp_path / "labels.txt", tmp_path / "new.txt", "-o", out, "-m", minilm) == 0
    assert "nothing is calibrated" in capsys.readouterr().err
    rows = list(csv.DictReader(out.open(encoding="utf-8-sig", newline="")))
    assert [row["predicted"] for row in rows] == ["refund", "delivery", "log_in"]
    assert list(rows[0]) == ["text", "predicted", "score"]


def test_what_to_label_next(fitted, tmp_path, minilm, capsys) -> None:
    (tmp_path / "new.txt").write_text("refund me please\n" * 50 + "my order\nhello\n\n", "utf-8")
    assert classify("suggest", "support", tmp_path / "new.txt", "-n", 2, "-m", minilm, "--json", "-o", tmp_path / "ask.csv") == 0
    found = json.loads(capsys.readouterr().out)["suggestions"]
    assert {each["text"] for each in found} == {"my order", "hello"}
    assert len((tmp_path / "ask.csv").read_text("utf-8-sig").splitlines()) == 3


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["fit", "support", "IN", "--text", "question"], 1, "already"),
        (["fit", "a b", "IN", "--text", "question"], 1, "no name for a classifier"),
        (["fit", "new", "IN", "--text", "question", "--label", "kind"], 1, "there is no column 'kind'"),
        (["fit", "new", "IN", "--text", "question", "--outside", "oos"], 1, "no row has the label 'oos'"),
        (["fit", "new", "IN", "--text", "question", "--label", "question", "--outside", "x"], 1, "no row has the label 'x'"),
        (["predict", "nothing", "IN", "-o", "out.csv"], 1, "there is no classifier 'nothing'; there are support"),
        (["predict", "support", "IN"], 2, "-o OUT"),
        (["predict", "support", "IN", "-o", "out.pdf"], 1, "end it in .csv"),
        (["suggest", "support", "missing.txt"], 1, "there is no file"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_model_is_loaded(fitted, labelled, capsys, args, code, sentence) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a model was loaded")

    assert classify(*[labelled if each == "IN" else each for each in args], load=never) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err


def test_a_damaged_classifier_says_so(fitted, tmp_path, minilm, capsys) -> None:
    (tmp_path / "new.txt").write_text("refund\n", "utf-8")
    weights = fitted / "classifiers" / "support" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert classify("predict", "support", tmp_path / "new.txt", "-o", tmp_path / "out.csv", "-m", minilm) == 1
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["one text", "\n\n\n", "same\n" * 100_000, "😀\n🎉\n", "a" * 1_000_000], ids=lambda text: f"{len(text)}")
def test_odd_input_gets_an_answer_a_row_or_a_clear_error(labelled, own_home, tmp_path, capsys, text) -> None:
    load = lambda *_: fake_model()  # noqa: E731
    assert classify("fit", "support", labelled, "--text", "question", load=load) == 0
    (tmp_path / "new.txt").write_text(text, "utf-8")
    assert classify("predict", "support", tmp_path / "new.txt", "-o", tmp_path / "out.jsonl", load=load) == 0
    assert len((tmp_path / "out.jsonl").read_text("utf-8").splitlines()) == len(text.splitlines())
    capsys.readouterr()
    code = classify("suggest", "support", tmp_path / "new.txt", "-n", 1000, "--json", load=load)
    out, err = capsys.readouterr()
    if text.strip():
        assert (code, len(json.loads(out)["suggestions"])) == (0, len(set(text.splitlines())))
    else:
        assert (code, "holds no text" in err) == (1, True)


def test_one_label_is_nothing_to_sort_by(tmp_path, own_home, capsys) -> None:
    (tmp_path / "in.csv").write_text("text,label\n" + "a,x\n" * 5, "utf-8")
    assert classify("fit", "one", tmp_path / "in.csv", load=lambda *_: fake_model()) == 1
    assert "two or more" in capsys.readouterr().err


def test_figures_of_an_interrupted_fit_are_not_kept(labelled, own_home, monkeypatch) -> None:
    """The folder appears whole or not at all."""

    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("safetensors.numpy.save_file", fail)
    assert classify("fit", "support", labelled, "--text", "question", load=lambda *_: fake_model()) == 1
    assert list((own_home / "classifiers").iterdir()) == []
