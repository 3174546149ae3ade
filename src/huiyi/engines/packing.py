"""Batches as packed arrays: where each text's tokens lie, who may attend to whom, and how rows become one vector.

Plain functions on lengths. Texts lie behind one another in [tokens, …]; only attention sees rows padded to the longest, on the right.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from huiyi.engines.checkpoint import Pooling
from huiyi.types import Floats, Ids

MASKED = np.float32(-1e30)  # finite, so that a row of nothing but padding gives numbers, which are dropped, and not NaN


@dataclass(frozen=True)
class RowArrays:
    """Values for `graph.Rows`, which says what each means."""

    queries: Ids
    keys: Ids
    mask: Floats
    back: Ids

    def values(self) -> tuple[Ids, Ids, Floats, Ids]:
        return self.queries, self.keys, self.mask, self.back


def batch_rows(lengths: NDArray[np.int64], causal: bool, pooling: Pooling) -> tuple[RowArrays, RowArrays, Ids]:
    """Rows for all layers but the last, rows for the last, and the tokens whose answer the last layer has to give.

    With last or cls pooling one token a text is all that is asked of the last layer: its other queries are never computed.
    """
    longest, starts = int(lengths.max()), np.cumsum(lengths) - lengths
    columns = np.arange(longest)
    real = columns < lengths[:, None]
    where = np.asarray(starts[:, None] + np.minimum(columns, lengths[:, None] - 1), np.int32)
    padding = np.where(real, np.float32(0), MASKED)[:, None, None, :]
    # Causal and padded on the right: no real token can see padding, so one triangle serves every row.
    mask = np.triu(np.full((1, 1, longest, longest), MASKED), 1) if causal else padding
    rows = RowArrays(where, where, mask, np.flatnonzero(real).astype(np.int32))
    if pooling == "mean":
        return rows, rows, _range(int(lengths.sum()))
    pick = (starts + lengths - 1 if pooling == "last" else starts).astype(np.int32)
    if causal and pooling == "cls":
        padding = np.where(columns == 0, np.float32(0), MASKED)[None, None, None, :]
    return rows, RowArrays(pick[:, None], where, padding, _range(len(lengths))), pick


def span_rows(start: int, end: int, seen: int, causal: bool) -> RowArrays:
    """The queries start:end of one text (numbered from 0) over its keys 0:seen."""
    count = end - start
    mask = np.zeros((1, 1, count if causal else 1, seen), np.float32)
    if causal:
        mask[..., start:] = np.triu(np.full((count, count), MASKED), 1)
    return RowArrays(_range(count)[None], _range(seen)[None], mask, _range(count))


def mean_pool(hidden: Floats, lengths: NDArray[np.int64]) -> Floats:
    """[tokens, width] → [texts, width]: the mean of each text's tokens, special ones included."""
    return np.asarray(np.add.reduceat(hidden, np.cumsum(lengths) - lengths, axis=0) / lengths[:, None], np.float32)


def spans(tokens: int, most: int) -> list[tuple[int, int]]:
    """0:tokens in even slices of at most `most`."""
    edges = np.linspace(0, tokens, -(-tokens // most) + 1).astype(int)
    return [(int(start), int(end)) for start, end in pairwise(edges)]


def _range(count: int) -> Ids:
    return np.arange(count, dtype=np.int32)
