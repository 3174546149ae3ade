"""Qwen3 as graph pieces: norms, fused q/k/v, rotary positions, gated MLP; for int8 with a rotated residual stream.

Knows the mathematics of one family and nothing of batches. Source of the shape: the model's config and transformers' modeling_qwen3.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from huiyi.engines.checkpoint import Checkpoint, Qwen3Config, Weights
from huiyi.engines.graph import (
    Node,
    Precision,
    Quantized,
    gated_silu,
    ints,
    linear,
    ops,
    orthogonal,
    prepared,
    quantize,
    rms_norm,
    scalar,
    stack,
)
from huiyi.engines.prepared import Prepared
from huiyi.engines.weights import Tensor
from huiyi.types import Floats, Ids


class Qwen3:
    """One checkpoint's blocks; `openvino.Family` says what each method promises.

    For int8 the residual stream is rotated by an orthogonal matrix folded into the weights (QuaRot, Ashkboos et al. 2024): RMS norm
    without its weight commutes with a rotation, so the results are the same, but a channel a hundred times larger than the others is
    spread over all of them before activations are rounded to 8 bits. The values of a head are rotated likewise from v_proj to o_proj.
    """

    causal = True

    def __init__(self, checkpoint: Checkpoint, precision: Precision, kept: Prepared) -> None:
        assert isinstance(checkpoint.config, Qwen3Config)
        self.config: Qwen3Config = checkpoint.config
        self.heads, self.kv_heads, self.head_dim = self.config.num_heads, self.config.num_kv_heads, self.config.head_dim
        self._weights: Weights = checkpoint.weights
        self._precision: Precision = precision
        self._kept = kept
        self._rotation = orthogonal(self.config.hidden_size) if precision == "int8" else None
        self._head_rotation = orthogonal(self.head_dim)
        self._frequencies = self.config.rope_theta ** (-np.arange(0, self.head_dim, 2) / self.head_dim)

    def embed(self, ids: Ids, positions: NDArray[np.int64]) -> Floats:
        table = self._weights["embed_tokens.weight"]
        hidden = Tensor(table.dtype, table.data[ids]).float32()
        return hidden if self._rotation is None else hidden @ self._rotation

    def project(self, layer: int, hidden: Node) -> Node:
        name, norm = f"layers.{layer}.", "input_layernorm.weight"
        weight = self._into(name, [f"self_attn.{which}_proj.weight" for which in "qkv"], norm)
        return linear(self._norm(hidden, name + norm), weight)

    def token_values(self, positions: NDArray[np.int64]) -> list[Floats]:
        """cos and sin [tokens, 1, head_dim] of the rotary positions (Su et al. 2021)."""
        angles = np.outer(positions, self._frequencies)
        angles = np.concatenate([angles, angles], axis=1)[:, None, :]
        return [np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)]

    def layer_values(self, layer: int) -> list[Floats]:
        """The norms' weights [head_dim] of queries, which carry the scale of the scores, and of keys."""
        q, k = (self._weights[f"layers.{layer}.self_attn.{which}_norm.weight"].float32() for which in "qk")
        return [q * np.float32(self.head_dim**-0.5), np.array(k)]

    def turn(self, which: Literal["q", "k"], x: Node, token_values: list[Node], layer_values: list[Node]) -> Node:
        """Norm of each head, then its rotary position."""
        x = ops.multiply(rms_norm(x, None, self.config.rms_norm_eps), layer_values["qk".index(which)])
        half = self.head_dim // 2
        first, second = ops.variadic_split(x, ints(3), ints(half, half)).outputs()
        turned = ops.concat([ops.multiply(second, scalar(-1)), first], 3)
        return ops.add(ops.multiply(x, token_values[0]), ops.multiply(turned, token_values[1]))

    def mix(self, layer: int, hidden: Node, attended: Node) -> Node:
        name, norm = f"layers.{layer}.", "post_attention_layernorm.weight"
        hidden = ops.add(hidden, linear(attended, self._out_of(name + "self_attn.o_proj.weight")))
        gate, up = (self._into(name, [f"mlp.{which}_proj.weight"], norm) for which in ("gate", "up"))
        gated = gated_silu(self._norm(hidden, name + norm), gate, up)
        return ops.add(hidden, linear(gated, self._out_of(name + "mlp.down_proj.weight")))

    def finish(self, hidden: Floats) -> Floats:
        """The model's last norm, in float32."""
        hidden = hidden if self._rotation is None else hidden @ self._rotation.T
        mean = np.mean(hidden * hidden, axis=1, keepdims=True)
        normed: Floats = hidden / np.sqrt(mean + np.float32(self.config.rms_norm_eps)) * self._weights["norm.weight"].float32()
        return normed

    def _norm(self, x: Node, weight: str) -> Node:
        return rms_norm(x, self._weights[weight].float32() if self._rotation is None else None, self.config.rms_norm_eps)

    def _into(self, layer: str, names: list[str], norm: str) -> Tensor | Quantized:
        """Weights that read the residual stream through a norm, one below the other."""
        tensors, rotation = [self._weights[layer + name] for name in names], self._rotation
        if rotation is None and len(tensors) == 1:
            return prepared(tensors[0], self._precision)

        def make() -> Tensor | Quantized:
            if rotation is None:
                return prepared(stack(tensors), self._precision)
            matrices: list[Floats] = [tensor.float32() for tensor in tensors]
            if len(matrices) == 3:  # q, k, v: the heads of v are rotated, see the class
                v = matrices[2].reshape(self.kv_heads, self.head_dim, -1)
                matrices[2] = np.asarray(np.einsum("dr,hdi->hri", self._head_rotation, v, optimize=True), np.float32).reshape(
                    -1, v.shape[2]
                )
            together = np.concatenate(matrices) * self._weights[layer + norm].float32()
            return quantize(np.asarray(together @ rotation, np.float32))

        return self._kept(layer + "+".join(name.split(".")[-2] for name in names), make)

    def _out_of(self, name: str) -> Tensor | Quantized:
        """Weights that write to the residual stream."""
        tensor, rotation = self._weights[name], self._rotation
        if rotation is None:
            return prepared(tensor, self._precision)

        def make() -> Quantized:
            matrix: Floats = np.asarray(rotation.T @ tensor.float32(), np.float32)
            if "o_proj" in name:
                matrix = np.asarray(matrix.reshape(-1, self.head_dim) @ self._head_rotation, np.float32).reshape(matrix.shape)
            return quantize(matrix)

        return self._kept(name, make)
