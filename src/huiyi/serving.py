"""A model as a server needs it: known under names, asked with texts or token ids, bounded a request, watched by figures.

Owns what is refused before a model works on it, and how unit vectors become small integers. Knows no HTTP. Everything that can be
refused is refused before the first forward pass; identical token ids give the same vectors however they were asked for.
"""

import math
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from huiyi.encoding.cache import CachedEncoder, CacheStats
from huiyi.encoding.classifier import PairClassifier, log_odds
from huiyi.encoding.encoder import LocalEncoder, Side, checked_ids, clip
from huiyi.encoding.remote import RemoteEncoder, UpstreamStats
from huiyi.encoding.reranker import Reranker, probability
from huiyi.encoding.scheduler import Stats
from huiyi.errors import InvalidInput, TooLarge, TooLong, Unavailable
from huiyi.types import Embedded, Floats, Ids, Kind

Truncate = Literal["none", "start", "end"]
OutputType = Literal["float", "int8", "uint8", "binary", "ubinary"]

# Tokenised between two looks at whether anybody still waits and whether there are too many tokens already: a few tenths of a second.
TOKENISE_TEXTS = 256
TOKENISE_CHARACTERS = 200_000


@dataclass(frozen=True)
class Origin:
    """How another process gets the same model: what `workspace.load` takes."""

    model: str
    precision: str
    max_tokens: int | None = None
    adapter: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class ScoredPairs:
    """Of n pairs. scores: log odds of meaning the same, or of the second answering the first; probabilities; tokens, as the model saw them:
    [n] each."""

    scores: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    tokens: NDArray[np.int64]


