"""A model folder as Hugging Face and ModelScope lay it out, read without torch and judged before anything runs.

Owns what the files mean: shape, weights, pooling, length, prompts, and the digest that tells one set of weights from another.
Knows nothing of text. What an engine would compute wrongly is refused here, by the name of the field that asks for it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from huiyi.engines.families import BertConfig, Family, Qwen3Config, plain_name, read_config
from huiyi.engines.weights import Tensor, Weights, open_weights
from huiyi.errors import InvalidInput, NotFound, UnsupportedModel

__all__ = ["BertConfig", "Checkpoint", "Family", "Pooling", "Qwen3Config", "Tensor", "Weights", "open_checkpoint"]

Pooling = Literal["last", "cls", "mean"]
DEFAULT_MAX_TOKENS = 8192  # where the folder states no length of its own: the longest in the public examples of Qwen3-Embedding
_POOLING: dict[str, Pooling] = {"lasttoken": "last", "cls": "cls", "mean": "mean"}
# The older form of 1_Pooling/config.json has a switch a mode, the newer one the mode's name.
_POOLING_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_MODULES = ("Transformer", "Pooling", "Normalize", "LogitScore")  # the last one of rerankers, see heads.py
_SAMPLE_BYTES = 4096


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that an engine can run.

    path: the folder with config.json and tokenizer.json. weights: exactly the tensors that the family needs, under its own names
    (`layers.0…`, `encoder.layer.0…`, no `model.` or `bert.` in front). normalize: whether the folder asks for unit length.
    max_tokens: longest text by default, special tokens included; up to `config.max_positions` can be asked for.
    dimensions: the widths a vector may be cut to. digest: the same for the same numbers, however they are split into files.
    """

    path: Path
    family: Family
    config: Qwen3Config | BertConfig
    weights: Weights
    pooling: Pooling
    normalize: bool
    max_tokens: int
    dimensions: Sequence[int]
    prompts: dict[str, str]
    default_prompt_name: str | None
    digest: str

    def up_to(self, max_tokens: int | None) -> "Checkpoint":
        """The same with another longest text; None keeps the folder's own. Raises InvalidInput for what the model has no positions for."""
        if max_tokens is None:
            return self
        if not 1 <= max_tokens <= self.config.max_positions:
            raise InvalidInput(f"this model reads up to {self.config.max_positions:,} tokens, not {max_tokens:,}")
        return replace(self, max_tokens=max_tokens)


def open_checkpoint(path: Path, *, weights: bool = True) -> Checkpoint:
    """Read and check a model folder. Raises NotFound where there is none, UnsupportedModel naming what is missing or unsupported.

    weights: without them it says what the model is, for one that runs elsewhere; its digest is then of its shape alone.
    """
    if not path.is_dir():
        raise NotFound(f"{path} is not a folder")
    modules = read_modules(path / "modules.json")
    root = path / modules.get("Transformer", "")
    if not (root / "config.json").is_file():
        adapter = " (it holds an adapter: give its base model)" if (root / "adapter_config.json").is_file() else ""
        raise UnsupportedModel(f"{root} has no config.json{adapter}; a model folder has config.json, tokenizer.json and model.safetensors")
    raw = read_object(root / "config.json")
    family, config = read_config(raw, str(root / "config.json"))
    tensors = open_weights(root, partial(plain_name, family)).only(config.shapes(), root) if weights else Weights({})
    pooling = _read_pooling(path / modules.get("Pooling", "1_Pooling") / "config.json", "last" if family == "qwen3" else "mean")
    declared = read_object(path / "config_sentence_transformers.json")
    return Checkpoint(
        path=root,
        family=family,
        config=config,
        weights=tensors,
        pooling=pooling,
        normalize="Normalize" in modules,
        max_tokens=_max_tokens(root, config.max_positions),
        dimensions=_dimensions([raw.get("matryoshka_dimensions"), declared.get("truncate_dim")], family, pooling, config.hidden_size),
        prompts=_prompts(declared, path / "config_sentence_transformers.json"),
        default_prompt_name=declared.get("default_prompt_name"),
        digest=_digest(config, pooling, tensors),
    )


