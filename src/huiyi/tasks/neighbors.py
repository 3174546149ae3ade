"""The kNN graph: for every vector the ones nearest to it; what topics, maps, duplicates and summaries all start from.

Exact up to EXACT_ROWS. Beyond, rows are sorted into lists by k-means and compared with the lists nearest to them, block by block, so that
the work is matrix products and memory stays near that of the vectors; how many lists is raised until a sample, compared with the exact
answer, shows RECALL. Same rows in the same order, same answer: seeds are fixed. Knows nothing of texts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from huiyi.errors import InvalidInput
from huiyi.types import Floats

EXACT_ROWS = 20_000
RECALL = 0.93  # of the sample; what is promised is 0.9
SAMPLE = 1_000
LIST_ROWS = 500  # rows of a list, on average: large enough for fast products, small enough for few comparisons
TRAIN_ROWS = 64  # of each list, for k-means
PROBES, MOST_PROBES = 8, 64  # lists that a row is compared with, at first and at most
BLOCK = 4_096  # queries at a time: bounds what a product holds


@dataclass(frozen=True)
class Neighbors:
    """indices: int32 [n, k], scores: float32 [n, k], cosines, best first; no row is its own neighbour.

    recall: the share of true neighbours found, measured on a sample of rows; 1.0 where the search was exact.
    """

    indices: NDArray[np.int32]
    scores: Floats
    recall: float = 1.0


def unit(vectors: ArrayLike) -> Floats:
    """`vectors` as contiguous float32 [n, d] of unit length. InvalidInput for another shape, NaN, Inf or a zero row."""
    try:
        rows = np.ascontiguousarray(vectors, np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"vectors must be numbers, one row a text: {error}") from error
    if rows.ndim != 2 or not rows.shape[1]:
        raise InvalidInput(f"vectors must have the shape [n, d], one row a text; these have {list(rows.shape)}")
    squares = np.einsum("nd,nd->n", rows, rows)
    bad = np.flatnonzero(~np.isfinite(squares) | (squares <= 0))
    if len(bad):
        raise InvalidInput(f"row {bad[0]} is NaN, Inf or all zeros, and so has no direction; take it out or embed its text again")
    if np.abs(squares - 1).max(initial=0) < 1e-3:
        return rows
    scaled: Floats = rows / np.sqrt(squares)[:, None]
    return scaled


@dataclass(frozen=True)
class Distinct:
    """Rows in the order of their bytes, equal ones once: rows float32 [m, d]; first [m]: where each came first; inverse [n]: row to m."""

    rows: Floats
    first: NDArray[np.int64]
    inverse: NDArray[np.int64]


def distinct(rows: Floats) -> Distinct:
    """What `rows` hold, whatever their order."""
    plain = np.ascontiguousarray(rows)
    if any(_negative_zeros(plain[start : start + BLOCK]) for start in range(0, len(plain), BLOCK)):
        plain = plain + np.float32(0)  # -0.0 becomes 0.0
    keys = plain.view(np.dtype((np.void, plain.shape[1] * plain.itemsize))).ravel()
    order = np.argsort(keys, kind="stable")
    new = np.ones(len(order), bool)
    for start in range(1, len(order), BLOCK):
        ends = order[start - 1 : start + BLOCK]
        new[start : start + BLOCK] = (plain[ends[1:]] != plain[ends[:-1]]).any(axis=1)
    inverse = np.empty(len(order), np.int64)
    inverse[order] = np.cumsum(new) - 1
    first = order[new]
    return Distinct(plain[first], first, inverse)


def _negative_zeros(block: Floats) -> bool:
    return bool(((block == 0) & np.signbit(block)).any())


def neighbors(vectors: ArrayLike, k: int) -> Neighbors:
    """The `k` nearest rows of every row, itself left out; fewer columns where there are not k others.

    vectors: [n, d]; brought to unit length where they are not. Equal scores lie in no promised order. InvalidInput.
    """
    if k < 1:
        raise InvalidInput(f"k must be 1 or more, not {k}")
    rows = unit(vectors)
    k = min(k, max(len(rows) - 1, 0))
    if not k:
        return Neighbors(np.zeros((len(rows), 0), np.int32), np.zeros((len(rows), 0), np.float32))
    if len(rows) <= EXACT_ROWS:
        return Neighbors(*_without_self(*_nearest(rows, rows, k + 1), np.arange(len(rows))))
    return _by_lists(rows, k)


def _nearest(queries: Floats, rows: Floats, k: int) -> tuple[NDArray[np.int64], Floats]:
    import faiss

    scores, indices = faiss.knn(queries, rows, k, metric=faiss.METRIC_INNER_PRODUCT)
    return indices, scores


def _without_self(indices: NDArray[np.int64], scores: Floats, own: NDArray[np.int64]) -> tuple[NDArray[np.int32], Floats]:
    """One column less: the row itself, or the last where equal rows have crowded it out."""
    kept = indices != own[:, None]
    kept[kept.all(axis=1), -1] = False
    shape = len(indices), indices.shape[1] - 1
    return indices[kept].reshape(shape).astype(np.int32), scores[kept].reshape(shape)


def _by_lists(rows: Floats, k: int) -> Neighbors:
    lists, order = _lists(rows)
    sample = np.random.default_rng(0).choice(len(rows), min(SAMPLE, len(rows)), replace=False)
    exact, _ = _without_self(*_nearest(rows[sample], rows, k + 1), sample)
    probes, done = PROBES, 0
    best = np.full((len(rows), k + 1), -1, np.int64), np.full((len(rows), k + 1), -2, np.float32)
    while True:
        probes = min(probes, order.shape[1])
        _search(rows, lists, order[:, done:probes], best)
        found, scores = _without_self(*best, np.arange(len(rows)))
        hits = [np.isin(one, other).sum() for one, other in zip(exact, found[sample], strict=True)]
        recall = float(np.sum(hits) / exact.size)
        if recall >= RECALL or probes == order.shape[1]:
            return Neighbors(found, scores, recall)
        probes, done = 2 * probes, probes


def _lists(rows: Floats) -> tuple[list[NDArray[np.int64]], NDArray[np.int32]]:
    """The rows of every list, and for every row its nearest lists, int32 [n, 64 or all], nearest first."""
    import faiss

    count = len(rows) // LIST_ROWS
    means = faiss.Kmeans(
        rows.shape[1], count, niter=6, seed=1, spherical=True, max_points_per_centroid=TRAIN_ROWS, min_points_per_centroid=1
    )
    means.train(rows)
    centroids: Floats = means.centroids
    order = np.empty((len(rows), min(MOST_PROBES, count)), np.int32)
    for start in range(0, len(rows), BLOCK):
        order[start : start + BLOCK] = _nearest(rows[start : start + BLOCK], centroids, order.shape[1])[0]
    by_list = np.argsort(order[:, 0], kind="stable")
    ends = np.searchsorted(order[by_list, 0], np.arange(1, count))
    return np.split(by_list, ends), order


def _search(rows: Floats, lists: list[NDArray[np.int64]], order: NDArray[np.int32], best: tuple[NDArray[np.int64], Floats]) -> None:
    """Compare every row with the lists in its line of `order`, and take into `best` what is nearer than what is there."""
    indices, scores = best
    width = indices.shape[1]
    asked = np.argsort(order, axis=None, kind="stable")
    ends = np.searchsorted(order.ravel()[asked], np.arange(len(lists) + 1))
    for number, members in enumerate(lists):
        queries = asked[ends[number] : ends[number + 1]] // order.shape[1]
        if not len(members) or not len(queries):
            continue
        block = rows[members]
        for start in range(0, len(queries), BLOCK):
            who = queries[start : start + BLOCK]
            near, near_scores = _nearest(rows[who], block, min(width, len(members)))
            both = np.concatenate([scores[who], near_scores], axis=1)
            names = np.concatenate([indices[who], members[near]], axis=1)
            chosen = np.argsort(-both, axis=1, kind="stable")[:, :width]
            scores[who] = np.take_along_axis(both, chosen, axis=1)
            indices[who] = np.take_along_axis(names, chosen, axis=1)
