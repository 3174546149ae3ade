"""What a model must beat: TF-IDF of characters and BM25, which read no meaning, only which characters stand there.

Both look at characters and pairs of neighbours, which serves Chinese without a dictionary; in Latin script TF-IDF takes two to four letters
and BM25 words. They learn from texts alone, never from labels.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Baseline = Literal["tfidf", "bm25"]
BASELINES: tuple[Baseline, ...] = ("tfidf", "bm25")

K1, B = 1.2, 0.75  # Robertson and Zaragoza 2009, the usual ones
_TERM = re.compile(r"[a-z0-9]+|[^\W_]")
_LATIN = re.compile(r"[A-Za-z]")


def tfidf(texts: Sequence[str]) -> Callable[[Sequence[str]], Any]:
    """Learned from `texts`: a function from texts to a sparse matrix [n, terms], rows of unit length (zero where no term is known)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    latin = sum(len(_LATIN.findall(text)) for text in texts) > sum(map(len, texts)) / 2
    vectorizer = TfidfVectorizer(analyzer="char_wb" if latin else "char", ngram_range=(2, 4) if latin else (1, 2), sublinear_tf=True)
    vectorizer.fit([*texts, "\0"])  # texts of blanks alone leave no term, which fit refuses
    return lambda new: vectorizer.transform(new)


def terms(text: str) -> list[str]:
    """Words of Latin letters and digits; other characters alone and in neighbouring pairs."""
    single = _TERM.findall(text.casefold())
    return [*single, *(a + b for a, b in pairwise(single) if not (a.isascii() or b.isascii()))]


class BM25:
    """Okapi BM25 with an idf that is never negative (Lucene's), as sparse matrices over the passages it was made of."""

    def __init__(self, passages: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        self._counter = CountVectorizer(analyzer=terms)
        self._counter.fit([*passages, "\0 0"])
        counts = self._counter.transform(passages).astype(np.float64)
        self._length = float(counts.sum() / max(1, len(passages))) or 1.0
        holding = np.bincount(counts.indices, minlength=counts.shape[1])
        self._idf = np.log(1 + (len(passages) - holding + 0.5) / (holding + 0.5))
        self._weights = self._weighted(counts)

    def _weighted(self, counts: Any) -> Any:
        weights = counts.tocsr(copy=True)
        lengths = np.repeat(np.asarray(counts.sum(axis=1)).ravel(), np.diff(weights.indptr))
        saturated = weights.data * (K1 + 1) / (weights.data + K1 * (1 - B + B * lengths / self._length))
        weights.data = saturated * self._idf[weights.indices]
        return weights

    def scores(self, queries: Sequence[str]) -> Scores:
        """float64 [queries, passages]."""
        asked = self._counter.transform(queries)
        return np.asarray((asked @ self._weights.T).toarray(), np.float64)

    def pairs(self, first: Sequence[str], second: Sequence[str]) -> Scores:
        """float64 [n], alike in both directions: each text as a query to the other, as shares of what it scores with itself."""
        a, b = (self._counter.transform(texts).astype(np.float64) for texts in (first, second))
        wa, wb = self._weighted(a), self._weighted(b)
        shares = [_rows(one, other) / np.maximum(_rows(one, own), 1e-9) for one, other, own in ((a, wb, wa), (b, wa, wb))]
        return np.asarray((shares[0] + shares[1]) / 2, np.float64)


def tfidf_pairs(known: Sequence[str], first: Sequence[str], second: Sequence[str]) -> Scores:
    """The cosine of each pair of texts. known: the texts that the weights are learned from."""
    vectors = tfidf(known)
    return _rows(vectors(first), vectors(second))


def _rows(a: Any, b: Any) -> Scores:
    """Inner products of rows that stand side by side."""
    return np.asarray(a.multiply(b).sum(axis=1), np.float64).ravel()
