"""The CPU engine: a checkpoint's blocks compiled by OpenVINO, run over packed batches, long texts in slices.

The mathematics of a family lies in qwen3.py and bert.py, the arithmetic of batches in packing.py. Not thread-safe: one worker calls it.
A model whose longest text is quick is one graph; a larger one is a graph a layer with attention between them, so that a long text
can pause anywhere and attention skips what causality hides.
"""

import ctypes
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from huiyi.engines.bert import Bert
from huiyi.engines.checkpoint import Checkpoint
from huiyi.engines.graph import (
    Node,
    Precision,
    Rows,
    Type,
    as_type,
    attention,
    gather,
    ints,
    model,
    ops,
    ov,
    parameter,
    split_heads,
)
from huiyi.engines.packing import RowArrays, batch_rows, mean_pool, span_rows, spans
from huiyi.engines.prepared import Prepared
from huiyi.engines.qwen3 import Qwen3
from huiyi.errors import InvalidInput
from huiyi.types import Floats, Ids

SLICE_TOKENS = {"fp32": 512, "bf16": 512, "int8": 336}  # every layer keeps its intermediates for that many, see docs/decisions.md
ATTENDING_TOKENS = 1024  # queries of a long text that attend together: what is done anew for all keys each time is a tenth of it
LONG_TOKENS = 512  # texts up to this length go whole
STEP_SECONDS = 0.5  # how long a long text works before others may go in between
ONE_GRAPH_FLOP = 0.4e12  # a second or less on two ordinary cores
_M_MMAP_THRESHOLD = -3  # malloc.h
QUANTISATION_GROUP = 1024  # widest group of activations that shares a scale


class Family(Protocol):
    """The mathematics of one checkpoint. Tokens are packed: [tokens, …], rows of a batch behind one another."""

    causal: bool
    heads: int
    kv_heads: int
    head_dim: int

    def embed(self, ids: Ids, positions: NDArray[np.int64]) -> Floats:
        """float32 [tokens, hidden]: what the first layer reads."""
        ...

    def project(self, layer: int, hidden: Node) -> Node:
        """q, k and v beside one another, as they leave their weights: [tokens, (heads + 2 · kv_heads) · head_dim]."""
        ...

    def token_values(self, positions: NDArray[np.int64]) -> list[Floats]:
        """What `turn` needs to know of each token: arrays [tokens, 1, head_dim]."""
        ...

    def layer_values(self, layer: int) -> list[Floats]:
        """What `turn` needs to know of the layer: arrays [head_dim]."""
        ...

    def turn(self, which: Literal["q", "k"], x: Node, token_values: list[Node], layer_values: list[Node]) -> Node:
        """Queries (to be scaled here) or keys [rows, longest, heads, head_dim], made ready to be multiplied."""
        ...

    def mix(self, layer: int, hidden: Node, attended: Node) -> Node:
        """The rest of the layer after attention: [tokens, hidden]."""
        ...

    def finish(self, hidden: Floats) -> Floats:
        """What comes after the last layer, for the rows that are pooled."""
        ...


