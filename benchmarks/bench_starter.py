"""The bundled starter beside TF-IDF: pairs, sets whose domain it never saw, sentences in two languages, and the time of a short text.

    python benchmarks/bench_starter.py

Data is read from HUIYI_TEST_DATA or ../shared/data. TF-IDF is of character n-grams, fitted on the very texts it is asked about: 1 to 2 in
Chinese, 2 to 4 within words in English, each the best of four ranges on dev splits. Expected before the first run: Spearman 69 LCQMC,
61 BQ, 66 STS-B zh, 60 STS-B en; AUC above TF-IDF, but for Fengxian, whose rewordings stay close to their originals; 2 ms a short text.
"""

import csv
import gzip
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from checkpoint import REPOSITORY
from measure import write
from scipy import sparse
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score

import huiyi

DATA = Path(os.environ.get("HUIYI_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
SAMPLE = 2000
LETTERS = {"zh": {"analyzer": "char", "ngram_range": (1, 2)}, "en": {"analyzer": "char_wb", "ngram_range": (2, 4)}}
SHORT = ["花呗逾期了会怎么样?", "如何申请退货退款", "Where is my parcel?", "How do I reset my password?"]

Encode = Callable[[list[str]], sparse.csr_matrix]  # rows of unit length
Score = Callable[[Encode], float]


def rows(file: str, **only: str) -> list[dict]:
    with gzip.open(DATA / file, "rt", encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE) if only.items() <= row.items()]


def pairs(judge: Callable, file: str, mark: str, **only: str) -> Score:
    """How well cosines of pairs follow their marks."""
    table = rows(file, **only)

    def score(encode: Encode) -> float:
        vectors = encode([row["sentence1"] for row in table] + [row["sentence2"] for row in table])
        cosines = np.asarray(vectors[: len(table)].multiply(vectors[len(table) :]).sum(1)).ravel()
        return judge([float(row[mark]) for row in table], cosines)

    return score


def questions(queries: str, faq: str) -> Score:
    """AUC of a query with its own entry among it with every entry."""
    with gzip.open(DATA / faq, "rt", encoding="utf-8") as stream:
        entries = {str(entry["id"]): entry["question"] for entry in map(json.loads, stream)}
    table = [row for row in rows(queries) if row["faq_id"] in entries]

    def score(encode: Encode) -> float:
        vectors = encode([row["query"] for row in table] + list(entries.values()))
        cosines = (vectors[: len(table)] @ vectors[len(table) :].T).toarray()
        own = np.array([row["faq_id"] for row in table])[:, None] == np.array(list(entries))
        return roc_auc_score(own.ravel(), cosines.ravel())

    return score


def classes(file: str) -> Score:
    """AUC of two texts of one class among all pairs of a sample."""
    table = rows(file)
    table = [table[place] for place in np.random.default_rng(0).permutation(len(table))[:SAMPLE]]

    def score(encode: Encode) -> float:
        vectors = encode([row["text"] for row in table])
        labels, above = np.array([row["label"] for row in table]), np.triu_indices(len(table), 1)
        return roc_auc_score((labels[:, None] == labels)[above], (vectors @ vectors.T).toarray()[above])

    return score


def translations(file: str) -> Score:
    """Share of sentences whose nearest sentence of the other side is their translation."""
    table = rows(file)

    def score(encode: Encode) -> float:
        vectors = encode([row["source"] for row in table] + [row["target"] for row in table])
        cosines = (vectors[: len(table)] @ vectors[len(table) :].T).toarray()
        return float((cosines.argmax(1) == np.arange(len(table))).mean())

    return score


def spearman(marks: list[float], cosines: np.ndarray) -> float:
    return spearmanr(cosines, marks)[0]


SETS = [  # what, language, measure, score, bar
    ("LCQMC test", "zh", "Spearman", pairs(spearman, "pairs/lcqmc_test.tsv.gz", "label"), 69),
    ("BQ test", "zh", "Spearman", pairs(spearman, "pairs/bq_test.tsv.gz", "label"), 61),
    ("STS-B zh test (CNSD)", "zh", "Spearman", pairs(spearman, "pairs/cnsd_stsb_zh_test.tsv.gz", "score"), 66),
    ("STS-B en test", "en", "Spearman", pairs(spearman, "pairs/stsb_multi_test.tsv.gz", "score", lang="en"), 60),
    ("banking77 test, same intent", "en", "AUC", classes("intents/banking77_test.tsv.gz"), None),
    ("AFQMC dev; its train split not seen", "zh", "AUC", pairs(roc_auc_score, "pairs/afqmc_dev.tsv.gz", "label"), None),
    ("CHIP-STS dev, medical; set not seen", "zh", "AUC", pairs(roc_auc_score, "pairs/chip_sts_dev.tsv.gz", "label"), None),
    ("TNEWS dev, same topic; domain not seen", "zh", "AUC", classes("intents/tnews_dev.tsv.gz"), None),
    ("SMP2019, same domain; not seen", "zh", "AUC", classes("intents/smp2019_nlu.tsv.gz"), None),
    (
        "Fengxian test, steel trade FAQ; domain not seen",
        "zh",
        "AUC",
        questions("faq/fengxian_queries_test.tsv.gz", "faq/fengxian_faq.jsonl.gz"),
        None,
    ),
    (
        "StackFAQ, web applications; domain not seen",
        "en",
        "AUC",
        questions("faq/stackfaq_en/queries.tsv.gz", "faq/stackfaq_en/faq.jsonl.gz"),
        None,
    ),
    *(
        (
            f"Tatoeba {name}–en, nearest is the translation; not seen",
            "",
            "accuracy",
            translations(f"parallel/tatoeba_{file}-eng.tsv.gz"),
            None,
        )
        for name, file in (("zh", "cmn"), ("es", "spa"), ("ar", "ara"))
    ),
]


def tf_idf(language: str) -> Encode:
    return TfidfVectorizer(sublinear_tf=True, **LETTERS[language or "en"]).fit_transform


def milliseconds(model) -> float:
    """Of one short text, the median of many after warming up."""
    times = []
    for text in SHORT * 100:
        began = time.perf_counter()
        model.encode(text)
        times.append(1000 * (time.perf_counter() - began))
    return median(times[len(SHORT) * 10 :])


def main() -> None:
    table = []
    with huiyi.load("starter") as model:
        for what, language, measure, score, bar in SETS:
            lexical, ours = (
                100 * float(score(encode)) for encode in (tf_idf(language), lambda texts: sparse.csr_matrix(model.encode(texts)))
            )
            table.append({"set": what, "measure × 100": measure, "TF-IDF": round(lexical, 1), "starter": round(ours, 1), "bar": bar})
            print(table[-1], flush=True)
    with huiyi.load("starter", threads=1) as model:
        time_ms = round(milliseconds(model), 2)
    print(f"{time_ms} ms a short text on one core")
    note = "A bar is what the model was built to reach. TF-IDF: character n-grams, fitted on the very texts of the set."
    write("starter", "The bundled starter beside TF-IDF", table, {"ms a short text on one core": time_ms}, note)


if __name__ == "__main__":
    main()
