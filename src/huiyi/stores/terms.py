"""Texts as what keywords find them by: words, and pairs of neighbouring characters in scripts that put no blanks between words.

No dictionary and no list of stop words. Case, width, a plural's s and accents of Latin, Greek and Arabic letters make no difference, nor
do marks that may be left out (Arabic and Hebrew vowels, soft hyphens). A term is a number below 2^48: a pair is its two characters, so that
all pairs that begin with one character lie together; a word is a digest. Whole lists of texts are read at once, as arrays.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

Terms = NDArray[np.uint64]

BITS = 21  # of a character
WORD = 1 << 47
SEPARATOR, LETTER, DENSE, DROPPED, UNKNOWN = 0, 1, 2, 3, 255
# Thai, Lao, Burmese, Khmer, Chinese, Japanese, Korean: what is searched for is often a part of what stands between two blanks.
DENSE_RANGES = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x31FF), (0x3400, 0x9FFF), (0xA960, 0xA97F), (0xAC00, 0xD7FF),
    (0xF900, 0xFAFF), (0x1AFF0, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip
FOLDED_RANGES = ((0x00C0, 0x024F), (0x0370, 0x03FF), (0x0622, 0x0626), (0x1E00, 0x1FFF))  # letters that lose their accents
LEAST_PLURAL, NO_PLURAL = 3, np.array([ord(each) for each in "sui"], np.uint64)  # parcels is parcel; gas, address and status stay
DROPPED_MARKS = {0x00AD, 0x0640, 0x200B, 0x200C, 0x200D, 0xFEFF}
_POWER = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)


@dataclass(frozen=True)
class Asked:
    """What a query asks for: term numbers from `low` to below `high`, [n] each, none twice, and how often the query says it."""

    low: Terms
    high: Terms
    times: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.low)


def terms_of(texts: Sequence[str]) -> tuple[Terms, NDArray[np.int64]]:
    """The terms of all texts, and which text each is from; those of one text in no particular order."""
    codes, kinds = _characters(texts)
    places = np.cumsum(codes == 0)
    dense, letters = kinds == DENSE, kinds == LETTER
    following = np.zeros_like(codes)
    following[:-1] = np.where(dense[1:], codes[1:], 0)
    pairs = (codes[dense] << np.uint64(BITS)) | following[dense]
    starts = np.flatnonzero(letters & ~np.append(False, letters[:-1]))
    words, of_words = _words(codes[letters], np.cumsum(letters)[starts] - 1), places[starts]
    return np.concatenate([pairs, words]), np.concatenate([places[dense], of_words])


def asked(query: str) -> Asked:
    """Of a run of characters without blanks its pairs; of a single one all pairs that begin with it."""
    found, _ = terms_of([query])
    pairs = found[found < WORD]
    alone = pairs[(pairs & np.uint64((1 << BITS) - 1)) == 0]  # the last of each run
    inside = set((pairs & np.uint64((1 << BITS) - 1)).tolist())
    times: Counter[tuple[int, int]] = Counter((term, term + 1) for term in found.tolist() if term >= WORD or term & ((1 << BITS) - 1))
    times.update((term, term + (1 << BITS)) for term in alone.tolist() if term >> BITS not in inside)
    ranges = sorted(times)
    low, high = (np.array([each[side] for each in ranges], np.uint64) for side in (0, 1))
    return Asked(low, high, np.array([times[each] for each in ranges], np.float32))


def spans(text: str, query: str, most: int = 20_000) -> list[tuple[int, int]]:
    """Where `text` has what `query` asks for: (start, end) in characters, in order, not touching. Looks at the first `most`."""
    wanted = asked(query)
    if not len(wanted):
        return []
    single = {int(low) >> BITS for low, high in zip(wanted.low, wanted.high, strict=True) if high - low > 1}
    whole = set(wanted.low.tolist())
    marks: list[tuple[int, int]] = []
    for kind, characters in _runs(text[:most]):
        if kind == LETTER:
            if terms_of(["".join(each for each, _ in characters)])[0][0].item() in whole:
                marks.append((characters[0][1], characters[-1][1] + 1))
            continue
        numbers = [ord(each) for each, _ in characters]
        for place, number in enumerate(numbers):
            last = place + 1 == len(numbers)
            if number in single:
                marks.append((characters[place][1], characters[place][1] + 1))
            if not last and number << BITS | numbers[place + 1] in whole:
                marks.append((characters[place][1], characters[place + 1][1] + 1))
    joined: list[tuple[int, int]] = []
    for start, end in marks:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _runs(text: str) -> list[tuple[int, list[tuple[str, int]]]]:
    """Runs of letters and of dense characters, each character as it is compared, with its place in `text`."""
    runs: list[tuple[int, list[tuple[str, int]]]] = []
    before = SEPARATOR
    for place, character in enumerate(text):
        for kind, compared in _compared(character):
            if kind in (LETTER, DENSE):
                if kind != before:
                    runs.append((kind, []))
                runs[-1][1].append((compared, place))
            before = kind
    return runs


@lru_cache(10_000)
def _compared(character: str) -> list[tuple[int, str]]:
    learned = [_learned(ord(each)) for each in unicodedata.normalize("NFKC", character).casefold()]
    return [(kind, chr(code)) for kind, code in learned if kind != DROPPED]


def _characters(texts: Sequence[str]) -> tuple[Terms, NDArray[np.uint8]]:
    """Characters as they are compared, and their kinds; one 0 between two texts."""
    joined = "\0".join(text.replace("\0", " ") if "\0" in text else text for text in texts)
    folded = unicodedata.normalize("NFKC", joined).casefold()
    codes = np.frombuffer(folded.encode("utf-32-le", "replace"), "<u4")
    kinds, fold = _tables()
    found = kinds[codes]
    if (found == UNKNOWN).any():
        for code in np.unique(codes[found == UNKNOWN]).tolist():
            kinds[code], fold[code] = _learned(code)
        found = kinds[codes]
    kept = found != DROPPED
    return fold[codes[kept]].astype(np.uint64), found[kept]


def _words(codes: Terms, starts: NDArray[np.int64]) -> Terms:
    """A digest of each run of characters; starts: where the runs begin in `codes`."""
    if not len(starts):
        return np.empty(0, np.uint64)
    lengths = np.diff(np.append(starts, len(codes)))
    powers = np.cumprod(np.full(int(lengths.max()), _POWER))
    offsets = np.arange(len(codes)) - np.repeat(starts, lengths)
    values = (codes + np.uint64(1)) * powers[offsets]
    ends = starts[lengths > LEAST_PLURAL] + lengths[lengths > LEAST_PLURAL] - 1
    values[ends[(codes[ends] == ord("s")) & ~np.isin(codes[ends - 1], NO_PLURAL)]] = 0
    sums = np.add.reduceat(values, starts)
    sums = (sums ^ (sums >> np.uint64(31))) * _MIX
    digests: Terms = (sums >> np.uint64(17)) | np.uint64(WORD)
    return digests


@cache
def _tables() -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Kinds of characters as far as they were met, and what each is compared as."""
    return np.full(0x110000, UNKNOWN, np.uint8), np.arange(0x110000, dtype=np.uint32)


@cache
def _learned(code: int) -> tuple[int, int]:
    character = chr(code)
    category = unicodedata.category(character)
    dense = any(low <= code <= high for low, high in DENSE_RANGES)
    if code in DROPPED_MARKS or (category in ("Mn", "Me") and not dense and unicodedata.combining(character) >= 10):
        return DROPPED, code
    if category[0] not in "LNM":
        return SEPARATOR, 0 if code == 0 else 32
    if category == "Nd":
        return LETTER, ord("0") + unicodedata.digit(character)
    if any(low <= code <= high for low, high in FOLDED_RANGES):
        code = ord(unicodedata.normalize("NFKD", character)[0])
    return DENSE if dense else LETTER, code
