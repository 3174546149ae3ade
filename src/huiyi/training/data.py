"""What a model is trained on and judged by: pairs, scored pairs, triplets, queries with their passages, labelled texts.

Frozen columns of n rows, each row with the line where it stands in its file. `training/reading` makes them of rows. Knows nothing of
files, models or torch.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from huiyi.errors import InvalidInput

Ints = NDArray[np.int64]
Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Examples:
    """n rows of a file, as columns of n. lines: int64 [n], where each stands in the file (by default 1, 2, …). name: of the file.

    TEXTS: the fields that hold texts, or tuples of texts.
    """

    TEXTS: ClassVar[tuple[str, ...]] = ()
    lines: Ints = field(default_factory=lambda: np.zeros(0, np.int64), kw_only=True)
    name: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if len({len(column) for column in self._columns().values()}) != 1:
            raise InvalidInput(f"the columns of {type(self).__name__} must be of one length")
        if not len(self.lines):
            object.__setattr__(self, "lines", np.arange(1, len(self) + 1))

    def __len__(self) -> int:
        return len(next(iter(self._columns().values())))

    def _columns(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("lines", "name")}

    def take(self, places: Sequence[int] | Ints) -> Self:
        """The rows at `places` (0-based), in that order, with their lines."""
        at = np.asarray(places, np.int64)
        columns = self._columns().items()
        kept: dict[str, Any] = {
            name: column[at] if isinstance(column, np.ndarray) else tuple(column[i] for i in at) for name, column in columns
        }
        return replace(self, lines=self.lines[at], **kept)

    def content(self) -> Iterator[tuple[Any, ...]]:
        """The rows, cells in the order of the fields, without their lines."""
        return zip(*self._columns().values(), strict=True)

    def texts(self) -> list[str]:
        """Every text once, in order of first appearance."""
        found: dict[str, None] = {}
        for cells in zip(*(getattr(self, name) for name in self.TEXTS), strict=True):
            for cell in cells:
                found.update(dict.fromkeys((cell,) if isinstance(cell, str) else cell))
        return list(found)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all columns in their order: the same data out of another format, or with other line numbers, has the same digest."""
        digest = hashlib.sha256(type(self).__name__.encode())
        for column in self._columns().values():
            digest.update(repr(column.tolist() if isinstance(column, np.ndarray) else column).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Pairs(Examples):
    """Two texts and whether they mean the same. labels: int64 [n], 0 or 1."""

    TEXTS = ("first", "second")
    first: tuple[str, ...]
    second: tuple[str, ...]
    labels: Ints


@dataclass(frozen=True, eq=False)
class ScoredPairs(Examples):
    """Two texts and how alike they are. scores: float64 [n], on any scale, higher is more alike."""

    TEXTS = ("first", "second")
    first: tuple[str, ...]
    second: tuple[str, ...]
    scores: Scores


@dataclass(frozen=True, eq=False)
class Triplets(Examples):
    """`positive` is closer to `anchor` than `negative` is."""

    TEXTS = ("anchor", "positive", "negative")
    anchor: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Queries(Examples):
    """A query, the texts that answer it (one or more) and texts that do not (maybe none). A query stands once, at its first line."""

    TEXTS = ("queries", "positives", "negatives")
    queries: tuple[str, ...]
    positives: tuple[tuple[str, ...], ...]
    negatives: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, eq=False)
class Labelled(Examples):
    """Texts and the names of their classes."""

    TEXTS = ("sentences",)
    sentences: tuple[str, ...]
    labels: tuple[str, ...]


Training = Pairs | ScoredPairs | Triplets | Queries
