"""Comparing: two texts, a short list, a file of pairs; refused before a model is loaded where it cannot end well."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fake_encoder import FakeEncoder
from fake_model import fake_model
from huiyi.errors import Conflict, InvalidInput
from huiyi.model import Model
from huiyi.workspace import similarity, similarity_file, similarity_list

WORDS = ["order", "refund", "退款", "delivery", "password", "发票", "", "-", "where is my parcel?"]


def texts_of(rows: int) -> list[str]:
    return [" ".join(WORDS[(row * step) % len(WORDS)] for step in (1, 2, 5)) + str(row) for row in range(rows)]


def jsonl(path: Path, rows: int) -> Path:
    path.write_text(
        "".join(json.dumps({"id": n, "text": text}, ensure_ascii=False) + "\n" for n, text in enumerate(texts_of(rows))), "utf-8"
    )
    return path


def never() -> Model:
    raise AssertionError("a model was loaded for a job that cannot end well")


def test_similarity_is_the_cosine_of_every_two_texts() -> None:
    texts = ["refund my order", "refund the order", "weather in autumn"]
    made = similarity(texts, lambda: Model(FakeEncoder(), "fake"), truncate="none")
    vectors_ = FakeEncoder().embed(texts).vectors
    np.testing.assert_allclose(made.scores, vectors_ @ vectors_.T, atol=1e-6)
    assert made.texts == tuple(texts)
    assert made.scores.max() <= 1
    assert made.scores[0, 1] > made.scores[0, 2]


@pytest.mark.parametrize("count", [0, 1, 31])
def test_a_matrix_is_for_a_short_list(tmp_path, count) -> None:
    with pytest.raises(InvalidInput, match=f"2 to 30 texts, not {count}"):
        similarity(["x"] * count, never)


def test_a_list_in_a_file_is_compared(tmp_path) -> None:
    source = jsonl(tmp_path / "in.jsonl", 5)
    assert similarity_list(source, fake_model).texts == tuple(texts_of(5))
    with pytest.raises(InvalidInput, match=r"30 texts at most and in.jsonl has 31"):
        similarity_list(jsonl(source, 31), never)


def test_pairs_get_a_score_each_in_file_order(tmp_path) -> None:
    texts = texts_of(1001)
    rows = [{"n": n, "q": one, "r": other} for n, (one, other) in enumerate(pairwise(texts))]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = similarity_file(source, tmp_path / "out.jsonl", fake_model, a="q", b="r")
    made = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    vectors_ = fake_model().encode(texts)
    scores = [row.pop("score") for row in made]
    np.testing.assert_allclose(scores, (vectors_[:-1] * vectors_[1:]).sum(1), atol=2e-6)
    assert made == rows
    assert (result.rows, result.columns, result.score) == (1000, ("q", "r"), "score")
    assert result.mean == pytest.approx(np.mean(scores), abs=1e-6)


def test_pairs_do_not_write_over_a_column_or_a_file(tmp_path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("sentence1,sentence2,score\na,b,5\n")
    with pytest.raises(Conflict, match=r"has a column 'score' already; .* --score"):
        similarity_file(source, tmp_path / "out.csv", never)
    similarity_file(source, tmp_path / "out.csv", fake_model, score="cosine")
    assert (tmp_path / "out.csv").read_text("utf-8-sig").startswith("sentence1,sentence2,score,cosine\n")
    with pytest.raises(Conflict, match=r"is there already"):
        similarity_file(source, tmp_path / "out.csv", never, score="cosine")
