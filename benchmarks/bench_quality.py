"""What lower precision costs: all-MiniLM-L6-v2 on STS-B English against sentence-transformers, and the 0.6B shape with planted outliers.

    python benchmarks/bench_quality.py [--work FOLDER]

STS-B is read from HUIYI_TEST_DATA or ../shared/data (pairs/stsb_multi_test.tsv.gz). Expected before the first run: Spearman 82.0 in every
precision; least cosine 0.9999 (fp32), 0.999 (bf16), 0.99 (int8); planted channels at 100 times: int8 0.995 with the rotation.
"""

import argparse
import gzip
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from checkpoint import LAYERS, REPOSITORY, checkpoint
from measure import cosines, write

PLANTED = [5, 77, 400, 901]
FACTOR = 100
FROM_LAYERS = ("layers.0.", "layers.1.", "layers.2.")  # in trained models such channels arise in the first layers and stay


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "huiyi-bench")
    arguments.add_argument("--only", choices=("minilm", "outliers"))
    options = arguments.parse_args()
    if options.only != "outliers":
        write("minilm", "Precision on real weights: all-MiniLM-L6-v2, STS-B English test", minilm_rows(), {"pairs": 1379})
    if options.only == "minilm":
        return
    write(
        "outliers",
        f"Precision with four channels of the residual stream at {FACTOR} times from the first layers on, 0.6B shape",
        outlier_rows(checkpoint(options.work / "qwen3-0.6b-shape")),
        {"layers": LAYERS, "texts": 12},
        "Cosine to fp32 on the same weights. The second int8 row has the rotation of the residual stream taken out.",
    )


def minilm_rows() -> list[dict]:
    from scipy.stats import spearmanr
    from sentence_transformers import SentenceTransformer

    import huiyi
    from conftest import minilm_folder

    first, second, scores = stsb()
    folder = str(minilm_folder())
    theirs = SentenceTransformer(folder, device="cpu")
    exact = [theirs.encode(texts, show_progress_bar=False, normalize_embeddings=True) for texts in (first, second)]
    rows = [{"engine": "sentence-transformers fp32", "Spearman × 100": round(100 * spearmanr(cosines(*exact), scores)[0], 2)}]
    for precision in ("fp32", "bf16", "int8"):
        with huiyi.load(folder, precision=precision) as model:
            ours = [model.encode(texts) for texts in (first, second)]
        near = np.concatenate([cosines(a, b) for a, b in zip(ours, exact, strict=True)])
        rows.append(
            {
                "engine": f"huiyi {precision}",
                "Spearman × 100": round(100 * spearmanr(cosines(*ours), scores)[0], 2),
                "least cosine": round(float(near.min()), 5),
                "mean cosine": round(float(near.mean()), 5),
            }
        )
    return rows


def stsb() -> tuple[list[str], list[str], list[float]]:
    data = Path(os.environ.get("HUIYI_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    with gzip.open(data / "pairs" / "stsb_multi_test.tsv.gz", "rt", encoding="utf-8") as stream:
        columns = next(stream).rstrip("\n").split("\t")
        rows = [dict(zip(columns, line.rstrip("\n").split("\t"), strict=True)) for line in stream]
    rows = [row for row in rows if row["lang"] == "en"]
    return [row["sentence1"] for row in rows], [row["sentence2"] for row in rows], [float(row["score"]) for row in rows]


def outlier_rows(folder: Path) -> list[dict]:
    import dataclasses

    from huiyi.engines import qwen3
    from huiyi.engines.checkpoint import open_checkpoint
    from huiyi.engines.openvino import OpenVINOEngine

    plain = open_checkpoint(folder)
    planted = dataclasses.replace(plain, weights=Planted(plain.weights))
    random = np.random.default_rng(0)
    batch = [random.integers(300, 480, length).astype(np.int32) for length in (18, 30, 8, 45, 20, 100, 12, 16, 25, 60, 9, 40)]
    exact = OpenVINOEngine(planted, "fp32").forward(batch)
    rows = []

    def add(name: str, engine: OpenVINOEngine) -> None:
        near = cosines(engine.forward(batch), exact)
        rows.append({"engine": name, "least cosine": round(float(near.min()), 5), "mean cosine": round(float(near.mean()), 5)})
        print(rows[-1], file=sys.stderr)

    add("bf16", OpenVINOEngine(planted, "bf16"))
    add("int8", OpenVINOEngine(planted, "int8"))
    rotation, qwen3.orthogonal = qwen3.orthogonal, lambda size: np.eye(size, dtype=np.float32)
    try:
        add("int8 without the rotation", OpenVINOEngine(planted, "int8"))
    finally:
        qwen3.orthogonal = rotation
    return rows


class Planted(dict):
    """The weights with everything that writes to the planted channels made larger."""

    def __init__(self, weights) -> None:
        from huiyi.engines.graph import bf16
        from huiyi.engines.weights import Tensor

        super().__init__(weights)
        for name, tensor in weights.items():
            if name == "embed_tokens.weight":
                rows = Tensor(tensor.dtype, tensor.data[:500]).float32()
                rows[:, PLANTED] *= FACTOR
                self[name] = bf16(Tensor("F32", rows))
            elif name.startswith(FROM_LAYERS) and name.endswith(("o_proj.weight", "down_proj.weight")):
                matrix = np.array(tensor.float32())
                matrix[PLANTED] *= FACTOR
                self[name] = bf16(Tensor("F32", matrix))

    def release(self) -> None:
        """Nothing here is a mapped file of its own."""


if __name__ == "__main__":
    main()