class OpenVINOEngine:
    """An `Engine` on the CPU.

    precision: auto (bf16 where the CPU has it, else fp32), fp32, bf16 or int8 (int8 weights and activations, bf16 between them).
    threads: default all cores. cache_dir: where prepared weights are kept (0.2 GB for the 0.6B model in bf16, 0.4 in int8), None: nowhere.
    Raises InvalidInput for what this CPU cannot do.
    """

    def __init__(self, checkpoint: Checkpoint, precision: str = "auto", threads: int | None = None, cache_dir: Path | None = None) -> None:
        core = ov.Core()
        self.precision: Precision = resolve_precision(precision, core)
        self.threads = threads
        self._slice_tokens = SLICE_TOKENS[self.precision]
        self.dim = checkpoint.config.hidden_size
        self.max_tokens = checkpoint.max_tokens
        self._layers = checkpoint.config.num_layers
        self._pooling = checkpoint.pooling
        kept = Prepared(cache_dir and cache_dir / f"{checkpoint.digest}-{self.precision}")
        self._family: Family = (Qwen3 if checkpoint.family == "qwen3" else Bert)(checkpoint, self.precision, kept)
        self._bf16 = self.precision != "fp32" and _has_bf16(core)
        self._between = Type.bf16 if self._bf16 else Type.f32  # type of q, k, v and attention's answer between two graphs
        self._core = core
        self._options = self._compile_options(checkpoint)
        whole = _flop(checkpoint) <= ONE_GRAPH_FLOP
        if not whole:
            return_large_blocks()
        self.long_tokens = self.max_tokens if whole else min(LONG_TOKENS, self.max_tokens)
        family = self._family
        self._qkv_width = (family.heads + 2 * family.kv_heads) * family.head_dim
        self._layer_values = [self._family.layer_values(layer) for layer in range(self._layers)]
        self._whole = self._compile_whole() if whole else None
        self._stages = [] if whole else [self._compile_stage(i) for i in range(self._layers + 1)]
        self._attention = None if whole else self._compile_attention()
        # The first run packs the weights, and makes room for a whole slice; after it the mapped files are not read again.
        self.forward([np.zeros(min(self._slice_tokens, self.max_tokens), np.int32)])
        kept.release()
        checkpoint.weights.release()

    def forward(self, batch: Sequence[Ids]) -> Floats:
        lengths = np.array([len(ids) for ids in batch])
        positions = np.concatenate([np.arange(n) for n in lengths])
        hidden, tokens = self._family.embed(np.concatenate(batch), positions), self._family.token_values(positions)
        rows, last, pick = batch_rows(lengths, self._family.causal, self._pooling)
        if self._whole:
            (out,) = self._whole(hidden, *tokens, *rows.values(), *last.values(), pick)
            return self._pool(out.data, lengths)
        passing = self._passing(hidden)
        for layer in range(self._layers):
            attended = self._attend(layer - 1, passing.qkv, passing.qkv, tokens, tokens, rows) if layer else None
            passing.run(self._stages[layer], attended, 0, len(hidden))
            passing.turn()
        attended = self._attend(self._layers - 1, passing.qkv, passing.qkv, tokens, tokens, last)
        ends = [
            np.array(self._stages[-1](_part(attended, start, end), passing.hidden.data[pick[start:end]])[0].data)
            for start, end in spans(len(pick), self._slice_tokens)
        ]
        return self._pool(np.concatenate(ends), lengths)

    def steps(self, ids: Ids) -> Generator[None, None, Floats]:
        """Layer by layer and slice by slice; nothing that another batch would overwrite is needed after a pause."""
        if self._whole:
            row: Floats = self.forward([ids])[0]
            return row
        family, positions = self._family, np.arange(len(ids))
        tokens, passing = family.token_values(positions), self._passing(family.embed(ids, positions))
        parts, began = spans(len(ids), ATTENDING_TOKENS), time.perf_counter()
        for layer in range(self._layers):
            for start, end in parts:
                attended = self._attend_span(layer - 1, passing.qkv, tokens, start, end) if layer else None
                passing.run(self._stages[layer], attended, start, end)
                if time.perf_counter() - began > STEP_SECONDS:
                    yield
                    began = time.perf_counter()
            passing.turn()
        ends = (
            spans(len(ids), self._slice_tokens)
            if self._pooling == "mean"
            else [(len(ids) - 1, len(ids)) if self._pooling == "last" else (0, 1)]
        )
        rows: list[Floats] = []
        for start, end in ends:
            attended = self._attend_span(self._layers - 1, passing.qkv, tokens, start, end)
            rows.append(np.array(self._stages[-1](attended, passing.hidden.data[start:end])[0].data))
            yield
        pooled: Floats = family.finish(np.concatenate(rows)).mean(axis=0)
        return pooled

    def _passing(self, hidden: Floats) -> "_Passing":
        return _Passing(hidden, self._qkv_width, self._between, self._slice_tokens)

    def _attend_span(self, layer: int, qkv: ov.Tensor, tokens: list[Floats], start: int, end: int) -> ov.Tensor:
        """Attention of the queries start:end of one text over all the keys they may see."""
        seen = end if self._family.causal else qkv.shape[0]
        rows = span_rows(start, end, seen, self._family.causal)
        q_tokens, k_tokens = [value[start:end] for value in tokens], [value[:seen] for value in tokens]
        return self._attend(layer, _part(qkv, start, end), _part(qkv, 0, seen), q_tokens, k_tokens, rows)

    def _attend(
        self, layer: int, of_queries: ov.Tensor, of_keys: ov.Tensor, q_tokens: list[Floats], k_tokens: list[Floats], rows: RowArrays
    ) -> ov.Tensor:
        assert self._attention
        return self._attention(of_queries, of_keys, *q_tokens, *k_tokens, *self._layer_values[layer], *rows.values())[0]

    def _pool(self, hidden: Floats, lengths: NDArray[np.int64]) -> Floats:
        finished = self._family.finish(hidden)
        return mean_pool(finished, lengths) if self._pooling == "mean" else finished

    def _compile_options(self, checkpoint: Checkpoint) -> dict[str, Any]:
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if self._bf16 else "f32", "NUM_STREAMS": 1}
        if self.threads:
            options["INFERENCE_NUM_THREADS"] = self.threads
        if self.precision == "int8":
            options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _group(checkpoint)
        return options

    def _compile_whole(self) -> "_Compiled":
        family = self._family
        hidden = given = parameter([-1, self.dim])
        tokens, rows, last = self._token_inputs(), Rows.parameters(), Rows.parameters()
        pick = parameter([-1], Type.i32)
        for layer in range(self._layers):
            final = layer == self._layers - 1
            qkv = family.project(layer, hidden)
            values = [ops.constant(value) for value in family.layer_values(layer)]
            attended = self._attention_nodes(qkv, qkv, tokens, tokens, values, last if final else rows)
            hidden = family.mix(layer, ops.gather(hidden, pick, ints(0)) if final else hidden, attended)
        return self._compile([hidden], [given, *tokens, *rows.inputs(), *last.inputs(), pick], "whole")

    def _compile_stage(self, stage: int) -> "_Compiled":
        """Stage i ends layer i - 1 (not for the first) and begins layer i (not for the last)."""
        family = self._family
        hidden = parameter([-1, self.dim])
        inputs, outputs = [hidden], []
        if stage > 0:
            attended = parameter([-1, family.heads * family.head_dim], self._between)
            inputs.insert(0, attended)
            hidden = family.mix(stage - 1, hidden, as_type(attended, Type.f32))
            outputs.append(hidden)
        if stage < self._layers:
            outputs.append(as_type(family.project(stage, hidden), self._between))
        return self._compile(outputs, inputs, f"stage{stage}")

    def _compile_attention(self) -> "_Compiled":
        family, rows = self._family, Rows.parameters()
        of_queries, of_keys = (parameter([-1, self._qkv_width], self._between) for _ in range(2))
        q_tokens, k_tokens = self._token_inputs(), self._token_inputs()
        values = [parameter([family.head_dim]) for _ in family.layer_values(0)]
        attended = self._attention_nodes(as_type(of_queries, Type.f32), as_type(of_keys, Type.f32), q_tokens, k_tokens, values, rows)
        inputs = [of_queries, of_keys, *q_tokens, *k_tokens, *values, *rows.inputs()]
        return self._compile([as_type(attended, self._between)], inputs, "attention")

    def _attention_nodes(
        self, of_queries: Node, of_keys: Node, q_tokens: list[Node], k_tokens: list[Node], values: list[Node], rows: Rows
    ) -> Node:
        """of_queries, of_keys: what `project` gave for the tokens that ask and for those that are asked."""
        family, first, heads = self._family, 0, []
        for x, where, count in ((of_queries, rows.queries, family.heads), *[(of_keys, rows.keys, family.kv_heads)] * 2):
            columns = ops.slice(x, ints(first), ints(first + count * family.head_dim), ints(1), ints(1))
            heads.append(split_heads(gather(columns, where), count, family.head_dim))
            first += count * family.head_dim
        q = family.turn("q", heads[0], [gather(value, rows.queries) for value in q_tokens], values)
        k = family.turn("k", heads[1], [gather(value, rows.keys) for value in k_tokens], values)
        return attention(q, k, heads[2], rows)

    def _token_inputs(self) -> list[Node]:
        return [parameter([-1, 1, self._family.head_dim]) for _ in self._family.token_values(np.arange(1))]

    def _compile(self, outputs: list[Node], inputs: list[Node], name: str) -> "_Compiled":
        return _Compiled(self._core.compile_model(model(outputs, inputs, name), "CPU", self._options))


