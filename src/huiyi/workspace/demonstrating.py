"""The demo: a shop's messages and its FAQ put through every job, and what each job found.

It makes two collections, a classifier, a calibration, two jobs (topics and repeats, for the console) and the folder HOME/demo, nothing
else. What was found is kept there: with the same model, a second run embeds nothing and looks it up. What was planted in the texts says
how much of it a job found; no job is told of it.
"""

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from huiyi import __version__, settings
from huiyi.collection import Collection, Contents
from huiyi.demo import samples
from huiyi.errors import InvalidInput
from huiyi.model import Model
from huiyi.retrieval import MODES
from huiyi.sources.outputs import replacing, write_table
from huiyi.training.calibration import fit, fold_of, judge_by_folds
from huiyi.workspace.answering import answer, answer_learn
from huiyi.workspace.classifying import classify_fit, classify_predict, classify_texts
from huiyi.workspace.collections import collection_list, open_collection, reindex
from huiyi.workspace.indexing import index
from huiyi.workspace.jobs import Jobs
from huiyi.workspace.texts import Progress

MESSAGES, FAQ, CLASSIFIER = "demo-messages", "demo-faq", "demo-intents"
TOPICS = 20
ALIKE = (
    0.8  # median cosine of a language's messages from which on a model cannot tell them apart: starter has 0.95 in Arabic, 0.1 in Chinese
)
SHOWN = 3
ASKED = "密码忘了怎么办"
ALIKE_TEXTS = (("花呗逾期了会怎么样", "花呗没按时还会有什么后果"), ("Where is my parcel?", "How do I change my password?"))


@dataclass(frozen=True)
class Gathered:
    """languages: messages of each. unread: those whose messages the model cannot tell apart; they are left out of topics and repeats."""

    model: str
    messages: int
    entries: int
    languages: dict[str, int]
    unread: tuple[str, ...]
    embedded: int
    seconds: float


@dataclass(frozen=True)
class FoundEntry:
    score: float
    question: str
    answer: str


@dataclass(frozen=True)
class SearchedFaq:
    """first, among_three: of `asked` questions, those that found their entry so, by the mode of the search."""

    question: str
    hits: tuple[FoundEntry, ...]
    asked: int
    first: dict[str, int]
    among_three: dict[str, int]
    seconds: float


@dataclass(frozen=True)
class AnsweredQuestion:
    """answered: whether `confidence` was enough to answer with the entry that is nearest."""

    question: str
    nearest: str
    confidence: float
    answered: bool


@dataclass(frozen=True)
class AnsweredFaq:
    """Of `questions`, judged by folds: those that it answered, and how many of those rightly. problem: why none, else empty."""

    questions: int
    answered: int
    right: int
    examples: tuple[AnsweredQuestion, ...]
    seconds: float
    problem: str = ""


@dataclass(frozen=True)
class ComparedTexts:
    """probability: that they mean the same."""

    one: str
    other: str
    score: float
    probability: float


@dataclass(frozen=True)
class LearnedLine:
    """What cosines mean, learned from `pairs` that are labelled, `same` of them 1. right: of all, judged by folds. threshold: a cosine."""

    pairs: int
    same: int
    right: int
    threshold: float
    examples: tuple[ComparedTexts, ...]
    seconds: float


@dataclass(frozen=True)
class FoundTopic:
    """trend: its share of the later half of the weeks over that of the earlier one, None where it has nothing there."""

    name: str
    rows: int
    trend: float | None
    per_week: tuple[int, ...]
    example: str


@dataclass(frozen=True)
class FoundTopics:
    """new: the topic that holds most messages of the planted one, `inside` of `planted`."""

    rows: int
    weeks: tuple[str, ...]
    topics: tuple[FoundTopic, ...]
    new: int
    inside: int
    planted: int
    seconds: float


@dataclass(frozen=True)
class FoundPair:
    one: str
    other: str
    score: float
    remark: str


@dataclass(frozen=True)
class FoundRepeats:
    """found, planted: pairs. merged: planted traps that were taken for repeats, of `traps`; apart: pairs that the guard held apart."""

    rows: int
    kept: int
    groups: int
    repeats: tuple[FoundPair, ...]
    held: tuple[FoundPair, ...]
    apart: int
    found: int
    planted: int
    merged: int
    traps: int
    seconds: float


@dataclass(frozen=True)
class SortedText:
    text: str
    label: str
    probability: float


