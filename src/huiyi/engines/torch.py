"""The GPU engine: a checkpoint's layers in torch, run over packed batches; on the CPU where it is asked for. Needs the extra `torch`.

The mathematics lies in torch_families.py, who attends to whom in torch_attention.py. With the kernel for texts of varying lengths two
workers may call it at once: one prepares its batch while the other's runs. Its CPU path is tested; no GPU was at hand when it was written.
"""

import logging
import time
from collections.abc import Generator, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from huiyi import settings
from huiyi.engines.adapters import MAX_RANK, Adapter
from huiyi.engines.checkpoint import Checkpoint
from huiyi.engines.openvino import resolve_precision as cpu_precision
from huiyi.engines.packing import span_rows, spans
from huiyi.engines.torch_attention import Padded, attentions, has_kernel, onto
from huiyi.engines.torch_families import Bert, Family, Low, Qwen3
from huiyi.errors import InvalidInput
from huiyi.types import Batches, Floats, Ids

Precision = Literal["fp32", "bf16"]
GPU_BATCH_TOKENS = 16_384  # of the 0.6B shape intermediates of about 1 GB, and products large enough for any GPU
LONG_TOKENS = {"cpu": 512, "cuda": 4096}  # without the kernel: texts up to this length go whole
SLICE_TOKENS = {"cpu": 512, "cuda": 16_384}
ATTENDING_TOKENS = 1024  # queries of a long text that attend together
STEP_SECONDS = 0.5
RANKS = (8, 16, 32, MAX_RANK)  # to which an adapter's rank is filled up with zeros: few shapes to compile for

log = logging.getLogger(__name__)


class Adapted:
    """An adapter as the engine takes it: what it adds to each layer, by product."""

    def __init__(self, layers: list[Low]) -> None:
        self.layers = layers


