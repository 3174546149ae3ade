"""`search --tune`: how much meaning counts beside words, and from which score on a first hit is right, learned from labelled queries."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from huiyi.collection import Collection, Tuning
from huiyi.errors import InvalidInput
from huiyi.sources.tables import Format
from huiyi.stores.store import Candidates
from huiyi.tasks.fusion import WEIGHT, convex, order
from huiyi.training.rejection import threshold_for
from huiyi.workspace.labelled import labelled_queries
from huiyi.workspace.models import load as load_model
from huiyi.workspace.searching import SLICE_QUERIES, LoadNamed, opened

WEIGHTS = np.round(np.linspace(0, 1, 21), 2)
PLACES = 10


@dataclass(frozen=True)
class TunedSearch:
    """before, semantic, keyword: nDCG@10 of the same queries with the default weight, and with one leg alone. answerable: queries that
    something answers; the weight is learned from them, the threshold from all."""

    name: str
    tuning: Tuning
    answerable: int
    before: float
    semantic: float
    keyword: float


def search_tune(
    name: str,
    source: str | Path,
    *,
    precision: float = 0.95,
    text: str | None = None,
    id: str | None = None,
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    load: LoadNamed = load_model,
    home: str | Path | None = None,
    report: Callable[[int, int], object] = lambda done, all_: None,
) -> TunedSearch:
    """Learn from a table of queries and the id of the record that answers each, nothing or -1 where none does; keep it with the collection.

    A query with several answers stands there several times. precision: of the first hits above the threshold. text, id: columns.
    """
    if not 0 < precision < 1:
        raise InvalidInput(f"precision is the share of first hits that are right, between 0 and 1, not {precision}")
    with opened(name, home, load) as collection:
        wanted = labelled_queries(collection, source, text=text, id=id, format=format, encoding=encoding, sheet=sheet)
        tuned = tune(collection, wanted, precision, report)
        collection.keep_tuning(tuned.tuning)
    return tuned


def tune(
    collection: Collection,
    wanted: Mapping[str, set[str]],
    precision: float = 0.95,
    report: Callable[[int, int], object] = lambda done, all_: None,
) -> TunedSearch:
    """The same from the ids that answer each query, none of them where nothing does; keeps nothing."""
    queries = list(wanted)
    if not any(wanted.values()):
        raise InvalidInput("no query is answered by a record of the collection; label some that are")
    found: list[Candidates] = []
    for start in range(0, len(queries), SLICE_QUERIES):
        found += collection.candidates(queries[start : start + SLICE_QUERIES])
        report(len(found), len(queries))
    answerable = [i for i, query in enumerate(queries) if wanted[query]]
    gains = {
        weight: float(np.mean([_ndcg(_ordered(found[i], wanted[queries[i]], weight), len(wanted[queries[i]])) for i in answerable]))
        for weight in [*WEIGHTS.tolist(), WEIGHT]
    }
    best = max(gains, key=lambda weight: (round(gains[weight], 4), -abs(weight - WEIGHT)))
    firsts = [_first(each, wanted[query], best) for each, query in zip(found, queries, strict=True)]
    scores, right = np.array([score for score, _ in firsts]), np.array([is_right for _, is_right in firsts])
    least = threshold_for(scores, right, precision)
    answered = 0.0 if least is None else float((scores >= least).mean())
    tuning = Tuning(collection.facts.space, best, least, precision, answered, len(queries), gains[best])
    return TunedSearch(collection.name, tuning, len(answerable), gains[WEIGHT], gains[1.0], gains[0.0])


def _ordered(found: Candidates, wanted: set[str], weight: float) -> NDArray[np.bool_]:
    """Whether each of the first hits is wanted."""
    first = order(found.cosines, found.bm25, weight)[:PLACES].tolist()
    return np.array([_is_wanted(found, i, wanted) for i in first], bool)


def _first(found: Candidates, wanted: set[str], weight: float) -> tuple[float, bool]:
    if not found.records:
        return -1.0, False
    first = int(order(found.cosines, found.bm25, weight)[0])
    return float(convex(found.cosines, found.bm25, weight)[first]), _is_wanted(found, first, wanted)


def _is_wanted(found: Candidates, place: int, wanted: set[str]) -> bool:
    record = found.records.get(place)  # None: deleted meanwhile
    return record is not None and record.id in wanted


def _ndcg(hit: NDArray[np.bool_], wanted: int) -> float:
    discounts = 1 / np.log2(np.arange(2, PLACES + 2))
    return float(discounts[: len(hit)][hit].sum() / discounts[: min(wanted, PLACES)].sum())
