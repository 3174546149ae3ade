"""The local store beside plain FAISS, LanceDB and Milvus Lite: ingest, search, filters, recall, opening, size; vectors of 1,024 numbers.

    python benchmarks/bench_store.py [--rows 1000,100000,1000000] [--peers PYTHON] [--only huiyi,faiss] [--work FOLDER] [--again]

--peers: python of an environment with lancedb, pymilvus and milvus-lite; without it only huiyi and FAISS run. What was measured before in
the same --work is not measured again, so that sizes and stores can be run one after the other; --again does. A million rows take an hour
and a half, 12 GB of memory and 20 GB of disk. Expected before the first run, at 100,000: top 10 in 2 ms, filters seen before in 5 ms,
recall 0.98, 5,000 durable records/s with their keywords, 1,000 vectors/s into the graph with searches under 25 ms.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import HERE, RESULTS, write

NAMES = {
    "huiyi": "huiyi, local store",
    "faiss": "FAISS HNSW-SQ8, vectors alone",
    "faiss_flat": "FAISS flat, vectors alone",
    "lancedb": "LanceDB, IVF_HNSW_SQ",
    "milvus_lite": "Milvus Lite, AUTOINDEX",
}
OURS = ("huiyi", "faiss", "faiss_flat")
BUILDING = ("ingest/s", "first search ms", "missed at once", "built/s", "p95 while built ms")
COLUMNS = ("ingest/s", "index s", "p50 ms", "recall", "open s", "bytes/record", "peak MB")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rows", default="1000,100000")
    arguments.add_argument("--peers", type=Path)
    arguments.add_argument("--only", default=",".join(NAMES))
    arguments.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "huiyi-bench")
    arguments.add_argument("--again", action="store_true", help="measure what was measured before, too")
    options = arguments.parse_args()
    kept = options.work / "stores.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    for rows in map(int, options.rows.split(",")):
        for name in options.only.split(","):
            if f"{rows} {name}" in results and not options.again:
                print(f"{rows} {name}: measured before", file=sys.stderr)
                continue
            python = sys.executable if name in OURS else options.peers
            if python is None:
                print(f"{name}: left out, --peers names no environment", file=sys.stderr)
                continue
            results[f"{rows} {name}"] = run(python, name, rows, options.work / "stores" / name)
            print(rows, name, results[f"{rows} {name}"], file=sys.stderr)
            options.work.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(results))
    publish(results)


def run(python: object, name: str, rows: int, folder: Path) -> dict:
    command = [str(python), str(HERE / "peers" / "vector_stores.py"), name, str(rows), str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def publish(results: dict[str, dict]) -> None:
    ordered = sorted(results.items(), key=lambda item: (int(item[0].split()[0]), list(NAMES).index(item[0].split()[1])))
    named = [({"store": NAMES[key.split()[1]], "records": int(key.split()[0])}, found) for key, found in ordered]
    plain = [row | {column: found.get(column) for column in COLUMNS} for row, found in named]
    filtered = []
    for row, found in named:
        for share in ("50 %", "10 %", "1 %", "0.1 %"):
            facts = {"p50 ms": found[f"p50 {share} ms"], "recall": found[f"recall {share}"]}
            facts |= {"unseen ms": found[f"unseen {share} ms"], "unseen recall": found[f"unseen recall {share}"]}
            filtered.append(row | {"matching": share} | facts)
    building = [row | {column: found.get(column) for column in BUILDING} for row, found in named if "missed at once" in found]
    settings = {"numbers a vector": 1024, "k": 10, "queries": 100, "records a batch": 500}
    note = (
        "A batch of huiyi's is on disk when the call returns; ids, texts and metadata come with the hits. FAISS alone keeps vectors only. "
        "ingest/s of huiyi is with keywords, which no other has here."
    )
    write("store", "Stores of vectors", plain, settings, note)
    write(
        "store_filters",
        "Searches with a filter",
        filtered,
        settings,
        "recall: of the exact ten nearest of those that match. p50: of one filter for 100 queries; unseen: of 10 filters that are new.",
    )
    write(
        "store_building",
        "Writing with keywords, and searches while the graph is built behind",
        building,
        settings,
        "first search: right after a batch was acknowledged; missed at once: of the looks for what had just come, by vector and by words.",
    )
    print(f"wrote to {RESULTS}", file=sys.stderr)


if __name__ == "__main__":
    main()
