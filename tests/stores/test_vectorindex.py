"""The index over vectors: recall of the graph and of selections in it, and no vector lost or found twice on its way there."""

import numpy as np
import pytest

from huiyi.stores import vectorindex
from huiyi.stores.vectorindex import Selection, VectorIndex

COUNT, DIM = 6_000, 64


def clustered(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((50, DIM))
    rows = centres[random.integers(0, 50, count)] + 0.7 * random.standard_normal((count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


@pytest.fixture(scope="module")
def built():
    rows = clustered(COUNT, 1)
    index = VectorIndex(DIM)
    index.append(rows.astype("<f2").tobytes())
    index.graph = index.new_graph()
    while index.movable:
        index.move(100)
    assert 0 < index.graphed < COUNT
    return index, rows


@pytest.fixture
def by_graph(monkeypatch):
    """Never scan where the walk could do."""
    monkeypatch.setattr(vectorindex, "NODE_US", 0.0)


def recall(index: VectorIndex, rows: np.ndarray, mask: np.ndarray | None) -> float:
    there = np.arange(len(rows)) if mask is None else np.flatnonzero(mask)
    found = 0
    queries = clustered(50, 2)
    for query in queries:
        right = there[np.argsort(-(rows[there] @ query))[:10]]
        (proposed,) = index.search(query[None], 50, None if mask is None else Selection.of(mask))
        assert len(set(proposed.tolist())) == len(proposed) == min(50, len(there))
        assert mask is None or mask[proposed].all()
        found += len(set(right) & set(proposed.tolist()))
    return found / (len(queries) * min(10, len(there)))


@pytest.mark.parametrize("share", [None, 0.9, 0.5, 0.1, 0.06, 0.01, 0.001])
def test_recall_at_any_selectivity(built, share, by_graph) -> None:
    index, rows = built
    mask = None if share is None else np.random.default_rng(3).random(COUNT) < share
    assert recall(index, rows, mask) >= 0.98


def test_a_selection_of_nothing_finds_nothing(built) -> None:
    index, _ = built
    assert index.search(clustered(3, 4), 5, Selection.of(np.zeros(COUNT, bool)))[1].size == 0


def test_many_queries_find_what_single_ones_find(built) -> None:
    index, _ = built
    queries = clustered(20, 5)
    for query, together in zip(queries, index.search(queries, 10, None), strict=True):
        np.testing.assert_array_equal(index.search(query[None], 10, None)[0], together)


def test_all_can_be_asked_for(built) -> None:
    index, _ = built
    (found,) = index.search(clustered(1, 6), COUNT, None)
    assert sorted(found.tolist()) == list(range(COUNT))


def test_a_vector_is_found_once_at_every_step_of_its_way(monkeypatch) -> None:
    monkeypatch.setattr(vectorindex, "BLOCK", 64)
    rows = clustered(300, 7)
    index = VectorIndex(DIM)
    for start in range(0, 300, 37):
        index.append(rows[start : start + 37].astype("<f2").tobytes())
    index.graph = index.new_graph()
    while True:
        (found,) = index.search(rows[:1], 300, None)
        assert sorted(found.tolist()) == list(range(300))
        odd = Selection.of(np.arange(300) % 2 == 1)
        assert sorted(index.search(rows[:1], 300, odd)[0].tolist()) == list(range(1, 300, 2))
        if not index.movable:
            break
        index.move(13)
    assert index.graphed == 256


def test_a_graph_that_ends_inside_a_block_goes_on(monkeypatch) -> None:
    monkeypatch.setattr(vectorindex, "BLOCK", 64)
    rows = clustered(300, 8)
    first = VectorIndex(DIM)
    first.append(rows[:128].astype("<f2").tobytes())
    first.graph = first.new_graph()
    first.move(50)
    first.move(30)
    again = VectorIndex(DIM, first.graph)
    again.append(rows[first.graphed :].astype("<f2").tobytes())
    for _ in range(2):
        (found,) = again.search(rows[200:201], 300, None)
        assert sorted(found.tolist()) == list(range(300))
        assert found[0] == 200
        while again.movable:
            again.move(9)
    assert again.graphed == 256
