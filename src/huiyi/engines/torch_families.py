"""Qwen3 and BERT as torch functions over packed tokens: norms, products, rotary positions; with what an adapter adds beside each product.

Knows the mathematics and nothing of batches: all attention happens elsewhere. Hidden states are float32, products run in the
weights' type. `project` and `mix` are the same code for every layer, whose weights they are given, so one compilation serves all.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from huiyi.engines import weights as stored
from huiyi.engines.adapters import LowRank, stacked
from huiyi.engines.checkpoint import BertConfig, Checkpoint, Qwen3Config

Low = Mapping[str, tuple[Tensor, Tensor]]  # by product: a [rank, in] and b [out, rank], the scaling inside b
_TYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


class Family(Protocol):
    """The mathematics of one checkpoint. Tokens are packed: [tokens, …], texts behind one another."""

    causal: bool
    heads: int
    kv_heads: int
    head_dim: int
    layers: list[Any]  # the weights of each

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """[tokens, hidden]: what the first layer reads."""
        ...

    def turns(self, positions: Tensor) -> tuple[Tensor, ...]:
        """What `project` needs to know of where tokens stand: [tokens, …] each."""
        ...

    def project(self, layer: Any, hidden: Tensor, turns: tuple[Tensor, ...], low: Low) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [tokens, heads, head_dim], keys and values [tokens, kv_heads, head_dim], ready for attention."""
        ...

    def mix(self, layer: Any, hidden: Tensor, attended: Tensor, low: Low) -> Tensor:
        """The rest of the layer after attention, whose answer is [tokens, heads · head_dim]."""
        ...

    def finish(self, hidden: Tensor) -> Tensor:
        """What comes after the last layer, for the tokens that are pooled."""
        ...

    def low_rank(self, linears: Mapping[str, LowRank], layer: int, rank: int) -> dict[str, LowRank]:
        """What an adapter adds to the products of a layer, filled up to `rank`."""
        ...


class Source:
    """A checkpoint's tensors as torch's, on a device."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._weights, self._device = checkpoint.weights, device

    def __call__(self, *names: str, dtype: torch.dtype | None = torch.float32) -> Tensor:
        """Tensors one below the other. dtype: None keeps the stored one."""
        return torch.cat([self._one(self._weights[name], dtype) for name in names])

    def _one(self, tensor: stored.Tensor, dtype: torch.dtype | None) -> Tensor:
        data = np.array(tensor.data)  # torch wants memory that may be written
        plain = torch.from_numpy(data.view(np.int16) if tensor.dtype == "BF16" else data)
        return plain.view(_TYPES[tensor.dtype]).to(self._device, dtype)


class Qwen3Layer(NamedTuple):
    """heads_norm: [heads + kv_heads, head_dim], the norms' weights of queries and keys, head by head."""

    norm: Tensor
    qkv: Tensor
    heads_norm: Tensor
    o: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor


class Qwen3:
    """`Family` says what each method promises. Source of the shape: the model's config and transformers' modeling_qwen3."""

    causal = True
    products: ClassVar = {
        "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "o": ("self_attn.o_proj",),
        "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
        "down": ("mlp.down_proj",),
    }

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> None:
        assert isinstance(checkpoint.config, Qwen3Config)
        config, source = checkpoint.config, Source(checkpoint, device)
        self.heads, self.kv_heads, self.head_dim = config.num_heads, config.num_kv_heads, config.head_dim
        self._config, self._eps, self._shapes = config, config.rms_norm_eps, config.shapes()
        self._table, self._norm = source("embed_tokens.weight", dtype=None), source("norm.weight")
        self.layers = [self._layer(source, f"layers.{number}.", dtype) for number in range(config.num_layers)]
        angles = np.outer(np.arange(checkpoint.max_tokens), config.rope_theta ** (-np.arange(0, self.head_dim, 2) / self.head_dim))
        self._cos, self._sin = (
            torch.from_numpy(np.concatenate([each, each], 1).astype(np.float32)).to(device) for each in (np.cos(angles), np.sin(angles))
        )

    def _layer(self, source: Source, name: str, dtype: torch.dtype) -> Qwen3Layer:
        of_product = {
            product: source(*(f"{name}{module}.weight" for module in modules), dtype=dtype) for product, modules in self.products.items()
        }
        of_heads = [
            source(f"{name}self_attn.{which}_norm.weight").expand(count, self.head_dim)
            for which, count in (("q", self.heads), ("k", self.kv_heads))
        ]
        return Qwen3Layer(
            norm=source(name + "input_layernorm.weight"),
            heads_norm=torch.cat(of_heads),
            mlp_norm=source(name + "post_attention_layernorm.weight"),
            **of_product,
        )

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        return self._table[ids].float()

    def turns(self, positions: Tensor) -> tuple[Tensor, ...]:
        """cos and sin [tokens, 1, head_dim] of the rotary positions (Su et al. 2021)."""
        return self._cos[positions][:, None], self._sin[positions][:, None]

    def project(self, layer: Qwen3Layer, hidden: Tensor, turns: tuple[Tensor, ...], low: Low) -> tuple[Tensor, Tensor, Tensor]:
        qkv = _linear(_rms_norm(hidden, self._eps) * layer.norm, layer.qkv, low.get("qkv"))
        heads, turning = qkv.view(-1, self.heads + 2 * self.kv_heads, self.head_dim), self.heads + self.kv_heads
        qk = _rms_norm(heads[:, :turning].float(), self._eps) * layer.heads_norm
        cos, sin = turns
        first, second = qk.chunk(2, -1)
        turned = (qk * cos + torch.cat([-second, first], -1) * sin).to(qkv.dtype)
        return turned[:, : self.heads], turned[:, self.heads :], heads[:, turning:]

    def mix(self, layer: Qwen3Layer, hidden: Tensor, attended: Tensor, low: Low) -> Tensor:
        hidden = hidden + _linear(attended, layer.o, low.get("o"))
        gate, up = _linear(_rms_norm(hidden, self._eps) * layer.mlp_norm, layer.gate_up, low.get("gate_up")).chunk(2, -1)
        return hidden + _linear(functional.silu(gate) * up, layer.down, low.get("down"))

    def finish(self, hidden: Tensor) -> Tensor:
        return _rms_norm(hidden, self._eps) * self._norm

    def low_rank(self, linears: Mapping[str, LowRank], layer: int, rank: int) -> dict[str, LowRank]:
        return _low_rank(self.products, self._shapes, linears, f"layers.{layer}.", rank)


