"""Long work in processes of its own: done one at a time, told, cancelled for good, taken up again after whatever ended the server."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from huiyi import workspace
from huiyi.errors import Conflict, InvalidInput, NotFound, Overloaded
from huiyi.serving import Origin, Served
from huiyi.workspace import jobfile, jobs
from huiyi.workspace.jobfile import Job
from huiyi.workspace.jobs import Jobs
from huiyi.workspace.opened import OpenCollections, model_of
from live_server import fake_served

LIMIT_S = 300  # on a machine that is busy with something else, too
TEXTS = ["快递什么时候到", "我的包裹还没收到", "怎么申请退款", "退款多久到账", "花呗怎么还款", "花呗逾期会怎样"]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HUIYI_MODEL", raising=False)
        [made] = workspace.serve(["starter"], cache=False)
        yield made
        made.close()


@pytest.fixture
def shelf(own_home: Path, served: Served) -> Iterator[OpenCollections]:
    made = OpenCollections([served])
    yield made
    made.close()


@pytest.fixture
def queue(shelf: OpenCollections) -> Iterator[Jobs]:
    made = Jobs(shelf)
    yield made
    made.close()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def ended(queue: Jobs, job: Job) -> Job:
    until(lambda: queue.get(job.id).has_ended)
    return queue.get(job.id)


def running(queue: Jobs, job: Job) -> None:
    """It has begun to embed."""
    until(lambda: queue.get(job.id).progress is not None or queue.get(job.id).has_ended)


def table(folder: Path, texts: list[str]) -> Path:
    path = folder / "sent.jsonl"
    path.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts)), "utf-8")
    return path


def many(count: int = 30_000) -> list[str]:
    return [f"第 {n} 个问题: 我在商店买的第 {n} 件东西什么时候发货?" for n in range(count)]


def index(queue: Jobs, served: Served, path: Path) -> Job:
    return queue.submit("index", {"collection": "faq", "file": "faq.jsonl"}, collection="faq", model=served, files={"faq.jsonl": path})


def test_work_done_now_is_kept_as_a_job_with_its_files_and_nothing_where_it_failed(queue, own_home, served, tmp_path) -> None:
    path = table(tmp_path, [*TEXTS, TEXTS[0]])
    job = queue.work_now("dedup", {"file": path.name}, lambda _: model_of(served), tmp_path, "faq")
    assert queue.get(job.id) == job
    assert (job.state, job.result["rows"], job.result["kept"]) == ("succeeded", 7, 6)
    assert len(queue.file(job.id, "kept.jsonl").read_text("utf-8").splitlines()) == 6
    assert str(own_home) not in json.dumps(job.result)
    assert path.is_file()
    with pytest.raises(NotFound):
        queue.work_now("dedup", {"file": "elsewhere.jsonl"}, lambda _: model_of(served), tmp_path, "faq")
    assert [each.id for each in queue.list()] == [job.id]


def test_where_no_charts_can_be_drawn_topics_are_found_all_the_same(queue, served, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huiyi.charts.find_spec", lambda name: None)
    file = table(tmp_path, TEXTS * 4)
    job = queue.work_now("cluster", {"file": file.name}, lambda name: model_of(served), tmp_path, "texts")
    assert job.state == "succeeded"
    assert "topics.jsonl" in job.files
    assert "topics.html" not in job.files


def test_a_file_that_was_sent_is_a_collection_at_the_end(queue, shelf, served, tmp_path) -> None:
    shelf.create("faq", served)
    shelf.run("faq", lambda faq: faq.add([{"id": "0", "text": "old"}]))
    sent = table(tmp_path, TEXTS)
    job = ended(queue, index(queue, served, sent))
    assert job.state == "succeeded", job.error
    assert (job.result["added"], job.result["changed"], job.result["records"]) == (5, 1, 6)
    assert not sent.exists()
    assert str(tmp_path.parent) not in json.dumps(job.result)
    assert shelf.run("faq", lambda faq: [hit.text for hit in faq.search("我的包裹在哪里", k=1)]) == TEXTS[1:2]


def test_a_collection_is_made_by_its_first_file(queue, shelf, served, tmp_path) -> None:
    assert ended(queue, index(queue, served, table(tmp_path, TEXTS))).state == "succeeded"
    assert shelf.run("faq", len) == 6
    assert shelf.model_for("faq", shelf.run("faq", lambda faq: faq.facts)) is served


def test_topics_are_files_beside_a_result(queue, shelf, served) -> None:
    shelf.create("faq", served)
    shelf.run("faq", lambda faq: faq.add([{"id": str(n), "text": text} for n, text in enumerate(TEXTS * 3)]))
    first = queue.submit("cluster", {"collection": "faq"}, collection="faq")
    job = ended(queue, first)
    assert job.state == "succeeded", job.error
    assert sorted(job.files) == ["topics.html", "topics.jsonl", "topics.npz", "topics.xlsx"]
    assert job.result["topics"]
    assert job.result["output"] == "topics.jsonl"
    lines = [json.loads(line) for line in queue.file(job.id, "topics.jsonl").read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines] == [str(n) for n in range(18)]
    later = ended(queue, queue.submit("cluster", {"collection": "faq", "since": job.id}, collection="faq"))
    assert {topic["status"] for topic in later.result["topics"]} == {"known"}
    queue.delete(job.id)
    with pytest.raises(NotFound):
        queue.file(job.id, "topics.jsonl")


def test_a_reindex_is_swapped_under_the_open_collection(queue, shelf, served) -> None:
    cut = workspace.open_collection("faq", model_of(served), dimensions=64)
    cut.add([{"id": "1", "text": TEXTS[0]}])
    cut.close()
    assert shelf.run("faq", lambda faq: faq.facts.dim) == 64
    job = ended(queue, queue.submit("reindex", {"collection": "faq"}, collection="faq", model=served))
    assert job.state == "succeeded", job.error
    assert shelf.run("faq", lambda faq: (faq.facts.dim, len(faq.search(TEXTS[0])))) == (served.dim, 1)


def test_what_goes_wrong_is_a_sentence(queue, shelf) -> None:
    job = ended(queue, queue.submit("cluster", {"collection": "nowhere"}, collection="nowhere"))
    assert (job.state, job.error.status, job.error.code) == ("failed", 404, "not_found")
    assert "nowhere" in job.error.message
    assert job.files == ()
    assert not (queue._folder(job.id) / "out").exists()


def test_what_cannot_be_a_job_is_refused_at_once(queue, tmp_path) -> None:
    with pytest.raises(InvalidInput, match="there is no job 'dance'"):
        queue.submit("dance")
    with pytest.raises(InvalidInput, match="output"):
        queue.submit("cluster", {"collection": "faq", "output": "/etc/passwd"})
    with pytest.raises(InvalidInput, match="no name for a file"):
        queue.submit("index", {"collection": "faq", "file": "../x"}, files={"../x": table(tmp_path, TEXTS)})
    with pytest.raises(InvalidInput, match="cannot be a collection's name"):
        queue.submit("cluster", {"collection": "a/b"}, collection="a/b")
    for since in ("20200101-000000-00000000", "../../x"):
        with pytest.raises(NotFound):
            queue.submit("cluster", {"collection": "faq", "since": since})
    assert list(queue.list()) == []


def test_cancelled_while_it_runs_its_process_is_gone_and_every_record_is_whole(queue, shelf, served, tmp_path, monkeypatch) -> None:
    processes = spied(monkeypatch)
    job = index(queue, served, table(tmp_path, many()))
    running(queue, job)
    assert queue.cancel(job.id).state in ("running", "cancelled")
    job = ended(queue, job)
    assert (job.state, job.result) == ("cancelled", None)
    assert processes[0].returncode is not None
    until(lambda: not (queue._folder(job.id) / "in").exists())
    kept = shelf.run("faq", lambda faq: [(record.id, record.text) for record in faq.records()])
    assert 0 < len(kept) < 30_000
    assert all(text == many()[int(id_)] for id_, text in kept)
    with pytest.raises(Conflict, match="over: cancelled"):
        queue.cancel(job.id)


def test_cancelled_while_it_waits_it_never_runs(queue, shelf, served, tmp_path) -> None:
    first = index(queue, served, table(tmp_path, many()))
    second = queue.submit("cluster", {"collection": "faq"}, collection="faq")
    assert queue.cancel(second.id).state == "cancelled"
    with pytest.raises(Conflict, match="index"):
        queue.require_idle("faq")
    queue.cancel(first.id)
    assert ended(queue, first).state == "cancelled"
    assert queue.get(second.id).started is None
    queue.require_idle("faq")


def test_one_at_a_time_also_of_two_servers(own_home, monkeypatch) -> None:
    both = [Jobs(), Jobs()]
    submitted = [each.submit("cluster", {"collection": "none"}) for each in both * 2]
    seen: set[int] = set()

    def over() -> bool:
        states = [both[0].get(job.id).state for job in submitted]
        seen.add(states.count("running"))
        return all(state == "failed" for state in states)

    until(over)
    assert seen <= {0, 1}
    for each in both:
        each.close()


def test_stopped_with_the_server_it_goes_on_with_the_next(shelf, served, tmp_path, monkeypatch) -> None:
    first = Jobs(shelf)
    job = index(first, served, table(tmp_path, many(8_000)))
    running(first, job)
    first.close()
    stopped = first.get(job.id)
    assert (stopped.state, stopped.attempts) == ("queued", 0)
    before = shelf.run("faq", len)
    assert before > 0
    second = Jobs(shelf)
    second.start()
    job = ended(second, job)
    assert job.state == "succeeded", job.error
    assert job.result["records"] == 8_000
    assert job.result["embedded"] <= 8_000 - before
    second.close()


def test_what_ends_with_the_server_again_and_again_is_given_up(own_home) -> None:
    queue = Jobs()
    folder = own_home / "jobs" / "20260101-000000-0123abcd"
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "half").touch()
    job = Job(folder.name, "cluster", "running", None, {"collection": "faq"}, 0.0, attempts=jobs.MOST_ATTEMPTS)
    jobfile.write(folder, job)
    queue.start()
    job = ended(queue, job)
    assert (job.state, job.error.code) == ("failed", "interrupted")
    assert "memory" in job.error.message
    assert not (folder / "out").exists()
    queue.close()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_process_that_is_killed_is_a_failure_with_a_sentence(queue, served, tmp_path, monkeypatch) -> None:
    processes = spied(monkeypatch)
    job = index(queue, served, table(tmp_path, many()))
    running(queue, job)
    processes[0].send_signal(signal.SIGKILL)
    job = ended(queue, job)
    assert job.state == "failed"
    assert "signal 9" in job.error.message


def test_old_ones_are_forgotten(queue, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "KEPT", 2)
    submitted = [queue.submit("cluster", {"collection": f"none{n}"}) for n in range(4)]
    until(lambda: len(queue.list()) == 2 and all(job.has_ended for job in queue.list()))
    assert {job.id for job in queue.list()} <= {job.id for job in submitted}
    with pytest.raises(NotFound, match="no such job"):
        queue.get("../../etc")


def test_a_queue_has_an_end(own_home, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "MOST_QUEUED", 1)
    queue = Jobs()
    monkeypatch.setattr(queue, "start", lambda: None)
    queue.submit("cluster", {"collection": "faq"})
    with pytest.raises(Overloaded, match="waiting already"):
        queue.submit("cluster", {"collection": "faq"})


def test_a_milvus_lite_file_is_lent_to_the_job(own_home, served) -> None:
    pytest.importorskip("milvus_lite")
    shelf = OpenCollections([served])
    shelf.create("faq", served, store="milvus")
    shelf.run("faq", lambda faq: faq.add([{"id": str(n), "text": text} for n, text in enumerate(TEXTS)]))
    queue = Jobs(shelf)
    job = ended(queue, queue.submit("summarize", {"collection": "faq", "k": 2}, collection="faq"))
    assert job.state == "succeeded", job.error
    assert len(job.result["lines"]) == 2
    assert shelf.run("faq", len) == 6
    queue.close()
    shelf.close()


def test_a_model_that_only_this_process_has_is_refused_by_name_in_the_job(queue, tmp_path) -> None:
    fake = fake_served()
    fake.origin = Origin("nowhere/to-be-found", "auto")
    job = ended(queue, index(queue, fake, table(tmp_path, TEXTS)))
    assert job.state == "failed"
    assert "nowhere/to-be-found" in job.error.message
    fake.close()


def spied(monkeypatch: pytest.MonkeyPatch) -> list:
    """The processes of jobs, as they are begun."""
    begun: list = []
    begin = jobs._process

    def begin_and_tell(*arguments):
        begun.append(begin(*arguments))
        return begun[-1]

    monkeypatch.setattr(jobs, "_process", begin_and_tell)
    return begun


def test_nothing_is_made_or_started_before_the_first_job(own_home) -> None:
    before = threading.active_count()
    queue = Jobs()
    assert queue.list() == []
    queue.close()
    assert not (own_home / "jobs").exists()
    assert threading.active_count() == before
