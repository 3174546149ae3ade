"""An `Encoder` without a model, for tests: vectors from the words of a text and their order, the same everywhere and for good."""

import hashlib
from collections.abc import Sequence

import numpy as np

from huiyi.errors import InvalidInput
from huiyi.types import Embedded, Kind


class FakeEncoder:
    """Texts that share words lie near each other. A word is a token, and one EOS. `calls` keeps the texts of every call.

    A kind or instruction is one more word in front; texts past `max_tokens` keep their first words.
    """

    def __init__(self, dim: int = 64, max_tokens: int = 1000) -> None:
        self.dim = dim
        self.max_tokens = max_tokens
        self.space = f"fake-{dim}"
        self.calls: list[list[str]] = []

    def embed(
        self, texts: Sequence[str], kind: Kind = "document", instruction: str | None = None, dimensions: int | None = None
    ) -> Embedded:
        if dimensions is not None and not 1 <= dimensions <= self.dim:
            raise InvalidInput(f"dimensions must lie between 1 and {self.dim}")
        self.calls.append(list(texts))
        prefix = [f"[{instruction or 'query'}]"] if kind == "query" else []
        words = [[*prefix, *text.split()][: self.max_tokens - 1] for text in texts]
        raw = np.array([self.raw(each) for each in words], np.float32).reshape(len(texts), self.dim)[:, :dimensions]
        vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        return Embedded(vectors, np.array([len(each) + 1 for each in words], np.int64))

    def raw(self, words: list[str]) -> np.ndarray:
        return self._word("<eos>") + sum(self._word(word) * (1 + 0.01 * i) for i, word in enumerate(words))

    def _word(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.blake2b(word.lower().encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
        return np.random.default_rng(seed).standard_normal(self.dim)
