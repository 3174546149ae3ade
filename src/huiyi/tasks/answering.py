"""What speaks for the best match of a question being its answer: how near it is, what words they share, how far behind the next one is."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

Evidence = NDArray[np.float64]

NAMES = (
    "cosine",
    "question's words in the match",
    "match's words in the question",
    "words of both",
    "lead in cosine",
    "lead in question's words",
    "lead in match's words",
    "lead in words of both",
    "cosine of the nearest above it",
)
LOOKED_AT = 2000  # characters of a text
# Thai, Lao, Burmese, Khmer, Japanese, Chinese, Korean: scripts without blanks between words, read as pairs of neighbours.
_DENSE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7ff"
_TERM = re.compile(rf"[{_DENSE}]|[^\W_{_DENSE}]+")


def evidence(question: str, texts: Sequence[str], cosines: ArrayLike, answers: Sequence[str]) -> Evidence:
    """float64 [9], as `NAMES` says, for the first of `texts`, which are matches in their order, at least one.

    cosines: of each with the question. answers: what each would answer; the next one is the first whose answer is another.
    """
    near = np.asarray(cosines, np.float64)
    of_question = terms(question)
    alike = np.array([(cosine, *shares(of_question, terms(text))) for cosine, text in zip(near, texts, strict=True)])
    other = next((alike[i] for i, answer in enumerate(answers) if answer != answers[0]), np.zeros(4))
    return np.concatenate([alike[0], alike[0] - other, [near.max() - near[0]]])


def terms(text: str) -> frozenset[str]:
    """Words; in scripts without blanks characters, alone and with their neighbour."""
    found = _TERM.findall(unicodedata.normalize("NFKC", text[:LOOKED_AT]).casefold())
    dense = re.compile(f"[{_DENSE}]").match
    return frozenset([*found, *(a + b for a, b in pairwise(found) if dense(a) and dense(b))])


def shares(one: frozenset[str], other: frozenset[str]) -> tuple[float, float, float]:
    """Of the terms of one how many the other has, the other way round, and of both together."""
    both = len(one & other)
    return both / max(1, len(one)), both / max(1, len(other)), 2 * both / max(1, len(one) + len(other))
