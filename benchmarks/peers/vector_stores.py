"""One store of vectors after the other under the same work, each in a process of its own: `python vector_stores.py NAME ROWS FOLDER`.

Prints one JSON object. The vectors are made: 1,024 numbers, 200 clusters, 48 directions in which they differ, noise; queries likewise.
Every record has an id, a short Chinese text and a field `u`, uniform from 0 to 999, for filters of any selectivity.
"""

import json
import os
import resource
import shutil
import sys
import threading
import time
from pathlib import Path

import numpy as np

DIM, K = 1024, 10
BATCH = 500
QUERIES = 100
SHARES = (0.5, 0.1, 0.01, 0.001)
UNSEEN = 10  # filters of each share that are asked once
FRESH = 20  # batches after which what came last is looked for
Range = tuple[int, int]  # of the field u: from the first, below the second


def made(count: int, seed: int) -> np.ndarray:
    fixed, random = np.random.default_rng(7), np.random.default_rng(seed)
    centres, directions = (fixed.standard_normal((n, DIM), np.float32) for n in (200, 48))
    rows = 0.8 * centres[random.integers(0, 200, count)]
    rows += random.standard_normal((count, 48), np.float32) @ directions / 7
    rows += 0.3 * random.standard_normal((count, DIM), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def field(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 1000, count)


def batches(rows: int):
    u = field(rows)
    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        yield start, made(count, 1000 + start), u[start : start + count]


def text(i: int) -> str:
    return f"订单 {i} 超过48小时未发货怎么办"


def ranges(share: float) -> list[Range]:
    """The filter that is asked for every query, then those that are asked once."""
    width = round(1000 * share)
    starts = (round(1 + (999 - width) * n / UNSEEN) for n in range(UNSEEN))
    return [(0, width), *((start, start + width) for start in starts)]


class Huiyi:
    """The local store; durable batch by batch."""

    def __init__(self, folder: Path) -> None:
        from huiyi.stores.local import LocalStore
        from huiyi.stores.store import Facts

        self.folder = folder
        self.store = LocalStore(folder)
        if self.store.facts is None:
            self.store.create(Facts("made", "made", "", DIM, None, np.eye(8, DIM, dtype=np.float32)))

    def fill(self, start: int, vectors: np.ndarray, u: np.ndarray) -> None:
        from huiyi.stores.store import Record

        self.store.put([Record(str(start + i), text(start + i), {"u": int(each)}) for i, each in enumerate(u)], vectors)

    def settle(self) -> None:
        while self.store.following.is_building:
            time.sleep(0.05)

    def indexed(self) -> int:
        return self.store.status().indexed

    def search(self, query: np.ndarray, within: Range | None) -> list[int]:
        from huiyi.stores.filters import parse

        filter = None if within is None else parse({"u": {"$gte": within[0], "$lt": within[1]}})
        return [int(hit.id) for hit in self.store.search(query[None], K, filter)[0]]

    def search_words(self, asked: str) -> list[int]:
        return [int(hit.id) for hit in self.store.search_keywords([asked], K)[0]]

    def close(self) -> None:
        self.store.close()


class Faiss:
    """HNSW over 8-bit codes in memory, as people write it: no texts, no filters but by a mask, not durable before it is written out."""

    def __init__(self, folder: Path) -> None:
        import faiss

        self.faiss, self.path = faiss, folder / "index.faiss"
        self.parts: list[np.ndarray] = []
        self.u: list[np.ndarray] = []
        self.index = faiss.read_index(str(self.path)) if self.path.exists() else None

    def fill(self, start: int, vectors: np.ndarray, u: np.ndarray) -> None:
        self.parts.append(vectors)
        self.u.append(u)

    def settle(self) -> None:
        self.index = self.faiss.IndexHNSWSQ(DIM, self.faiss.ScalarQuantizer.QT_8bit, 16, self.faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction, self.index.hnsw.efSearch = 64, 64
        rows = np.concatenate(self.parts)
        self.index.train(rows[:20_000])
        self.index.add(rows)
        self.faiss.write_index(self.index, str(self.path))

    def search(self, query: np.ndarray, within: Range | None) -> list[int]:
        if within is None:
            return self.index.search(query[None], K)[1][0].tolist()
        mask = self.mask(within)
        parameters = self.faiss.SearchParametersHNSW(sel=self.faiss.IDSelectorBitmap(mask), efSearch=64)
        return self.index.search(query[None], K, params=parameters)[1][0].tolist()

    def mask(self, within: Range) -> np.ndarray:
        u = np.concatenate(self.u)
        return np.packbits((u >= within[0]) & (u < within[1]), bitorder="little")

    def close(self) -> None:
        pass


class FaissFlat(Faiss):
    """Every vector looked at, float32."""

    def settle(self) -> None:
        self.index = self.faiss.IndexFlatIP(DIM)
        self.index.add(np.concatenate(self.parts))
        self.faiss.write_index(self.index, str(self.path))

    def search(self, query: np.ndarray, within: Range | None) -> list[int]:
        mask = None if within is None else self.mask(within)  # the selector does not hold it
        parameters = None if mask is None else self.faiss.SearchParameters(sel=self.faiss.IDSelectorBitmap(mask))
        return self.index.search(query[None], K, params=parameters)[1][0].tolist()


class LanceDB:
    def __init__(self, folder: Path) -> None:
        import lancedb

        self.db = lancedb.connect(str(folder))
        self.table = self.db.open_table("t") if (folder / "t.lance").exists() else None

    def fill(self, start: int, vectors: np.ndarray, u: np.ndarray) -> None:
        import pyarrow as pa

        rows = pa.table(
            {
                "id": pa.array([str(start + i) for i in range(len(u))]),
                "text": pa.array([text(start + i) for i in range(len(u))]),
                "u": pa.array(u),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
            }
        )
        if self.table is None:
            self.table = self.db.create_table("t", rows)
        else:
            self.table.add(rows)

    def settle(self) -> None:
        self.table.optimize()
        if self.table.count_rows() >= 10_000:
            self.table.create_index(metric="dot", index_type="IVF_HNSW_SQ")
        self.table.create_scalar_index("u")

    def search(self, query: np.ndarray, within: Range | None) -> list[int]:
        asked = self.table.search(query).metric("dot").limit(K).select(["id", "text", "u"])
        if within is not None:
            asked = asked.where(f"u >= {within[0]} AND u < {within[1]}", prefilter=True)
        return [int(row["id"]) for row in asked.to_list()]

    def close(self) -> None:
        pass


class MilvusLite:
    def __init__(self, folder: Path) -> None:
        from pymilvus import DataType, MilvusClient

        self.client = MilvusClient(str(folder / "milvus.db"))
        if not self.client.has_collection("t"):
            schema = self.client.create_schema(auto_id=False)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("text", DataType.VARCHAR, max_length=200)
            schema.add_field("u", DataType.INT64)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
            index = self.client.prepare_index_params()
            index.add_index("vector", index_type="AUTOINDEX", metric_type="IP")
            self.client.create_collection("t", schema=schema, index_params=index)
        self.client.load_collection("t")

    def fill(self, start: int, vectors: np.ndarray, u: np.ndarray) -> None:
        each = zip(range(start, start + len(u)), vectors, u, strict=True)
        self.client.insert("t", [{"id": i, "text": text(i), "u": int(value), "vector": vector} for i, vector, value in each])

    def settle(self) -> None:
        self.client.flush("t")
        self.client.load_collection("t")

    def search(self, query: np.ndarray, within: Range | None) -> list[int]:
        filter = "" if within is None else f"u >= {within[0]} and u < {within[1]}"
        found = self.client.search("t", [query.tolist()], limit=K, filter=filter, output_fields=["text", "u"])
        return [hit["id"] for hit in found[0]]

    def close(self) -> None:
        self.client.close()


STORES = {"huiyi": Huiyi, "faiss": Faiss, "faiss_flat": FaissFlat, "lancedb": LanceDB, "milvus_lite": MilvusLite}


def truth(rows: int, queries: np.ndarray) -> dict[Range | None, list[list[int]]]:
    """The exact answers by filter; of filters that are asked once, for one query each."""
    u = field(rows)
    scores = np.concatenate([queries @ vectors.T for _, vectors, _ in batches(rows)], axis=1)
    answers: dict[Range | None, list[list[int]]] = {None: [nearest(np.arange(rows), row) for row in scores]}
    for share in SHARES:
        often, *once = ranges(share)
        for within, some in ((often, scores), *((each, scores[n : n + 1]) for n, each in enumerate(once))):
            there = np.flatnonzero((u >= within[0]) & (u < within[1]))
            answers[within] = [nearest(there, row) for row in some]
    return answers


def nearest(there: np.ndarray, scores: np.ndarray) -> list[int]:
    own = scores[there]
    best = np.argpartition(-own, K)[:K] if len(own) > K else np.arange(len(own))
    return there[best[np.argsort(-own[best])]].tolist()


def recall(found: list[list[int]], right: list[list[int]]) -> float | None:
    wanted = sum(map(len, right))
    return round(sum(len(set(one) & set(other)) for one, other in zip(found, right, strict=True)) / wanted, 3) if wanted else None


def timed(work, *arguments) -> tuple[float, object]:
    started = time.perf_counter()
    answer = work(*arguments)
    return time.perf_counter() - started, answer


def measured(name: str, rows: int, folder: Path) -> dict:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    queries = made(QUERIES, 5)
    answers = truth(rows, queries)
    store = STORES[name](folder)
    result: dict[str, object] = filled(store, rows)
    began = time.perf_counter()
    if isinstance(store, Huiyi):
        result |= while_building(store, queries, rows)
    else:
        store.settle()
    result["index s"] = round(time.perf_counter() - began, 1)
    result |= searched(store, queries, None, "", answers)
    for share in SHARES:
        often, *once = ranges(share)
        label = f" {100 * share:g} %"
        times, found = zip(*(timed(store.search, queries[n], each) for n, each in enumerate(once)), strict=True)
        result[f"unseen{label} ms"] = round(1000 * float(np.median(times)), 1)
        result[f"unseen recall{label}"] = recall(found, [answers[each][0] for each in once])
        store.search(queries[-1], often)
        result |= searched(store, queries, often, label, answers)
    store.close()
    result["bytes/record"] = round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / rows)
    result["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    del store
    opening, again = timed(STORES[name], folder)
    first, _ = timed(again.search, queries[0], None)
    again.close()
    result["open s"] = round(opening + first, 2)
    return result


def searched(store, queries: np.ndarray, within: Range | None, label: str, answers: dict[Range | None, list[list[int]]]) -> dict:
    times, found = zip(*(timed(store.search, query, within) for query in queries), strict=True)
    return {f"p50{label} ms": round(1000 * float(np.median(times)), 2), f"recall{label}": recall(found, answers[within])}


def filled(store, rows: int) -> dict:
    """Of huiyi also: whether what was just acknowledged is found by vector and by words. These searches are part of its time."""
    seconds, searches, missed, fresh = 0.0, [], 0, max(1, rows // BATCH // FRESH)
    for number, (start, vectors, u) in enumerate(batches(rows)):
        seconds += timed(store.fill, start, vectors, u)[0]
        last = start + len(u) - 1
        if isinstance(store, Huiyi) and (number % fresh == 0 or last == rows - 1):
            by_vector, near = timed(store.search, vectors[-1], None)
            by_words, said = timed(store.search_words, text(last))
            missed += (near[0] != last) + (said[0] != last)
            seconds += by_vector + by_words
            searches.append(by_vector)
    result = {"ingest/s": None if isinstance(store, Faiss) else round(rows / seconds)}
    if searches:
        result |= {"missed at once": missed, "first search ms": round(1000 * float(np.median(searches)), 1)}
    return result


def while_building(store: Huiyi, queries: np.ndarray, rows: int) -> dict:
    """Searches, 20 a second, until the graph holds everything: they find all from the first on."""
    times, began, at_first = [], time.perf_counter(), store.indexed()
    done = threading.Event()
    threading.Thread(target=lambda: (store.settle(), done.set()), daemon=True).start()
    while not done.is_set():
        times.append(timed(store.search, queries[len(times) % QUERIES], None)[0])
        time.sleep(0.05)
    built = store.indexed() - at_first
    if built < 1000:
        return {}
    seconds = time.perf_counter() - began
    return {"built/s": round(built / seconds), "p95 while built ms": round(1000 * float(np.percentile(times, 95)), 1)}


if __name__ == "__main__":
    quiet = os.dup(1)
    os.dup2(2, 1)  # what libraries print
    outcome = measured(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    os.write(quiet, (json.dumps(outcome) + "\n").encode())
