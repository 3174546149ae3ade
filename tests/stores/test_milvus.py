"""The Milvus store: on Lite files, and (slow) on the real server that the package `milvus` brings, 2.3.5, which has no keywords."""

import importlib.util
import os
import signal
import socket
import string
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import REPOSITORY
from fakes import in_thread, until
from huiyi.errors import Conflict, HuiyiError, InvalidInput, NotFound, Unavailable
from huiyi.stores.filters import matches, parse
from huiyi.stores.milvus import open_store
from huiyi.stores.milvus_connection import place_of
from huiyi.stores.milvus_rows import words_of
from huiyi.stores.store import Record
from stores.contract import FACTS, OTHER, StoreContract, records, vectors
from stores.generated import FILTERS, METADATA

pytest.importorskip("pymilvus", reason="the extra milvus is not installed")


class TestLite(StoreContract):
    def open_store(self, folder):
        return open_store("faq", "", folder)


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    """One collection that tests of what is read share; they take away what they put in."""
    store = open_store("shared", "", tmp_path_factory.mktemp("milvus"))
    store.create(FACTS)
    yield store
    store.close()


@settings(max_examples=60)
@given(st.lists(METADATA, min_size=1, max_size=6), st.lists(FILTERS, min_size=3, max_size=6))
def test_a_filter_means_in_milvus_what_it_means(lite, metadata, filters) -> None:
    made = [Record(f"m{number}", "text", fields) for number, fields in enumerate(metadata)]
    lite.put(made, vectors(len(made)))
    for given_filter in filters:
        filter = parse(given_filter)
        meant = sorted(record.id for record in made if matches(filter, record.metadata))
        assert sorted(record.id for record in lite.page(100, filter=filter).records) == meant, given_filter
        assert lite.count(filter) == len(meant)
        assert sorted(hit.id for hit in lite.search(vectors(1), 10, filter)[0]) == meant
    lite.delete(ids=[record.id for record in made])


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), METADATA),
        min_size=1,
        max_size=5,
        unique_by=lambda pair: pair[0],
    )
)
def test_any_id_and_metadata_come_back(lite, given_records) -> None:
    made = [Record(id_, f"text of {id_}", metadata) for id_, metadata in given_records]
    lite.put(made, vectors(len(made)))
    assert lite.get([record.id for record in made]) == {record.id: record for record in made}
    assert lite.delete(ids=[record.id for record in made]) == len(made)
    assert lite.count() == 0


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([*"\"'*:()[]{}\\%-+;", "OR", "NEAR", "in", "words", "parcel", "包裹", "1=1"]), max_size=8).map(" ".join)
    | st.text(max_size=30)
)
def test_no_query_is_more_to_milvus_than_its_words(lite, query) -> None:
    assert not set(words_of(query)) & set(string.punctuation) - {"_"}
    made = [Record("p", "where is my parcel", {}), Record("q", "包裹到哪儿了", {})]
    lite.put(made, vectors(2))
    found = {hit.id for hit in lite.search_keywords([query], 10)[0]}
    assert found == {record.id for record in made if set(words_of(query).split()) & set(words_of(record.text).split())}
    lite.delete(ids=["p", "q"])