@dataclass(frozen=True)
class SortedMessages:
    """accuracy, coverage, precision: on examples that were held out. sure, unsure, outside: messages. labels: of those it was sure of.

    complaints: five messages, three about paying and two about parcels, each with its likeliest label.
    """

    examples: int
    classes: int
    accuracy: float
    coverage: float
    precision: float
    sure: int
    unsure: int
    outside: int
    labels: dict[str, int]
    complaints: tuple[SortedText, ...]
    seconds: float


@dataclass(frozen=True)
class Demo:
    """kept: looked up from an earlier run. folder: where tables of what was found lie."""

    gathered: Gathered
    faq: SearchedFaq
    answers: AnsweredFaq
    line: LearnedLine
    topics: FoundTopics
    repeats: FoundRepeats
    intents: SortedMessages
    kept: bool
    folder: str


def demo(
    load: Callable[[], Model],
    *,
    say: Callable[[str], None] = lambda line: None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Demo:
    """Put the demo's texts through every job. load: gives the model, once, where one is needed.

    Conflict where collections of these names hold something else.
    """
    folder = settings.home() / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    began, model = monotonic(), load()
    say(f"the demo's {len(samples.messages())} messages and {len(samples.faq())} entries of a FAQ")
    embedded = _collect(model, say, report)
    with open_collection(FAQ, model) as faq, open_collection(MESSAGES, model) as messages:
        contents = messages.contents()
        gathered = _gathered(model, contents, embedded, monotonic() - began)
        key = _key(model, messages)
        kept = None if embedded else _kept(folder, key)
        if kept:
            return replace(kept, gathered=gathered, kept=True)
        say("asking the FAQ")
        found = _ask(faq)
    answers = _answer(model)
    line = _line(model, folder)
    source = _source(folder, contents, gathered.unread)
    ids = [id_ for id_, metadata in zip(contents.ids, contents.metadata, strict=True) if metadata["lang"] not in gathered.unread]
    say("looking for topics")
    topics = _topics(source, folder, model)
    say("looking for repeats")
    repeats = _repeats(source, ids, folder, model)
    say("learning labels")
    intents = _sort(source, folder, model)
    made = Demo(gathered, found, answers, line, topics, repeats, intents, False, str(folder))
    with replacing(folder / "found.json") as partial:
        partial.write_text(json.dumps({"key": key, **asdict(made)}, ensure_ascii=False), "utf-8")
    return made


def _collect(model: Model, say: Callable[[str], None], report: Callable[[Progress], None]) -> int:
    """Both collections in step with the texts, of this model; how many texts were embedded for that."""
    embedded = 0
    there = {one.name for one in collection_list().collections}
    for name, source, text in ((MESSAGES, samples.MESSAGES, "text"), (FAQ, samples.FAQ, "question")):
        if name in there:
            with open_collection(name) as collection:
                facts = collection.facts
            if facts.space != model.encoder.space or facts.precision != getattr(model.encoder, "precision", facts.precision):
                embedded += reindex(name, lambda: model, say=say, report=report).embedded
        embedded += index(name, source, lambda _: model, text=text, id="id", report=report).embedded
    return embedded


def _gathered(model: Model, contents: Contents, embedded: int, seconds: float) -> Gathered:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, metadata in enumerate(contents.metadata):
        rows[str(metadata["lang"])].append(row)
    alike = {lang: _median_cosine(contents.vectors[where]) for lang, where in rows.items()}
    return Gathered(
        model=model.name,
        messages=len(contents.ids),
        entries=len(samples.faq()),
        languages={lang: len(where) for lang, where in sorted(rows.items(), key=lambda item: -len(item[1]))},
        unread=tuple(sorted(lang for lang, cosine in alike.items() if cosine > ALIKE)),
        embedded=embedded,
        seconds=seconds,
    )


def _median_cosine(vectors: Any) -> float:
    return float(np.median((vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]))


def _ask(faq: Collection) -> SearchedFaq:
    began = monotonic()
    planted = samples.planted()
    asked = [question for question in samples.questions() if question.id != samples.UNANSWERED]
    first: dict[str, int] = {}
    among: dict[str, int] = {}
    for mode in MODES:
        found = [[hit.id for hit in hits] for hits in faq.search_all([question.question for question in asked], 3, mode)]
        first[mode] = sum(hits[:1] == [question.id] for hits, question in zip(found, asked, strict=True))
        among[mode] = sum(question.id in hits for hits, question in zip(found, asked, strict=True))
    hits = tuple(FoundEntry(round(hit.score, 4), hit.text, str(hit.metadata["answer"])) for hit in faq.search(planted.question, 3))
    return SearchedFaq(planted.question, hits, len(asked), first, among, monotonic() - began)


def _answer(model: Model) -> AnsweredFaq:
    began = monotonic()
    try:
        learned = answer_learn(FAQ, samples.QUESTIONS, load=lambda _: model)
    except InvalidInput as error:  # a model that cannot be sure often enough
        return AnsweredFaq(len(samples.questions()), 0, 0, (), monotonic() - began, str(error).partition(";")[0])
    examples = []
    for question in (ASKED, samples.planted().question):
        made = answer(FAQ, question, load=lambda _: model)
        if made.hit is not None:
            sure = made.answer is not None
            examples.append(AnsweredQuestion(question, made.hit.text, round(made.confidence or 0.0, 4), sure))
    return AnsweredFaq(learned.questions, learned.answered, learned.right, tuple(examples), monotonic() - began)


def _line(model: Model, folder: Path) -> LearnedLine:
    """From which cosine on two texts mean the same, kept where `similarity` finds it."""
    began = monotonic()
    pairs = samples.pairs()
    write_table(folder / "pairs.tsv", ("sentence1", "sentence2", "label"), (asdict(pair) for pair in pairs))
    labels = np.array([pair.label for pair in pairs])
    scores = _cosines(model, [(pair.sentence1, pair.sentence2) for pair in pairs])
    folds = [fold_of(pair.sentence1) for pair in pairs]
    learned = fit(scores, labels, about={"model": model.name, "space": model.encoder.space, "learned_from": "demo"})
    shelf = settings.home() / "calibrations"
    shelf.mkdir(parents=True, exist_ok=True)
    with replacing(shelf / "demo.json") as partial:
        partial.write_text(learned.to_json(), "utf-8")
    shown = _cosines(model, ALIKE_TEXTS)
    examples = zip(ALIKE_TEXTS, shown.tolist(), learned.probability(shown).tolist(), strict=True)
    return LearnedLine(
        pairs=len(pairs),
        same=int(labels.sum()),
        right=int((judge_by_folds(scores, labels, folds).predicted == labels).sum()),
        threshold=round(learned.threshold, 4),
        examples=tuple(ComparedTexts(*texts, round(score, 4), round(probability, 4)) for texts, score, probability in examples),
        seconds=monotonic() - began,
    )


def _cosines(model: Model, pairs: Sequence[tuple[str, str]]) -> Any:
    vectors = model.encoder.embed([text for pair in pairs for text in pair]).vectors.astype(np.float64)
    return (vectors[::2] * vectors[1::2]).sum(axis=1)


def _source(folder: Path, contents: Contents, unread: Sequence[str]) -> str | Path:
    """The collection, or where the model does not read all of its languages, a file of the others."""
    if not unread:
        return MESSAGES
    rows = [
        {"id": id_, "text": text, **metadata}
        for id_, text, metadata in zip(contents.ids, contents.texts, contents.metadata, strict=True)
        if metadata["lang"] not in unread
    ]
    path = folder / "messages.jsonl"
    write_table(path, tuple(rows[0]), iter(rows))
    return path


def _topics(source: str | Path, folder: Path, model: Model) -> FoundTopics:
    output = folder / "topics.jsonl"
    found = _worked("cluster", source, {"date": "date", "n_topics": TOPICS}, output, model)
    planted = set(samples.planted().new_topic)
    of = [row["topic"] for row in _lines(output) if row["id"] in planted]
    counts = {topic["topic"]: of.count(topic["topic"]) for topic in found["topics"]}
    new = max(range(len(found["topics"])), key=lambda place: counts[found["topics"][place]["topic"]])
    return FoundTopics(
        rows=found["rows"],
        weeks=tuple(found["periods"]),
        topics=tuple(
            FoundTopic(each["name"], each["rows"], each["trend"], tuple(each["per_period"]), each["examples"][0])
            for each in found["topics"]
        ),
        new=new,
        inside=counts[found["topics"][new]["topic"]],
        planted=len(of),
        seconds=found["seconds"],
    )


def _worked(kind: str, source: str | Path, arguments: dict[str, Any], output: Path, model: Model) -> dict[str, Any]:
    """What a job of this kind found. It is kept, for the console to show; output: one of its files, put there too."""
    where = {"collection": source} if source == MESSAGES else {"file": Path(source).name}
    jobs = Jobs()
    job = jobs.work_now(kind, where | arguments, lambda _: model, output.parent, MESSAGES)
    shutil.copyfile(jobs.file(job.id, output.name), output)
    return job.result or {}


def _repeats(source: str | Path, ids: Sequence[str], folder: Path, model: Model) -> FoundRepeats:
    review = folder / "repeats.jsonl"
    found = _worked("dedup", source, {}, review, model)
    lines, planted = _lines(review), samples.planted()
    groups: dict[str, str] = {}  # of a message that goes, the one that stays
    for line in lines:
        if line["decision"] == "repeat":
            groups[ids[line["row"] - 1]] = ids[line["stays"] - 1]
    stays = {id_: groups.get(id_, id_) for id_ in ids}
    known = [pair for pair in planted.repeats if set(pair) <= set(ids)]
    traps = [(one, other) for one, other, _ in planted.apart if {one, other} <= set(ids)]
    pairs = {
        decision: [
            FoundPair(line["stays_text"], line["text"], line["score"], line["remark"] or line["likeness"])
            for line in lines
            if line["decision"] == decision
        ]
        for decision in ("repeat", "kept apart")
    }
    return FoundRepeats(
        rows=found["rows"],
        kept=found["kept"],
        groups=found["groups"],
        repeats=tuple(sorted(pairs["repeat"], key=lambda pair: pair.score)[:SHOWN]),
        held=tuple(_of_each_kind(pairs["kept apart"])),
        apart=found["apart"],
        found=sum(stays[one] == stays[other] for one, other in known),
        planted=len(known),
        merged=sum(stays[one] == stays[other] for one, other in traps),
        traps=len(traps),
        seconds=found["seconds"],
    )


def _of_each_kind(pairs: Sequence[FoundPair]) -> list[FoundPair]:
    """The nearest pair of each kind of remark."""
    first: dict[str, FoundPair] = {}
    for pair in pairs:
        first.setdefault(pair.remark.partition(":")[0], pair)
    return list(first.values())


def _sort(source: str | Path, folder: Path, model: Model) -> SortedMessages:
    output = folder / "sorted.jsonl"
    fitted = classify_fit(CLASSIFIER, samples.INTENTS, lambda: model, text="text", label="label", overwrite=True)
    sorted_ = classify_predict(CLASSIFIER, source, output, lambda: model, overwrite=True)
    text = {message.id: message.text for message in samples.messages()}
    complaints = classify_texts(CLASSIFIER, [text[id_] for id_ in samples.planted().complaints], model, 1)
    figures = fitted.validation
    assert figures, "every label has its examples"
    return SortedMessages(
        examples=fitted.rows,
        classes=fitted.classes,
        accuracy=figures.accuracy.value,
        coverage=figures.coverage,
        precision=figures.precision,
        sure=sorted_.sure,
        unsure=sorted_.unsure,
        outside=sorted_.outside,
        labels=sorted_.labels,
        complaints=tuple(SortedText(one.text, *one.classes[0]) for one in complaints),
        seconds=fitted.seconds + sorted_.seconds,
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _key(model: Model, messages: Collection) -> str:
    """Of what findings depend on: texts, vectors, and the program."""
    texts = hashlib.sha256(b"".join(path.read_bytes() for path in samples.FILES)).hexdigest()
    return " ".join((texts, messages.facts.space, messages.facts.precision, str(getattr(model.encoder, "precision", "")), __version__))


def _kept(folder: Path, key: str) -> Demo | None:
    """What an earlier run found; None where it was of another model, or its file is none of ours any more."""
    try:
        found = json.loads((folder / "found.json").read_text("utf-8"))
        return _demo(found) if found["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _demo(found: dict[str, Any]) -> Demo:
    def pairs(many: list[dict[str, Any]]) -> tuple[FoundPair, ...]:
        return tuple(FoundPair(**one) for one in many)

    faq, topics, repeats, intents = found["faq"], found["topics"], found["repeats"], found["intents"]
    return Demo(
        gathered=Gathered(**{**found["gathered"], "unread": tuple(found["gathered"]["unread"])}),
        faq=SearchedFaq(**{**faq, "hits": tuple(FoundEntry(**hit) for hit in faq["hits"])}),
        answers=AnsweredFaq(**{**found["answers"], "examples": tuple(AnsweredQuestion(**one) for one in found["answers"]["examples"])}),
        line=LearnedLine(**{**found["line"], "examples": tuple(ComparedTexts(**one) for one in found["line"]["examples"])}),
        topics=FoundTopics(
            **{
                **topics,
                "weeks": tuple(topics["weeks"]),
                "topics": tuple(FoundTopic(**{**one, "per_week": tuple(one["per_week"])}) for one in topics["topics"]),
            }
        ),
        repeats=FoundRepeats(**{**repeats, "repeats": pairs(repeats["repeats"]), "held": pairs(repeats["held"])}),
        intents=SortedMessages(**{**intents, "complaints": tuple(SortedText(**one) for one in intents["complaints"])}),
        kept=found["kept"],
        folder=found["folder"],
    )
