"""Tokens per second on the exact 0.6B shape: huiyi against sentence-transformers and ONNX Runtime, beside the machine's own matrix rate.

    python benchmarks/bench_encode.py [--rounds 3] [--work FOLDER]

Expected before the first run: bf16 at 85 to 95 % of the matrix rate, 1.4 times sentence-transformers on short texts; int8 at 75 to 80 %.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

import measure
from checkpoint import LINEAR_WEIGHTS, checkpoint, workload

THREADS = 2
ST, ONNX = "sentence-transformers", "ONNX Runtime"
REFERENCE = f"{ST} fp32"
BATCHES = {f"{ST} bf16": (1, 2, 4, 8, 32), f"{ONNX} int8": (1, 4, 8, 32), f"{ONNX} fp32": (1, 8), REFERENCE: (1,)}
ONCE = (REFERENCE, f"{ONNX} fp32", "huiyi fp32")  # written down, not raced
LIMITS = {"bf16": "bfloat16", "int8": "int8"}
MATRIX_WEIGHTS = 16 * (4096 * 1024 + 1024 * 2048 + 6144 * 1024 + 1024 * 3072)  # of one `matrix_rate` run of 512 tokens


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "huiyi-bench")
    options = arguments.parse_args()
    race = Race(checkpoint(options.work / "qwen3-0.6b-shape"), options.work)
    for name in [*ONCE, *race.names]:
        race.choose_batch(name)
    for name in ONCE:
        race.run(name)
        race.leave(name)
    for _ in range(options.rounds):
        race.measure_limits()
        for name in race.names:
            race.run(name)
    settings = {"threads": THREADS, "rounds": options.rounds} | {
        f"{load} texts": f"{len(texts)} of {race.tokens[load]:,} tokens" for load, texts in race.loads.items()
    }
    measure.write("encode", "Speed on the 0.6B shape", race.rows(), settings, race.note())


class Race:
    """Everyone's process, and what was measured: seconds by (name, load), a list of rounds each."""

    def __init__(self, folder: Path, work: Path) -> None:
        self.names = ["huiyi bf16", f"{ST} bf16", "huiyi int8", f"{ONNX} int8"]
        self.loads = {"short": workload(folder, 256, 18), "long": workload(folder, 24, 180)}
        self.tokens = {load: count_tokens(folder, texts) for load, texts in self.loads.items()}
        self.seconds: dict[tuple[str, str], list[float]] = {}
        self.vectors: dict[tuple[str, str], np.ndarray] = {}
        self.memory: dict[str, int] = {}
        self.limits: dict[str, list[float]] = {kind: [] for kind in LIMITS}
        self.batch: dict[tuple[str, str], dict[str, int]] = {}
        common = {"folder": str(folder), "threads": THREADS}
        files = onnx_files(work, folder)
        self._start = {
            **{f"huiyi {p}": ("huiyi", {"precision": p, "home": str(work / "home")} | common) for p in ("bf16", "int8", "fp32")},
            f"{ST} bf16": ("sentence_transformers", {"dtype": "bfloat16"} | common),
            REFERENCE: ("sentence_transformers", {"dtype": "float32"} | common),
            **{f"{ONNX} {kind}": ("onnx", {"file": str(file)} | common) for kind, file in files.items()},
            **{f"limit {kind}": ("matrix_rate", {"kind": dtype, "threads": THREADS}) for kind, dtype in LIMITS.items()},
        }
        self._running: dict[str, measure.Competitor] = {}

    def competitor(self, name: str) -> measure.Competitor:
        if name not in self._running:
            competitor, how = self._start[name]
            self._running[name] = measure.Competitor(competitor, **how)
        return self._running[name]

    def leave(self, name: str) -> None:
        self._running.pop(name).close()

    def choose_batch(self, name: str) -> None:
        """The fastest batch size on a quarter of the texts; huiyi has none to choose."""
        for load, texts in self.loads.items():
            part, sizes = texts[: len(texts) // 4], BATCHES.get(name, ())
            took = {size: 0.0 if len(sizes) == 1 else self.competitor(name).run(part, batch_size=size)["seconds"] for size in sizes}
            self.batch[name, load] = {"batch_size": min(took, key=took.get)} if took else {}
            if took:
                print(name, load, {size: round(seconds, 1) for size, seconds in took.items()}, file=sys.stderr)
        if not BATCHES.get(name):
            self.competitor(name).run(self.loads["short"][:32])

    def run(self, name: str) -> None:
        for load, texts in self.loads.items():
            with tempfile.TemporaryDirectory() as space:
                answer = self.competitor(name).run(texts, f"{space}/v.npy", **self.batch[name, load])
                self.vectors[name, load] = np.load(f"{space}/v.npy")
            self.seconds.setdefault((name, load), []).append(answer["seconds"])
            self.memory[name] = max(self.memory.get(name, 0), answer["rss_mb"])
        print(name, [f"{self.rate(name, load, -1):.0f} tokens/s" for load in self.loads], self.memory[name], "MB", file=sys.stderr)

    def measure_limits(self) -> None:
        for kind, rounds in self.limits.items():
            best = min(self.competitor(f"limit {kind}").run([])["seconds"] for _ in range(5))
            rounds.append(512 * MATRIX_WEIGHTS / best / LINEAR_WEIGHTS)
            print("matrix rate", kind, round(rounds[-1]), "tokens/s", file=sys.stderr)

    def rate(self, name: str, load: str, round_: int | None = None) -> float:
        seconds = self.seconds[name, load]
        return self.tokens[load] / (median(seconds) if round_ is None else seconds[round_])

    def rows(self) -> list[dict]:
        rows = []
        for name in [*self.names, *ONCE]:
            sizes = [str(self.batch[name, load].get("batch_size", "")) for load in self.loads]
            row: dict[str, object] = {"engine": name + (f", best batch ({', '.join(sizes)})" if sizes[0] else "")}
            row |= {f"{load}, tokens/s": round(self.rate(name, load)) for load in self.loads}
            row |= {f"{load}, share of limit": self.share(name, load) for load in self.loads}
            exact = [measure.cosines(self.vectors[name, load], self.vectors[REFERENCE, load]).min() for load in self.loads]
            rows.append(row | {"least cosine to fp32": round(float(min(exact)), 5), "MB resident": self.memory[name]})
        for kind, rounds in self.limits.items():
            rows.append({"engine": f"limit: matrix rate {kind}"} | {f"{load}, tokens/s": round(median(rounds)) for load in self.loads})
        return rows

    def share(self, name: str, load: str) -> str | None:
        """Of the rate at which this machine multiplies the model's matrices, round by round."""
        limits = self.limits.get(name.split()[-1])
        if name in ONCE or limits is None:
            return None
        return f"{median(self.rate(name, load, i) / limit for i, limit in enumerate(limits)):.0%}"

    def note(self) -> str:
        pairs = [("huiyi bf16", f"{ST} bf16"), ("huiyi int8", f"{ONNX} int8"), ("huiyi int8", "huiyi bf16")]
        return " ".join(
            f"{ours} is {measure.ratio(self.seconds[theirs, load], self.seconds[ours, load])} × {theirs} on {load} texts."
            for ours, theirs in pairs
            for load in self.loads
        )


def onnx_files(work: Path, folder: Path) -> dict[str, Path]:
    import onnx_peer

    files = {"fp32": work / "onnx" / "fp32" / "model.onnx", "int8": work / "onnx" / "int8" / "model.onnx"}
    if not files["fp32"].exists():
        onnx_peer.export(folder, files["fp32"])
    if not files["int8"].exists():
        onnx_peer.quantize(files["fp32"], files["int8"])
    return files


def count_tokens(folder: Path, texts: list[str]) -> int:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    return sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))


if __name__ == "__main__":
    main()
