"""The local store: the contract, any sequence of calls against a dict, two processes, damage, a full disk, and the graph behind."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fakes import in_thread, until
from huiyi.errors import Conflict, HuiyiError, InvalidInput
from huiyi.stores import following, local, records, vectorindex
from huiyi.stores.filters import matches, parse
from huiyi.stores.local import LocalStore
from huiyi.stores.store import Record
from stores import workload
from stores.contract import DIM, FACTS, OTHER, StoreContract, vectors
from stores.contract import records as made


class TestContract(StoreContract):
    def open_store(self, folder):
        return LocalStore(folder)


@pytest.fixture
def small(monkeypatch):
    """Graphs of few vectors."""
    for module, name, value in (
        (vectorindex, "BLOCK", 16),
        (following, "BLOCK", 16),
        (following, "GRAPH_FROM", 32),
        (following, "SAVE_AT_END", 1),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def store(tmp_path):
    opened = LocalStore(tmp_path / "faq")
    opened.create(FACTS)
    yield opened
    opened.close()


def indexed(store: LocalStore, least: int) -> None:
    until(lambda: store.status().indexed >= least)


# any sequence of calls

IDS = st.sampled_from([f"r{i}" for i in range(30)])
METADATA = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.one_of(
        st.integers(0, 4), st.sampled_from(["x", "y", ""]), st.booleans(), st.lists(st.sampled_from(["x", "z"]), max_size=2), st.just(1.5)
    ),
)
CONDITIONS = st.one_of(
    st.sampled_from(["x", "y", 1, 1.5, True, False]),
    st.builds(lambda op, value: {op: value}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), st.integers(-1, 5)),
    st.builds(
        lambda op, values: {op: values}, st.sampled_from(["$in", "$nin"]), st.lists(st.sampled_from(["x", "z", 2, True]), max_size=3)
    ),
    st.builds(lambda value: {"$ne": value}, st.sampled_from(["x", 2, True])),
    st.builds(lambda value: {"$exists": value}, st.booleans()),
)
SIMPLE = st.dictionaries(st.sampled_from(["a", "b", "c"]), CONDITIONS, min_size=1, max_size=2)
FILTERS = SIMPLE | st.builds(lambda op, parts: {op: parts}, st.sampled_from(["$and", "$or"]), st.lists(SIMPLE, min_size=1, max_size=3))


class Sequences(RuleBasedStateMachine):
    """Two openings of one collection, as two processes have them, against a dict."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="huiyi-sequences-"))
        self.stores = [LocalStore(self.folder), None]
        self.stores[0].create(FACTS)
        self.stores[1] = LocalStore(self.folder)
        self.model: dict[str, Record] = {}
        self.dim, self.version = DIM, 0

    def teardown(self) -> None:
        for each in getattr(self, "stores", []):
            each.close()
        shutil.rmtree(getattr(self, "folder", "/nonexistent"), ignore_errors=True)

    def vector(self, text: str) -> np.ndarray:
        return workload.vector(text, self.dim)

    @rule(which=st.integers(0, 1), ids=st.lists(IDS, unique=True, max_size=12), metadata=METADATA)
    def put(self, which, ids, metadata) -> None:
        self.version += 1
        new = [Record(id_, f"{id_} {self.version}", metadata) for id_ in ids]
        self.stores[which].put(new, np.stack([self.vector(each.text) for each in new]) if new else np.empty((0, self.dim), np.float32))
        self.model |= {each.id: each for each in new}

    @rule(which=st.integers(0, 1), ids=st.lists(IDS, unique=True, max_size=5), metadata=METADATA)
    def revise(self, which, ids, metadata) -> None:
        new = [Record(id_, self.model[id_].text, metadata) for id_ in ids if id_ in self.model]
        self.stores[which].revise(new)
        self.model |= {each.id: each for each in new}

    @rule(which=st.integers(0, 1), ids=st.lists(IDS, max_size=6))
    def delete(self, which, ids) -> None:
        assert self.stores[which].delete(ids=ids) == len({id_ for id_ in ids if self.model.pop(id_, None)})

    @rule(which=st.integers(0, 1), given=FILTERS)
    def delete_matching(self, which, given) -> None:
        gone = [id_ for id_, each in self.model.items() if matches(parse(given), each.metadata)]
        assert self.stores[which].delete(filter=parse(given)) == len(gone)
        for id_ in gone:
            del self.model[id_]

    @rule(which=st.integers(0, 1), given=FILTERS | st.none(), k=st.integers(1, 8), text=st.text(max_size=3))
    def search(self, which, given, k, text) -> None:
        query = self.vector(text)
        filter = parse(given)
        own = {id_: float(self.vector(each.text) @ query) for id_, each in self.model.items() if matches(filter, each.metadata)}
        hits = self.stores[which].search(query[None], k, filter)[0]
        assert len(hits) == min(k, len(own))
        np.testing.assert_allclose([hit.score for hit in hits], sorted(own.values(), reverse=True)[:k], atol=3e-3)
        for hit in hits:
            assert (hit.text, hit.metadata) == (self.model[hit.id].text, self.model[hit.id].metadata)
            assert hit.score == pytest.approx(own[hit.id], abs=3e-3)

    @rule(which=st.integers(0, 1), given=FILTERS)
    def count(self, which, given) -> None:
        assert self.stores[which].count(parse(given)) == sum(matches(parse(given), each.metadata) for each in self.model.values())

    @rule(which=st.integers(0, 1))
    def reopen(self, which) -> None:
        self.stores[which].close()
        self.stores[which] = LocalStore(self.folder)

    @rule(which=st.integers(0, 1))
    def restore_own_backup(self, which) -> None:
        """The other opening goes on after it."""
        self.stores[which].backup(self.folder / "backup")
        self.stores[which].close()
        self.stores[which] = local.restored(self.folder, self.folder / "backup")

    @precondition(lambda self: len(self.model) < 20)
    @rule(which=st.integers(0, 1))
    def reindex(self, which) -> None:
        dim = 8 if self.dim == DIM else DIM
        successor = self.stores[which].successor(OTHER if dim == 8 else FACTS)
        while batch := successor.missing(5):
            successor.put(batch, np.stack([workload.vector(each.text, dim) for each in batch]))
        swapped = successor.swap()
        assert swapped
        with pytest.raises(Conflict):
            self.stores[which].count()
        for each in self.stores:
            each.close()
        self.dim = dim
        self.stores = [swapped, LocalStore(self.folder)]

    @invariant()
    def both_see_all(self) -> None:
        if hasattr(self, "stores"):
            for each in self.stores:
                assert each.get([f"r{i}" for i in range(30)]) == self.model
                assert each.count() == len(self.model)
                assert sorted(each.ids()) == sorted(self.model)


