"""`evaluate pairs`: how well cosines tell texts that mean the same from those that do not, or follow scores that people gave."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from huiyi.errors import InvalidInput
from huiyi.sources.outputs import replacing, require_place
from huiyi.training import judging
from huiyi.training.calibration import FOLDS, Aim, calibration_error, fold_of, reliability
from huiyi.training.data import Pairs, ScoredPairs
from huiyi.training.evaluate import roc, shares_below
from huiyi.training.judging import JudgedPairs, JudgedScores, Learned
from huiyi.training.leaks import keys, without_leaks
from huiyi.training.reports import Changed, Evaluation
from huiyi.workspace.evaluating import CHANGED, Setup, compare, in_order, written
from huiyi.workspace.examples import Reader
from huiyi.workspace.systems import Constant, System

BINS = 40


def evaluate_pairs(
    source: str | Path,
    setup: Setup,
    *,
    threshold_from: str | Path | None = None,
    aim: Aim = "accuracy",
    save_calibration: Path | None = None,
    page: Path | None = None,
    overwrite: bool = False,
) -> Evaluation:
    """Labelled or scored pairs. threshold_from: pairs to learn threshold and curve from; None learns them by folds of `source`.

    aim: what the threshold makes highest. save_calibration: the file where threshold and curve are kept for `similarity`. page: the file
    of a report in HTML.
    """
    for place in filter(None, (save_calibration, page)):
        require_place(place, overwrite)
    pairs = in_order(setup.reader.pairs(source))
    if isinstance(pairs, ScoredPairs):
        if threshold_from or save_calibration:
            raise InvalidInput(f"{pairs.name} has scores, not labels: there is no threshold to learn or to keep; give pairs with labels")
        return written(_evaluate_scores(pairs, setup), page)
    notes: list[str] = []
    learning = _learning(pairs, threshold_from, setup.reader, notes)
    known = [*pairs.texts(), *(learning.texts() if learning else [])]
    folds = [fold_of(repr(row)) for row in keys(pairs)]

    def judge(system: System) -> JudgedPairs:
        if isinstance(system, Constant) and learning is None:  # by folds it would be wrong about folds that differ from the rest
            return judging.judge_pairs(
                np.zeros(len(pairs)), pairs.labels, learned=Learned(np.zeros(len(pairs)), pairs.labels), folds=[], aim=aim
            )
        learned = learning and Learned(system.pair_scores(learning.first, learning.second, known), learning.labels)
        scores = system.pair_scores(pairs.first, pairs.second, known)
        return judging.judge_pairs(scores, pairs.labels, learned=learned or None, folds=folds, aim=aim)

    def changed(new: JudgedPairs, old: JudgedPairs) -> tuple[Changed, ...]:
        moved = new.probabilities - old.probabilities
        places = np.argsort(-abs(moved), kind="stable")[:CHANGED]
        return tuple(
            Changed(
                line=int(pairs.lines[i]),
                texts=(pairs.first[i], pairs.second[i]),
                wanted=str(pairs.labels[i]),
                old=float(old.probabilities[i]),
                new=float(new.probabilities[i]),
                better=bool((moved[i] > 0) == (pairs.labels[i] == 1)),
            )
            for i in places
            if moved[i]
        )

    found, new, others = compare("pairs", pairs, setup, judge, changed, ("majority", "tfidf"))
    if learning:
        protocol = f"threshold (for {aim}) and probabilities learned from {learning.name}, {len(learning):,} pairs"
    else:
        protocol = (
            f"threshold (for {aim}) and probabilities learned by {FOLDS} folds: every pair is judged by what the other folds say; "
            "the threshold shown is that of all pairs, for use elsewhere"
        )
    if save_calibration:
        used = learning or pairs
        learned = replace(new.calibration, learned_from=used.name, digest=used.digest)
        kept = replace(learned, model=found.system, space=found.space, adapter=setup.adapter)
        with replacing(save_calibration) as partial:
            partial.write_text(kept.to_json(), "utf-8")
    curves = _pair_curves(pairs, new, found.system, others)
    notes.extend(found.notes)
    return written(replace(found, threshold=new.threshold, protocol=protocol, notes=tuple(notes), curves=curves), page)


def _learning(pairs: Pairs, source: str | Path | None, reader: Reader, notes: list[str]) -> Pairs | None:
    if source is None:
        return None
    found = reader.pairs(source)
    if not isinstance(found, Pairs):
        raise InvalidInput(f"{found.name} has scores, not labels; a threshold is learned from pairs with labels 0 and 1")
    clean = without_leaks(in_order(found), pairs)
    if clean.leaked:
        notes.append(f"{len(clean.leaked):,} pairs of {found.name} stand in {pairs.name} too and were left out")
    if not len(clean.kept):
        raise InvalidInput(f"all pairs of {found.name} stand in {pairs.name} too; a threshold must be learned from others")
    return clean.kept


def _pair_curves(pairs: Pairs, new: JudgedPairs, name: str, others: dict[str, JudgedPairs]) -> dict[str, Any]:
    curve = reliability(new.probabilities, pairs.labels)
    edges = np.linspace(float(new.scores.min()), float(new.scores.max()) + 1e-9, BINS + 1)
    histogram = {str(label): np.histogram(new.scores[pairs.labels == label], edges)[0].tolist() for label in (0, 1)}
    return {
        "reliability": {"error": calibration_error(curve), "curve": curve},
        "scores": {"edges": edges.tolist(), **histogram},
        "roc": {each: roc(judged.scores, pairs.labels) for each, judged in {name: new, **others}.items() if each != "majority"},
    }


def _evaluate_scores(pairs: ScoredPairs, setup: Setup) -> Evaluation:
    def judge(system: System) -> JudgedScores:
        scores = system.pair_scores(pairs.first, pairs.second, pairs.texts())
        return judging.judge_scores(scores, pairs.scores)

    def changed(new: JudgedScores, old: JudgedScores) -> tuple[Changed, ...]:
        wanted, after, before = (shares_below(values) for values in (pairs.scores, new.scores, old.scores))
        places = np.argsort(-abs(after - before), kind="stable")[:CHANGED]
        return tuple(
            Changed(
                line=int(pairs.lines[i]),
                texts=(pairs.first[i], pairs.second[i]),
                wanted=f"{wanted[i]:.3f}",
                old=float(before[i]),
                new=float(after[i]),
                better=bool(abs(after[i] - wanted[i]) < abs(before[i] - wanted[i])),
            )
            for i in places
            if after[i] != before[i]
        )

    found, _, _ = compare("pairs", pairs, setup, judge, changed, ("tfidf",))
    return replace(found, protocol="nothing is learned; what changed most is told in shares of pairs that score lower")