class _Compiled:
    """A compiled graph as a function of tensors. What it returns is overwritten by its next call, unless `into` says where to write."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self._outputs = range(len(compiled.outputs))

    def __call__(self, *inputs: Any, into: Sequence[ov.Tensor] = ()) -> list[ov.Tensor]:
        for index, value in enumerate(inputs):
            tensor = value if isinstance(value, ov.Tensor) else ov.Tensor(np.ascontiguousarray(value), shared_memory=True)
            self._request.set_input_tensor(index, tensor)
        for index, tensor in enumerate(into):
            self._request.set_output_tensor(index, tensor)
        self._request.infer()
        return [self._request.get_output_tensor(index) for index in self._outputs]


class _Passing:
    """What passes from layer to layer: hidden [tokens, dim] and q, k, v, each in two buffers, one read while the other is written."""

    def __init__(self, hidden: Floats, qkv_width: int, kind: Type, slice_tokens: int) -> None:
        self.hidden, self._next_hidden = (ov.Tensor(Type.f32, list(hidden.shape)) for _ in range(2))
        self.qkv, self._next_qkv = (ov.Tensor(kind, [len(hidden), qkv_width]) for _ in range(2))
        self._slice_tokens = slice_tokens
        self._began = False
        self.hidden.data[:] = hidden

    def run(self, stage: _Compiled, attended: ov.Tensor | None, start: int, end: int) -> None:
        """One stage over the tokens start:end, in slices. attended: attention's answer for these tokens, None in the first layer."""
        for low, high in spans(end - start, self._slice_tokens):
            at, to = start + low, start + high
            projected = _part(self._next_qkv, at, to)
            if attended is None:
                stage(_part(self.hidden, at, to), into=[projected])
            else:
                self._began = True
                stage(_part(attended, low, high), _part(self.hidden, at, to), into=[_part(self._next_hidden, at, to), projected])

    def turn(self) -> None:
        """A layer is done: what was written is read from now on."""
        self.qkv, self._next_qkv = self._next_qkv, self.qkv
        if self._began:
            self.hidden, self._next_hidden = self._next_hidden, self.hidden


