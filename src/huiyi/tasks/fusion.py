"""Two opinions of the same candidates made one: what their vectors say (cosines) and their words (BM25); and k of them that differ.

Convex fusion adds the values themselves, each on a scale that does not depend on the other candidates, so that a score means the same for
every query and a threshold can be learned. Reciprocal rank fusion looks at places alone.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from huiyi.errors import InvalidInput

Scores = NDArray[np.float64]

WEIGHT = 0.5  # of the cosine; docs/decisions.md has the figures
HALF = 60.0  # the BM25 that counts one half: it goes from 0 to 1 as bm25 / (bm25 + HALF)
CONSTANT = 60  # Cormack, Clarke and Büttcher 2009


def convex(cosines: ArrayLike, bm25: ArrayLike, weight: float = WEIGHT) -> Scores:
    """weight x cosine + (1 - weight) x share of the words, [n]; up to 1, higher is better."""
    words = np.asarray(bm25, np.float64)
    return weight * np.asarray(cosines, np.float64) + (1 - weight) * words / (words + HALF)


def reciprocal_rank(cosines: ArrayLike, bm25: ArrayLike, depth: int, weight: float = WEIGHT) -> Scores:
    """weight / (60 + place by cosine) + (1 - weight) / (60 + place by BM25), [n]; a place beyond `depth` counts nothing."""
    near, words = ranks(cosines, depth), ranks(np.asarray(bm25, np.float64), depth, above=0)
    return weight * _reciprocal(near) + (1 - weight) * _reciprocal(words)


def order(cosines: ArrayLike, bm25: ArrayLike, weight: float = WEIGHT) -> NDArray[np.int64]:
    """Places, highest convex score first, of equal ones the higher cosine, [n]."""
    return np.lexsort((-np.asarray(cosines, np.float64), -convex(cosines, bm25, weight)))


def ranks(values: ArrayLike, depth: int, above: float = -np.inf) -> NDArray[np.int64]:
    """Places from 1, highest value first, equal ones in their order; 0 beyond `depth` and for values that are not above `above`."""
    given = np.asarray(values, np.float64)
    places = np.empty(len(given), np.int64)
    places[np.argsort(-given, kind="stable")] = np.arange(1, len(given) + 1)
    places[(places > depth) | (given <= above)] = 0
    return places


def varied(rows: ArrayLike, scores: ArrayLike, k: int, diversity: float) -> NDArray[np.int64]:
    """Up to k places taken one after another, each the best of what is left less what it shares with those taken.

    rows: [n, d], unit length. diversity: 0 takes the best, 1 whatever is least like those taken before (maximal marginal relevance,
    Carbonell and Goldstein 1998).
    """
    if not 0 <= diversity <= 1:
        raise InvalidInput(f"diversity lies between 0 and 1, not {diversity}")
    vectors, worth = np.asarray(rows, np.float32), np.asarray(scores, np.float32)
    chosen: list[int] = []
    shared = np.zeros(len(vectors), np.float32)
    while len(chosen) < min(k, len(vectors)):
        left = (1 - diversity) * worth - diversity * shared
        left[chosen] = -np.inf
        chosen.append(int(left.argmax()))
        shared = np.maximum(shared, vectors @ vectors[chosen[-1]])
    return np.array(chosen, np.int64)


def _reciprocal(places: NDArray[Any]) -> Scores:
    made: Scores = np.where(places > 0, 1 / (CONSTANT + places), 0.0)
    return made
