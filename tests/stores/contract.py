"""What every store promises, whatever backend it has: one suite. A test module subclasses `StoreContract` and gives it `open_store`.

    class TestLocal(StoreContract):
        def open_store(self, folder): return LocalStore(folder)

`eventually(condition)` is for backends whose writes are seen after a delay; a backend that needs it says so in its docs.
"""

import numpy as np
import pytest

from huiyi.errors import Conflict, HuiyiError, InvalidInput, NotFound
from huiyi.shortlists import shortlist
from huiyi.stores.filters import matches, parse
from huiyi.stores.store import Facts, Record, Store, fingerprint

DIM = 16
PROBES = np.eye(8, DIM, dtype=np.float32)
FACTS = Facts(model="fake", space="fake-16", precision="fp32", dim=DIM, instruction="find", probes=PROBES)
OTHER = Facts(model="other", space="other-8", precision="", dim=8, instruction=None, probes=np.eye(8, dtype=np.float32))

STRANGE_IDS = [
    "",
    " ",
    "a b",
    "订单/1?x=1&y=%20",
    "'; DROP TABLE records; --",
    '"',
    "\\",
    "\n",
    "👍",
    "a" * 600,
    "None",
    "0",
    "é",
    "e\u0301",
]

TOLD = {
    "zh1": "订单超过48小时未发货怎么办",
    "zh2": "花呗逾期会怎么样",
    "zh3": "包裹什么时候能到",
    "ja1": "注文をキャンセルする方法",
    "ja2": "返品の送料は誰が払いますか",
    "th1": "ฉันจะยกเลิกคำสั่งซื้อได้อย่างไร",
    "th2": "ค่าจัดส่งเท่าไหร่",
    "ar1": "كيف ألغي الطلب",
    "ar2": "متى يصل الطرد",
    "en1": "Where is my parcel?",
    "en2": "How do I get an invoice?",
    "ko1": "배송은 얼마나 걸리나요",
}
ASKED = {
    "我昨天买的耳机还没发货": "zh1",
    "花呗": "zh2",
    "48": "zh1",
    "キャンセル": "ja1",
    "送料": "ja2",
    "ยกเลิก": "th1",
    "จัดส่ง": "th2",
    "الطلب": "ar1",
    "متى الطرد": "ar2",
    "PARCEL": "en1",
    "an invoice": "en2",
    "배송": "ko1",
}
STRANGE_QUERIES = [
    "?",
    "!!! ...",
    '"',
    "'",
    '"a" OR "b"',
    "parcel* NEAR(invoice, 2) AND NOT x",
    "text: parcel",
    "{x}^2 -parcel +invoice",
    "'; DROP TABLE records; --",
    "%_\\",
    "\x00",
    "👍",
    "the the the a of",
    "parcel " * 1400,
    "包裹" * 5000,
    "\n\t",
]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def vectors(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((count, dim)))


def records(count: int, start: int = 0) -> list[Record]:
    return [
        Record(
            f"r{i}",
            f"text number {i}",
            {"number": i, "parity": "even" if i % 2 == 0 else "odd", "third": i % 3 == 0, "tags": [f"t{i % 5}"]},
        )
        for i in range(start, start + count)
    ]


