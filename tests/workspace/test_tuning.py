"""What labelled queries teach a collection: the weight of meaning, and from which score on a first hit is right."""

import pytest

from fake_encoder import FakeEncoder
from huiyi import workspace
from huiyi.errors import InvalidInput
from huiyi.model import Model

PARCELS = "\n".join(f"{i},parcel number{i} of street{i}" for i in range(30))
LABELLED = "query\tid\n" + "".join(f"street{i} number{i}\t{i}\n" for i in range(30)) + "something else\t-1\nparcel\t\n"


def load(name):
    return Model(FakeEncoder(), "fake")


@pytest.fixture
def parcels(tmp_path, own_home):
    (tmp_path / "parcels.csv").write_text(f"id,text\n{PARCELS}\n", "utf-8")
    workspace.index("parcels", tmp_path / "parcels.csv", load)
    (tmp_path / "labelled.tsv").write_text(LABELLED, "utf-8")
    return tmp_path


def test_the_weight_that_ranks_best_is_kept_and_used(parcels) -> None:
    told = []
    tuned = workspace.search_tune("parcels", parcels / "labelled.tsv", load=load, report=lambda done, all_: told.append((done, all_)))
    assert tuned.tuning.ndcg == 1 >= max(tuned.before, tuned.semantic, tuned.keyword)
    assert (tuned.answerable, tuned.tuning.queries) == (30, 32)
    assert told[-1] == (32, 32)
    found = workspace.search("parcels", ["street7 number7", "something else", "parcel"], k=3, min_score="tuned", load=load)
    assert [hit.id for hit in found.hits[0]][:1] == ["7"]
    assert found.hits[1:] == [[], []]


def test_a_collection_of_another_model_has_not_learned_it(parcels) -> None:
    workspace.search_tune("parcels", parcels / "labelled.tsv", load=load)
    other = Model(FakeEncoder(32), "other")
    workspace.reindex("parcels", lambda: other)
    with pytest.raises(InvalidInput, match="--tune"):
        workspace.search("parcels", ["parcel"], min_score="tuned", load=lambda name: other)


def test_where_first_hits_are_never_sure_there_is_no_threshold(parcels) -> None:
    (parcels / "wrong.tsv").write_text("query\tid\n" + "".join(f"street{i} number{i}\t{(i + 1) % 30}\n" for i in range(30)), "utf-8")
    tuned = workspace.search_tune("parcels", parcels / "wrong.tsv", load=load)
    assert (tuned.tuning.min_score, tuned.tuning.answered) == (None, 0)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("query\tid\nparcel\t99\n", "99"),
        ("query\tid\n\t1\n", "no query"),
        ("query\tother\nparcel\t1\n", "--id"),
        ("query\tid\nparcel\t-1\n", "label some"),
    ],
)
def test_a_table_that_cannot_teach_is_refused(parcels, table, message) -> None:
    (parcels / "bad.tsv").write_text(table, "utf-8")
    with pytest.raises(InvalidInput, match=message):
        workspace.search_tune("parcels", parcels / "bad.tsv", load=load)
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        workspace.search_tune("parcels", parcels / "labelled.tsv", precision=1.0, load=load)
