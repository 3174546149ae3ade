"""Everyone who takes part: each function loads one way to encode and returns `run(texts) -> vectors [n, dim]`."""

from pathlib import Path

import numpy as np
from torch_peers import huiyi as torch_huiyi
from torch_peers import matrix_rate as torch_matrix_rate
from torch_peers import packed as torch_packed
from torch_peers import sentence_transformers as torch_sentence_transformers
from torch_peers import transformers as torch_transformers

__all__ = ["torch_huiyi", "torch_matrix_rate", "torch_packed", "torch_sentence_transformers", "torch_transformers"]


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
    """torch's (oneDNN's) product; ONNX Runtime's comes to the same rate, but its threads spin while they wait and slow down who is next."""
    import torch

    torch.set_num_threads(threads)
    outer, inner = shape
    x = torch.randint(-127, 127, (512, inner), dtype=torch.int8)
    weight = torch.randint(-127, 127, (outer, inner), dtype=torch.int8).t()
    return lambda: torch._int_mm(x, weight)
