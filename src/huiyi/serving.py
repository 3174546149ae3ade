"""A model as a server needs it: known under names, asked with texts or token ids, bounded a request, watched by figures.

Owns what is refused before a model works on it, and how unit vectors become small integers. Knows no HTTP. Everything that can be
refused is refused before the first forward pass; identical token ids give the same vectors however they were asked for.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from huiyi.encoding.cache import CachedEncoder, CacheStats
from huiyi.encoding.encoder import LocalEncoder, checked_ids
from huiyi.encoding.scheduler import Stats
from huiyi.errors import InvalidInput, TooLarge, TooLong
from huiyi.types import Embedded, Floats, Ids, Kind

Truncate = Literal["none", "start", "end"]
OutputType = Literal["float", "int8", "uint8", "binary", "ubinary"]

# Tokenised between two looks at whether anybody still waits and whether there are too many tokens already: a few tenths of a second.
TOKENISE_TEXTS = 256
TOKENISE_CHARACTERS = 200_000
# A longer text is cut before the tokenizer sees it: no model reads 32,768 tokens of 15 characters each.
MOST_CHARACTERS = 500_000


class Served:
    """One model. name: what answers call it; aliases: what else it answers to. Safe to call from many threads.

    cached: around `local`, where vectors are kept. max_request_tokens: of all inputs of a request together.
    """

    def __init__(
        self,
        name: str,
        local: LocalEncoder,
        *,
        aliases: Sequence[str] = (),
        cached: CachedEncoder | None = None,
        max_request_tokens: int = 300_000,
    ) -> None:
        self.name, self.aliases = name, tuple(aliases)
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
            if total > self.max_request_tokens:
                raise TooLarge(
                    f"these inputs have more than {self.max_request_tokens:,} tokens together, the most that one request may hold here; "
                    f"send them in several requests"
                )
        return rows

    def embed(self, rows: Sequence[Ids], dimensions: int | None = None, cancelled: threading.Event | None = None) -> Embedded:
        """As `LocalEncoder.embed_ids`."""
        return (self._cached or self._local).embed_ids(rows, dimensions, cancelled=cancelled)

    def width(self, dimensions: int | None) -> int:
        """As `LocalEncoder.width`."""
        return self._local.width(dimensions)

    @property
    def closed(self) -> bool:
        """Whether it takes no more texts: closed, or its worker has died."""
        return self._local.scheduler.closed

    def stats(self) -> Stats:
        return self._local.scheduler.stats()

    def cache_stats(self) -> CacheStats | None:
        return self._cached.stats() if self._cached else None

    def close(self, drain: bool = True, timeout_s: float | None = None) -> None:
        """As `Scheduler.close`."""
        (self._cached or self._local).close(drain, timeout_s)

    def _rows(
        self,
        part: Sequence[str] | Sequence[Sequence[int]],
        start: int,
        kind: Kind,
        instruction: str | None,
        truncate: Truncate,
    ) -> list[Ids]:
        if isinstance(part[0], str):
            kept = {"none": slice(None), "end": slice(MOST_CHARACTERS), "start": slice(-MOST_CHARACTERS, None)}[truncate]
            texts: list[Any] = [text[kept] if isinstance(text, str) else text for text in part]
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
