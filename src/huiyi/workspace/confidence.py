"""How sure it is that a match is an answer: what a collection learned of that, or else what its model learned from the demo's questions.

The default is learned once a model, instruction and width, and kept below HUIYI_HOME/cache, where it may be deleted. Each of the demo's
questions is asked twice, of the whole FAQ and of the FAQ without what answers it, so that half of them have no answer.
"""

import hashlib
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from huiyi import settings
from huiyi.collection import Collection
from huiyi.demo import samples
from huiyi.errors import InvalidInput
from huiyi.stores.store import Hit
from huiyi.tasks.answering import NAMES, evidence
from huiyi.training.rejection import Rejection, learn
from huiyi.workspace.collections import open_collection
from huiyi.workspace.searching import SLICE_QUERIES

log = logging.getLogger(__name__)

KEPT = "answer"
DEPTH = 10  # matches that are looked at for one question
ANSWERS = ("answer", "reply", "response", "答案", "回答", "回复", "解答")
USUAL_PRECISION = 0.9
USUAL_FORMAT = 1

Array = np.ndarray[Any, Any]
_usual: dict[str, Rejection | None] = {}


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
            rows.append(evidence_of(question, hits, texts))
            right.append(any(hit.id in wanted[question] and text == texts[0] for hit, text in zip(hits, texts, strict=True)))
        report(len(rows), len(questions))
    return np.array(rows), np.array(right, np.int64)


def learned(collection: Collection) -> Rejection | None:
    """What `answer_learn` kept for the vectors that are there now."""
    kept = collection.store.kept(KEPT)
    rejection = Rejection.from_json(kept, collection.name) if kept else None
    return rejection if rejection and rejection.space == collection.facts.space else None


def usual(collection: Collection) -> Rejection | None:
    """What stands in for `learned`; None for a model that is never sure often enough."""
    facts = collection.facts
    key = hashlib.blake2b(json.dumps([USUAL_FORMAT, NAMES, facts.space, facts.dim, facts.instruction]).encode(), digest_size=16).hexdigest()
    if key not in _usual:
        path = settings.home() / "cache" / "answers" / f"{key}.json"
        try:
            text = path.read_text("utf-8")
            _usual[key] = Rejection.from_json(text, str(path)) if text else None
        except (OSError, InvalidInput):
            _usual[key] = made = _learned_from_demo(collection)
            _write(path, made.to_json() if made else "")
    return _usual[key]


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, "utf-8")
        partial.replace(path)
    except OSError as error:
        log.warning("%s could not be written, and will be learned again: %s", path, error)


def _learned_from_demo(collection: Collection) -> Rejection | None:
    """From all questions, or from those of one language where the model does not read the other."""
    facts, entries, questions = collection.facts, samples.faq(), samples.questions()
    with (
        tempfile.TemporaryDirectory() as home,
        open_collection("faq", collection.model, home, instruction=facts.instruction, dimensions=facts.dim) as faq,
    ):
        faq.add({"id": each.id, "text": each.question, "metadata": {"answer": each.answer, "lang": each.lang}} for each in entries)
        found = faq.search_all([each.question for each in questions], len(entries))
    for lang in (None, "zh", "en"):
        rows, right, keys = [], [], []
        for each, every in zip(questions, found, strict=True):
            if lang not in (None, each.lang):
                continue
            hits = [hit for hit in every if lang in (None, hit.metadata["lang"])]
            rest = [hit for hit in hits if hit.id != each.id]
            for left in (hits, rest) if len(rest) < len(hits) else (hits,):
                rows.append(evidence_of(each.question, left[:DEPTH], [answer_text(hit) for hit in left[:DEPTH]]))
                right.append(left[0].id == each.id)
                keys.append(each.question)
        try:
            return learn(rows, right, keys, USUAL_PRECISION)
        except InvalidInput:
            continue  # it is never sure often enough
    return None


def answer_text(hit: Hit, column: str | None = None) -> str:
    """What a record answers. InvalidInput for a column that is named and not there."""
    if column is not None:
        if hit.metadata.get(column) is None:
            raise InvalidInput(f"the record {hit.id} has no {column!r}; it has: {', '.join(hit.metadata) or 'no metadata'}")
        return str(hit.metadata[column])
    return next((str(hit.metadata[name]) for name in ANSWERS if hit.metadata.get(name)), hit.text)


def evidence_of(question: str, hits: Sequence[Hit], answers: Sequence[str]) -> np.ndarray[Any, Any]:
    """As `tasks.answering.evidence`. answers: what each hit answers."""
    cosines = [hit.score if hit.cosine is None else hit.cosine for hit in hits]
    return evidence(question, [hit.text for hit in hits], cosines, answers)
