"""The two model families: their shapes as config.json states them (transformers 4 and 5) and the complete list of their tensors.

A setting that would change the maths and that the engines do not carry out is refused by its name, never ignored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from huiyi.errors import UnsupportedModel

Family = Literal["qwen3", "bert"]
Shapes = dict[str, tuple[int, ...]]
MODEL_TYPES: dict[str, Family] = {"qwen3": "qwen3", "bert": "bert", "roberta": "bert", "xlm-roberta": "bert", "camembert": "bert"}
_PREFIXES: dict[Family, tuple[str, ...]] = {"qwen3": ("model.",), "bert": ("bert.", "roberta.", "model.")}
_BERT_ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu")


@dataclass(frozen=True)
class Qwen3Config:
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    rope_theta: float
    rms_norm_eps: float
    max_positions: int

    def shapes(self) -> Shapes:
        """Every tensor that the model needs, with its shape."""
        hidden, heads, kv = self.hidden_size, self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        layer = {
            "input_layernorm.weight": (hidden,),
            "self_attn.q_proj.weight": (heads, hidden),
            "self_attn.k_proj.weight": (kv, hidden),
            "self_attn.v_proj.weight": (kv, hidden),
            "self_attn.o_proj.weight": (hidden, heads),
            "self_attn.q_norm.weight": (self.head_dim,),
            "self_attn.k_norm.weight": (self.head_dim,),
            "post_attention_layernorm.weight": (hidden,),
            "mlp.gate_proj.weight": (self.intermediate_size, hidden),
            "mlp.up_proj.weight": (self.intermediate_size, hidden),
            "mlp.down_proj.weight": (hidden, self.intermediate_size),
        }
        layers = {f"layers.{i}.{name}": shape for i in range(self.num_layers) for name, shape in layer.items()}
        return {"embed_tokens.weight": (self.vocab_size, hidden), **layers, "norm.weight": (hidden,)}


@dataclass(frozen=True)
class BertConfig:
    """max_positions: usable ones. position_offset: position id of the first token (0; padding id + 1 for RoBERTa and XLM-R)."""

    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    vocab_size: int
    max_positions: int
    type_vocab_size: int
    layer_norm_eps: float
    hidden_act: str
    position_offset: int

    def shapes(self) -> Shapes:
        """Every tensor that the model needs, with its shape."""
        hidden, inner = self.hidden_size, self.intermediate_size
        matrices = {
            "attention.self.query": (hidden, hidden),
            "attention.self.key": (hidden, hidden),
            "attention.self.value": (hidden, hidden),
            "attention.output.dense": (hidden, hidden),
            "intermediate.dense": (inner, hidden),
            "output.dense": (hidden, inner),
        }
        shapes: Shapes = {
            "embeddings.word_embeddings.weight": (self.vocab_size, hidden),
            "embeddings.position_embeddings.weight": (self.max_positions + self.position_offset, hidden),
            "embeddings.token_type_embeddings.weight": (self.type_vocab_size, hidden),
            **_norm("embeddings.LayerNorm", hidden),
        }
        for i in range(self.num_layers):
            for name, shape in matrices.items():
                shapes[f"encoder.layer.{i}.{name}.weight"] = shape
                shapes[f"encoder.layer.{i}.{name}.bias"] = shape[:1]
            shapes |= _norm(f"encoder.layer.{i}.attention.output.LayerNorm", hidden) | _norm(f"encoder.layer.{i}.output.LayerNorm", hidden)
        return shapes


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def plain_name(family: Family, name: str) -> str:
    """A tensor's name without what its saver put in front; LayerNorm's gamma and beta (the first BERTs) are weight and bias."""
    prefix = next((prefix for prefix in _PREFIXES[family] if name.startswith(prefix)), "")
    return name.removeprefix(prefix).replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def read_config(raw: Mapping[str, Any], where: str) -> tuple[Family, Qwen3Config | BertConfig]:
    """The family and shape that a config.json states. where: its path, for messages. Raises UnsupportedModel."""
    model_type = raw.get("model_type")
    if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
        raise UnsupportedModel(f"{where}: model_type {model_type!r} is not supported; supported are {', '.join(MODEL_TYPES)}")
    fields = _Fields(raw, where)
    fields.refuse("quantization_config", lambda value: bool(value), "use an unquantised version of the model")
    fields.refuse("auto_map", lambda value: "AutoModel" in value, "the model brings its own code, which is never run")
    family = MODEL_TYPES[model_type]
    return family, (_qwen3(fields) if family == "qwen3" else _bert(fields, model_type))


class _Fields:
    """Typed reading of config.json with errors that name the field."""

    def __init__(self, raw: Mapping[str, Any], where: str) -> None:
        self.raw, self.where = raw, where

    def whole(self, name: str, default: int | None = None, least: int = 1, most: int = 1_000_000_000) -> int:
        value = self._value(name, default)
        if type(value) is not int or not least <= value <= most:
            raise UnsupportedModel(f"{self.where}: {name} must be a whole number from {least} to {most:,}, not {value!r}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        value = self._value(name, default)
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise UnsupportedModel(f"{self.where}: {name} must be a positive number, not {value!r}")
        return float(value)

    def _value(self, name: str, default: Any) -> Any:
        value = self.raw.get(name)
        value = default if value is None else value
        if value is None:
            raise UnsupportedModel(f"{self.where}: {name} is missing")
        return value

    def refuse(self, name: str, unsupported: Callable[[Any], bool], why: str = "the vectors would be wrong") -> None:
        value = self.raw.get(name)
        try:
            refused = value is not None and unsupported(value)
        except (TypeError, AttributeError):  # a value of another kind than the field has
            refused = True
        if refused:
            raise UnsupportedModel(f"{self.where}: {name} = {value!r} is not supported ({why})")


def _qwen3(fields: _Fields) -> Qwen3Config:
    layers, heads = fields.whole("num_hidden_layers", most=1000), fields.whole("num_attention_heads")
    fields.refuse("hidden_act", lambda value: value != "silu")
    fields.refuse("attention_bias", bool)
    fields.refuse("is_causal", lambda value: value is False)
    fields.refuse("use_bidirectional_attention", bool)
    fields.refuse("layer_types", lambda value: any(kind != "full_attention" for kind in value))
    if fields.raw.get("layer_types") is None and fields.whole("max_window_layers", default=28, least=0) < layers:
        fields.refuse("use_sliding_window", bool)
    config = Qwen3Config(
        hidden_size=fields.whole("hidden_size"),
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=fields.whole("num_key_value_heads", default=heads),
        head_dim=fields.whole("head_dim", default=128),
        intermediate_size=fields.whole("intermediate_size"),
        vocab_size=fields.whole("vocab_size"),
        rope_theta=_rope_theta(fields),
        rms_norm_eps=fields.number("rms_norm_eps", default=1e-6),
        max_positions=fields.whole("max_position_embeddings"),
    )
    if heads % config.num_kv_heads or config.head_dim % 2:
        raise UnsupportedModel(f"{fields.where}: num_attention_heads must be a multiple of num_key_value_heads, and head_dim even")
    return config


def _rope_theta(fields: _Fields) -> float:
    """transformers 4 writes rope_theta and rope_scaling, transformers 5 rope_parameters."""
    fields.refuse("rope_scaling", _changes_rope)
    fields.refuse("rope_parameters", _changes_rope)
    theta = (fields.raw.get("rope_parameters") or {}).get("rope_theta", fields.raw.get("rope_theta"))
    return _Fields({"rope_theta": theta}, fields.where).number("rope_theta")


def _changes_rope(parameters: Mapping[str, Any]) -> bool:
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    return bool(kind != "default" or parameters.get("partial_rotary_factor", 1.0) != 1.0)


def _bert(fields: _Fields, model_type: str) -> BertConfig:
    fields.refuse("position_embedding_type", lambda value: value != "absolute")
    fields.refuse("is_decoder", bool)
    fields.refuse("hidden_act", lambda value: value not in _BERT_ACTIVATIONS, f"supported are {', '.join(_BERT_ACTIVATIONS)}")
    # RoBERTa counts positions from the padding id + 1; its table has that many rows more than it takes tokens.
    offset = 0 if model_type == "bert" else fields.whole("pad_token_id", default=1, least=0) + 1
    config = BertConfig(
        hidden_size=fields.whole("hidden_size"),
        num_layers=fields.whole("num_hidden_layers", most=1000),
        num_heads=fields.whole("num_attention_heads"),
        intermediate_size=fields.whole("intermediate_size"),
        vocab_size=fields.whole("vocab_size"),
        max_positions=fields.whole("max_position_embeddings", least=offset + 1) - offset,
        type_vocab_size=fields.whole("type_vocab_size", default=2),
        layer_norm_eps=fields.number("layer_norm_eps", default=1e-12),
        hidden_act=fields.raw.get("hidden_act") or "gelu",
        position_offset=offset,
    )
    if config.hidden_size % config.num_heads:
        raise UnsupportedModel(f"{fields.where}: hidden_size must be a multiple of num_attention_heads")
    return config
