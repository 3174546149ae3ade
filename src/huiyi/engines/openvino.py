"""The CPU engine: a checkpoint's blocks compiled by OpenVINO, run over packed batches, long texts in slices.

The mathematics of a family lies in qwen3.py and bert.py, the arithmetic of batches in packing.py. Not thread-safe: one worker calls it.
A model whose longest text is quick is one graph; a larger one is a graph a layer with attention between them, so that a long text
can pause anywhere and attention skips what causality hides.
"""

import ctypes
import time
import weakref
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from huiyi.engines.adapters import MAX_RANK, Adapter, LowRank
from huiyi.engines.bert import Bert
from huiyi.engines.checkpoint import Checkpoint
from huiyi.engines.graph import (
    LowRankInputs,
    Node,
    Precision,
    Rows,
    Type,
    as_type,
    attention,
    bf16,
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
from huiyi.engines.weights import Tensor, Weights
from huiyi.errors import InvalidInput
from huiyi.types import Floats, Ids

SLICE_TOKENS = 512  # go through a layer at once
TRIM_BATCHES = 8  # after so many what the batches left free goes back to the system
ATTENDING_TOKENS = 1024  # queries of a long text that attend together: what is done anew for all keys each time is a tenth of it
LONG_TOKENS = 512  # texts up to this length go whole
STEP_SECONDS = 0.5  # how long a long text works before others may go in between
ONE_GRAPH_FLOP = 0.4e12  # a second or less on two ordinary cores
# Of how many shapes a graph keeps what it made for them. Batches hardly ever have the same shape twice, and each costs memory for good:
# with the plugin's own 5,000 the 0.6B model grew by 0.5 GB in 150 batches. Remaking costs a small model more than its multiplications.
KEPT_SHAPES = {"whole": 200, "stages": 0}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
RANKS = (8, 16, 32, MAX_RANK)  # to which an adapter's rank is filled up with zeros: the plugin prepares a kernel for every shape it meets


class Family(Protocol):
    """The mathematics of one checkpoint. Tokens are packed: [tokens, …], rows of a batch behind one another."""

    causal: bool
    heads: int
    kv_heads: int
    head_dim: int
    entering: Floats | None  # [hidden, hidden], see `embed`
    leaving: Floats | None  # [hidden, hidden], see `finish`
    products: dict[str, tuple[int, tuple[int, ...]]]  # what is multiplied at once: input width, output widths of its parts; qkv is one

    def embed(self, ids: Ids, positions: NDArray[np.int64]) -> Floats:
        """float32 [tokens, hidden]: what the first layer reads, once it is multiplied by `entering`."""
        ...

    def project(self, layer: int, hidden: Node, low: Mapping[str, LowRankInputs]) -> Node:
        """q, k and v beside one another, as they leave their weights: [tokens, (heads + 2 · kv_heads) · head_dim].

        low: what an adapter adds, by product; only qkv is looked at here, and the others in `mix`.
        """
        ...

    def token_values(self, positions: NDArray[np.int64]) -> list[Floats]:
        """What `turn` needs to know of each token: arrays [tokens, 1, head_dim]."""
        ...

    def layer_values(self, layer: int) -> list[Floats]:
        """What `turn` needs to know of the layer: arrays [head_dim]."""
        ...

    def turn(self, which: Literal["q", "k"], x: Node, token_values: list[Node], layer_values: list[Node]) -> Node:
        """Queries (to be scaled here) or keys [tokens, heads, head_dim], made ready to be multiplied."""
        ...

    def mix(self, layer: int, hidden: Node, attended: Node, low: Mapping[str, LowRankInputs]) -> Node:
        """The rest of the layer after attention: [tokens, hidden]."""
        ...

    def low_rank(self, layer: int, product: str, linears: Mapping[str, LowRank], rank: int) -> LowRank | None:
        """What an adapter adds to one product as its weights lie here, `rank` for each part; None where it adds nothing."""
        ...

    def finish(self, hidden: Floats) -> Floats:
        """What comes after the last layer, once that is multiplied by `leaving`, for the rows that are pooled."""
        ...


class Adapted:
    """An adapter as one engine's graphs take it. products: those that it changes. tensors: a and b by layer and product.

    Whoever holds it can have batches run with it; when nobody does any more, the engine forgets it.
    """

    def __init__(self, arrays: Mapping[tuple[int, str], tuple[Tensor, ...]], kind: Type) -> None:
        self._arrays = arrays  # the tensors use their memory
        self.tensors = {at: tuple(ov.Tensor(half.data, list(half.data.shape), kind) for half in pair) for at, pair in arrays.items()}
        self.products = frozenset(product for _, product in arrays)


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
        self._slice_tokens = SLICE_TOKENS
        self.dim = checkpoint.config.hidden_size
        self.max_tokens = checkpoint.max_tokens
        self._layers = checkpoint.config.num_layers
        self._pooling = checkpoint.pooling
        kept = Prepared(cache_dir and cache_dir / f"{checkpoint.digest}-{self.precision}")
        self._family: Family = (Qwen3 if checkpoint.family == "qwen3" else Bert)(checkpoint, self.precision, kept)
        self._bf16 = self.precision != "fp32" and _has_bf16(core)
        self._between = Type.bf16 if self._bf16 else Type.f32  # type of q, k, v and attention's answer between two graphs
        self._core = core
        whole = _flop(checkpoint) <= ONE_GRAPH_FLOP
        self._options = self._compile_options(KEPT_SHAPES["whole" if whole else "stages"])
        self._is_whole = whole
        if not whole:
            keep_large_blocks()
        self.long_tokens = self.max_tokens if whole else min(LONG_TOKENS, self.max_tokens)
        family = self._family
        self._qkv_width = (family.heads + 2 * family.kv_heads) * family.head_dim
        self._entering, self._leaving = (self._compile_product(matrix) for matrix in (family.entering, family.leaving))
        self._layer_values = [self._family.layer_values(layer) for layer in range(self._layers)]
        self._batches = 0
        self._nothing = self._no_adapter()
        self._adapters: weakref.WeakSet[Adapted] = weakref.WeakSet()  # those in use; touched by the worker alone
        self._mapped: list[Prepared | Weights] = [kept, checkpoint.weights]
        self._whole: _Compiled | None = None
        self._stages: list[_Compiled] = []
        self._attention = None if whole else self._compile_attention()
        self._build(frozenset())

    def adapt(self, adapter: Adapter) -> Adapted:
        """`adapter` made ready for `forward` and `steps`; may be called from any thread."""
        rank = next((rank for rank in RANKS if rank >= adapter.rank), adapter.rank)
        arrays = {}
        for layer in range(self._layers):
            for product in self._family.products:
                low = self._family.low_rank(layer, product, adapter.linears, rank)
                if low is not None:
                    arrays[layer, product] = self._stored(low.a), self._stored(low.b.T)
        return Adapted(arrays, self._between)

    def forward(self, batch: Sequence[Ids], adapter: Adapted | None = None) -> Floats:
        self._use(adapter)
        return self._forward(batch, adapter)

    def _forward(self, batch: Sequence[Ids], adapter: Adapted | None) -> Floats:
        lengths = np.array([len(ids) for ids in batch])
        positions = np.concatenate([np.arange(n) for n in lengths])
        hidden, tokens = self._embed(np.concatenate(batch), positions), self._family.token_values(positions)
        rows, last, pick = batch_rows(lengths, self._family.causal, self._pooling)
        if self._whole:
            (out,) = self._whole(hidden, *tokens, *rows.values(), *last.values(), pick, *self._low(adapter, range(self._layers + 1)))
            return self._pool(out.data, lengths)
        self._batches += 1
        if self._batches % TRIM_BATCHES == 0:
            return_free_blocks()
        passing = self._passing(hidden)
        for layer in range(self._layers):
            attended = self._attend(layer - 1, passing.qkv, passing.qkv, tokens, tokens, rows) if layer else None
            passing.run(self._stages[layer], attended, 0, len(hidden), self._low(adapter, [layer]))
            passing.turn()
        attended = self._attend(self._layers - 1, passing.qkv, passing.qkv, tokens, tokens, last)
        low = self._low(adapter, [self._layers])
        ends = [
            np.array(self._stages[-1](_part(attended, start, end), passing.hidden.data[pick[start:end]], *low)[0].data)
            for start, end in spans(len(pick), self._slice_tokens)
        ]
        return self._pool(np.concatenate(ends), lengths)

    def steps(self, ids: Ids, adapter: Adapted | None = None) -> Generator[None, None, Floats]:
        """Layer by layer and slice by slice; nothing that another batch would overwrite is needed after a pause."""
        self._use(adapter)
        if self._whole:
            row: Floats = self._forward([ids], adapter)[0]
            return row
        family, positions = self._family, np.arange(len(ids))
        tokens, passing = family.token_values(positions), self._passing(self._embed(ids, positions))
        parts, began = spans(len(ids), ATTENDING_TOKENS), time.perf_counter()
        for layer in range(self._layers):
            for start, end in parts:
                attended = self._attend_span(layer - 1, passing.qkv, tokens, start, end) if layer else None
                passing.run(self._stages[layer], attended, start, end, self._low(adapter, [layer]))
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
            low = self._low(adapter, [self._layers])
            rows.append(np.array(self._stages[-1](attended, passing.hidden.data[start:end], *low)[0].data))
            yield
        pooled: Floats = self._finish(np.concatenate(rows)).mean(axis=0)
        return pooled

    def _use(self, adapter: Adapted | None) -> None:
        """Have graphs that can take this adapter, and nothing more than those in use ask for: without any they are as fast as ever."""
        if adapter is not None:
            self._adapters.add(adapter)
        products = frozenset(product for each in self._adapters for product in each.products)
        if products != self._products:
            self._build(products)

    def _build(self, products: frozenset[str]) -> None:
        """Compile the graphs, with inputs for what adapters add to these products; the old ones go first, so that nothing is held twice."""
        self._products: frozenset[str] | None = None  # what is half built will be built again
        self._whole, self._stages = None, []
        if self._is_whole:
            self._whole = self._compile_whole(products)
        else:
            self._stages = [self._compile_stage(stage, products) for stage in range(self._layers + 1)]
        self._products = products
        # The first run packs the weights, and makes room for a whole slice; after it the mapped files are not read again.
        self._forward([np.zeros(min(self._slice_tokens, self.max_tokens), np.int32)], None)
        for mapped in self._mapped:
            mapped.release()

    def _places(self, stages: Sequence[int], products: frozenset[str]) -> list[tuple[int, str]]:
        """Where adapters add something in these stages, as the inputs follow one another."""
        return [
            (layer, product)
            for stage in stages
            for product in self._family.products
            for layer in [stage if product == "qkv" else stage - 1]
            if product in products and 0 <= layer < self._layers
        ]

    def _low(self, adapter: Adapted | None, stages: Sequence[int]) -> list[ov.Tensor]:
        """What the adapter adds in these stages; nothing for nobody."""
        if not self._products:
            return []
        tensors, nothing = adapter.tensors if adapter else {}, self._nothing.tensors
        return [half for place in self._places(stages, self._products) for half in tensors.get(place, nothing[0, place[1]])]

    def _low_inputs(self, stages: Sequence[int], products: frozenset[str]) -> dict[tuple[int, str], LowRankInputs]:
        sizes = {product: (inner, sum(widths)) for product, (inner, widths) in self._family.products.items()}
        return {place: LowRankInputs.parameters(*sizes[place[1]], self._between) for place in self._places(stages, products)}

    def _no_adapter(self) -> Adapted:
        """Zeros of the lowest rank for every product, as if of layer 0."""
        zeros = {
            (0, product): tuple(self._stored(np.zeros((RANKS[0], width), np.float32)) for width in (inner, sum(widths)))
            for product, (inner, widths) in self._family.products.items()
        }
        return Adapted(zeros, self._between)

    def _stored(self, matrix: Floats) -> Tensor:
        tensor = Tensor("F32", np.ascontiguousarray(matrix, np.float32))
        return bf16(tensor) if self._between == Type.bf16 else tensor

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

    def _embed(self, ids: Ids, positions: NDArray[np.int64]) -> Floats:
        embedded = self._family.embed(ids, positions)
        return self._entering(embedded)[0].data if self._entering else embedded

    def _finish(self, hidden: Floats) -> Floats:
        return self._family.finish(self._leaving(hidden)[0].data if self._leaving else hidden)

    def _pool(self, hidden: Floats, lengths: NDArray[np.int64]) -> Floats:
        """hidden: what a graph gave, which its next call overwrites; the answer is a copy."""
        finished = self._finish(hidden)
        return mean_pool(finished, lengths) if self._pooling == "mean" else np.array(finished)

    def _compile_options(self, kept_shapes: int) -> dict[str, Any]:
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if self._bf16 else "f32", "NUM_STREAMS": 1}
        options["CPU_RUNTIME_CACHE_CAPACITY"] = kept_shapes
        if self.threads:
            options["INFERENCE_NUM_THREADS"] = self.threads
        return options

    def _compile_product(self, matrix: Floats | None) -> "_Compiled | None":
        """x · matrix in f32. numpy's threads would go on spinning after it, and the layers that come next take half as long again."""
        if matrix is None:
            return None
        rows = parameter([-1, self.dim])
        product = ops.matmul(rows, ops.constant(np.ascontiguousarray(matrix, np.float32)), False, False)
        options = self._options | {"INFERENCE_PRECISION_HINT": "f32"}
        return _Compiled(self._core.compile_model(model([product], [rows], "product"), "CPU", options))

    def _compile_whole(self, products: frozenset[str]) -> "_Compiled":
        family, low = self._family, self._low_inputs(range(self._layers + 1), products)
        hidden = given = parameter([-1, self.dim])
        tokens, rows, last = self._token_inputs(), Rows.parameters(), Rows.parameters()
        pick = parameter([-1], Type.i32)
        for layer in range(self._layers):
            final = layer == self._layers - 1
            of_layer = _of_layer(low, layer)
            qkv = family.project(layer, hidden, of_layer)
            values = [ops.constant(value) for value in family.layer_values(layer)]
            attended = self._attention_nodes(qkv, qkv, tokens, tokens, values, last if final else rows)
            hidden = family.mix(layer, ops.gather(hidden, pick, ints(0)) if final else hidden, attended, of_layer)
        inputs = [given, *tokens, *rows.inputs(), *last.inputs(), pick, *_flat(low)]
        return self._compile([hidden], inputs, "whole")

    def _compile_stage(self, stage: int, products: frozenset[str]) -> "_Compiled":
        """Stage i ends layer i - 1 (not for the first) and begins layer i (not for the last)."""
        family, low = self._family, self._low_inputs([stage], products)
        hidden = parameter([-1, self.dim])
        inputs, outputs = [hidden], []
        if stage > 0:
            attended = parameter([-1, family.heads * family.head_dim], self._between)
            inputs.insert(0, attended)
            hidden = family.mix(stage - 1, hidden, as_type(attended, Type.f32), _of_layer(low, stage - 1))
            outputs.append(hidden)
        if stage < self._layers:
            outputs.append(as_type(family.project(stage, hidden, _of_layer(low, stage)), self._between))
        return self._compile(outputs, [*inputs, *_flat(low)], f"stage{stage}")

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
        for x, count in ((of_queries, family.heads), *[(of_keys, family.kv_heads)] * 2):
            columns = ops.slice(x, ints(first), ints(first + count * family.head_dim), ints(1), ints(1))
            heads.append(split_heads(columns, count, family.head_dim))
            first += count * family.head_dim
        q, k = family.turn("q", heads[0], q_tokens, values), family.turn("k", heads[1], k_tokens, values)
        return attention(gather(q, rows.queries), gather(k, rows.keys), gather(heads[2], rows.keys), rows)

    def _token_inputs(self) -> list[Node]:
        return [parameter([-1, 1, self._family.head_dim]) for _ in self._family.token_values(np.arange(1))]

    def _compile(self, outputs: list[Node], inputs: list[Node], name: str) -> "_Compiled":
        return _Compiled(self._core.compile_model(model(outputs, inputs, name), "CPU", self._options))


