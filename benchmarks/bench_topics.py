"""Topics: graph, K-Means told k, UMAP + HDBSCAN and BERTopic on the same vectors, and the time, memory and recall of `cluster` by size.

    python benchmarks/bench_topics.py [--only quality|size] [--rows 1000 10000 100000]

English sets have all-MiniLM-L6-v2's vectors, Chinese ones the starter's; sets are read from HUIYI_TEST_DATA or ../shared/data. Of THUCNews
and TNEWS the first 3,000 rows are left out: the rule that chooses a level was fixed with them. BERTopic gets the vectors and the usual
UMAP + HDBSCAN. What a method leaves out counts as one more class.
Expected before the first run: the level nearest the true k at or above K-Means on average, the automatic one within 0.02 of it.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from checkpoint import REPOSITORY
from measure import PeakWithChildren, beside, peak_mb, write

SETS = {
    "banking77 test": ("banking77_test", 0),
    "clinc150 test": ("clinc150_test", 0),
    "THUCNews titles": ("thucnews_titles_dev", 3000),
    "TNEWS dev": ("tnews_dev", 3000),
    "smp2019": ("smp2019_nlu", 0),
    "NLPCC headlines": ("nlpcc2017_headlines_dev", 0),
}
ENGLISH = ("banking77 test", "clinc150 test")
SIZES = (1_000, 10_000, 100_000)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--only", choices=("quality", "size"))
    arguments.add_argument("--rows", type=int, nargs="+", default=SIZES)
    arguments.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.one:
        print(json.dumps(size_row(options.one)))
        return
    if options.only != "size":
        quality()
    if options.only != "quality":
        for count in options.rows:
            done = subprocess.run([sys.executable, __file__, "--one", str(count)], check=True, stdout=subprocess.PIPE, text=True)
            row = json.loads(done.stdout.splitlines()[-1])
            print(row, file=sys.stderr, flush=True)
            write(
                "topics_size",
                "Topics: time and memory of `cluster` by number of vectors of 1,024 numbers",
                beside("topics_size", "vectors", row),
                {"dimensions": 1024},
                "Vectors drawn around 5,000 centres in 200 groups, mapped from a file. Stability included: five runs more, two beyond "
                "200,000 rows. Memory is of the process and its children at one time; CPU seconds are of all.",
            )


def quality() -> None:
    """Ours and K-Means on all sets, then the slow ones, from the smallest set on; the result is written after each."""
    import huiyi
    from conftest import minilm_folder

    models = {True: huiyi.load(str(minilm_folder())), False: huiyi.load("starter")}
    held, rows = {}, {}
    for name, (file, skipped) in SETS.items():
        texts, truth = read(file, skipped)
        held[name] = texts, models[name in ENGLISH].encode(texts), truth
        rows[name] = {"set": name, "rows": len(texts), "k": int(truth.max()) + 1, **ours(*held[name][1:])}
        keep(rows)
    for peer in (dense, bertopic):
        for name in sorted(SETS, key=lambda name: len(held[name][0])):
            rows[name].update(peer(*held[name]))
            keep(rows)


def keep(rows: dict[str, dict]) -> None:
    columns = ("K-Means told k", "graph, nearest", "graph, automatic", "UMAP + HDBSCAN", "BERTopic")
    full = [{"set": row["set"], "rows": row["rows"], "k": row["k"], **{name: row.get(name) for name in columns}} for row in rows.values()]
    mean: dict = {"set": "mean", "rows": sum(row["rows"] for row in full), "k": None}
    for name in columns:
        known = [[float(part.strip("()")) for part in row[name].split()[:2]] for row in full if row[name]]
        mean[name] = shown(*np.mean(known, axis=0)) if len(known) == len(full) else None
    print(full[-1], file=sys.stderr)
    write(
        "topics",
        "Topics: AMI (ARI) against true classes, all methods on the same vectors",
        [*full, mean],
        {"sets": len(full)},
        "nearest: the level whose number of topics is nearest the true one; automatic: the level that is shown; no outliers in both. "
        "out: rows that the method leaves out, counted as one more class. –: not run.",
    )


def ours(vectors: np.ndarray, truth: np.ndarray) -> dict:
    from sklearn.cluster import KMeans

    from huiyi.tasks import cluster

    count = int(truth.max()) + 1
    told = KMeans(count, n_init=3, random_state=0).fit_predict(vectors)
    found = cluster(vectors, outliers=False)
    nearest = min(found.levels, key=lambda level: abs(np.log((level.max() + 1) / count)))
    return {
        "K-Means told k": scored(truth, told),
        "graph, nearest": f"{scored(truth, nearest)} k {nearest.max() + 1}",
        "graph, automatic": f"{scored(truth, found.labels)} k {len(found.sizes)}",
    }


def dense(texts: list[str], vectors: np.ndarray, truth: np.ndarray) -> dict:
    from sklearn.cluster import HDBSCAN

    place = mapping().fit_transform(vectors)
    return {"UMAP + HDBSCAN": with_outliers(truth, HDBSCAN(min_cluster_size=10, copy=True).fit_predict(place))}


def bertopic(texts: list[str], vectors: np.ndarray, truth: np.ndarray) -> dict:
    from bertopic import BERTopic
    from bertopic.backend import BaseEmbedder

    labels = BERTopic(embedding_model=BaseEmbedder(), umap_model=mapping()).fit_transform(texts, vectors)[0]
    return {"BERTopic": with_outliers(truth, np.array(labels))}


def mapping():
    """BERTopic's own settings."""
    import umap

    return umap.UMAP(n_neighbors=15, n_components=5, min_dist=0.0, metric="cosine", random_state=0)


