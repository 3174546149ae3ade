"""Texts as strings: the form that equal texts share, and the pairs that are nearly equal, found without comparing all with all."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

WORD = re.compile(r"[^\W_]")  # emoji and marks alone are one to many tokenizers: they repeat each other only exactly
SPACES = re.compile(r"\s+")
APOSTROPHES = re.compile(r"['’`]")
MARKS = re.compile(r"[.,:](?!\d)|[!?;…、。「」『』《》〈〉【】()\[\]{}\"“”‘~·—]")
LOOSE = re.compile(r" (?=[\u3040-\u30ff\u3400-\u9fff])|(?<=[\u3040-\u30ff\u3400-\u9fff]) ")


def normal_form(text: str) -> str:
    """What two texts share that differ in width, case, blanks and marks alone; 1.5 is not 15, and what is nothing but marks is itself."""
    wide = unicodedata.normalize("NFKC", text).casefold()
    bare = MARKS.sub(" ", APOSTROPHES.sub("", wide))
    form = LOOSE.sub("", SPACES.sub(" ", bare).strip())
    return form or SPACES.sub(" ", wide).strip()


SHINGLE = 3  # characters
SHARED = 0.8  # least Jaccard similarity of two near texts' shingles
BANDS, BAND = 12, 5  # at SHARED a pair is found with probability 0.99: 1 - (1 - 0.8^5)^12
NEAR_CHARACTERS = 10_000  # of a longer text the rest is not looked at
HASHED_AT_ONCE = 4_000_000


def near_pairs(forms: Sequence[str], split: int | None = None) -> Ints:
    """Pairs [p, 2], the smaller place first, of texts that share SHARED of their three-character pieces: MinHash in bands (Broder 1997).

    In a heap of texts that all are near, each is paired with the first and with the one before it. split: only pairs of a text before this
    place with one at it or after; each of the former is paired with the first such one of its heap.
    """
    if len(forms) < 2:
        return np.empty((0, 2), np.int64)
    signatures = np.concatenate(list(_signatures(forms)))
    long = np.flatnonzero(signatures[:, 0] != EMPTY)
    found: list[Ints] = []
    for band in range(BANDS):
        part = np.ascontiguousarray(signatures[long, band * BAND : (band + 1) * BAND])
        keys = part.view(np.dtype((np.void, part.dtype.itemsize * BAND))).ravel()
        _, key = np.unique(keys, return_inverse=True)
        order = np.argsort(key, kind="stable")
        found += [long[pair] for pair in (_within(key[order], order) if split is None else _across(key[order], order, long >= split))]
    pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    likely = np.zeros(len(pairs), bool)
    for at in range(0, len(pairs), 1 << 18):
        part = pairs[at : at + (1 << 18)]
        likely[at : at + (1 << 18)] = (signatures[part[:, 0]] == signatures[part[:, 1]]).mean(axis=1) >= SHARED - 0.15
    pairs = pairs[likely]
    return pairs[[jaccard(forms[one], forms[other]) >= SHARED for one, other in pairs]] if len(pairs) else pairs


def _within(keys: Ints, order: Ints) -> list[Ints]:
    """Each place of a run of equal `keys` with the run's first, and with the one before it."""
    same = np.flatnonzero(keys[1:] == keys[:-1]) + 1
    return [np.stack([order[earlier], order[same]], axis=1) for earlier in (np.searchsorted(keys, keys[same]), same - 1)]


def _across(keys: Ints, order: Ints, second: NDArray[np.bool_]) -> list[Ints]:
    """Each place of a run that is not in the `second` set with the run's first that is."""
    sides = 2 * keys + second[order]  # in a run the first set comes first
    here = np.flatnonzero(~second[order])
    there = np.searchsorted(sides, 2 * keys[here] + 1)
    met = there < len(sides)
    met[met] = sides[there[met]] == 2 * keys[here][met] + 1
    return [np.stack([order[here[met]], order[there[met]]], axis=1)]


EMPTY = np.uint32(2**32 - 1)


def _signatures(forms: Sequence[str]) -> Iterator[NDArray[np.uint32]]:
    """[n, BANDS * BAND]: the least hash of each text's pieces under so many hash functions; EMPTY for texts of under 3 characters."""
    random = np.random.default_rng(0)
    odd = random.integers(1, 2**63, BANDS * BAND, dtype=np.uint64) | np.uint64(1)
    at = 0
    while at < len(forms):
        part: list[NDArray[np.uint32]] = []
        size = 0
        while at < len(forms) and (not part or size < HASHED_AT_ONCE):
            part.append(np.frombuffer(forms[at][:NEAR_CHARACTERS].encode("utf-32-le", "surrogatepass"), np.uint32))
            size, at = size + len(part[-1]), at + 1
        lengths = np.array([max(len(each) - SHINGLE + 1, 0) for each in part])
        letters = np.concatenate(part).astype(np.uint64) if size else np.empty(0, np.uint64)
        inside = np.ones(max(len(letters) - SHINGLE + 1, 0), bool)
        ends = np.cumsum([len(each) for each in part])
        for back in range(1, SHINGLE):
            over = ends - back
            inside[over[(over >= 0) & (over < len(inside))]] = False
        pieces = letters[:0]
        if len(letters) >= SHINGLE:
            pieces = (letters[:-2] << np.uint64(42)) ^ (letters[1:-1] << np.uint64(21)) ^ letters[2:]
        pieces = _mixed(pieces[inside])
        made = np.full((len(part), BANDS * BAND), EMPTY, np.uint32)
        filled = np.flatnonzero(lengths)
        starts = np.concatenate([[0], np.cumsum(lengths[filled])[:-1]]).astype(np.int64) if len(filled) else filled
        for number, factor in enumerate(odd if len(filled) else ()):
            made[filled, number] = np.minimum.reduceat(((pieces * factor) >> np.uint64(33)).astype(np.uint32), starts)
        yield made


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Every bit depends on every bit (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def jaccard(one: str, other: str) -> float:
    a, b = ({each[i : i + SHINGLE] for i in range(len(each) - SHINGLE + 1)} for each in (one[:NEAR_CHARACTERS], other[:NEAR_CHARACTERS]))
    return len(a & b) / len(a | b) if a or b else 0.0
