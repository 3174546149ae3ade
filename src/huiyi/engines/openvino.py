"""The CPU engine: a checkpoint's blocks compiled by OpenVINO, run over packed batches, long texts in slices.

Owns batches, positions and pooling; the mathematics of a family lies in qwen3.py and bert.py. Not thread-safe: one worker calls it.
A model whose longest text is quick is one graph; a larger one is a graph a layer with attention between them, so that a long text
can pause anywhere and attention skips what causality hides.
"""

import time
from collections.abc import Generator, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from huiyi.engines.bert import Bert
from huiyi.engines.checkpoint import Checkpoint
from huiyi.engines.graph import MASKED, Node, Precision, Rows, Type, attention, ints, model, ops, ov, parameter
from huiyi.engines.qwen3 import Qwen3
from huiyi.errors import InvalidInput
from huiyi.types import Floats, Ids

SLICE_TOKENS = 512  # best of 512, 1,024 and 2,048 (cache), see docs/decisions.md
STEP_SECONDS = 0.5  # how long a long text works before others may go in between
ONE_GRAPH_FLOP = 0.4e12  # a second or less on two ordinary cores
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

    def extras(self, positions: NDArray[np.int64]) -> list[Floats]:
        """What every layer needs to know of the positions, a row a token."""
        ...

    def extra_inputs(self) -> list[Node]:
        """Graph inputs for `extras`."""
        ...

    def qkv(self, layer: int, hidden: Node, extras: list[Node]) -> tuple[Node, Node, Node]:
        """q (scaled) [tokens, heads, head_dim], k and v [tokens, kv_heads, head_dim]."""
        ...

    def mix(self, layer: int, hidden: Node, attended: Node) -> Node:
        """The rest of the layer after attention: [tokens, hidden]."""
        ...

    def finish(self, hidden: Floats) -> Floats:
        """What comes after the last layer, for the rows that are pooled."""
        ...


@dataclass(frozen=True)
class RowArrays:
    """Values for `graph.Rows`."""

    queries: Ids
    keys: Ids
    mask: Floats
    back: Ids


