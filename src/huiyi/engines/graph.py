"""The pieces that both families' graphs are made of: constants, linear layers in three precisions, attention over packed rows.

Everything is packed: the tokens of a batch lie behind one another in [tokens, width], so nothing but attention ever sees padding.
Knows OpenVINO and arrays; knows no family, no file and no text.
"""

import os
import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from huiyi.engines.weights import Tensor
from huiyi.types import Floats

# OpenVINO reports its import to a server of its maker's unless this module is made unimportable first; huiyi sends nothing to anyone.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
# A kernel a shape is kept, 1,024 of them unless this says otherwise, read once when the library is loaded; see openvino.KEPT_SHAPES.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

import openvino as ov  # noqa: E402
from openvino import Type, op  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

__all__ = [
    "LowRankInputs",
    "Node",
    "Precision",
    "Quantized",
    "Rounded",
    "Rows",
    "Type",
    "as_type",
    "attention",
    "bf16",
    "gated_silu",
    "gather",
    "ints",
    "layer_norm",
    "linear",
    "model",
    "ops",
    "orthogonal",
    "ov",
    "parameter",
    "prepared",
    "quantize",
    "rms_norm",
    "rms_rounded",
    "rounded",
    "scalar",
    "split_heads",
    "stack",
]

Precision = Literal["fp32", "bf16", "int8"]
Node = Any  # an OpenVINO node or one output of it
_TYPES = {"BF16": Type.bf16, "F32": Type.f32, "I8": Type.i8}


def ints(*values: int) -> Node:
    return ops.constant(np.array(values, dtype=np.int64))


def scalar(value: float) -> Node:
    return ops.constant(np.float32(value))


def parameter(shape: list[Any], kind: Type = Type.f32) -> Node:
    """An input; -1 is a size known at run time."""
    return ops.parameter(shape, kind)


def model(outputs: list[Node], inputs: list[Node], name: str) -> ov.Model:
    return ov.Model([ops.result(output) for output in outputs], inputs, name)


def constant(tensor: Tensor) -> Node:
    """BF16, F32 or int8 weights; where they lie in the mapped file they are used there, without a copy (the checkpoint must stay alive)."""
    mapped = getattr(tensor.data, "_mmap", None) is not None  # an array that was computed has no file behind it
    value = ov.Tensor(np.ascontiguousarray(tensor.data), list(tensor.data.shape), _TYPES[tensor.dtype])
    return op.Constant(value, shared_memory=mapped)


def bf16(tensor: Tensor) -> Tensor:
    """The same weights rounded to bf16, nearest and ties to even."""
    if tensor.dtype == "BF16":
        return tensor
    bits = np.ascontiguousarray(tensor.float32()).view(np.uint32)
    return Tensor("BF16", ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16))


@dataclass(frozen=True)
class Quantized:
    """Symmetric int8 weights with one float32 scale an output row: values int8 [out, in], scales float32 [out, 1]."""

    values: Any
    scales: Floats


def quantize(weight: Floats) -> Quantized:
    """Round each row of [out, in] to -127..127 times its own scale."""
    scales = np.maximum(np.abs(weight).max(axis=1, keepdims=True), np.float32(1e-12)) / np.float32(127)
    return Quantized(np.rint(weight / scales).astype(np.int8), scales)


def prepared(tensor: Tensor, precision: Precision) -> Tensor | Quantized:
    """A weight matrix [out, in] as `linear` wants it for this precision."""
    if precision == "int8":
        return quantize(tensor.float32())
    return bf16(tensor) if precision == "bf16" else Tensor("F32", tensor.float32())


@dataclass(frozen=True)
class Rounded:
    """Tokens as int8 products take them: values [tokens, in] on 255 even steps from -1 to 1, and the scale [tokens, 1] of each token.

    plain: the same tokens before rounding.
    """

    values: Node
    scale: Node
    plain: Node


def rounded(x: Node, scale: Node | None = None) -> Rounded:
    """Each token is divided by its largest number, so that one fixed step of rounding fits all of them.

    To the plugin the product with int8 weights is then one of known ranges, its fastest kernel (AMX, VNNI). scale: [tokens, 1], by which
    x is still to be multiplied.
    """
    x = as_type(x, Type.f32)
    largest = _largest(x)
    if scale is None:
        return Rounded(_on_steps(ops.divide(x, largest)), _apart(largest), x)
    return Rounded(_on_steps(ops.divide(x, largest)), ops.multiply(_apart(largest), scale), ops.multiply(x, scale))