def _read_json(file: Path) -> Any:
    """None where there is no such file."""
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise UnsupportedModel(f"{file} is not readable JSON ({error}): download it again") from error


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object; {} where there is no such file."""
    content = _read_json(file)
    if not isinstance(content, dict | None):
        raise UnsupportedModel(f"{file} does not hold a JSON object: download it again")
    return content or {}


def read_modules(file: Path) -> dict[str, str]:
    """modules.json as {kind of module: its folder}; empty where there is none."""
    modules: dict[str, str] = {}
    listed = _read_json(file) or []
    for module in listed if isinstance(listed, list) else [listed]:
        if not isinstance(module, dict) or not all(isinstance(module.get(field), str) for field in ("type", "path")):
            raise UnsupportedModel(f"{file} is not a list of modules with type and path: download it again")
        library, kind = module["type"].split(".")[0], module["type"].split(".")[-1]
        if library != "sentence_transformers" or kind not in _MODULES or kind in modules:
            raise UnsupportedModel(f"{file}: module {module['type']} is not supported; one each of {', '.join(_MODULES)} are")
        modules[kind] = module["path"]
    return modules


def _read_pooling(file: Path, default: Pooling) -> Pooling:
    raw = read_object(file)
    if not raw:
        return default
    if raw.get("include_prompt") is False:
        raise UnsupportedModel(f"{file}: include_prompt = false (pooling without the prompt's tokens) is not supported")
    stated = raw.get("pooling_mode") or [mode for switch, mode in _POOLING_SWITCHES.items() if raw.get(switch)] or "mean"
    mode = stated[0] if isinstance(stated, list) and len(stated) == 1 else stated
    if not isinstance(mode, str) or mode not in _POOLING:
        raise UnsupportedModel(f"{file}: pooling {mode!r} is not supported; supported is one of {', '.join(_POOLING)}")
    return _POOLING[mode]


def _max_tokens(root: Path, positions: int) -> int:
    """max_seq_length where sentence_bert_config.json gives it, else the tokenizer's length up to 8,192; never past the positions."""
    stated = read_object(root / "sentence_bert_config.json").get("max_seq_length")
    if stated is None:
        stated = read_object(root / "tokenizer_config.json").get("model_max_length")
        stated = min(stated, DEFAULT_MAX_TOKENS) if isinstance(stated, int | float) else DEFAULT_MAX_TOKENS
    if not isinstance(stated, int | float) or not stated >= 1:
        raise UnsupportedModel(f"{root}: the maximum length must be a positive number of tokens, not {stated!r}")
    return int(min(stated, positions))


def _dimensions(declared: list[Any], family: Family, pooling: Pooling, width: int) -> Sequence[int]:
    """Any size from 32 for Qwen3 with last-token pooling; else the full width and what the folder declares."""
    if family == "qwen3" and pooling == "last":
        return range(min(32, width), width + 1)
    sizes = [size for field in declared for size in (field if isinstance(field, list) else [field])]
    return sorted({width, *(size for size in sizes if type(size) is int and 0 < size < width)})


def _prompts(declared: dict[str, Any], file: Path) -> dict[str, str]:
    prompts = declared.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(prompt, str | None) for prompt in prompts.values()):
        raise UnsupportedModel(f"{file}: prompts must be a JSON object of texts")
    if declared.get("default_prompt_name") not in (None, *prompts):
        raise UnsupportedModel(f"{file}: default_prompt_name {declared['default_prompt_name']!r} is none of the prompts")
    return {name: prompt for name, prompt in prompts.items() if prompt is not None}


def _digest(config: Qwen3Config | BertConfig, pooling: Pooling, weights: Weights) -> str:
    """A digest of everything that decides a vector; of each tensor 3 samples of 4 KB, which takes milliseconds at 1.2 GB."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([type(config).__name__, asdict(config), pooling], sort_keys=True).encode())
    for name in sorted(weights):
        tensor = weights[name]
        raw = tensor.data.reshape(-1).view(np.uint8)
        digest.update(f"{name} {tensor.dtype} {tensor.data.shape}".encode())
        for start in (0, (raw.size - _SAMPLE_BYTES) // 2, raw.size - _SAMPLE_BYTES):
            digest.update(raw[max(start, 0) :][:_SAMPLE_BYTES].tobytes())
    return digest.hexdigest()
