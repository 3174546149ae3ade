"""Repeats in one set of texts or across two: exact, near and semantic ones, told apart, grouped, and thresholded anew at no cost.

A group is a representative and the rows that are like it, each at or above the threshold to that one row: nothing hangs together by a
chain. What the guard remarks on (`tasks/guard`) is never merged, but in `apart`. In a script whose texts the vectors do not tell apart
(`tasks/scripts`) nothing is semantic. Row order decides which of equal copies stays, nothing else.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from huiyi.errors import InvalidInput
from huiyi.tasks.guard import Guard, Remark
from huiyi.tasks.neighbors import neighbors, unit
from huiyi.tasks.scripts import script, typical_likeness
from huiyi.tasks.shingles import WORD, near_pairs, normal_form
from huiyi.types import Floats

Likeness = Literal["exact", "near", "semantic"]
Ints = NDArray[np.int64]

THRESHOLD = 0.9
FLOOR = 0.6  # pairs below are not kept, so that a threshold may move down to here
NEAREST = 32  # neighbours asked for; a row with more above the threshold is compared with all others of its kind
NEAREST_ACROSS = 8
QUERIES_AT_ONCE = 4_096
ABOVE_TYPICAL = 0.05  # least distance of a threshold from the cosine that texts of a script have anyway
ASKED = 3  # members of a group, beside the representative, that a newcomer is compared with by the guard: those nearest to it


@dataclass(frozen=True)
class Pair:
    """Two rows and what they have in common. row: the one that would go; other: the one that stays. score: cosine."""

    row: int
    other: int
    score: float
    likeness: Likeness
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Group:
    """One representative, the row most others are like, and its repeats, nearest first."""

    representative: int
    repeats: tuple[Pair, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        return self.representative, *(pair.row for pair in self.repeats)


@dataclass(frozen=True)
class Duplicates:
    """groups: of two rows or more, largest first. apart: pairs as like as duplicates that the guard keeps; nearest first.

    unread: scripts in which at this threshold any two texts would be one, so that only exact and near repeats were taken.
    kept: the rows that stay, in order. `at` gives the same for another threshold, from what was found, without searching again.
    """

    threshold: float
    groups: tuple[Group, ...]
    apart: tuple[Pair, ...]
    unread: tuple[str, ...]
    evidence: "_Evidence"

    @cached_property
    def kept(self) -> Ints:
        stays = np.ones(self.evidence.rows, bool)
        stays[[pair.row for group in self.groups for pair in group.repeats]] = False
        return np.flatnonzero(stays)

    def at(self, threshold: float) -> "Duplicates":
        """InvalidInput below `floor`, under which nothing was kept."""
        return _grouped(self.evidence, threshold)

    @property
    def floor(self) -> float:
        return self.evidence.floor

    def state(self, floor: float | None = None) -> dict[str, NDArray[Any]]:
        """Arrays, which with the same texts make the same `from_state`: what a file has to hold, so that `at` goes on elsewhere.

        floor: the least threshold that will be asked for; the higher, the less is kept. By default the one below which nothing is known.
        """
        found = self.evidence
        least = found.floor if floor is None else max(min(floor, self.threshold), found.floor)
        crowded = np.flatnonzero(found.last >= least)
        keys = np.minimum(found.left, found.right) * len(found.first) + np.maximum(found.left, found.right)
        kept = (found.scores >= least) | np.isin(keys, found.near)
        return {
            "thresholds": np.array([self.threshold, least]), "first": found.first,
            "copies": np.concatenate([np.empty(0, np.int64), *found.copies]), "ends": np.cumsum([len(rows) for rows in found.copies]),
            "near": found.near, "left": found.left[kept], "right": found.right[kept], "scores": found.scores[kept], "last": found.last,
            "order": found.order, "crowded": crowded, "vectors": found.vectors[crowded],
            "scripts": np.array(list(found.typical), str), "typical": np.array(list(found.typical.values())),
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]], texts: Sequence[str], guard: Guard | None = None) -> "Duplicates":
        """texts: [n], those that were given to `dedup`. guard: by default one that has learned the names in them. InvalidInput."""
        ends, first = state["ends"], state["first"]
        rows = int(ends[-1]) if len(ends) else 0
        if rows != len(texts):
            raise InvalidInput(f"these repeats were found among {rows:,} texts, and there are {len(texts):,} now; look for them again")
        vectors = np.zeros((len(first), state["vectors"].shape[1]), np.float32)
        vectors[state["crowded"]] = state["vectors"]
        threshold, floor = map(float, state["thresholds"])
        evidence = _Evidence(
            rows=rows, floor=floor, vectors=vectors, first=first, copies=np.split(state["copies"], ends[:-1]) if rows else [],
            near=state["near"], left=state["left"], right=state["right"], scores=state["scores"], last=state["last"],
            texts=[texts[row] for row in first], order=state["order"], guard=guard or _learned(texts),
            typical=dict(zip(state["scripts"].tolist(), state["typical"].tolist(), strict=True)),
        )  # fmt: skip
        return _grouped(evidence, threshold)


@dataclass(frozen=True)
class Overlap:
    """What one set shares with another. pairs: for each row that has a twin there, the best one; in row order.

    apart, unread, at: as in Duplicates. kept: the rows without a twin.
    """

    threshold: float
    pairs: tuple[Pair, ...]
    apart: tuple[Pair, ...]
    unread: tuple[str, ...]
    evidence: "_Across"

    @cached_property
    def kept(self) -> Ints:
        stays = np.ones(len(self.evidence.scores), bool)
        stays[[pair.row for pair in self.pairs]] = False
        return np.flatnonzero(stays)

    def at(self, threshold: float) -> "Overlap":
        return _matched(self.evidence, threshold)


def dedup(vectors: ArrayLike, texts: Sequence[str] | None = None, threshold: float | None = None, guard: Guard | None = None) -> Duplicates:
    """The repeats within one set.

    vectors: [n, d], brought to unit length. texts: [n]; without them equal vectors are exact, nothing is near and nothing is guarded.
    threshold: least cosine of a semantic repeat, 0.9 by default. guard: what keeps pairs apart; by default one that has learned the names
    in `texts`; `Guard.off()` keeps none.
    """
    rows = unit(vectors)
    level = _checked_threshold(THRESHOLD if threshold is None else threshold)
    names = _checked_texts(texts, len(rows))
    forms = None if names is None else [normal_form(text) for text in names]
    digests = [blake2b(row, digest_size=16).digest() for row in rows] if forms is None else []
    first, copies = _collapsed(digests if forms is None else forms)
    distinct = rows if len(first) == len(rows) else rows[first]
    keys: list[str] | list[bytes] = [digests[i] for i in first] if forms is None else [forms[i] for i in first]
    comparable = np.array([isinstance(key, bytes) or WORD.search(key) is not None for key in keys], bool)
    found = neighbors(distinct, NEAREST)
    width = found.indices.shape[1]
    floor = min(FLOOR, level)
    left, right, scores = np.repeat(np.arange(len(first)), width), found.indices.ravel().astype(np.int64), found.scores.ravel()
    chosen = (scores >= floor) & comparable[left] & comparable[right]
    near = near_pairs([key for key in keys if isinstance(key, str)])
    evidence = _Evidence(
        rows=len(rows), floor=floor, vectors=distinct, first=first, copies=copies, near=_keys(near, len(first)),
        left=left[chosen], right=right[chosen], scores=scores[chosen],
        last=np.where(comparable, found.scores[:, -1], -2) if width == NEAREST else np.full(len(first), -2.0),
        texts=None if names is None else [names[i] for i in first], order=_ranks(keys), guard=guard or _learned(names),
        typical={} if forms is None else typical_likeness(distinct, [forms[i] for i in first]),
    )  # fmt: skip
    return _grouped(evidence.with_pairs(near), level)


def overlap(
    vectors: ArrayLike,
    others: ArrayLike,
    texts: Sequence[str] | None = None,
    other_texts: Sequence[str] | None = None,
    threshold: float | None = None,
    guard: Guard | None = None,
) -> Overlap:
    """The rows of one set that have a twin in another, as test questions have in training data. Arguments as in `dedup`."""
    rows, there = unit(vectors), unit(others)
    level = _checked_threshold(THRESHOLD if threshold is None else threshold)
    if rows.shape[1] != there.shape[1]:
        raise InvalidInput(f"both sets need vectors of one width; these have {rows.shape[1]} and {there.shape[1]} numbers")
    if (texts is None) != (other_texts is None):
        raise InvalidInput("give the texts of both sets, or of neither")
    names, other_names = _checked_texts(texts, len(rows)), _checked_texts(other_texts, len(there))
    indices, scores = _nearest(rows, there, min(NEAREST_ACROSS, len(there)))
    exact: dict[int, int] = {}
    near: dict[int, set[int]] = {}
    typical: dict[str, float] = {}
    if names is not None and other_names is not None:
        forms, other_forms = [normal_form(text) for text in names], [normal_form(text) for text in other_names]
        where = {form: place for place, form in reversed(list(enumerate(other_forms)))}
        exact = {row: where[form] for row, form in enumerate(forms) if form in where}
        for row, other in near_pairs([*forms, *other_forms], split=len(rows)).tolist():
            near.setdefault(row, set()).add(other - len(rows))
        typical = typical_likeness(np.concatenate([rows, there]), [*forms, *other_forms])
    guard = guard or _learned(None if names is None or other_names is None else [*names, *other_names])
    return _matched(_Across(indices, scores, exact, near, names, other_names, rows, there, guard, typical), level)


@dataclass(frozen=True)
class _Evidence:
    """Distinct texts and what is known of their pairs. first: the row of each one's first copy; copies: all its rows.

    last: cosine of the last neighbour found, below every threshold where all were found. near: pairs as keys, sorted. typical: as
    `typical_likeness` has it.
    """

    rows: int
    floor: float
    vectors: Floats
    first: Ints
    copies: list[Ints]
    near: Ints
    left: Ints
    right: Ints
    scores: Floats
    last: NDArray[np.float64]
    texts: list[str] | None
    order: Ints
    guard: Guard
    typical: dict[str, float]

    def with_pairs(self, pairs: Ints) -> "_Evidence":
        """Near pairs may be far apart as vectors, or beyond the last neighbour."""
        scores = np.einsum("nd,nd->n", self.vectors[pairs[:, 0]], self.vectors[pairs[:, 1]]).astype(np.float32)
        left = np.concatenate([self.left, pairs[:, 0], self.right, pairs[:, 1]])
        right = np.concatenate([self.right, pairs[:, 1], self.left, pairs[:, 0]])
        both: Floats = np.concatenate([self.scores, scores] * 2)
        _, once = np.unique(left * len(self.first) + right, return_index=True)
        return replace(self, left=left[once], right=right[once], scores=both[once])

    def told_apart(self, threshold: float) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
        """The scripts that are not, and which texts are."""
        unread = _unread(self.typical, threshold)
        return unread, ~np.isin(self.scripts, unread) if unread else np.ones(len(self.first), bool)

    @cached_property
    def scripts(self) -> NDArray[np.str_]:
        """Of each text: the same at every threshold."""
        return np.array([script(text) for text in self.texts or ()], str)

    def likeness(self, one: int, other: int) -> Likeness:
        key = min(one, other) * len(self.first) + max(one, other)
        place = np.searchsorted(self.near, key)
        return "near" if place < len(self.near) and self.near[place] == key else "semantic"

    def objection(self, members: list[int], other: int) -> tuple[int, tuple[Remark, ...]]:
        """The first of `members` that `other` must not be merged with, and why; the representative comes first."""
        if self.texts is not None:
            for member in members:
                if found := self.guard.remarks(self.texts[member], self.texts[other]):
                    return member, found
        return members[0], ()


def _grouped(evidence: _Evidence, threshold: float) -> Duplicates:
    """Representatives are taken in the order of how many rows may be merged with them; each takes those of them not yet taken."""
    _checked_threshold(threshold)
    if threshold < evidence.floor:
        raise InvalidInput(f"pairs below {evidence.floor:g} were not kept; call dedup(threshold={threshold:g}) itself")
    count = len(evidence.first)
    keys = evidence.left * count + evidence.right
    unread, told = evidence.told_apart(threshold)
    alike = (evidence.scores >= threshold) & told[evidence.left] & told[evidence.right]
    alike |= np.isin(np.minimum(keys, evidence.right * count + evidence.left), evidence.near)
    left, right, scores = evidence.left[alike], evidence.right[alike], evidence.scores[alike]
    ends = np.searchsorted(left, np.arange(count + 1))
    weights = np.array([len(rows) for rows in evidence.copies], np.int64)
    strength = weights + np.bincount(left, weights[right], count).astype(np.int64)
    free = np.ones(count, bool)
    crowded = (evidence.last >= threshold) & told
    owner = np.full(count, -1, np.int64)
    groups: list[Group] = []
    apart: list[Pair] = []
    closeness = np.bincount(left, scores, count).round(3)  # of equally strong rows the one in the middle

    def held(one: int) -> int:
        others = right[ends[one] : ends[one + 1]].tolist()
        return sum(int(weights[other]) for other in others if evidence.objection([one], other)[1])

    for one in _strongest_first(strength, closeness, evidence.order, free, held):
        if not free[one]:
            continue
        free[one] = False
        others, cosines = right[ends[one] : ends[one + 1]], scores[ends[one] : ends[one + 1]]
        if crowded[one]:  # whoever is like it and not among its neighbours is crowded too
            rest = np.flatnonzero(free & crowded)
            products = evidence.vectors[rest] @ evidence.vectors[one]
            rest, products = rest[products >= threshold], products[products >= threshold]
            others, cosines = np.concatenate([others, rest]), np.concatenate([cosines, products])
            others, once = np.unique(others, return_index=True)
            cosines = cosines[once]
        owner[one] = one
        repeats = [Pair(int(row), int(evidence.first[one]), 1.0, "exact") for row in evidence.copies[one][1:]]
        for place in np.lexsort((evidence.order[others], -cosines)):
            other = int(others[place])
            if not free[other]:
                continue
            score, likeness = min(float(cosines[place]), 1.0), evidence.likeness(one, other)
            near = np.arange(ends[other], ends[other + 1])
            near = near[(owner[right[near]] == one) & (scores[near] > cosines[place])]
            near = near[np.lexsort((evidence.order[right[near]], -scores[near]))[:ASKED]]
            objector, found = evidence.objection([one, *right[near].tolist()], other)
            if found:
                apart.append(Pair(int(evidence.first[other]), int(evidence.first[objector]), score, likeness, found))
                continue
            free[other], owner[other] = False, one
            repeats += [Pair(int(row), int(evidence.first[one]), score, likeness) for row in evidence.copies[other]]
        if repeats:
            groups.append(Group(int(evidence.first[one]), tuple(repeats)))
    groups.sort(key=lambda group: (-len(group.repeats), group.representative))
    return Duplicates(threshold, tuple(groups), _nearest_each(apart), unread, evidence)


def _strongest_first(
    strength: Ints, closeness: NDArray[Any], order: Ints, free: NDArray[np.bool_], held: Callable[[int], int]
) -> Iterator[int]:
    """Rows by strength, the closest of equally strong ones first. held: what the guard takes of a row's strength, asked at its turn."""
    later: list[tuple[float, float, int, int]] = []
    for one in np.lexsort((order, -closeness, -strength)).tolist():
        key = (-float(strength[one]), -float(closeness[one]), int(order[one]))
        while later and later[0][:3] < key:
            yield heappop(later)[3]
        if free[one]:
            lost = held(one)
            if lost:
                heappush(later, (key[0] + lost, *key[1:], one))
            else:
                yield one
    while later:
        yield heappop(later)[3]


