"""`huiyi similarity` as a person types it: two texts, a few, a list, a file of pairs."""

import csv
import json
import re

import numpy as np
import openpyxl
import pytest

from conftest import shared_data
from fake_model import fake_model
from huiyi.cli.app import main


def similarity(*args: object, load=lambda *_: fake_model()) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["similarity", *map(str, args)], load=load)
    return ended.value.code


def cosine(a: str, b: str) -> float:
    one, other = fake_model().encode([a, b])
    return float(one @ other)


def test_two_texts_give_one_number(capsys) -> None:
    assert similarity("怎么还花呗", "refund") == 0
    assert capsys.readouterr() == (f"{cosine('怎么还花呗', 'refund'):.4f}\n", "")


def test_json_holds_the_matrix(capsys) -> None:
    assert similarity("a", "b", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["texts"] == ["a", "b"]
    np.testing.assert_allclose(result["scores"], [[1, cosine("a", "b")], [cosine("a", "b"), 1]], atol=1e-5)


def test_a_few_texts_give_a_table_that_is_not_cut(capsys) -> None:
    texts = [f"text [red] number {n}" for n in range(30)]
    assert similarity(*texts) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["text", *map(str, range(1, 31))]
    for number, line in enumerate(lines):
        scores = re.findall(r"-?\d\.\d\d", line)
        assert scores == [f"{cosine(texts[number], other):.2f}" for other in texts]
        assert texts[number] in line
    assert similarity(*texts, "one more") == 1
    assert "2 to 30 texts" in capsys.readouterr().err


def test_a_list_in_a_file(tmp_path, capsys) -> None:
    (tmp_path / "in.txt").write_bytes("一\n二\n三\n".encode("gb18030"))
    assert similarity("--list", tmp_path / "in.txt", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["texts"] == ["一", "二", "三"]
    assert "gb18030" in err


ROWS = [["sentence1", "sentence2", "label"], ["=1+1", "退款", "-1"], ["b", "b", "1"]]


def test_pairs_get_a_score_column_for_excel(tmp_path, capsys) -> None:
    with (tmp_path / "in.csv").open("w", encoding="gb18030", newline="") as file:
        csv.writer(file).writerows(ROWS)
    assert similarity("--pairs", tmp_path / "in.csv", "-o", tmp_path / "out.csv") == 0
    assert "2 pairs with the column 'score', mean " in capsys.readouterr().out
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8-sig", newline="")))
    assert [row["sentence1"] for row in rows] == ["'=1+1", "b"]
    assert [float(row["score"]) for row in rows] == pytest.approx([cosine("=1+1", "退款"), 1], abs=1e-5)
    assert similarity("--pairs", tmp_path / "in.csv", "-o", tmp_path / "out.xlsx", "--score", "cosine", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["rows"], result["columns"], result["score"]) == (2, ["sentence1", "sentence2"], "cosine")
    cells = list(openpyxl.load_workbook(tmp_path / "out.xlsx").active.iter_rows(values_only=True))
    assert cells[0] == ("sentence1", "sentence2", "label", "cosine")
    assert isinstance(cells[1][3], float)
    assert cells[1][0] == "'=1+1"


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "give texts, or --list FILE, or --pairs FILE"),
        (["a", "b", "--list", "in.txt"], "give texts, or --list FILE, or --pairs FILE"),
        (["--pairs", "in.csv"], "--pairs needs a file to write: -o OUT"),
        (["a", "b", "-o", "out.csv"], "--output means nothing here"),
        (["a", "b", "--text", "x"], "--text means nothing here"),
        (["--list", "in.txt", "--a", "x"], "--a means nothing here"),
        (["--pairs", "in.csv", "-o", "out.csv", "--text", "x"], "--text means nothing here"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(capsys, args, sentence) -> None:
    assert similarity(*args) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert sentence in err


def test_bytes_that_are_no_text_are_refused(capsys, minilm) -> None:
    assert similarity("\udcff", "b", "-m", minilm, load=None) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


def test_scores_of_the_real_model_follow_people(tmp_path, minilm) -> None:
    """STS-B's English test split: 82.0 is the published figure of all-MiniLM-L6-v2 (Spearman)."""
    import gzip

    from scipy.stats import spearmanr

    lines = gzip.decompress(shared_data("pairs/stsb_multi_test.tsv.gz").read_bytes()).decode().splitlines(keepends=True)
    (tmp_path / "in.tsv").write_text("".join(line for line in lines if line.startswith(("lang\t", "en\t"))), "utf-8")
    command = ["--pairs", tmp_path / "in.tsv", "-o", tmp_path / "out.jsonl", "--score", "cosine", "-m", minilm]
    assert similarity(*command, load=None) == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    correlation = spearmanr([float(row["score"]) for row in rows], [row["cosine"] for row in rows]).statistic
    assert abs(100 * correlation - 82.0) < 0.2


def test_what_differs_in_near_texts_is_said(capsys) -> None:
    assert similarity("退款要3天", "退款不要5天") == 0
    err = capsys.readouterr().err
    assert "texts 1 and 2 differ in a number: 3天 / 5天" in err
    assert "differ in a negation: – / 不" in err
    assert similarity("退款要3天", "退款要5天", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["remarks"] == ["texts 1 and 2 differ in a number: 3天 / 5天"]
    assert err == ""