class _Compiled:
    """A compiled graph as a function of tensors. What it returns is overwritten by its next call.

    Unless `into` says where to write: then the room for its intermediates is given back, too, for the next graph to take while the
    caches still hold it.
    """

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._outputs = range(len(compiled.outputs))

    def __call__(self, *inputs: Any, into: Sequence[ov.Tensor] = ()) -> list[ov.Tensor]:
        # The request does not keep arrays alive that it reads: this list does.
        held = [value if isinstance(value, ov.Tensor) else ov.Tensor(np.ascontiguousarray(value), shared_memory=True) for value in inputs]
        for index, tensor in enumerate(held):
            self._request.set_input_tensor(index, tensor)
        for index, tensor in enumerate(into):
            self._request.set_output_tensor(index, tensor)
        self._request.infer()
        if into:
            self._compiled.release_memory()
        return [self._request.get_output_tensor(index) for index in self._outputs]


class _Passing:
    """What passes from layer to layer: hidden [tokens, dim] and q, k, v, each in two buffers, one read while the other is written."""

    def __init__(self, hidden: Floats, qkv_width: int, kind: Type, slice_tokens: int) -> None:
        self.hidden, self._next_hidden = (ov.Tensor(Type.f32, list(hidden.shape)) for _ in range(2))
        self.qkv, self._next_qkv = (ov.Tensor(kind, [len(hidden), qkv_width]) for _ in range(2))
        self._slice_tokens = slice_tokens
        self._began = False
        self.hidden.data[:] = hidden

    def run(self, stage: _Compiled, attended: ov.Tensor | None, start: int, end: int, low: list[ov.Tensor]) -> None:
        """One stage over the tokens start:end, in slices. attended: attention's answer for these tokens, None in the first layer."""
        for first, last in spans(end - start, self._slice_tokens):
            at, to = start + first, start + last
            projected = _part(self._next_qkv, at, to)
            if attended is None:
                stage(_part(self.hidden, at, to), *low, into=[projected])
            else:
                self._began = True
                written = [_part(self._next_hidden, at, to), projected]
                stage(_part(attended, first, last), _part(self.hidden, at, to), *low, into=written)

    def turn(self) -> None:
        """A layer is done: what was written is read from now on."""
        self.qkv, self._next_qkv = self._next_qkv, self.qkv
        if self._began:
            self.hidden, self._next_hidden = self._next_hidden, self.hidden


def _of_layer(low: Mapping[tuple[int, str], LowRankInputs], layer: int) -> dict[str, LowRankInputs]:
    return {product: inputs for (at, product), inputs in low.items() if at == layer}


def _flat(low: Mapping[tuple[int, str], LowRankInputs]) -> list[Node]:
    return [node for inputs in low.values() for node in inputs.inputs()]


def keep_large_blocks() -> None:
    """Have freed blocks stay in the process, where the next graph takes them, instead of going back to the system (glibc).

    Graphs give their room back after every call; cleared anew by the system each time it would cost 13 % of the speed.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def return_free_blocks() -> None:
    """Give the system what lies free between blocks that are in use (glibc): batches of ever other lengths leave holes."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


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


def _part(tensor: ov.Tensor, start: int, end: int) -> ov.Tensor:
    return ov.Tensor(tensor, [start, 0], [end, tensor.shape[1]])
