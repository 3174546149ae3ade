"""How good a model is on a file: its figures with intervals, beside baselines and beside whatever it is to replace.

Rows are sorted by their texts first, so that no figure depends on the order of the file. What is chosen is learned from other rows than
those reported: from a file of its own, without the rows that the reported one holds too, or by folds.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Protocol, TypeVar

import numpy as np

from huiyi.errors import InvalidInput
from huiyi.model import Model
from huiyi.sources.outputs import replacing, require_place
from huiyi.training import judging
from huiyi.training.baselines import BASELINES
from huiyi.training.bootstrap import Resampled
from huiyi.training.calibration import FOLDS, fold_of
from huiyi.training.data import Examples
from huiyi.training.judging import JudgedClasses, JudgedClusters, JudgedRankings
from huiyi.training.leaks import keys, without_leaks
from huiyi.training.reports import Against, Changed, Task, page_of
from huiyi.training.reports import Evaluation as Evaluation
from huiyi.training.searches import Searches
from huiyi.types import Kind
from huiyi.workspace.examples import Reader
from huiyi.workspace.systems import Constant, Lexical, ModelSystem, System
from huiyi.workspace.texts import Loader, Progress, Truncate

Sorted = TypeVar("Sorted", bound=Examples)
CHANGED = 20


class Judged(Protocol):
    @property
    def figures(self) -> Resampled: ...


AnyJudged = TypeVar("AnyJudged", bound=Judged)


@dataclass(frozen=True)
class Setup:
    """What all four tasks share. load: the model that is judged; named: another by its name. against: names of models or baselines.

    adapter: the folder of the one that `load` puts on the model, for its name. kind, instruction: of the queries of retrieval.
    """

    load: Loader
    named: Callable[[str], Model]
    against: Sequence[str] = ()
    reader: Reader = field(default_factory=Reader)
    truncate: Truncate = "end"
    kind: Kind = "query"
    instruction: str | None = None
    adapter: str | None = None
    report: Callable[[Progress], None] = lambda progress: None

    @contextmanager
    def model(self, load: Loader, adapter: str | None = None) -> Iterator[ModelSystem]:
        with load() as model:
            name = f"{model.name} + {Path(adapter).name}" if adapter else model.name
            yield ModelSystem(model, name, kind=self.kind, instruction=self.instruction, truncate=self.truncate, report=self.report)


def compare(
    task: Task,
    examples: Examples | Searches,
    setup: Setup,
    judge: Callable[[System], AnyJudged],
    changed: Callable[[AnyJudged, AnyJudged], tuple[Changed, ...]],
    baselines: Sequence[str],
) -> tuple[Evaluation, AnyJudged, dict[str, AnyJudged]]:
    """The evaluation, what was judged of the model, and of all others by name.

    What can fail fails early: data that nothing can be learned from before a model is loaded, a model that is not there before one works.
    """
    began = monotonic()
    others: dict[str, AnyJudged] = {"majority": judge(Constant())} if "majority" in baselines else {}
    with ExitStack() as stack:
        system = stack.enter_context(setup.model(setup.load, setup.adapter))
        beside = {name: stack.enter_context(setup.model(partial(setup.named, name))) for name in setup.against if name not in BASELINES}
        for name in dict.fromkeys(each for each in (*baselines, *setup.against) if each in BASELINES):
            others[name] = judge(Lexical(name))
        new = judge(system)
        others |= {name: judge(other) for name, other in beside.items()}
    title = f"{system.name}, new" if system.name in others else system.name
    notes = [f"{system.full:,} inputs fill all the tokens that {title} reads; the rest of them was cut"] if system.full else []
    evaluation = Evaluation(
        task=task,
        source=examples.name,
        digest=examples.digest,
        rows=len(examples),
        system=title,
        space=system.space,
        figures=new.figures.estimates(),
        threshold=None,
        protocol="",
        baselines={each: others[each].figures.estimates() for each in baselines},
        against=tuple(
            Against(each, others[each].figures.estimates(), new.figures.minus(others[each].figures), changed(new, others[each]))
            for each in dict.fromkeys(setup.against)
        ),
        notes=tuple(notes),
        curves={},
        seconds=monotonic() - began,
    )
    return evaluation, new, others


def written(evaluation: Evaluation, page: Path | None) -> Evaluation:
    """With its report in the file `page`, where one is wanted."""
    if page:
        with replacing(page) as partial:
            partial.write_text(page_of(evaluation), "utf-8")
    return evaluation


def in_order(examples: Sorted) -> Sorted:
    """Sorted by what each row is known by, then by all it says; the file's own order has no say in what follows."""
    order = sorted(
        range(len(examples)), key=[(list(key), row) for key, row in zip(keys(examples), examples.content(), strict=True)].__getitem__
    )
    return examples.take(order)


