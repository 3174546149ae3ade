"""The peer on ONNX Runtime, made as a careful user would: exported with its own fused operators, int8 by `quantize_dynamic`.

    python benchmarks/onnx_peer.py [--checkpoint FOLDER --out FOLDER]

Exports (a tiny checkpoint unless told), quantizes, and prints parity with transformers and tokens per second by batch size.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def export(checkpoint_folder: Path, out: Path) -> None:
    """fp32: input_ids and attention_mask, int64 [batch, length], padded on the right -> vectors [batch, dim] at the last real token."""
    import onnx
    import torch
    from transformers import AutoModel
    from transformers.exporters.onnxruntime_fusions import fuse_for_onnxruntime

    class LastToken(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = AutoModel.from_pretrained(checkpoint_folder, dtype=torch.float32)

        def forward(self, input_ids, attention_mask):
            hidden = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
            last = (attention_mask.sum(1) - 1).view(-1, 1, 1).expand(-1, 1, hidden.shape[-1])
            return hidden.gather(1, last).squeeze(1)

    axes = dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC)
    with torch.no_grad():
        program = torch.onnx.export(
            LastToken().eval(),
            tuple(map(torch.from_numpy, _pad([np.arange(7), np.arange(4)]))),
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors"],
            dynamic_shapes=(axes, axes),
            dynamo=True,
            verbose=False,
        )
    fuse_for_onnxruntime(program.model, "cpu")  # q, k and v in one product, rotary embedding and norms each one operator
    out.parent.mkdir(parents=True, exist_ok=True)
    program.save(out, external_data=True)
    graph = onnx.load(out, load_external_data=False)
    del graph.graph.value_info[:]  # shapes from before the fusion, over which quantize_dynamic's shape inference falls
    onnx.save(graph, out)


def quantize(fp32: Path, out: Path) -> None:
    """Weights int8, a scale a column (not the embedding table: it costs no time); activations a scale a batch, so neighbours matter."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    out.parent.mkdir(parents=True, exist_ok=True)
    quantize_dynamic(
        fp32,
        out,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # shape inference stops at ONNX Runtime's own operators
    )


class OnnxEncoder:
    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def encode_ids(self, ids, batch_size: int) -> np.ndarray:
        """Vectors [n, dim] float32 in the order of `ids`, not normalized; batches are of texts of like length."""
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        parts = []
        for start in range(0, len(order), batch_size):
            input_ids, attention_mask = _pad([ids[i] for i in order[start : start + batch_size]])
            parts += self._session.run(["vectors"], {"input_ids": input_ids, "attention_mask": attention_mask})
        return np.concatenate(parts)[np.argsort(order)]


def _pad(ids) -> tuple[np.ndarray, np.ndarray]:
    padded = np.zeros((len(ids), max(map(len, ids))), np.int64)
    mask = np.zeros_like(padded)
    for row, text in enumerate(ids):
        padded[row, : len(text)], mask[row, : len(text)] = text, 1
    return padded, mask


def _reference(checkpoint_folder: Path, ids) -> np.ndarray:
    """transformers in fp32, a text at a time, so without padding."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(checkpoint_folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return np.stack([model(torch.tensor(text)[None]).last_hidden_state[0, -1].numpy() for text in ids])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, kind, default in (("--checkpoint", Path, None), ("--out", Path, None), ("--threads", int, 2)):
        arguments.add_argument(name, type=kind, default=default)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as space:
        folder, out = options.checkpoint, options.out or Path(space) / "onnx"
        if folder is None:
            sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
            from tiny import tiny_qwen3

            folder = tiny_qwen3(Path(space))
        report(folder, out, options.threads)


def report(folder: Path, out: Path, threads: int) -> None:
    files = {"fp32": out / "fp32" / "model.onnx", "int8": out / "int8" / "model.onnx"}
    steps = {"fp32": lambda: export(folder, files["fp32"]), "int8": lambda: quantize(files["fp32"], files["int8"])}
    for kind, file in files.items():
        if not file.exists():
            started = time.perf_counter()
            steps[kind]()
            print(f"{kind} made in {time.perf_counter() - started:.0f} s")
    random = np.random.default_rng(0)
    mixed = [random.integers(0, 300, length) for length in (18, 3, 1, 40, 7)]
    short = [random.integers(0, 300, 18) for _ in range(28)]
    expected = _reference(folder, mixed)
    for kind, file in files.items():
        encoder = OnnxEncoder(file, threads)
        for batch in (1, 2, 5):
            vectors = encoder.encode_ids(mixed, batch)
            cosines = (vectors * expected).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(expected, axis=1)
            print(f"{kind}, batch {batch}: least cosine to transformers {cosines.min():.6f}")
        for batch in (1, 4, 8, 32):
            encoder.encode_ids(short[:batch], batch)  # warm
            started = time.perf_counter()
            encoder.encode_ids(short, batch)
            print(f"{kind}, batch {batch}: {28 * 18 / (time.perf_counter() - started):.0f} tokens/s")


if __name__ == "__main__":
    main()
