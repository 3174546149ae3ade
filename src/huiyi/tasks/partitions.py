"""Ways to divide rows into topics, each at several levels that nest: communities of the kNN graph, K-Means, HDBSCAN.

Owns how a level is chosen where no one says: by how well topics are separated, a rule that was fixed on data sets that are not reported
(docs/topics.md). What is a topic's size, its name or an outlier is not decided here. Fixed seeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from huiyi.tasks.communities import communities
from huiyi.tasks.neighbors import Neighbors
from huiyi.types import Floats

Labels = NDArray[np.int32]
Rows = NDArray[np.int64]

# Resolutions of modularity that are tried, from many narrow topics to few broad ones, a step of the square root of two.
RESOLUTIONS = tuple(2 ** (step / 2) for step in range(8, -8, -1))
SAMPLE = 20_000  # rows on which levels are compared
SPECTRAL = 20  # dimensions of the map that HDBSCAN works on
LEAST = 10  # rows of a topic for HDBSCAN


@dataclass(frozen=True)
class Partition:
    """levels: labels int32 [n], fine to coarse, each level's topics whole in one of the next; `level` is the one to show.

    again: finds topics of that level anew in samples, each given by numbers of rows, to judge how firm they are. noise: bool [n], what
    the method itself left out (those rows have the label of the nearest topic). granularity: the resolution of `level`, if it has one.
    """

    levels: list[Labels]
    level: int
    noise: NDArray[np.bool_]
    granularity: float | None
    about: str
    again: Callable[[Sequence[Rows]], list[Labels]]


def by_graph(rows: Floats, graph: Neighbors, granularity: float | None = None, n_topics: int | None = None) -> Partition:
    """Leiden at many resolutions, each on the communities of the finer one; `n_topics` are merged out of the nearest finer level."""
    edges = weighted(graph)
    steps = sorted({*RESOLUTIONS, *([granularity] if granularity else [])}, reverse=True)
    found = communities([edges], steps)
    levels = list(found.levels[0])
    if n_topics is not None:
        at = max((i for i, labels in enumerate(levels) if labels.max() + 1 >= n_topics), default=0)
        levels = [*levels[: at + 1], *merged(rows, levels[at], n_topics)]
        chosen, how = at + 1, f"merged to the {levels[at + 1].max() + 1} topics that were asked for"
    elif granularity is not None:
        at = chosen = steps.index(granularity)
        how = f"granularity {granularity:g} as asked for"
    else:
        at = chosen = best_separated(rows, levels)
        how = f"granularity {steps[at]:.2g}, at which topics are separated best"

    def again(samples: Sequence[Rows]) -> list[Labels]:
        found = communities([edges[sample][:, sample] for sample in samples], steps[: at + 1]).levels
        every = zip(samples, found, strict=True)
        return [levels[-1] if n_topics is None else merged(rows[sample], levels[-1], n_topics)[0] for sample, levels in every]

    kept, level = _different(levels, chosen)
    name = "Leiden" if found.algorithm == "leiden" else "Louvain (Leiden did not end in time)"
    about = f"{name} on the graph of the {graph.indices.shape[1]} nearest; {how}"
    return Partition(kept, level, np.zeros(len(rows), bool), None if n_topics else float(steps[at]), about, again)


def weighted(graph: Neighbors) -> Any:
    """The kNN graph as a symmetric CSR matrix: the heavier, the shorter it is beside its row's others (McInnes 2018)."""
    from scipy import sparse

    n, k = graph.indices.shape
    distances = np.maximum(1 - graph.scores, 0)
    beyond = distances - distances[:, :1]
    scale = np.maximum(beyond.mean(axis=1, keepdims=True), 1e-6) if k else 1.0
    weights = np.exp(-beyond / scale)
    pointers = np.arange(0, n * k + 1, k) if k else np.zeros(n + 1, np.int64)
    edges = sparse.csr_matrix((weights.ravel(), graph.indices.ravel(), pointers), shape=(n, n))
    both = sparse.csr_matrix(edges + edges.T - edges.multiply(edges.T))
    both.sort_indices()
    return both