class Served:
    """One model. name: what answers call it; aliases: what else it answers to. Safe to call from many threads.

    cached: around `local`, where vectors are kept. max_request_tokens: of all inputs of a request together. base: for an adapter, the
    name of the model whose engine it shares; closing it leaves that one at work. adapting: makes the adapter in a folder a model of its
    own, served under a name; it raises what `workspace.adapters.open_folder` raises. origin: None where nobody else could load it.
    """

    def __init__(
        self,
        name: str,
        local: LocalEncoder,
        *,
        aliases: Sequence[str] = (),
        cached: CachedEncoder | None = None,
        max_request_tokens: int = 300_000,
        base: str | None = None,
        adapting: "Callable[[str, Path], Served] | None" = None,
        origin: Origin | None = None,
    ) -> None:
        self.origin = origin
        self.name, self.aliases = name, tuple(aliases)
        self.base, self.adapting = base, adapting
        self.is_reranker = isinstance(local, Reranker)
        self.is_classifier = isinstance(local, PairClassifier) and not self.is_reranker
        self.dim, self.max_tokens, self.space = local.dim, local.max_tokens, local.space
        self.max_request_tokens = max_request_tokens
        self._local, self._tokenizer, self._cached = local, local.tokenizer, cached

    def token_ids(
        self,
        inputs: Sequence[str] | Sequence[Sequence[int]],
        kind: Kind = "document",
        instruction: str | None = None,
        truncate: Truncate = "none",
        cancelled: threading.Event | None = None,
    ) -> list[Ids]:
        """What the model will read, special tokens included, one row an input.

        inputs: texts, or token ids that end in the end-of-text token. truncate: the side where a text that is too long is cut; "none"
        refuses it. Raises InvalidInput and TooLong, which name the input; TooLarge when they are more than `max_request_tokens`
        together; CancelledError.
        """
        rows: list[Ids] = []
        total = 0
        for part in _parts(inputs):
            if cancelled is not None and cancelled.is_set():
                raise CancelledError
            for at, row in zip(part, self._rows(inputs[part.start : part.stop], part.start, kind, instruction, truncate), strict=True):
                if truncate != "none":
                    row = self._tokenizer.truncate(row, truncate)
                if len(row) > self.max_tokens:
                    raise TooLong(
                        f"input {at} has {len(row):,} tokens and this model takes {self.max_tokens:,}; "
                        f'split it, or let it be cut with "truncate": "end"'
                    )
                total += len(row)
                rows.append(row)
            self._refuse_many(total)
        return rows

    def embed(self, rows: Sequence[Ids], dimensions: int | None = None, cancelled: threading.Event | None = None) -> Embedded:
        """As `LocalEncoder.embed_ids`."""
        self._refuse_unloaded()
        return (self._cached or self._local).embed_ids(rows, dimensions, cancelled=cancelled)

    def score_pairs(
        self,
        first: Sequence[str],
        second: Sequence[str],
        truncate: Truncate = "none",
        cancelled: threading.Event | None = None,
    ) -> ScoredPairs:
        """Of a pair classifier: how probable it is that first[i] and second[i] mean the same.

        truncate: "end" cuts pairs that are too long as in training; "none" refuses them. Raises InvalidInput and TooLong, which name the
        pair, TooLarge and CancelledError as `token_ids`.
        """
        local = self._local
        assert isinstance(local, PairClassifier)

        def rows(part: range, side: Side | None) -> list[Ids]:
            sides = ([clip(text, side) for text in texts[part.start : part.stop]] for texts in (first, second))
            return local.pair_ids(*sides, truncate=side)

        return self._scored(local, [*map("".join, zip(first, second, strict=True))], "pair", rows, truncate, cancelled)

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        instruction: str | None = None,
        truncate: Truncate = "none",
        cancelled: threading.Event | None = None,
    ) -> ScoredPairs:
        """Of a reranker: how probable it is that each document answers the query.

        instruction, truncate: as in `Reranker.relevance`. Raises what `score_pairs` raises, naming the document.
        """
        local = self._local
        assert isinstance(local, Reranker)

        def rows(part: range, side: Side | None) -> list[Ids]:
            texts = [clip(text, side) for text in documents[part.start : part.stop]]
            return local.rows(clip(query, side), texts, instruction, truncate=side)

        return self._scored(local, [query + text for text in documents], "document", rows, truncate, cancelled)

    def width(self, dimensions: int | None) -> int:
        """As `LocalEncoder.width`; raises InvalidInput for a pair classifier, which has no vectors."""
        return self._local.width(dimensions)

    @property
    def encoder(self) -> LocalEncoder:
        """What is asked; it remembers nothing."""
        return self._local

    @property
    def closed(self) -> bool:
        """Whether it takes no more texts: closed, or its worker has died."""
        return self._local.closed

    def stats(self) -> Stats:
        return self._local.scheduler.stats()

    def upstream_stats(self) -> list[UpstreamStats]:
        """Of the servers behind it; empty where it is computed here."""
        return self._local.upstreams() if isinstance(self._local, RemoteEncoder) else []

    def cache_stats(self) -> CacheStats | None:
        return self._cached.stats() if self._cached else None

    def close(self, drain: bool = True, timeout_s: float | None = None) -> None:
        """As `Scheduler.close`."""
        (self._cached or self._local).close(drain, timeout_s)

    def _scored(
        self,
        local: PairClassifier,
        joined: Sequence[str],
        what: str,
        rows_of: Callable[[range, Side | None], list[Ids]],
        truncate: Truncate,
        cancelled: threading.Event | None,
    ) -> ScoredPairs:
        """joined: as long as the pairs are. what: an error's "text 3" is called. rows_of: token ids of some of them."""
        self._refuse_unloaded()
        rows: list[Ids] = []
        total = 0
        for part in _parts(joined):
            if cancelled is not None and cancelled.is_set():
                raise CancelledError
            try:
                made = rows_of(part, None if truncate == "none" else truncate)
            except InvalidInput as error:
                if named := re.match(r"text (\d+)", str(error)):
                    raise type(error)(f"{what} {part.start + int(named[1])}{str(error)[named.end() :]}") from error
                raise
            rows += made
            total += sum(map(len, made))
            self._refuse_many(total)
        scores = log_odds(local.logits_of(rows, cancelled=cancelled))
        return ScoredPairs(scores, local.probability(scores), np.array([len(row) for row in rows], np.int64))

    def _refuse_many(self, tokens: int) -> None:
        if tokens > self.max_request_tokens:
            raise TooLarge(
                f"these inputs have more than {self.max_request_tokens:,} tokens together, the most that one request may hold here; "
                f"send them in several requests"
            )

    def _refuse_unloaded(self) -> None:
        if self.base is not None and self._local.closed:
            raise Unavailable(f"the adapter {self.name} was unloaded meanwhile; load it again, or ask its base {self.base}")

    def _rows(
        self,
        part: Sequence[str] | Sequence[Sequence[int]],
        start: int,
        kind: Kind,
        instruction: str | None,
        truncate: Truncate,
    ) -> list[Ids]:
        if isinstance(part[0], str):
            side = None if truncate == "none" else truncate
            texts: list[Any] = [clip(text, side) if isinstance(text, str) else text for text in part]
            return self._encoded(texts, start, kind, instruction)
        if kind == "query" or instruction is not None:
            raise InvalidInput("token ids are taken as they are: input_type query and an instruction need texts")
        return [self._checked(row, start + i) for i, row in enumerate(part)]

    def _encoded(self, texts: list[str], start: int, kind: Kind, instruction: str | None) -> list[Ids]:
        try:
            return self._tokenizer.encode(texts, kind=kind, instruction=instruction)
        except InvalidInput:
            for i, text in enumerate(texts):
                try:
                    self._tokenizer.encode([text], kind=kind, instruction=instruction)
                except InvalidInput as error:
                    raise type(error)(f"input {start + i}: {error}") from error
            raise

    def _checked(self, row: Any, at: int) -> Ids:
        if not isinstance(row, list) or not row or any(type(id_) is not int for id_ in row):
            raise InvalidInput(f"input {at} is not a list of token ids; give texts, or lists of whole numbers, and not both in one request")
        ids = checked_ids(row, at, self._tokenizer.vocab_size)
        if self._tokenizer.eos_id is not None and ids[-1] != self._tokenizer.eos_id:
            raise InvalidInput(
                f"input {at} is a list of token ids that does not end in {self._tokenizer.eos_id}, this model's end-of-text token: "
                f"were they made by its own tokenizer? LangChain sends ids of another model's by default; "
                f"OpenAIEmbeddings(..., check_embedding_ctx_length=False) makes it send texts"
            )
        return ids


