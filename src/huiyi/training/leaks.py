"""The same thing twice: duplicates, pairs with two labels, and evaluation examples that stand in training data.

Two pairs are the same when their texts are, in either order, with case, width, blanks and punctuation ignored. Whatever is found is told
with its lines.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from huiyi.training.data import Examples, Labelled, Pairs, Queries, ScoredPairs, Triplets

Kept = TypeVar("Kept", bound=Examples)
Key = tuple[str, ...]
Lines = tuple[int, ...]


@dataclass(frozen=True)
class Repeats:
    """duplicates: lines of rows that say again what an earlier one said. conflicts: two lines that say different things of the same."""

    duplicates: Lines
    conflicts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Cleaned(Generic[Kept]):
    """kept: the training examples without those that evaluation holds too. leaked: the lines of these. shared: distinct texts, whatever
    they stand with, that both hold and that were not taken out for it."""

    kept: Kept
    leaked: Lines
    shared: int


def folded(text: str) -> str:
    """`text` as it is compared: NFKC, without case, blanks and punctuation; a text of nothing else keeps its punctuation."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return plain.translate(_DROPPED) or "".join(plain.split())


class _Dropped(dict[int, int | None]):
    """For str.translate: nothing in the place of blanks, punctuation and control characters, asked once a character."""

    def __missing__(self, code: int) -> int | None:
        self[code] = None if unicodedata.category(chr(code))[0] in "ZPC" else code
        return self[code]


_DROPPED = _Dropped()


def pair_key(one: str, other: str) -> Key:
    """The same for every writing of the same unordered pair."""
    a, b = folded(one), folded(other)
    return (a, b) if a <= b else (b, a)


def keys(examples: Examples) -> Iterator[Sequence[Key]]:
    """What each row is known by again: its pairs, or a labelled text alone."""
    match examples:
        case Pairs() | ScoredPairs():
            yield from ([pair_key(a, b)] for a, b in zip(examples.first, examples.second, strict=True))
        case Triplets():
            rows = zip(examples.anchor, examples.positive, examples.negative, strict=True)
            yield from ([pair_key(anchor, positive), pair_key(anchor, negative)] for anchor, positive, negative in rows)
        case Queries():
            answered = zip(examples.queries, examples.positives, strict=True)
            yield from ([pair_key(query, positive) for positive in positives] for query, positives in answered)
        case Labelled():
            yield from ([(folded(text),)] for text in examples.sentences)
        case _:
            raise TypeError(f"{type(examples).__name__} has no keys")


def repeats(examples: Examples) -> Repeats:
    """Rows that stand twice in one file."""
    said = _said(examples)
    first: dict[tuple[Key, ...], int] = {}
    duplicates, conflicts = [], []
    for row, key in enumerate(keys(examples)):
        earlier = first.setdefault(tuple(key), row)
        if earlier == row:
            continue
        if said[earlier] == said[row]:
            duplicates.append(int(examples.lines[row]))
        else:
            conflicts.append((int(examples.lines[earlier]), int(examples.lines[row])))
    return Repeats(tuple(duplicates), tuple(conflicts))


def _said(examples: Examples) -> list[object]:
    """What each row says of its texts."""
    if isinstance(examples, Pairs | Labelled):
        return list(examples.labels)
    return list(examples.scores) if isinstance(examples, ScoredPairs) else [None] * len(examples)


def without_leaks(training: Kept, evaluation: Examples) -> Cleaned[Kept]:
    """`training` without the rows of which a pair (or a labelled text) stands in `evaluation` too."""
    known = {key for row in keys(evaluation) for key in row}
    leaked = np.array([not known.isdisjoint(row) for row in keys(training)], bool)
    kept = training.take(np.flatnonzero(~leaked))
    ours = {folded(text) for text in evaluation.texts()}
    shared = len({folded(text) for text in kept.texts()} & ours) if len(kept) else 0
    return Cleaned(kept, tuple(training.lines[leaked].tolist()), shared)