def test_any_sequence_of_calls_does_what_a_dict_does(small) -> None:
    check = Sequences.TestCase
    check.settings = settings(max_examples=15, stateful_step_count=25, suppress_health_check=list(HealthCheck))
    check().runTest()


@pytest.mark.slow
def test_many_sequences_of_calls_do_what_a_dict_does(small) -> None:
    check = Sequences.TestCase
    check.settings = settings(max_examples=100, stateful_step_count=40, suppress_health_check=list(HealthCheck))
    check().runTest()


# several at once

READER = """
import sys, time
from pathlib import Path
import numpy as np
from huiyi.stores.local import LocalStore
from stores import workload
store = LocalStore(Path(sys.argv[1]))
print("ready", flush=True)
seen, end = 0, time.monotonic() + 20
while seen < 30 and time.monotonic() < end:
    hits = store.search(workload.vector("any")[None], 50)[0]
    versions = {hit.metadata["version"] for hit in hits}
    assert len(versions) <= 1, versions
    assert len(hits) in (0, 20), len(hits)
    records = [record for batch in store.scan() for record in batch.records]
    assert len({record.metadata["version"] for record in records}) <= 1
    now = max(versions, default=0)
    assert now >= seen
    seen = now
print("saw", seen, flush=True)
"""


def test_a_reader_in_another_process_sees_one_state_while_a_writer_writes(store) -> None:
    command = [sys.executable, "-c", READER, str(store.folder)]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=workload.ENVIRONMENT)
    assert reader.stdout.readline() == "ready\n"
    for version in range(1, 31):
        new = [Record(f"r{i}", f"text {i} {version}", {"version": version}) for i in range(20)]
        store.put(new, np.stack([workload.vector(each.text) for each in new]))
    out, err = reader.communicate(timeout=60)
    assert out == "saw 30\n", err


