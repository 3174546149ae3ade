"""One store after the other under the same hybrid searches, each in a process of its own: `python hybrid_stores.py NAME ROWS KIND FOLDER`.

Prints one JSON object. KIND is short (texts of 6 to 12 words) or chunks (300 characters). Texts are made: 40,000 words of one to three
characters, some of them Latin, drawn by Zipf's law; vectors as in vector_stores.py. A query says some words of one record among common
ones, and its vector is near that record's, so that a store which finds nothing is seen.
"""

import json
import os
import shutil
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
from vector_stores import BATCH, DIM, made, timed

K = 10
WORDS = 40_000
QUERIES, WARM = 200, 40
CHUNK = 300  # characters
LONGEST = 12  # words of a short text


@cache
def vocabulary() -> tuple[np.ndarray, np.ndarray]:
    """Words, and up to which random number each is drawn."""
    random = np.random.default_rng(11)
    characters = random.permutation(np.arange(0x4E00, 0x4E00 + 4_000))
    words: list[str] = []
    for rank in range(WORDS):
        if rank % 15 == 14:
            words.append(" " + "".join(map(chr, random.integers(97, 123, random.integers(3, 9)))) + " ")
        else:
            length = 1 if rank < 100 else 3 if rank % 10 == 0 else 2
            words.append("".join(map(chr, random.choice(characters[: 400 + rank // 10], length))))
    weights = 1 / (np.arange(WORDS) + 10.0)
    return np.array(words, dtype=object), np.cumsum(weights / weights.sum())


def drawn(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    words, upto = vocabulary()
    return words[np.minimum(np.searchsorted(upto, random.random(shape)), WORDS - 1)]


def texts(count: int, seed: int, kind: str) -> list[str]:
    random = np.random.default_rng(seed)
    if kind == "short":
        lengths = random.integers(LONGEST // 2, LONGEST + 1, count)
        return ["".join(row[:length]).strip() for row, length in zip(drawn(random, (count, LONGEST)), lengths, strict=True)]
    found = drawn(random, (count, CHUNK))
    found[:, 11::12] = "，"
    return ["".join(row)[:CHUNK].strip() for row in found]


def batches(rows: int, kind: str):
    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        yield start, texts(count, start, kind), made(count, 1000 + start)


def queries(rows: int, kind: str):
    """The number of a record, a text and a vector that are near it."""
    random = np.random.default_rng(13)
    common, _ = vocabulary()
    for number in random.integers(0, rows, QUERIES + WARM).tolist():
        start = number - number % BATCH
        count = min(BATCH, rows - start)
        text, vector = texts(count, start, kind)[number - start], made(count, 1000 + start)[number - start]
        at = int(random.integers(0, max(1, len(text) - 12)))
        asked = "".join(random.choice(common[:50], 2)) + text[at : at + 12] + str(random.choice(common[:200]))
        near = vector + 0.5 * random.standard_normal(DIM, np.float32) / np.sqrt(DIM)
        yield number, asked, (near / np.linalg.norm(near)).astype(np.float32)


class Huiyi:
    """Collections on the local store, as `huiyi.open` gives them; durable batch by batch."""

    def __init__(self, folder: Path, filled: bool) -> None:
        from huiyi.collection import Collection
        from huiyi.stores.local import LocalStore
        from huiyi.stores.store import Facts

        self.store = LocalStore(folder)
        if not filled:
            self.store.create(Facts("made", "made", "", DIM, None, np.eye(8, DIM, dtype=np.float32)))
        self.collection = Collection("made", self.store, lambda: None)  # vectors are given, so no model is asked for

    def fill(self, start: int, texts: list[str], vectors: np.ndarray) -> None:
        from huiyi.stores.store import Record

        self.store.put([Record(str(start + i), text, {"n": start + i}) for i, text in enumerate(texts)], vectors)

    def settle(self) -> None:
        self.keyword("settle")  # the keywords of the last records
        while self.store.following.is_building:
            time.sleep(0.05)

    def hybrid(self, text: str, vector: np.ndarray) -> list[int]:
        return [int(hit.id) for hit in self.collection.search(text, K, vector=vector)]

    def keyword(self, text: str) -> list[int]:
        return [int(hit.id) for hit in self.collection.search(text, K, "keyword")]

    def vector(self, vector: np.ndarray) -> list[int]:
        return [int(hit.id) for hit in self.collection.search(vector, K, "semantic")]

    def close(self) -> None:
        self.collection.close()


class LanceDB:
    """IVF_HNSW_SQ and full text search over pairs of characters, fused by reciprocal rank."""

    def __init__(self, folder: Path, filled: bool) -> None:
        import lancedb

        self.db = lancedb.connect(str(folder))
        self.table = self.db.open_table("t") if filled else None

    def fill(self, start: int, texts: list[str], vectors: np.ndarray) -> None:
        import pyarrow as pa

        columns = {
            "id": pa.array([str(start + i) for i in range(len(texts))]),
            "text": pa.array(texts),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
        }
        if self.table is None:
            self.table = self.db.create_table("t", pa.table(columns))
        else:
            self.table.add(pa.table(columns))

    def settle(self) -> None:
        self.table.optimize()
        if self.table.count_rows() >= 10_000:
            self.table.create_index(metric="dot", index_type="IVF_HNSW_SQ")
        self.table.create_fts_index(
            "text", base_tokenizer="ngram", ngram_min_length=2, ngram_max_length=2, stem=False, remove_stop_words=False, ascii_folding=False
        )

    def hybrid(self, text: str, vector: np.ndarray) -> list[int]:
        return self._ids(self.table.search(query_type="hybrid").vector(vector).text(text))

    def keyword(self, text: str) -> list[int]:
        return self._ids(self.table.search(text, query_type="fts"))

    def vector(self, vector: np.ndarray) -> list[int]:
        return self._ids(self.table.search(vector).metric("dot"))

    def _ids(self, asked) -> list[int]:
        return [int(row["id"]) for row in asked.select(["id", "text"]).limit(K).to_list()]

    def close(self) -> None:
        pass


class MilvusLite:
    """AUTOINDEX and BM25, fused by reciprocal rank. Its analyzer for Chinese."""

    def __init__(self, folder: Path, filled: bool) -> None:
        from pymilvus import DataType, Function, FunctionType, MilvusClient

        self.client = MilvusClient(str(folder / "milvus.db"))
        if not filled:
            schema = self.client.create_schema(auto_id=False)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("text", DataType.VARCHAR, max_length=4000, enable_analyzer=True, analyzer_params={"tokenizer": "jieba"})
            schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
            schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["words"]))
            index = self.client.prepare_index_params()
            index.add_index("vector", index_type="AUTOINDEX", metric_type="IP")
            index.add_index("words", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
            self.client.create_collection("t", schema=schema, index_params=index)
        self.client.load_collection("t")

    def fill(self, start: int, texts: list[str], vectors: np.ndarray) -> None:
        rows = zip(range(start, start + len(texts)), texts, vectors, strict=True)
        self.client.insert("t", [{"id": i, "text": text, "vector": vector} for i, text, vector in rows])

    def settle(self) -> None:
        self.client.flush("t")
        self.client.load_collection("t")

    def hybrid(self, text: str, vector: np.ndarray) -> list[int]:
        from pymilvus import AnnSearchRequest, RRFRanker

        legs = [
            AnnSearchRequest([vector.tolist()], "vector", {"metric_type": "IP"}, limit=100),
            AnnSearchRequest([text], "words", {"metric_type": "BM25"}, limit=100),
        ]
        return self._ids(self.client.hybrid_search("t", legs, RRFRanker(60), limit=K, output_fields=["text"]))

    def keyword(self, text: str) -> list[int]:
        return self._ids(self.client.search("t", [text], anns_field="words", limit=K, output_fields=["text"]))

    def vector(self, vector: np.ndarray) -> list[int]:
        return self._ids(self.client.search("t", [vector.tolist()], anns_field="vector", limit=K, output_fields=["text"]))

    def _ids(self, found) -> list[int]:
        return [hit["id"] for hit in found[0]]

    def close(self) -> None:
        self.client.close()


STORES = {"huiyi": Huiyi, "lancedb": LanceDB, "milvus_lite": MilvusLite}


def measured(name: str, rows: int, kind: str, folder: Path) -> dict:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    store = STORES[name](folder, filled=False)
    filling = 0.0
    for start, some, vectors in batches(rows, kind):
        filling += timed(store.fill, start, some, vectors)[0]
        if start % 50_000 == 0:
            print(f"{name}, {kind}: {start:,} of {rows:,} records in {filling:.0f} s", file=sys.stderr, flush=True)
    settling, _ = timed(store.settle)
    store.close()
    del store
    store = STORES[name](folder, filled=True)
    asked = list(queries(rows, kind))
    result: dict[str, object] = {}
    for leg in ("hybrid", "keyword", "vector"):
        times, found = [], 0
        for at, (number, text, vector) in enumerate(asked):
            given = {"hybrid": (text, vector), "keyword": (text,), "vector": (vector,)}[leg]
            seconds, ids = timed(getattr(store, leg), *given)
            if at >= WARM:
                times.append(1000 * seconds)
                found += number in ids
        result |= {f"{leg} p50 ms": round(float(np.median(times)), 1), f"{leg} p95 ms": round(float(np.percentile(times, 95)), 1)}
        result[f"{leg} found %"] = round(100 * found / QUERIES, 1)
    result["fill s"], result["index s"] = round(filling), round(settling)
    result["bytes/record"] = round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / rows)
    result["RSS MB"] = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20
    store.close()
    shutil.rmtree(folder, ignore_errors=True)
    return result


if __name__ == "__main__":
    quiet = os.dup(1)
    os.dup2(2, 1)  # what libraries print
    outcome = measured(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    os.write(quiet, (json.dumps(outcome) + "\n").encode())
    os._exit(0)  # threads of libraries keep nobody waiting
