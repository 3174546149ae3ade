"""Collections by name: listed, shown, exported, deleted, backed up, restored, checked, reindexed."""

import json
import shutil

import numpy as np
import pytest

from fake_encoder import FakeEncoder
from huiyi import workspace
from huiyi.errors import Conflict, HuiyiError, InvalidInput, NotFound
from huiyi.model import Model

RECORDS = [
    {"id": "1", "text": "where is my parcel", "metadata": {"lang": "en", "price": 3}},
    {"id": "2", "text": "=HYPERLINK(1)", "metadata": {"lang": "en", "text": "a field called text"}},
    {"id": "3", "text": "包裹到哪儿了", "metadata": {"tags": ["a", "b"]}},
]


def model(dim=64, name="fake"):
    return Model(FakeEncoder(dim), name)


@pytest.fixture
def faq(own_home):
    with workspace.open_collection("faq", model()) as collection:
        collection.add(RECORDS)
    return own_home / "collections" / "faq"


@pytest.mark.parametrize(
    ("file", "content", "problem", "way_out"),
    [
        ("collection.sqlite3", "no database" * 1000, "is damaged", "restore a backup"),
        *(("store.json", text, "store.json is damaged", "put that right") for text in ("{broken", "[]", "{}", "")),
    ],
)
def test_a_damaged_collection_is_listed_with_its_problem_beside_the_others_and_can_be_deleted(faq, file, content, problem, way_out) -> None:
    with workspace.open_collection("good", model()):
        pass
    (faq / file).write_text(content, "utf-8")
    infos = {info.name: info for info in workspace.collection_list().collections}
    assert infos["good"].problem is None
    assert problem in infos["faq"].problem
    with pytest.raises(HuiyiError, match=way_out):
        workspace.collection_show("faq")
    assert workspace.collection_delete("faq").whole
    assert not faq.exists()


def test_a_collection_that_is_not_there_is_not_listed_among_those_that_are(own_home) -> None:
    (own_home / "collections" / "faq").mkdir(parents=True)
    (own_home / "collections" / "faq" / "collection.sqlite3").touch()
    with pytest.raises(NotFound, match=r"no collection faq; make it"):
        workspace.collection_show("faq")


def test_the_list_says_what_is_there(faq) -> None:
    (info,) = workspace.collection_list().collections
    assert (info.name, info.store, info.records, info.model, info.dim, info.problem) == ("faq", "local", 3, "fake", 64, None)
    assert info.size_bytes >= (faq / "collection.sqlite3").stat().st_size > 0


def test_a_home_without_collections_has_none(own_home) -> None:
    assert workspace.collection_list().collections == ()


def test_showing_one(faq) -> None:
    shown = workspace.collection_show("faq", first=2)
    assert (shown.records, shown.indexed, shown.model, shown.space, shown.dim) == (3, 0, "fake", "fake-64", 64)
    assert shown.fields == ("lang", "price", "text", "tags")
    assert [record.id for record in shown.first] == ["1", "2"]


def test_one_that_is_not_there_is_named_with_those_that_are(faq) -> None:
    for ask in (
        lambda: workspace.collection_show("fap"),
        lambda: workspace.collection_delete("fap"),
        lambda: workspace.collection_backup("fap"),
        lambda: workspace.reindex("fap", model),
    ):
        with pytest.raises(NotFound, match="no collection fap; there are faq"):
            ask()


def test_exported_jsonl_is_exact(faq, tmp_path) -> None:
    done = workspace.collection_export("faq", tmp_path / "out.jsonl", vectors=tmp_path / "out.npy")
    assert done.records == 3
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert lines == [
        {"id": "1", "text": "where is my parcel", "lang": "en", "price": 3},
        {"id": "2", "text": "=HYPERLINK(1)", "lang": "en", "metadata.text": "a field called text"},
        {"id": "3", "text": "包裹到哪儿了", "tags": ["a", "b"]},
    ]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), model().encode([line["text"] for line in lines]), atol=1e-3)


def test_an_export_may_be_of_some_and_replaces_nothing_by_itself(faq, tmp_path) -> None:
    assert workspace.collection_export("faq", tmp_path / "out.csv", filter={"lang": "en"}).records == 2
    assert "'=HYPERLINK" in (tmp_path / "out.csv").read_text("utf-8-sig")
    with pytest.raises(Conflict, match="there already"):
        workspace.collection_export("faq", tmp_path / "out.csv")
    with pytest.raises(InvalidInput, match=r"written as \.npy"):
        workspace.collection_export("faq", tmp_path / "new.csv", vectors=tmp_path / "x.csv")


def test_what_was_exported_can_be_indexed(faq, tmp_path) -> None:
    workspace.collection_export("faq", tmp_path / "out.jsonl")
    workspace.index("copy", tmp_path / "out.jsonl", lambda wanted: model())
    with workspace.open_collection("copy") as copy:
        assert copy.get("1").metadata == {"lang": "en", "price": 3}
        assert copy.get("3").text == "包裹到哪儿了"


