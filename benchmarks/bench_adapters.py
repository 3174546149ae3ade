"""What a LoRA adapter costs beside its base: time and memory on the exact 0.6B shape, with random weights and random adapters.

    python benchmarks/bench_adapters.py [--rounds 3] [--work FOLDER]

Time is processor time of one process, in turns with and without the adapter. Expected before the first run: the article's adapter (q, k, v,
rank 8) 4 % slower, all seven layers at rank 16 8 % slower, no more memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

import measure
from checkpoint import checkpoint

THREADS = 2
QKV = ("q_proj", "k_proj", "v_proj")
CASES = {"q, k, v, rank 8": (8, QKV), "all seven, rank 16": (16, ("_proj",)), "all seven, rank 64": (64, ("_proj",))}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "huiyi-bench")
    arguments.add_argument("--one", nargs=2, metavar=("PRECISION", "CASE"), help="in a process of its own")
    options = arguments.parse_args()
    folder = checkpoint(options.work / "qwen3-0.6b-shape")
    if options.one:
        print(json.dumps(one(folder, options.work / "home", *options.one, options.rounds)))
        return
    rows = []
    for precision in ("bf16", "int8"):
        for case in CASES:
            command = [sys.executable, __file__, "--rounds", str(options.rounds), "--work", str(options.work), "--one", precision, case]
            rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]))
            print(rows[-1], file=sys.stderr)
    measure.write(
        "adapters",
        "Adapters beside their base, 0.6B shape",
        rows,
        {"threads": THREADS, "rounds": options.rounds, "texts": "25 of median 18 tokens a batch"},
    )


def one(folder: Path, home: Path, precision: str, case: str, rounds: int) -> dict:
    from huiyi.engines.adapters import Adapter, LowRank
    from huiyi.engines.checkpoint import open_checkpoint
    from huiyi.engines.openvino import OpenVINOEngine

    base, random = open_checkpoint(folder), np.random.default_rng(0)
    rank, layers = CASES[case]
    linears = {
        name: LowRank(random.standard_normal((rank, shape[1]), np.float32) / 32, random.standard_normal((shape[0], rank), np.float32) / 64)
        for name, shape in base.config.shapes().items()
        if len(shape) == 2 and any(layer in name for layer in layers)
    }
    engine = OpenVINOEngine(base, precision, THREADS, home / "cache" / "weights")
    lengths = np.maximum(3, random.lognormal(np.log(18), 0.5, (2, 25)).astype(int))
    batches = [[random.integers(300, 500, length).astype(np.int32) for length in row] for row in lengths]
    seconds, resident = {True: [], False: []}, {True: 0, False: 0}
    for _ in range(rounds):
        for with_it in (False, True):
            adapter = engine.adapt(Adapter(folder, linears, None, "")) if with_it else None
            engine.forward(batches[0], adapter)  # compiles the graphs anew
            for batch in batches:
                began = time.process_time()
                engine.forward(batch, adapter)
                seconds[with_it].append(time.process_time() - began)
            resident[with_it] = resident[with_it] or measure.rss_mb()
            del adapter
    slower = median(a / b for a, b in zip(seconds[True], seconds[False], strict=True))
    return {
        "adapter": f"{precision}, {case}",
        "time with it / without": round(slower, 3),
        "least time / least time": round(min(seconds[True]) / min(seconds[False]), 3),
        "MB without": resident[False],
        "MB with": resident[True],
    }


if __name__ == "__main__":
    main()