def rms_rounded(x: Node, eps: float, missing: Floats | None = None) -> Rounded:
    """`rounded` of `rms_norm` without a weight: the norm only changes the scale. missing: as there."""
    largest, mean = _largest(x), _mean_square(x, missing)
    scale = ops.divide(largest, ops.sqrt(ops.add(mean, scalar(eps))))
    return Rounded(_on_steps(ops.divide(x, largest)), _apart(scale), rms_norm(x, None, eps, missing))


def _largest(x: Node) -> Node:
    # two passes that only read are quicker than one for |x| and one over it
    both = ops.maximum(ops.reduce_max(x, ints(-1), True), ops.negative(ops.reduce_min(x, ints(-1), True)))
    return ops.maximum(both, scalar(1e-12))


def _on_steps(x: Node) -> Node:
    low, high = scalar(-1), scalar(1)
    return ops.fake_quantize(x, low, high, low, high, 255)


def _apart(scale: Node) -> Node:
    """The same numbers by way of a product. The plugin computes in f32, at half the speed, whatever leads to an output without one."""
    return ops.matmul(scale, ops.constant(np.ones((1, 1), np.float32)), False, False)


@dataclass(frozen=True)
class LowRankInputs:
    """What an adapter adds to one product, as inputs of the graph: a [rank, in], b [rank, out]; the rank is known at run time."""

    a: Node
    b: Node

    @classmethod
    def parameters(cls, inner: int, outer: int, kind: Type) -> "LowRankInputs":
        return cls(parameter([-1, inner], kind), parameter([-1, outer], kind))

    def inputs(self) -> list[Node]:
        return [self.a, self.b]


def linear(x: Node | Rounded, weight: Tensor | Quantized, bias: Floats | None = None, low: LowRankInputs | None = None) -> Node:
    """x [tokens, in] times weight [out, in] transposed, plus bias [out], plus x · aᵀ · b: f32."""
    y = as_type(_product(x, weight, low), Type.f32)
    return y if bias is None else ops.add(y, ops.constant(bias))


def gated_silu(
    x: Node | Rounded,
    gate: Tensor | Quantized,
    up: Tensor | Quantized,
    low: tuple[LowRankInputs | None, LowRankInputs | None] = (None, None),
) -> Node | Rounded:
    """silu(x · gateᵀ) · (x · upᵀ), as wide as the products (Shazeer 2020): input for `linear`. low: of gate and of up."""
    opened = _product(x, gate, low[0])
    gated = ops.swish(opened, ops.convert(scalar(1), opened.get_element_type()))
    if isinstance(x, Rounded) and isinstance(up, Quantized) and low[1] is None:
        return rounded(ops.multiply(gated, _whole_numbers(x, up)), x.scale)  # one pass less than with the scale before
    return ops.multiply(gated, _product(x, up, low[1]))


def _product(x: Node | Rounded, weight: Tensor | Quantized, low: LowRankInputs | None = None) -> Node:
    """BF16 weights multiply in bf16 and give bf16, others f32."""
    y = _weighted(x, weight)
    if low is None:
        return y
    plain = as_type(x.plain if isinstance(x, Rounded) else x, low.a.get_element_type())
    return ops.add(y, as_type(ops.matmul(ops.matmul(plain, low.a, False, True), low.b, False, False), y.get_element_type()))


def _weighted(x: Node | Rounded, weight: Tensor | Quantized) -> Node:
    if isinstance(weight, Quantized):
        rows = x if isinstance(x, Rounded) else rounded(x)
        return ops.multiply(_whole_numbers(rows, weight), rows.scale)
    assert not isinstance(x, Rounded)
    # bf16 in the graph itself: weights widened here and narrowed again by the plugin are held twice and take 30 times as long to compile.
    kind = _TYPES[weight.dtype]
    return ops.matmul(as_type(x, kind), constant(weight), False, True)


def _whole_numbers(x: Rounded, weight: Quantized) -> Node:
    """The product without the scale of the tokens."""
    wide = ops.multiply(ops.convert(constant(Tensor("I8", weight.values)), Type.f32), ops.constant(weight.scales))
    return ops.matmul(x.values, wide, False, True)


def as_type(x: Node, kind: Type) -> Node:
    return x if x.get_element_type() == kind else ops.convert(x, kind)


def stack(tensors: list[Tensor]) -> Tensor:
    """Several weights [out, in] of one type as one, so that one multiplication does the work of all."""
    return Tensor(tensors[0].dtype, np.concatenate([tensor.data for tensor in tensors]))