class OpenVINOEngine:
    """An `Engine` on the CPU.

    precision: auto (bf16 where the CPU has it, else fp32), fp32, bf16 or int8 (int8 weights and activations, bf16 between them).
    threads: default all cores. Raises InvalidInput for what this CPU cannot do.
    """

    def __init__(self, checkpoint: Checkpoint, precision: str = "auto", threads: int | None = None) -> None:
        core = ov.Core()
        self.precision: Precision = resolve_precision(precision, core)
        self.threads = threads
        self.dim = checkpoint.config.hidden_size
        self.max_tokens = checkpoint.max_tokens
        self._layers = checkpoint.config.num_layers
        self._pooling = checkpoint.pooling
        self._family: Family = (Qwen3 if checkpoint.family == "qwen3" else Bert)(checkpoint, self.precision)
        self._bf16 = self.precision != "fp32" and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._between = Type.bf16 if self._bf16 else Type.f32  # type of q, k, v and attention's answer between two graphs
        self._core = core
        self._options = self._compile_options(checkpoint)
        whole = _flop(checkpoint) <= ONE_GRAPH_FLOP
        self.long_tokens = self.max_tokens if whole else min(SLICE_TOKENS, self.max_tokens)
        self._whole = self._compile_whole() if whole else None
        self._stages = [] if whole else [self._compile_stage(i) for i in range(self._layers + 1)]
        self._attention = None if whole else self._compile_attention()

    def forward(self, batch: Sequence[Ids]) -> Floats:
        lengths = np.array([len(ids) for ids in batch])
        positions = np.concatenate([np.arange(n) for n in lengths])
        hidden, extras = self._family.embed(np.concatenate(batch), positions), self._family.extras(positions)
        rows, last, pick = self._rows(lengths)
        if self._whole:
            (out,) = self._whole(hidden, *extras, *_values(rows), *_values(last), pick)
        else:
            out = self._run_stages(hidden, extras, rows, last, pick)
        return self._pool(out.data, lengths)

    def steps(self, ids: Ids) -> Generator[None, None, Floats]:
        if self._whole:
            return self.forward([ids])[0]
        return (yield from self._long(ids))

    def _run_stages(self, hidden: Any, extras: list[Floats], rows: RowArrays, last: RowArrays, pick: Ids) -> ov.Tensor:
        assert self._attention
        tokens = len(hidden)
        qkv, attended = self._qkv_buffers(tokens), ov.Tensor(self._between, [tokens, self._family.heads * self._family.head_dim])
        now, then = (ov.Tensor(Type.f32, [tokens, self.dim]) for _ in range(2))
        now.data[:] = hidden
        self._stages[0](now, *extras, into=qkv)
        for stage in self._stages[1:-1]:
            self._attention(*qkv, *_values(rows), into=[attended])
            stage(attended, now, *extras, into=[then, *qkv])
            now, then = then, now
        (attended,) = self._attention(*qkv, *_values(last))
        return self._stages[-1](attended, now.data[pick])[0]

    def _long(self, ids: Ids) -> Generator[None, None, Floats]:
        """Layer by layer, slice by slice; what other batches would overwrite is copied out before each pause."""
        assert self._attention
        family, total = self._family, len(ids)
        positions = np.arange(total)
        extras = family.extras(positions)
        spans = [(start, min(start + SLICE_TOKENS, total)) for start in range(0, total, SLICE_TOKENS)]
        hidden = family.embed(ids, positions)
        now, then = self._qkv_buffers(total), self._qkv_buffers(total)
        began = time.perf_counter()
        for layer in range(self._layers):
            for start, end in spans:
                part = [extra[start:end] for extra in extras]
                if layer == 0:
                    outputs = self._stages[0](hidden[start:end], *part)
                else:
                    (attended,) = self._attend_span(now, start, end)
                    new_hidden, *outputs = self._stages[layer](attended, hidden[start:end], *part)
                    hidden[start:end] = new_hidden.data
                for buffer, output in zip(then, outputs, strict=True):
                    buffer.data[start:end] = output.data
                if time.perf_counter() - began > STEP_SECONDS:
                    yield
                    began = time.perf_counter()
            now, then = then, now
        finals = spans if self._pooling == "mean" else [(total - 1, total) if self._pooling == "last" else (0, 1)]
        rows = []
        for start, end in finals:
            (attended,) = self._attend_span(now, start, end)
            (out,) = self._stages[-1](attended, hidden[start:end])
            rows.append(np.array(out.data))
            yield
        pooled: Floats = family.finish(np.concatenate(rows)).mean(axis=0)
        return pooled

    def _qkv_buffers(self, total: int) -> list[ov.Tensor]:
        family = self._family
        return [ov.Tensor(self._between, [total, heads, family.head_dim]) for heads in (family.heads, family.kv_heads, family.kv_heads)]

    def _attend_span(self, qkv: list[ov.Tensor], start: int, end: int) -> list[ov.Tensor]:
        """Attention of the queries start:end over all keys they may see."""
        assert self._attention
        seen = end if self._family.causal else qkv[0].shape[0]
        count = end - start
        mask = np.zeros((1, 1, count if self._family.causal else 1, seen), np.float32)
        if self._family.causal:
            mask[..., start:] = np.triu(np.full((count, count), MASKED), 1)
        rows = RowArrays(_range(count)[None], _range(seen)[None], mask, _range(count))
        return self._attention(_part(qkv[0], start, end), _part(qkv[1], 0, seen), _part(qkv[2], 0, seen), *_values(rows))

    def _rows(self, lengths: NDArray[np.int64]) -> tuple[RowArrays, RowArrays, Ids]:
        """Where attention finds its tokens, the same for the last layer, and the tokens whose answer the last layer gives."""
        longest, starts = int(lengths.max()), np.cumsum(lengths) - lengths
        columns = np.arange(longest)
        real = columns < lengths[:, None]
        where = np.asarray(starts[:, None] + np.minimum(columns, lengths[:, None] - 1), np.int32)
        padding = np.where(real, np.float32(0), MASKED)[:, None, None, :]
        back = np.flatnonzero(real).astype(np.int32)
        # Causal and padded on the right: no real token can see padding, so one triangle serves every row.
        mask = np.triu(np.full((1, 1, longest, longest), MASKED), 1) if self._family.causal else padding
        rows = RowArrays(where, where, mask, back)
        if self._pooling == "mean":
            return rows, rows, _range(int(lengths.sum()))
        pick = (starts + lengths - 1 if self._pooling == "last" else starts).astype(np.int32)
        if self._family.causal and self._pooling == "cls":
            padding = np.where(columns == 0, np.float32(0), MASKED)[None, None, None, :]
        return rows, RowArrays(pick[:, None], where, padding, _range(len(lengths))), pick

    def _pool(self, hidden: Floats, lengths: NDArray[np.int64]) -> Floats:
        finished = self._family.finish(np.array(hidden))
        if self._pooling != "mean":
            return finished
        sums = np.add.reduceat(finished, np.cumsum(lengths) - lengths, axis=0)
        return np.asarray(sums / lengths[:, None], np.float32)

    def _compile_options(self, checkpoint: Checkpoint) -> dict[str, Any]:
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if self._bf16 else "f32", "NUM_STREAMS": 1}
        if self.threads:
            options["INFERENCE_NUM_THREADS"] = self.threads
        if self.precision == "int8":
            options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _group(checkpoint)
        return options

    def _compile_whole(self) -> "_Compiled":
        family = self._family
        hidden = inputs = parameter([-1, self.dim])
        extras, rows, last = family.extra_inputs(), Rows.parameters(), Rows.parameters()
        pick = parameter([-1], Type.i32)
        first = hidden
        for layer in range(self._layers):
            final = layer == self._layers - 1
            q, k, v = family.qkv(layer, hidden, extras)
            attended = self._attend(q, k, v, last if final else rows)
            hidden = family.mix(layer, ops.gather(hidden, pick, ints(0)) if final else hidden, attended)
        del inputs
        return self._compile([hidden], [first, *extras, *rows.inputs(), *last.inputs(), pick], "whole")

    def _compile_stage(self, stage: int) -> "_Compiled":
        """Stage i ends layer i - 1 (not for the first) and begins layer i (not for the last)."""
        family = self._family
        hidden = parameter([-1, self.dim])
        inputs, outputs = [hidden], []
        if stage > 0:
            attended = parameter([-1, family.heads * family.head_dim], self._between)
            inputs.insert(0, attended)
            hidden = family.mix(stage - 1, hidden, self._widen(attended))
            outputs.append(hidden)
        if stage < self._layers:
            extras = family.extra_inputs()
            inputs += extras
            outputs += [self._narrow(x) for x in family.qkv(stage, hidden, extras)]
        return self._compile(outputs, inputs, f"stage{stage}")

    def _compile_attention(self) -> "_Compiled":
        family, rows = self._family, Rows.parameters()
        q, k, v = (parameter([-1, n, family.head_dim], self._between) for n in (family.heads, family.kv_heads, family.kv_heads))
        attended = self._attend(self._widen(q), self._widen(k), self._widen(v), rows)
        return self._compile([self._narrow(attended)], [q, k, v, *rows.inputs()], "attention")

    def _attend(self, q: Node, k: Node, v: Node, rows: Rows) -> Node:
        return attention(q, k, v, rows, self._family.heads, self._family.kv_heads, self._family.head_dim)

    def _narrow(self, x: Node) -> Node:
        return ops.convert(x, self._between) if self._bf16 else x

    def _widen(self, x: Node) -> Node:
        return ops.convert(x, Type.f32) if self._bf16 else x

    def _compile(self, outputs: list[Node], inputs: list[Node], name: str) -> "_Compiled":
        return _Compiled(self._core.compile_model(model(outputs, inputs, name), "CPU", self._options))