class TorchEngine:
    """An `Engine` on a GPU, or on the CPU.

    precision: auto (bf16 where the device has it, else fp32), fp32 or bf16. device: cuda, cuda:1, … or cpu. threads: of the CPU, for
    this whole process; default all. compiled: whether torch compiles what lies between products and attention; default on GPUs where
    it can, see HUIYI_COMPILE. Raises InvalidInput for a device that is not there and for what it cannot do.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        precision: str = "auto",
        device: str = "cuda",
        threads: int | None = None,
        compiled: bool | None = None,
    ) -> None:
        self.device = resolve_device(device)
        self.precision: Precision = resolve_precision(precision, self.device)
        self.threads = threads
        kind = self.device.type
        if threads and kind == "cpu":
            torch.set_num_threads(threads)
        self._dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self.dim, self.max_tokens, self._pooling = checkpoint.config.hidden_size, checkpoint.max_tokens, checkpoint.pooling
        self._family: Family = (Qwen3 if checkpoint.family == "qwen3" else Bert)(checkpoint, self._dtype, self.device)
        checkpoint.weights.release()
        self._varying = has_kernel(self.device, self._dtype, self._family.head_dim)
        self.long_tokens = self.max_tokens if self._varying else min(LONG_TOKENS[kind], self.max_tokens)
        self._slice_tokens = SLICE_TOKENS[kind]
        self.batches = Batches()
        if kind == "cuda":
            padding = self.max_tokens * GPU_BATCH_TOKENS if self._varying else GPU_BATCH_TOKENS // 2
            self.batches = Batches(GPU_BATCH_TOKENS, padding, workers=2 if self._varying else 1)
        self._project, self._mix = self._family.project, self._family.mix
        self.compiled = False
        wanted = settings.compiled() if compiled is None else compiled
        if wanted or (wanted is None and kind == "cuda"):
            self._compile()
        self._warm_up()

    def adapt(self, adapter: Adapter) -> Adapted:
        """`adapter` made ready for `forward` and `steps`; may be called from any thread."""
        rank = next((rank for rank in RANKS if rank >= adapter.rank), adapter.rank)
        layers: list[Low] = []
        for layer in range(len(self._family.layers)):
            found = self._family.low_rank(adapter.linears, layer, rank)
            layers.append({product: (self._weight(low.a), self._weight(low.b)) for product, low in found.items()})
        return Adapted(layers)

    def forward(self, batch: Sequence[Ids], adapter: Adapted | None = None) -> Floats:
        try:
            return self._forward(batch, adapter)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        # What the failed batch held is free from here on.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(batch) // 2
        return np.concatenate([self.forward(batch[:half], adapter), self.forward(batch[half:], adapter)])

    @torch.inference_mode()
    def _forward(self, batch: Sequence[Ids], adapter: Adapted | None) -> Floats:
        family, lengths = self._family, np.array([len(ids) for ids in batch])
        every, last, picked = attentions(lengths, family.causal, self._pooling, self._dtype, self.device, self._varying)
        hidden, turns = self._begin(np.concatenate(batch), np.concatenate([np.arange(n) for n in lengths]))
        final = len(family.layers) - 1
        for number, layer in enumerate(family.layers):
            low = adapter.layers[number] if adapter else {}
            attended = (last if number == final else every)(*self._project(layer, hidden, turns, low))
            if number == final and picked is not None:
                hidden = hidden[picked]
            hidden = self._mix(layer, hidden, attended, low)
        finished = family.finish(hidden)
        if self._pooling == "mean":
            finished = torch.segment_reduce(finished, "mean", lengths=onto(lengths, self.device), axis=0, unsafe=True)
        return self._fetched(finished)

    @torch.inference_mode()
    def steps(self, ids: Ids, adapter: Adapted | None = None) -> Generator[None, None, Floats]:
        """Layer by layer and slice by slice; between two of them it holds hidden states and one layer's queries, keys and values."""
        family, length, began = self._family, len(ids), time.perf_counter()
        hidden, turns = self._begin(np.array(ids), np.arange(length))
        final = len(family.layers) - 1
        for number, layer in enumerate(family.layers):
            low = adapter.layers[number] if adapter else {}
            parts = []
            for start, end in spans(length, self._slice_tokens):
                parts.append(self._project(layer, hidden[start:end], tuple(turn[start:end] for turn in turns), low))
                if self._waited(began):
                    yield
                    began = time.perf_counter()
            q, k, v = (torch.cat(part) for part in zip(*parts, strict=True))
            wanted = spans(length, ATTENDING_TOKENS)
            if number == final and self._pooling != "mean":
                wanted = [(length - 1, length)] if self._pooling == "last" else [(0, 1)]
            mixed = []
            for start, end in wanted:
                seen = end if family.causal else length
                attend = Padded.of(span_rows(start, end, seen, family.causal), self._dtype, self.device)
                mixed.append(self._mix(layer, hidden[start:end], attend(q[start:end], k[:seen], v[:seen]), low))
                if self._waited(began):
                    yield
                    began = time.perf_counter()
            hidden = torch.cat(mixed)
        return self._fetched(family.finish(hidden).mean(dim=0))

    def _waited(self, began: float) -> bool:
        """Whether others may go in between now; a GPU has to be waited for to know."""
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        return time.perf_counter() - began > STEP_SECONDS

    def _begin(self, ids: Ids, positions: NDArray[np.int64]) -> tuple[Tensor, tuple[Tensor, ...]]:
        where = onto(positions, self.device)
        return self._family.embed(onto(ids, self.device), where), self._family.turns(where)

    def _fetched(self, vectors: Tensor) -> Floats:
        """In memory of the CPU, as soon as they are there, whatever else the GPU has been given since."""
        vectors = vectors.float()
        if self.device.type == "cuda":
            on_host = torch.empty(vectors.shape, pin_memory=True)
            on_host.copy_(vectors, non_blocking=True)
            done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            done.record(torch.cuda.current_stream(self.device))
            done.synchronize()
            vectors = on_host
        fetched: Floats = vectors.numpy()
        return fetched

    def _weight(self, matrix: Floats) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(matrix)).to(self.device, self._dtype)

    def _compile(self) -> None:
        """One compilation for all layers and lengths; a single row would be another shape to torch, and runs as it is."""

        from torch._dynamo import maybe_mark_dynamic  # loads the compiler

        def over_rows(function: Any) -> Any:
            made = torch.compile(function)

            def run(layer: Any, hidden: Tensor, beside: Any, low: Low) -> Any:
                if len(hidden) < 2:
                    return function(layer, hidden, beside, low)
                for tensor in (hidden, *(beside if isinstance(beside, tuple) else (beside,))):
                    maybe_mark_dynamic(tensor, 0)
                return made(layer, hidden, beside, low)  # type: ignore[no-untyped-call]

            return run

        self._project, self._mix = over_rows(self._family.project), over_rows(self._family.mix)
        self.compiled = True

    def _warm_up(self) -> None:
        """What is made at the first batch is made now. Where torch cannot compile (no C compiler, say), it is done without."""
        text = np.zeros(min(8, self.max_tokens), np.int32)
        try:
            self.forward([text, text[:1]])
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if not self.compiled:
                raise
            log.warning("torch cannot compile here (%s); the model runs uncompiled, and slower", str(error).partition("\n")[0])
            self._project, self._mix, self.compiled = self._family.project, self._family.mix, False
            self.forward([text, text[:1]])


def resolve_device(device: str) -> torch.device:
    """Raises InvalidInput for a GPU that torch does not see."""
    if device == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        build = f"it was built for CUDA {torch.version.cuda}" if torch.version.cuda else "it is the build for CPUs"
        raise InvalidInput(
            f"torch {torch.__version__} sees no GPU here ({build}): look at nvidia-smi, install a build of torch with CUDA, "
            f"or leave the device out to compute on the CPU"
        )
    number = int(device.partition(":")[2] or 0)
    if number >= torch.cuda.device_count():
        raise InvalidInput(f"{device} is not there: this machine has {torch.cuda.device_count()} GPUs, counted from 0")
    return torch.device("cuda", number)


def resolve_precision(precision: str, device: torch.device) -> Precision:
    """What `auto` means on this device. Raises InvalidInput for what it cannot compute in."""
    if precision not in ("auto", "fp32", "bf16"):
        raise InvalidInput(f"torch computes in fp32 or bf16 here, not in {precision}: use one of these, or leave the device out")
    if device.type == "cpu":
        return cast(Precision, cpu_precision(precision))
    has_bf16 = torch.cuda.get_device_capability(device) >= (8, 0)
    if precision == "bf16" and not has_bf16:
        raise InvalidInput(f"{torch.cuda.get_device_name(device)} has no bf16 arithmetic: use precision fp32")
    return "bf16" if has_bf16 and precision != "fp32" else "fp32"
