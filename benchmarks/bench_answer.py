"""When to answer: what `huiyi answer --learn` learned against a threshold on the cosine, on questions of which four in ten have no answer.

    python benchmarks/bench_answer.py

Data is read from HUIYI_TEST_DATA or ../shared/data (faq/fengxian): 113 answers, labelled questions, -1 where nothing answers. Every
threshold is learned on training questions alone, by one rule (training.rejection.threshold_for); the test questions are only counted.
Intervals: 95 %, bootstrap over test questions. Expected before the first run: ahead of the cosine, most where few words differ.
"""

import gzip
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from checkpoint import REPOSITORY
from measure import write

PRECISION = 0.95
LEARNED_FROM = (200, 1000, None)


def main() -> None:
    os.environ["HUIYI_HOME"] = tempfile.mkdtemp()
    import huiyi
    from huiyi.tasks.answering import NAMES
    from huiyi.training.rejection import learn, threshold_for
    from huiyi.workspace.confidence import judged, usual

    data = Path(os.environ.get("HUIYI_TEST_DATA") or REPOSITORY.parent / "shared" / "data") / "faq"
    with gzip.open(data / "fengxian_faq.jsonl.gz", "rt", encoding="utf-8") as stream:
        entries = [json.loads(line) for line in stream]
    train, test = (questions(data / f"fengxian_queries_{split}.tsv.gz") for split in ("train", "test"))
    train = {question: ids for question, ids in train.items() if question not in test}
    rows = []
    with huiyi.load("starter") as model, huiyi.open("faq", model=model) as faq:
        faq.add({"id": entry["id"], "text": entry["question"], "metadata": {"answer": entry["answer"]}} for entry in entries)
        by_meaning = [nearest(faq, wanted, "semantic") for wanted in (train, test)]
        by_both = [nearest(faq, wanted, "hybrid") for wanted in (train, test)]
        (evidence, right), (test_evidence, test_right) = (judged(faq, wanted) for wanted in (train, test))
        default = usual(faq)
    answerable = sum(bool(ids) for ids in test.values())
    for how, ((score, truth), (test_score, test_truth)) in (("cosine", by_meaning), ("score of the hybrid search", by_both)):
        cut = threshold_for(score, truth, PRECISION)
        rows.append(row(f"threshold on the {how}", len(train), test_score >= cut, test_truth, answerable))
    assert default
    answered = default.scores(test_evidence) >= default.threshold
    rows.append(row("huiyi answer, its model's default", 0, answered, test_right, answerable))
    order = np.random.default_rng(0).permutation(len(train))
    keys = list(train)
    for count in LEARNED_FROM:
        some = order[:count]
        rejection = learn(evidence[some], right[some], [keys[i] for i in some], PRECISION)
        answered = rejection.scores(test_evidence) >= rejection.threshold
        rows.append(row("huiyi answer", len(some), answered, test_right, answerable))
    settings = {"test questions": len(test), "with an answer": answerable, "precision asked for": PRECISION, "evidence": len(NAMES)}
    write("answer", "When to answer: questions that got an answer, and how many of those rightly", rows, settings, NOTE)


NOTE = (
    "fengxian FAQ on the starter, in percent. Answered: of all test questions. Right: of those that were answered. Coverage: of the "
    "questions with an answer those that got it, with a 95 % interval. Questions of the test that also stand in the training file were "
    "taken out of that. The default is learned from the demo's questions, for 90 %."
)


def questions(file: Path) -> dict[str, set[str]]:
    wanted: dict[str, set[str]] = {}
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        next(stream)
        for line in stream:
            question, id_ = line.rstrip("\n").split("\t")
            wanted.setdefault(question, set()).update({id_} - {"-1"})
    return wanted


def nearest(faq, wanted: dict[str, set[str]], mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Score of the first hit of each question, and whether it is right."""
    hits = [found[0] for found in faq.search_all(list(wanted), 1, mode)]
    return np.array([hit.score for hit in hits]), np.array([hit.id in ids for hit, ids in zip(hits, wanted.values(), strict=True)])


def row(how: str, learned_from: int, answered: np.ndarray, right: np.ndarray, answerable: int) -> dict:
    from huiyi.training.bootstrap import draws, interval

    got = (answered & right.astype(bool)).astype(float)
    value = got.sum() / answerable
    samples = np.concatenate([(weights @ got) for weights in draws(len(got), 1000, 0)]) / answerable
    low, high = interval(value, samples)
    return {
        "answers by": how,
        "learned from": learned_from,
        "answered": percent(answered.mean()),
        "right": percent(right[answered].mean()) if answered.any() else None,
        "coverage": percent(value),
        "interval": f"{percent(low)}–{percent(high)}",
    }


def percent(share: float) -> float:
    return round(100 * float(share), 1)


if __name__ == "__main__":
    sys.path[:0] = [str(REPOSITORY / "tests")]
    main()