class BertLayer(NamedTuple):
    qkv: Tensor
    qkv_bias: Tensor
    o: Tensor
    o_bias: Tensor
    norm: Tensor
    norm_bias: Tensor
    up: Tensor
    up_bias: Tensor
    down: Tensor
    down_bias: Tensor
    mlp_norm: Tensor
    mlp_norm_bias: Tensor


class Bert:
    """`Family` says what each method promises. BERT, RoBERTa and XLM-R; an id from vocab_size on is the same word in a second text."""

    causal = False
    products: ClassVar = {
        "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
        "o": ("attention.output.dense",),
        "up": ("intermediate.dense",),
        "down": ("output.dense",),
    }

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> None:
        assert isinstance(checkpoint.config, BertConfig)
        config, source, name = checkpoint.config, Source(checkpoint, device), "embeddings."
        self.heads = self.kv_heads = config.num_heads
        self.head_dim = config.hidden_size // config.num_heads
        self._config, self._eps, self._shapes = config, config.layer_norm_eps, config.shapes()
        self._words, self._places, self._kinds = (
            source(f"{name}{which}_embeddings.weight", dtype=None) for which in ("word", "position", "token_type")
        )
        self._norm, self._norm_bias = source(name + "LayerNorm.weight"), source(name + "LayerNorm.bias")
        self.layers = [self._layer(source, f"encoder.layer.{number}.", dtype) for number in range(config.num_layers)]

    def _layer(self, source: Source, name: str, dtype: torch.dtype) -> BertLayer:
        products = {
            product + suffix: source(*(f"{name}{module}.{kind}" for module in modules), dtype=dtype)
            for product, modules in self.products.items()
            for suffix, kind in (("", "weight"), ("_bias", "bias"))
        }
        norms = {
            norm + suffix: source(f"{name}{module}.LayerNorm.{kind}")
            for norm, module in (("norm", "attention.output"), ("mlp_norm", "output"))
            for suffix, kind in (("", "weight"), ("_bias", "bias"))
        }
        return BertLayer(**products, **norms)

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        kind, word = ids // self._config.vocab_size, ids % self._config.vocab_size
        places = self._places[positions + self._config.position_offset]
        return self._normed(self._words[word].float() + self._kinds[kind].float() + places.float(), self._norm, self._norm_bias)

    def turns(self, positions: Tensor) -> tuple[Tensor, ...]:
        return ()

    def project(self, layer: BertLayer, hidden: Tensor, turns: tuple[Tensor, ...], low: Low) -> tuple[Tensor, Tensor, Tensor]:
        qkv = _linear(hidden, layer.qkv, low.get("qkv"), layer.qkv_bias)
        q, k, v = qkv.view(-1, 3, self.heads, self.head_dim).unbind(1)
        return q, k, v

    def mix(self, layer: BertLayer, hidden: Tensor, attended: Tensor, low: Low) -> Tensor:
        hidden = self._normed(hidden + _linear(attended, layer.o, low.get("o"), layer.o_bias), layer.norm, layer.norm_bias)
        inner = _linear(hidden, layer.up, low.get("up"), layer.up_bias)
        if self._config.hidden_act == "relu":
            inner = functional.relu(inner)
        else:
            inner = functional.gelu(inner, approximate="none" if self._config.hidden_act == "gelu" else "tanh")
        down = _linear(inner, layer.down, low.get("down"), layer.down_bias)
        return self._normed(hidden + down, layer.mlp_norm, layer.mlp_norm_bias)

    def finish(self, hidden: Tensor) -> Tensor:
        return hidden

    def low_rank(self, linears: Mapping[str, LowRank], layer: int, rank: int) -> dict[str, LowRank]:
        return _low_rank(self.products, self._shapes, linears, f"encoder.layer.{layer}.", rank)

    def _normed(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], weight, bias, self._eps)


def _linear(x: Tensor, weight: Tensor, low: tuple[Tensor, Tensor] | None, bias: Tensor | None = None) -> Tensor:
    """x [tokens, in] times weight [out, in] transposed, plus bias [out], plus x · aᵀ · bᵀ; in the weights' type."""
    x = x.to(weight.dtype)
    y = functional.linear(x, weight, bias)
    return y if low is None else y + functional.linear(functional.linear(x, low[0]), low[1])


def _rms_norm(x: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + eps) over the last axis (Zhang and Sennrich 2019), without its weight."""
    return functional.rms_norm(x, x.shape[-1:], None, eps)


def _low_rank(
    products: Mapping[str, tuple[str, ...]],
    shapes: Mapping[str, tuple[int, ...]],
    linears: Mapping[str, LowRank],
    layer: str,
    rank: int,
) -> dict[str, LowRank]:
    found = {}
    for product, modules in products.items():
        names = [f"{layer}{module}.weight" for module in modules]
        parts = [linears.get(name) for name in names]
        if any(parts):
            found[product] = stacked(parts, [shapes[name][0] for name in names], shapes[names[0]][1], rank)
    return found
