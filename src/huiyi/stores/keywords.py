"""BM25 over the texts of a collection: an inverted index made of the records, never more than a copy, in parts that are read from disk.

A part holds the terms of the rows in one span of row numbers; since the text of a row never changes, it is right for good, and only
needs to be told which of its rows are still there. What is counted (records, lengths, records with a term) is counted over those, so scores
do not depend on what was there before, nor on how the parts were cut. A file that does not prove itself is not used.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from huiyi.stores.terms import Asked, Terms, terms_of
from huiyi.stores.transactions import step

K1, B = 1.2, 0.75  # Robertson and Zaragoza 2009, the usual ones
FORMAT = 1
MOST_ROWS = 1 << 16  # of a part: places are 16 bits
FULL_TERMS = 4_000_000  # a part with so many, counted with repeats, grows no further
MOST_ASKED = 256  # terms of a query, the rarest
ROUNDING = 1e-4
FIRST_POSTINGS = 200_000  # looked at before it is asked whether the others can matter
Mask = NDArray[np.bool_]
Which = Callable[["Part"], "Mask | None"]  # rows of a part that are meant; None for all
ARRAYS = {"rows": "<i8", "lengths": "<u4", "terms": "<u8", "starts": "<u4", "places": "<u2", "counts": "u1"}


@dataclass(frozen=True, eq=False)
class Part:
    """rows: int64 [n], ascending, above `after` and up to `last`. lengths: terms of each. terms: uint64 [t], ascending; the postings of the
    i-th are places and counts [starts[i] : starts[i + 1]], places in `rows`, ascending."""

    after: int
    last: int
    rows: NDArray[np.int64]
    lengths: NDArray[np.uint32]
    terms: Terms
    starts: NDArray[np.uint32]
    places: NDArray[np.uint16]
    counts: NDArray[np.uint8]
    cached: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def total(self) -> int:
        if "total" not in self.cached:
            self.cached["total"] = int(self.lengths.sum(dtype=np.int64))
        return int(self.cached["total"])

    @property
    def is_full(self) -> bool:
        return len(self.rows) >= MOST_ROWS or self.total >= FULL_TERMS

    @classmethod
    def of(cls, after: int, last: int, rows: Sequence[int], texts: Sequence[str]) -> Self:
        terms, places = terms_of(texts)
        packed = np.sort((terms << np.uint64(16)) | places.astype(np.uint64))
        first = np.flatnonzero(np.append(True, packed[1:] != packed[:-1])) if len(packed) else np.empty(0, np.int64)
        counts = np.diff(np.append(first, len(packed)))
        lengths = np.bincount(places, minlength=len(rows)).astype(np.uint32)
        return cls._packed(after, last, np.array(rows, np.int64), lengths, packed[first], counts)

    @classmethod
    def _packed(
        cls, after: int, last: int, rows: NDArray[np.int64], lengths: NDArray[np.uint32], packed: Terms, counts: NDArray[Any]
    ) -> Self:
        keys = packed >> np.uint64(16)
        first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.empty(0, np.int64)
        starts = np.append(first, len(keys)).astype(np.uint32)
        return cls(after, last, rows, lengths, keys[first], starts, packed.astype(np.uint16), np.minimum(counts, 255).astype(np.uint8))

    def joined(self, other: "Part") -> "Part":
        """With the part that follows."""
        shift = np.uint64(len(self.rows))
        packed = np.concatenate([self._unpacked(np.uint64(0)), other._unpacked(shift)])
        order = np.argsort(packed, kind="stable")  # two runs that are sorted already
        return Part._packed(
            self.after,
            other.last,
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.lengths, other.lengths]),
            packed[order],
            np.concatenate([self.counts, other.counts])[order],
        )

    def _unpacked(self, shift: np.uint64) -> Terms:
        keys = np.repeat(self.terms, np.diff(self.starts))
        packed: Terms = (keys << np.uint64(16)) | (self.places.astype(np.uint64) + shift)
        return packed

    def norms(self, average: float) -> NDArray[np.float32]:
        """By how much a long text has to say a term more often."""
        known, norms = self.cached.get("norms", (0.0, np.empty(0, np.float32)))
        if known != average:
            norms = (K1 * (1 - B + B * self.lengths / np.float32(average))).astype(np.float32)
            self.cached["norms"] = (average, norms)
        made: NDArray[np.float32] = norms
        return made

    # the file

    def name(self, token: str) -> str:
        return f"keywords-{token}-{self.after}-{self.last}.bin"

    def write(self, folder: Path, token: str) -> None:
        arrays = [np.ascontiguousarray(getattr(self, name), dtype) for name, dtype in ARRAYS.items()]
        crc = 0
        for array in arrays:
            crc = zlib.crc32(array.data, crc)
        header = json.dumps({"format": FORMAT, "sizes": [len(array) for array in arrays], "crc": crc}).encode()
        partial = folder / f".keywords-{os.getpid()}-{self.after}"
        try:
            with partial.open("wb") as file:
                file.write(header.ljust(HEADER))
                for array in arrays:
                    file.write(array.data)
            step("keywords: written")
            partial.replace(folder / self.name(token))
            step("keywords: replaced")
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path, after: int, last: int) -> Self:
        """Raises ValueError or OSError when it is not what was written."""
        whole = np.memmap(path, np.uint8, "r")
        facts = json.loads(whole[:HEADER].tobytes())
        if facts["format"] != FORMAT or zlib.crc32(whole[HEADER:].data) != facts["crc"]:
            raise ValueError("its checksum is wrong")
        arrays, start = [], HEADER
        for size, dtype in zip(facts["sizes"], ARRAYS.values(), strict=True):
            end = start + size * np.dtype(dtype).itemsize
            arrays.append(whole[start:end].view(dtype))
            start = end
        return cls(after, last, *arrays)  # type: ignore[arg-type]


HEADER = 256


@dataclass(frozen=True)
class Scored:
    """Rows and their BM25, best first, equal ones by row."""

    rows: list[int]
    scores: list[float]

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return zip(self.rows, self.scores, strict=True)


@dataclass(frozen=True)
class Keywords:
    """parts: in order, without gaps in between, up to row `last`. token: of the file's history that the rows belong to."""

    token: str
    parts: tuple[Part, ...] = ()

    @property
    def last(self) -> int:
        return self.parts[-1].last if self.parts else 0

    @property
    def count(self) -> int:
        return sum(len(part.rows) for part in self.parts)

    def extended(self, part: Part) -> "Keywords":
        """With one part more; parts of about one size are joined, so that few are left."""
        parts = [*self.parts, part]
        while len(parts) > 1 and _may_join(parts[-2], parts[-1]):
            parts[-2:] = [parts[-2].joined(parts[-1])]
        return Keywords(self.token, tuple(parts))

    def search(self, query: Asked, k: int, there: Which, meant: Which | None = None, also: Sequence[int] = ()) -> Scored:
        """The k best of the rows that are `meant`, and besides the rows `also`, whose score may be 0. there: rows to count over."""
        return Search(self.parts, query, there).best(k, meant or there, also)


