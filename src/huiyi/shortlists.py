"""What a store has to give so that recommending need not read all of it: the records among which the best are, and their vectors.

Searches go deeper until nothing that was not found could be better than what was. Knows no encoder, and not how a score is made but that it
is the highest, over groups, of the lowest product with the vectors of one (`tasks.recommending.aims`).
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from huiyi.stores.filters import Filter
from huiyi.stores.store import Store
from huiyi.types import Floats

BLOCK = 32  # searches at a time: bounds the texts that are held
SPARE = 20
DEEPER = 4
DEEPEST = 8_192  # hits of one search; no backend gives many more
MOST_FOUND = 50_000


@dataclass(frozen=True)
class Shortlist:
    """Records whose texts differ from one another and are not empty. vectors: float32 [n, dim]."""

    ids: list[str]
    texts: list[str]
    vectors: Floats


def shortlist(store: Store, aims: Floats, wanted: int, filter: Filter | None, but: Collection[str]) -> Shortlist | None:
    """Records among which the `wanted` of the highest score are; None where only a look at all of them can tell.

    aims: [groups, m, dim]. but: texts that are of no use.
    """
    groups, each, dim = aims.shape
    vectors = aims.reshape(-1, dim)
    lengths = np.linalg.norm(vectors, axis=1)
    queries = (vectors / np.maximum(lengths, 1e-12)[:, None]).astype(np.float32)
    depth = wanted + len(but) + SPARE
    while depth <= DEEPEST:
        found: dict[str, str] = {}
        last = []
        for start in range(0, len(queries), BLOCK):
            for hits in store.search(queries[start : start + BLOCK], depth, filter):
                found |= {hit.id: hit.text for hit in hits}
                last.append(hits[-1].score if len(hits) == depth else -np.inf)
        if len(found) > MOST_FOUND:
            break
        listed = _listed(store, found, but, dim)
        unseen = (np.array(last) * lengths).reshape(groups, each).min(axis=1).max()
        if not np.isfinite(unseen):
            return listed
        if len(listed.ids) >= wanted:
            scores = (listed.vectors @ vectors.T).reshape(-1, groups, each).min(axis=2).max(axis=1)
            if np.partition(scores, -wanted)[-wanted] >= unseen:
                return listed
        depth *= DEEPER
    return None


def _listed(store: Store, found: dict[str, str], but: Collection[str], dim: int) -> Shortlist:
    first = {text: id_ for id_, text in reversed(found.items()) if text.strip() and text not in but}
    vectors = store.vectors(list(first.values()))
    kept = {id_: text for text, id_ in first.items() if id_ in vectors}  # others were deleted just now
    rows = np.array([vectors[id_] for id_ in kept], np.float32).reshape(-1, dim)
    return Shortlist(list(kept), list(kept.values()), rows)
