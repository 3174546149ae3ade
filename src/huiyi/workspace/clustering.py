"""The topics of a file or a collection: found, named, followed over time and from run to run, written for people and for programs.

Equal texts are one node that counts as often as it is there; texts go through the model in the order of their digests, so that the order
of rows changes nothing. Empty texts belong to no topic. Everything that can be refused is refused before a model is loaded.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from huiyi.errors import InvalidInput, NotFound
from huiyi.sources.outputs import replacing, require_place, table_format, write_table
from huiyi.sources.readers import Cells, as_text
from huiyi.sources.tables import Format
from huiyi.types import Floats
from huiyi.workspace import topic_maps, topic_runs
from huiyi.workspace.naming import Namer
from huiyi.workspace.records import Records, embed_texts, is_collection, read_records
from huiyi.workspace.texts import Loader, Progress, Truncate
from huiyi.workspace.timelines import timeline
from huiyi.workspace.topics_report import report_page

if TYPE_CHECKING:
    from huiyi.tasks.clustering import Topics

Method = Literal["graph", "kmeans", "hdbscan"]
EXAMPLES = 3
ADDED = ("topic", "name")
TOPIC_COLUMNS = ("topic", "name", "rows", "share", "stability", "words", "examples", "language", "broader", "status", "trend")


@dataclass(frozen=True)
class Topic:
    """rows, share: of the rows with a text. words: what sets it apart, best first. examples: its most central texts. stability: 0 to 1,
    None where rows were sorted into topics of an earlier run.

    broader: number of the topic one level up, -1 where there is none. status: "new" or "known" beside an earlier run, else "".
    trend: rows in the later half of the time over those in the earlier one, None without dates. per_period: rows in each period.
    """

    topic: int
    name: str
    rows: int
    share: float
    stability: float | None
    words: tuple[str, ...]
    examples: tuple[str, ...]
    language: str
    broader: int
    status: str
    trend: float | None
    per_period: tuple[int, ...]


@dataclass(frozen=True)
class ClusteredFile:
    """outliers: rows with a text in no topic. levels: numbers of topics, fine to coarse. about: how topics were found, a sentence.

    periods: starts of the periods of `per_period`, as dates; undated: rows whose date could not be read. recall: of the kNN graph.
    """

    source: str
    column: str
    rows: int
    distinct: int
    empty: int
    outliers: int
    topics: tuple[Topic, ...]
    levels: tuple[int, ...]
    about: str
    recall: float
    period: str
    periods: tuple[str, ...]
    undated: int
    output: str | None
    report: str | None
    table: str | None
    run: str | None
    model: str
    seconds: float


def cluster_file(
    source: str | Path,
    load: Loader,
    *,
    output: Path | None = None,
    report_file: Path | None = None,
    table: Path | None = None,
    save: Path | None = None,
    map_folder: Path | None = None,
    since: Path | None = None,
    assign_to: Path | None = None,
    text: str | None = None,
    date: str | None = None,
    method: Method = "graph",
    granularity: float | None = None,
    n_topics: int | None = None,
    min_size: int | None = None,
    outliers: bool = True,
    namer: Namer | None = None,
    language: Literal["en", "zh"] | None = None,
    truncate: Truncate = "end",
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> ClusteredFile:
    """The topics of the texts of `source`, a file, - for standard input, or a collection's name.

    output: every row in order with `topic` (-1: in none) and `name`; report_file: a page with a map, .html; table: a line a topic. save:
    keep this run, .npz, for `since` (names and merges of that run are kept, what it did not have is new) and `assign_to` (rows go to
    that run's topics; none are looked for). map_folder: keep all levels there, as `topic_maps` does. date: a column,
    for topics over time. n_topics, granularity, method, min_size, outliers: as in `tasks.cluster`. language: of the page; by default
    that of most topics. Raises InvalidInput, NotFound, Conflict, ModelFailed.
    """
    if since and assign_to:
        raise InvalidInput("compare with an earlier run (--since) or use its topics (--assign), not both")
    if assign_to and save:
        raise InvalidInput("sorting into the topics of an earlier run finds none of its own; leave out --save")
    if assign_to and (method != "graph" or granularity or n_topics or min_size):
        raise InvalidInput("with --assign no topics are looked for; leave out what says how to look")
    for path, suffix in ((output, None), (table, None), (report_file, ".html"), (save, ".npz")):
        _require(path, suffix, overwrite)
    earlier = topic_runs.topics_list(since or assign_to) if since or assign_to else None  # type: ignore[arg-type]
    held = _collection(str(source), text, say) if format is None and is_collection(source) else None
    records = held.records if held else read_records(source, text=text, format=format, encoding=encoding, sheet=sheet, say=say)
    dates = records.cells(date) if date else None
    texts, where, counts = _nodes(records.texts)
    if not texts:
        raise InvalidInput(f"{records.name} has no text in the column {records.column!r}")
    began = monotonic()
    if held:
        space, model_name, rows = held.space, held.model, held.vectors[_first(where, len(texts))]
    else:
        model, began = load(), monotonic()
        space, model_name = model.encoder.space, model.name
    if earlier:
        topic_runs.require_space(earlier, space)
    if not held:
        rows = embed_texts(texts, model, truncate, report)
    from huiyi.tasks import cluster
    from huiyi.tasks.clustering import gathered
    from huiyi.tasks.topics import central, name_topics

    say(f"{len(texts):,} different texts have vectors; looking for topics")
    if assign_to and earlier:
        found = gathered(rows, earlier.sort(rows), counts)
    else:
        found = cluster(rows, method, granularity, n_topics, outliers=outliers, min_size=min_size, weights=counts)
    matched = topic_runs.matched(found, rows, counts, earlier) if since and earlier else None
    if matched:
        found = matched.topics
    labels = found.labels
    named = name_topics(texts, labels, counts)
    near = central(_own(found), labels, found.centres, EXAMPLES)
    names = [one.name for one in named]
    if namer:
        names = namer.names([(one.words, [texts[row] for row in rows_]) for one, rows_ in zip(named, near, strict=True)], names, say)
    kept = earlier.names if assign_to and earlier else matched.names if matched else {}
    names = topic_runs.unique([kept.get(topic, name) for topic, name in enumerate(names)], kept)
    every = np.where(where >= 0, labels[np.maximum(where, 0)], -1).astype(np.int32)
    times = timeline(dates, every, len(names)) if dates else None
    filled = int((where >= 0).sum())
    topics = tuple(
        Topic(
            topic=topic,
            name=names[topic],
            rows=int(found.sizes[topic]),
            share=float(found.sizes[topic]) / filled,
            stability=None if np.isnan(found.stability[topic]) else float(found.stability[topic]),
            words=one.words,
            examples=tuple(texts[row] for row in near[topic]),
            language=one.language,
            broader=_broader(found, topic),
            status="" if not matched else "known" if topic in matched.names else "new",
            trend=times.trends[topic] if times else None,
            per_period=times.counts[topic] if times else (),
        )
        for topic, one in enumerate(named)
        if found.sizes[topic]
    )
    result = ClusteredFile(
        source=records.about, column=records.column, rows=len(records), distinct=len(texts), empty=len(records) - filled,
        outliers=int(((where >= 0) & (every < 0)).sum()), topics=topics, levels=tuple(int(level.max()) + 1 for level in found.levels),
        about=found.about, recall=found.graph.recall, period=times.period if times else "", periods=times.periods if times else (),
        undated=times.undated if times else 0, output=_name(output), report=_name(report_file), table=_name(table), run=_name(save),
        model=model_name, seconds=0.0,
    )  # fmt: skip
    if output:
        _write_rows(output, records, every, names, found.outlier_scores, where)
    if table:
        write_table(table, TOPIC_COLUMNS, map(_topic_cells, topics))
    if save:
        topic_runs.write(save, found, topics, space, model_name)
    if report_file or map_folder:
        say("drawing the map")
        from huiyi.tasks.layout import layout

        place = layout(found.rows, found.graph)[found.where]
    if map_folder:
        topic_maps.write(map_folder, records, found, topics, texts, where, counts, place, dates, space, model_name, min_size, say)
    if report_file:
        page = report_page(result, place, labels, counts, texts, language or _page_language(topics))
        with replacing(report_file) as partial:
            partial.write_text(page, "utf-8")
    return replace(result, seconds=monotonic() - began)


def _require(path: Path | None, suffix: str | None, overwrite: bool) -> None:
    if path is None:
        return
    if suffix is None:
        table_format(path)
    elif path.suffix.lower() != suffix:
        raise InvalidInput(f"{path} must end in {suffix}")
    require_place(path, overwrite)


@dataclass(frozen=True)
class _Held:
    """What a collection holds; its vectors are used as they are, and no model is loaded."""

    records: Records
    vectors: Floats
    space: str
    model: str


def _collection(name: str, text: str | None, say: Callable[[str], None]) -> _Held:
    from huiyi.workspace.collections import collection_list, open_collection

    if text is not None:
        raise InvalidInput("a collection knows which of its fields is the text; leave out --text")
    known = [one.name for one in collection_list().collections]
    if name not in known:
        there = f"there are {', '.join(known)}" if known else "there are none yet"
        raise NotFound(f"there is no collection {name!r} ({there}); for a file, give its path, with its suffix or a slash in it")
    with open_collection(name) as collection:
        held, facts = collection.contents(), collection.facts
    about = f"{name}: collection, {len(held.ids):,} records"
    say(about)
    fields = dict.fromkeys(field for one in held.metadata for field in one)
    records = Records(
        name=name,
        about=about,
        column="text",
        columns=("id", "text", *(field for field in fields if field not in ("id", "text"))),
        rows=tuple({**more, "id": id_, "text": each} for id_, each, more in zip(held.ids, held.texts, held.metadata, strict=True)),
        texts=held.texts,
        numbers=tuple(range(1, len(held.ids) + 1)),
    )
    return _Held(records, held.vectors, facts.space, facts.model)


def _first(where: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The first row of every node."""
    first = np.full(count, -1, np.int64)
    inside = np.flatnonzero(where >= 0)[::-1]
    first[where[inside]] = inside
    return first


def _nodes(texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Different texts in the order of their characters, every row's place among them (-1: no text), and how often each is there."""
    distinct = sorted({text for text in texts if text.strip()})
    place = {text: row for row, text in enumerate(distinct)}
    where = np.array([place.get(text, -1) for text in texts], np.int64)
    return distinct, where, np.bincount(where[where >= 0], minlength=len(distinct))


def _own(found: "Topics") -> Floats:
    """The rows on which topics were found, one a text."""
    own: Floats = found.rows[found.where]
    return own


def _broader(found: "Topics", topic: int) -> int:
    if found.level + 1 >= len(found.levels):
        return -1
    rows = np.flatnonzero(found.labels == topic)
    return int(found.levels[found.level + 1][rows[0]]) if len(rows) else -1


def _write_rows(
    output: Path, records: Records, every: NDArray[np.int32], names: Sequence[str], scores: Floats, where: NDArray[np.int64]
) -> None:
    """A column of the input that is named as one of ours gets `input_` in front."""
    ours = (*ADDED, "outlier_score")
    theirs = {column: f"input_{column}" if column in ours else column for column in records.columns}

    def lines() -> Iterator[Cells]:
        for row, topic in enumerate(every):
            cells: dict[str, Any] = {theirs[column]: value for column, value in records.rows[row].items()}
            score = round(float(scores[where[row]]), 4) if where[row] >= 0 else None
            yield {**cells, "topic": int(topic), "name": names[topic] if topic >= 0 else "", "outlier_score": score}

    write_table(output, (*theirs.values(), *ours), lines())


def _topic_cells(topic: Topic) -> Cells:
    return {
        **{column: getattr(topic, column) for column in TOPIC_COLUMNS},
        "share": round(topic.share, 4),
        "stability": None if topic.stability is None else round(topic.stability, 3),
        "words": ", ".join(topic.words),
        "examples": " | ".join(" ".join(as_text(text).split())[:200] for text in topic.examples),
        "trend": None if topic.trend is None else round(topic.trend, 2),
    }


def _page_language(topics: Sequence[Topic]) -> Literal["en", "zh"]:
    chinese = sum(topic.rows for topic in topics if topic.language == "zh")
    return "zh" if 2 * chinese >= sum(topic.rows for topic in topics) else "en"


def _name(path: Path | None) -> str | None:
    return None if path is None else str(path)
