"""From nothing to the first vector, memory at rest and at work, and one text of 8,000 tokens beside short ones, on the 0.6B shape.

    python benchmarks/bench_start.py [--work FOLDER]

Expected before the first run: first vector in 3 s (bf16), 12 s (int8, unprepared), 2 s (int8, prepared); 8,000 tokens in 30 to 45 s
on a CPU whose bf16 matrix rate is 480 tokens/s (half of the work is attention), short texts beside them in 1 to 2 s.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from checkpoint import checkpoint, workload
from measure import peak_mb, rss_mb, write

THREADS = 2


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "huiyi-bench")
    arguments.add_argument("--one", help="internal: PRECISION of a run in this process")
    options = arguments.parse_args()
    folder = checkpoint(options.work / "qwen3-0.6b-shape")
    if options.one:
        print(json.dumps(one(folder, options.one)))
        return
    rows = []
    for precision in ("bf16", "int8", "fp32"):
        shutil.rmtree(options.work / "home", ignore_errors=True)
        for state in ("unprepared", "prepared"):
            rows.append({"precision": precision, "weights": state} | child(options.work, precision))
            print(rows[-1], file=sys.stderr)
    long_rows = [{"precision": precision} | long_text(folder, precision) for precision in ("bf16", "int8")]
    write("start", "Start and memory on the 0.6B shape", rows, {"threads": THREADS})
    write(
        "long_text",
        "One text of 8,000 tokens beside short ones, 0.6B shape",
        long_rows,
        {"threads": THREADS, "short text": "20 tokens, every 2 s"},
    )


def child(work: Path, precision: str) -> dict:
    import os

    command = [sys.executable, __file__, "--work", str(work), "--one", precision]
    environment = os.environ | {"HUIYI_HOME": str(work / "home")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def one(folder: Path, precision: str) -> dict:
    short, long = workload(folder, 64, 18), workload(folder, 6, 180)
    started = time.perf_counter()
    import huiyi

    model = huiyi.load(str(folder), precision=precision, threads=THREADS)
    model.encode(["one text"])
    first_s = time.perf_counter() - started
    at_rest, peak = rss_mb(), peak_mb()
    for _ in range(2):
        model.encode(short)
        model.encode(long)
    return {"first vector, s": round(first_s, 1), "MB at rest": at_rest, "MB at work": rss_mb(), "MB peak of start": peak}


def long_text(folder: Path, precision: str) -> dict:
    import huiyi

    model = huiyi.load(str(folder), precision=precision, threads=THREADS)
    long = np.random.default_rng(0).integers(300, 480, 8_000).astype(np.int32)
    short = workload(folder, 1, 20, seed=3)[0]
    model.encode([short])
    answer: dict = {}

    def work() -> None:
        started = time.perf_counter()
        answer["tokens"] = int(model.encoder.embed_ids([long]).tokens[0])
        answer["seconds"] = time.perf_counter() - started

    work()
    alone_s, tokens = answer["seconds"], answer["tokens"]
    thread = threading.Thread(target=work)
    thread.start()
    waits = []
    while thread.is_alive():
        started = time.perf_counter()
        model.encode([short])
        waits.append(time.perf_counter() - started)
        time.sleep(max(0.0, 2 - waits[-1]))
    thread.join()
    return {
        "tokens": tokens,
        "alone, s": round(alone_s, 1),
        "beside short texts, s": round(answer["seconds"], 1),
        "short texts": len(waits),
        "short median, s": round(float(np.median(waits)), 2),
        "short p95, s": round(float(np.percentile(waits, 95)), 2),
        "MB resident": rss_mb(),
    }


if __name__ == "__main__":
    main()