@dataclass(frozen=True)
class RequestReranker:
    """A reranker that is served, at work for one request, within its limits and no longer than anybody waits."""

    served: Served
    cancelled: threading.Event

    def relevance(self, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """As `Reranker.relevance`. Raises what `Served.rerank` raises."""
        return self.served.rerank(query, texts, truncate="end", cancelled=self.cancelled).scores

    def probability(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return probability(scores)


def _parts(inputs: Sequence[Any]) -> Iterator[range]:
    """Consecutive ranges, bounded in inputs and in their lengths."""
    start = length = 0
    for at, input_ in enumerate(inputs):
        if at > start and (at - start == TOKENISE_TEXTS or length > TOKENISE_CHARACTERS):
            yield range(start, at)
            start, length = at, 0
        length += len(input_) if isinstance(input_, str | list) else 1
    if inputs:
        yield range(start, len(inputs))


def int8_range(dim: int) -> float:
    """The absolute value that becomes 127: eight standard deviations of a number in a unit vector of this width, and 1 at most."""
    return min(1.0, 8 / math.sqrt(dim))


def quantized(vectors: Floats, output: OutputType) -> NDArray[Any]:
    """Unit vectors [n, dim] as small integers.

    int8: value / int8_range(dim) * 127, rounded, cut off at -127 and 127; zero stays zero, so cosines and inner products can be taken
    of the integers. uint8: the same plus 128. ubinary: a bit a number, 1 where it is above zero, eight to a byte, the first
    highest, as numpy.packbits; binary: that minus 128, as sentence-transformers' quantize_embeddings gives it.
    """
    if output == "float":
        return vectors
    small: NDArray[Any]
    if output in ("int8", "uint8"):
        scaled = np.clip(np.rint(vectors * (127 / int8_range(vectors.shape[1]))), -127, 127)
        small = scaled.astype(np.int8) if output == "int8" else (scaled + 128).astype(np.uint8)
    else:
        bits = np.packbits(vectors > 0, axis=1)
        small = bits if output == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)
    return small
