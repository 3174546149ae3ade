"""Qwen3 as graph pieces: norms, fused q/k/v, rotary positions, gated MLP; for int8 with a rotated residual stream.

Knows the mathematics of one family and nothing of batches. Source of the shape: the model's config and transformers' modeling_qwen3.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from huiyi.engines.adapters import LowRank, stacked
from huiyi.engines.checkpoint import Checkpoint, Qwen3Config, Weights
from huiyi.engines.graph import (
    LowRankInputs,
    Node,
    Precision,
    Quantized,
    Rounded,
    bf16,
    gated_silu,
    ints,
    linear,
    ops,
    orthogonal,
    prepared,
    quantize,
    rms_norm,
    rms_rounded,
    stack,
)
from huiyi.engines.prepared import Prepared
from huiyi.engines.weights import Tensor
from huiyi.types import Floats, Ids

LOUD = 8  # times the median channel

PRODUCTS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate": ("mlp.gate_proj",),
    "up": ("mlp.up_proj",),
    "down": ("mlp.down_proj",),
}


class Qwen3:
    """One checkpoint's blocks; `openvino.Family` says what each method promises.

    For int8 the residual stream is rotated by an orthogonal matrix folded into the weights (QuaRot, Ashkboos et al. 2024): RMS norm
    without its weight commutes with a rotation, so the results are the same, but a channel larger than the others is spread over all of
    them before activations are rounded to 8 bits. A channel many times larger is first divided by the root of how many times, and what
    reads it multiplied (SmoothQuant, Xiao et al. 2023), so that neither drowns the rest; the norms add what they then miss of its square.
    The values of a head are rotated likewise from v_proj to o_proj.
    """

    causal = True

    def __init__(self, checkpoint: Checkpoint, precision: Precision, kept: Prepared) -> None:
        assert isinstance(checkpoint.config, Qwen3Config)
        self.config: Qwen3Config = checkpoint.config
        self.heads, self.kv_heads, self.head_dim = self.config.num_heads, self.config.num_kv_heads, self.config.head_dim
        heads, values, hidden = self.heads * self.head_dim, self.kv_heads * self.head_dim, self.config.hidden_size
        inner = self.config.intermediate_size
        self.products: dict[str, tuple[int, tuple[int, ...]]] = {
            "qkv": (hidden, (heads, values, values)),
            "o": (heads, (hidden,)),
            "gate": (hidden, (inner,)),
            "up": (hidden, (inner,)),
            "down": (inner, (hidden,)),
        }
        self._weights: Weights = checkpoint.weights
        self._precision: Precision = precision
        self._kept = kept
        self._rotation = orthogonal(self.config.hidden_size) if precision == "int8" else None
        self.entering: Floats | None = None
        self.leaving: Floats | None = None
        self._divisors: Floats = np.ones(hidden, np.float32)
        self._missing: Floats | None = None  # a projection, see `rms_norm`
        self._loud: frozenset[int] = frozenset()  # layers in bf16
        if self._rotation is not None:
            norms = self._kept("rows", self._row_norms)
            assert isinstance(norms, Tensor)
            self._smooth(np.array(norms.data))
            self.entering, self.leaving = self._rotation / self._divisors[:, None], self._rotation.T * self._divisors
        self._head_rotation = orthogonal(self.head_dim)
        self._frequencies = self.config.rope_theta ** (-np.arange(0, self.head_dim, 2) / self.head_dim)

    def embed(self, ids: Ids, positions: NDArray[np.int64]) -> Floats:
        table = self._weights["embed_tokens.weight"]
        return Tensor(table.dtype, table.data[ids]).float32()

    def project(self, layer: int, hidden: Node, low: Mapping[str, LowRankInputs]) -> Node:
        name, norm = f"layers.{layer}.", "input_layernorm.weight"
        weight = self._into(name, [f"self_attn.{which}_proj.weight" for which in "qkv"], norm)
        return linear(self._norm(hidden, layer, norm), weight, low=low.get("qkv"))

    def token_values(self, positions: NDArray[np.int64]) -> list[Floats]:
        """cos and signed sin [tokens, 1, head_dim] of the rotary positions (Su et al. 2021): the sign of `turn`'s swapped halves."""
        angles = np.outer(positions, self._frequencies)[:, None, :]
        cos, sin = np.cos(angles), np.sin(angles)
        return [np.concatenate([cos, cos], 2).astype(np.float32), np.concatenate([-sin, sin], 2).astype(np.float32)]

    def layer_values(self, layer: int) -> list[Floats]:
        """The norms' weights [head_dim] of queries, which carry the scale of the scores, and of keys."""
        q, k = (self._weights[f"layers.{layer}.self_attn.{which}_norm.weight"].float32() for which in "qk")
        return [q * np.float32(self.head_dim**-0.5), np.array(k)]

    def turn(self, which: Literal["q", "k"], x: Node, token_values: list[Node], layer_values: list[Node]) -> Node:
        """Norm of each head, then its rotary position; the norm's weight goes with cos and sin, which all heads share."""
        x, weight = rms_norm(x, None, self.config.rms_norm_eps), layer_values["qk".index(which)]
        cos, sin = (ops.multiply(value, w) for value, w in zip(token_values, (weight, self._swapped(weight, 0)), strict=True))
        return ops.add(ops.multiply(x, cos), ops.multiply(self._swapped(x, 2), sin))

    def _swapped(self, x: Node, axis: int) -> Node:
        """The two halves of each head, the second one first."""
        half = self.head_dim // 2
        first, second = ops.variadic_split(x, ints(axis), ints(half, half)).outputs()
        return ops.concat([second, first], axis)

    def mix(self, layer: int, hidden: Node, attended: Node, low: Mapping[str, LowRankInputs]) -> Node:
        name, norm = f"layers.{layer}.", "post_attention_layernorm.weight"
        hidden = ops.add(hidden, linear(attended, self._out_of(name + "self_attn.o_proj.weight"), low=low.get("o")))
        gate, up = (self._into(name, [f"mlp.{which}_proj.weight"], norm) for which in ("gate", "up"))
        gated = gated_silu(self._norm(hidden, layer, norm), gate, up, (low.get("gate"), low.get("up")))
        return ops.add(hidden, linear(gated, self._out_of(name + "mlp.down_proj.weight"), low=low.get("down")))

    def low_rank(self, layer: int, product: str, linears: Mapping[str, LowRank], rank: int) -> LowRank | None:
        names = [f"layers.{layer}.{module}.weight" for module in PRODUCTS[product]]
        inner, widths = self.products[product]
        parts = [self._turned(name, linears[name]) if name in linears else None for name in names]
        return stacked(parts, widths, inner, rank) if any(parts) else None

    def finish(self, hidden: Floats) -> Floats:
        """The model's last norm, in float32."""
        mean = np.mean(hidden * hidden, axis=1, keepdims=True)
        normed: Floats = hidden / np.sqrt(mean + np.float32(self.config.rms_norm_eps)) * self._weights["norm.weight"].float32()
        return normed

    def _norm(self, x: Node, layer: int, weight: str) -> Node | Rounded:
        if self._rotation is None:
            return rms_norm(x, self._weights[f"layers.{layer}.{weight}"].float32(), self.config.rms_norm_eps)
        if layer in self._loud:
            return rms_norm(x, None, self.config.rms_norm_eps, self._missing)
        return rms_rounded(x, self.config.rms_norm_eps, self._missing)

    def _into(self, layer: str, names: list[str], norm: str) -> Tensor | Quantized:
        """Weights that read the residual stream through a norm, one below the other."""
        tensors, rotation = [self._weights[layer + name] for name in names], self._rotation
        if rotation is None and len(tensors) == 1:
            return prepared(tensors[0], self._precision)

        def make() -> Tensor | Quantized:
            if rotation is None:
                return prepared(stack(tensors), self._precision)
            matrices: list[Floats] = [tensor.float32() for tensor in tensors]
            if len(matrices) == 3:  # q, k, v
                matrices[2] = self._turned_values(matrices[2])
            return self._rounded(self._reading(np.concatenate(matrices), layer + norm), layer)

        return self._kept(layer + "+".join(name.split(".")[-2] for name in names), make)

    def _out_of(self, name: str) -> Tensor | Quantized:
        """Weights that write to the residual stream."""
        tensor, rotation = self._weights[name], self._rotation
        if rotation is None:
            return prepared(tensor, self._precision)

        def make() -> Tensor | Quantized:
            matrix = self._writing(tensor.float32())
            return self._rounded(self._reading_values(matrix) if "o_proj" in name else matrix, name)

        return self._kept(name, make)

    def _rounded(self, matrix: Floats, name: str) -> Tensor | Quantized:
        is_loud = int(name.split(".")[1]) in self._loud
        return bf16(Tensor("F32", matrix)) if is_loud else quantize(matrix)

    def _row_norms(self) -> Tensor:
        """How much each matrix writes to each channel of the residual stream, beside the median channel: [1 + 2 · layers, hidden]."""
        table = self._weights["embed_tokens.weight"]
        some = Tensor(table.dtype, table.data[:: max(1, len(table.data) // 2048)]).float32()
        norms = [np.linalg.norm(some, axis=0)]
        for layer in range(self.config.num_layers):
            for name in ("self_attn.o_proj", "mlp.down_proj"):
                norms.append(np.linalg.norm(self._weights[f"layers.{layer}.{name}.weight"].float32(), axis=1))
        return Tensor("F32", np.array([norm / max(np.median(norm), 1e-12) for norm in norms], np.float32))

    def _smooth(self, norms: Floats) -> None:
        """Channels that get much more than the others are divided by the root of how much; layers that write so much stay in bf16."""
        self._loud = frozenset(np.flatnonzero(norms[1:].reshape(-1, 2 * norms.shape[1]).max(axis=1) > LOUD).tolist())
        times = norms.max(axis=0)
        self._divisors = np.sqrt(np.where(times > LOUD, times, 1)).astype(np.float32)
        channels = np.flatnonzero(self._divisors > 1)
        if len(channels) and self._rotation is not None:
            missed = np.sqrt((self._divisors[channels] ** 2 - 1) / len(times))
            self._missing = np.ascontiguousarray(self._rotation.T[:, channels] * missed, np.float32)

    # What the rotations of int8 make of a matrix [out, in], by what it reads and what it writes.

    def _turned(self, name: str, low: LowRank) -> LowRank:
        if self._rotation is None:
            return low
        layer, _, module = name.removesuffix(".weight").rpartition(".")
        a, b = low.a, low.b
        match module:
            case "o_proj":
                a, b = self._reading_values(a), self._writing(b)
            case "down_proj":
                b = self._writing(b)
            case "gate_proj" | "up_proj":
                a = self._reading(a, layer.removesuffix("mlp") + "post_attention_layernorm.weight")
            case _:
                a = self._reading(a, layer.removesuffix("self_attn") + "input_layernorm.weight")
                b = self._turned_values(b) if module == "v_proj" else b
        return LowRank(a, b)

    def _reading(self, matrix: Floats, norm: str) -> Floats:
        """It reads the residual stream behind a norm, whose weight it takes over."""
        assert self._rotation is not None
        return np.asarray(matrix * (self._weights[norm].float32() * self._divisors) @ self._rotation, np.float32)

    def _writing(self, matrix: Floats) -> Floats:
        """It writes to the residual stream."""
        assert self._rotation is not None
        return np.asarray(self._rotation.T @ (matrix / self._divisors[:, None]), np.float32)

    def _reading_values(self, matrix: Floats) -> Floats:
        """It reads the heads' values, mixed by attention."""
        return np.asarray(matrix.reshape(-1, self.head_dim) @ self._head_rotation, np.float32).reshape(matrix.shape)

    def _turned_values(self, matrix: Floats) -> Floats:
        """It writes the heads' values."""
        heads = matrix.reshape(self.kv_heads, self.head_dim, -1)
        turned = np.einsum("dr,hdi->hri", self._head_rotation, heads, optimize=True)
        return np.asarray(turned, np.float32).reshape(matrix.shape)
