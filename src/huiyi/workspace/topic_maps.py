"""A map of topics on disk: what a search for topics found at every level, to be looked at, named, merged and sorted without a new search.

Owns one folder: `map.npz` (places, labels of all levels), `about.json` (names, words, examples), a run of `topic_runs` for every level,
which holds the names and merges that people made, and `rows.jsonl`, the rows themselves. Blocks; knows no jobs and no pages.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from huiyi.errors import InvalidInput, NotFound
from huiyi.sources.outputs import replacing, table_format, write_table
from huiyi.sources.readers import Cells, as_text
from huiyi.types import Floats
from huiyi.workspace import topic_runs
from huiyi.workspace.records import Records
from huiyi.workspace.timelines import ordinals, timeline_of

if TYPE_CHECKING:
    from huiyi.tasks.clustering import Topics
    from huiyi.workspace.clustering import ClusteredFile, Topic

FOLDER = ".map"
ARRAYS, ABOUT, ROWS = "map.npz", "about.json", "rows.jsonl"
ADDED = ("topic", "name")
EXAMPLES = 3
Ints = NDArray[np.int64]
Labels = NDArray[np.int32]


@dataclass(frozen=True)
class MapView:
    """A map at one level, as people named and merged it. labels: int32 [points], the topic that each different text is shown in, -1 none.

    period, periods: as in `ClusteredFile`, empty without dates. outliers: rows with a text in no topic.
    """

    level: int
    topics: tuple["Topic", ...]
    labels: Labels
    outliers: int
    period: str
    periods: tuple[str, ...]

    def topic(self, number: int) -> "Topic":
        """NotFound."""
        for topic in self.topics:
            if topic.topic == number:
                return topic
        raise NotFound(f"there is no topic {number} here; it may have been merged into another one")


@dataclass(frozen=True, eq=False)
class TopicMap:
    """place: float32 [points, 2], a point for each different text. where: int64 [rows], the point of each row, -1 without a text.

    counts: int64 [points], rows at each. days: int64 [rows], ordinals of dates, 0 for none; None without a column of dates.
    levels: numbers of topics as they were found, fine to coarse; `level` is the one that was chosen.
    """

    folder: Path
    place: Floats
    where: Ints
    counts: Ints
    days: Ints | None
    labels: tuple[Labels, ...]
    level: int
    about: Mapping[str, Any]
    _views: dict[tuple[int, int], MapView] = field(default_factory=dict)

    @property
    def levels(self) -> tuple[int, ...]:
        return tuple(len(level["names"]) for level in self.about["levels"])

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """All rows, in order, as they were."""
        with (self.folder / ROWS).open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    @cached_property
    def first(self) -> Ints:
        """The first row of every point."""
        found = np.zeros(len(self.place), np.int64)
        inside = np.flatnonzero(self.where >= 0)[::-1]
        found[self.where[inside]] = inside
        return found

    def text(self, point: int) -> str:
        if not 0 <= point < len(self.place):
            raise NotFound(f"there is no point {point} on this map")
        return as_text(self.rows[int(self.first[point])].get(self.about["column"]))

    def message(self, row: int) -> tuple[str, tuple[tuple[str, str], ...]]:
        """The text of a row, and its other columns that hold something, as texts."""
        cells, column = self.rows[row], self.about["column"]
        others = tuple((name, as_text(cells[name])) for name in self.about["columns"] if name not in (column, "id") and name in cells)
        return as_text(cells.get(column)), tuple((name, value) for name, value in others if value)

    def view(self, level: int) -> MapView:
        """InvalidInput for a level that is not there."""
        if not 0 <= level < len(self.labels):
            raise InvalidInput(f"this map has {len(self.labels)} levels, from 0, the finest, on; not {level}")
        path = self._run(level)
        key = level, path.stat().st_mtime_ns
        if key not in self._views:
            for old in [other for other in self._views if other[0] == level]:
                self._views.pop(old, None)
            self._views[key] = self._view(level, topic_runs.topics_list(path))
        return self._views[key]

    def rename(self, level: int, topic: int, name: str) -> MapView:
        """As `topics_rename`; later searches that are compared with this one keep the name."""
        topic_runs.topics_rename(self._run(level), topic, name)
        return self._changed(level)

    def merge(self, level: int, topics: Sequence[int]) -> MapView:
        """Show topics as one, the first; as `topics_merge`."""
        topic_runs.topics_merge(self._run(level), topics)
        return self._changed(level)

    def members(self, view: MapView, topic: int | None, since: date | None = None) -> Ints:
        """Rows of a topic (None: of all, -1: of none), those with a date from `since` on; the newest first, else in order."""
        shown = self._shown(view)
        chosen = self.where >= 0
        if topic is not None:
            chosen &= shown == topic
        if since is not None:
            chosen &= self._days() >= since.toordinal()
        rows = np.flatnonzero(chosen)
        return rows if self.days is None else rows[np.argsort(-self.days[rows], kind="stable")]

    def news(self, view: MapView, since: date) -> dict[int, tuple[int, int]]:
        """For every topic its rows dated before `since`, and from then on. InvalidInput without dates."""
        days, shown = self._days(), self._shown(view)
        count = max((topic.topic for topic in view.topics), default=-1) + 1
        early, late = ((days > 0) & (shown >= 0) & side for side in (days < since.toordinal(), days >= since.toordinal()))
        before, after = (np.bincount(shown[side], minlength=count) for side in (early, late))
        return {topic.topic: (int(before[topic.topic]), int(after[topic.topic])) for topic in view.topics}

    def export(self, view: MapView, path: Path, language: str = "en") -> None:
        """Every row with `topic` and `name` (.csv, .tsv, .jsonl, .xlsx), or a page with the map (.html)."""
        if path.suffix.lower() != ".html":
            table_format(path)
            write_table(path, (*map(_theirs, self.about["columns"]), *ADDED), self._lines(view))
            return
        from huiyi.workspace.topics_report import report_page

        texts = [as_text(self.rows[int(row)].get(self.about["column"])) for row in self.first]
        page = report_page(self._result(view), self.place, view.labels, self.counts, texts, "zh" if language == "zh" else "en")
        with replacing(path) as partial:
            partial.write_text(page, "utf-8")

    def anchors(self, view: MapView) -> dict[int, tuple[float, float]]:
        """Where the name of every topic stands: at the point nearest to the median of its points, which may lie in two clouds."""
        order = np.argsort(view.labels, kind="stable")
        ordered, found = view.labels[order], {}
        for topic in view.topics:
            start, end = np.searchsorted(ordered, [topic.topic, topic.topic + 1])
            own = self.place[order[start:end]]
            x, y = own[np.linalg.norm(own - np.median(own, axis=0), axis=1).argmin()]
            found[topic.topic] = round(float(x), 2), round(float(y), 2)
        return found

    def _run(self, level: int) -> Path:
        return self.folder / f"level-{level}.npz"

    def _changed(self, level: int) -> MapView:
        """What a person worked on last is what later searches are compared with."""
        beside = self.folder.parent / "topics.npz"
        if beside.is_file():
            with replacing(beside) as partial:
                shutil.copyfile(self._run(level), partial)
        return self.view(level)

    def _days(self) -> Ints:
        if self.days is None:
            raise InvalidInput("this map has no dates; find the topics again and choose the column of dates")
        return self.days

    def _shown(self, view: MapView) -> Labels:
        shown: Labels = np.where(self.where >= 0, view.labels[np.maximum(self.where, 0)], -1).astype(np.int32)
        return shown

    def _view(self, level: int, run: topic_runs.TopicRun) -> MapView:
        from huiyi.workspace.clustering import Topic

        about = self.about["levels"][level]
        found = self.labels[level]
        labels = np.where(found >= 0, np.array(run.into, np.int32)[np.maximum(found, 0)], -1).astype(np.int32)
        shown = np.where(self.where >= 0, labels[np.maximum(self.where, 0)], -1).astype(np.int32)
        times = None if self.days is None else timeline_of(self.days, shown, len(run.into))
        filled = max(int((self.where >= 0).sum()), 1)
        topics = tuple(
            Topic(
                topic=one.topic, name=one.name, rows=one.rows, share=one.rows / filled,
                stability=about["stability"][one.topic] if len(one.parts) == 1 else None, words=tuple(about["words"][one.topic]),
                examples=tuple(about["examples"][one.topic]), language=about["languages"][one.topic], broader=-1, status="",
                trend=times.trends[one.topic] if times else None, per_period=times.counts[one.topic] if times else (),
            )
            for one in run.shown
            if one.rows
        )  # fmt: skip
        ordered = tuple(sorted(topics, key=lambda topic: (-topic.rows, topic.topic)))
        outliers = int(((self.where >= 0) & (shown < 0)).sum())
        return MapView(level, ordered, labels, outliers, times.period if times else "", times.periods if times else ())

    def _lines(self, view: MapView) -> Iterator[Cells]:
        names = {topic.topic: topic.name for topic in view.topics}
        for row, topic in zip(self.rows, self._shown(view).tolist(), strict=True):
            yield {**{_theirs(column): value for column, value in row.items()}, "topic": topic, "name": names.get(topic, "")}

    def _result(self, view: MapView) -> "ClusteredFile":
        from huiyi.workspace.clustering import ClusteredFile

        about = self.about
        return ClusteredFile(
            source=about["source"], column=about["column"], rows=len(self.where), distinct=len(self.place),
            empty=int((self.where < 0).sum()), outliers=view.outliers, topics=view.topics, levels=self.levels, about=about["about"],
            recall=about["recall"], period=view.period, periods=view.periods,
            undated=0 if self.days is None else int((self.days == 0).sum()), output=None, report=None, table=None, run=None,
            model=about["model"], seconds=0.0,
        )  # fmt: skip


def _theirs(column: str) -> str:
    return f"input_{column}" if column in ADDED else column


def open_map(folder: Path) -> TopicMap:
    """The map that `write` left in `folder`. NotFound, InvalidInput."""
    try:
        about = json.loads((folder / ABOUT).read_text("utf-8"))
        with np.load(folder / ARRAYS, allow_pickle=False) as held:
            labels = tuple(held[f"labels{level}"] for level in range(len(about["levels"])))
            days = held["days"] if "days" in held.files else None
            return TopicMap(folder, held["place"], held["where"], held["counts"], days, labels, about["level"], about)
    except FileNotFoundError:
        raise NotFound("there is no map of topics any more; find the topics again") from None
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(f"the map of topics in {folder} is damaged ({type(error).__name__}); find the topics again") from error


def write(
    folder: Path,
    records: Records,
    found: "Topics",
    chosen: "Sequence[Topic]",
    texts: Sequence[str],
    where: Ints,
    counts: Ints,
    place: Floats,
    dates: Sequence[str] | None,
    space: str,
    model: str,
    min_size: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """All levels of `found`, whose own level has the topics `chosen`. texts, counts, place: of the different texts; where: of rows."""
    from huiyi.tasks.clustering import at_level
    from huiyi.tasks.topics import central, name_levels
    from huiyi.workspace.clustering import Topic

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    levels = _telling([at_level(found, level, counts, min_size) for level in range(len(found.levels))], found.level)
    chosen_level = next(place for place, one in enumerate(levels) if one.level == found.level)
    say(f"naming topics at {len(levels)} levels")
    named = name_levels(texts, [one.labels for one in levels], counts)
    known = {topic.topic: topic for topic in chosen}
    told = []
    for level, (topics, names) in enumerate(zip(levels, named, strict=True)):
        near = central(topics.rows[topics.where], topics.labels, topics.centres, EXAMPLES)
        unique = topic_runs.unique([one.name for one in names], {})
        shown = [
            known[number]
            if level == chosen_level and number in known
            else Topic(
                topic=number, name=unique[number], rows=int(topics.sizes[number]), share=0.0, stability=None, words=one.words,
                examples=tuple(texts[row] for row in near[number]), language=one.language, broader=-1, status="", trend=None, per_period=(),
            )
            for number, one in enumerate(names)
        ]  # fmt: skip
        topic_runs.write(folder / f"level-{level}.npz", topics, shown, space, model)
        told.append(
            {
                "names": [one.name for one in shown], "words": [one.words for one in shown], "examples": [one.examples for one in shown],
                "languages": [one.language for one in shown], "stability": [one.stability for one in shown],
            }
        )  # fmt: skip
    arrays: dict[str, NDArray[Any]] = {"place": place, "where": where, "counts": counts}
    arrays |= {f"labels{level}": one.labels for level, one in enumerate(levels)}
    if dates is not None:
        arrays["days"] = ordinals(dates)
    with replacing(folder / ARRAYS) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    write_table(folder / ROWS, records.columns, iter(records.rows))
    about = {
        "source": records.about, "name": records.name, "column": records.column, "columns": records.columns, "model": model,
        "level": chosen_level, "levels": told, "about": found.about, "recall": found.graph.recall,
    }  # fmt: skip
    with replacing(folder / ABOUT) as partial:
        partial.write_text(json.dumps(about, ensure_ascii=False), "utf-8", "replace")


def _telling(levels: "Sequence[Topics]", chosen: int) -> "list[Topics]":
    """Without finer levels that fall apart into topics too small to stand, and without one topic for all, unless it was chosen."""
    kept = [levels[chosen]]
    for one in levels[chosen + 1 :]:
        if 1 < len(one.sizes) < len(kept[-1].sizes):
            kept.append(one)
    for one in reversed(levels[:chosen]):
        if len(one.sizes) > len(kept[0].sizes):
            kept.insert(0, one)
    return kept
