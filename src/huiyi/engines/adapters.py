"""A LoRA adapter as PEFT writes it, read without torch and judged before anything runs.

Owns what adapter_config.json and adapter_model.safetensors mean for one base checkpoint: every weight matrix W that the adapter changes is
W + b · a (Hu et al. 2021), the scaling inside b. Whatever would change the vectors otherwise is refused by its name, never ignored.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from huiyi.engines.checkpoint import Checkpoint
from huiyi.engines.families import plain_name
from huiyi.engines.weights import Weights, open_file
from huiyi.errors import NotFound, UnsupportedModel
from huiyi.types import Floats

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MAX_RANK = 64
_PREFIX = "base_model.model."
_HEADS = ("classifier", "score")  # PEFT lists them for every adapter of task type SEQ_CLS
_UNUSED = ("pooler.", "lm_head.", "score.", "classifier.", "cls.")  # parts of a base that have no say in its vectors
_OTHER_BASES = ("pissa", "olora", "corda", "loftq", "lora_ga")  # initialisations that change the base's own weights
# Settings of PEFT's LoraConfig that are other mathematics than W + b · a, with what they are called.
_REFUSED = {
    "use_dora": "DoRA",
    "use_qalora": "QA-LoRA",
    "use_bdlora": "block-diagonal LoRA",
    "lora_bias": "a trained bias",
    "fan_in_fan_out": "weights stored the other way round",
    "trainable_token_indices": "trained token embeddings",
    "target_parameters": "trained parameters outside linear layers",
    "layer_replication": "repeated layers",
    "alora_invocation_tokens": "activated LoRA",
    "arrow_config": "routing among adapters",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "velora_config": "VeLoRA",
}


@dataclass(frozen=True)
class LowRank:
    """What is added to a weight matrix [out, in]: b [out, rank] times a [rank, in], both float32, the scaling inside b."""

    a: Floats
    b: Floats

    @property
    def rank(self) -> int:
        return len(self.a)


@dataclass(frozen=True)
class Adapter:
    """An adapter that fits its base. linears: by the name of the weight, such as `layers.0.self_attn.q_proj.weight`.

    base: what its config calls the model it was trained on, None where it does not say. digest: of all that decides a vector.
    """

    path: Path
    linears: Mapping[str, LowRank]
    base: str | None
    digest: str

    @property
    def rank(self) -> int:
        return max(low.rank for low in self.linears.values())

    @property
    def parameters(self) -> int:
        return sum(low.a.size + low.b.size for low in self.linears.values())


def stacked(parts: Sequence[LowRank | None], widths: Sequence[int], inner: int, rank: int) -> LowRank:
    """Several [width, inner] matrices, one below the other, as one; each part takes `rank` rows of a, missing ones are zero."""
    a, b = np.zeros((len(parts) * rank, inner), np.float32), np.zeros((sum(widths), len(parts) * rank), np.float32)
    for number, (part, end) in enumerate(zip(parts, np.cumsum(widths), strict=True)):
        if part is not None:
            columns = slice(number * rank, number * rank + part.rank)
            a[columns], b[end - widths[number] : end, columns] = part.a, part.b
    return LowRank(a, b)


def open_adapter(path: Path, checkpoint: Checkpoint) -> Adapter:
    """Read and check an adapter folder for this base. Raises NotFound where there is none, UnsupportedModel with the reason."""
    if not (path / CONFIG).is_file():
        raise NotFound(f"{path} holds no adapter: a folder that PEFT saved has {CONFIG} and {WEIGHTS}")
    config = _read_config(path / CONFIG)
    if not (path / WEIGHTS).is_file():
        pickled = " (adapter_model.bin is pickled, can run code and is never read)" if (path / "adapter_model.bin").is_file() else ""
        raise UnsupportedModel(f"{path} lacks {WEIGHTS}{pickled}: save the adapter with peft's save_pretrained")
    weights = open_file(path / WEIGHTS)
    linears = {}
    for module in _modules(weights, path / WEIGHTS):
        name = plain_name(checkpoint.family, module)
        if not name.startswith(_UNUSED):
            linears[f"{name}.weight"] = _low_rank(weights, module, config, path)
    base = config.get("base_model_name_or_path")
    base = base if isinstance(base, str) and base else None
    _check_fit(linears, checkpoint, path, base)
    if not any(low.a.any() and low.b.any() for low in linears.values()):
        raise UnsupportedModel(
            f"{path} has no effect: all its products are zero, as before the first training step; train it, or leave it out"
        )
    return Adapter(path, linears, base, _digest(linears))


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise UnsupportedModel(f"{file} is not readable JSON ({error}): save the adapter again") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise UnsupportedModel(f"{file}: peft_type {kind!r} is not supported; LORA is")
    for field, meaning in _REFUSED.items():
        if config.get(field):
            raise UnsupportedModel(f"{file}: {field} ({meaning}) is not supported; plain LoRA is")
    if config.get("bias", "none") != "none":
        raise UnsupportedModel(f"{file}: bias = {config['bias']!r} (trained biases) is not supported; train with bias='none'")
    saved = config.get("modules_to_save") or []
    others = [module for module in saved if module not in _HEADS] if isinstance(saved, list) else [saved]
    if others:
        raise UnsupportedModel(f"{file}: modules_to_save = {others!r} (modules saved in full) is not supported; train with LoRA alone")
    start = str(config.get("init_lora_weights")).lower()
    if start.startswith(_OTHER_BASES):
        raise UnsupportedModel(
            f"{file}: init_lora_weights = {start!r} changes the base's own weights; let peft convert the adapter to plain LoRA "
            f"(save_pretrained with path_initial_model_for_weight_conversion)"
        )
    for field in ("rank_pattern", "alpha_pattern"):
        if not isinstance(config.get(field) or {}, dict):
            raise UnsupportedModel(f"{file}: {field} must be an object of numbers by layer name")
    return config


def _modules(weights: Weights, file: Path) -> list[str]:
    """The names of the linear layers of which the file holds A and B, without PEFT's prefix. All else in it is refused by name."""
    modules: dict[str, set[str]] = {}
    for name in weights:
        found = re.fullmatch(re.escape(_PREFIX) + r"(.+)\.lora_([AB])\.(?:default\.)?weight", name)
        if found is None:
            raise UnsupportedModel(f"{file}: {_stranger(name)}; only LoRA's A and B of linear layers are supported")
        modules.setdefault(found[1], set()).add(found[2])
    halves = [module for module, found in modules.items() if len(found) < 2]
    if halves:
        raise UnsupportedModel(f"{file}: {halves[0]} has only one of LoRA's two matrices: save the adapter again")
    if not modules:
        raise UnsupportedModel(f"{file} holds no tensors: save the adapter again")
    return list(modules)


