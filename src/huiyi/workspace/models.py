"""Models by name or folder: loaded to be used, fetched, listed, described, judged.

Owns what composes a `Model` (checkpoint, tokenizer, engine, scheduler) and what is said of it. Nothing is loaded before the name is known.
"""

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import cast

from huiyi import settings
from huiyi.encoding import probes, selfcheck
from huiyi.encoding.encoder import LocalEncoder
from huiyi.encoding.selfcheck import Check, Comparison
from huiyi.engines import devices
from huiyi.engines.checkpoint import open_checkpoint
from huiyi.engines.devices import LocalEngine
from huiyi.engines.heads import Purpose, purpose, require_embedding
from huiyi.engines.hub import locate, pulled
from huiyi.engines.openvino import resolve_precision
from huiyi.errors import InvalidInput
from huiyi.model import Model
from huiyi.workspace.adapters import adapted, adapter_checks, open_folder, tokenizer_of
from huiyi.workspace.texts import text_encoder

INT8_GAIN = 1.4  # over bf16, see docs/benchmarks.md; over fp32 more


@dataclass(frozen=True)
class KnownModel:
    """A model that was downloaded whole. revision: as it was asked for, None for the hub's default."""

    name: str
    hub: str
    revision: str | None
    path: str
    size_bytes: int


@dataclass(frozen=True)
class KnownModels:
    models: tuple[KnownModel, ...]


@dataclass(frozen=True)
class ModelInfo:
    """What a model folder holds. weights_mb: of the weights alone, by precision, 10^6 bytes; precision, threads: what auto means here.

    dimensions: the widths that a vector may be cut to, as text. longest_tokens: what max_tokens may be raised to.
    licence: as the folder's README states it, None where it does not. task: embedding where the folder does not say otherwise.
    """

    name: str
    path: str
    task: Purpose
    family: str
    parameters: int
    weights_mb: dict[str, int]
    layers: int
    dim: int
    dimensions: str
    pooling: str
    normalizes: bool
    max_tokens: int
    longest_tokens: int
    prompts: dict[str, str]
    licence: str | None
    space: str
    precision: str
    threads: int


@dataclass(frozen=True)
class CheckedModel:
    """comparison: with fp32 on the same weights, where a precision was asked for by name."""

    name: str
    precision: str
    ok: bool
    checks: tuple[Check, ...]
    comparison: Comparison | None
    seconds: float


def load(
    name_or_path: str | None = None,
    precision: str = "auto",
    threads: int | None = None,
    *,
    max_tokens: int | None = None,
    offline: bool = False,
    adapter: str | Path | None = None,
    device: str | None = None,
) -> Model:
    """As `huiyi.load`. offline: a name that was not pulled before is refused, not downloaded.

    name_or_path: also `URL[,URL…][#MODEL]`, servers that have the model, see `connect_named`.
    """
    name = named(name_or_path)
    if name.startswith(("http://", "https://")):
        if precision != "auto" or threads is not None or adapter is not None or device is not None:
            raise InvalidInput(
                f"{name.partition('#')[0]} computes as it was started: precision, threads, device and adapters are its own matter"
            )
        from huiyi.workspace.upstreams import connect_named

        return connect_named(name, max_tokens=max_tokens, offline=offline)
    devices.named(device)
    path = locate(name, offline=offline)
    require_embedding(path, name)
    checkpoint = open_checkpoint(path).up_to(max_tokens)
    tokenizer = tokenizer_of(checkpoint)
    put_on = open_folder(Path(adapter), checkpoint) if adapter is not None else None
    engine = devices.start(checkpoint, precision, threads, device)
    encoder = LocalEncoder(tokenizer, engine, space=checkpoint.digest, dimensions=checkpoint.dimensions)
    prompts = checkpoint.prompts
    if put_on is not None:
        encoder, prompts = adapted(encoder, checkpoint, put_on, shared=False), put_on.prompts(checkpoint)
    reopen = partial(load, name, precision, threads, max_tokens=max_tokens, offline=offline, adapter=adapter, device=device)
    about = _about(name, engine, device, offered=precision == "auto") + (f", with the adapter {adapter}" if adapter is not None else "")
    return Model(encoder, name, prompts, checkpoint.default_prompt_name, checkpoint.normalize, reopen, about)


def _about(name: str, engine: LocalEngine, device: str | None, offered: bool) -> str:
    """The line that a command begins with. offered: whether to name int8 and what it brings, see docs/benchmarks.md."""
    int8 = f"; --precision int8 is about {INT8_GAIN} times as fast and a little less exact (huiyi model check --precision int8 compares)"
    has_int8 = devices.named(device) == devices.CPU
    return f"{name} in {engine.precision} on {devices.place(device, engine.threads)}{int8 if offered and has_int8 else ''}"


def model_pull(name: str, hub: str | None = None, revision: str | None = None) -> KnownModel:
    """Download a model, or what is new of it; the hub's library shows its progress on standard error."""
    return _known(locate(name, hub=hub, revision=revision, refresh=True), name, hub, revision)


