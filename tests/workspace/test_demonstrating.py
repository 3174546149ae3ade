"""The demo on the bundled model: what each job finds, nothing twice, and other models and other people's collections."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import huiyi
from fake_model import fake_model
from huiyi import workspace
from huiyi.demo import samples
from huiyi.errors import Conflict
from huiyi.model import Model
from huiyi.workspace.demonstrating import FAQ, MESSAGES, Demo
from huiyi.workspace.jobfile import Job
from huiyi.workspace.jobs import Jobs
from huiyi.workspace.repeats import FOLDER, open_repeats
from huiyi.workspace.topic_maps import FOLDER as MAP
from huiyi.workspace.topic_maps import open_map


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("home")
        patched.setenv("HUIYI_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with huiyi.load("starter") as model:
        yield model


@pytest.fixture(scope="module")
def first(home: Path, model: Model) -> Demo:
    return workspace.demo(lambda: model)


def test_everything_is_indexed_and_what_the_model_cannot_read_is_said(first: Demo) -> None:
    assert first.gathered.messages == len(samples.messages())
    assert first.gathered.embedded == len(samples.messages()) + len(samples.faq())
    assert sum(first.gathered.languages.values()) == first.gathered.messages
    assert "ar" in first.gathered.unread
    assert not {"zh", "en", "es"} & set(first.gathered.unread)
    assert not first.kept


def test_the_headphone_question_finds_the_entry_about_orders_not_sent(first: Demo) -> None:
    answer = next(entry for entry in samples.faq() if entry.id == samples.planted().answer)
    assert (first.faq.hits[0].question, first.faq.hits[0].answer) == (answer.question, answer.answer)
    assert first.faq.asked >= 120
    for mode, found in first.faq.first.items():
        assert 0.4 * first.faq.asked < found <= first.faq.among_three[mode]
    assert first.faq.first["hybrid"] > first.faq.first["keyword"]


def test_it_answers_what_it_is_sure_of_and_is_mostly_right(first: Demo) -> None:
    assert first.answers.questions == len(samples.questions())
    assert 20 <= first.answers.answered < first.answers.questions
    assert first.answers.right >= 0.85 * first.answers.answered
    assert [one.nearest for one in first.answers.examples] == ["忘记登录密码怎么办", "订单超过48小时未发货怎么办"]


def test_a_line_is_learned_from_its_own_pairs_and_found_by_similarity(first: Demo, home: Path, model: Model) -> None:
    assert first.line.pairs == len(samples.pairs())
    assert first.line.right > 1.2 * max(first.line.same, first.line.pairs - first.line.same)
    alike, different = first.line.examples
    assert alike.probability > 0.5 > different.probability
    kept = workspace.kept_calibration(model)
    assert kept == home / "calibrations" / "demo.json"
    matrix = workspace.similarity(["花呗怎么还款", "怎么还花呗"], lambda: model, calibrated=kept)
    assert matrix.threshold == pytest.approx(first.line.threshold, abs=1e-4)


def test_the_topic_of_the_last_weeks_is_found_and_rises(first: Demo) -> None:
    new = first.topics.topics[first.topics.new]
    assert first.topics.inside >= 0.4 * first.topics.planted
    assert first.topics.inside >= 0.5 * new.rows
    assert new.trend is None or new.trend > 2
    assert sum(topic.rows for topic in first.topics.topics) <= first.topics.rows < first.gathered.messages
    assert all(len(topic.per_week) == len(first.topics.weeks) == 13 for topic in first.topics.topics)


def test_repeats_are_found_and_traps_are_not(first: Demo) -> None:
    assert first.repeats.found >= 0.85 * first.repeats.planted
    assert first.repeats.merged == 0
    assert {pair.remark.partition(":")[0] for pair in first.repeats.held} == {"number", "negation", "term"}
    assert first.repeats.rows - first.repeats.kept <= 2 * first.repeats.planted


def done(jobs: Jobs, kind: str) -> Job:
    [job] = [job for job in jobs.list() if job.kind == kind]
    assert (job.collection, job.state) == (MESSAGES, "succeeded")
    return job


def test_its_topics_are_a_job_that_is_done_with_a_map(first: Demo, home: Path) -> None:
    jobs = Jobs(home=home)
    job = done(jobs, "cluster")
    found = open_map(jobs.file(job.id, "topics.jsonl").parent / MAP)
    assert len(found.rows) == first.topics.rows
    assert [topic["name"] for topic in job.result["topics"]] == [topic.name for topic in first.topics.topics]


def test_its_repeats_are_a_job_that_is_done_and_can_be_worked_on(first: Demo, home: Path) -> None:
    jobs = Jobs(home=home)
    job = done(jobs, "dedup")
    assert str(home) not in json.dumps(job.result)
    found = open_repeats(jobs.file(job.id, "kept.jsonl").parent / FOLDER)
    shown = found.view(found.threshold)
    assert (len(shown.groups), len(shown.apart)) == (first.repeats.groups, first.repeats.apart)
    assert set(found.ids(shown)) < {message.id for message in samples.messages()}


def test_complaints_about_paying_and_about_parcels_get_labels_of_their_kind(first: Demo) -> None:
    paying, parcels = first.intents.complaints[:3], first.intents.complaints[3:]
    assert {one.label for one in paying} <= {"payment_failed", "charged_wrongly"}
    assert {one.label for one in parcels} <= {"parcel_tracking", "damaged_or_wrong"}
    assert first.intents.accuracy > 0.7
    assert first.intents.sure + first.intents.unsure + first.intents.outside == first.topics.rows


def test_a_second_run_embeds_nothing_and_tells_the_same(first: Demo, model: Model) -> None:
    again = workspace.demo(lambda: model)
    assert again.kept
    assert again.gathered.embedded == 0
    assert replace(again, gathered=first.gathered, kept=False) == first


def test_findings_that_cannot_be_read_are_found_anew(first: Demo, model: Model, home: Path) -> None:
    (home / "demo" / "found.json").write_text("{", "utf-8")
    again = workspace.demo(lambda: model)
    assert not again.kept
    assert again.repeats.found == first.repeats.found
    assert json.loads((home / "demo" / "found.json").read_text("utf-8"))["kept"] is False


def test_another_model_takes_the_place_of_the_first(first: Demo, home: Path, minilm: Path) -> None:
    with huiyi.load(str(minilm)) as other:
        found = workspace.demo(lambda: other)
        with workspace.open_collection(MESSAGES) as collection:
            assert collection.facts.space == other.encoder.space
    assert not found.kept
    assert found.gathered.embedded == len(samples.messages()) + len(samples.faq())


def test_somebody_elses_collection_of_that_name_stays_as_it_is(own_home: Path) -> None:
    model = fake_model()
    with workspace.open_collection(FAQ, model) as collection:
        collection.add([{"id": "mine", "text": "where is my parcel"}])
    with pytest.raises(Conflict, match="demo-faq"):
        workspace.demo(lambda: model)
    with workspace.open_collection(FAQ, model) as collection:
        assert collection.ids() == ["mine"]