def test_records_and_collections_are_deleted(faq) -> None:
    assert workspace.collection_delete("faq", ids=("1", "nothing")).records == 1
    done = workspace.collection_delete("faq", filter={"lang": "en"})
    assert (done.records, done.whole) == (1, False)
    with pytest.raises(InvalidInput):
        workspace.collection_delete("faq", filter={})
    done = workspace.collection_delete("faq")
    assert (done.records, done.whole) == (1, True)
    assert not faq.exists()


def test_a_backup_restores_under_any_name(faq, tmp_path) -> None:
    done = workspace.collection_backup("faq", tmp_path / "faq.backup")
    assert (done.records, done.size_bytes) == (3, (tmp_path / "faq.backup").stat().st_size)
    restored = workspace.collection_restore("other", tmp_path / "faq.backup")
    assert (restored.records, restored.model) == (3, "fake")
    with workspace.open_collection("other", model()) as other:
        assert [record.id for record in other.records()] == ["1", "2", "3"]
        assert other.search("where is my parcel", k=1)[0].id == "1"


def test_a_damaged_backup_is_refused_and_changes_nothing(faq, tmp_path) -> None:
    backup = tmp_path / "faq.backup"
    workspace.collection_backup("faq", backup)
    for content in (backup.read_bytes()[:-30_000], b"x"):
        backup.write_bytes(content)
        with pytest.raises(HuiyiError, match=r"the backup faq.backup is damaged .*: take another one"):
            workspace.collection_restore("faq", backup, overwrite=True)
    assert workspace.collection_check("faq").records == 3


def test_a_restore_replaces_only_when_told_to(faq, tmp_path) -> None:
    workspace.collection_backup("faq", tmp_path / "faq.backup")
    with workspace.open_collection("faq", model()) as collection:
        collection.delete(ids=["1", "2"])
    with pytest.raises(Conflict, match="--force"):
        workspace.collection_restore("faq", tmp_path / "faq.backup")
    assert workspace.collection_restore("faq", tmp_path / "faq.backup", overwrite=True).records == 3
    with pytest.raises(NotFound, match="there is no file"):
        workspace.collection_restore("new", tmp_path / "nothing")


def test_a_backup_replaces_no_file_by_itself(faq, tmp_path) -> None:
    workspace.collection_backup("faq", tmp_path / "faq.backup")
    with pytest.raises(Conflict, match="there already"):
        workspace.collection_backup("faq", tmp_path / "faq.backup")
    workspace.collection_backup("faq", tmp_path / "faq.backup", overwrite=True)


def test_a_check_reads_all(faq) -> None:
    assert workspace.collection_check("faq").records == 3


def test_reindexing_by_name(faq) -> None:
    said, reports = [], []
    done = workspace.reindex("faq", lambda: model(32, "other"), say=said.append, report=reports.append)
    assert (done.name, done.model, done.before, done.records, done.embedded) == ("faq", "other", "fake", 3, 3)
    assert said == ["faq: 3 records with vectors of fake; searches go on meanwhile"]
    assert reports[-1].rows_done == reports[-1].rows == 3
    assert workspace.collection_show("faq").model == "other"
    with workspace.open_collection("faq", model(32, "other")) as again:
        assert again.search("where is my parcel", k=1)[0].id == "1"


def test_a_folder_that_holds_no_collection_is_not_listed(faq) -> None:
    (faq.parent / "empty").mkdir()
    assert [info.name for info in workspace.collection_list().collections] == ["faq"]


def test_a_collection_elsewhere_is_found_again_by_name(own_home, tmp_path, monkeypatch) -> None:
    pytest.importorskip("milvus_lite")
    monkeypatch.chdir(tmp_path)
    with workspace.open_collection("faq", model(), store="milvus:here.db") as collection:
        collection.add(RECORDS)
    monkeypatch.chdir("/")
    (info,) = workspace.collection_list().collections
    assert (info.records, info.problem) == (3, None)
    assert info.store == f"milvus:{tmp_path / 'here.db'}"
    with workspace.open_collection("faq", model()) as again:
        assert again.search("where is my parcel", k=1, filter={"price": {"$lt": 5}})[0].id == "1"
    with pytest.raises(Conflict, match="is kept in milvus"):
        workspace.open_collection("faq", model(), store="local")
    with pytest.raises(InvalidInput, match="not in the local store"):
        workspace.collection_backup("faq")
    assert workspace.collection_delete("faq").records == 3
    assert workspace.collection_list().collections == ()


def test_a_home_of_ones_own(tmp_path) -> None:
    with workspace.open_collection("faq", model(), home=tmp_path) as collection:
        collection.add(RECORDS)
    assert workspace.collection_show("faq", home=tmp_path).records == 3
    moved = tmp_path.with_name("moved")
    shutil.move(tmp_path, moved)
    assert workspace.collection_show("faq", home=moved).records == 3
