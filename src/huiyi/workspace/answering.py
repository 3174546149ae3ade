"""Answers to questions: the record of a collection that answers one, with how sure that is, or none; told in words by a language model.

What a collection learned (`answer_learn`) lies in its store, beside what `search` learned there. Without it the best match is the answer,
and nobody knows how sure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from huiyi.collection import Collection
from huiyi.errors import InvalidInput
from huiyi.sources.tables import Format
from huiyi.stores.store import Hit
from huiyi.tasks.answering import evidence
from huiyi.training.rejection import Rejection, learn
from huiyi.workspace.citing import Reply, Writer
from huiyi.workspace.labelled import labelled_queries
from huiyi.workspace.models import load as load_model
from huiyi.workspace.searching import SLICE_QUERIES, Filtering, LoadNamed, opened

KEPT = "answer"
DEPTH = 10  # matches that are looked at for one question
ANSWERS = ("answer", "reply", "response", "答案", "回答", "回复", "解答")

Found = list[Hit]


@dataclass(frozen=True)
class Answered:
    """answer: None where nothing is sure enough to be one. hit: the best match. suggestions: the nearest other ones, best first.

    confidence: how probable it is that `hit` answers the question; least: from where on it counts as an answer; None for both where nothing
    was learned. reply: what a language model made of the passages.
    """

    name: str
    question: str
    answer: str | None
    confidence: float | None
    least: float | None
    hit: Hit | None
    suggestions: tuple[Hit, ...]
    reply: Reply | None = None


@dataclass(frozen=True)
class LearnedAnswers:
    """least: the probability from which on a match is an answer. answered, right: of `questions`, judged by folds.

    answerable: questions that something answers. nearest: how many of those find it first.
    """

    name: str
    questions: int
    answerable: int
    nearest: int
    precision: float
    least: float
    answered: int
    right: int


def answer(
    name: str,
    question: str,
    *,
    k: int = 3,
    column: str | None = None,
    filter: Filtering = None,
    writer: Writer | None = None,
    load: LoadNamed = load_model,
    home: str | Path | None = None,
) -> Answered:
    """What answers the question, and up to k suggestions.

    column: of the metadata that holds answers; default the first of `ANSWERS` that is there, else the text. writer: makes a reply of the
    passages, where there is an answer. NotFound where there is no collection.
    """
    with opened(name, home, load) as collection:
        return answer_in(collection, question, k=k, column=column, filter=filter, writer=writer)


def answer_in(
    collection: Collection,
    question: str,
    *,
    k: int = 3,
    column: str | None = None,
    filter: Filtering = None,
    writer: Writer | None = None,
) -> Answered:
    """The same of a collection that is open."""
    if k < 1:
        raise InvalidInput(f"k is the number of suggestions, 1 or more, not {k}")
    rejection = learned(collection)
    hits = collection.search(question, max(DEPTH, k + 1), filter=filter)
    if not hits:
        return Answered(collection.name, question, None, None, rejection.least if rejection else None, None, ())
    texts = [answer_text(hit, column) for hit in hits]
    confidence, is_answer = None, True
    if rejection:
        scores = rejection.scores([_evidence(question, hits, texts)])
        confidence, is_answer = float(rejection.probability(scores)[0]), bool(scores[0] >= rejection.threshold)
    others = [hit for hit, text in zip(hits, texts, strict=True) if text != texts[0]]
    made = Answered(
        name=collection.name,
        question=question,
        answer=texts[0] if is_answer else None,
        confidence=confidence,
        least=rejection.least if rejection else None,
        hit=hits[0],
        suggestions=tuple(others[:k] if is_answer else hits[:k]),
    )
    if writer is None or not is_answer:
        return made
    passages = [text if text == hit.text else f"{hit.text}\n{text}" for hit, text in zip(hits, texts, strict=True)]
    return replace(made, reply=writer.reply(question, passages[: writer.passages]))


def answer_learn(
    name: str,
    source: str | Path,
    *,
    precision: float = 0.95,
    text: str | None = None,
    id: str | None = None,
    column: str | None = None,
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    load: LoadNamed = load_model,
    home: str | Path | None = None,
    report: Callable[[int, int], object] = lambda done, all_: None,
) -> LearnedAnswers:
    """Learn from labelled questions when a match is an answer, and keep that with the collection.

    source: a table of questions and the id of the record that answers each, nothing or -1 where none does; a question with several answers
    stands there several times. precision: the share of answers that shall be right. text, id: their columns.
    """
    with opened(name, home, load) as collection:
        if not collection.count():
            raise InvalidInput(f"{collection.name} is empty, and nothing there can answer; fill it with huiyi index")
        wanted = labelled_queries(collection, source, text=text, id=id, format=format, encoding=encoding, sheet=sheet, called="question")
        made, right = judged(collection, wanted, column, report)
        rejection = learn(made, right, list(wanted), precision, collection.facts.space)
        collection.store.keep(KEPT, rejection.to_json())
        answerable = sum(bool(ids) for ids in wanted.values())
    return LearnedAnswers(name, len(wanted), answerable, int(right.sum()), precision, rejection.least, rejection.answered, rejection.right)


def judged(
    collection: Collection,
    wanted: Mapping[str, set[str]],
    column: str | None = None,
    report: Callable[[int, int], object] = lambda done, all_: None,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Evidence [n, e] for the best match of each question, and whether it is right [n]. wanted: what answers each, by ids."""
    rows, right = [], []
    questions = list(wanted)
    for start in range(0, len(questions), SLICE_QUERIES):
        some = questions[start : start + SLICE_QUERIES]
        for question, hits in zip(some, collection.search_all(some, DEPTH), strict=True):
            texts = [answer_text(hit, column) for hit in hits]
            rows.append(_evidence(question, hits, texts))
            right.append(any(hit.id in wanted[question] and text == texts[0] for hit, text in zip(hits, texts, strict=True)))
        report(len(rows), len(questions))
    return np.array(rows), np.array(right, np.int64)


def learned(collection: Collection) -> Rejection | None:
    """What `answer_learn` kept for the vectors that are there now."""
    kept = collection.store.kept(KEPT)
    rejection = Rejection.from_json(kept, collection.name) if kept else None
    return rejection if rejection and rejection.space == collection.facts.space else None


def answer_text(hit: Hit, column: str | None = None) -> str:
    """What a record answers. InvalidInput for a column that is named and not there."""
    if column is not None:
        if hit.metadata.get(column) is None:
            raise InvalidInput(f"the record {hit.id} has no {column!r}; it has: {', '.join(hit.metadata) or 'no metadata'}")
        return str(hit.metadata[column])
    return next((str(hit.metadata[name]) for name in ANSWERS if hit.metadata.get(name)), hit.text)


def _evidence(question: str, hits: Sequence[Hit], answers: Sequence[str]) -> np.ndarray[Any, Any]:
    cosines = [hit.score if hit.cosine is None else hit.cosine for hit in hits]
    return evidence(question, [hit.text for hit in hits], cosines, answers)
