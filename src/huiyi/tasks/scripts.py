"""Writing systems: which one a text is written in, and in which of them vectors do not tell texts apart.

To a model that never learned a script, its texts are a soup of bytes, and all of them are alike. No model is asked for that: it shows in
how near to each other those texts lie that share hardly three letters in a row.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from huiyi.tasks.shingles import jaccard
from huiyi.types import Floats

LETTERS = 100  # of a text that are looked at
LEAST_TEXTS = 5  # of a script, to judge by
PAIRS = 1_000  # that are drawn of each script
LEAST_PAIRS = 10
UNRELATED = 0.1  # of Jaccard's similarity of the three-character pieces


def script(text: str) -> str:
    """That of most of its letters, as Unicode calls it: Latin, Han, Arabic, Hangul; "" without letters."""
    counts = Counter(map(_of_letter, unicodedata.normalize("NFKC", text[:LETTERS])))
    del counts[""]
    return max(counts, key=lambda name: (counts[name], name), default="")


@cache
def _of_letter(letter: str) -> str:
    name = unicodedata.name(letter, "").partition(" ")[0] if letter.isalpha() else ""
    return "Han" if name == "CJK" else name.capitalize()


def typical_likeness(vectors: Floats, forms: Sequence[str]) -> dict[str, float]:
    """Median cosine of texts that share nearly nothing, of each script that has enough of them.

    vectors: unit [n, d]. forms: of the texts, as `shingles.normal_form` makes them. The order of the rows changes nothing.
    """
    found: dict[str, float] = {}
    places: dict[str, list[int]] = {}
    for form, place in {form: place for place, form in enumerate(forms)}.items():
        places.setdefault(script(form), []).append(place)
    for name, rows in places.items():
        if not name or len(rows) < LEAST_TEXTS:
            continue
        ordered = np.array(sorted(rows, key=forms.__getitem__))
        drawn = ((one, other) for one, other in ordered[_drawn(len(rows))] if one != other)
        pairs = [(one, other) for one, other in drawn if jaccard(forms[one], forms[other]) < UNRELATED]
        if len(pairs) >= LEAST_PAIRS:
            left, right = np.array(pairs).T
            found[name] = float(np.median(np.einsum("nd,nd->n", vectors[left], vectors[right])))
    return found


def _drawn(count: int) -> NDArray[np.int64]:
    """Places [p, 2] of pairs: all there are, or PAIRS by lot, in which a place may stand twice."""
    few = count * (count - 1) // 2 <= PAIRS
    pairs: NDArray[np.int64] = (
        np.stack(np.triu_indices(count, 1), axis=1) if few else np.random.default_rng(0).integers(0, count, (PAIRS, 2))
    )
    return pairs