def test_two_processes_write_in_turns(store) -> None:
    writer = """
import sys
from pathlib import Path
from huiyi.stores.local import LocalStore
from stores import workload
from huiyi.stores.store import Record
store = LocalStore(Path(sys.argv[1]))
for i in range(60):
    store.put([Record(f"{sys.argv[2]}{i}", "x", {})], workload.vector(str(i))[None])
"""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", writer, str(store.folder), name], stderr=subprocess.PIPE, text=True, env=workload.ENVIRONMENT
        )
        for name in ("a", "b")
    ]
    for each in running:
        assert each.wait(60) == 0, each.stderr.read()
    assert sorted(store.ids()) == sorted(f"{name}{i}" for name in ("a", "b") for i in range(60))


def test_a_writer_that_waits_too_long_is_told_so(store, monkeypatch) -> None:
    monkeypatch.setattr(records, "LOCKED_S", 0.2)
    other = LocalStore(store.folder)
    with store.writing(), pytest.raises(Conflict, match="another process has been writing"):
        other.put(made(1), vectors(1))
    other.put(made(1), vectors(1))
    other.close()


def test_threads_search_while_others_write_and_the_graph_is_built(store, small) -> None:
    stop = threading.Event()

    def search() -> int:
        count = 0
        while not stop.is_set():
            hits = store.search(vectors(1, seed=count), 5)[0]
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
            count += 1
        return count

    searching = [in_thread(search) for _ in range(3)]
    for start in range(0, 600, 20):
        store.put(made(20, start), vectors(20, seed=start))
        store.delete(ids=[f"r{start}"])
    stop.set()
    assert all(each.result(20) > 0 for each in searching)
    assert store.count() == 570


def test_a_backup_during_writes_is_one_state_and_restores_whole(store, tmp_path) -> None:
    store.put(made(500), vectors(500))
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            new = [Record(f"w{i}", f"text {number}", {"number": number}) for i in range(20)]
            store.put(new, vectors(20, seed=number))

    writing = in_thread(write)
    until(lambda: store.get(["w0"]))
    for number in range(5):
        store.backup(tmp_path / f"backup-{number}")
    stop.set()
    writing.result(20)
    for number in range(5):
        restored = local.restored(tmp_path / f"restored-{number}", tmp_path / f"backup-{number}")
        restored.check()
        assert restored.count() == 520
        assert len({restored.get([f"w{i}"])[f"w{i}"].metadata["number"] for i in range(20)}) == 1
        restored.close()


def test_a_reader_that_was_open_sees_what_was_restored(store, tmp_path) -> None:
    store.put(made(10), vectors(10))
    store.backup(tmp_path / "backup")
    store.put([Record("r3", "changed", {})], vectors(1, seed=3))
    store.delete(ids=["r4"])
    assert store.search(vectors(1, seed=3), 1)[0][0].text == "changed"
    local.restored(store.folder, tmp_path / "backup").close()
    assert store.get(["r3", "r4"]) == {record.id: record for record in made(10) if record.id in ("r3", "r4")}
    assert store.search(vectors(10)[4:5], 1)[0][0].id == "r4"
    store.put([Record("new", "new", {})], vectors(1, seed=8))
    assert store.search(vectors(1, seed=8), 1)[0][0].id == "new"


# damage


