"""What is evaluated, a model or a baseline: asked for the scores of pairs, for rankings, for features of texts.

A model embeds each distinct text once, in an order that depends on the texts alone.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from huiyi.encoding.classifier import PairClassifier, log_odds
from huiyi.errors import InvalidInput, ModelFailed
from huiyi.model import Model
from huiyi.training import baselines
from huiyi.training.baselines import BM25
from huiyi.training.judging import Ints, best_places
from huiyi.types import Floats, Kind
from huiyi.workspace.texts import SLICE_BYTES, TEXT_BYTES, Progress, Truncate, text_encoder

Scores = NDArray[np.float64]
QUERIES_AT_ONCE = 256
PAIRS_AT_ONCE = 512
EXCERPT = 40


class System(Protocol):
    """name: for tables. space: of its vectors, empty for a baseline."""

    name: str
    space: str

    def pair_scores(self, first: Sequence[str], second: Sequence[str], known: Sequence[str]) -> Scores:
        """[n], higher is more alike. known: the texts that a baseline may learn from."""
        ...

    def rank(self, queries: Sequence[str], passages: Sequence[str], depth: int) -> Ints:
        """[queries, at most depth]: places of passages, best first."""
        ...

    def features(self, texts: Sequence[str], known: Sequence[str]) -> Any:
        """[n, d], dense or sparse, rows of unit length (zero where a baseline knows nothing of a text)."""
        ...


class ModelSystem:
    """A model by its vectors; scores are cosines, or the log odds of a pair classifier.

    kind, instruction: of the queries in `rank`; all other texts are documents.
    """

    def __init__(
        self,
        model: Model,
        name: str = "",
        *,
        kind: Kind = "query",
        instruction: str | None = None,
        truncate: Truncate = "end",
        report: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.name, self.space = name or model.name, model.encoder.space
        self.full = 0  # texts that filled all the tokens that the model reads
        self._model, self._kind, self._instruction, self._truncate, self._report = model, kind, instruction, truncate, report
        self._known: dict[tuple[str, Kind], Floats] = {}
        self._pairs: dict[tuple[str, str], float] = {}

    def pair_scores(self, first: Sequence[str], second: Sequence[str], known: Sequence[str]) -> Scores:
        encoder = self._model.encoder
        if isinstance(encoder, PairClassifier):
            return self._classified(encoder, first, second)
        self._embed([*known, *first, *second])
        # a row at a time in float64: the same pair gets the same score, wherever it stands
        pairs = zip(self._rows(first), self._rows(second), strict=True)
        return np.array([np.dot(a.astype(np.float64), b) for a, b in pairs], np.float64).clip(-1, 1)

    def _classified(self, encoder: PairClassifier, first: Sequence[str], second: Sequence[str]) -> Scores:
        """A classifier reads both texts at once, so that what is kept is the score of each distinct pair."""
        wanted = sorted(set(zip(first, second, strict=True)) - self._pairs.keys())
        truncate = None if self._truncate == "none" else self._truncate
        clock = _Clock(len(wanted), self._report)
        for start in range(0, len(wanted), PAIRS_AT_ONCE):
            part = wanted[start : start + PAIRS_AT_ONCE]
            sides = [a for a, _ in part], [b for _, b in part]
            ids = encoder.pair_ids(*sides, truncate=truncate)
            self._pairs.update(zip(part, log_odds(encoder.logits_of(ids)).tolist(), strict=True))
            self.full += sum(len(row) >= encoder.max_tokens for row in ids)
            clock.add(len(part), sum(map(len, ids)))
        return np.array([self._pairs[pair] for pair in zip(first, second, strict=True)], np.float64)

    def rank(self, queries: Sequence[str], passages: Sequence[str], depth: int) -> Ints:
        self._embed(passages)
        self._embed(queries, self._kind, self._instruction)
        corpus = np.stack(list(self._rows(passages)))
        asked = np.stack(list(self._rows(queries, self._kind)))
        return _ranked(lambda part: asked[part] @ corpus.T, len(queries), depth)

    def features(self, texts: Sequence[str], known: Sequence[str]) -> Any:
        self._embed([*known, *texts])
        return np.stack(list(self._rows(texts)))

    def _rows(self, texts: Sequence[str], kind: Kind = "document") -> Iterator[Floats]:
        return (self._known[text, kind] for text in texts)

    def _embed(self, texts: Sequence[str], kind: Kind = "document", instruction: str | None = None) -> None:
        wanted = sorted({text for text in texts if (text, kind) not in self._known})
        encode = text_encoder(self._model, kind, instruction, truncate=self._truncate)
        clock = _Clock(len(wanted), self._report)
        for part in _parts(wanted):
            try:
                made = encode(part)
            except (InvalidInput, ModelFailed) as error:
                named = re.match(r"texts?[ \[](\d+)\]?:? ", str(error))
                if named is None:
                    raise
                text = part[int(named[1])]
                excerpt = text if len(text) <= EXCERPT else f"{text[: EXCERPT - 1]}…"
                raise type(error)(f"the text {excerpt!r} {str(error)[named.end() :]}") from error
            self._known.update(zip(((text, kind) for text in part), made.vectors, strict=True))
            self.full += int((made.tokens >= self._model.encoder.max_tokens).sum())
            clock.add(len(part), int(made.tokens.sum()))


class _Clock:
    """Progress by rows."""

    def __init__(self, rows: int, report: Callable[[Progress], None]) -> None:
        self._rows, self._report, self._began = rows, report, monotonic()
        self._done = self._tokens = 0

    def add(self, rows: int, tokens: int) -> None:
        self._done, self._tokens = self._done + rows, self._tokens + tokens
        seconds = max(monotonic() - self._began, 1e-9)
        left = (self._rows - self._done) * seconds / self._done
        self._report(Progress(self._rows, self._done, self._done / seconds, self._tokens / seconds, left))


class Constant:
    """Knows nothing of texts, so that whatever learns from it can only say what is most frequent."""

    name, space = "majority", ""

    def pair_scores(self, first: Sequence[str], second: Sequence[str], known: Sequence[str]) -> Scores:
        return np.zeros(len(first))

    def rank(self, queries: Sequence[str], passages: Sequence[str], depth: int) -> Ints:
        return np.tile(np.arange(min(depth, len(passages))), (len(queries), 1))

    def features(self, texts: Sequence[str], known: Sequence[str]) -> Any:
        return np.zeros((len(texts), 1))


class Lexical:
    """TF-IDF or BM25 in a model's place."""

    space = ""

    def __init__(self, name: str) -> None:
        self.name = name

    def pair_scores(self, first: Sequence[str], second: Sequence[str], known: Sequence[str]) -> Scores:
        if self.name == "bm25":
            return BM25(known).pairs(first, second)
        return baselines.tfidf_pairs(known, first, second)

    def rank(self, queries: Sequence[str], passages: Sequence[str], depth: int) -> Ints:
        if self.name == "bm25":
            index = BM25(passages)
            return _ranked(lambda part: index.scores(queries[part]), len(queries), depth)
        vectors = baselines.tfidf(passages)
        corpus = vectors(passages).T
        return _ranked(lambda part: (vectors(queries[part]) @ corpus).toarray(), len(queries), depth)

    def features(self, texts: Sequence[str], known: Sequence[str]) -> Any:
        if self.name == "bm25":
            raise InvalidInput("bm25 ranks passages and has no features; name tfidf, or a model")
        return baselines.tfidf(known)(texts)


def _ranked(scores: Callable[[slice], NDArray[Any]], queries: int, depth: int) -> Ints:
    parts = [slice(start, min(start + QUERIES_AT_ONCE, queries)) for start in range(0, queries, QUERIES_AT_ONCE)]
    return np.concatenate([best_places(scores(part), depth) for part in parts])


def _parts(texts: Sequence[str]) -> Iterator[list[str]]:
    """Slices of at most SLICE_BYTES of UTF-8, or of one longer text."""
    part: list[str] = []
    size = 0
    for text in texts:
        own = TEXT_BYTES + len(text.encode("utf-8", "replace"))
        if part and size + own > SLICE_BYTES:
            yield part
            part, size = [], 0
        part.append(text)
        size += own
    if part:
        yield part