def test_what_milvus_has_no_room_for_is_refused_before_anything_is_written(lite) -> None:
    fits = Record("fits", "text", {})
    for record, reason in (
        (Record("long", "长" * 30_000, {}), r"its text has 90,000 bytes, and Milvus takes 65,535; split it"),
        (Record("i" * 70_000, "text", {}), r"its id has 70,000 bytes"),
        (Record("m", "text", {"a": "x" * 70_000}), r"its metadata has 70,008 bytes"),
        (Record("t", "text", {"a": [str(n) for n in range(5000)]}), r"its metadata has 5,001 values"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            lite.put([fits, record], vectors(2))
    assert lite.count() == 0
    with pytest.raises(InvalidInput, match=r"k is between 1 and 16,384"):
        lite.search(vectors(1), 20_000)


def test_keywords_are_there_for_bm25(lite) -> None:
    assert words_of("我的订单 Order-12 在哪里？") == "我的 的订 订单 order 12 在哪 哪里"
    texts = ["花呗逾期会怎样", "订单还没有发货", "How do I return my order?"]
    lite.put([Record(text, text, {}) for text in texts], vectors(3))
    for query, best in (("花呗逾期了怎么办", texts[0]), ("没有发货", texts[1]), ("ORDER", texts[2])):
        found = lite._client.search(lite._live.collection, data=[words_of(query)], anns_field="keywords", limit=1, output_fields=["id"])
        assert found[0][0]["entity"]["id"] == best
    from pymilvus import AnnSearchRequest, RRFRanker

    legs = [
        AnnSearchRequest(data=[words_of("没有发货")], anns_field="keywords", param={"metric_type": "BM25"}, limit=3),
        AnnSearchRequest(data=list(vectors(3)[1:2]), anns_field="vector", param={"metric_type": "IP"}, limit=3),
    ]
    both = lite._client.hybrid_search(lite._live.collection, legs, RRFRanker(), limit=3, output_fields=["id"])
    assert both[0][0]["entity"]["id"] == texts[1]
    lite.delete(ids=texts)


def test_names_that_look_alike_are_different_collections(tmp_path) -> None:
    names = ["长" * 60, "长" * 61, "a_b", "a-b", "ab", "a__b", "a_2d_b", "A-b", "faq", "faq_v1", "faq-next", "faq_next"]
    address = str(tmp_path / "one.db")
    stores = {name: open_store(name, address, tmp_path / name) for name in names}
    for number, (name, store) in enumerate(stores.items()):
        store.create(FACTS)
        store.put([Record(name, name, {})], vectors(1, seed=number))
    for name, store in stores.items():
        assert list(store.ids()) == [name]
    stores["faq"].drop()
    for name, store in stores.items():
        assert name == "faq" or store.count() == 1
        store.close()


WRITER = """
import sys
from pathlib import Path
from huiyi.stores.milvus import open_store
from huiyi.stores.milvus_connection import place_of
from stores.contract import FACTS, records, vectors
store = open_store("faq", "", Path(sys.argv[1]))
if store.facts is None:
    store.create(FACTS)
start = store.count()
while True:
    store.put(records(20, start), vectors(20, seed=start))
    start += 20
    print(start, flush=True)
"""


def test_what_was_acknowledged_survives_kills(tmp_path) -> None:
    acknowledged = 0
    for delay_s in (0.0, 0.15, 0.4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": f"{REPOSITORY / 'tests'}", "PATH": "/usr/bin"},
        )
        assert process.stdout
        acknowledged = int(process.stdout.readline())
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        acknowledged = int((process.stdout.read().split() or [acknowledged])[-1])
        process.wait()
    store = open_store("faq", "", tmp_path)
    assert store.count() in (acknowledged, acknowledged + 20)  # whole batches
    assert len(store.get([f"r{number}" for number in range(acknowledged)])) == acknowledged
    query = vectors(20, seed=acknowledged - 20)[3:4]
    assert store.search(query, 1)[0][0].id == f"r{acknowledged - 17}"
    store.close()


def test_a_lite_file_is_for_one_process_at_a_time(tmp_path) -> None:
    ask = "import sys, pathlib; from huiyi.stores import milvus; print(milvus.open_store('faq', '', pathlib.Path(sys.argv[1])).facts)"
    store = open_store("faq", "", tmp_path)
    done = subprocess.run([sys.executable, "-c", ask, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode
    assert "Conflict" in done.stderr
    assert "one process at a time" in done.stderr
    store.close()
    assert subprocess.run([sys.executable, "-c", ask, str(tmp_path)], capture_output=True, text=True, check=True).stdout == "None\n"


def test_a_swap_that_was_interrupted_is_as_good_as_done(tmp_path) -> None:
    store = open_store("faq", "", tmp_path)
    store.create(FACTS)
    store.put(records(3), vectors(3))
    successor = store.successor(OTHER)
    successor.put(successor.missing(9), vectors(3, dim=8))
    store._client.alter_alias(successor._following.collection, store._alias)  # and then the process was killed
    with pytest.raises(Conflict, match=r"reindexed since it was opened"):
        store.put(records(1), vectors(1))
    store.close()
    again = open_store("faq", "", tmp_path)
    assert (again.facts, again.count()) == (OTHER, 3)
    again.successor(FACTS).discard()  # takes the alias of the interrupted swap, and what it left, away
    assert len([name for name in again._client.list_collections() if "_v" in name]) == 1
    again.close()


def test_metadata_that_changed_during_a_reindex_is_taken_over_without_embedding(tmp_path) -> None:
    store = open_store("faq", "", tmp_path)
    store.create(FACTS)
    store.put(records(5), vectors(5))
    successor = store.successor(OTHER)
    missing = successor.missing(9)
    successor.put(missing, vectors(5, dim=8))
    store.revise([Record("r2", "text number 2", {"new": "yes"})])
    assert successor.missing(9) == []
    swapped = successor.swap()
    assert swapped.get(["r2"])["r2"].metadata == {"new": "yes"}
    place = [record.id for record in missing].index("r2")
    assert swapped.search(vectors(5, dim=8)[place : place + 1], 1, parse({"new": "yes"}))[0][0].score == pytest.approx(1, abs=1e-5)
    swapped.close()
    store.close()


def test_a_reindex_comes_to_its_end_beside_a_writer_that_does_not_rest(tmp_path) -> None:
    store, other = open_store("faq", "", tmp_path), open_store("faq", "", tmp_path)
    store.create(FACTS)
    store.put(records(40), vectors(40))
    successor, swapped, wrote, writing = store.successor(OTHER), None, 0, None
    while swapped is None:
        while missing := successor.missing(15):
            successor.put(missing, vectors(len(missing), dim=8))
            if writing is None or writing.done():
                assert wrote < 20
                wrote += 1
                writing = in_thread(other.put, records(1, 100 + wrote), vectors(1))
            until(lambda writing=writing: writing.done() or successor.holds)
        swapped = successor.swap()
    with pytest.raises(Conflict, match="open it again"):
        writing.result(60)  # it waited, and then nothing of it was lost in the old vectors
    assert swapped.count() == 40 + wrote - 1
    for each in (swapped, store, other):
        each.close()


@pytest.mark.parametrize("address", ["ftp://host", "somewhere", "http://", "milvus://host:1", "relative.db", "/file.txt"])
def test_an_address_that_is_none_is_refused(tmp_path, address) -> None:
    with pytest.raises(InvalidInput, match=r"http://host:19530"):
        open_store("faq", address, tmp_path)


def test_a_server_that_does_not_answer_is_said(tmp_path) -> None:
    with pytest.raises(Unavailable, match=r"Milvus at http://127.0.0.1:1 does not answer"):
        open_store("faq", "http://127.0.0.1:1", tmp_path)


def test_a_server_that_answers_and_is_not_ready_is_said(tmp_path, monkeypatch) -> None:
    """As one that starts: it takes connections long before it knows its collections."""
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    def refuse(*given: object, **named: object) -> bool:
        raise MilvusException(code=1, message="service not ready: initializing")

    monkeypatch.setattr(MilvusClient, "has_collection", refuse)
    with pytest.raises(HuiyiError, match=r"service not ready"):
        open_store("faq", "", tmp_path)


def test_a_password_comes_from_the_environment_and_is_never_written_down(tmp_path, monkeypatch) -> None:
    with pytest.raises(InvalidInput, match=r"MILVUS_TOKEN") as refused:
        open_store("faq", "http://root:geheim@127.0.0.1:1", tmp_path)
    assert "geheim" not in str(refused.value)
    monkeypatch.setenv("MILVUS_TOKEN", "root:geheim")
    assert place_of("https://db/faqs").login == {"token": "root:geheim", "db_name": "faqs"}
    with pytest.raises(Unavailable) as refused:
        open_store("faq", "http://127.0.0.1:1", tmp_path)
    assert "geheim" not in str(refused.value)


def test_without_the_package_its_extra_is_said(tmp_path, monkeypatch) -> None:
    from huiyi.errors import MissingExtra

    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(MissingExtra, match=r"huiyi\[milvus\]"):
        open_store("faq", "", tmp_path)


# A real server

SERVER = """
import sys
from milvus import MilvusServer, MilvusServerConfig
server = MilvusServer(MilvusServerConfig(data_dir=sys.argv[1], proxy_port=int(sys.argv[2])))
server.start()
print(server.server_proc.pid, flush=True)
sys.stdin.read()
server.stop()
"""


@contextmanager
def running_server(folder):
    """Milvus 2.3.5 in a process of its own: its address, and its process id. It listens on ports of its choice besides."""
    if importlib.util.find_spec("milvus") is None:
        pytest.skip("the server is not installed: pip install milvus==2.3.5")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVER, str(folder), str(port)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    pid = process.stdout.readline()
    if not pid:
        pytest.skip("the server did not start here")
    yield f"http://127.0.0.1:{port}", int(pid)
    process.communicate("", timeout=60)


def opened_and_counted(address, folder):
    store = open_store("faq", address, folder)
    try:
        store.count()
    except BaseException:
        store.close()
        raise
    return store


def eventually(ask):
    """A server that was killed takes its former self for another node until its lease in etcd has run out, a minute or so."""
    end = time.monotonic() + 150
    while True:
        try:
            return ask()
        except HuiyiError:
            if time.monotonic() > end:
                raise
            time.sleep(2)


@pytest.mark.slow
def test_a_server_that_was_killed_has_what_it_acknowledged(tmp_path) -> None:
    with running_server(tmp_path / "data") as (address, pid):
        store = open_store("faq", address, tmp_path)
        store.create(FACTS)
        store.put(records(500), vectors(500))
        store.delete(ids=["r7"])
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match=r"does not answer"):
            store.count()
        store.close()
    with running_server(tmp_path / "data") as (address, _):
        store = eventually(lambda: opened_and_counted(address, tmp_path))
        assert (store.facts, store.count()) == (FACTS, 499)
        assert store.search(vectors(500)[8:9], 1)[0][0].id == "r8"
        store.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("server")) as (address, _):
        yield address


@pytest.mark.slow
class TestServer(StoreContract):
    keywords = False

    @pytest.fixture(autouse=True)
    def _address(self, server, request, tmp_path):
        self.address = server
        self.name = "t" + str(abs(hash(request.node.name)))
        yield
        store = open_store(self.name, server, tmp_path)
        if store.facts:
            store.drop()
        store.close()

    def open_store(self, folder):
        return open_store(self.name, self.address, folder)


@pytest.mark.slow
def test_a_server_keeps_collections_apart_and_finds_the_nearest(server, tmp_path) -> None:
    one, other = (open_store(name, server, tmp_path / name) for name in ("one", "two"))
    for store in (one, other):
        store.create(FACTS)
    made = [Record(f"{number}", f"text {number}", {"n": number, "even": number % 2 == 0}) for number in range(2000)]
    one.put(made, vectors(2000))
    assert (one.count(), other.count()) == (2000, 0)
    assert one.status().about["keywords"] == "not on this server"
    query = vectors(2000)[77:78]
    assert one.search(query, 1)[0][0].id == "77"
    odd = [hit.id for hit in one.search(query, 200, parse({"even": False}))[0]]
    exact = np.argsort(-(vectors(2000)[1::2] @ query[0]))[:200] * 2 + 1
    assert len(set(odd) & {str(number) for number in exact}) >= 196  # HNSW is approximate: recall 0.98
    assert sum(len(batch.records) for batch in one.scan(parse({"n": {"$gte": 1000}}))) == 1000
    one.drop()
    with pytest.raises(NotFound):
        open_store("one", server, tmp_path / "one").count()
    other.drop()


@settings(max_examples=15)
@given(st.lists(METADATA, min_size=1, max_size=6), st.lists(FILTERS, min_size=3, max_size=6))
@pytest.mark.slow
def test_a_filter_means_on_a_server_what_it_means(server, tmp_path_factory, metadata, filters) -> None:
    store = open_store("filters", server, tmp_path_factory.getbasetemp() / "filters")
    if store.facts is None:
        store.create(FACTS)
    made = [Record(f"m{number}", "text", fields) for number, fields in enumerate(metadata)]
    store.put(made, vectors(len(made)))
    for given_filter in filters:
        filter = parse(given_filter)
        meant = sorted(record.id for record in made if matches(filter, record.metadata))
        assert sorted(record.id for record in store.page(100, filter=filter).records) == meant, given_filter
    store.delete(ids=[record.id for record in made])
    store.close()
