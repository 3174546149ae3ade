"""`Collection`: a model and a store that stay in step; texts go in, the nearest come out, and what did not change is not embedded again.

The model is loaded when something has to be embedded, not before, and must be the one whose vectors are there (`spaces`). Knows nothing
of sources or the backends behind the `Store` protocol. Only `answer` reaches up to `workspace`, for those who have the collection in
their hands.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from huiyi import understanding
from huiyi.encoding.ahead import in_order
from huiyi.encoding.machines import RayEncoder
from huiyi.errors import Conflict, InvalidInput, NotFound
from huiyi.model import Model
from huiyi.retrieval import (
    DEPTH,
    MODES,
    POOL,
    RERANKED,
    Mode,
    Queries,
    Relevance,
    as_vector,
    best,
    fused,
    marked,
    require_rerankable,
    reranked,
    varied,
)
from huiyi.shortlists import shortlist
from huiyi.spaces import embed, facts_of, require_same_space
from huiyi.stores.filters import parse
from huiyi.stores.store import Candidates, Facts, Fingerprint, Hit, Page, Record, Status, Store, as_record, fingerprint
from huiyi.tasks import fusion, recommending
from huiyi.types import Embedded, Floats

if TYPE_CHECKING:
    from huiyi.workspace import Answered, Writer

SLICE_RECORDS = 256
SLICE_CHARACTERS = 1 << 16
SLICES_AHEAD = 64  # of a reindex on many machines: enough for all of them, and few enough to hold
TUNED = "search"
Filtering = Mapping[str, Any] | None
Given = Record | Mapping[str, Any]


@dataclass(frozen=True)
class Added:
    """What `add` did, in records. cut: new texts that were longer than the model reads, and lost their end.

    embedded, tokens: texts and tokens that went through the model; fewer than added and changed where texts repeat.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    cut: int = 0
    embedded: int = 0
    tokens: int = 0

    def __add__(self, other: "Added") -> "Added":
        return Added(
            self.added + other.added,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.cut + other.cut,
            self.embedded + other.embedded,
            self.tokens + other.tokens,
        )


@dataclass(frozen=True)
class Prepared:
    """Records on their way into a collection. live: its store and model then. known: what it had of them. vectors: of new texts.

    cut, tokens: of these texts, as in `Added`.
    """

    records: Sequence[Record]
    live: tuple[Store, Callable[[], Model]]
    known: Mapping[str, Fingerprint] = field(default_factory=dict)
    vectors: Mapping[str, Floats] = field(default_factory=dict)
    cut: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Contents:
    """All records of one moment, in one order. vectors: float32 [n, dim], unit rows."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    metadata: tuple[dict[str, Any], ...]
    vectors: Floats


@dataclass(frozen=True)
class Reindexed:
    """embedded: texts that this run embedded; an interrupted one's were kept."""

    name: str
    model: str
    before: str
    records: int
    embedded: int
    tokens: int


@dataclass(frozen=True)
class Tuning:
    """What was learned from labelled queries, for hybrid searches of vectors of one space.

    weight: of the cosine beside the words. min_score: from here on `precision` of the first hits were right; None where it never was so.
    answered: the share of the queries whose first hit is above. queries: how many it was learned from; ndcg: theirs, of 10 hits.
    """

    space: str
    weight: float
    min_score: float | None
    precision: float
    answered: float
    queries: int
    ndcg: float


