"""A classifier as a page shows it: what it says of itself, and what it makes of a text."""

import json
from pathlib import Path

import pytest

from fake_encoder import FakeEncoder
from huiyi.errors import InvalidInput, NotFound
from huiyi.model import Model
from huiyi.workspace.classifying import classify_fit, classify_show, classify_texts

MODEL = Model(FakeEncoder(), "fake")
WORDS = {"refund": "refund money back return charge", "login": "password login account locked reset"}


@pytest.fixture
def fitted(own_home: Path, tmp_path: Path) -> Path:
    lines = [{"text": f"{word} please {n}", "label": label} for label, words in WORDS.items() for n in range(4) for word in words.split()]
    lines.append({"text": "refund my money back now", "label": "login"})
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    classify_fit("support", path, lambda: MODEL, precision=0.7, truncate="none")
    return own_home


def test_it_shows_its_figures_and_labels_that_are_likely_wrong(fitted: Path) -> None:
    shown = classify_show("support")
    assert (shown.rows, shown.classes, shown.label) == (41, ("login", "refund"), "label")
    assert shown.validation is not None
    assert shown.validation.confusion.sum() == shown.validation.rows == 41
    assert shown.validation.accuracy.low <= shown.validation.accuracy.value <= shown.validation.accuracy.high
    assert shown.errors_total == len(shown.errors)
    assert {"line": 41, "label": "login", "suggested": "refund"}.items() <= shown.errors[0].items()


def test_a_text_gets_its_likeliest_classes(fitted: Path) -> None:
    one, other = classify_texts("support", ["money back refund", "reset my password login"], MODEL)
    assert [one.classes[0][0], other.classes[0][0]] == ["refund", "login"]
    assert sum(probability for _, probability in one.classes) == pytest.approx(1, abs=1e-5)
    assert one.verdict in ("sure", "unsure", "out of scope")
    with pytest.raises(InvalidInput, match="no text"):
        classify_texts("support", ["  "], MODEL)
    with pytest.raises(NotFound):
        classify_show("other")
