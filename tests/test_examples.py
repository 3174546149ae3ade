"""The examples run on the real MiniLM weights, and it is our engine that computes in them; mteb gives the figures that are published."""

import csv
import gzip
import runpy
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import huiyi
from conftest import REPOSITORY, minilm_folder, shared_data
from huiyi.model import Model

EXAMPLES = REPOSITORY / "examples"


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with huiyi.load(str(minilm_folder())) as model:
        yield model


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name))


def computed(model: Model) -> int:
    """Texts that went through our engine so far."""
    return model.encoder.scheduler.stats().texts


def test_bertopic_finds_the_four_themes_with_our_vectors(model: Model) -> None:
    bertopic, before = example("bertopic_topics.py"), computed(model)
    topics, found = bertopic["topics"](model)
    assert computed(model) - before >= len(bertopic["DOCUMENTS"])
    themes = [theme for theme, lines in bertopic["THEMES"].items() for _ in lines.replace("\n", "|").split("|")]
    pairs = Counter(zip(themes, found, strict=True))
    assert sum(n for _, n in pairs.most_common(4)) >= 0.9 * len(themes)  # nearly all of a theme in one topic
    assert len({topic for (_, topic), _ in pairs.most_common(4)}) == 4
    before = computed(model)
    music = Counter(topic for theme, topic in zip(themes, found, strict=True) if theme == "music").most_common(1)[0][0]
    assert topics.find_topics("a violin lesson", top_n=1)[0] == [music]
    assert computed(model) == before + 1


def test_keybert_names_what_a_text_is_about_with_our_vectors(model: Model) -> None:
    before = computed(model)
    bees, bread = ([word for word, _ in words] for words in example("keybert_keywords.py")["keywords"](model))
    assert computed(model) > before + 2  # both documents, and every word of them
    assert {"bees", "hive"} <= set(bees)
    assert {"sourdough", "yeast"} <= set(bread)


@pytest.mark.parametrize("given", ["as an argument", "by HUIYI_MODEL"])
@pytest.mark.parametrize(
    ("script", "says"),
    [("keybert_keywords.py", "sourdough"), ("bertopic_topics.py", "'a violin lesson': topic"), ("sklearn_pipeline.py", "TF-IDF")],
)
def test_the_scripts_run_on_a_model(
    script: str, says: str, given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(minilm_folder())
    monkeypatch.setattr(sys, "argv", [script, folder] if given == "as an argument" else [script])
    monkeypatch.setenv("HUIYI_MODEL", "no such model" if given == "as an argument" else folder)
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    assert says in capsys.readouterr().out


def rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.filterwarnings("ignore:The task")
def test_mteb_scores_our_vectors_of_sts_b_as_published(model: Model) -> None:
    """Published for all-MiniLM-L6-v2: 82.03. mteb's own task and evaluator; only the download of the data set is replaced."""
    import mteb
    from datasets import Dataset

    pairs = [row for row in rows(shared_data("pairs/stsb_multi_test.tsv.gz")) if row["lang"] == "en"]
    task = mteb.get_task("STSBenchmark")
    task.dataset, task.data_loaded = {"test": Dataset.from_list([{**row, "score": float(row["score"])} for row in pairs])}, True
    before = computed(model)
    score = 100 * example("mteb_score.py")["score"](model, task)
    assert computed(model) - before == 2 * len(pairs)
    assert score == pytest.approx(82.03, abs=0.2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The task", "ignore:lbfgs failed")
def test_mteb_scores_our_vectors_of_banking77_near_the_published_figure(model: Model) -> None:
    """Published for all-MiniLM-L6-v2: 80 % accuracy (8 examples a label, ten draws; the order of rows decides which)."""
    import mteb
    from datasets import Dataset, DatasetDict

    parts = {part: rows(shared_data(f"intents/banking77_{part}.tsv.gz")) for part in ("train", "test")}
    labels = {label: i for i, label in enumerate(sorted({row["label"] for row in parts["train"]}))}
    task = mteb.get_task("Banking77Classification")
    task.dataset = DatasetDict(
        {part: Dataset.from_list([{**row, "label": labels[row["label"]]} for row in of]) for part, of in parts.items()}
    )
    task.data_loaded = True
    assert 100 * example("mteb_score.py")["score"](model, task) == pytest.approx(80, abs=0.5)