def model_list() -> KnownModels:
    """What was downloaded and is still there, by name."""
    return KnownModels(tuple(_known(model.path, model.name, model.hub, model.revision) for model in pulled()))


def model_info(name_or_path: str | None = None, *, offline: bool = False) -> ModelInfo:
    """What a model is; its weights are mapped, not run."""
    name = named(name_or_path)
    folder = locate(name, offline=offline)
    checkpoint = open_checkpoint(folder)
    parameters = sum(tensor.data.size for tensor in checkpoint.weights.values())
    widths = checkpoint.dimensions
    return ModelInfo(
        name=name,
        path=str(folder),
        task=purpose(folder, name) or "embedding",
        family=checkpoint.family,
        parameters=parameters,
        weights_mb={precision: round(parameters * size / 1e6) for precision, size in (("fp32", 4), ("bf16", 2), ("int8", 1))},
        layers=checkpoint.config.num_layers,
        dim=checkpoint.config.hidden_size,
        dimensions=f"{widths[0]} to {widths[-1]}" if isinstance(widths, range) else ", ".join(map(str, widths)),
        pooling=checkpoint.pooling,
        normalizes=checkpoint.normalize,
        max_tokens=checkpoint.max_tokens,
        longest_tokens=checkpoint.config.max_positions,
        prompts=checkpoint.prompts,
        licence=_licence(folder),
        space=checkpoint.digest,
        precision=resolve_precision("auto"),
        threads=os.cpu_count() or 1,
    )


def model_check(
    name_or_path: str | None = None,
    precision: str = "auto",
    threads: int | None = None,
    *,
    offline: bool = False,
    adapter: str | Path | None = None,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> CheckedModel:
    """Whether a model's vectors are what its folder means, as `selfcheck.check` judges.

    A precision other than auto and fp32, and any device but the CPU, is compared with fp32 on the CPU over 200 texts, which takes as long
    as embedding them twice.
    adapter: put on the model, and judged by `adapter_checks`. Of a pair classifier that is all there is to judge.
    """
    name, began = named(name_or_path), monotonic()
    folder = locate(name, offline=offline)
    checkpoint = open_checkpoint(folder)
    compares = precision not in ("auto", "fp32") or devices.named(device) != devices.CPU
    of_adapter: tuple[Check, ...] = ()
    if adapter is not None:
        found = open_folder(Path(adapter), checkpoint)
        say(f"{adapter}: its vectors beside those of {name} with it in the weights, in fp32")
        of_adapter = adapter_checks(checkpoint, found.adapter, threads)
        if found.is_classifier:
            return CheckedModel(name, "fp32", all(check.ok for check in of_adapter), of_adapter, None, monotonic() - began)
    with load(str(folder), precision, threads, adapter=adapter, device=device) as model:
        encoder = cast(LocalEncoder, model.encoder)
        resolved = encoder.precision
        say(f"{name} in {resolved}: looking at its vectors")
        report = selfcheck.check(encoder, resolved, checkpoint.pooling == "last", published_sha256(checkpoint.path))
        if compares:
            say(f"comparing {resolved} with fp32 over {len(probes.TEXTS)} texts")
            vectors = text_encoder(model, truncate="end")(probes.TEXTS).vectors
    comparison = None
    if compares:
        with load(str(folder), "fp32", threads, adapter=adapter, device=devices.CPU) as reference:
            comparison = selfcheck.compare(vectors, text_encoder(reference, truncate="end")(probes.TEXTS).vectors, probes.TEXTS, resolved)
    checks = report.checks + of_adapter
    ok = all(check.ok is not False for check in checks) and (comparison is None or comparison.ok)
    return CheckedModel(name, resolved, ok, checks, comparison, monotonic() - began)


def named(name_or_path: str | None, option: str = "--model") -> str:
    name = name_or_path or settings.default_model()
    if name is None:
        raise InvalidInput(f"no model is named: pass {option} NAME (or a folder), or set HUIYI_MODEL")
    return name


def _known(path: Path, name: str, hub: str | None, revision: str | None) -> KnownModel:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return KnownModel(name, hub or settings.hub(), revision, str(path), size)


def _licence(folder: Path) -> str | None:
    """From the head of the model card, where hubs put it."""
    card = folder / "README.md"
    head = re.match(r"---\n(.*?)\n---", card.read_text("utf-8", errors="replace"), re.DOTALL) if card.is_file() else None
    found = re.search(r"^license: *(\S+)", head[1], re.MULTILINE) if head else None
    return found[1] if found else None


def published_sha256(folder: Path) -> str | None:
    """The digest of a weights file that has the size of the published one; None for all others."""
    weights = folder / "model.safetensors"
    if not weights.is_file() or weights.stat().st_size != selfcheck.PUBLISHED_BYTES:
        return None
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
