"""`huiyi similarity --calibrated`: what a score means, for the model it was learned on."""

import csv
import json

import numpy as np
import pytest

from fake_model import fake_model
from huiyi.cli.app import main
from huiyi.training.calibration import Calibration, fit


def similarity(*args: object, load=lambda *_, **__: fake_model()) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["similarity", *map(str, args)], load=load)
    return ended.value.code


@pytest.fixture
def calibration(tmp_path) -> Calibration:
    """In the file calibration.json: below 0.8 one in ten is the same, above it nine are."""
    scores = np.linspace(0.6, 1, 2000)
    labels = np.where(np.arange(2000) % 10 == 0, scores < 0.8, scores >= 0.8).astype(int)
    made = fit(scores, labels, about={"model": "fake", "space": "fake"})
    (tmp_path / "calibration.json").write_text(made.to_json(), "utf-8")
    return made


def test_two_texts(calibration, tmp_path, capsys) -> None:
    one, other = fake_model().encode(["花呗", "借呗"])
    score = float(one @ other)
    for place in (tmp_path, tmp_path / "calibration.json"):
        assert similarity("花呗", "借呗", "--calibrated", place) == 0
        verdict = "the same" if score >= calibration.threshold else "not the same"
        said = f"{score:.4f}, probability {calibration.probability(score):.2f}: {verdict} (threshold {calibration.threshold:.4f})\n"
        assert capsys.readouterr().out == said
    assert similarity("a", "a", "--calibrated", tmp_path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["probabilities"][0][1] == pytest.approx(0.9, abs=0.05)
    assert found["threshold"] == pytest.approx(0.8, abs=0.01)
    assert similarity("a", "b", "--json") == 0
    assert json.loads(capsys.readouterr().out)["probabilities"] is None


def test_a_matrix_is_of_probabilities(calibration, tmp_path, capsys) -> None:
    assert similarity("a", "b", "a", "--calibrated", tmp_path) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[2:] == [f"{_of(calibration, 'a', other):.2f}" for other in "aba"]


def _of(calibration: Calibration, a: str, b: str) -> float:
    one, other = fake_model().encode([a, b])
    return float(calibration.probability(float(one @ other)))


def test_a_file_gets_two_columns_more(calibration, tmp_path, capsys) -> None:
    (tmp_path / "in.csv").write_text("sentence1,sentence2\na,a\na,b\n", "utf-8")
    assert similarity("--pairs", tmp_path / "in.csv", "-o", tmp_path / "out.csv", "--calibrated", tmp_path) == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8-sig", newline="")))
    assert list(rows[0]) == ["sentence1", "sentence2", "score", "probability", "same"]
    assert rows[0]["same"] == "1"
    assert float(rows[1]["probability"]) == pytest.approx(_of(calibration, "a", "b"), abs=1e-4)
    assert [int(row["same"]) for row in rows] == [float(row["score"]) >= calibration.threshold for row in rows]
    assert f"{sum(int(row['same']) for row in rows)} taken for the same" in capsys.readouterr().out
    (tmp_path / "in.csv").write_text("sentence1,sentence2,same\na,a,1\n", "utf-8")
    assert similarity("--pairs", tmp_path / "in.csv", "-o", tmp_path / "out.csv", "--calibrated", tmp_path, "--force") == 1
    assert "there is a column 'same' already, which is to be added" in capsys.readouterr().err


def test_what_does_not_fit_is_refused(calibration, tmp_path, capsys) -> None:
    other = json.loads(calibration.to_json()) | {"space": "elsewhere", "model": "bge"}
    (tmp_path / "other.json").write_text(json.dumps(other), "utf-8")
    assert similarity("a", "b", "--calibrated", tmp_path / "other.json") == 1
    assert "the calibration was learned on bge, and scores of fake mean something else" in capsys.readouterr().err
    assert similarity("a", "b", "--calibrated", tmp_path / "none.json") == 1
    assert "there is no calibration" in capsys.readouterr().err
    (tmp_path / "bad.json").write_text("{}", "utf-8")
    assert similarity("a", "b", "--calibrated", tmp_path / "bad.json") == 1
    assert "bad.json is not a calibration" in capsys.readouterr().err


def test_what_evaluate_keeps_similarity_uses(tmp_path, capsys) -> None:
    lines = [f"text {number}\ttext {number + number % 3}\t{int(number % 3 == 0)}" for number in range(90)]
    (tmp_path / "dev.tsv").write_text("\n".join(["sentence1\tsentence2\tlabel", *lines]), "utf-8")
    kept = str(tmp_path / "c.json")
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "pairs", str(tmp_path / "dev.tsv"), "--save-calibration", kept, "--json"], load=lambda *_, **__: fake_model())
    assert ended.value.code == 0
    out, err = capsys.readouterr()
    assert "use them with huiyi similarity --calibrated" in err
    assert similarity("text 1", "text 1", "--calibrated", tmp_path / "c.json") == 0
    assert f"the same (threshold {json.loads(out)['threshold']['value']:.4f})" in capsys.readouterr().out