def evaluate_retrieval(
    source: str | Path,
    setup: Setup,
    *,
    corpus: str | Path | None = None,
    answers: str | Path | None = None,
    page: Path | None = None,
    overwrite: bool = False,
) -> Evaluation:
    """Queries against passages: ndcg@10, mrr@10, recall@1, 5, 10 and 100, means over queries that something answers.

    source, corpus, answers: files as `training.searches` tells them; corpus None takes the passages that `source` brings.
    """
    if page:
        require_place(page, overwrite)
    searches = setup.reader.searches(source, corpus, answers)
    depth = max(judging.RECALL_AT)

    def judge(system: System) -> JudgedRankings:
        return judging.judge_rankings(system.rank(searches.queries, searches.corpus, depth), searches.relevant)

    def changed(new: JudgedRankings, old: JudgedRankings) -> tuple[Changed, ...]:
        gained = np.array([1 / (after or np.inf) - 1 / (before or np.inf) for after, before in zip(new.first, old.first, strict=True)])
        return tuple(
            Changed(
                line=searches.lines[i],
                texts=(searches.queries[i], searches.corpus[min(searches.relevant[i])]),
                wanted="1",
                old=old.first[i],
                new=new.first[i],
                better=bool(gained[i] > 0),
            )
            for i in np.argsort(-abs(gained), kind="stable")[:CHANGED]
            if gained[i]
        )

    found, _, _ = compare("retrieval", searches, setup, judge, changed, ("bm25", "tfidf"))
    notes = [f"{len(searches.corpus):,} passages; nothing is learned; what changed is the rank of the first right passage"]
    if searches.unanswered:
        notes.append(f"{searches.unanswered:,} queries were left out, since no passage answers them")
    return written(replace(found, notes=(*notes, *found.notes)), page)


def evaluate_classification(
    source: str | Path, setup: Setup, *, train: str | Path | None = None, page: Path | None = None, overwrite: bool = False
) -> Evaluation:
    """A logistic regression on the vectors of labelled texts: accuracy and f1_macro. train: what it learns from; None learns by folds."""
    if page:
        require_place(page, overwrite)
    texts = in_order(setup.reader.labelled(source))
    notes: list[str] = []
    learning = None
    if train is not None:
        clean = without_leaks(in_order(setup.reader.labelled(train)), texts)
        learning = clean.kept
        if clean.leaked:
            notes.append(f"{len(clean.leaked):,} texts of {learning.name} stand in {texts.name} too and were left out")
        if unknown := set(texts.labels) - set(learning.labels):
            notes.append(f"{len(unknown):,} classes of {texts.name} are not in {learning.name}: {', '.join(sorted(unknown)[:5])}")
    known = [*texts.sentences, *(learning.sentences if learning else [])]
    folds = [fold_of(repr(row)) for row in keys(texts)]

    def judge(system: System) -> JudgedClasses:
        learned = (system.features(learning.sentences, known), learning.labels) if learning else None
        if isinstance(system, Constant):  # by folds it would be wrong about folds that differ from the rest
            learned = learned or (system.features(texts.sentences, known), texts.labels)
        return judging.judge_classes(system.features(texts.sentences, known), texts.labels, learned=learned, folds=folds)

    def changed(new: JudgedClasses, old: JudgedClasses) -> tuple[Changed, ...]:
        moved = new.sure - old.sure
        order = [i for i in np.argsort(-abs(moved), kind="stable") if new.predicted[i] != old.predicted[i]]
        return tuple(
            Changed(
                line=int(texts.lines[i]),
                texts=(texts.sentences[i],),
                wanted=texts.labels[i],
                old=old.predicted[i],
                new=new.predicted[i],
                better=bool(moved[i] > 0),
            )
            for i in order[:CHANGED]
        )

    found, _, _ = compare("classification", texts, setup, judge, changed, ("majority", "tfidf"))
    protocol = (
        f"logistic regression learned from {learning.name}, {len(learning):,} texts"
        if learning
        else (f"logistic regression learned by {FOLDS} folds: every text is judged by what the other folds say")
    )
    return written(replace(found, protocol=protocol, notes=(*notes, *found.notes)), page)


def evaluate_clustering(source: str | Path, setup: Setup, *, page: Path | None = None, overwrite: bool = False) -> Evaluation:
    """k-means on the vectors of labelled texts, told the number of classes: ari, ami and v_measure."""
    if page:
        require_place(page, overwrite)
    texts = in_order(setup.reader.labelled(source))
    if not 2 <= len(set(texts.labels)) < len(texts):
        raise InvalidInput(
            f"{texts.name} has {len(set(texts.labels)):,} classes in {len(texts):,} texts; clusters need several texts a class"
        )

    def judge(system: System) -> JudgedClusters:
        return judging.judge_clusters(system.features(texts.sentences, texts.sentences), texts.labels)

    found, _, _ = compare("clustering", texts, setup, judge, lambda new, old: (), ("tfidf",))
    return written(
        replace(found, protocol=f"k-means, told that there are {len(set(texts.labels)):,} classes; labels are not learned from"), page
    )
