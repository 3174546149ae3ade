"""The Pinecone store, against a local stand-in of its published API: no cloud was at hand."""

import ssl
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huiyi.errors import InvalidInput, MissingExtra, Overloaded, Unavailable
from huiyi.stores.filters import matches, parse
from huiyi.stores.pinecone import open_store
from huiyi.stores.pinecone_rows import id_of, key_of
from huiyi.stores.store import Record
from stores import standin_pinecone
from stores.contract import FACTS, OTHER, StoreContract, records, vectors
from stores.generated import FILTERS, METADATA

pytest.importorskip("pinecone", reason="the extra pinecone is not installed")


@pytest.fixture(scope="module")
def standin():
    with standin_pinecone.running(lag_s=0.01) as running:
        yield running


CERTIFICATES = ssl.create_default_context()  # reading them takes 65 ms for each client, and none of these speaks TLS


@pytest.fixture(autouse=True)
def _key(monkeypatch, standin):
    monkeypatch.setattr(ssl, "create_default_context", lambda *_, **__: CERTIFICATES)
    monkeypatch.setenv("PINECONE_API_KEY", standin_pinecone.KEY)
    standin.indexes.clear()
    standin.calls.clear()
    standin.busy_every, standin.lag_s, standin.negation_takes_missing = 0, 0.01, True


class TestContract(StoreContract):
    keywords = False

    @pytest.fixture(autouse=True)
    def _address(self, standin):
        self.address = standin.url

    def open_store(self, folder):
        return open_store("faq", self.address, folder)


@pytest.fixture
def store(standin, tmp_path):
    made = open_store("faq", standin.url, tmp_path)
    made.create(FACTS)
    yield made
    made.close()


@settings(max_examples=25)
@given(st.lists(METADATA, min_size=1, max_size=6), st.lists(FILTERS, min_size=3, max_size=6))
@pytest.mark.parametrize("negation_takes_missing", [True, False])
def test_a_filter_means_in_pinecone_what_it_means(store, standin, negation_takes_missing, metadata, filters) -> None:
    """Whatever a negation makes of records without the field."""
    standin.negation_takes_missing = negation_takes_missing
    made = [Record(f"m{number}", "text", fields) for number, fields in enumerate(metadata)]
    store.put(made, vectors(len(made)))
    for given_filter in filters:
        filter = parse(given_filter)
        meant = sorted(record.id for record in made if matches(filter, record.metadata))
        assert sorted(record.id for record in store.page(100, filter=filter).records) == meant, given_filter
        assert store.count(filter) == len(meant)
        assert sorted(hit.id for hit in store.search(vectors(1), 10, filter)[0]) == meant
    store.delete(ids=[record.id for record in made])


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=600))
def test_every_id_becomes_ascii_and_comes_back(id_) -> None:
    key = key_of(id_)
    assert key.isascii()
    assert 1 <= len(key) <= 512
    assert "\0" not in key
    assert id_of(key, {"~id": id_}) == id_
    if not key.startswith("#"):
        assert id_of(key, {}) == id_  # reversible without a look at the record


def test_a_write_is_seen_when_it_returns_however_late_pinecone_shows_it(standin, tmp_path) -> None:
    standin.lag_s = 0.3
    store = open_store("late", standin.url, tmp_path)
    store.create(FACTS)
    assert open_store("late", standin.url, tmp_path).facts == FACTS
    store.put(records(5), vectors(5))
    assert store.search(vectors(5)[3:4], 1)[0][0].id == "r3"
    assert sorted(store.ids()) == [f"r{number}" for number in range(5)]
    store.put([Record("r3", "new", {})], vectors(1, seed=8))
    assert store.get(["r3"])["r3"].text == "new"
    store.delete(ids=["r3", "r4"])
    assert store.count() == len(list(store.ids())) == len(store.get([f"r{number}" for number in range(5)])) == 3
    store.close()


def test_a_write_that_is_never_shown_is_said(standin, store, monkeypatch) -> None:
    from huiyi.stores import pinecone_index

    monkeypatch.setattr(pinecone_index, "VISIBLE_S", 0.2)
    for index in standin.indexes.values():
        for view in index.views.values():
            view.lag_s = 60
    with pytest.raises(Unavailable, match=r"has taken a write to faq, but does not show it"):
        store.put(records(1), vectors(1))


