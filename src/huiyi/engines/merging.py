"""An adapter added to its base for good: a checkpoint like any other, with the numbers and files of the base but for the changed matrices.

Knows safetensors and folders; needs neither torch nor a forward pass. What it writes appears whole or not at all.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from huiyi.engines.adapters import Adapter, LowRank
from huiyi.engines.checkpoint import Checkpoint
from huiyi.engines.families import plain_name
from huiyi.engines.graph import bf16
from huiyi.engines.weights import Tensor, Weights, open_file, weight_files

# Other forms of the same weights, which would still be the base's.
_OTHER_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".onnx_data", ".gguf", ".ot", ".tflite")


class MergedWeights(Weights):
    """The base's tensors, changed ones with the adapter in them, rounded to the base's type."""

    def __init__(self, base: Weights, linears: Mapping[str, LowRank]) -> None:
        super().__init__(base.entries)
        self._linears = linears

    def __getitem__(self, name: str) -> Tensor:
        tensor = super().__getitem__(name)
        return merged(tensor, self._linears[name]) if name in self._linears else tensor


def merged(tensor: Tensor, low: LowRank) -> Tensor:
    """tensor + b · a, in the tensor's type, nearest and ties to even."""
    total = Tensor("F32", np.asarray(tensor.float32() + low.b @ low.a, np.float32))
    if tensor.dtype == "BF16":
        return bf16(total)
    return Tensor(tensor.dtype, total.data.astype(tensor.data.dtype))


def merged_checkpoint(checkpoint: Checkpoint, adapter: Adapter) -> Checkpoint:
    """The base with the adapter in its weights, on no disk."""
    weights = MergedWeights(checkpoint.weights, adapter.linears)
    return replace(checkpoint, weights=weights, digest=f"{checkpoint.digest} {adapter.digest}")


def write_merged(folder: Path, checkpoint: Checkpoint, adapter: Adapter, out: Path, check: Callable[[Path], object]) -> None:
    """`folder`, in which `checkpoint` lies, as a new folder `out` with the adapter in the weights. `out` must not be there.

    check: called with the finished folder before it gets its name; what it raises leaves nothing behind.
    """
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        for source in sorted(folder.rglob("*")):
            target = part / source.relative_to(folder)
            if source.is_dir() and not _hidden(source.relative_to(folder)):
                target.mkdir(parents=True, exist_ok=True)
            elif source.is_file() and not source.name.endswith(_OTHER_WEIGHTS) and not _hidden(source.relative_to(folder)):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        root = part / checkpoint.path.relative_to(folder)
        for file in weight_files(checkpoint.path):
            _rewrite(file, root / file.name, adapter, partial(plain_name, checkpoint.family))
        check(part)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _hidden(path: Path) -> bool:
    return any(name.startswith(".") for name in path.parts)


def _rewrite(source: Path, target: Path, adapter: Adapter, rename: Callable[[str], str]) -> None:
    """The same tensors in the same order and places; only the numbers of changed ones are others."""
    weights = open_file(source)
    with source.open("rb") as original, target.open("wb") as stream:
        begin = min(entry.begin for entry in weights.entries.values())
        stream.write(original.read(begin))
        for name, entry in sorted(weights.entries.items(), key=lambda item: item[1].begin):
            low = adapter.linears.get(rename(name))
            if low is None:
                original.seek(entry.begin)
                _copy(original, stream, entry.size_bytes)
            else:
                stream.write(merged(weights[name], low).data.tobytes())


def _copy(original: BinaryIO, stream: BinaryIO, size: int) -> None:
    while size:
        piece = original.read(min(size, 1 << 22))
        stream.write(piece)
        size -= len(piece)


def note_merge(card: Path, base: str, adapter: Path, version: str) -> None:
    """A paragraph at the end of the model card, which keeps the base's licence at its head."""
    text = card.read_text("utf-8", errors="replace") if card.is_file() else ""
    said = json.dumps(adapter.name, ensure_ascii=False)
    card.write_text(
        f"{text.rstrip()}\n\n## Merged\n\n{base} with the LoRA adapter {said} in its weights, made by huiyi {version}.\n", "utf-8"
    )
