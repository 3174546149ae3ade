"""A map of topics, as a person works on it: other levels without a new search, names and merges that stay, news, exports."""

import csv
import json
from datetime import date
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from fake_encoder import FakeEncoder
from huiyi.errors import Conflict, InvalidInput, NotFound
from huiyi.model import Model
from huiyi.workspace import topics_list
from huiyi.workspace.clustering import cluster_file
from huiyi.workspace.topic_maps import FOLDER, TopicMap, open_map

KINDS = {
    "payment": "card payment declined refund money charge",
    "parcel": "parcel delivery late courier address lost",
    "花呗": "花呗 逾期 还款 征信 账单 利息",
    "login": "password login account locked reset email",
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Login trouble is younger than all else; one row has no text."""
    random = np.random.default_rng(3)
    lines = []
    for kind, words in KINDS.items():
        for n in range(25):
            day = f"2026-0{3 if kind == 'login' else 1}-{1 + n % 28:02d}"
            lines.append({"text": " ".join(random.choice(words.split(), 4, replace=False)) + f" {n}", "when": day, "topic": kind})
    lines.append({"text": " ", "when": "", "topic": ""})
    lines.append(lines[0])
    out = tmp_path_factory.mktemp("searched")
    source = out / "in.jsonl"
    source.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    cluster_file(
        source, lambda: Model(FakeEncoder(), "fake"), save=out / "topics.npz", map_folder=out / FOLDER, date="when", outliers=False,
        truncate="none",
    )  # fmt: skip
    return out


@pytest.fixture
def folder(searched: Path, tmp_path: Path) -> Path:
    """Of a map that may be changed."""
    return Path(copytree(searched, tmp_path / "out")) / FOLDER


@pytest.fixture
def found(folder: Path) -> TopicMap:
    return open_map(folder)


def test_every_level_shows_all_rows(found: TopicMap) -> None:
    assert len(found.levels) >= 2
    assert list(found.levels) == sorted(found.levels, reverse=True)
    for level in range(len(found.levels)):
        view = found.view(level)
        assert sum(topic.rows for topic in view.topics) + view.outliers == 101
        assert len({topic.name for topic in view.topics}) == len(view.topics)
        assert all(topic.words and topic.examples for topic in view.topics)
        assert [topic.rows for topic in view.topics] == sorted((topic.rows for topic in view.topics), reverse=True)
    chosen = found.view(found.level)
    assert len(chosen.topics) == 4
    assert chosen.topics[0].stability is not None
    with pytest.raises(InvalidInput, match="levels"):
        found.view(99)


def test_the_chosen_level_is_what_the_search_said(folder: Path, found: TopicMap) -> None:
    run = topics_list(folder.parent / "topics.npz")
    view = found.view(found.level)
    assert {topic.topic: topic.name for topic in view.topics} == run.names
    assert {topic.topic: topic.rows for topic in view.topics} == dict(enumerate(run.rows))


def test_members_are_the_rows_of_a_topic_newest_first(found: TopicMap) -> None:
    view = found.view(found.level)
    topic = next(topic for topic in view.topics if "花呗" in topic.words)
    rows = [found.rows[row] for row in found.members(view, topic.topic)]
    assert {row["topic"] for row in rows} == {"花呗"}
    assert len(rows) == topic.rows
    assert [row["when"] for row in rows] == sorted((row["when"] for row in rows), reverse=True)
    assert len(found.members(view, None)) == 101
    assert len(found.members(view, topic.topic, date(2026, 1, 20))) == sum(row["when"] >= "2026-01-20" for row in rows)


def test_points_are_texts(found: TopicMap) -> None:
    texts = {found.text(point) for point in range(len(found.place))}
    assert len(texts) == len(found.place) == 100
    assert " " not in texts
    with pytest.raises(NotFound):
        found.text(100)


def test_what_is_new_since_a_date(found: TopicMap) -> None:
    view = found.view(found.level)
    news = found.news(view, date(2026, 2, 15))
    new = [topic for topic in view.topics if news[topic.topic][0] == 0]
    assert len(new) == 1
    assert "login" in new[0].words
    assert news[new[0].topic] == (0, 25)
    assert view.period == "week" or view.period == "day"
    assert sum(new[0].per_period) == 25


def test_names_and_merges_stay_and_are_what_later_searches_compare_with(folder: Path, found: TopicMap) -> None:
    level = found.level
    one, other = (topic.topic for topic in found.view(level).topics[:2])
    rows = sum(topic.rows for topic in found.view(level).topics[:2])
    assert found.rename(level, one, "Money <b>").topic(one).name == "Money <b>"
    merged = found.merge(level, [one, other])
    assert merged.topic(one).rows == rows
    assert len(merged.topics) == 3
    with pytest.raises(NotFound):
        merged.topic(other)
    with pytest.raises(Conflict):
        found.rename(level, merged.topics[1].topic, "Money <b>")
    again = open_map(folder).view(level)
    assert again.topic(one).name == "Money <b>"
    assert (again.labels == merged.labels).all()
    assert topics_list(folder.parent / "topics.npz").names[one] == "Money <b>"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".html"])
def test_exports_hold_what_is_shown(found: TopicMap, tmp_path: Path, suffix: str) -> None:
    view = found.rename(found.level, found.view(found.level).topics[0].topic, "Mine")
    path = tmp_path / f"export{suffix}"
    found.export(view, path)
    if suffix == ".html":
        assert "Mine" in path.read_text("utf-8")
        return
    with path.open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file)) if suffix == ".csv" else [json.loads(line) for line in file]
    assert len(rows) == 102
    assert sum(row["name"] == "Mine" for row in rows) == view.topics[0].rows
    assert {row["input_topic"] for row in rows if row["name"] == "Mine"} <= {*KINDS}


def test_a_map_that_is_gone_or_damaged_says_so(folder: Path) -> None:
    (folder / "map.npz").write_bytes(b"nothing")
    with pytest.raises(InvalidInput, match="damaged"):
        open_map(folder)
    with pytest.raises(NotFound, match="find the topics again"):
        open_map(folder / "elsewhere")
