"""The torch engine on the exact 0.6B shape: packed batches and whole calls, beside its peers and the device's own matrix rate.

    python benchmarks/bench_torch.py [--device cuda|cpu] [--rounds 3] [--texts N] [--work FOLDER]

On a GPU where there is one; without, on the CPU with few texts, which says that it runs and little more. Everyone is alone on the device:
a process each, one after the other, and the device's matrix rate is measured before and after each of them.
Expected before the first run on a GPU: 60 % of the matrix rate on packed batches, three times sentence-transformers on short texts.
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

MEDIANS = {"short": 18, "long": 180}  # tokens, as in bench_encode
TEXTS = {"cuda": {"short": 65_536, "long": 8_192}, "cpu": {"short": 128, "long": 12}}
REFERENCE = "transformers fp32"
BATCHES = {
    "cuda": {"sentence-transformers bf16": (32, 128, 512, 2048), "transformers bf16": (128, 512, 2048), REFERENCE: (64,)},
    "cpu": {"sentence-transformers bf16": (1, 8, 32), "transformers bf16": (1, 8), REFERENCE: (1,)},
}
PACKED = ("huiyi, packed batches", "huiyi, packed batches, compiled")


def main() -> None:
    import torch

    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--texts", type=int, help="short texts; an eighth as many long ones")
    arguments.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "huiyi-bench")
    options = arguments.parse_args()
    folder = checkpoint(options.work / "qwen3-0.6b-shape")
    counts = {"short": options.texts, "long": max(1, options.texts // 8)} if options.texts else TEXTS[options.device]
    bench = Bench(folder, options.device, counts)
    for name in bench.starts:
        bench.take(name, options.rounds)
        print(name, bench.rates[name], bench.memory[name], "MB", file=sys.stderr)
    settings = {"device": bench.hardware, "rounds": options.rounds} | {
        f"{load} texts": f"{len(texts):,} of {bench.tokens[load]:,} tokens" for load, texts in bench.loads.items()
    }
    note = "Vectors of random weights: speed and rounding alone. Peak memory is the device's as torch counts it, on a CPU the process's."
    measure.write("torch", f"The torch engine, {options.device}", bench.rows(), settings, note)


class Bench:
    """What was measured: tokens/s and share of the matrix rate by name and load, medians over rounds."""

    def __init__(self, folder: Path, device: str, counts: dict[str, int]) -> None:
        self.loads = {load: workload(folder, counts[load], middle) for load, middle in MEDIANS.items()}
        self.tokens = {load: count_tokens(folder, texts) for load, texts in self.loads.items()}
        of_huiyi = {"folder": str(folder), "device": device}
        plain = {"folder": str(folder), "device": device}
        self.starts = {
            PACKED[0]: ("torch_packed", of_huiyi | {"compiled": False}),
            PACKED[1]: ("torch_packed", of_huiyi | {"compiled": True}),
            "huiyi, encode": ("torch_huiyi", of_huiyi),
            "sentence-transformers bf16": ("torch_sentence_transformers", plain),
            "transformers bf16": ("torch_transformers", plain | {"dtype": "bfloat16"}),
            REFERENCE: ("torch_transformers", plain | {"dtype": "float32"}),
        }
        self._batches = BATCHES[device]
        self.limit = {"device": device}
        self.limits: list[float] = []
        self.rates: dict[str, dict[str, float]] = {}
        self.shares: dict[str, dict[str, float]] = {}
        self.batch: dict[str, dict[str, int]] = {}
        self.memory: dict[str, int] = {}
        self.vectors: dict[tuple[str, str], np.ndarray] = {}
        self.hardware = ""

    def take(self, name: str, rounds: int) -> None:
        """A round of this one, with the matrix rate before and after: the device is as warm for the one as for the other."""
        before = self.matrix_rate()
        kind, how = self.starts[name]
        competitor = measure.Competitor(kind, **how)
        try:
            best = {load: self._best_batch(competitor, name, texts) for load, texts in self.loads.items()}
            seconds: dict[str, list[float]] = {load: [] for load in self.loads}
            for _ in range(1 if name == REFERENCE else rounds):
                for load, texts in self.loads.items():
                    with tempfile.TemporaryDirectory() as space:
                        answer = competitor.run(texts, f"{space}/v.npy", **best[load])
                        self.vectors[name, load] = np.load(f"{space}/v.npy")
                    seconds[load].append(answer["seconds"])
                    self.memory[name] = max(self.memory.get(name, 0), answer.get("device_mb") or answer["peak_mb"])
                    self.hardware = answer.get("device") or self.hardware
        finally:
            competitor.close()
        self.batch[name] = {load: how["batch_size"] for load, how in best.items() if how}
        limit = (before + self.matrix_rate()) / 2
        self.rates[name] = {load: self.tokens[load] / median(seconds[load]) for load in self.loads}
        self.shares[name] = {load: rate / limit for load, rate in self.rates[name].items()}

    def _best_batch(self, competitor: measure.Competitor, name: str, texts: list[str]) -> dict[str, int]:
        """The fastest size on an eighth of the texts, tried after a call that warms up; huiyi has none to choose."""
        sizes, part = self._batches.get(name, ()), texts[: max(8, len(texts) // 8)]
        competitor.run(part, **({"batch_size": sizes[0]} if sizes else {}))
        if len(sizes) < 2:
            return {"batch_size": sizes[0]} if sizes else {}
        took = {size: competitor.run(part, batch_size=size)["seconds"] for size in sizes}
        return {"batch_size": min(took, key=took.get)}

    def matrix_rate(self) -> float:
        """Tokens/s of the model's own matrices in bf16 and nothing else, best of five."""
        competitor = measure.Competitor("torch_matrix_rate", **self.limit)
        try:
            best = min(competitor.run([])["multiplied_s_per_token"] for _ in range(5))
        finally:
            competitor.close()
        self.limits.append(1 / best)
        return 1 / best

    def rows(self) -> list[dict]:
        rows = []
        for name, rates in self.rates.items():
            sizes = ", ".join(str(size) for size in self.batch[name].values())
            row: dict[str, object] = {"engine": name + (f", best batch ({sizes})" if sizes else "")}
            row |= {f"{load}, tokens/s": round(rate) for load, rate in rates.items()}
            row |= {f"{load}, share of limit": None if name == REFERENCE else f"{share:.0%}" for load, share in self.shares[name].items()}
            exact = [measure.cosines(self.vectors[name, load], self.vectors[REFERENCE, load]).min() for load in self.loads]
            rows.append(row | {"least cosine to fp32": round(float(min(exact)), 5), "peak MB": self.memory[name]})
        limit = median(self.limits)
        teraflops = 2 * LINEAR_WEIGHTS * limit / 1e12
        name = f"limit: matrix rate bf16, {teraflops:.3g} TFLOP/s"
        return [*rows, {"engine": name} | {f"{load}, tokens/s": round(limit) for load in self.loads}]


def count_tokens(folder: Path, texts: list[str]) -> int:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    return sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))


if __name__ == "__main__":
    main()