def return_large_blocks() -> None:
    """Have blocks of 1 MB and more go back to the system when they are freed (glibc; elsewhere nothing happens).

    glibc raises that size as it sees larger blocks freed; batches of ever other lengths then leave holes, 0.2 GB within minutes.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def resolve_precision(precision: str, core: "ov.Core | None" = None) -> Precision:
    """What `auto` means on this CPU. Raises InvalidInput for an unknown word or bf16 without hardware for it."""
    has_bf16 = _has_bf16(core or ov.Core())
    match precision:
        case "auto":
            return "bf16" if has_bf16 else "fp32"
        case "bf16" if not has_bf16:
            raise InvalidInput("this CPU has no bf16 arithmetic: use precision fp32 or int8")
        case "fp32" | "bf16" | "int8":
            return precision
    raise InvalidInput(f"precision {precision!r} is unknown: use auto, fp32, bf16 or int8")


def _has_bf16(core: ov.Core) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _flop(checkpoint: Checkpoint) -> float:
    """Floating-point operations for the longest text: 2 a weight and token, 4 a pair of tokens and channel."""
    weights = sum(tensor.data.size for name, tensor in checkpoint.weights.items() if "embed" not in name)
    config, tokens = checkpoint.config, checkpoint.max_tokens
    return 2.0 * weights * tokens + 4.0 * tokens * tokens * config.hidden_size * config.num_layers


def _group(checkpoint: Checkpoint) -> int:
    """The largest power of two, up to QUANTISATION_GROUP, that divides the input width of every linear layer."""
    widths = {tensor.data.shape[1] for name, tensor in checkpoint.weights.items() if tensor.data.ndim == 2 and "embed" not in name}
    return int(min(QUANTISATION_GROUP, np.gcd.reduce(list(widths)) & -np.gcd.reduce(list(widths))))


def _part(tensor: ov.Tensor, start: int, end: int) -> ov.Tensor:
    return ov.Tensor(tensor, [start, 0], [end, tensor.shape[1]])
