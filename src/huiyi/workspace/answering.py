"""Answers to questions: the record of a collection that answers one, with how sure that is, or none; told in words by a language model.

What a collection learned (`answer_learn`) lies in its store, beside what `search` learned there. Without it what its model learned from
the demo's questions stands in (`workspace.confidence`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from huiyi.collection import Collection
from huiyi.errors import InvalidInput
from huiyi.sources.tables import Format
from huiyi.stores.store import Hit
from huiyi.training.rejection import learn
from huiyi.workspace.citing import PASSAGES, Reply, Writer
from huiyi.workspace.confidence import DEPTH, KEPT, answer_text, evidence_of, judged, learned, usual
from huiyi.workspace.labelled import labelled_queries
from huiyi.workspace.models import load as load_model
from huiyi.workspace.searching import Filtering, LoadNamed, opened, unknown_fields


@dataclass(frozen=True)
class Answered:
    """answer: None where nothing is sure enough to be one. hit: the best match. suggestions: the nearest other ones, best first.

    confidence: how probable it is that `hit` answers the question; least: from where on it counts as an answer; None for both where nobody
    knows. taught: whether that was learned from questions of this collection; else it is a default. passages: what speaks for an answer,
    best first. reply: what a language model made of them. hint: why nothing may have been found.
    """

    name: str
    question: str
    answer: str | None
    confidence: float | None
    least: float | None
    hit: Hit | None
    suggestions: tuple[Hit, ...]
    taught: bool = False
    passages: tuple[str, ...] = ()
    reply: Reply | None = None
    hint: str | None = None


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
    taught = learned(collection)
    hits = collection.search(question, max(DEPTH, k + 1), filter=filter)
    if not hits:
        least = taught.least if taught else None
        hint = unknown_fields(collection, filter)
        return Answered(collection.name, question, None, None, least, None, (), taught is not None, hint=hint)
    texts = [answer_text(hit, column) for hit in hits]
    rejection = taught or usual(collection)
    confidence, is_answer = None, True
    if rejection:
        scores = rejection.scores([evidence_of(question, hits, texts)])
        confidence, is_answer = float(rejection.probability(scores)[0]), bool(scores[0] >= rejection.threshold)
    others = [hit for hit, text in zip(hits, texts, strict=True) if text != texts[0]]
    passages = [text if text == hit.text else f"{hit.text}\n{text}" for hit, text in zip(hits, texts, strict=True)]
    made = Answered(
        name=collection.name,
        question=question,
        answer=texts[0] if is_answer else None,
        confidence=confidence,
        least=rejection.least if rejection else None,
        hit=hits[0],
        suggestions=tuple(others[:k] if is_answer else hits[:k]),
        taught=taught is not None,
        passages=tuple(passages[:PASSAGES]) if is_answer else (),
    )
    return with_reply(made, writer) if writer else made


def with_reply(found: Answered, writer: Writer) -> Answered:
    """With what a language model makes of the passages, where there is an answer. Unavailable."""
    return replace(found, reply=writer.reply(found.question, found.passages[: writer.passages])) if found.answer is not None else found


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