def by_means(rows: Floats, graph: Neighbors, granularity: float | None = None, n_topics: int | None = None) -> Partition:
    """Spherical K-Means with `n_topics`, or as many as `by_graph` finds. Coarser levels are merged out of it."""
    del granularity
    if n_topics is None:
        inner = by_graph(rows, graph)
        count = int(inner.levels[inner.level].max()) + 1
        how = f"{count} topics, as many as the graph method finds"
    else:
        count, how = n_topics, "as many topics as were asked for"
    labels = _means(rows, count)
    kept, level = _different([labels, *merged(rows, labels, (int(labels.max()) + 1) // 2)], 0)
    return Partition(
        kept,
        level,
        np.zeros(len(rows), bool),
        None,
        f"K-Means; {how}",
        lambda samples: [_means(rows[sample], count) for sample in samples],
    )


def _means(rows: Floats, count: int) -> Labels:
    import faiss

    count = min(count, len(rows))
    means = faiss.Kmeans(rows.shape[1], count, niter=25, nredo=3, seed=1, spherical=True, min_points_per_centroid=1)
    means.train(rows)
    found = means.index.search(rows, 1)[1].ravel()
    return _renumbered(found)


def by_density(rows: Floats, graph: Neighbors, granularity: float | None = None, n_topics: int | None = None) -> Partition:
    """HDBSCAN, which needs few dimensions, on the eigenvectors of the graph's normalised Laplacian (Shi and Malik 2000)."""
    del granularity, n_topics
    least = min(LEAST, max(2, len(rows) // 10))
    place = _spectral(weighted(graph))

    def found(points: NDArray[np.float64]) -> Labels:
        from sklearn.cluster import HDBSCAN

        if len(points) <= least:
            return np.zeros(len(points), np.int32)
        labels: Labels = HDBSCAN(min_cluster_size=least, copy=True).fit_predict(points).astype(np.int32)
        return labels

    labels = found(place)
    noise = labels < 0
    if noise.all():
        labels, noise = np.zeros_like(labels), np.zeros_like(noise)
    whole = _nearest_centre(rows, labels)
    levels = [whole, *merged(rows, whole, (int(whole.max()) + 1) // 2)]
    kept, level = _different(levels, 0)
    about = f"HDBSCAN (topics of {least} rows or more) on {place.shape[1]} dimensions of the graph of the nearest"
    return Partition(kept, level, noise, None, about, lambda samples: [found(place[sample]) for sample in samples])


def _spectral(edges: Any) -> NDArray[np.float64]:
    from scipy import sparse
    from scipy.sparse.linalg import eigsh

    n = edges.shape[0]
    dimensions = min(SPECTRAL, n - 2)
    if dimensions < 1:
        return np.zeros((n, 1))
    roots = sparse.diags(1 / np.sqrt(np.maximum(np.asarray(edges.sum(axis=1)).ravel(), 1e-12)))
    start = np.random.default_rng(0).standard_normal(n)
    values, vectors = eigsh(roots @ edges.astype(np.float64) @ roots, dimensions, v0=start, tol=1e-4)
    near = vectors[:, np.argsort(-values)]
    unit: NDArray[np.float64] = near / np.maximum(np.linalg.norm(near, axis=1, keepdims=True), 1e-12)
    return unit


def _nearest_centre(rows: Floats, labels: Labels) -> Labels:
    """`labels` with -1 replaced by the topic whose centre is nearest."""
    out = labels < 0
    if not out.any():
        return labels
    centres = _unit(sums(rows[~out], labels[~out]))
    filled = labels.copy()
    filled[out] = (rows[out] @ centres.T).argmax(axis=1)
    return filled


def best_separated(rows: Floats, levels: Sequence[Labels]) -> int:
    """The level with the greatest separation of those with two topics or more; the last where there is none."""
    sample = _sample(len(rows))
    scores = [separation(rows, labels, sample) for labels in levels]
    return int(np.argmax(scores)) if max(scores) > 0 else len(levels) - 1


def separation(rows: Floats, labels: Labels, sample: Rows) -> float:
    """Mean silhouette of cosine distances to centres, times the mean gap between the cosines with the own and the next nearest centre,
    times the chance that two rows are in different topics, times a broad bell around as many topics as the root of the rows.

    The silhouette alone (Rousseeuw 1987) goes on growing with ever smaller topics, the gap with ever larger ones, and both are high
    where a handful of odd rows stands against all others. A row that is a topic of its own counts as 0. 0 where there is one topic.
    """
    count = int(labels.max()) + 1
    if count < 2:
        return 0.0
    centres = _unit(sums(rows, labels))
    cosines = rows[sample] @ centres.T
    which = np.arange(len(sample)), labels[sample]
    own = cosines[which].copy()
    cosines[which] = -2
    other = cosines.max(axis=1)
    alone = np.bincount(labels, minlength=count)[labels[sample]] < 2
    gaps = np.where(alone, 0, own - other)
    silhouettes = gaps / np.maximum(1 - np.minimum(own, other), 1e-9)
    apart = 1 - float(((np.bincount(labels) / len(labels)) ** 2).sum())
    usual = np.exp(-((np.log(count / np.sqrt(len(labels))) / 3) ** 2) / 2)
    return float(max(silhouettes.mean(), 0) * max(gaps.mean(), 0) * apart * usual)


def sums(rows: Floats, labels: Labels, counts: NDArray[np.int64] | None = None) -> Floats:
    """Sum of the rows of every topic, [topics, d]; rows below 0 are in none. counts: how often each row is there."""
    from scipy import sparse

    inside = np.flatnonzero(labels >= 0)
    weights = np.ones(len(inside), np.float32) if counts is None else counts[inside].astype(np.float32)
    shape = (int(labels.max(initial=-1)) + 1, len(rows))
    total: Floats = sparse.csr_matrix((weights, (labels[inside], inside)), shape=shape) @ rows
    return total


def merged(rows: Floats, labels: Labels, count: int) -> list[Labels]:
    """`labels` with topics merged until `count` are left, then at every halving down to 2; the two that cost least first (Ward 1963)."""
    number = int(labels.max()) + 1
    wanted = _halvings(min(count, number))
    sizes = np.bincount(labels, minlength=number).astype(np.float64)
    means = sums(rows, labels).astype(np.float64) / sizes[:, None]
    squares = np.einsum("kd,kd->k", means, means)
    costs = np.maximum(squares[:, None] + squares - 2 * means @ means.T, 0) * (sizes[:, None] * sizes / (sizes[:, None] + sizes))
    np.fill_diagonal(costs, np.inf)
    place, levels = np.arange(number), []
    for left in range(number, 0, -1):
        if left in wanted:
            levels.append(_renumbered(place[labels]))
        if left <= wanted[-1]:
            break
        one, other = sorted(np.unravel_index(np.argmin(costs), costs.shape))
        place[place == other] = one
        means[one] = (sizes[one] * means[one] + sizes[other] * means[other]) / (sizes[one] + sizes[other])
        sizes[one], sizes[other] = sizes[one] + sizes[other], 0
        costs[other] = costs[:, other] = np.inf
        fresh = ((means - means[one]) ** 2).sum(axis=1) * sizes * sizes[one] / np.maximum(sizes + sizes[one], 1)
        fresh[(sizes == 0) | (np.arange(number) == one)] = np.inf
        costs[one] = costs[:, one] = fresh
    return levels


def _halvings(count: int) -> list[int]:
    steps = [max(count, 1)]
    while steps[-1] > 3:
        steps.append(steps[-1] // 2)
    return steps


def _different(levels: Sequence[Labels], chosen: int) -> tuple[list[Labels], int]:
    """Without levels that have hardly fewer topics than the one before; `chosen` stays. The levels, and its place among them."""
    kept = [chosen]
    for at in range(chosen + 1, len(levels)):
        if levels[at].max() + 1 <= 0.8 * (levels[kept[-1]].max() + 1) and levels[at].max() > 0:
            kept.append(at)
    for at in range(chosen - 1, -1, -1):
        if levels[at].max() + 1 >= 1.25 * (levels[kept[0]].max() + 1):
            kept.insert(0, at)
    return [levels[at] for at in kept], kept.index(chosen)


def _renumbered(labels: NDArray[Any]) -> Labels:
    """Numbers from 0 on without gaps."""
    numbers: Labels = np.unique(labels, return_inverse=True)[1].astype(np.int32)
    return numbers


def _sample(count: int) -> Rows:
    return np.arange(count) if count <= SAMPLE else np.sort(np.random.default_rng(0).choice(count, SAMPLE, replace=False))


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
