"""`PairClassifier`: two texts as one input, and a head on the pooled row that says whether they mean the same.

It stands where an encoder stands, shares its scheduler and its bounds, and gives scores in the place of vectors; asked for vectors it
refuses. Knows no files: what an adapter's folder means is workspace's.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from huiyi.encoding.encoder import LocalEncoder, Side, check_texts, slices
from huiyi.encoding.pairing import PairTemplate, bare
from huiyi.encoding.tokenizer import Tokenizer
from huiyi.engines.heads import Head
from huiyi.errors import InvalidInput, TooLong
from huiyi.types import Engine, Floats, Ids

Scores = NDArray[np.float64]


class PairClassifier(LocalEncoder):
    """max_tokens: of a pair, special tokens included. head: makes two logits of a pooled row.

    probability: of label 1, for float64 scores. threshold: the least score that is taken for label 1. Order matters: exchanging two
    texts may change their score.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        engine: Engine,
        *,
        space: str,
        adapter: Any,
        template: PairTemplate,
        head: Head,
        max_tokens: int,
        probability: Callable[[Scores], Scores],
        threshold: float = 0.0,
        base: LocalEncoder | None = None,
    ) -> None:
        super().__init__(tokenizer, engine, space=space, adapter=adapter, base=base)
        self.max_tokens = min(max_tokens, self.max_tokens)
        self.probability, self.threshold = probability, threshold
        self._bare_tokenizer, self._template, self._head = tokenizer, template, head

    def logits(
        self,
        first: Sequence[str],
        second: Sequence[str],
        *,
        truncate: Side | None = "end",
        cancelled: threading.Event | None = None,
        progress: Callable[[], object] = lambda: None,
    ) -> Floats:
        """float32 [n, labels] of the pairs (first[i], second[i]).

        truncate: "end" cuts pairs that are too long as in training, the longer text first; None refuses them. cancelled, progress: as in
        `LocalEncoder.embed`. Raises InvalidInput, TooLong, which name the pair, and what `LocalEncoder.embed` raises.
        """
        return self.logits_of(self.pair_ids(first, second, truncate=truncate, cancelled=cancelled), cancelled=cancelled, progress=progress)

    def pair_ids(
        self,
        first: Sequence[str],
        second: Sequence[str],
        *,
        truncate: Side | None = "end",
        cancelled: threading.Event | None = None,
    ) -> list[Ids]:
        """What the engine reads for each pair."""
        check_texts(first, "document")
        check_texts(second, "document")
        if len(first) != len(second):
            raise InvalidInput(f"pairs need as many texts on both sides; these are {len(first)} and {len(second)}")
        if truncate == "start":
            raise InvalidInput("a model of pairs cuts those that are too long at their ends, as it was trained; pass end, or none")
        rows: list[Ids] = []
        for part in slices([a + b for a, b in zip(first, second, strict=True)]):
            if cancelled is not None and cancelled.is_set():
                raise CancelledError
            rows += self._joined(part, first, second, truncate)
        return rows

    def logits_of(
        self, rows: Sequence[Ids], *, cancelled: threading.Event | None = None, progress: Callable[[], object] = lambda: None
    ) -> Floats:
        """float32 [n, labels] of what `pair_ids` gave."""
        logits = np.empty((len(rows), len(self._head.weight)), np.float32)

        def take(i: int, row: Floats) -> None:
            logits[i] = self._head.logits(row)
            progress()

        parts = list(slices([""] * len(rows)))
        self._pooled(parts, lambda part: [rows[i] for i in part], take, cancelled, repeatable=True)
        return logits

    def scores(self, first: Sequence[str], second: Sequence[str], **options: Any) -> Scores:
        """float64 [n]: log odds that they mean the same. options: as `logits`."""
        return log_odds(self.logits(first, second, **options))

    def probabilities(self, first: Sequence[str], second: Sequence[str], **options: Any) -> Scores:
        """float64 [n], of the pairs meaning the same. options: as `logits`."""
        return self.probability(self.scores(first, second, **options))

    def same(self, scores: Scores) -> NDArray[np.int64]:
        """1 where a score is taken for label 1, else 0."""
        return (scores >= self.threshold).astype(np.int64)

    def _joined(self, part: range, first: Sequence[str], second: Sequence[str], truncate: Side | None) -> Iterator[Ids]:
        sides = [bare(self._bare_tokenizer, [texts[i] for i in part]) for texts in (first, second)]
        for i, a, b in zip(part, *sides, strict=True):
            length = len(a) + len(b) + len(self._template)
            if truncate is None and length > self.max_tokens:
                raise TooLong(f"text {i}: the pair has {length} tokens, and this model reads {self.max_tokens}; let it be cut at its end")
            yield self._template.typed(a, b, self.max_tokens, self._bare_tokenizer.vocab_size)

    def embed(self, *arguments: Any, **options: Any) -> NoReturn:
        raise InvalidInput(
            "this adapter is a pair classifier: it says how probable it is that two texts mean the same (huiyi similarity, /v1/similarity) "
            "and has no vectors; leave the adapter out for those of its base"
        )

    embed_ids = token_ids = width = embed


def log_odds(logits: Floats) -> Scores:
    """Of label 1 against label 0."""
    return logits[:, 1].astype(np.float64) - logits[:, 0]
