"""`Reranker`: how well texts answer a query, read together with it; and what a reranker that says yes or no is asked.

The prompt is the one that Qwen3-Reranker's card publishes. Scores are log odds, of any size; a probability is their logistic curve.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from huiyi.encoding.classifier import PairClassifier, Scores, log_odds
from huiyi.encoding.encoder import Side
from huiyi.encoding.pairing import PairTemplate, bare
from huiyi.encoding.tokenizer import DEFAULT_TASK, Tokenizer
from huiyi.engines.heads import Head
from huiyi.errors import InvalidInput, TooLong
from huiyi.types import Engine, Ids

BEFORE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
AFTER = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


class Reranker(PairClassifier):
    """A cross-encoder over (query, text). name: under which it was asked for. Safe to call from many threads."""

    takes_instruction = False

    def __init__(self, name: str, tokenizer: Tokenizer, engine: Engine, *, template: PairTemplate, head: Head, space: str) -> None:
        super().__init__(
            tokenizer,
            engine,
            space=space,
            adapter=None,
            template=template,
            head=head,
            max_tokens=engine.max_tokens,
            probability=probability,
        )
        self.name = name

    def relevance(
        self,
        query: str,
        texts: Sequence[str],
        instruction: str | None = None,
        *,
        truncate: Side | None = "end",
        cancelled: threading.Event | None = None,
    ) -> Scores:
        """float64 [n]: log odds that each text answers the query.

        instruction: the task in the place of the usual one, for models that read one. Raises what `logits` raises.
        """
        rows = self.rows(query, texts, instruction, truncate=truncate, cancelled=cancelled)
        return log_odds(self.logits_of(rows, cancelled=cancelled))

    def rows(
        self,
        query: str,
        texts: Sequence[str],
        instruction: str | None = None,
        *,
        truncate: Side | None = "end",
        cancelled: threading.Event | None = None,
    ) -> list[Ids]:
        """What the engine reads for each text; "end" cuts what is too long at its end."""
        if instruction is not None and not self.takes_instruction:
            raise InvalidInput("this reranker was trained without instructions and has no place for one; leave it out")
        return self.pair_ids([query] * len(texts), texts, truncate=truncate, cancelled=cancelled)

    def embed(self, *arguments: Any, **options: Any) -> NoReturn:
        raise InvalidInput(
            f"{self.name} is a reranker: it scores texts for a query (/v1/rerank, huiyi search --rerank) and has no vectors; "
            f"name an embedding model for those"
        )

    embed_ids = token_ids = width = embed


class YesNoReranker(Reranker):
    """A Qwen3 that is asked whether a text answers a query. template: what stands around the question; texts lose their end first."""

    takes_instruction = True

    def __init__(self, name: str, tokenizer: Tokenizer, engine: Engine, *, head: Head, space: str) -> None:
        before, after = (tuple(row.tolist()) for row in bare(tokenizer, [BEFORE, AFTER]))
        super().__init__(name, tokenizer, engine, template=PairTemplate(before, (), after), head=head, space=space)

    def rows(
        self,
        query: str,
        texts: Sequence[str],
        instruction: str | None = None,
        *,
        truncate: Side | None = "end",
        cancelled: threading.Event | None = None,
    ) -> list[Ids]:
        asked = f"<Instruct>: {DEFAULT_TASK if instruction is None else instruction}\n<Query>: {query}"
        return self.pair_ids([asked] * len(texts), texts, truncate=truncate, cancelled=cancelled)

    def _joined(self, part: range, first: Sequence[str], second: Sequence[str], truncate: Side | None) -> Iterator[Ids]:
        """Question and text are one text to the tokenizer, as published."""
        whole = [f"{first[i]}\n<Document>: {second[i]}" for i in part]
        room = self.max_tokens - len(self._template)
        for i, ids in zip(part, bare(self._bare_tokenizer, whole), strict=True):
            if truncate is None and len(ids) > room:
                raise TooLong(f"text {i}: with its query it has {len(ids)} tokens, and this model reads {room}; let it be cut at its end")
            yield np.concatenate([np.asarray(each, np.int32) for each in (self._template.before, ids[:room], self._template.after)])


def probability(scores: Scores) -> Scores:
    """Of log odds."""
    return np.asarray(1 / (1 + np.exp(-np.clip(scores, -700, 700))))
