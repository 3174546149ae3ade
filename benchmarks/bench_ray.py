"""What Ray costs: short texts embedded by one process, and by `--ray local` on the same cores; and how much one driver can carry.

    python benchmarks/bench_ray.py [--rounds 3] [--texts 60000] [--models starter,0.6b] [--work FOLDER]

Expected before the first run: within a tenth of one process on the starter, which computes so fast that every millisecond shows, and no
difference on the 0.6B shape. Several workers of one thread are faster than one of several where a batch does not fill all threads.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from checkpoint import checkpoint, workload
from measure import write

from huiyi.encoding.machines import RayEncoder
from huiyi.model import Model
from huiyi.types import Embedded
from huiyi.workspace import embed_shards, load, load_on_machines

SHARDS = 8
CORES = os.cpu_count() or 1
WIDTH = 1024
TEXTS_OF_06B = 1024


class Idle:
    """In the place of a model: vectors of the right shape at once."""

    dim, max_tokens, space, precision = WIDTH, 512, "idle", "none"

    def embed(self, texts: list[str], *how: object, **options: object) -> Embedded:
        vectors = np.zeros((len(texts), WIDTH), np.float32)
        vectors[:, 0] = 1
        return Embedded(vectors, np.full(len(texts), 20))


def idle(threads: int) -> Idle:
    return Idle()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--texts", type=int, default=60_000, help="for the starter; the 0.6B shape gets a thousand")
    arguments.add_argument("--models", default="starter,0.6b")
    arguments.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "huiyi-bench")
    options = arguments.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    shape = checkpoint(options.work / "qwen3-0.6b-shape")
    rows = []
    for name in options.models.split(","):
        count = min(options.texts, TEXTS_OF_06B) if name == "0.6b" else options.texts
        source = shards(options.work / "ray-in", workload(shape, count, 18))
        rows += compared(name, str(shape) if name == "0.6b" else name, source, count, options)
    source = shards(options.work / "ray-in", workload(shape, options.texts, 18))
    output = options.work / "ray-out"
    carried = [rate(lambda: Model(RayEncoder(idle, "local", 1), "idle"), source, output) for _ in range(options.rounds)]
    rows.append(row("none (vectors of 1,024 numbers at once)", f"Ray, {CORES} workers", options.texts, carried))
    settings = {"rounds": options.rounds, "cores": CORES, "shards": SHARDS, "texts": "median 18 tokens"}
    note = "Loading and the start of Ray are not counted. The last line is what one driver reads, sends, receives and writes."
    write("ray", "One process and Ray on the same cores", rows, settings, note)


def compared(name: str, model: str, source: Path, count: int, options: argparse.Namespace) -> list[dict]:
    ways: dict[str, Callable[[], Model]] = {
        f"one process, {CORES} threads": partial(load, model, "auto", CORES),
        f"Ray, 1 worker of {CORES} threads": partial(load_on_machines, "local", model, "auto", CORES),
        f"Ray, {CORES} workers of 1 thread": partial(load_on_machines, "local", model, "auto", 1),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(options.rounds):
        for way, opened in ways.items():
            rates[way].append(rate(opened, source, options.work / "ray-out"))
        print(f"{name}: round {number + 1} done", file=sys.stderr)
    one = next(iter(rates.values()))
    return [row(name, way, count, found, one) for way, found in rates.items()]


def row(model: str, way: str, count: int, rates: list[float], one: list[float] | None = None) -> dict:
    share = median(here / there for here, there in zip(rates, one, strict=True)) if one else None
    return {"model": model, "way": way, "texts": count, "texts/s": round(median(rates)), "of one process": share and round(share, 2)}


def rate(opened: Callable[[], Model], source: Path, output: Path) -> float:
    """Texts a second, from the first file read to the last one written."""
    shutil.rmtree(output, ignore_errors=True)
    with opened() as model:
        until_all_work(model)
        began = time.perf_counter()
        made = embed_shards(source, output, lambda: model)
        return made.rows / (time.perf_counter() - began)


def until_all_work(model: Model) -> None:
    encoder = model.encoder
    if isinstance(encoder, RayEncoder):
        while len(encoder.machines) < CORES // (encoder.threads or CORES):
            time.sleep(0.1)


def shards(folder: Path, texts: list[str]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for shard in range(SHARDS):
        (folder / f"part-{shard:02}.txt").write_text("".join(f"{' '.join(text.split())}\n" for text in texts[shard::SHARDS]), "utf-8")
    return folder


if __name__ == "__main__":
    main()
