"""The engines that the contract tests run over, each in every way that it can run: `KINDS`, with what the tests turn of their inside."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from huiyi.engines import openvino
from huiyi.engines import torch as torch_engine
from huiyi.engines.checkpoint import Checkpoint

THREADS = 2
HAS_BF16 = ("bf16",) if openvino.resolve_precision("auto") == "bf16" else ()


@dataclass(frozen=True)
class EngineKind:
    """start: an engine for a checkpoint and a precision. module: where its bounds for long texts are.

    precisions: beside fp32, as far as this CPU has them.
    """

    start: Callable[..., Any]
    module: ModuleType
    precisions: tuple[str, ...]
    one_graph_flop: float | None = None

    @contextmanager
    def at_work(self) -> Iterator["EngineKind"]:
        """While this is open OpenVINO runs a model of any size in the one way, as one graph or as many."""
        before = openvino.ONE_GRAPH_FLOP
        openvino.ONE_GRAPH_FLOP = before if self.one_graph_flop is None else self.one_graph_flop
        yield self
        openvino.ONE_GRAPH_FLOP = before


def _openvino(checkpoint: Checkpoint, precision: str = "fp32") -> openvino.OpenVINOEngine:
    return openvino.OpenVINOEngine(checkpoint, precision, threads=THREADS)


def _torch(checkpoint: Checkpoint, precision: str = "fp32") -> torch_engine.TorchEngine:
    return torch_engine.TorchEngine(checkpoint, precision, "cpu", threads=THREADS)


def _torch_cuda(checkpoint: Checkpoint, precision: str = "fp32") -> torch_engine.TorchEngine:
    return torch_engine.TorchEngine(checkpoint, precision, "cuda")


KINDS = {
    "openvino, one graph": EngineKind(_openvino, openvino, (*HAS_BF16, "int8"), 1e30),
    "openvino, a graph a layer": EngineKind(_openvino, openvino, (*HAS_BF16, "int8"), 0.0),
    "torch": EngineKind(_torch, torch_engine, HAS_BF16),
}
if torch.cuda.is_available():
    KINDS["torch, cuda"] = EngineKind(_torch_cuda, torch_engine, ("bf16",))
OF_KINDS = [pytest.param(kind, id=name) for name, kind in KINDS.items()]


def cosines(a: Any, b: Any) -> np.ndarray:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def texts(*lengths: int, vocab: int = 200, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(5, vocab, length).astype(np.int32) for length in lengths]
