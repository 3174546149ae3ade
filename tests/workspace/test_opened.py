"""Collections that a process holds open: one object for all, and never an answer from what is not there any more."""

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from fake_model import fake_model
from fakes import in_thread
from huiyi import workspace
from huiyi.collection import Collection
from huiyi.errors import Conflict, NotFound, Unavailable
from huiyi.serving import Served
from huiyi.workspace import opened
from live_server import fake_served

RECORDS = [{"id": "1", "text": "late parcel", "metadata": {"lang": "en"}}, {"id": "2", "text": "退款"}]


@pytest.fixture
def served() -> Iterator[Served]:
    made = fake_served()
    yield made
    made.close()


@pytest.fixture
def shelf(own_home, served) -> Iterator[opened.OpenCollections]:
    made = opened.OpenCollections([served])
    made.create("faq", served)
    made.run("faq", lambda faq: faq.add(RECORDS))
    yield made
    made.close()


def other_process(served):
    """The same collection through files alone, as another process has it."""
    return workspace.open_collection("faq", opened.model_of(served))


def hits(shelf, query="late parcel"):
    return [hit.id for hit in shelf.run("faq", lambda faq: faq.search(query, k=5))]


def test_all_who_ask_get_the_same_object(shelf) -> None:
    assert shelf.run("faq", lambda faq: faq) is shelf.run("faq", lambda faq: faq)
    assert sorted(hits(shelf)) == ["1", "2"]


def test_what_another_process_wrote_is_found_without_opening_again(shelf, served) -> None:
    before = shelf.run("faq", lambda faq: faq)
    with other_process(served) as other:
        other.add([{"id": "3", "text": "new text"}])
    assert "3" in hits(shelf, "new text")
    assert shelf.run("faq", lambda faq: faq) is before


def test_a_reindex_elsewhere_is_followed(shelf) -> None:
    second = fake_served(name="second")
    shelf._models.append(second)
    with workspace.open_collection("faq", load=lambda name: fake_model(space="space of fake")) as other:
        other.reindex(lambda: opened.model_of(second))
    assert sorted(hits(shelf)) == ["1", "2"]
    assert shelf.run("faq", lambda faq: faq.facts.model) == "second"
    second.close()


def test_a_collection_deleted_and_made_anew_elsewhere_is_the_new_one(shelf, served) -> None:
    assert len(hits(shelf)) == 2
    workspace.collection_delete("faq")
    with pytest.raises(NotFound):
        hits(shelf)
    with other_process(served) as other:
        other.add([{"id": "9", "text": "another"}])
    assert hits(shelf) == ["9"]


def test_a_backup_restored_elsewhere_is_what_is_searched(shelf, tmp_path) -> None:
    workspace.collection_backup("faq", tmp_path / "faq.backup")
    shelf.run("faq", lambda faq: faq.delete(ids=["1"]))
    assert hits(shelf) == ["2"]
    workspace.collection_restore("faq", tmp_path / "faq.backup", overwrite=True)
    assert len(hits(shelf)) == 2


def test_without_its_model_a_collection_can_be_read_and_a_search_says_what_to_do(own_home, served, shelf) -> None:
    stranger = fake_served(name="stranger")
    alone = opened.OpenCollections([stranger])
    assert alone.run("faq", lambda faq: faq.get("2")).text == "退款"
    assert alone.run("faq", lambda faq: faq.count()) == 2
    stranger.close()
    with pytest.raises(Conflict, match="vectors of fake, which is not served here"):
        alone.run("faq", lambda faq: faq.search("late parcel"))
    alone.close()


def test_when_its_model_goes_and_comes_back_searches_do_too(own_home) -> None:
    models = [fake_served()]
    shelf = opened.OpenCollections(models)
    shelf.create("faq", models[0])
    shelf.run("faq", lambda faq: faq.add(RECORDS))
    assert sorted(hits(shelf)) == ["1", "2"]
    models.pop().close()
    with pytest.raises(Conflict, match="not served"):
        hits(shelf)
    models.append(fake_served())
    assert sorted(hits(shelf)) == ["1", "2"]
    models[0].close()
    shelf.close()


def test_made_once_and_deleted_for_good(shelf, served) -> None:
    with pytest.raises(Conflict, match="faq already"):
        shelf.create("faq", served)
    assert shelf.delete("faq").records == 2
    with pytest.raises(NotFound):
        hits(shelf)
    with pytest.raises(NotFound):
        shelf.delete("faq")
    shelf.create("faq", served)
    assert hits(shelf) == []


def test_released_under_the_hands_of_a_user_it_closes_when_he_is_done(shelf) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(faq):
        inside.set()
        assert go_on.wait(20)
        return faq.count()

    using = in_thread(shelf.run, "faq", slow)
    assert inside.wait(20)
    before = shelf.run("faq", lambda faq: faq)
    shelf.release("faq")
    go_on.set()
    assert using.result(20) == 2
    assert shelf.run("faq", lambda faq: faq) is not before
    assert sorted(hits(shelf)) == ["1", "2"]
    with pytest.raises(Conflict, match="closed"):
        before.count()


def test_only_so_many_are_open_at_once(shelf, served, monkeypatch) -> None:
    monkeypatch.setattr(opened, "MOST_OPEN", 2)
    first = shelf.run("faq", lambda faq: faq)
    for name in ("a", "b"):
        shelf.create(name, served)
        assert shelf.run(name, len) == 0
    with pytest.raises(Conflict, match="closed"):
        first.count()
    assert sorted(hits(shelf)) == ["1", "2"]


def test_many_threads_open_write_and_release_at_once(shelf) -> None:
    def work(number: int) -> None:
        for turn in range(5):
            id_ = f"{number}-{turn}"
            shelf.run("faq", partial(Collection.add, records=[{"id": id_, "text": f"text {turn}"}]))
            shelf.release("faq")
            assert shelf.run("faq", partial(Collection.get, id=id_)) is not None

    for each in [in_thread(work, number) for number in range(6)]:
        each.result(60)
    assert shelf.run("faq", len) == 2 + 30


def test_closed_it_opens_nothing_more(shelf) -> None:
    shelf.close()
    with pytest.raises(Unavailable, match="closed"):
        hits(shelf)
