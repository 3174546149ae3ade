"""BERT, RoBERTa and XLM-R as graph pieces: post-norm layers with biases, absolute positions, attention in both directions.

Knows the mathematics of one family and nothing of batches. Source of the shape: transformers' modeling_bert and modeling_xlm_roberta.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from huiyi.engines.checkpoint import BertConfig, Checkpoint, Weights
from huiyi.engines.graph import Node, Precision, layer_norm, linear, ops, prepared, scalar, stack
from huiyi.engines.prepared import Prepared
from huiyi.engines.weights import Tensor
from huiyi.types import Floats, Ids


class Bert:
    """One checkpoint's blocks; `openvino.Family` says what each method promises."""

    causal = False

    def __init__(self, checkpoint: Checkpoint, precision: Precision, kept: Prepared) -> None:
        del kept  # these models are small: what is derived is made in memory
        assert isinstance(checkpoint.config, BertConfig)
        self.config: BertConfig = checkpoint.config
        self.heads = self.kv_heads = self.config.num_heads
        self.head_dim = self.config.hidden_size // self.heads
        self._weights: Weights = checkpoint.weights
        self._precision: Precision = precision

    def embed(self, ids: Ids, positions: NDArray[np.int64]) -> Floats:
        name = "embeddings."
        words, places = self._weights[name + "word_embeddings.weight"], self._weights[name + "position_embeddings.weight"]
        kinds = self._weights[name + "token_type_embeddings.weight"]  # one text: every token is of the first kind
        hidden = (
            Tensor(words.dtype, words.data[ids]).float32()
            + Tensor(kinds.dtype, kinds.data[:1]).float32()
            + Tensor(places.dtype, places.data[positions + self.config.position_offset]).float32()
        )
        centred = hidden - hidden.mean(axis=1, keepdims=True)
        scale = np.sqrt(np.mean(centred * centred, axis=1, keepdims=True) + np.float32(self.config.layer_norm_eps))
        normed: Floats = centred / scale * self._vector(name + "LayerNorm.weight") + self._vector(name + "LayerNorm.bias")
        return normed

    def project(self, layer: int, hidden: Node) -> Node:
        names = [f"encoder.layer.{layer}.attention.self.{which}" for which in ("query", "key", "value")]
        weight = stack([self._weights[name + ".weight"] for name in names])
        bias = np.concatenate([self._vector(name + ".bias") for name in names])
        return linear(hidden, prepared(weight, self._precision), bias)

    def token_values(self, positions: NDArray[np.int64]) -> list[Floats]:
        return []

    def layer_values(self, layer: int) -> list[Floats]:
        return []

    def turn(self, which: Literal["q", "k"], x: Node, token_values: list[Node], layer_values: list[Node]) -> Node:
        return ops.multiply(x, scalar(self.head_dim**-0.5)) if which == "q" else x

    def mix(self, layer: int, hidden: Node, attended: Node) -> Node:
        name = f"encoder.layer.{layer}."
        hidden = self._norm(ops.add(hidden, self._dense(attended, name + "attention.output.dense")), name + "attention.output.LayerNorm")
        inner = self._dense(hidden, name + "intermediate.dense")
        if self.config.hidden_act == "relu":
            inner = ops.relu(inner)
        else:
            inner = ops.gelu(inner, "erf" if self.config.hidden_act == "gelu" else "tanh")
        return self._norm(ops.add(hidden, self._dense(inner, name + "output.dense")), name + "output.LayerNorm")

    def finish(self, hidden: Floats) -> Floats:
        return hidden

    def _vector(self, name: str) -> Floats:
        return self._weights[name].float32()

    def _dense(self, x: Node, name: str) -> Node:
        return linear(x, prepared(self._weights[name + ".weight"], self._precision), self._vector(name + ".bias"))

    def _norm(self, x: Node, name: str) -> Node:
        return layer_norm(x, self._vector(name + ".weight"), self._vector(name + ".bias"), self.config.layer_norm_eps)
