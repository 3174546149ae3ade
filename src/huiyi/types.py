"""The two protocols of the house (`Encoder`, `Engine`) and the values that travel between its rooms.

An `Encoder` turns text into vectors, an `Engine` turns token ids into pooled vectors. Encoders wrap encoders.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]
Kind = Literal["document", "query"]


@dataclass(frozen=True)
class Embedded:
    """vectors: float32 [n, dim], each row of unit length. tokens: int64 [n], as the model saw them (template and EOS included)."""

    vectors: Floats
    tokens: NDArray[np.int64]


class Encoder(Protocol):
    """Anything that turns text into vectors.

    dim: width of a full vector. max_tokens: longest text, EOS included. space: which vectors may be compared;
    vectors of two spaces never mix.
    """

    @property
    def dim(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def space(self) -> str: ...

    def embed(
        self,
        texts: Sequence[str],
        kind: Kind = "document",
        instruction: str | None = None,
        dimensions: int | None = None,
    ) -> Embedded:
        """One unit vector a text, in input order; blocks until all are there.

        instruction: replaces the model's own task for queries; ignored by no one: an encoder that cannot use it raises InvalidInput.
        dimensions: cut to this many numbers before normalising. Raises TooLong, ModelFailed, Overloaded, Unavailable, InvalidInput.
        """
        ...


@dataclass(frozen=True)
class Batches:
    """What an engine wants batches to be. tokens: in one; a single row may exceed it. padding: by how many tokens, in sum, its rows may
    fall short of the longest. workers: threads that may be in the engine at once."""

    tokens: int = 512
    padding: int = 256
    workers: int = 1


class Engine(Protocol):
    """Token ids in, pooled vectors out; not thread-safe (the scheduler's one worker calls it).

    adapter: what the engine itself made of an adapter, for all rows of a batch; None: the base as it is. An engine that wants other
    batches than `Batches()` has them as its `batches`; with several workers it is safe to call, and no sequence is long to it.

    dim: width of a vector. max_tokens: longest sequence it can take.
    long_tokens: sequences longer than this should go through `steps`, so that others can run in between.
    """

    @property
    def dim(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def long_tokens(self) -> int: ...

    def forward(self, batch: Sequence[Ids], adapter: Any = None) -> Floats:
        """[n, dim] float32, pooled, not normalised, in the order of `batch`; rows do not influence one another beyond rounding."""
        ...

    def steps(self, ids: Ids, adapter: Any = None) -> Generator[None, None, Floats]:
        """One long sequence in short steps: yields between them (each well under a second or so) and returns float32 [dim]."""
        ...