def rms_norm(x: Node, weight: Floats | None, eps: float, missing: Floats | None = None) -> Node:
    """x / sqrt(mean(x²) + eps) · weight over the last axis (Zhang and Sennrich 2019).

    missing: a projection [width, k] whose squares belong to the mean, too.
    """
    mean = _mean_square(x, missing)
    y = ops.multiply(x, ops.divide(scalar(1), ops.sqrt(ops.add(mean, scalar(eps)))))
    return ops.multiply(
        y, ops.constant(weight if weight is not None else np.ones(x.get_output_partial_shape(0)[-1].get_length(), np.float32))
    )


def _mean_square(x: Node, missing: Floats | None) -> Node:
    mean = ops.reduce_mean(ops.power(x, scalar(2)), ints(-1), True)
    if missing is None:
        return mean
    beside = ops.matmul(x, ops.constant(missing), False, False)
    return ops.add(mean, ops.reduce_sum(ops.multiply(beside, beside), ints(-1), True))


def layer_norm(x: Node, weight: Floats, bias: Floats, eps: float) -> Node:
    """(x - mean) / sqrt(variance + eps) · weight + bias over the last axis (Ba et al. 2016)."""
    y = ops.mvn(x, ints(-1), True, eps, "inside_sqrt")
    return ops.add(ops.multiply(y, ops.constant(weight)), ops.constant(bias))


@dataclass(frozen=True)
class Rows:
    """Where attention finds its tokens: inputs of the graph, made from the lengths of a batch.

    queries, keys: int32 [rows, longest], positions in the packed batch (padding: any position).
    mask: float32 [rows or 1, 1, queries or 1, keys], added to the scores. back: int32 [tokens], where each query token's answer
    lies in the padded result.
    """

    queries: Node
    keys: Node
    mask: Node
    back: Node

    @classmethod
    def parameters(cls) -> "Rows":
        return cls(parameter([-1, -1], Type.i32), parameter([-1, -1], Type.i32), parameter([-1, 1, -1, -1]), parameter([-1], Type.i32))

    def inputs(self) -> list[Node]:
        return [self.queries, self.keys, self.mask, self.back]


def attention(q: Node, k: Node, v: Node, rows: Rows) -> Node:
    """Softmax attention (Vaswani et al. 2017), each row over its own keys; q is scaled already.

    q [rows, queries, heads, head_dim], k and v [rows, keys, kv_heads, head_dim] → [tokens, heads · head_dim].
    """
    (heads, head_dim), kv_heads = (_size(q, axis) for axis in (2, 3)), _size(k, 2)

    def heads_first(x: Node) -> Node:
        return ops.transpose(x, ints(0, 2, 1, 3))

    def repeat(x: Node) -> Node:  # kv heads to query heads; a tile is cheaper than stacking queries (1.5 against 2.3 ms, 28 × 18 tokens)
        if heads == kv_heads:
            return x
        tiled = ops.tile(ops.unsqueeze(x, ints(2)), ints(1, 1, heads // kv_heads, 1, 1))
        return ops.reshape(tiled, ints(0, heads, -1, head_dim), True)

    scores = ops.matmul(heads_first(q), repeat(heads_first(k)), False, True)
    mixed = ops.matmul(ops.softmax(ops.add(scores, rows.mask), -1), repeat(heads_first(v)), False, False)
    padded = ops.reshape(heads_first(mixed), ints(-1, heads * head_dim), False)
    return ops.gather(padded, rows.back, ints(0))


def gather(x: Node, where: Node) -> Node:
    """Packed [tokens, …] to padded [rows, longest, …]."""
    return ops.gather(x, where, ints(0))


def split_heads(x: Node, heads: int, head_dim: int) -> Node:
    """[tokens, heads · head_dim] → [tokens, heads, head_dim]."""
    return ops.reshape(x, ints(0, heads, head_dim), True)


def _size(x: Node, axis: int) -> int:
    return int(x.get_output_partial_shape(0)[axis].get_length())


def orthogonal(size: int) -> Floats:
    """A fixed orthogonal matrix [size, size] that spreads any one channel evenly over many.

    Hadamard (Sylvester 1867) for the power of two in `size` and a random orthogonal matrix for the odd rest, with random signs
    (so that no plausible direction, all channels equal say, is gathered into one); the seed is part of the definition.
    """
    random = np.random.default_rng(0)
    odd, hadamard = size, np.ones((1, 1))
    while odd % 2 == 0:
        odd, hadamard = odd // 2, np.block([[hadamard, hadamard], [hadamard, -hadamard]]) / np.sqrt(2)
    rest = np.linalg.qr(random.standard_normal((odd, odd)))[0]
    return (random.choice([-1.0, 1.0], size)[:, None] * np.kron(rest, hadamard)).astype(np.float32)
