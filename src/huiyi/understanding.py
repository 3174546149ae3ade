"""What the tasks find in texts that have vectors and ids: topics with names, repeats, short views, what else may please.

Plain functions on texts and arrays, small results that name ids: for collections, for lists that come over HTTP, for scripts. Knows no
files, stores or models. Rows without text are in no topic, no group and no summary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from huiyi.errors import InvalidInput, NotFound
from huiyi.types import Floats

EXAMPLES = 3

Method = Literal["graph", "kmeans", "hdbscan"]


@dataclass(frozen=True)
class NamedTopic:
    """words: what sets it apart, best first. examples: its most central texts. stability: 0 to 1. ids: in the order given."""

    topic: int
    name: str
    size: int
    share: float
    stability: float | None
    words: tuple[str, ...]
    examples: tuple[str, ...]
    language: str
    ids: tuple[str, ...]


@dataclass(frozen=True)
class FoundTopics:
    """topics: largest first. outliers: ids in no topic. levels: numbers of topics, fine to coarse. about: how they were found."""

    topics: tuple[NamedTopic, ...]
    outliers: tuple[str, ...]
    levels: tuple[int, ...]
    about: str


@dataclass(frozen=True)
class Repeat:
    """likeness: exact, near or semantic. score: the cosine with the one that stays."""

    id: str
    text: str
    score: float
    likeness: str


@dataclass(frozen=True)
class RepeatGroup:
    id: str
    text: str
    repeats: tuple[Repeat, ...]


@dataclass(frozen=True)
class KeptApart:
    """As like as repeats, and not the same: why says what differs."""

    id: str
    text: str
    other: str
    other_text: str
    score: float
    why: str


@dataclass(frozen=True)
class FoundRepeats:
    """kept: ids that stay, in order. unread: as in `tasks.duplicates.Duplicates`."""

    threshold: float
    groups: tuple[RepeatGroup, ...]
    apart: tuple[KeptApart, ...]
    kept: tuple[str, ...]
    unread: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """share: of everything, that it stands for."""

    id: str
    text: str
    share: float


@dataclass(frozen=True)
class ShortView:
    """lines: largest share first. coverage: mean cosine of everything to what was taken; chance: the same for lines drawn by lot."""

    lines: tuple[Line, ...]
    coverage: float
    chance: float


@dataclass(frozen=True)
class Recommended:
    """because: the id of the liked or seen one that it is nearest to."""

    id: str
    text: str
    score: float
    because: str


def cluster(
    ids: Sequence[str],
    texts: Sequence[str],
    vectors: ArrayLike,
    *,
    method: Method = "graph",
    granularity: float | None = None,
    n_topics: int | None = None,
    min_size: int | None = None,
    outliers: bool = True,
) -> FoundTopics:
    """Topics and their names; equal texts count as often as they are there. Options as in `tasks.cluster`."""
    from huiyi.tasks import cluster as clustered
    from huiyi.tasks.topics import central, name_topics

    first = _first(texts)
    rows = _rows(vectors)[[first[text] for text in sorted(first)]]
    place = {text: node for node, text in enumerate(sorted(first))}
    nodes = np.array([place.get(text, -1) for text in texts])
    counts = np.bincount(nodes[nodes >= 0], minlength=len(place))
    found = clustered(rows, method, granularity, n_topics, outliers=outliers, min_size=min_size, weights=counts)
    distinct = list(place)
    named = name_topics(distinct, found.labels, counts)
    near = central(rows, found.labels, found.centres, EXAMPLES)
    labels = np.where(nodes >= 0, found.labels[np.maximum(nodes, 0)], -1)
    topics = [
        NamedTopic(
            topic=topic,
            name=one.name,
            size=int((labels == topic).sum()),
            share=round(float((labels == topic).sum() / counts.sum()), 4),
            stability=None if np.isnan(found.stability[topic]) else round(float(found.stability[topic]), 3),
            words=tuple(one.words),
            examples=tuple(distinct[row] for row in near[topic]),
            language=one.language,
            ids=_named(ids, labels == topic),
        )
        for topic, one in enumerate(named)
    ]
    return FoundTopics(
        tuple(topic for topic in topics if topic.size),
        _named(ids, (labels < 0) & (nodes >= 0)),
        tuple(int(level.max()) + 1 for level in found.levels),
        found.about,
    )


def dedup(
    ids: Sequence[str], texts: Sequence[str], vectors: ArrayLike, *, threshold: float | None = None, guarded: bool = True
) -> FoundRepeats:
    """Groups of repeats. guarded: texts whose numbers, negation or names differ are kept apart. threshold: as in `tasks.dedup`."""
    from huiyi.tasks import Guard
    from huiyi.tasks import dedup as deduped

    filled = [row for row, text in enumerate(texts) if text.strip()]
    if not filled:
        raise InvalidInput("there is no text in which to look for repeats")
    guard = Guard() if guarded else Guard.off()
    read = [texts[row] for row in filled]
    guard.learn(read)
    found = deduped(_rows(vectors)[filled], read, threshold, guard)
    name = [ids[row] for row in filled]
    groups = [
        RepeatGroup(
            name[group.representative],
            read[group.representative],
            tuple(Repeat(name[pair.row], read[pair.row], round(pair.score, 4), pair.likeness) for pair in group.repeats),
        )
        for group in found.groups
    ]
    apart = [
        KeptApart(
            name[pair.row], read[pair.row], name[pair.other], read[pair.other], round(pair.score, 4), "; ".join(map(str, pair.remarks))
        )
        for pair in found.apart
    ]
    gone = {each.id for group in groups for each in group.repeats}
    return FoundRepeats(found.threshold, tuple(groups), tuple(apart), tuple(id_ for id_ in ids if id_ not in gone), found.unread)


def summarize(
    ids: Sequence[str], texts: Sequence[str], vectors: ArrayLike, *, k: int = 5, method: Literal["coverage", "lexrank"] = "coverage"
) -> ShortView:
    """The k texts that say most, none twice; equal texts count as often as they are there."""
    from huiyi.tasks import summarize as summarized

    first = _first(texts)
    rows = sorted(first.values())
    weights = [float(count) for count in np.bincount([first[text] for text in texts if text.strip()], minlength=len(texts))[rows]]
    found = summarized(_rows(vectors)[rows], k, weights, method)
    lines = [
        Line(ids[rows[at]], texts[rows[at]], round(share, 4))
        for at, share in zip(found.indices.tolist(), found.shares.tolist(), strict=True)
    ]
    return ShortView(tuple(sorted(lines, key=lambda line: -line.share)), found.coverage, found.chance)


def recommend(
    ids: Sequence[str],
    texts: Sequence[str],
    vectors: ArrayLike,
    *,
    like: Sequence[str] = (),
    dislike: Sequence[str] = (),
    history: Sequence[str] = (),
    k: int = 10,
    diversity: float = 0.3,
    allowed: Sequence[str] | None = None,
) -> list[Recommended]:
    """What suits best. like, dislike, history: ids, the history's oldest first; texts equal to theirs are left out. allowed: ids that may
    be answered with. NotFound for an id that is not there."""
    from huiyi.tasks import recommend as recommended

    require_apart(like, dislike)
    place = {id_: row for row, id_ in enumerate(ids)}
    for id_ in (*like, *dislike, *history):
        if id_ not in place:
            raise NotFound(f"there is no {id_!r} here to start from")
    rows = [[place[id_] for id_ in some] for some in (like, dislike, history)]
    known = {texts[row] for some in rows for row in some}
    may = np.zeros(len(ids), bool)
    permitted = None if allowed is None else set(allowed)
    for row, text in enumerate(texts):
        may[row] = bool(text.strip()) and text not in known and (permitted is None or ids[row] in permitted)
        if may[row]:
            known.add(text)
    if not may.any():
        return []
    found = recommended(_rows(vectors), *rows, k, diversity, may)
    return [
        Recommended(ids[row], texts[row], round(float(score), 4), ids[because])
        for row, score, because in zip(found.indices.tolist(), found.scores, found.because.tolist(), strict=True)
    ]


def require_apart(like: Sequence[str], dislike: Sequence[str]) -> None:
    if both := sorted(set(like) & set(dislike)):
        raise InvalidInput(f"{both[0]!r} is liked and disliked; leave out one of both")


def _named(ids: Sequence[str], chosen: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(ids[row] for row in np.flatnonzero(chosen).tolist())


def _rows(vectors: ArrayLike) -> Floats:
    return np.asarray(vectors, np.float32)


def _first(texts: Sequence[str]) -> dict[str, int]:
    """Every text that is not empty, and the first row of it. InvalidInput where there is none."""
    first = {text: row for row, text in reversed(list(enumerate(texts))) if text.strip()}
    if not first:
        raise InvalidInput("there is no text here that is not empty")
    return first
