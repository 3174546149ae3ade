"""What somebody may like next, from what they liked, disliked or saw: rows in, places out; how good that is on histories held out.

A score is the mean cosine to the liked rows nearest to a row, less what it shares with disliked ones. Knows nothing of texts or people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from huiyi.errors import InvalidInput
from huiyi.tasks.fusion import varied
from huiyi.tasks.neighbors import unit
from huiyi.types import Floats

Ints = NDArray[np.int64]

NEAREST_LIKED = 3  # somebody has several interests: a row is compared with the liked ones nearest to it
DISLIKE = 0.5  # of the nearest disliked row's cosine that counts against a row
FADE = 0.9  # of a history, what each step back counts less
POOL = 20  # times k: the best rows, among which variety is sought
RESAMPLES = 1_000
MOST_COMBINED = 8  # liked rows of which every three are an aim, 56 in all


@dataclass(frozen=True)
class Recommendations:
    """indices: best first. scores: float32, as above; not cosines, and not in falling order where variety was asked for.

    because: for each, the liked row that is nearest to it.
    """

    indices: Ints
    scores: Floats
    because: Ints


@dataclass(frozen=True)
class Held:
    """How often rows that were held out came back: mean over histories, with the bootstrap interval of 95 %.

    hit_rate: share of histories of which the held-out row is among the k. ndcg: the same, worth less further down (1/log2(place + 1)).
    chance, popular: hit rate of k rows drawn by lot, and of the k rows that stand in most other histories.
    """

    histories: int
    k: int
    hit_rate: float
    hit_rate_low: float
    hit_rate_high: float
    ndcg: float
    chance: float
    popular: float


def recommend(
    vectors: ArrayLike,
    liked: Sequence[int] = (),
    disliked: Sequence[int] = (),
    history: Sequence[int] = (),
    k: int = 10,
    diversity: float = 0.3,
    allowed: ArrayLike | None = None,
) -> Recommendations:
    """The `k` rows that suit best, fewer where there are not so many.

    vectors: [n, d]. liked, disliked: rows. history: rows that were seen, the oldest first, of which the last count most; all of these are
    left out of the answer. diversity: 0 takes the best, 1 whatever is least like those taken before (maximal marginal relevance,
    Carbonell and Goldstein 1998). allowed: bool [n], rows that may be answered with. One liked row: more like this. InvalidInput.
    """
    rows = unit(vectors)
    _check(len(rows), liked, disliked, history, k, diversity)
    may = np.ones(len(rows), bool) if allowed is None else np.asarray(allowed, bool).copy()
    if may.shape != (len(rows),):
        raise InvalidInput(f"allowed is one yes or no a row: {len(rows)}, not {may.shape}")
    likes, weights = _weighed(liked, disliked, history)
    scores, because = _scores(rows, likes, weights, list(disliked))
    may[[*likes, *disliked]] = False
    pool = np.flatnonzero(may)
    pool = pool[np.argsort(-scores[pool], kind="stable")[: POOL * k]]
    chosen = varied(rows[pool], scores[pool], k, diversity)
    return Recommendations(pool[chosen], scores[pool[chosen]], because[pool[chosen]])


def aims(vectors: ArrayLike, liked: Sequence[int] = (), disliked: Sequence[int] = (), history: Sequence[int] = ()) -> Floats:
    """What to search for, so that the rows that suit best are found without a look at all rows: float32 [groups, m, d], not unit length.

    vectors: [n, d], of the rows that are named. A row's score is the highest, over the groups, of its lowest product with the m vectors of
    one: the mean cosine to the three nearest is the highest product with a mean of three. Of more than MOST_COMBINED liked rows each is
    combined with the two that are nearest to it, and then a score may be higher than that. InvalidInput.
    """
    rows = unit(vectors)
    _check(len(rows), liked, disliked, history, 1, 0)
    likes, weights = _weighed(liked, disliked, history)
    own = rows[likes]
    weighed = own * weights[:, None]
    count = min(NEAREST_LIKED, len(likes))
    if len(likes) <= MOST_COMBINED:
        combined = list(combinations(range(len(likes)), count))
    else:
        near = own @ weighed.T
        np.fill_diagonal(near, np.inf)
        combined = sorted({tuple(sorted(each)) for each in np.argsort(-near, axis=1, kind="stable")[:, :count].tolist()})
    centres = weighed[np.array(combined)].mean(axis=1)[:, None]
    made: Floats = np.concatenate([centres, centres - DISLIKE * rows[list(disliked)][None]], axis=1)
    return made


def evaluate_recommendations(vectors: ArrayLike, histories: Sequence[Sequence[int]], k: int = 10, diversity: float = 0.0) -> Held:
    """The last row of each history, recommended from those before it. histories: of two rows or more, the oldest first; shorter ones are
    left out. InvalidInput where none is left."""
    rows = unit(vectors)
    usable = [list(history) for history in histories if len(set(history)) > 1 and history[-1] not in history[:-1]]
    if not usable:
        raise InvalidInput("no history holds two different rows or more, the last of them new: there is nothing to hold out")
    counts = np.bincount([row for history in usable for row in history], minlength=len(rows))
    places, popular, chance = [], [], []
    for *seen, last in usable:
        found = recommend(rows, history=seen, k=k, diversity=diversity).indices.tolist()
        places.append(found.index(last) if last in found else -1)
        others = counts - np.bincount([*seen, last], minlength=len(rows))
        others[seen] = -1
        popular.append(last in np.argsort(-others, kind="stable")[:k])
        chance.append(min(1.0, k / max(len(rows) - len(set(seen)), 1)))
    hits = np.array(places) >= 0
    gains = np.where(hits, 1 / np.log2(np.maximum(places, 0) + 2.0), 0)
    draws = np.random.default_rng(0).integers(0, len(hits), (RESAMPLES, len(hits)))
    low, high = np.quantile(hits[draws].mean(axis=1), [0.025, 0.975])
    return Held(
        len(usable), k, float(hits.mean()), float(low), float(high), float(gains.mean()), float(np.mean(chance)), float(np.mean(popular))
    )


def _weighed(liked: Sequence[int], disliked: Sequence[int], history: Sequence[int]) -> tuple[list[int], Floats]:
    """The rows that speak for others, each once, and what each counts."""
    likes = [*dict.fromkeys([*liked, *reversed([row for row in history if row not in set(disliked)])])]
    if not likes:
        raise InvalidInput("nothing is liked and nothing was seen: name at least one row to start from")
    steps = {row: step for step, row in enumerate(reversed(history))}
    return likes, np.array([1.0 if row in set(liked) else FADE ** steps[row] for row in likes], np.float32)


def _scores(rows: Floats, likes: list[int], weights: Floats, dislikes: list[int]) -> tuple[Floats, Ints]:
    """Of every row; and the liked row nearest to it, weighed."""
    near = (rows @ rows[likes].T) * weights
    count = min(NEAREST_LIKED, len(likes))
    scores: Floats = np.sort(near, axis=1)[:, -count:].mean(axis=1)
    if dislikes:
        scores = scores - DISLIKE * np.maximum((rows @ rows[dislikes].T).max(axis=1), 0)
    return scores.astype(np.float32), np.array(likes)[near.argmax(axis=1)]


def _check(count: int, liked: Sequence[int], disliked: Sequence[int], history: Sequence[int], k: int, diversity: float) -> None:
    if k < 1:
        raise InvalidInput(f"k must be 1 or more, not {k}")
    if not 0 <= diversity <= 1:
        raise InvalidInput(f"diversity lies between 0 and 1, not {diversity}")
    strange = [row for row in [*liked, *disliked, *history] if not 0 <= row < count]
    if strange:
        raise InvalidInput(f"there is no row {strange[0]}; there are {count:,}, counted from 0")
    both = set(liked) & set(disliked)
    if both:
        raise InvalidInput(f"row {min(both)} is liked and disliked; leave out one of both")
