"""The k rows that say most, none twice: of the sentences of a text, or of a heap of texts. Rows in, places out; knows nothing of texts.

`coverage` (default) takes rows so that every row has a near one among them; `lexrank` takes the most central ones and is the baseline.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from huiyi.errors import InvalidInput
from huiyi.tasks.neighbors import unit
from huiyi.types import Floats

Ints = NDArray[np.int64]
Method = Literal["coverage", "lexrank"]

SAME = 0.95  # cosine from which two rows say the same, so that only one of them is taken
CANDIDATES = 3_000  # rows that may be taken, where there are more: the most central half, and as many drawn by lot
WITNESSES = 20_000  # rows that have to be covered, where there are more: drawn by lot
DAMPING = 0.85  # of LexRank, as of PageRank
DRAWS = 20


@dataclass(frozen=True)
class Summary:
    """indices: the rows taken, the one that says most first. shares: float32 [k], what share of all rows each is the nearest one to.

    coverage: mean over all rows of the cosine to the nearest one taken, 0 to 1. chance: the same for as many rows drawn by lot.
    """

    indices: Ints
    shares: Floats
    coverage: float
    chance: float


def summarize(vectors: ArrayLike, k: int = 5, weights: Sequence[float] | None = None, method: Method = "coverage") -> Summary:
    """`k` of the rows, fewer where there are not so many different ones.

    vectors: [n, d]. weights: [n], how much each row counts, such as the length of a sentence or how often a text came; 1 by default.
    coverage: greedy facility location, within 1 - 1/e of the best (Nemhauser et al. 1978). lexrank: PageRank on cosines (Erkan and Radev
    2004), rows too like a better one passed over. InvalidInput. Same rows and weights, same answer.
    """
    rows = unit(vectors)
    if k < 1:
        raise InvalidInput(f"k must be 1 or more, not {k}")
    counts = np.ones(len(rows), np.float32) if weights is None else np.asarray(weights, np.float32)
    if counts.shape != (len(rows),) or not (np.isfinite(counts) & (counts >= 0)).all() or (len(rows) and not counts.sum() > 0):
        raise InvalidInput("weights are one number a row, none below 0 and not all 0")
    if method not in ("coverage", "lexrank"):
        raise InvalidInput(f"method is coverage or lexrank, not {method!r}")
    if not len(rows):
        return Summary(np.empty(0, np.int64), np.empty(0, np.float32), 0.0, 0.0)
    random = np.random.default_rng(0)
    centre = counts @ rows
    candidates = _candidates(rows @ centre, random)
    witnesses = np.arange(len(rows))
    if len(rows) > WITNESSES:
        witnesses = np.sort(random.choice(len(rows), WITNESSES, replace=False, p=counts / counts.sum()))
        counts = np.bincount(witnesses, minlength=len(rows)).astype(np.float32)
    likeness = np.maximum(rows[candidates] @ rows[witnesses].T, 0)
    seen = counts[witnesses] / counts[witnesses].sum()
    own = rows[candidates]
    chosen = _by_gain(own, likeness, seen, k) if method == "coverage" else _by_rank(own, k)
    best = likeness[chosen].max(axis=0)
    nearest = likeness[chosen].argmax(axis=0)
    draws = [random.choice(len(candidates), min(len(chosen), len(candidates)), replace=False) for _ in range(DRAWS)]
    return Summary(
        indices=candidates[chosen],
        shares=np.bincount(nearest, seen, len(chosen)).astype(np.float32),
        coverage=float(best @ seen),
        chance=float(np.mean([likeness[draw].max(axis=0) @ seen for draw in draws])),
    )


def _candidates(centrality: Floats, random: np.random.Generator) -> Ints:
    if len(centrality) <= CANDIDATES:
        return np.arange(len(centrality))
    order = np.argsort(-centrality, kind="stable")
    central, rest = order[: CANDIDATES // 2], order[CANDIDATES // 2 :]
    return np.sort(np.concatenate([central, random.choice(rest, CANDIDATES - len(central), replace=False)]))


def _by_gain(rows: Floats, likeness: Floats, seen: Floats, k: int) -> list[int]:
    """Candidates, each the one that adds most to what those before it cover.

    A candidate never adds more than it did before, so only those whose last gain is the highest are computed anew (Minoux 1978).
    """
    best = np.zeros(likeness.shape[1], np.float32)
    gains = likeness @ seen
    chosen: list[int] = []
    fresh = np.ones(len(rows), bool)
    while len(chosen) < k and (place := int(gains.argmax())) >= 0 and gains[place] > -1:
        if not fresh[place]:
            gains[place] = np.maximum(likeness[place] - best, 0) @ seen
            fresh[place] = True
            continue
        chosen.append(place)
        np.maximum(best, likeness[place], out=best)
        fresh[:] = False
        gains[rows @ rows[place] >= SAME] = gains[place] = -1
    return chosen


def _by_rank(rows: Floats, k: int) -> list[int]:
    """Candidates by PageRank on their cosines, the highest first, those that say the same as a higher one passed over."""
    links = np.maximum(rows @ rows.T, 0)
    np.fill_diagonal(links, 0)
    links /= np.maximum(links.sum(axis=1, keepdims=True), 1e-12)
    rank = np.full(len(rows), 1 / len(rows), np.float32)
    for _ in range(100):
        before, rank = rank, (1 - DAMPING) / len(rows) + DAMPING * (rank @ links)
        if np.abs(rank - before).sum() < 1e-6:
            break
    chosen: list[int] = []
    left = np.ones(len(rows), bool)
    for place in np.argsort(-rank, kind="stable").tolist():
        if left[place] and len(chosen) < k:
            chosen.append(place)
            left &= rows @ rows[place] < SAME
    return chosen
