"""Tasks over texts that were handed over, few enough to be answered at once: embedded with a model at work, then `huiyi.understanding`."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from huiyi import understanding
from huiyi.errors import InvalidInput
from huiyi.serving import Served
from huiyi.understanding import FoundRepeats as FoundRepeats
from huiyi.understanding import FoundTopics as FoundTopics
from huiyi.understanding import Recommended as Recommended
from huiyi.understanding import ShortView as ShortView
from huiyi.workspace.classifying import load_classifier
from huiyi.workspace.opened import model_of

T = TypeVar("T")
TASKS: dict[str, Callable[..., Any]] = {
    "cluster": understanding.cluster,
    "dedup": understanding.dedup,
    "summarize": understanding.summarize,
    "recommend": understanding.recommend,
}


@dataclass(frozen=True)
class Decided:
    """label: None where it is not sure, or belongs to no class. best: the likeliest all the same. verdict: sure, unsure, out of scope."""

    label: str | None
    probability: float
    best: str
    verdict: str


@dataclass(frozen=True)
class Understood:
    """result: of the task. tokens: of the texts that were embedded."""

    result: Any
    tokens: int


def understand(task: str, model: Served, texts: Sequence[str], ids: Sequence[str] | None = None, **options: Any) -> Understood:
    """One of TASKS over these texts; ids: by default their numbers, from 0. cancelled: an event that gives it up."""
    cancelled = options.pop("cancelled", None)
    names = [str(number) for number in range(len(texts))] if ids is None else list(ids)
    if len(names) != len(texts) or len(set(names)) != len(names):
        raise InvalidInput("ids must be as many as texts, each once")
    made = _embedded(model, texts, cancelled)
    return Understood(TASKS[task](names, texts, made.vectors, **options), int(made.tokens.sum()))


def classify(model: Served, texts: Sequence[str], classifier: str, cancelled: threading.Event | None = None) -> Understood:
    """What a classifier that was fitted says of these texts: `Decided` each. Conflict where it was fitted on another model's vectors."""
    judge = load_classifier(classifier, model_of(model))
    made = _embedded(model, texts, cancelled)
    decided = judge.decide(made.vectors)
    verdicts = {(True, True): "sure", (False, True): "unsure", (False, False): "out of scope"}
    found = [
        Decided(str(best) if sure else None, round(float(probability), 4), str(best), verdicts[sure, near])
        for best, probability, sure, near in zip(
            decided.best, decided.probability, decided.sure.tolist(), decided.in_scope.tolist(), strict=True
        )
    ]
    return Understood(found, int(made.tokens.sum()))


def classify_zero_shot(model: Served, texts: Sequence[str], labels: Sequence[str], cancelled: threading.Event | None = None) -> Understood:
    """The nearest label of each text and its cosine: (label, score) each. Nothing is calibrated."""
    if len(set(labels)) < 2:
        raise InvalidInput("give two labels or more to choose between")
    made = _embedded(model, [*labels, *texts], cancelled)
    cosines = made.vectors[len(labels) :] @ made.vectors[: len(labels)].T
    best = np.argmax(cosines, axis=1).tolist()
    return Understood([(labels[at], min(1.0, float(row[at]))) for at, row in zip(best, cosines, strict=True)], int(made.tokens.sum()))


def _embedded(model: Served, texts: Sequence[str], cancelled: threading.Event | None) -> Any:
    if not texts:
        raise InvalidInput("send one text or more")
    return model.embed(model.token_ids(texts, truncate="end", cancelled=cancelled), cancelled=cancelled)
