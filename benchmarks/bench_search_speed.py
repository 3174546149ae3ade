"""How fast a hybrid search is, its vector given: huiyi's local store beside LanceDB and Milvus Lite, short texts and chunks.

    python benchmarks/bench_search_speed.py [--rows 100000,1000000] [--kinds short,chunks] [--only huiyi] [--peers PYTHON] [--again]

--peers: python of an environment with lancedb, pymilvus and milvus-lite[chinese] (the extras `bench` and `milvus`), default this one. What
was measured is kept in --work and not measured again, so a run that was stopped goes on; --again forgets it. Expected before the
first run: hybrid p50 25 ms at 100,000 records and 60 ms at a million.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import HERE, write

NAMES = {
    "huiyi": "huiyi, local store",
    "lancedb": "LanceDB, IVF_HNSW_SQ and pairs of characters",
    "milvus_lite": "Milvus Lite, AUTOINDEX and BM25",
}
KINDS = {"short": "short", "chunks": "300 characters"}
COLUMNS = ("hybrid p50 ms", "hybrid p95 ms", "keyword p50 ms", "keyword p95 ms", "vector p50 ms", "hybrid found %", "fill s", "index s",
           "bytes/record", "RSS MB")  # fmt: skip
NOTE = (
    "Top 10 with ids and texts, one query at a time, after the store was opened anew. Found: hybrid searches that have the record that the "
    "query was made of. Fill: writing the records, for huiyi durably batch by batch; index: from then on until all is indexed."
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rows", default="100000")
    arguments.add_argument("--kinds", default=",".join(KINDS))
    arguments.add_argument("--only", default=",".join(NAMES))
    arguments.add_argument("--peers", type=Path, default=Path(sys.executable))
    arguments.add_argument("--again", action="store_true")
    arguments.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "huiyi-bench")
    options = arguments.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    kept = options.work / "search_speed.json"
    results: dict[str, dict] = json.loads(kept.read_text()) if kept.exists() and not options.again else {}
    for rows in map(int, options.rows.split(",")):
        for kind in options.kinds.split(","):
            for name in options.only.split(","):
                key = f"{rows} {kind} {name}"
                python = Path(sys.executable) if name == "huiyi" else options.peers
                if key not in results and (found := run(python, name, rows, kind, options.work)):
                    results[key] = found
                    kept.write_text(json.dumps(results))
                print(key, results.get(key, "failed"), file=sys.stderr, flush=True)
    publish(results)


def run(python: Path, name: str, rows: int, kind: str, work: Path) -> dict | None:
    """None where it failed; standard error says why."""
    command = [str(python), str(HERE / "peers" / "hybrid_stores.py"), name, str(rows), kind, str(work / "hybrid" / name)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, env=os.environ | {"RUST_LOG": "error", "LANCE_LOG": "error"}
    )
    return None if done.returncode else json.loads(done.stdout.splitlines()[-1])


def publish(results: dict[str, dict]) -> None:
    def place(key: str) -> tuple[int, int, int]:
        rows, kind, name = key.split()
        return int(rows), list(KINDS).index(kind), list(NAMES).index(name)

    table = []
    for key in sorted(results, key=place):
        rows, kind, name = key.split()
        named = {"store": NAMES[name], "records": int(rows), "texts": KINDS[kind]}
        table.append(named | {column: results[key].get(column) for column in COLUMNS})
    write("search_speed", "Hybrid search, vector given", table, {"numbers a vector": 1024, "k": 10, "queries": 200}, NOTE)


if __name__ == "__main__":
    main()