def _unread(typical: Mapping[str, float], threshold: float) -> tuple[str, ...]:
    return tuple(sorted(name for name, cosine in typical.items() if cosine >= threshold - ABOVE_TYPICAL))


def _nearest_each(pairs: list[Pair]) -> tuple[Pair, ...]:
    """One pair a row, the nearest; nearest first."""
    best: dict[int, Pair] = {}
    for pair in sorted(pairs, key=lambda pair: (-pair.score, pair.row, pair.other)):
        best.setdefault(pair.row, pair)
    return tuple(best.values())


def _collapsed(forms: Sequence[str] | Sequence[bytes]) -> tuple[Ints, list[Ints]]:
    """The first row of each distinct form, and all rows of each."""
    places: dict[object, list[int]] = {}
    for row, form in enumerate(forms):
        places.setdefault(form, []).append(row)
    copies = [np.array(rows, np.int64) for rows in places.values()]
    return np.array([rows[0] for rows in copies], np.int64), copies


def _ranks(keys: Sequence[str] | Sequence[bytes]) -> Ints:
    """The place of each key among them all, sorted: an order that depends on the texts alone (on the vectors, without texts)."""
    ranks = np.empty(len(keys), np.int64)
    ranks[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    return ranks


@dataclass(frozen=True)
class _Across:
    indices: Ints
    scores: Floats
    exact: dict[int, int]
    near: dict[int, set[int]]
    texts: Sequence[str] | None
    other_texts: Sequence[str] | None
    vectors: Floats
    others: Floats
    guard: Guard
    typical: dict[str, float]

    def candidates(self, row: int, threshold: float, unread: Collection[str]) -> Iterator[tuple[int, float, Likeness]]:
        """unread: scripts in which no cosine counts."""
        known = not (unread and self.texts and script(self.texts[row]) in unread)
        found = dict(zip(self.indices[row].tolist(), self.scores[row].tolist(), strict=True))
        found |= {other: float(self.vectors[row] @ self.others[other]) for other in self.near.get(row, ()) if other not in found}
        for other, score in found.items():
            near = other in self.near.get(row, ())
            if near or (score >= threshold and known and not (unread and self.other_texts and script(self.other_texts[other]) in unread)):
                yield other, min(score, 1.0), "near" if near else "semantic"


def _matched(evidence: _Across, threshold: float) -> Overlap:
    _checked_threshold(threshold)
    unread = _unread(evidence.typical, threshold)
    pairs: list[Pair] = []
    apart: list[Pair] = []
    for row in range(len(evidence.scores)):
        if row in evidence.exact:
            pairs.append(Pair(row, evidence.exact[row], 1.0, "exact"))
            continue
        if evidence.texts is not None and not WORD.search(evidence.texts[row]):
            continue
        kept: list[Pair] = []
        for other, score, likeness in evidence.candidates(row, threshold, unread):
            found: tuple[Remark, ...] = ()
            if evidence.texts is not None and evidence.other_texts is not None:
                found = evidence.guard.remarks(evidence.texts[row], evidence.other_texts[other])
            if not found:
                pairs.append(Pair(row, other, score, likeness))
                break
            kept.append(Pair(row, other, score, likeness, found))
        else:
            apart += kept[:1]
    return Overlap(threshold, tuple(pairs), _nearest_each(apart), unread, evidence)


def _nearest(rows: Floats, others: Floats, k: int) -> tuple[Ints, Floats]:
    """Exact, best first; equal scores by place."""
    import faiss

    if not len(rows) or not k:
        return np.zeros((len(rows), 0), np.int64), np.zeros((len(rows), 0), np.float32)
    parts = [faiss.knn(rows[at : at + QUERIES_AT_ONCE], others, k, metric=faiss.METRIC_INNER_PRODUCT)
             for at in range(0, len(rows), QUERIES_AT_ONCE)]  # fmt: skip
    return np.concatenate([indices for _, indices in parts]), np.concatenate([scores for scores, _ in parts])


def _keys(pairs: Ints, count: int) -> Ints:
    return np.sort(pairs[:, 0] * count + pairs[:, 1])


def _learned(texts: Sequence[str] | None) -> Guard:
    guard = Guard()
    if texts is not None:
        guard.learn(texts)
    return guard


def _checked_threshold(threshold: float) -> float:
    if not 0 < threshold <= 1:
        raise InvalidInput(f"threshold is a cosine above 0 and up to 1, not {threshold}")
    return float(threshold)


def _checked_texts(texts: Sequence[str] | None, rows: int) -> Sequence[str] | None:
    if texts is not None and len(texts) != rows:
        raise InvalidInput(f"there are {len(texts):,} texts for {rows:,} vectors; give one text a vector, in the same order")
    return texts