def answers(store: LocalStore) -> list:
    return [
        store.count(),
        store.get(["r3", "r17", "nothing"]),
        [(hit.id, hit.text, str(hit.metadata)) for hits in store.search(vectors(8, seed=2), 5) for hit in hits],
        [(hit.id, hit.text) for hit in store.search(vectors(1, seed=2), 5, parse({"parity": "odd"}))[0]],
        [record for batch in store.scan() for record in batch.records],
        store.fingerprints(["r1", "nothing"]),
        store.facts,
    ]


def asked(folder: Path) -> list | None:
    """The answers of a store, None for an error that names a way out."""
    opened = None
    try:
        opened = LocalStore(folder)
        return answers(opened)
    except HuiyiError as error:
        if not any(words in str(error) for words in ("restore a backup", "newer huiyi", "no collection")):
            raise
        return None
    finally:
        if opened is not None:
            opened.close()


@pytest.mark.parametrize("rounds", [40, pytest.param(600, marks=pytest.mark.slow)])
def test_a_damaged_page_is_an_error_or_no_matter_but_never_a_wrong_answer(store, tmp_path, rounds) -> None:
    store.put(made(60), vectors(60))
    store.delete(ids=["r50", "r51"])
    store.close()
    right = asked(store.folder)
    assert right
    whole = (store.folder / local.FILE).read_bytes()
    dice = random.Random(rounds)
    noticed = 0
    for number in range(rounds):
        folder = tmp_path / f"damaged-{number}"
        folder.mkdir()
        harmed = bytearray(whole)
        at = dice.randrange(len(harmed)) if number % 2 else dice.choice([i for i in range(0, len(harmed), 7) if harmed[i]])
        for i in range(at, min(at + dice.choice([1, 1, 4, 600]), len(harmed))):
            harmed[i] ^= dice.randrange(1, 256)
        (folder / local.FILE).write_bytes(harmed)
        found = asked(folder)
        noticed += found is None
        assert found in (None, right), number
        shutil.rmtree(folder)
    assert noticed > rounds / 10


def test_a_truncated_file_is_an_error_and_a_backup_takes_its_place(store, tmp_path) -> None:
    store.put(made(60), vectors(60))
    store.backup(tmp_path / "backup")
    store.close()
    path = store.folder / local.FILE
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert asked(store.folder) is None
    restored = local.restored(store.folder, tmp_path / "backup")
    assert restored.count() == 60
    restored.close()
    assert len(list(store.folder.glob("damaged-*.sqlite3"))) == 1


def test_a_file_that_is_no_backup_is_refused_and_nothing_changes(store, tmp_path) -> None:
    store.put(made(5), vectors(5))
    (tmp_path / "text").write_text("not a database" * 1000)
    with pytest.raises(HuiyiError, match="the backup text is damaged"):
        local.restored(store.folder, tmp_path / "text")
    assert store.count() == 5


