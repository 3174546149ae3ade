"""Everyone who takes part: each function loads one way to encode and returns `run(texts) -> vectors [n, dim]`."""

from pathlib import Path

import numpy as np


def huiyi(folder: str, precision: str, threads: int, home: str | None = None):
    import os

    if home:
        os.environ["HUIYI_HOME"] = home
    from huiyi import workspace

    model = workspace.load(folder, precision=precision, threads=threads)
    return model.encode


def sentence_transformers(folder: str, dtype: str, threads: int):
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": getattr(torch, dtype)})

    def run(texts, batch_size):
        return model.encode(texts, batch_size=batch_size, show_progress_bar=False, convert_to_tensor=True).float().numpy()

    return run


def onnx(folder: str, file: str, threads: int):
    import tokenizers
    from onnx_peer import OnnxEncoder

    tokenizer = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    encoder = OnnxEncoder(Path(file), threads)

    def run(texts, batch_size):
        return encoder.encode_ids([np.array(encoding.ids) for encoding in tokenizer.encode_batch(texts)], batch_size)

    return run


def matrix_rate(kind: str, threads: int):
    """The machine's limit: the model's own matrices, 512 tokens at a time, nothing else. Texts are ignored; one run is 16 layers."""
    shapes = [(4096, 1024), (1024, 2048), (6144, 1024), (1024, 3072)]
    if kind == "int8":
        products = [_int8_product(shape, threads) for shape in shapes]
    else:
        import torch

        torch.set_num_threads(threads)
        dtype = getattr(torch, kind)
        pairs = [(torch.randn(512, inner).to(dtype), torch.randn(outer, inner).to(dtype)) for outer, inner in shapes]
        products = [lambda x=x, w=w: torch.nn.functional.linear(x, w) for x, w in pairs]

    def run(texts):
        for _ in range(16):
            for product in products:
                product()
        return np.zeros((1, 1), np.float32)

    return run


def _int8_product(shape: tuple[int, int], threads: int):
    """torch's int8 product or ONNX Runtime's, whichever is faster here."""
    import time

    import onnxruntime
    import torch
    from onnx import TensorProto, helper, numpy_helper

    torch.set_num_threads(threads)
    outer, inner = shape
    random = np.random.default_rng(0)
    weight = random.integers(-127, 127, (inner, outer)).astype(np.int8)
    x = random.integers(-127, 127, (512, inner)).astype(np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [512, inner])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [512, outer])],
        [numpy_helper.from_array(weight, "w")],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    torch_x, torch_w = torch.tensor(x), torch.tensor(np.ascontiguousarray(weight.T)).t()
    ways = [lambda: session.run(None, {"x": x.view(np.uint8)}), lambda: torch._int_mm(torch_x, torch_w)]

    def seconds(way) -> float:
        way()
        started = time.perf_counter()
        for _ in range(5):
            way()
        return time.perf_counter() - started

    return min(ways, key=seconds)
