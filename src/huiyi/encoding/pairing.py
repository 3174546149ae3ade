"""Two texts as one input of a pair classifier: which special tokens stand around them, and what is cut when they are too long.

Knows ids, not text. The rule is written in docs/training.md; it is what `truncation=True` does in the tokenizers library.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from huiyi.encoding.tokenizer import Tokenizer
from huiyi.errors import InvalidInput, UnsupportedModel
from huiyi.types import Ids


@dataclass(frozen=True)
class PairTemplate:
    """before + A + between + B + after, as special tokens. token_types: whether B and what follows it have type 1, as in BERT."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    token_types: bool = False

    def __len__(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, first: Ids, second: Ids, max_length: int) -> Ids:
        """int32 ids of both texts, at most max_length. first, second: without special tokens."""
        a, b = lengths(len(first), len(second), max_length - len(self))
        parts: list[Any] = [self.before, first[:a], self.between, second[:b], self.after]
        return np.concatenate([np.asarray(part, np.int32) for part in parts])

    def typed(self, first: Ids, second: Ids, max_length: int, vocab_size: int) -> Ids:
        """As `join`, with vocab_size added to the ids of type 1, which is how an engine is told."""
        ids = self.join(first, second, max_length)
        kept, _ = lengths(len(first), len(second), max_length - len(self))
        return ids + vocab_size * self.types(kept, len(ids))

    def types(self, first: int, length: int) -> Ids:
        """Token types of an input of `length` tokens of which the first text has `first`."""
        types = np.zeros(length, np.int32)
        if self.token_types:
            types[len(self.before) + first + len(self.between) :] = 1
        return types

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any], where: str) -> "PairTemplate":
        """Raises UnsupportedModel when `fields`, of the file `where`, are not what `to_json` gave."""
        try:
            before, between, after = (tuple(map(int, fields[name])) for name in ("before", "between", "after"))
            return cls(before, between, after, bool(fields["token_types"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UnsupportedModel(f"{where}: pair is no template of two texts ({error}); write the folder again") from error


def lengths(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of each text are kept: the longer one is cut first, until both are of one length."""
    if room < 2:
        raise InvalidInput("the maximum length leaves no room for two texts beside the special tokens; raise it")
    if first + second <= room:
        return first, second
    half = room // 2
    if min(first, second) > half:
        return (room - half, half) if first > second else (half, room - half)
    return (room - second, second) if first > second else (first, room - first)


def template_of(tokenizer: Tokenizer, *, doubled: bool = False, token_types: bool = False) -> PairTemplate:
    """A model's own special tokens around two texts. doubled: what ends a text stands twice between two, as in RoBERTa."""
    before, after = map(tuple, tokenizer.ends)
    return PairTemplate(before, after * (2 if doubled else 1), after, token_types)


def bare(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Ids]:
    """The ids of texts without a prompt and without special tokens, as they stand in a pair."""
    before, after = tokenizer.ends
    return [ids[len(before) : len(ids) - len(after)] for ids in tokenizer.encode(texts, prompt="")]