def test_calls_stay_within_the_limits(standin, tmp_path) -> None:
    """The stand-in refuses more than 1,000 vectors and more than 2 MB a call."""
    wide = open_store("wide", standin.url, tmp_path)
    facts = type(FACTS)(**{**FACTS.__dict__, "dim": 1024, "probes": vectors(8, dim=1024)})
    wide.create(facts)
    standin.calls.clear()
    wide.put([Record(f"{number}", "长" * 1000, {"n": number}) for number in range(400)], vectors(400, dim=1024))
    assert standin.calls.count("POST vectors/upsert") >= 4
    assert wide.count() == 400
    wide.close()


def test_a_busy_pinecone_is_asked_again(standin, store) -> None:
    standin.busy_every = 3
    store.put(records(30), vectors(30))
    assert len(store.get([f"r{number}" for number in range(30)])) == 30
    standin.busy_every = 1
    with pytest.raises(Overloaded):
        store.count()


def test_what_pinecone_has_no_room_for_is_refused_before_anything_is_written(store) -> None:
    for record in (Record("long", "长" * 14_000, {}), Record("wide", "text", {"a": "x" * 41_000})):
        with pytest.raises(InvalidInput, match=r"its text and metadata have 4[0-9],\d+ bytes, and Pinecone takes 40,960; split it"):
            store.put([Record("fits", "text", {}), record], vectors(2))
    assert store.count() == 0
    with pytest.raises(InvalidInput, match=r"k is between 1 and 10,000"):
        store.search(vectors(1), 10_001)


def test_more_hits_than_pinecone_gives_with_their_texts(store) -> None:
    store.put(records(1200), vectors(1200))
    found = store.search(vectors(1), 1100)[0]
    assert len({hit.id for hit in found}) == 1100
    assert all(hit.text == f"text number {hit.id[1:]}" for hit in found)


def test_fields_named_like_ours_are_the_users_own(store) -> None:
    metadata = {"~text": "mine", "~key": 3, "~~": True, "text": "t", "id": "i"}
    store.put([Record("a", "text", metadata)], vectors(1))
    assert store.get(["a"])["a"] == Record("a", "text", metadata)
    assert store.count(parse({"~text": "mine", "~key": {"$gt": 2}})) == 1
    assert store.count(parse({"~text": {"$exists": False}})) == 0


def test_collections_share_an_index_and_stay_apart(standin, store, tmp_path) -> None:
    other = open_store("Other_1", standin.url, tmp_path / "other")
    other.create(FACTS)
    store.put(records(3), vectors(3))
    other.put(records(2, 10), vectors(2))
    assert (store.count(), other.count()) == (3, 2)
    assert sorted(standin.indexes) == ["huiyi-16", "huiyi-facts"]
    other.drop()
    assert store.count() == 3


def test_another_process_learns_of_a_reindex(standin, store, tmp_path, monkeypatch) -> None:
    from huiyi.errors import Conflict
    from huiyi.stores import pinecone

    store.put(records(3), vectors(3))
    other = open_store("faq", standin.url, tmp_path)
    successor = other.successor(OTHER)
    successor.put(successor.missing(9), vectors(3, dim=8))
    swapped = successor.swap()
    with pytest.raises(Conflict, match=r"open it again"):
        store.put(records(1), vectors(1))
    monkeypatch.setattr(pinecone, "STALE_S", 0)  # readers look every ten seconds
    with pytest.raises(Conflict, match=r"open it again"):
        store.search(vectors(1), 1)
    assert swapped.count() == 3
    assert [name for name in standin.view(standin.indexes["huiyi-16"], "query").namespaces if name.startswith("faq/")] == []


def test_the_key_comes_from_the_environment_and_nowhere_else(standin, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PINECONE_API_KEY", "wrong")
    with pytest.raises(InvalidInput, match=r"does not accept the key in PINECONE_API_KEY"):
        open_store("faq", standin.url, tmp_path)
    monkeypatch.delenv("PINECONE_API_KEY")
    with pytest.raises(InvalidInput, match=r"set the environment variable PINECONE_API_KEY"):
        open_store("faq", standin.url, tmp_path)


def test_a_pinecone_that_cannot_be_reached_is_said(tmp_path) -> None:
    with pytest.raises(Unavailable, match=r"Pinecone does not answer"):
        open_store("faq", "http://127.0.0.1:1", tmp_path)


@pytest.mark.parametrize("address", ["us-east-1", "AWS/us", "ftp://x", "a/b/c"])
def test_an_address_that_is_none_is_refused(tmp_path, address) -> None:
    with pytest.raises(InvalidInput, match=r"such as aws/us-east-1"):
        open_store("faq", address, tmp_path)


def test_without_the_package_its_extra_is_said(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pinecone", None)
    with pytest.raises(MissingExtra, match=r"huiyi\[pinecone\]"):
        open_store("faq", "", tmp_path)
