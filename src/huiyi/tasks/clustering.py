"""Topics of vectors: which rows belong together, how finely, how firmly, and which rows stand alone.

Rows are put in the order of their bytes first and equal ones are taken as one, so that an answer does not depend on the order of the
input; then their mean is taken off, since what all rows share says nothing of topics (Mu and Viswanath 2018). How rows are divided is
`partitions`' business. Knows nothing of texts; names are made in `topics`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from huiyi.errors import InvalidInput
from huiyi.tasks.neighbors import BLOCK, Neighbors, distinct, neighbors, unit
from huiyi.tasks.partitions import Labels, Rows, by_density, by_graph, by_means, sums
from huiyi.types import Floats

Method = Literal["graph", "kmeans", "hdbscan"]
METHODS = {"graph": by_graph, "kmeans": by_means, "hdbscan": by_density}

NEIGHBORS = 15
MIN_SIZE = 5  # rows of a topic; fewer where there are few rows in all
RUNS, SHARE = 5, 0.8  # how often topics are found anew, and in what share of the rows
MANY_ROWS, RUNS_OF_MANY = 200_000, 2
FENCE = 1.5  # Tukey's: so many times the distance between the quartiles beyond them
LOF_LIMIT = 1.5


@dataclass(frozen=True)
class Topics:
    """labels: int32 [n], the topic of every row, 0 the largest, -1 an outlier. levels: such labels from the finest to the coarsest; a
    topic of one level lies whole in one of the next, and `labels` is `levels[level]`.

    sizes: int64 [topics], rows. stability: float32 [topics], 0 to 1: the mean Jaccard index with the most similar topic that is found in
    samples of 80 % of the rows (Hennig 2007). outlier_scores: float32 [n], by local density, outliers lie above 1.
    granularity: the resolution used, None where the method has none. about: how it was done, for people.

    What it was done on: `rows` float32 [m, d], the distinct rows without their `mean`, unit length; `where` int64 [n], each row's place
    among them; `graph`, their nearest. centres: float32 [topics, d], unit length. reach: float32 [topics], the cosine with the centre
    below which a row would lie farther out than the topic's own do.
    """

    labels: Labels
    levels: tuple[Labels, ...]
    level: int
    sizes: NDArray[np.int64]
    stability: Floats
    outlier_scores: Floats
    method: Method
    granularity: float | None
    about: str
    rows: Floats
    where: NDArray[np.int64]
    graph: Neighbors
    mean: Floats
    centres: Floats
    reach: Floats


def cluster(
    vectors: ArrayLike,
    method: Method = "graph",
    granularity: float | None = None,
    n_topics: int | None = None,
    *,
    outliers: bool = True,
    min_size: int | None = None,
    weights: ArrayLike | None = None,
) -> Topics:
    """The topics of `vectors` [n, d]; shuffled rows get the same topics.

    method: graph (Leiden on the kNN graph), kmeans, or hdbscan (on a spectral map of that graph). granularity: for graph, 0.1 (few broad
    topics) to 16 (many narrow ones); chosen by default. n_topics: so many, where there are; for graph and kmeans. outliers: whether rows
    far from all others get -1. min_size: smaller topics join the nearest one; by default 5. weights: how often every row counts in
    sizes and centres. InvalidInput, ModelFailed.
    """
    rows = unit(vectors)
    _check(rows, method, granularity, n_topics, min_size)
    counts = np.ones(len(rows), np.int64) if weights is None else np.asarray(weights, np.int64)
    if counts.shape != (len(rows),) or (counts < 1).any():
        raise InvalidInput("weights must be a whole number of 1 or more for every row")
    once = distinct(rows)
    counts = np.bincount(once.inverse, counts, len(once.first)).astype(np.int64)
    mean = once.rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows = _without(once.rows, mean, out=once.rows)
    graph = neighbors(rows, NEIGHBORS)
    partition = METHODS[method](rows, graph, granularity, n_topics)
    smallest = min_size or (1 if n_topics else min(MIN_SIZE, max(1, len(rows) // 20)))
    levels = _without_small(rows, counts, partition.levels, partition.level, smallest)
    lonely = _loneliness(graph)
    out = ((lonely > 1) | partition.noise) & outliers
    levels = [_by_size(labels, counts, out) for labels in levels]
    labels = levels[partition.level]
    centres = _centres(rows, labels, counts)
    return Topics(
        labels=labels[once.inverse],
        levels=tuple(level[once.inverse] for level in levels),
        level=partition.level,
        sizes=np.bincount(labels[labels >= 0], counts[labels >= 0], len(centres)).astype(np.int64),
        stability=_stability(labels, len(centres), partition.again),
        outlier_scores=lonely[once.inverse],
        method=method,
        granularity=partition.granularity,
        about=partition.about,
        rows=rows,
        where=once.inverse,
        graph=graph,
        mean=mean,
        centres=centres,
        reach=_reach(rows, labels, centres),
    )


def gathered(vectors: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Topics:
    """`Topics` of rows whose topics are known, as those that `assign` gives; numbers stay, stability is NaN as nothing was searched for."""
    rows, known = unit(vectors), np.asarray(labels, np.int32)
    counts = np.ones(len(rows), np.int64) if weights is None else np.asarray(weights, np.int64)
    mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows = _without(rows, mean)
    graph = neighbors(rows, NEIGHBORS)
    centres = _centres(rows, known, counts)
    return Topics(
        labels=known,
        levels=(known,),
        level=0,
        sizes=np.bincount(known[known >= 0], counts[known >= 0], len(centres)).astype(np.int64),
        stability=np.full(len(centres), np.nan, np.float32),
        outlier_scores=_loneliness(graph),
        method="graph",
        granularity=None,
        about="as sorted into the topics of an earlier run",
        rows=rows,
        where=np.arange(len(rows)),
        graph=graph,
        mean=mean,
        centres=centres,
        reach=_reach(rows, known, centres),
    )


def at_level(topics: Topics, level: int, weights: ArrayLike | None = None, min_size: int | None = None) -> Topics:
    """`topics` at another of their levels, from what was found, without searching again; stability is NaN, as it was not tried there.

    weights, min_size: as `cluster` had them.
    """
    if not 0 <= level < len(topics.levels):
        raise InvalidInput(f"there are {len(topics.levels)} levels, from 0, the finest; not {level}")
    if level == topics.level:
        return topics
    given = np.ones(len(topics.where), np.int64) if weights is None else np.asarray(weights, np.int64)
    counts = np.bincount(topics.where, given, len(topics.rows)).astype(np.int64)
    labels = np.empty(len(topics.rows), np.int32)
    labels[topics.where] = topics.levels[level]
    inside = labels >= 0
    smallest = min_size or min(MIN_SIZE, max(1, len(labels) // 20))
    joined = np.zeros_like(labels)
    joined[inside] = _without_small(topics.rows[inside], counts[inside], [labels[inside]], 0, smallest)[0]
    labels = _by_size(joined, counts, ~inside)
    centres = _centres(topics.rows, labels, counts)
    return replace(
        topics,
        labels=labels[topics.where],
        level=level,
        sizes=np.bincount(labels[labels >= 0], counts[labels >= 0], len(centres)).astype(np.int64),
        stability=np.full(len(centres), np.nan, np.float32),
        granularity=None,
        centres=centres,
        reach=_reach(topics.rows, labels, centres),
    )


def assign(vectors: ArrayLike, topics: Topics) -> tuple[Labels, Floats]:
    """The topic of every new row, -1 where it lies farther out than the topic's own rows, and its cosine with the nearest centre.

    vectors: [n, d], of the model that made the topics' own. Returns int32 [n], float32 [n]. InvalidInput.
    """
    rows = unit(vectors)
    if rows.shape[1] != topics.centres.shape[1]:
        raise InvalidInput(
            f"these vectors have {rows.shape[1]} numbers, the topics' {topics.centres.shape[1]}; take the model that made the topics"
        )
    rows = _without(rows, topics.mean)
    cosines: Floats = rows @ topics.centres.T
    labels = cosines.argmax(axis=1).astype(np.int32)
    nearest: Floats = cosines.max(axis=1)
    labels[nearest < topics.reach[labels]] = -1
    return labels, nearest


def _check(rows: Floats, method: str, granularity: float | None, n_topics: int | None, min_size: int | None) -> None:
    if not len(rows):
        raise InvalidInput("there are no rows to find topics in")
    if method not in METHODS:
        raise InvalidInput(f"there is no method {method!r}; take graph, kmeans or hdbscan")
    if granularity is not None and method != "graph":
        raise InvalidInput(f"granularity belongs to the method graph; {method} has none")
    if granularity is not None and not 0 < granularity < float("inf"):
        raise InvalidInput(f"granularity must be above 0 (0.1: few broad topics, 16: many narrow ones), not {granularity}")
    if n_topics is not None and method == "hdbscan":
        raise InvalidInput("hdbscan finds its own number of topics; take graph or kmeans for a given one")
    if n_topics is not None and granularity is not None:
        raise InvalidInput("give a granularity or a number of topics, not both")
    if n_topics is not None and n_topics < 1:
        raise InvalidInput(f"the number of topics must be 1 or more, not {n_topics}")
    if min_size is not None and min_size < 1:
        raise InvalidInput(f"the least size of a topic must be 1 or more, not {min_size}")


def _without(rows: Floats, mean: Floats, out: Floats | None = None) -> Floats:
    """`rows` with `mean` taken off, at unit length; as they are where little would be left, as when all are nearly the same.

    out: where they are put, `rows` itself to save memory. Block by block, so that little more is held than the two.
    """
    blocks = [slice(start, start + BLOCK) for start in range(0, len(rows), BLOCK)]
    lengths = np.concatenate([np.linalg.norm(rows[block] - mean, axis=1, keepdims=True) for block in blocks] or [np.ones((0, 1))])
    if np.median(lengths) < 1e-3:
        return rows
    near = np.empty_like(rows) if out is None else out
    for block in blocks:
        near[block] = np.where(lengths[block] > 1e-6, (rows[block] - mean) / np.maximum(lengths[block], 1e-6), rows[block])
    return near


def _without_small(rows: Floats, counts: NDArray[np.int64], levels: Sequence[Labels], level: int, smallest: int) -> list[Labels]:
    """Small topics of `level` join the nearest that is not; on coarser levels their rows go where that one's are."""
    labels = levels[level]
    sizes = np.bincount(labels, counts)
    small = np.flatnonzero(sizes < smallest)
    large = np.flatnonzero(sizes >= smallest)
    if not len(small):
        return list(levels)
    if not len(large):
        return [*levels[:level], *[np.zeros_like(labels)] * (len(levels) - level)]
    centres = _centres(rows, labels)
    into = np.arange(len(sizes), dtype=np.int32)
    into[small] = large[(centres[small] @ centres[large].T).argmax(axis=1)]
    moved = into[labels]
    first = np.zeros(len(sizes), np.int64)
    first[labels[::-1]] = np.arange(len(labels))[::-1]  # a row of every topic
    return [*levels[:level], *(labels_above[first[moved]] for labels_above in levels[level:])]