class _Compiled:
    """A compiled graph as a function of tensors. The tensors it returns are overwritten by its next call."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self._outputs = range(len(compiled.outputs))

    def __call__(self, *inputs: Any, into: list[ov.Tensor] | None = None) -> list[ov.Tensor]:
        """`into`: tensors of the right shapes to write to, so that many graphs share one set."""
        for index, value in enumerate(inputs):
            tensor = value if isinstance(value, ov.Tensor) else ov.Tensor(np.ascontiguousarray(value), shared_memory=True)
            self._request.set_input_tensor(index, tensor)
        for index, tensor in enumerate(into or []):
            self._request.set_output_tensor(index, tensor)
        self._request.infer()
        return [self._request.get_output_tensor(index) for index in self._outputs]


def resolve_precision(precision: str, core: "ov.Core | None" = None) -> Precision:
    """What `auto` means on this CPU. Raises InvalidInput for an unknown word or bf16 without hardware for it."""
    bf16 = "BF16" in (core or ov.Core()).get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "auto":
        return "bf16" if bf16 else "fp32"
    if precision == "bf16" and not bf16:
        raise InvalidInput("this CPU has no bf16 arithmetic: use precision fp32 or int8")
    if precision not in ("fp32", "bf16", "int8"):
        raise InvalidInput(f"precision {precision!r} is unknown: use auto, fp32, bf16 or int8")
    return precision


def _flop(checkpoint: Checkpoint) -> float:
    """Floating-point operations for the longest text: 2 a weight and token, 4 a pair of tokens and channel."""
    weights = sum(tensor.data.size for name, tensor in checkpoint.weights.items() if "embed" not in name)
    config, tokens = checkpoint.config, checkpoint.max_tokens
    return 2.0 * weights * tokens + 4.0 * tokens * tokens * config.hidden_size * config.num_layers


def _group(checkpoint: Checkpoint) -> int:
    """The largest power of two, up to QUANTISATION_GROUP, that divides the input width of every linear layer."""
    widths = {tensor.data.shape[1] for name, tensor in checkpoint.weights.items() if tensor.data.ndim == 2 and "embed" not in name}
    return int(min(QUANTISATION_GROUP, np.gcd.reduce(list(widths)) & -np.gcd.reduce(list(widths))))


def _values(rows: RowArrays) -> tuple[Any, ...]:
    return astuple(rows)


def _range(count: int) -> Ids:
    return np.arange(count, dtype=np.int32)


def _part(tensor: ov.Tensor, start: int, end: int) -> ov.Tensor:
    return ov.Tensor(tensor, [start, 0, 0], [end, *list(tensor.shape)[1:]])