def _may_join(first: Part, second: Part) -> bool:
    if first.is_full or len(first.rows) + len(second.rows) > MOST_ROWS:
        return False
    return first.total <= 2 * second.total + 1000 or first.total + second.total >= FULL_TERMS


class Search:
    """One query's postings, and what the terms are worth."""

    def __init__(self, parts: Sequence[Part], query: Asked, there: Which) -> None:
        self.parts = parts
        masks = [there(part) for part in parts]
        counts = [len(part.rows) if mask is None else int(mask.sum()) for part, mask in zip(parts, masks, strict=True)]
        totals = [part.total if mask is None else int(part.lengths[mask].sum()) for part, mask in zip(parts, masks, strict=True)]
        self.count, self.average = sum(counts), max(sum(totals) / max(1, sum(counts)), 1e-9)
        bounds = [np.searchsorted(part.terms, np.stack([query.low, query.high])) for part in parts]
        holding = np.zeros(len(query), np.int64)
        for part, mask, (low, high) in zip(parts, masks, bounds, strict=True):
            for i in np.flatnonzero(low < high):
                if mask is None and high[i] - low[i] == 1:
                    holding[i] += int(part.starts[high[i]]) - int(part.starts[low[i]])
                else:
                    places, _ = _postings(part, low[i], high[i])
                    holding[i] += len(places) if mask is None else int(mask[places].sum())
        worth = query.times * np.log(1 + (self.count - holding + 0.5) / (holding + 0.5)) * (K1 + 1)
        held = np.flatnonzero(holding)
        self.order = held[np.argsort(-worth[held], kind="stable")][:MOST_ASKED]  # what is worth most is rarest, and goes first
        self.worth, self.holding, self.bounds = worth.astype(np.float32), holding, bounds

    def best(self, k: int, meant: Which, also: Sequence[int]) -> Scored:
        masks = [meant(part) for part in self.parts]
        sums = [np.zeros(len(part.rows), np.float32) for part in self.parts]
        done, least, budget = 0, 0.0, FIRST_POSTINGS
        left = np.append(np.cumsum(self.worth[self.order][::-1])[::-1], 0.0)  # what the terms from here on can add at most
        while done < len(self.order) and least <= left[done]:
            upto = done + max(1, int(np.searchsorted(np.cumsum(self.holding[self.order[done:]]), budget)))
            for number, part in enumerate(self.parts):
                self._add(number, part, sums[number], self.order[done:upto])
            done, budget = upto, 4 * budget
            if done < len(self.order):
                least = _least(sums, masks, k)
        rest, margin = self.order[done:], (least - left[done]) * (1 - ROUNDING)
        rows: list[NDArray[np.int64]] = []
        scores: list[NDArray[np.float32]] = []
        wanted = np.array(sorted(also), np.int64)
        for number, (part, mask, own) in enumerate(zip(self.parts, masks, sums, strict=True)):
            near = own > max(margin, 0.0) if margin <= 0 else own >= margin
            if mask is not None:
                near &= mask
            if len(wanted):
                places = np.searchsorted(part.rows, wanted)
                inside = places < len(part.rows)
                inside[inside] = part.rows[places[inside]] == wanted[inside]
                near[places[inside]] = True
            found = np.flatnonzero(near)
            made = own[found]
            for i in rest:
                made += self._at(number, part, i, found)
            rows.append(np.asarray(part.rows[found]))
            scores.append(made)
        all_rows = np.concatenate([np.empty(0, np.int64), *rows])
        all_scores = np.concatenate([np.empty(0, np.float32), *scores])
        order = np.lexsort((all_rows, -all_scores))
        kept = (np.arange(len(order)) < k) & (all_scores[order] > 0) | np.isin(all_rows[order], wanted)
        order = order[kept]
        return Scored(all_rows[order].tolist(), all_scores[order].tolist())

    def _add(self, number: int, part: Part, sums: NDArray[np.float32], which: NDArray[np.int64]) -> None:
        low, high = self.bounds[number]
        some = [(i, *_postings(part, low[i], high[i])) for i in which if low[i] < high[i]]
        if not some:
            return
        places = np.concatenate([each[1] for each in some])
        counts = np.concatenate([each[2] for each in some]).astype(np.float32)
        worth = np.repeat(self.worth[[each[0] for each in some]], [len(each[1]) for each in some])
        worth *= counts
        worth /= counts + part.norms(self.average)[places]
        sums += np.bincount(places, worth, len(sums)).astype(np.float32)

    def _at(self, number: int, part: Part, i: int, found: NDArray[np.int64]) -> NDArray[np.float32]:
        """What term i adds at the places `found`."""
        low, high = self.bounds[number]
        made = np.zeros(len(found), np.float32)
        if low[i] < high[i]:
            places, counts = _postings(part, low[i], high[i])
            at = np.minimum(np.searchsorted(places, found.astype(places.dtype)), len(places) - 1)
            hit = places[at] == found
            times = counts[at[hit]].astype(np.float32)
            made[hit] = self.worth[i] * times / (times + part.norms(self.average)[found[hit]])
        return made


def _postings(part: Part, low: int, high: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Places and counts of the terms low..high as of one."""
    start, end = int(part.starts[low]), int(part.starts[high])
    places, counts = part.places[start:end], part.counts[start:end]
    if high - low > 1:
        summed = np.bincount(places, counts)
        places = np.flatnonzero(summed).astype(np.uint16)
        counts = summed[places].astype(np.float32)
    return places, counts


def _least(sums: list[NDArray[np.float32]], masks: "list[Mask | None]", k: int) -> float:
    """The k-th best sum; 0 where fewer are above."""
    least = 0.0
    best = np.empty(0, np.float32)
    for own, mask in zip(sums, masks, strict=True):
        above = own > least
        if mask is not None:
            above &= mask
        best = np.concatenate([best, own[above]])
        if len(best) > k:
            best = np.partition(best, len(best) - k)[-k:]
        if len(best) == k:
            least = float(best.min())
    return least