def _loneliness(graph: Neighbors) -> Floats:
    """How far above both limits a row lies, 1 is on the nearer: Tukey's fence of the mean distances to the nearest rows, and LOF_LIMIT for
    the local outlier factor (Breunig 2000). Either alone is not enough: a wide topic is no outlier, nor is the rim of a dense one.
    """
    if not graph.scores.shape[1]:
        return np.zeros(len(graph.scores), np.float32)
    distances = np.maximum(1 - graph.scores, 1e-6)
    lonely = distances.mean(axis=1)
    low, high = np.quantile(lonely, [0.25, 0.75])
    reached = np.maximum(distances[:, -1][graph.indices], distances)
    density = 1 / reached.mean(axis=1)
    factor = density[graph.indices].mean(axis=1) / density
    scores: Floats = np.minimum(lonely / (high + FENCE * (high - low)), factor / LOF_LIMIT).astype(np.float32)
    return scores


def _by_size(labels: Labels, counts: NDArray[np.int64], out: NDArray[np.bool_]) -> Labels:
    """Numbered from the largest on, equal sizes as they first appear; -1 for rows that are `out`."""
    kept = labels.copy()
    kept[out] = -1
    sizes = np.bincount(kept[~out], counts[~out], int(labels.max()) + 1)
    number = np.empty(len(sizes) + 1, np.int32)
    number[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    number[-1] = -1
    return number[kept]


def _centres(rows: Floats, labels: Labels, counts: NDArray[np.int64] | None = None) -> Floats:
    centres = sums(rows, labels, counts)
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    return centres


def _reach(rows: Floats, labels: Labels, centres: Floats) -> Floats:
    """Tukey's fence below the cosines of every topic's rows with its centre."""
    reach = np.zeros(len(centres), np.float32)
    inside = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[inside], np.arange(len(centres) + 1))
    for topic, centre in enumerate(centres):
        members = inside[ends[topic] : ends[topic + 1]]
        if not len(members):
            continue
        low, high = np.quantile(rows[members] @ centre, [0.25, 0.75])
        reach[topic] = low - FENCE * (high - low) - 1e-6
    return reach


def _stability(labels: Labels, count: int, again: Callable[[Sequence[Rows]], list[Labels]]) -> Floats:
    from scipy import sparse

    kept = int(SHARE * len(labels))
    if count < 2 or kept < 3:
        return np.ones(count, np.float32)
    runs = RUNS if len(labels) <= MANY_ROWS else RUNS_OF_MANY
    total = np.zeros(count)
    samples = [np.sort(np.random.default_rng(seed).choice(len(labels), kept, replace=False)) for seed in range(runs)]
    for sample, found in zip(samples, again(samples), strict=True):
        old = labels[sample]
        both = (found >= 0) & (old >= 0)
        shared = sparse.csr_matrix((np.ones(both.sum()), (old[both], found[both])), shape=(count, int(found.max()) + 1)).tocoo()
        olds, news = np.bincount(old[both], minlength=count), np.bincount(found[both], minlength=shared.shape[1])
        best = np.zeros(count)
        np.maximum.at(best, shared.row, shared.data / (olds[shared.row] + news[shared.col] - shared.data))
        total += best
    return (total / runs).astype(np.float32)
