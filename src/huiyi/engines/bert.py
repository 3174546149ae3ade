"""BERT, RoBERTa and XLM-R as graph pieces: post-norm layers with biases, absolute positions, attention in both directions.

Knows the mathematics of one family and nothing of batches. Source of the shape: transformers' modeling_bert and modeling_xlm_roberta.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from huiyi.engines.adapters import LowRank, stacked
from huiyi.engines.checkpoint import BertConfig, Checkpoint, Weights
from huiyi.engines.graph import LowRankInputs, Node, Precision, layer_norm, linear, ops, prepared, scalar, stack
from huiyi.engines.prepared import Prepared
from huiyi.engines.weights import Tensor
from huiyi.types import Floats, Ids

PRODUCTS = {
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "o": ("attention.output.dense",),
    "up": ("intermediate.dense",),
    "down": ("output.dense",),
}


class Bert:
    """One checkpoint's blocks; `openvino.Family` says what each method promises."""

    causal = False
    entering: Floats | None = None
    leaving: Floats | None = None

    def __init__(self, checkpoint: Checkpoint, precision: Precision, kept: Prepared) -> None:
        del kept  # these models are small: what is derived is made in memory
        assert isinstance(checkpoint.config, BertConfig)
        self.config: BertConfig = checkpoint.config
        self.heads = self.kv_heads = self.config.num_heads
        self.head_dim = self.config.hidden_size // self.heads
        hidden, inner = self.config.hidden_size, self.config.intermediate_size
        self.products: dict[str, tuple[int, tuple[int, ...]]] = {
            "qkv": (hidden, (hidden,) * 3),
            "o": (hidden, (hidden,)),
            "up": (hidden, (inner,)),
            "down": (inner, (hidden,)),
        }
        self._weights: Weights = checkpoint.weights
        self._precision: Precision = precision

    def embed(self, ids: Ids, positions: NDArray[np.int64]) -> Floats:
        name = "embeddings."
        words, places = self._weights[name + "word_embeddings.weight"], self._weights[name + "position_embeddings.weight"]
        kinds = self._weights[name + "token_type_embeddings.weight"]
        kind, word = np.divmod(ids, self.config.vocab_size)  # an id from vocab_size on is the same word in a second text
        hidden = (
            Tensor(words.dtype, words.data[word]).float32()
            + Tensor(kinds.dtype, kinds.data[kind]).float32()
            + Tensor(places.dtype, places.data[positions + self.config.position_offset]).float32()
        )
        centred = hidden - hidden.mean(axis=1, keepdims=True)
        scale = np.sqrt(np.mean(centred * centred, axis=1, keepdims=True) + np.float32(self.config.layer_norm_eps))
        normed: Floats = centred / scale * self._vector(name + "LayerNorm.weight") + self._vector(name + "LayerNorm.bias")
        return normed

    def project(self, layer: int, hidden: Node, low: Mapping[str, LowRankInputs]) -> Node:
        names = [f"encoder.layer.{layer}.attention.self.{which}" for which in ("query", "key", "value")]
        weight = stack([self._weights[name + ".weight"] for name in names])
        bias = np.concatenate([self._vector(name + ".bias") for name in names])
        return linear(hidden, prepared(weight, self._precision), bias, low.get("qkv"))

    def token_values(self, positions: NDArray[np.int64]) -> list[Floats]:
        return []

    def layer_values(self, layer: int) -> list[Floats]:
        return []

    def turn(self, which: Literal["q", "k"], x: Node, token_values: list[Node], layer_values: list[Node]) -> Node:
        return ops.multiply(x, scalar(self.head_dim**-0.5)) if which == "q" else x

    def mix(self, layer: int, hidden: Node, attended: Node, low: Mapping[str, LowRankInputs]) -> Node:
        name = f"encoder.layer.{layer}."
        hidden = ops.add(hidden, self._dense(attended, name + "attention.output.dense", low.get("o")))
        hidden = self._norm(hidden, name + "attention.output.LayerNorm")
        inner = self._dense(hidden, name + "intermediate.dense", low.get("up"))
        if self.config.hidden_act == "relu":
            inner = ops.relu(inner)
        else:
            inner = ops.gelu(inner, "erf" if self.config.hidden_act == "gelu" else "tanh")
        return self._norm(ops.add(hidden, self._dense(inner, name + "output.dense", low.get("down"))), name + "output.LayerNorm")

    def low_rank(self, layer: int, product: str, linears: Mapping[str, LowRank], rank: int) -> LowRank | None:
        parts = [linears.get(f"encoder.layer.{layer}.{module}.weight") for module in PRODUCTS[product]]
        inner, widths = self.products[product]
        return stacked(parts, widths, inner, rank) if any(parts) else None

    def finish(self, hidden: Floats) -> Floats:
        return hidden

    def _vector(self, name: str) -> Floats:
        return self._weights[name].float32()

    def _dense(self, x: Node, name: str, low: LowRankInputs | None) -> Node:
        return linear(x, prepared(self._weights[name + ".weight"], self._precision), self._vector(name + ".bias"), low)

    def _norm(self, x: Node, name: str) -> Node:
        return layer_norm(x, self._vector(name + ".weight"), self._vector(name + ".bias"), self.config.layer_norm_eps)
