"""Adapters: what their folders mean, put on a loaded model, judged, merged into their base.

The folder is PEFT's own; `huiyi.json` and `head.safetensors` beside it say what PEFT cannot (docs/training.md). Everything that can be
refused is refused before an engine sees the adapter.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from huiyi import __version__
from huiyi.encoding import probes, selfcheck
from huiyi.encoding.classifier import PairClassifier
from huiyi.encoding.encoder import LocalEncoder
from huiyi.encoding.pairing import PairTemplate, template_of
from huiyi.encoding.selfcheck import Check
from huiyi.encoding.tokenizer import Tokenizer, query_prefix
from huiyi.engines.adapters import MAX_RANK, Adapter, open_adapter
from huiyi.engines.checkpoint import BertConfig, Checkpoint, open_checkpoint
from huiyi.engines.devices import LocalEngine
from huiyi.engines.heads import Head
from huiyi.engines.hub import locate
from huiyi.engines.merging import merged_checkpoint, note_merge, write_merged
from huiyi.engines.openvino import OpenVINOEngine
from huiyi.engines.weights import open_file
from huiyi.errors import Conflict, InvalidInput, ModelFailed, UnsupportedModel
from huiyi.training.calibration import Calibration
from huiyi.types import Floats

ABOUT = "huiyi.json"
HEAD = "head.safetensors"
VERSION = 1


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter and what its folder says of it. head: of a pair classifier, weight [labels, width] and bias [labels]; else None."""

    adapter: Adapter
    instruction: str | None = None
    dimensions: tuple[int, ...] | None = None
    max_tokens: int | None = None
    template: PairTemplate | None = None
    head: tuple[Floats, Floats] | None = None
    calibration: Calibration | None = None
    digest: str = ""

    @property
    def is_classifier(self) -> bool:
        return self.head is not None

    def prompts(self, checkpoint: Checkpoint) -> dict[str, str]:
        """Those of its base; where it was trained with a task of its own, queries get that one."""
        if self.instruction is None or checkpoint.family != "qwen3":
            return checkpoint.prompts
        return checkpoint.prompts | {"query": query_prefix(self.instruction)}

    def probability(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of label 1, for log odds: by the calibration where one was learned."""
        if self.calibration is not None:
            return self.calibration.probability(scores)
        return np.asarray(1 / (1 + np.exp(-np.clip(scores, -700, 700))))


@dataclass(frozen=True)
class MergedModel:
    """output: a model folder like any other. changed: matrices with the adapter in them. same: least cosine to the unmerged."""

    output: str
    base: str
    adapter: str
    changed: int
    same: float
    seconds: float


def open_folder(path: Path, checkpoint: Checkpoint) -> AdapterFolder:
    """The adapter in a folder, checked against its base. Raises NotFound, UnsupportedModel with the reason."""
    adapter = open_adapter(path, checkpoint)
    if not (path / ABOUT).is_file():
        return AdapterFolder(adapter, digest=adapter.digest)
    about = _Fields(path / ABOUT)
    about.require_base(checkpoint)
    digest = hashlib.blake2b(adapter.digest.encode(), digest_size=16)
    if about.get("task", str) != "pair-classifier":
        if (path / HEAD).is_file():
            raise UnsupportedModel(f"{path} has a {HEAD}, and its {ABOUT} speaks of no pair classifier: the files do not belong together")
        widths = about.get("dimensions", list, optional=True)
        widths = tuple(sorted(widths)) if widths else None
        if widths and not all(type(width) is int and width in checkpoint.dimensions for width in widths):
            raise UnsupportedModel(f"{path / ABOUT}: dimensions {list(widths)} are not all widths of this model's vectors")
        return AdapterFolder(adapter, about.get("instruction", str, optional=True), widths, digest=adapter.digest)
    template = PairTemplate.from_json(about.get("pair", dict), str(about.file))
    if template.token_types:
        raise UnsupportedModel(f"{about.file}: token_types (a second type for the second text) is not supported by this engine")
    if max((*template.before, *template.between, *template.after), default=0) >= checkpoint.config.vocab_size:
        raise UnsupportedModel(f"{about.file}: pair holds token ids that this model does not have")
    if about.get("labels", list) != ["0", "1"]:
        raise UnsupportedModel(f"{about.file}: labels {about.get('labels', list)!r} are not supported; ['0', '1'] are")
    head = _read_head(path / HEAD, checkpoint)
    for array in head:
        digest.update(array.tobytes())
    digest.update(json.dumps(template.to_json()).encode())
    learned = about.get("calibration", dict, optional=True)
    try:
        calibration = Calibration.from_json(json.dumps(learned), str(about.file)) if learned else None
    except InvalidInput as error:
        raise UnsupportedModel(f"{about.file}: calibration cannot be used ({error})") from error
    max_tokens = about.get("max_length", int)
    if not len(template) + 2 <= max_tokens <= checkpoint.config.max_positions:
        raise UnsupportedModel(f"{about.file}: max_length {max_tokens} does not fit its {checkpoint.config.max_positions} positions")
    return AdapterFolder(adapter, None, None, max_tokens, template, head, calibration, digest.hexdigest())


def adapted(base: LocalEncoder, checkpoint: Checkpoint, folder: AdapterFolder, *, shared: bool) -> LocalEncoder:
    """An encoder with the adapter: a `PairClassifier` where it is one.

    shared: beside `base`, whose queue it uses and which stays open when it is closed; else in the place of `base`.
    """
    if folder.adapter.rank > MAX_RANK:
        raise UnsupportedModel(
            f"{folder.adapter.path} has rank {folder.adapter.rank}, and up to {MAX_RANK} is computed beside the base: "
            f"merge it into its base (huiyi model merge)"
        )
    engine = cast(LocalEngine, base.engine)
    inputs = engine.adapt(folder.adapter)
    tokenizer = cast(Tokenizer, base.tokenizer)
    space = hashlib.blake2b(f"{checkpoint.digest} {folder.digest}".encode(), digest_size=16).hexdigest()
    if folder.head is not None and folder.template is not None and folder.max_tokens is not None:
        made: LocalEncoder = PairClassifier(
            tokenizer,
            engine,
            space=space,
            adapter=inputs,
            template=folder.template,
            head=Head(*folder.head),
            max_tokens=folder.max_tokens,
            probability=folder.probability,
            threshold=folder.calibration.threshold if folder.calibration else 0.0,
            base=base,
        )
    else:
        if folder.prompts(checkpoint) != checkpoint.prompts:
            tokenizer = tokenizer_of(checkpoint, folder.prompts(checkpoint))
        dimensions = folder.dimensions or base.dimensions
        made = LocalEncoder(tokenizer, engine, space=space, dimensions=dimensions, adapter=inputs, base=base)
    made.owns_scheduler = not shared
    return made


def tokenizer_of(checkpoint: Checkpoint, prompts: dict[str, str] | None = None) -> Tokenizer:
    """prompts: in the place of the folder's own."""
    return Tokenizer(
        checkpoint.path,
        family=checkpoint.family,
        max_tokens=checkpoint.max_tokens,
        vocab_size=checkpoint.config.vocab_size,
        prompts=checkpoint.prompts if prompts is None else prompts,
        pooling=checkpoint.pooling,
    )


def template_for(checkpoint: Checkpoint, tokenizer: Tokenizer, token_types: bool) -> PairTemplate:
    """How its kind of model reads two texts. token_types: whether the second one has a type of its own, where the model has two."""
    config = checkpoint.config
    doubled = isinstance(config, BertConfig) and config.position_offset > 0  # RoBERTa and XLM-R
    typed = token_types and isinstance(config, BertConfig) and config.type_vocab_size > 1
    return template_of(tokenizer, doubled=doubled, token_types=typed)


def adapter_checks(checkpoint: Checkpoint, adapter: Adapter, threads: int | None = None) -> tuple[Check, ...]:
    """Whether the adapter changes vectors, and gives those of its base with the adapter in the weights; in fp32, one after the other."""
    base, unmerged = _vectors(checkpoint, threads, adapter)
    (merged,) = _vectors(merged_checkpoint(checkpoint, adapter), threads)
    return selfcheck.changes(base, unmerged), selfcheck.same_merged(unmerged, merged)


def model_merge(
    name: str,
    adapter: Path,
    out: Path,
    threads: int | None = None,
    *,
    offline: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> MergedModel:
    """A new model folder `out`: that of the base with the adapter in its weights, rounded to the base's type.

    It is checked against the unmerged adapter before it appears. Raises Conflict where `out` is there, InvalidInput for a pair
    classifier, ModelFailed when the check fails, and what `open_folder` raises.
    """
    began = monotonic()
    if out.exists():
        raise Conflict(f"{out} is there already; name a new folder")
    folder = locate(name, offline=offline)
    checkpoint = open_checkpoint(folder)
    found = open_folder(adapter, checkpoint)
    if found.is_classifier:
        raise InvalidInput(f"{adapter} is a pair classifier: a merged model would lose its head; use it with --adapter {adapter}")
    out.parent.mkdir(parents=True, exist_ok=True)
    checks: list[Check] = []

    def check(part: Path) -> None:
        note_merge(part / "README.md", name, adapter, __version__)
        say("looking at the vectors of the merged model beside those of the adapter")
        base, unmerged = _vectors(checkpoint, threads, found.adapter)
        (merged,) = _vectors(open_checkpoint(part), threads)
        checks.extend((selfcheck.changes(base, unmerged), selfcheck.same_merged(unmerged, merged)))
        if failed := [each for each in checks if not each.ok]:
            found_out = "; ".join(f"{each.name} {each.value} ({each.limit}) {each.note}".strip() for each in failed)
            raise ModelFailed(f"{adapter} does not pass its check on {name}: {found_out}; nothing was written")

    say(f"{len(found.adapter.linears)} matrices of {name} change")
    write_merged(folder, checkpoint, found.adapter, out, check)
    return MergedModel(str(out), name, str(adapter), len(found.adapter.linears), float(checks[1].value or 0), monotonic() - began)


def require_effect(name: str, base: LocalEncoder, changed: LocalEncoder) -> None:
    """Raises ModelFailed when the adapter changes no vector."""
    plain = LocalEncoder(changed.tokenizer, base.engine, space=changed.space, adapter=changed.adapter, base=base)
    check = selfcheck.changes(base.embed(probes.FEW).vectors, plain.embed(probes.FEW).vectors)
    if not check.ok:
        raise ModelFailed(f"{name}: {check.note}")


def _vectors(checkpoint: Checkpoint, threads: int | None, adapter: Adapter | None = None) -> list[Floats]:
    """Of the texts that encoders are tried with, in fp32; with an adapter a second time with it."""
    engine = OpenVINOEngine(checkpoint, "fp32", threads)
    tokenizer = tokenizer_of(checkpoint)
    encoder = LocalEncoder(tokenizer, engine, space="")
    try:
        encoders = [encoder]
        if adapter is not None:
            encoders.append(LocalEncoder(tokenizer, engine, space="", adapter=engine.adapt(adapter), base=encoder))
        return [each.embed(probes.FEW).vectors for each in encoders]
    finally:
        encoder.close()


def _read_head(file: Path, checkpoint: Checkpoint) -> tuple[Floats, Floats]:
    if not file.is_file():
        raise UnsupportedModel(f"{file.parent} lacks {file.name}, the pair classifier's head: train it again")
    tensors = open_file(file).only({"weight": (2, checkpoint.config.hidden_size), "bias": (2,)}, file)
    weight, bias = (np.array(tensors[name].float32()) for name in ("weight", "bias"))
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise UnsupportedModel(f"{file} holds numbers that are none: the training went wrong, or the file is damaged")
    return weight, bias


class _Fields:
    """huiyi.json with errors that name the field."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self.raw = json.loads(file.read_text("utf-8"))
            if self.raw["huiyi"] != "adapter":
                raise ValueError("it does not describe an adapter")
        except (ValueError, KeyError, TypeError) as error:
            raise UnsupportedModel(f"{file} cannot be used ({error}): train the adapter again") from error
        if self.raw.get("version") != VERSION:
            raise UnsupportedModel(f"{file} is of version {self.raw.get('version')!r} and this huiyi knows {VERSION}: update huiyi")

    def get(self, name: str, kind: type, optional: bool = False) -> Any:
        value = self.raw.get(name)
        if (value is None and optional) or (isinstance(value, kind) and not isinstance(value, bool)):
            return value
        raise UnsupportedModel(f"{self.file}: {name} must be of type {kind.__name__}, not {value!r}")

    def require_base(self, checkpoint: Checkpoint) -> None:
        """Raises UnsupportedModel when the adapter was trained on other weights, or reads its vector elsewhere."""
        base = self.get("base", dict)
        if base.get("digest") != checkpoint.digest:
            raise UnsupportedModel(
                f"{self.file.parent} does not fit the model in {checkpoint.path}: it was trained on other weights, {base.get('name')}"
            )
        if self.get("pooling", str) != checkpoint.pooling:
            raise UnsupportedModel(f"{self.file}: pooling {self.raw['pooling']!r} is not that of the model, {checkpoint.pooling!r}")
