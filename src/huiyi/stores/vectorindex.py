"""Vectors in memory by position, in two parts: a graph (FAISS HNSW over 8-bit codes) and a tail of blocks, searched one by one.

New vectors go to the tail and are found at once; whole blocks move to the graph by and by. It gives candidates and how near they are about;
their exact scores are the caller's to compute. A selection (bits by position) leaves out before the nearest are chosen. Not thread-safe.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from huiyi.types import Floats

Positions = NDArray[np.int64]

BLOCK = 2_048  # a multiple of 8, so that a block's part of a selection is whole bytes
LINKS = 16
BUILD_WIDTH = 80  # efConstruction; of 40 a graph of 40,000 had recall 0.95, of 80 0.9995, for a quarter more time
SEARCH_WIDTH = 64  # efSearch without a selection, for the top 10
MOST_WIDTH = 2_048
TRAIN_ROWS = 20_000
# A walk through the graph looks at `width` nodes, a scan at the selected codes, which lie apart, at these costs in microseconds.
NODE_US = 3.0
SCAN_US = 0.4
LOW_SHARE = 0.05  # below, the graph loses the way: recall 0.35 at 1 %, see DESIGN


@dataclass(frozen=True)
class Selection:
    """Which positions may be found. bits: a byte for eight positions, the lowest first. count: how many."""

    bits: NDArray[np.uint8]
    count: int

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> "Selection":
        return cls(np.packbits(mask, bitorder="little"), int(np.count_nonzero(mask)))


class VectorIndex:
    """graphed: positions below are in the graph; the others, up to `size`, in the tail."""

    def __init__(self, dim: int, graph: Any = None) -> None:
        self.dim = dim
        self.graph = graph
        self.graphed: int = graph.ntotal if graph else 0
        self.size = self.graphed
        self._blocks: dict[int, Any] = {}  # by first position

    def append(self, halves: bytes) -> None:
        """Rows of float16 end to end, at the next positions."""
        rows = np.frombuffer(halves, np.uint8).reshape(-1, 2 * self.dim)
        while len(rows):
            start = self.size - self.size % BLOCK
            if start not in self._blocks:
                # After a graph that ends inside a block, the block begins with positions that are never selected.
                self._blocks[start] = self._block()
                if self.size > start:
                    self._blocks[start].add(np.zeros((self.size - start, self.dim), np.float32))
            some = rows[: start + BLOCK - self.size]
            if self._blocks[start].sq.qtype == self._blocks[start].sq.QT_fp16:
                self._blocks[start].add_sa_codes(some)
            else:
                self._blocks[start].add(some.view("<f2").astype(np.float32))
            self.size += len(some)
            rows = rows[len(some) :]

    @property
    def movable(self) -> int:
        """Positions in whole blocks that could move to the graph."""
        return max(0, self.size - self.size % BLOCK - self.graphed)

    def new_graph(self) -> Any:
        """An empty graph, its codes fitted to the vectors of the tail; the owner makes it `graph`."""
        import faiss

        graph = faiss.IndexHNSWSQ(self.dim, faiss.ScalarQuantizer.QT_8bit, LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = BUILD_WIDTH
        every = max(1, self.size // TRAIN_ROWS)
        graph.train(np.concatenate([self._decoded(start, 0, block.ntotal)[::every] for start, block in self._blocks.items()]))
        return graph

    def move(self, count: int) -> None:
        """The next `count` positions, or those left in their block, from the tail to the graph."""
        start = self.graphed - self.graphed % BLOCK
        count = min(count, start + BLOCK - self.graphed)
        with threads(1):
            self.graph.add(self._decoded(start, self.graphed - start, count))
        self.graphed += count
        if self.graphed == start + BLOCK:
            del self._blocks[start]

    def search(self, queries: Floats, k: int, selection: Selection | None) -> list[Positions]:
        """For each query at least the k nearest of the selected positions (fewer where fewer are), about nearest first."""
        found_scores, found_positions = [], []
        with threads(1 if len(queries) == 1 else 0):
            if self.graphed:
                scores, positions = self._search_graph(queries, min(k, self.graphed), selection)
                found_scores.append(scores)
                found_positions.append(positions)
            for start, block in self._blocks.items():
                scores, positions = self._search_flat(block, queries, min(k, block.ntotal), self._bits(start, block, selection))
                found_scores.append(scores)
                found_positions.append(np.where(positions < 0, -1, positions + start))
        if not found_scores:
            return [np.empty(0, np.int64) for _ in queries]
        all_scores, all_positions = np.concatenate(found_scores, axis=1), np.concatenate(found_positions, axis=1)
        best = []
        for scores, positions in zip(all_scores, all_positions, strict=True):
            order = np.argsort(-scores, kind="stable")
            best.append(positions[order][positions[order] >= 0][:k])
        return best

    def _search_graph(self, queries: Floats, k: int, selection: Selection | None) -> tuple[Floats, Positions]:
        import faiss

        bits = None if selection is None else selection.bits[: (self.graphed + 7) // 8]
        count = self.graphed if bits is None else int(np.bitwise_count(bits).sum()) if hasattr(np, "bitwise_count") else _ones(bits)
        storage = faiss.downcast_index(self.graph.storage)
        share = count / self.graphed
        if share < LOW_SHARE or k > MOST_WIDTH:
            return self._search_flat(storage, queries, k, bits)
        # As without a selection, and so many more as are met on the way to k that are selected.
        width = int(min(max(SEARCH_WIDTH, 2 * k), MOST_WIDTH) + k * (1 / share - 1))
        if count * SCAN_US < width * NODE_US:
            return self._search_flat(storage, queries, k, bits)
        selector = None if bits is None else _selector(bits)
        parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=width)
        scores, positions = self.graph.search(queries, k, params=parameters)
        lacking = (positions >= 0).sum(axis=1) < min(k, count)
        if lacking.any():  # a part of the graph that the walk did not reach
            scores[lacking], positions[lacking] = self._search_flat(storage, queries[lacking], k, bits)
        return scores, positions

    def _search_flat(self, codes: Any, queries: Floats, k: int, bits: NDArray[np.uint8] | None) -> tuple[Floats, Positions]:
        import faiss

        if bits is not None and not bits.any():
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        parameters = None if bits is None else faiss.SearchParameters(sel=_selector(bits))
        scores, positions = codes.search(queries, k, params=parameters)
        return scores, positions

    def _bits(self, start: int, block: Any, selection: Selection | None) -> NDArray[np.uint8] | None:
        """Of a block's positions those that are selected and not in the graph already."""
        moved = self.graphed - start
        if selection is None and moved <= 0:
            return None
        bytes_ = (block.ntotal + 7) // 8
        bits = np.full(bytes_, 255, np.uint8) if selection is None else selection.bits[start // 8 : start // 8 + bytes_].copy()
        if moved > 0:
            bits[: moved // 8] = 0
            if moved % 8:
                bits[moved // 8] &= 0xFF << moved % 8 & 0xFF
        return bits

    def _block(self) -> Any:
        """float16, or the graph's codes where there is a graph: half as much to read, and the graph will have no more of it anyway."""
        import faiss

        if self.graph is None:
            return faiss.IndexScalarQuantizer(self.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        block = faiss.IndexScalarQuantizer(self.dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        fitted = faiss.downcast_index(self.graph.storage).sq.trained
        faiss.copy_array_to_vector(faiss.vector_to_array(fitted), block.sq.trained)
        block.is_trained = True
        return block

    def _decoded(self, start: int, first: int, count: int) -> Floats:
        vectors: Floats = self._blocks[start].reconstruct_n(first, count)
        return vectors


@contextmanager
def threads(count: int) -> Iterator[None]:
    """FAISS's threads for calls of this thread. A second one for one query would only spin beside the engine's. 0: as they are."""
    import faiss

    before = faiss.omp_get_max_threads()
    if count:
        faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _selector(bits: NDArray[np.uint8]) -> Any:
    import faiss

    return faiss.IDSelectorBitmap(bits)


def _ones(bits: NDArray[np.uint8]) -> int:
    return int(np.unpackbits(bits).sum())
