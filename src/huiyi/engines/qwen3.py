"""Qwen3 as graph pieces: norms, fused q/k/v, rotary positions, gated MLP; for int8 with a rotated residual stream.

Knows the mathematics of one family and nothing of batches. Source of the shape: the model's config and transformers' modeling_qwen3.
"""

import numpy as np
from numpy.typing import NDArray

from huiyi.engines.checkpoint import Checkpoint, Qwen3Config, Weights
from huiyi.engines.graph import (
    Node,
    Precision,
    Quantized,
    ints,
    linear,
    ops,
    orthogonal,
    parameter,
    prepared,
    quantize,
    rms_norm,
    scalar,
    stack,
)
from huiyi.engines.weights import Tensor
from huiyi.types import Floats, Ids


class Qwen3:
    """One checkpoint's blocks; `openvino.Family` says what each method promises.

    For int8 the residual stream is rotated by an orthogonal matrix folded into the weights (QuaRot, Ashkboos et al. 2024): RMS norm
    without its weight commutes with a rotation, so the results are the same, but a channel a hundred times larger than the others is
    spread over all of them before activations are rounded to 8 bits. The values of a head are rotated likewise from v_proj to o_proj.
    """

    causal = True

    def __init__(self, checkpoint: Checkpoint, precision: Precision) -> None:
        assert isinstance(checkpoint.config, Qwen3Config)
        self.config: Qwen3Config = checkpoint.config
        self.heads, self.kv_heads, self.head_dim = self.config.num_heads, self.config.num_kv_heads, self.config.head_dim
        self._weights: Weights = checkpoint.weights
        self._precision: Precision = precision
        self._rotation = orthogonal(self.config.hidden_size) if precision == "int8" else None
        self._head_rotation = orthogonal(self.head_dim)
        self._frequencies = self.config.rope_theta ** (-np.arange(0, self.head_dim, 2) / self.head_dim)

    def embed(self, ids: Ids, positions: NDArray[np.int64]) -> Floats:
        table = self._weights["embed_tokens.weight"]
        hidden = Tensor(table.dtype, table.data[ids]).float32()
        return hidden if self._rotation is None else hidden @ self._rotation

    def extras(self, positions: NDArray[np.int64]) -> list[Floats]:
        """cos and sin [tokens, 1, head_dim] of the rotary positions (Su et al. 2021)."""
        angles = np.outer(positions, self._frequencies)
        angles = np.concatenate([angles, angles], axis=1)[:, None, :]
        return [np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)]

    def extra_inputs(self) -> list[Node]:
        return [parameter([-1, 1, self.head_dim]), parameter([-1, 1, self.head_dim])]

    def qkv(self, layer: int, hidden: Node, extras: list[Node]) -> tuple[Node, Node, Node]:
        name = f"layers.{layer}."
        widths = [self.heads * self.head_dim, self.kv_heads * self.head_dim, self.kv_heads * self.head_dim]
        x = self._norm(hidden, name + "input_layernorm.weight")
        weight = self._into([f"{name}self_attn.{which}_proj.weight" for which in "qkv"], name + "input_layernorm.weight", name)
        q, k, v = ops.variadic_split(linear(x, weight), ints(1), ints(*widths)).outputs()
        scale = np.float32(self.head_dim**-0.5)  # of the scores; in the norm's weight it costs nothing
        q = self._rotary(self._head_norm(q, self.heads, name + "self_attn.q_norm.weight", scale), extras)
        k = self._rotary(self._head_norm(k, self.kv_heads, name + "self_attn.k_norm.weight", np.float32(1)), extras)
        return q, k, ops.reshape(v, ints(-1, self.kv_heads, self.head_dim), False)

    def mix(self, layer: int, hidden: Node, attended: Node) -> Node:
        name = f"layers.{layer}."
        hidden = ops.add(hidden, linear(attended, self._out_of(name + "self_attn.o_proj.weight")))
        x = self._norm(hidden, name + "post_attention_layernorm.weight")
        gate, up = (
            self._into([f"{name}mlp.{which}_proj.weight"], name + "post_attention_layernorm.weight", name) for which in ("gate", "up")
        )
        gated = ops.multiply(ops.swish(linear(x, gate)), linear(x, up))
        return ops.add(hidden, linear(gated, self._out_of(name + "mlp.down_proj.weight")))

    def finish(self, hidden: Floats) -> Floats:
        """The model's last norm, on [n, hidden] that have left the graph, in float32."""
        hidden = hidden if self._rotation is None else hidden @ self._rotation.T
        mean = np.mean(hidden * hidden, axis=1, keepdims=True)
        return hidden / np.sqrt(mean + np.float32(self.config.rms_norm_eps)) * self._weights["norm.weight"].float32()

    def _norm(self, x: Node, weight: str) -> Node:
        return rms_norm(x, self._weights[weight].float32() if self._rotation is None else None, self.config.rms_norm_eps)

    def _into(self, names: list[str], norm: str, layer: str) -> Tensor | Quantized:
        """Weights that read the residual stream through a norm."""
        tensors = [self._weights[name] for name in names]
        if self._rotation is None:
            return prepared(stack(tensors) if len(tensors) > 1 else tensors[0], self._precision)
        matrices = [tensor.float32() for tensor in tensors]
        if len(matrices) == 3:  # q, k, v: the heads of v are rotated, see the class
            v = matrices[2].reshape(self.kv_heads, self.head_dim, -1)
            matrices[2] = np.einsum("dr,hdi->hri", self._head_rotation, v, optimize=True).reshape(matrices[2].shape)
        return quantize((np.concatenate(matrices) * self._weights[norm].float32()) @ self._rotation)

    def _out_of(self, name: str) -> Tensor | Quantized:
        """Weights that write to the residual stream."""
        tensor = self._weights[name]
        if self._rotation is None:
            return prepared(tensor, self._precision)
        matrix = self._rotation.T @ tensor.float32()
        if "o_proj" in name:
            matrix = (matrix.reshape(-1, self.head_dim) @ self._head_rotation).reshape(matrix.shape)
        return quantize(matrix)

    def _head_norm(self, x: Node, heads: int, weight: str, scale: np.float32) -> Node:
        per_head = ops.reshape(x, ints(-1, heads, self.head_dim), False)
        return rms_norm(per_head, self._weights[weight].float32() * scale, self.config.rms_norm_eps)

    def _rotary(self, x: Node, extras: list[Node]) -> Node:
        half = self.head_dim // 2
        first, second = ops.variadic_split(x, ints(2), ints(half, half)).outputs()
        turned = ops.concat([ops.multiply(second, scalar(-1)), first], 2)
        return ops.add(ops.multiply(x, extras[0]), ops.multiply(turned, extras[1]))
