"""What every job over texts needs: the loader it was given, texts cut before they are tokenised, errors that name a line, progress."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from huiyi.encoding.classifier import PairClassifier, log_odds
from huiyi.encoding.encoder import LocalEncoder, clip
from huiyi.encoding.machines import RayEncoder
from huiyi.errors import InvalidInput, ModelFailed
from huiyi.model import Model
from huiyi.sources.readers import Row, as_text
from huiyi.sources.tables import Slice, Table
from huiyi.types import Embedded, Kind

Truncate = Literal["end", "start", "none"]
Load = Callable[..., Model]  # of a name or folder, a precision, a number of threads, and options as `workspace.load` has them
Loader = Callable[[], Model]
Encode = Callable[[Sequence[str]], Embedded]

# A slice is one call of the encoder: some thousand tokens, seconds on a slow machine. A text counts as some bytes more than it has,
# so that empty ones do not come in millions.
SLICE_BYTES = 32_768
TEXT_BYTES = 64
ROW_CHARACTERS = 8


@dataclass(frozen=True)
class Progress:
    """Where a job stands. Rates are of this run alone."""

    rows: int
    rows_done: int
    texts_per_s: float
    tokens_per_s: float
    seconds_left: float


@dataclass(frozen=True)
class ScoredPairs:
    """scores: float64 [n]. tokens: int64, one an input of the model. judge: what says which scores mean the same; None for cosines."""

    scores: NDArray[np.float64]
    tokens: NDArray[np.int64]
    judge: PairClassifier | None


def text_encoder(
    model: Model,
    kind: Kind = "document",
    instruction: str | None = None,
    dimensions: int | None = None,
    truncate: Truncate = "none",
) -> Encode:
    encoder = model.encoder
    if isinstance(encoder, LocalEncoder | RayEncoder):
        side = None if truncate == "none" else truncate
        return lambda texts: encoder.embed(
            [clip(text, side) for text in texts], kind, instruction, dimensions, truncate=side, repeatable=True
        )
    if truncate != "none":
        raise InvalidInput("this model cannot cut texts that are too long; pass --truncate none")
    return lambda texts: encoder.embed(texts, kind, instruction, dimensions)


def score_pairs(model: Model, first: Sequence[str], second: Sequence[str], truncate: Truncate = "end") -> ScoredPairs:
    """How alike first[i] and second[i] are: cosines, or the log odds of a pair classifier, which says what they mean, too."""
    if isinstance(model.encoder, PairClassifier):
        rows = model.encoder.pair_ids(first, second, truncate=None if truncate == "none" else truncate)
        scores = log_odds(model.encoder.logits_of(rows))
        return ScoredPairs(scores, np.array([len(row) for row in rows], np.int64), model.encoder)
    made = text_encoder(model, truncate=truncate)([text for pair in zip(first, second, strict=True) for text in pair])
    cosines = np.einsum("nd,nd->n", made.vectors[::2], made.vectors[1::2])
    return ScoredPairs(np.clip(cosines, -1, 1).astype(np.float64), made.tokens, None)  # rounding can end at 1.0000001


def embed_slice(table: Table, piece: Slice, encode: Encode) -> Embedded:
    with _lines_named(table, piece, len(piece.texts)):
        return encode(piece.texts)


def score_slice(table: Table, piece: Slice, model: Model, truncate: Truncate) -> ScoredPairs:
    """piece: of two columns."""
    counted = len(piece.rows) if isinstance(model.encoder, PairClassifier) else len(piece.texts)
    with _lines_named(table, piece, counted):
        return score_pairs(model, piece.texts[::2], piece.texts[1::2], truncate)


@contextmanager
def _lines_named(table: Table, piece: Slice, counted: int) -> Iterator[None]:
    """An error that names a text, one of `counted` in the slice, names its line instead."""
    try:
        yield
    except (InvalidInput, ModelFailed) as error:
        named = re.match(r"texts?[ \[](\d+)\]?:? ", str(error))
        if named is None:
            raise
        line = piece.rows[int(named[1]) * len(piece.rows) // counted].number
        raise type(error)(f"{table.name}, line {line}: the text {str(error)[named.end() :]}") from error


def count_full(made: Embedded, model: Model) -> int:
    return int((made.tokens >= model.encoder.max_tokens).sum())


class Clock:
    """Progress by characters, since texts differ in length; a row counts as some more, so that empty ones count too."""

    def __init__(self, table: Table, columns: Sequence[str], report: Callable[[Progress], None]) -> None:
        self._columns, self._report = columns, report
        self._rows = table.rows
        self._work = ROW_CHARACTERS * table.rows + sum(table.columns[column].characters for column in columns)
        self._rows_done = self._work_skipped = self._work_done = self._texts = self._tokens = 0
        self._began = monotonic()

    def skip(self, row: Row) -> None:
        """A row of an earlier run."""
        self._rows_done += 1
        self._work_skipped += self._work_of(row)

    def add(self, piece: Slice, tokens: NDArray[np.int64]) -> None:
        self._rows_done += len(piece.rows)
        self._work_done += sum(map(self._work_of, piece.rows))
        self._texts += len(piece.texts)
        self._tokens += int(tokens.sum())
        seconds = self.seconds()
        left = self._work - self._work_skipped - self._work_done
        self._report(Progress(self._rows, self._rows_done, self._texts / seconds, self._tokens / seconds, left * seconds / self._work_done))

    def seconds(self) -> float:
        return max(monotonic() - self._began, 1e-9)

    def _work_of(self, row: Row) -> int:
        return ROW_CHARACTERS + sum(len(as_text(row.cells.get(column))) for column in self._columns)