def with_outliers(truth: np.ndarray, labels: np.ndarray) -> str:
    return f"{scored(truth, labels)} k {labels.max() + 1}, {100 * (labels < 0).mean():.0f} % out"


def scored(truth: np.ndarray, labels: np.ndarray) -> str:
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

    return shown(adjusted_mutual_info_score(truth, labels), adjusted_rand_score(truth, labels))


def shown(ami: float, ari: float) -> str:
    return f"{ami:.3f} ({ari:.3f})"


def read(name: str, skipped: int) -> tuple[list[str], np.ndarray]:
    """Texts and classes; out-of-scope texts are of no class and left out."""
    data = Path(os.environ.get("HUIYI_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    with gzip.open(data / "intents" / f"{name}.tsv.gz", "rt", encoding="utf-8") as stream:
        columns = next(stream).rstrip("\n").split("\t")
        rows = [dict(zip(columns, line.rstrip("\n").split("\t"), strict=True)) for line in stream][skipped:]
    rows = [row for row in rows if row["label"] != "oos"]
    return [row["text"] for row in rows], np.unique([row["label"] for row in rows], return_inverse=True)[1]


def size_row(count: int) -> dict:
    """All of it in this process, whose peak of memory is of this size then."""
    from huiyi.tasks import cluster
    from huiyi.tasks.clustering import NEIGHBORS
    from huiyi.tasks.neighbors import neighbors

    vectors = drawn(count)
    base, began = peak_mb(), time.perf_counter()
    graph = neighbors(vectors, NEIGHBORS)
    search = time.perf_counter() - began
    recall = graph.recall
    del graph
    began, before = time.perf_counter(), os.times()
    with PeakWithChildren() as peak:
        found = cluster(vectors)
    seconds, after = time.perf_counter() - began, os.times()
    return {
        "vectors": count,
        "cluster, s": round(seconds, 1),
        "CPU, s": round(sum(after[:4]) - sum(before[:4]), 1),
        "kNN graph alone, s": round(search, 1),
        "recall@15": round(recall, 3),
        "peak memory, MB": max(peak.mb, peak_mb()),
        "of which the vectors, MB": base,
        "topics": len(found.sizes),
    }


def drawn(count: int, dim: int = 1024) -> np.ndarray:
    """Topics in topics, with noise of few and of all dimensions, so that neighbours are neither random nor trivial.

    From the temporary folder, where they stay for the next time: 4 GB for a million.
    """
    file = Path(tempfile.gettempdir()) / f"huiyi-bench-topics-{count}x{dim}.npy"
    if file.exists():
        return np.load(file, mmap_mode="r")
    random = np.random.default_rng(0)
    broad = random.standard_normal((200, dim), dtype=np.float32)
    narrow = random.standard_normal((5000, dim), dtype=np.float32) * np.float32(0.7)
    basis = random.standard_normal((64, dim), dtype=np.float32)
    partial = file.with_suffix(".partial")
    rows = np.lib.format.open_memmap(partial, "w+", np.float32, (count, dim))
    for start in range(0, count, 50_000):
        end = min(count, start + 50_000)
        which = random.integers(0, 5000, end - start)
        shared = random.standard_normal((end - start, 64), dtype=np.float32) @ basis
        noise = random.standard_normal((end - start, dim), dtype=np.float32)
        rows[start:end] = broad[which % 200] + narrow[which] + shared * np.float32(0.12) + noise * np.float32(0.3)
        rows[start:end] /= np.linalg.norm(rows[start:end], axis=1, keepdims=True)
    rows.flush()
    partial.replace(file)
    return np.load(file, mmap_mode="r")


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY / "tests"))
    main()
