"""What a search asks, and what it makes of what a store found: both legs fused, a reranker's order, hits that differ, words marked.

Plain functions on hits; no model, and of a store only what it gives for these.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from huiyi.errors import InvalidInput
from huiyi.spaces import LONGEST_TEXT
from huiyi.stores.store import Candidates, Hit, Scores, Store
from huiyi.stores.terms import spans
from huiyi.tasks import fusion
from huiyi.types import Floats

Mode = Literal["hybrid", "semantic", "keyword"]
MODES: tuple[Mode, ...] = ("hybrid", "semantic", "keyword")
DEPTH = 100  # candidates of each leg of a hybrid search, at least
RERANKED = 50  # candidates that a reranker reads, at least
POOL = 4  # candidates for each hit that shall differ from the others


class Relevance(Protocol):
    """A `Reranker`, or what speaks for one."""

    def relevance(self, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """float64 [n]: log odds that each text answers the query."""
        ...

    def probability(self, scores: NDArray[np.float64]) -> NDArray[np.float64]: ...


class Queries:
    """What is asked, checked. texts: empty where only vectors were given. vectors: float32 [n, dim], unit rows, None where to be made."""

    def __init__(self, queries: Sequence[str] | Floats, vectors: Floats | None, mode: Mode) -> None:
        self.texts: list[str] = []
        if isinstance(queries, np.ndarray) and queries.dtype.kind == "f":
            if mode != "semantic" or vectors is not None:
                raise InvalidInput(f'a vector has no words for mode="{mode}": pass mode="semantic", or the text, and its vector besides')
            vectors = queries
        else:
            self.texts = list(queries)
            for text in self.texts:
                if not isinstance(text, str) or not text.strip():
                    raise InvalidInput("a query is a text that is not empty" + ("" if isinstance(text, str) else f", not {text!r}"))
            if vectors is not None and len(vectors) != len(self.texts):
                raise InvalidInput(f"{len(self.texts)} queries were given with {len(vectors)} vectors; give one for each")
        self.vectors = None if vectors is None else _unit(np.asarray(vectors, np.float32))


def fused(candidates: Candidates, weight: float, depth: int) -> list[Hit]:
    """The chosen candidates of a hybrid search as hits, in their order. depth: how many of each leg are among them all."""
    cosines, bm25 = candidates.cosines.tolist(), candidates.bm25.tolist()
    scores = fusion.convex(cosines, bm25, weight).tolist()
    near, words = fusion.ranks(cosines, depth).tolist(), fusion.ranks(bm25, depth, above=0).tolist()
    hits = []
    for i, one in candidates.records.items():
        places = near[i] or None, words[i] or None
        hits.append(Hit(one.id, scores[i], one.text, one.metadata, cosines[i], bm25[i], *places))
    return hits


def best(cosines: Scores, bm25: Scores, weight: float, k: int) -> list[int]:
    best: list[int] = fusion.order(cosines, bm25, weight)[:k].tolist()
    return best


def require_rerankable(asked: Queries, min_score: float | str | None, depth: int) -> None:
    """InvalidInput for what a reranker cannot be asked."""
    if not asked.texts:
        raise InvalidInput("a reranker reads the query itself: give its text, and its vector besides")
    if isinstance(min_score, str):
        raise InvalidInput("the tuned min_score is for scores without a reranker; with one give a number, a probability from 0 to 1")
    if depth < 1:
        raise InvalidInput(f"rerank_depth is the number of candidates that are reranked, 1 or more, not {depth}")


def reranked(reranker: Relevance, query: str, hits: Sequence[Hit]) -> list[Hit]:
    """In a reranker's order, equal ones as they were."""
    scores = reranker.relevance(query, [hit.text[:LONGEST_TEXT] for hit in hits])
    chances = reranker.probability(scores).tolist()
    order = np.argsort(-scores, kind="stable").tolist()
    return [replace(hits[i], score=chances[i], retrieved=hits[i].score) for i in order]


def varied(store: Store, hits: list[Hit], k: int, diversity: float) -> list[Hit]:
    vectors = store.vectors([hit.id for hit in hits])
    there = [hit for hit in hits if hit.id in vectors]  # others were deleted just now
    if not there:
        return []
    scores = np.array([hit.score for hit in there], np.float32)
    scores /= max(1.0, float(np.abs(scores).max()))  # BM25 beside cosines
    return [there[i] for i in fusion.varied(np.stack([vectors[hit.id] for hit in there]), scores, k, diversity)]


def marked(hit: Hit, query: str) -> Hit:
    return replace(hit, spans=tuple(spans(hit.text, query)))


def as_vector(given: object) -> Floats:
    """float32 [dim]. InvalidInput."""
    try:
        vector = np.asarray(given, np.float32)
    except (TypeError, ValueError):
        vector = np.empty((), np.float32)
    if given is None or vector.ndim != 1:
        raise InvalidInput(f"a query is a text that is not empty, or a vector [dim], not {str(given)[:60]!r}")
    return vector


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if vectors.ndim != 2 or not (np.isfinite(norms).all() and (norms > 0).all()):
        raise InvalidInput("a query is a text, or a vector [dim] of finite numbers that are not all zero")
    return cast(Floats, vectors / norms)