class Collection:
    """Records {"id", "text", "metadata"} that are found by meaning; what `huiyi.open` returns. Safe to call from many threads.

    Raise Conflict where the model is not the collection's or somebody else reindexed it, NotFound before it was made.
    """

    def __init__(self, name: str, store: Store, load: Callable[[], Model], instruction: str | None = None) -> None:
        """load: gives the collection's model. instruction: for the queries of this object, in the place of the collection's own."""
        self.name = name
        self._instruction = instruction
        self._live: tuple[Store, Callable[[], Model]] = store, load
        self._models: dict[Callable[[], Model], Model] = {}
        self._loading = threading.Lock()

    @property
    def facts(self) -> Facts:
        """Its model, space, dim and instruction."""
        facts = self._store.facts
        if facts is None:
            raise NotFound(f"there is no collection {self.name}; make it with huiyi index, or huiyi.open({self.name!r}, model=...)")
        return facts

    @property
    def model(self) -> Model:
        """Loaded and checked when first asked for."""
        return self._model(*self._live)

    def add(self, records: Iterable[Given], report: Callable[[Added], object] = lambda done: None) -> Added:
        """Add records, or bring those of the same ids up to date; on disk when it returns. Of two with one id the later counts.

        A record that cannot be kept raises InvalidInput, and then none is added. Texts that are there already are not embedded again.
        report: called with what was done so far, which is kept whatever happens after.
        """
        latest = {record.id: record for record in map(as_record, records)}
        done = Added()
        for piece in slices(latest.values()):
            done += self.write(self.prepare(piece))
            report(done)
        return done

    def delete(self, ids: Iterable[str] | str | None = None, filter: Filtering = None) -> int:
        """Take away the records of these ids, or those that match; how many there were."""
        if ids is not None and filter is None:
            return self._store.delete(ids=_ids(ids))
        tree = parse(filter)
        if tree is None or ids is not None:
            raise InvalidInput("say which records to delete, by ids=[...] or by a filter that is not empty")
        return self._store.delete(filter=tree)

    def count(self, filter: Filtering = None) -> int:
        return self._store.count(parse(filter))

    def __len__(self) -> int:
        return self.count()

    def get(self, id: str) -> Record | None:
        """The record of that id; None when there is none."""
        return self._store.get([id]).get(id)

    def ids(self) -> list[str]:
        """All ids, in the order of `vectors`."""
        return [record.id for record in self.records()]

    def records(self, filter: Filtering = None) -> Iterator[Record]:
        """All records, or those that match, in the order of `vectors`."""
        for batch in self._store.scan(parse(filter)):
            yield from batch.records

    def page(self, limit: int = 100, after: str | None = None, filter: Filtering = None) -> Page:
        """Up to `limit` records, and `next`, which is the `after` of the page that follows."""
        return self._store.page(limit, after, parse(filter))

    def vectors(self, filter: Filtering = None) -> Floats:
        """float32 [n, dim], unit rows; `contents` gives ids and texts of the same moment with them."""
        return self.contents(filter).vectors

    def contents(self, filter: Filtering = None) -> Contents:
        """Ids, texts, metadata and vectors of all records, or of those that match, of one moment."""
        batches = list(self._store.scan(parse(filter)))
        records = [record for batch in batches for record in batch.records]
        vectors = np.concatenate([np.empty((0, self.facts.dim), np.float32), *(batch.vectors for batch in batches)])
        ids, texts, metadata = ([getattr(record, name) for record in records] for name in ("id", "text", "metadata"))
        return Contents(tuple(ids), tuple(texts), tuple(metadata), vectors)

    def search(
        self,
        query: str | Floats,
        k: int = 10,
        mode: Mode = "hybrid",
        filter: Filtering = None,
        *,
        min_score: float | Literal["tuned"] | None = None,
        diversity: float | None = None,
        vector: Floats | None = None,
        highlight: bool = False,
        rerank: Relevance | None = None,
        rerank_depth: int = RERANKED,
    ) -> list[Hit]:
        """The k records that answer a text best, best first. filter: only records that match are looked at.

        mode: "semantic" goes by the cosine of vectors, "keyword" by BM25 of words and loads no model, "hybrid" by both; a vector [dim] in
        the place of the text is for "semantic". vector: of a text that was embedded already. min_score: hits below are left out; "tuned"
        is the one that was learned. diversity: 0 to 1, how much hits shall differ from one another. highlight: fill in `spans`.
        rerank: reads the rerank_depth best (k at least) together with the query; `score` is then its probability that a text answers.
        """
        vectors = None if vector is None else as_vector(vector)[None]
        queries = [query] if isinstance(query, str) else as_vector(query)[None]
        how: dict[str, Any] = {"vectors": vectors, "highlight": highlight, "rerank": rerank, "rerank_depth": rerank_depth}
        return self.search_all(queries, k, mode, filter, min_score=min_score, diversity=diversity, **how)[0]

    def search_all(
        self,
        queries: Sequence[str] | Floats,
        k: int = 10,
        mode: Mode = "hybrid",
        filter: Filtering = None,
        *,
        min_score: float | Literal["tuned"] | None = None,
        diversity: float | None = None,
        vectors: Floats | None = None,
        highlight: bool = False,
        rerank: Relevance | None = None,
        rerank_depth: int = RERANKED,
    ) -> list[list[Hit]]:
        """As `search`, for several queries (or vectors [n, dim]) at once: a list of hits for each."""
        if mode not in MODES:
            raise InvalidInput(f"there is no mode {mode!r}; there are {', '.join(MODES)}")
        if not isinstance(k, int | np.integer) or k < 1:
            raise InvalidInput(f"k is the number of hits, 1 or more, not {k!r}")
        if isinstance(min_score, float) and np.isnan(min_score):
            raise InvalidInput('min_score is a number or "tuned", not NaN')
        if diversity is not None and not 0 <= diversity <= 1:
            raise InvalidInput(f"diversity lies between 0 and 1, not {diversity}")
        asked = Queries(queries, vectors, mode)
        tree = parse(filter)
        wanted = k if not diversity else max(POOL * k, DEPTH)
        if rerank is not None:
            require_rerankable(asked, min_score, rerank_depth)
            wanted = max(k, rerank_depth)
        while True:
            store, load = self._live
            try:
                tuning = self.tuning
                least = self._least(min_score, tuning) if isinstance(min_score, str) else min_score
                if not len(queries):
                    return []
                if mode == "keyword":
                    found = store.search_keywords(asked.texts, wanted, tree)
                elif mode == "semantic":
                    found = store.search(self._vectors(store, load, asked), wanted, tree)
                else:
                    weight = tuning.weight if tuning else fusion.WEIGHT
                    depth = max(DEPTH, wanted)
                    choose = partial(best, weight=weight, k=wanted)
                    proposed = store.candidates(self._vectors(store, load, asked), asked.texts, depth, tree, choose)
                    found = [fused(each, weight, depth) for each in proposed]
                if rerank is not None:
                    found = [reranked(rerank, text, hits) for text, hits in zip(asked.texts, found, strict=True)]
                if least is not None:
                    found = [[hit for hit in hits if hit.score >= least] for hits in found]
                if diversity:
                    found = [varied(store, hits, k, diversity) for hits in found]
                found = [hits[:k] for hits in found]
                break
            except Conflict:
                if self._live[0] is store:
                    raise  # else this collection was reindexed by another thread just now
        if highlight and asked.texts:
            return [[marked(hit, text) for hit in hits] for hits, text in zip(found, asked.texts, strict=True)]
        return found

    def answer(
        self, question: str, k: int = 3, *, column: str | None = None, filter: Filtering = None, writer: "Writer | None" = None
    ) -> "Answered":
        """The record that answers a question and how sure that is, or none, and up to k suggestions: what `huiyi answer` prints.

        column: of the metadata that holds answers; default the first of answer, reply, 答案 and the like that is there, else the text.
        writer: makes a reply of what was found, see `huiyi.workspace.writer`.
        """
        from huiyi.workspace import answer_in

        return answer_in(self, question, k=k, column=column, filter=filter, writer=writer)

    def candidates(self, queries: Sequence[str], depth: int = DEPTH) -> list[Candidates]:
        """What a hybrid search of each query fuses: the nearest records and those of highest BM25, up to `depth` of each."""
        asked = Queries(queries, None, "hybrid")
        store, load = self._live
        return store.candidates(self._vectors(store, load, asked), asked.texts, depth) if asked.texts else []

    @property
    def tuning(self) -> Tuning | None:
        """What `tune` learned for the vectors that are there now; None without."""
        kept = self._store.kept(TUNED)
        tuning = Tuning(**json.loads(kept)) if kept else None
        return tuning if tuning and tuning.space == self.facts.space else None

    def keep_tuning(self, tuning: Tuning | None) -> None:
        """Use this in hybrid searches from now on; None: the defaults."""
        self._store.keep(TUNED, json.dumps(asdict(tuning)) if tuning else None)

    def _least(self, min_score: str, tuning: Tuning | None) -> float:
        if min_score != "tuned":
            raise InvalidInput(f'min_score is a number or "tuned", not {min_score!r}')
        if tuning is None or tuning.min_score is None:
            raise InvalidInput(
                f"no threshold was learned for {self.name}: tune it on labelled queries (huiyi search --tune), or give a number"
            )
        return tuning.min_score

    def reindex(self, load: Callable[[], Model], report: Callable[[int, int, Added], object] = lambda done, all_, made: None) -> Reindexed:
        """Embed everything with another model beside the live vectors, then swap. Searches and writes go on; a broken run goes on.

        report: called with records done, records in all, and what this run embedded.
        """
        store, _ = self._live
        before, model = self.facts, load()
        facts = facts_of(model, before.instruction, None)
        successor = store.successor(facts)
        done = Added()
        swapped = None

        def vectors(piece: list[Record]) -> Embedded:
            return embed(model, [record.text for record in piece], "document", dimensions=facts.dim)

        at_once = SLICES_AHEAD if isinstance(model.encoder, RayEncoder) else 1
        try:
            while swapped is None:
                while records := successor.missing(at_once * SLICE_RECORDS):
                    with in_order(model.encoder, vectors, slices(records)) as embedded:
                        for piece, future in embedded:
                            made = future.result()
                            successor.put(piece, made.vectors)
                            done += Added(embedded=len(piece), tokens=int(made.tokens.sum()))
                            report(successor.count(), store.count(), done)
                swapped = successor.swap()
        finally:
            successor.close()
        self._models[load] = model
        self._live = swapped, load
        store.close()
        return Reindexed(self.name, facts.model, before.model, swapped.count(), done.embedded, done.tokens)

    def cluster(
        self,
        *,
        method: understanding.Method = "graph",
        granularity: float | None = None,
        n_topics: int | None = None,
        min_size: int | None = None,
        outliers: bool = True,
        filter: Filtering = None,
    ) -> understanding.FoundTopics:
        """The topics of the records, named. granularity: more makes finer ones; without it, it is chosen. n_topics: for kmeans."""
        held = self.contents(filter)
        how = {"method": method, "granularity": granularity, "n_topics": n_topics, "min_size": min_size, "outliers": outliers}
        return understanding.cluster(held.ids, held.texts, held.vectors, **how)  # type: ignore[arg-type]

    def dedup(self, *, threshold: float | None = None, guarded: bool = True, filter: Filtering = None) -> understanding.FoundRepeats:
        """Groups of repeats; nothing is deleted. guarded: what differs in a number, a negation or a name is kept apart."""
        held = self.contents(filter)
        return understanding.dedup(held.ids, held.texts, held.vectors, threshold=threshold, guarded=guarded)

    def summarize(
        self, *, k: int = 5, method: Literal["coverage", "lexrank"] = "coverage", filter: Filtering = None
    ) -> understanding.ShortView:
        """The k records that say most, none twice."""
        held = self.contents(filter)
        return understanding.summarize(held.ids, held.texts, held.vectors, k=k, method=method)

    def recommend(
        self,
        *,
        like: Sequence[str] | str = (),
        dislike: Sequence[str] | str = (),
        history: Sequence[str] | str = (),
        k: int = 10,
        diversity: float = 0.3,
        filter: Filtering = None,
    ) -> list[understanding.Recommended]:
        """What suits somebody who likes and dislikes these ids, and saw those of `history`, the oldest first. filter: what may be given.

        NotFound for an id that is not there.
        """
        store, tree = self._store, parse(filter)
        like, dislike, history = map(_ids, (like, dislike, history))
        asked: dict[str, Any] = {"like": like, "dislike": dislike, "history": history, "k": k, "diversity": diversity}
        understanding.require_apart(like, dislike)
        ids, texts, vectors = _named(store, [*like, *dislike, *history])
        place = {id_: row for row, id_ in enumerate(ids)}
        aims = recommending.aims(vectors, *([place[id_] for id_ in some] for some in (like, dislike, history)))
        wanted = max(1, k) * (recommending.POOL if diversity else 1)
        found = shortlist(store, aims, wanted, tree, set(texts))
        if found is not None:
            every = [*ids, *found.ids], [*texts, *found.texts], np.concatenate([vectors, found.vectors])
            return understanding.recommend(*every, **asked, allowed=found.ids)
        held = self.contents()
        allowed = None if tree is None else [record.id for record in self.records(filter)]
        return understanding.recommend(held.ids, held.texts, held.vectors, **asked, allowed=allowed)

    def status(self) -> Status:
        return self._store.status()

    @property
    def store(self) -> Store:
        """What is behind it."""
        return self._store

    def close(self) -> None:
        """Let go of its files; the model stays, since others may use it."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Collection({self.name!r})"

    @property
    def _store(self) -> Store:
        return self._live[0]

    def prepare(self, records: Sequence[Record]) -> "Prepared":
        """What of these records `write` will need, with vectors for their new texts; changes nothing."""
        return self._prepared(Prepared(records, self._live))

    def write(self, prepared: "Prepared") -> Added:
        """Records that were prepared, in one transaction; it begins anew when somebody wrote meanwhile."""
        store, _ = prepared.live
        while True:
            with store.writing():
                if store.fingerprints([record.id for record in prepared.records]) == prepared.known:
                    counted = _write(store, prepared.records, prepared.known, prepared.vectors)
                    return replace(counted, cut=prepared.cut, embedded=len(prepared.vectors), tokens=prepared.tokens)
            prepared = self._prepared(prepared)

    def _prepared(self, earlier: "Prepared") -> "Prepared":
        store, load = earlier.live
        known = store.fingerprints([record.id for record in earlier.records])
        missing = [text for text in _texts_to_embed(earlier.records, known) if text not in earlier.vectors]
        if not missing:
            return replace(earlier, known=known)
        model = self._model(store, load)
        made = embed(model, missing, "document", dimensions=self.facts.dim)
        return replace(
            earlier,
            known=known,
            vectors={**earlier.vectors, **dict(zip(missing, made.vectors, strict=True))},
            cut=earlier.cut + int((made.tokens >= model.encoder.max_tokens).sum()),
            tokens=earlier.tokens + int(made.tokens.sum()),
        )

    def _vectors(self, store: Store, load: Callable[[], Model], asked: "Queries") -> Floats:
        if asked.vectors is not None:
            return asked.vectors
        facts = self.facts
        instruction = facts.instruction if self._instruction is None else self._instruction
        return embed(self._model(store, load), asked.texts, "query", instruction, facts.dim).vectors

    def _model(self, store: Store, load: Callable[[], Model]) -> Model:
        with self._loading:
            if load not in self._models:
                model = load()
                if store.facts is not None:
                    require_same_space(self.name, store.facts, model)
                self._models = {load: model}
            return self._models[load]


def _named(store: Store, named: Iterable[str]) -> tuple[list[str], list[str], Floats]:
    """Ids, each once, their texts and vectors."""
    ids = list(dict.fromkeys(named))
    records, vectors = store.get(ids), store.vectors(ids)
    for id_ in ids:
        if id_ not in records or id_ not in vectors:
            raise NotFound(f"there is no {id_!r} here to start from")
    return ids, [records[id_].text for id_ in ids], np.stack([vectors[id_] for id_ in ids]) if ids else np.empty((0, 1), np.float32)


def slices(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Some records at a time: what is embedded, and is on disk, together."""
    piece: list[Record] = []
    characters = 0
    for record in records:
        if piece and (len(piece) == SLICE_RECORDS or characters + len(record.text) > SLICE_CHARACTERS):
            yield piece
            piece, characters = [], 0
        piece.append(record)
        characters += len(record.text)
    if piece:
        yield piece


def _texts_to_embed(records: Sequence[Record], known: Mapping[str, Fingerprint]) -> dict[str, None]:
    return {record.text: None for record in records if record.id not in known or known[record.id].text != fingerprint(record).text}


def _write(store: Store, records: Sequence[Record], known: Mapping[str, Fingerprint], vectors: Mapping[str, Floats]) -> Added:
    new = [record for record in records if record.id not in known]
    changed = [record for record in records if record.id in known and known[record.id] != fingerprint(record)]
    retold = [record for record in changed if known[record.id].text == fingerprint(record).text]
    put = [*new, *(record for record in changed if known[record.id].text != fingerprint(record).text)]
    if put:
        store.put(put, np.stack([vectors[record.text] for record in put]))
    if retold:
        store.revise(retold)
    return Added(len(new), len(changed), len(records) - len(new) - len(changed))


def _ids(ids: Iterable[str] | str) -> list[str]:
    listed = [ids] if isinstance(ids, str) else list(ids)
    for each in listed:
        if not isinstance(each, str):
            raise InvalidInput(f"ids are texts, not {each!r}")
    return listed