class StoreContract:
    """See the module."""

    keywords = True  # whether the backend has them

    def open_store(self, folder) -> Store:
        raise NotImplementedError

    @pytest.fixture
    def new(self, tmp_path):
        """Opens the same collection each time it is called; all are closed at the end."""
        opened = []

        def make() -> Store:
            opened.append(self.open_store(tmp_path / "faq"))
            return opened[-1]

        yield make
        for each in opened:
            each.close()

    @pytest.fixture
    def store(self, new) -> Store:
        made = new()
        made.create(FACTS)
        return made

    @pytest.fixture
    def filled(self, store) -> Store:
        store.put(records(40), vectors(40))
        return store

    def test_a_collection_that_was_not_made_has_no_facts_and_answers_nothing(self, new):
        store = new()
        assert store.facts is None
        for ask in (store.count, lambda: store.get(["a"]), lambda: store.search(vectors(1), 3), lambda: store.put(records(1), vectors(1))):
            with pytest.raises(NotFound):
                ask()

    def test_the_facts_are_kept_with_it(self, store, new):
        again = new().facts
        assert again == FACTS
        np.testing.assert_allclose(again.probes, PROBES, atol=1e-6)

    def test_it_is_made_once(self, store, new):
        with pytest.raises(Conflict):
            new().create(FACTS)

    def test_what_was_put_is_there_as_it_was(self, filled, new):
        for each in (filled, new()):
            assert each.count() == 40
            assert each.get(["r3", "nothing", "r39"]) == {record.id: record for record in records(40) if record.id in ("r3", "r39")}
            assert sorted(each.ids()) == sorted(record.id for record in records(40))

    def test_ids_are_any_string(self, store):
        made = [Record(id_, f"text of {id_}", {"n": i}) for i, id_ in enumerate(STRANGE_IDS)]
        store.put(made, vectors(len(made)))
        assert store.count() == len(made)
        assert store.get(STRANGE_IDS) == {record.id: record for record in made}
        assert sorted(store.ids()) == sorted(STRANGE_IDS)
        for i, query in enumerate(vectors(len(made))):
            assert store.search(query[None], 1)[0][0].id == STRANGE_IDS[i]
        assert store.delete(ids=STRANGE_IDS[:5]) == 5
        assert sorted(store.ids()) == sorted(STRANGE_IDS[5:])

    def test_texts_and_metadata_come_back_exactly(self, store):
        metadata = {"a": "x", "b": 3, "c": 2.5, "d": True, "e": False, "f": ["one", "二"], "g": "", "h": [], "名称": "值", "with.dot": -1}
        made = [Record("a", "", {}), Record("b", "多行\n文本\t\x00 \U0001f600", metadata), Record("c", "长" * 5000, {"n": 2**53})]
        store.put(made, vectors(3))
        found = store.get(["a", "b", "c"])
        assert found == {record.id: record for record in made}
        kinds = {name: type(value) for name, value in found["b"].metadata.items()}
        assert kinds == {name: type(value) for name, value in metadata.items()}

    def test_fingerprints_tell_what_changed(self, filled):
        known = filled.fingerprints(["r1", "r2", "new"])
        assert known == {record.id: fingerprint(record) for record in records(3)[1:]}
        filled.put([Record("r1", "another text", {})], vectors(1, seed=9))
        assert filled.fingerprints(["r1"])["r1"] == fingerprint(Record("r1", "another text", {}))

    def test_the_best_by_several_vectors_are_found_without_reading_all(self, store):
        rows, aims = vectors(300), vectors(6, seed=1).reshape(3, 2, DIM) * 0.7
        store.put(records(300), rows)
        for wanted, filter in ((5, None), (20, None), (5, parse({"parity": "odd"}))):
            found = shortlist(store, aims, wanted, filter, {"text number 7"})
            scores = (aims @ rows.T).min(axis=1).max(axis=0)
            meant = [i for i in np.argsort(-scores) if i != 7 and (filter is None or i % 2)][:wanted]
            assert {f"r{i}" for i in meant} <= set(found.ids)
            assert found.ids == [f"r{text.split()[-1]}" for text in found.texts]
            np.testing.assert_allclose(found.vectors, rows[[int(id_[1:]) for id_ in found.ids]], atol=2e-3)
        assert len(shortlist(store, aims, 1000, None, ()).ids) == 300

    def test_a_second_put_of_an_id_replaces_the_first(self, filled):
        new = Record("r7", "new text", {"only": "this"})
        vector = vectors(1, seed=5)
        filled.put([new], vector)
        assert filled.count() == 40
        assert filled.get(["r7"]) == {"r7": new}
        (best, *_) = filled.search(vector, 3)[0]
        assert (best.id, best.text, best.metadata) == ("r7", "new text", {"only": "this"})
        assert best.score == pytest.approx(1, abs=2e-3)
        assert "r7" not in [hit.id for hit in filled.search(vectors(40)[7:8], 3)[0][:1]]

    def test_new_metadata_leaves_text_and_vector(self, filled):
        filled.revise([Record("r7", "text number 7", {"parity": "revised"})])
        assert filled.get(["r7"])["r7"].metadata == {"parity": "revised"}
        assert filled.search(vectors(40)[7:8], 1, parse({"parity": "revised"}))[0][0].id == "r7"
        assert filled.search(vectors(40)[7:8], 1, parse({"parity": "odd"}))[0][0].id != "r7"
        assert filled.count(parse({"number": 7})) == 0

    def test_the_nearest_come_first_with_their_cosines(self, filled):
        queries = vectors(5, seed=3)
        for query, hits in zip(queries, filled.search(queries, 7), strict=True):
            scores = vectors(40) @ query
            assert [hit.id for hit in hits] == [f"r{i}" for i in np.argsort(-scores)[:7]]
            np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores)[::-1][:7], atol=2e-3)
            assert [hit.text for hit in hits] == [f"text number {hit.id[1:]}" for hit in hits]

    def test_k_larger_than_the_collection_gives_all(self, filled):
        assert len(filled.search(vectors(1, seed=3), 100)[0]) == 40

    def test_an_empty_collection_finds_nothing(self, store):
        assert store.search(vectors(2), 5) == [[], []]
        assert store.search(vectors(1), 5, parse({"a": 1})) == [[]]
        assert list(store.ids()) == []
        assert store.page(10).records == ()
        assert store.count() == 0

    @pytest.mark.parametrize("k", [0, -1])
    def test_no_hits_cannot_be_asked_for(self, filled, k):
        with pytest.raises(InvalidInput):
            filled.search(vectors(1), k)

    def test_vectors_of_another_width_are_refused(self, filled):
        with pytest.raises(InvalidInput):
            filled.search(np.ones((1, 3), np.float32), 1)
        with pytest.raises(InvalidInput):
            filled.put(records(1, 50), np.ones((1, 3), np.float32))
        with pytest.raises(InvalidInput):
            filled.put(records(1, 50), np.full((1, DIM), np.nan, np.float32))
        assert filled.count() == 40

    @pytest.mark.parametrize(
        "given",
        [
            {"parity": "odd"},
            {"parity": {"$ne": "odd"}},
            {"parity": {"$in": ["odd", "neither"]}},
            {"parity": {"$nin": ["odd"]}},
            {"number": {"$gte": 10, "$lt": 13}},
            {"number": {"$gt": 38.5}},
            {"number": {"$lte": 1}},
            {"number": 5},
            {"number": {"$ne": 5}},
            {"number": {"$in": [5, 6.0, 99]}},
            {"third": True},
            {"third": {"$ne": True}},
            {"third": False, "parity": "even"},
            {"tags": "t3"},
            {"tags": {"$in": ["t1", "t4"]}},
            {"tags": {"$nin": ["t1", "t4"]}},
            {"$or": [{"number": 3}, {"parity": "even", "number": {"$lt": 5}}]},
            {"$and": [{"number": {"$gt": 3}}, {"$or": [{"tags": "t0"}, {"third": True}]}]},
            {"nothing": {"$exists": False}},
            {"number": {"$exists": True}},
            {"nothing": "x"},
            {"parity": 'it\'s "quoted" \\ %_'},
        ],
        ids=str,
    )
    def test_a_filter_leaves_out_before_the_nearest_are_chosen(self, filled, given):
        filter = parse(given)
        matching = [i for i, record in enumerate(records(40)) if matches(filter, record.metadata)]
        assert filled.count(filter) == len(matching)
        query = vectors(1, seed=11)
        scores = vectors(40)[matching] @ query[0]
        assert [hit.id for hit in filled.search(query, 8, filter)[0]] == [f"r{matching[i]}" for i in np.argsort(-scores)[:8]]
        assert sorted(record.id for batch in filled.scan(filter) for record in batch.records) == sorted(f"r{i}" for i in matching)

    def test_deleting_by_id_says_how_many_were_there(self, filled):
        assert filled.delete(ids=["r1", "r2", "nothing", "r1"]) == 2
        assert filled.count() == 38
        assert filled.get(["r1", "r3"]).keys() == {"r3"}
        assert not {"r1", "r2"} & {hit.id for hit in filled.search(vectors(40)[1:2], 40)[0]}
        assert filled.delete(ids=["r1"]) == 0

    def test_deleting_by_filter(self, filled):
        assert filled.delete(filter=parse({"number": {"$gte": 30}})) == 10
        assert sorted(filled.ids()) == sorted(f"r{i}" for i in range(30))

    def test_deleting_takes_ids_or_a_filter(self, filled):
        for wrong in ({}, {"ids": ["r1"], "filter": parse({"number": 1})}):
            with pytest.raises(InvalidInput):
                filled.delete(**wrong)
        assert filled.count() == 40

    def test_a_deleted_id_may_come_back(self, filled):
        filled.delete(ids=["r1"])
        filled.put([Record("r1", "back", {})], vectors(1, seed=21))
        assert filled.search(vectors(1, seed=21), 1)[0][0].text == "back"

    @pytest.mark.parametrize("limit", [1, 7, 40, 100])
    def test_a_scroll_shows_every_record_once(self, filled, limit):
        seen, after = [], None
        while True:
            page = filled.page(limit, after)
            assert len(page.records) <= limit
            seen += page.records
            if page.next is None:
                break
            after = page.next
        assert sorted(seen, key=lambda record: record.id) == sorted(records(40), key=lambda record: record.id)

    def test_a_scroll_of_matching_records(self, filled):
        seen, after = [], None
        while True:
            page = filled.page(3, after, parse({"parity": "odd"}))
            seen += [record.id for record in page.records]
            if page.next is None:
                break
            after = page.next
        assert sorted(seen) == sorted(f"r{i}" for i in range(1, 40, 2))

    def test_a_place_that_no_page_gave_is_refused(self, filled):
        with pytest.raises(InvalidInput):
            filled.page(3, "no such place")

    def test_a_scan_gives_records_with_their_vectors(self, filled):
        found = {record.id: vector for batch in filled.scan() for record, vector in zip(batch.records, batch.vectors, strict=True)}
        assert found.keys() == {record.id for record in records(40)}
        for i, vector in enumerate(vectors(40)):
            np.testing.assert_allclose(found[f"r{i}"], vector, atol=1e-3)

    def test_many_records_in_one_call(self, store):
        store.put(records(3000), vectors(3000))
        assert store.count() == 3000
        assert len(store.get([f"r{i}" for i in range(3000)])) == 3000
        assert sum(len(batch.records) for batch in store.scan()) == 3000
        assert store.search(vectors(3000)[2345:2346], 1)[0][0].id == "r2345"
        assert store.delete(ids=[f"r{i}" for i in range(2990)]) == 2990

    @pytest.fixture
    def told(self, store) -> Store:
        """Texts of several languages."""
        made = [Record(id_, text, {"lang": id_[:2]}) for id_, text in TOLD.items()]
        store.put(made, vectors(len(made)))
        return store

    @pytest.mark.parametrize(("query", "best"), ASKED.items())
    def test_words_find_their_records(self, told, query, best):
        if not self.keywords:
            pytest.skip("no keywords here")
        hits = told.search_keywords([query], 3)[0]
        assert hits[0].id == best
        assert (hits[0].text, hits[0].metadata) == (TOLD[best], {"lang": best[:2]})
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert all(hit.score > 0 for hit in hits)
        assert (
            told.search_keywords([query], 3, parse({"lang": {"$ne": best[:2]}}))[0]
            == [hit for hit in told.search_keywords([query], 30)[0] if hit.metadata["lang"] != best[:2]][:3]
        )

    def test_words_follow_what_is_written(self, told):
        if not self.keywords:
            pytest.skip("no keywords here")
        assert told.search_keywords(["zebra"], 3) == [[]]
        told.put([Record("new", "a zebra", {"a": 1}), Record("en1", "another zebra zebra", {})], vectors(2, seed=5))
        assert {hit.id for hit in told.search_keywords(["zebra"], 3)[0]} == {"new", "en1"}
        assert told.search_keywords(["parcel"], 3) == [[]]
        told.revise([Record("new", "a zebra", {"a": 2})])
        assert [hit.id for hit in told.search_keywords(["zebra"], 3, parse({"a": 2}))[0]] == ["new"]
        told.delete(ids=["en1"])
        assert [hit.id for hit in told.search_keywords(["zebra"], 3)[0]] == ["new"]

    @pytest.mark.parametrize("query", STRANGE_QUERIES)
    def test_no_query_is_more_than_words(self, told, query):
        if not self.keywords:
            pytest.skip("no keywords here")
        (hits,), (candidates,) = told.search_keywords([query], 3), told.candidates(vectors(1), [query], 3)
        assert len(hits) <= 3
        assert 3 <= len(candidates.records) <= 6
        assert told.count() == len(TOLD)

    def test_candidates_are_those_of_both_legs_with_both_scores(self, told):
        query, vector = "Parcel 包裹", vectors(3)[2:]
        if not self.keywords:
            for ask in (lambda: told.search_keywords([query], 3), lambda: told.candidates(vector, [query], 3)):
                with pytest.raises(InvalidInput, match="semantic"):
                    ask()
            return
        near = {hit.id: hit.score for hit in told.search(vector, 30)[0]}
        for filter in (None, parse({"lang": "en"})):
            words = {hit.id: hit.score for hit in told.search_keywords([query], 30, filter)[0]}
            (found,) = told.candidates(vector, [query], 3, filter)
            ids = [record.id for record in found.records.values()]
            assert len(ids) == len(set(ids)) == len(found.cosines) == len(found.bm25)
            assert set(ids) == {
                hit.id for hits in (told.search(vector, 3, filter), told.search_keywords([query], 3, filter)) for hit in hits[0]
            }
            for place, record in found.records.items():
                assert record.text == TOLD[record.id]
                assert found.cosines[place] == pytest.approx(near[record.id], abs=2e-3)
                assert found.bm25[place] == pytest.approx(words.get(record.id, 0.0), rel=0.02)

    def test_of_the_candidates_those_are_read_that_are_chosen_after_their_scores(self, told):
        if not self.keywords:
            pytest.skip("no keywords here")
        (every,) = told.candidates(vectors(1), ["Parcel 包裹"], 3)
        (two,) = told.candidates(vectors(1), ["Parcel 包裹"], 3, choose=lambda cosines, bm25: np.argsort(-cosines)[1:3].tolist())
        assert sorted(two.cosines) == pytest.approx(sorted(every.cosines), abs=1e-6)
        wanted = np.argsort(-every.cosines)[1:3].tolist()
        assert list(two.records.values()) == [every.records[place] for place in wanted]
        (none,) = told.candidates(vectors(1), ["Parcel 包裹"], 3, choose=lambda cosines, bm25: [])
        assert none.records == {}
        assert len(none.cosines) == len(every.cosines)

    def test_several_queries_are_answered_each_for_itself(self, told):
        if not self.keywords:
            pytest.skip("no keywords here")
        queries = list(ASKED)[:3]
        assert told.search_keywords(queries, 2) == [told.search_keywords([query], 2)[0] for query in queries]
        both = told.candidates(vectors(3), queries, 2)
        alone = [told.candidates(vectors(3)[i : i + 1], [query], 2)[0] for i, query in enumerate(queries)]
        assert [{record.id for record in some.records.values()} for some in both] == [
            {record.id for record in some.records.values()} for some in alone
        ]
        assert told.search_keywords([], 2) == []

    def test_vectors_are_had_by_id(self, filled):
        found = filled.vectors(["r3", "nothing", "r7"])
        assert found.keys() == {"r3", "r7"}
        np.testing.assert_allclose(found["r7"], vectors(40)[7], atol=2e-3)
        assert filled.vectors([]) == {}

    def test_what_was_learned_is_kept_with_it(self, filled, new):
        assert filled.kept("search") is None
        filled.keep("search", '{"weight": 0.5}')
        filled.keep("search", '{"weight": 0.25, "名": 1}')
        assert filled.kept("search") == new().kept("search") == '{"weight": 0.25, "名": 1}'
        assert filled.kept("other") is None
        filled.keep("search", None)
        filled.keep("search", None)
        assert new().kept("search") is None

    def test_nothing_may_be_put(self, store):
        store.put([], np.empty((0, DIM), np.float32))
        assert store.count() == 0
        assert store.get([]) == {}
        assert store.delete(ids=[]) == 0

    def test_a_successor_takes_the_place_of_the_vectors_and_misses_no_record(self, filled, new):
        successor = filled.successor(OTHER)
        first = successor.missing(25)
        assert len(first) == 25
        successor.put(first, vectors(25, seed=1, dim=8))
        assert successor.count() == 25
        # the store lives on meanwhile
        assert len(filled.search(vectors(1), 3)[0]) == 3
        filled.put([Record("r0", "changed", {}), Record("late", "late", {})], vectors(2, seed=4))
        filled.delete(ids=["r1", "r39"])
        assert filled.successor(OTHER).count() <= 25
        successor = filled.successor(OTHER)
        done: dict[str, str] = {}
        swapped = None
        while swapped is None:
            while batch := successor.missing(10):
                done |= {record.id: record.text for record in batch}
                successor.put(batch, vectors(len(batch), seed=len(done), dim=8))
            swapped = successor.swap()
        assert {"r0", "late"} <= done.keys()
        assert done["r0"] == "changed"
        assert not {"r1", "r39"} & done.keys()
        assert swapped.facts == OTHER
        assert swapped.count() == 39
        assert swapped.get(["r0"])["r0"].text == "changed"
        assert len(swapped.search(vectors(1, dim=8), 100)[0]) == 39
        assert swapped.search(vectors(1, dim=8), 1, parse({"number": 5}))[0][0].id == "r5"
        with pytest.raises(Conflict):
            filled.search(vectors(1), 1)
        with pytest.raises(Conflict):
            filled.put(records(1), vectors(1))
        assert not filled.is_current()
        assert swapped.is_current()
        again = new()
        assert again.facts == OTHER
        assert again.count() == 39
        swapped.close()

    def test_swapping_waits_for_what_is_missing(self, filled):
        assert filled.successor(OTHER).swap() is None
        assert filled.facts == FACTS
        assert filled.count() == 40

    def test_a_successor_that_is_discarded_leaves_nothing(self, filled):
        successor = filled.successor(OTHER)
        successor.put(successor.missing(100), vectors(40, dim=8))
        successor.discard()
        assert filled.successor(OTHER).count() == 0
        assert len(filled.search(vectors(1), 3)[0]) == 3

    def test_writing_is_one_writer_at_a_time(self, filled):
        with filled.writing():
            assert filled.fingerprints(["r1"])
            filled.put([Record("r1", "inside", {})], vectors(1))
        assert filled.get(["r1"])["r1"].text == "inside"

    def test_the_status_counts(self, filled):
        status = filled.status()
        assert status.records == 40
        assert 0 <= status.indexed <= 40

    def test_closing_twice_is_fine_and_nothing_answers_afterwards(self, filled):
        filled.close()
        filled.close()
        with pytest.raises(HuiyiError):
            filled.count()

    def test_a_dropped_collection_is_gone(self, filled, new):
        other = new()
        assert other.is_current()
        filled.drop()
        assert not other.is_current()
        again = new()
        assert again.facts is None
        again.create(OTHER)
        assert again.count() == 0