def test_damaged_and_deleted_index_files_are_made_anew(store, small, tmp_path) -> None:
    store.put(made(200), vectors(200))
    indexed(store, 150)
    right = answers(store)
    store.close()
    files = [*store.folder.glob("*.faiss"), store.folder / "index.bin"]
    assert len(files) == 2
    dice = random.Random(5)
    for number in range(12):
        folder = tmp_path / f"damaged-{number}"
        shutil.copytree(store.folder, folder)
        path = folder / files[number % 2].name
        if number < 2:
            path.unlink()
        else:
            harmed = bytearray(path.read_bytes())
            harmed[dice.randrange(len(harmed))] ^= dice.randrange(1, 256)
            path.write_bytes(harmed if number < 8 else harmed[: len(harmed) // 2])
        opened = LocalStore(folder)
        assert answers(opened) == right
        indexed(opened, 150)
        opened.close()


def test_a_saved_index_is_used_and_brought_up_to_date(store, small) -> None:
    store.put(made(200), vectors(200))
    indexed(store, 150)
    store.close()
    other = LocalStore(store.folder)
    assert other.status().indexed >= 150
    assert other.following.image.index.graphed >= 150
    other.put([Record("r5", "changed", {"parity": "changed"})], vectors(1, seed=77))
    other.revise([Record("r6", "text number 6", {"parity": "revised"})])
    other.delete(ids=["r7"])
    other.close()
    again = LocalStore(store.folder)
    assert again.search(vectors(1, seed=77), 1, parse({"parity": "changed"}))[0][0].id == "r5"
    assert again.search(vectors(200)[6:7], 1, parse({"parity": "revised"}))[0][0].id == "r6"
    assert again.search(vectors(200)[7:8], 1)[0][0].id != "r7"
    assert again.count(parse({"parity": "odd"})) == 98
    again.close()


def test_an_index_with_much_that_is_gone_is_built_anew(store, small) -> None:
    store.put(made(300), vectors(300))
    indexed(store, 250)
    store.delete(filter=parse({"number": {"$lt": 200}}))
    store.put(made(20, 300), vectors(20, seed=300))
    until(lambda: store.search(vectors(1), 1) and store.following.image.size <= 140)
    assert store.count() == 120
    assert store.search(vectors(300)[250:251], 1)[0][0].id == "r250"


# what a machine can refuse

FULL = """
import resource, signal, sys
from pathlib import Path
from huiyi.errors import HuiyiError
from huiyi.stores.local import LocalStore
from stores.contract import records, vectors
store = LocalStore(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = sum(file.stat().st_size for file in Path(sys.argv[1]).iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 200_000, resource.RLIM_INFINITY))
done = 0
try:
    while done < 100:
        store.put(records(100, 100 * (done + 1)), vectors(100, seed=done))
        done += 1
except HuiyiError as error:
    print(done, "|", error)
"""


def test_a_full_disk_is_an_error_and_what_was_acknowledged_is_there(store) -> None:
    """A limit on the size of files stands for the disk."""
    store.put(made(100), vectors(100))
    command = [sys.executable, "-c", FULL, str(store.folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=workload.ENVIRONMENT)
    done, _, said = ended.stdout.partition(" | ")
    assert "could not be written" in said, ended.stderr
    assert "is the disk full?" in said
    assert sorted(store.ids()) == sorted(record.id for record in made(100 * (int(done) + 1)))
    store.check()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user who may not write everywhere")
def test_a_folder_that_may_not_be_written_to_is_a_clear_error(tmp_path) -> None:
    require_refusal(tmp_path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root, to become somebody who may not write")
def test_a_folder_of_somebody_else_is_a_clear_error(tmp_path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setuid(65534)
            require_refusal(tmp_path, chmod=False)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def require_refusal(folder: Path, chmod: bool = True) -> None:
    if chmod:
        folder.chmod(0o555)
    try:
        with pytest.raises(HuiyiError, match="may it be written to"):
            LocalStore(folder / "faq").create(FACTS)
    finally:
        if chmod:
            folder.chmod(0o755)


def test_a_newer_format_is_refused_and_left_alone(store) -> None:
    store.put(made(5), vectors(5))
    store.records._writer.execute(f"PRAGMA user_version = {records.FORMAT + 1}")
    store.close()
    with pytest.raises(Conflict, match="use the newer huiyi"):
        LocalStore(store.folder)
    assert not list(store.folder.glob("before-*"))


def test_an_older_format_is_copied_before_it_is_changed(store, monkeypatch, tmp_path) -> None:
    store.put(made(5), vectors(5))
    store.close()
    monkeypatch.setattr(records, "MIGRATIONS", {records.FORMAT: lambda db: db.execute("UPDATE records SET row = row")})
    monkeypatch.setattr(records, "FORMAT", records.FORMAT + 1)
    migrated = LocalStore(store.folder)
    assert migrated.get([f"r{i}" for i in range(5)]) == {record.id: record for record in made(5)}
    (copy,) = store.folder.glob("before-format-*.sqlite3")
    monkeypatch.undo()
    migrated.close()
    restored = local.restored(tmp_path / "copy", copy)
    assert restored.count() == 5
    restored.close()


def test_the_local_store_takes_no_address() -> None:
    with pytest.raises(InvalidInput, match="takes no address"):
        local.open_store("faq", "somewhere", Path("x"))