def _stranger(name: str) -> str:
    for part, meaning in {
        "lora_magnitude_vector": "DoRA's magnitudes",
        "lora_embedding": "a trained embedding",
        "lora_B.bias": "a trained bias",
        ".bias": "a trained bias",
        "modules_to_save": "a module saved in full",
    }.items():
        if part in name:
            return f"it holds {meaning} ({name})"
    return f"it holds {name}, a tensor saved in full" if "lora_" not in name else f"it holds {name}, of another method"


def _low_rank(weights: Weights, module: str, config: Mapping[str, Any], path: Path) -> LowRank:
    matrices = []
    for which in "AB":
        stem = f"{_PREFIX}{module}.lora_{which}."
        name = next(name for name in (stem + "weight", stem + "default.weight") if name in weights)
        weights.require_readable(name)
        matrix = np.array(weights[name].float32())
        if matrix.ndim != 2 or not np.isfinite(matrix).all():
            raise UnsupportedModel(f"{path}: {name} is no matrix of finite numbers: the training went wrong, or the file is damaged")
        matrices.append(matrix)
    a, b = matrices
    rank, alpha = (
        _number(config, pattern, default, module, path) for pattern, default in (("rank_pattern", "r"), ("alpha_pattern", "lora_alpha"))
    )
    if not len(a) == b.shape[1] == rank:
        raise UnsupportedModel(
            f"{path}: {module} has rank {len(a)} in its A, {b.shape[1]} in its B and {rank:g} in {CONFIG}: the files do not belong together"
        )
    return LowRank(a, np.asarray(b * np.float32(alpha / (rank**0.5 if config.get("use_rslora") else rank)), np.float32))


def _number(config: Mapping[str, Any], pattern: str, default: str, module: str, path: Path) -> float:
    """The rank or alpha of one layer: of the first pattern that fits the end of its name, as in PEFT, else the default."""
    value = config.get(default)
    for key, of_pattern in (config.get(pattern) or {}).items():
        try:
            fits = re.match(rf"(.*\.)?({key})$", module)
        except re.error as error:
            raise UnsupportedModel(f"{path / CONFIG}: {pattern} holds {key!r}, which is no regular expression ({error})") from error
        if fits:
            value = of_pattern
            break
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise UnsupportedModel(f"{path / CONFIG}: {default} of {module} must be a positive number, not {value!r}")
    return float(value)


def _check_fit(linears: Mapping[str, LowRank], checkpoint: Checkpoint, path: Path, base: str | None) -> None:
    trained = f" (it was trained on {base})" if base else ""
    shapes = {name: shape for name, shape in checkpoint.config.shapes().items() if len(shape) == 2 and "embed" not in name}
    if not linears:
        raise UnsupportedModel(f"{path} has no effect: it changes nothing that this model's vectors depend on{trained}")
    strange = [name for name in linears if name not in shapes]
    if strange:
        raise UnsupportedModel(
            f"{path} does not fit the model in {checkpoint.path}{trained}: {len(strange)} of its {len(linears)} layers "
            f"are no linear layers there, such as {strange[0].removesuffix('.weight')}"
        )
    for name, low in linears.items():
        shape = (len(low.b), low.a.shape[1])
        if shape != shapes[name]:
            layer = name.removesuffix(".weight")
            raise UnsupportedModel(
                f"{path} does not fit the model in {checkpoint.path}{trained}: {layer} is {list(shapes[name])} there and {list(shape)} here"
            )


def _digest(linears: Mapping[str, LowRank]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(linears):
        low = linears[name]
        digest.update(f"{name} {low.a.shape} {low.b.shape}".encode())
        digest.update(low.a.tobytes() + low.b.tobytes())
    return digest.hexdigest()
