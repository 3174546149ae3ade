"""A base fine-tuned on a file of examples, into a folder that serves: read, cleaned of leaks, learned, judged, written.

All that can be refused is refused before the base is loaded. The same command goes on where a killed run stood.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from huiyi.encoding.pairing import PairTemplate
from huiyi.encoding.tokenizer import DEFAULT_TASK, Tokenizer
from huiyi.engines.checkpoint import Checkpoint, Pooling, open_checkpoint
from huiyi.engines.hub import locate
from huiyi.errors import Conflict, InvalidInput, MissingExtra
from huiyi.sources.outputs import replacing
from huiyi.training.batches import batch_at, groups, steps_per_epoch, suggested_length
from huiyi.training.calibration import Calibration, fit, fold_of
from huiyi.training.data import Examples, Pairs, Queries, Training
from huiyi.training.leaks import keys, without_leaks
from huiyi.training.memory import Estimate, available_bytes, estimate, require_room
from huiyi.training.runs import Run, Settings, card, plain
from huiyi.training.runs import settings_of as settings_of
from huiyi.workspace.adapters import template_for
from huiyi.workspace.examples import Reader
from huiyi.workspace.models import named

if TYPE_CHECKING:
    from huiyi.training.loop import Step as Step
    from huiyi.training.networks import Network
    from huiyi.training.recipes import Validated

Split = TypeVar("Split", bound=Examples)
HELD_FOLDS = 10  # where no file is named to judge by, one tenth of the examples is held back
MOST_TOKENS = 512  # that a suggested length goes up to
SMALL = 512  # hidden width below which bf16 gains nothing on a CPU


@dataclass(frozen=True)
class TrainedModel:
    """before, after: figures of the examples that judged, by name; the first is what was to grow. rows: that were learned from.

    leaked: rows left out because the judging examples hold them too. lora, parameters, head: numbers trained, all, of the head.
    """

    out: str
    recipe: str
    task: str
    base: str
    rows: int
    judged: int
    leaked: int
    steps: int
    best_step: int
    stopped_early: bool
    before: dict[str, float]
    after: dict[str, float]
    threshold: float | None
    max_length: int
    trained: int
    parameters: int
    head: int
    tokens_per_s: float
    seconds: float


@dataclass(frozen=True)
class Reports:
    """Who is told what: sentences, and every step."""

    say: Callable[[str], None] = lambda line: None
    step: Callable[["Step"], None] = lambda step: None


@dataclass(frozen=True)
class Job:
    """What `train_file` reads besides settings. evaluation: a file to judge by; None holds a tenth of `source` back."""

    source: str | Path
    base: str | None
    out: Path
    evaluation: str | Path | None = None
    reader: Reader = field(default_factory=Reader)
    keep_leaks: bool = False
    threads: int | None = None
    overwrite: bool = False


def train_file(job: Job, settings: Settings, reports: Reports | None = None) -> TrainedModel:
    """Fine-tune on a file. Raises what reading does, Conflict where `out` holds something else, TooLarge, MissingExtra."""
    reports = reports or Reports()
    require_extra()
    examples = job.reader.training(job.source)
    if job.evaluation is None:
        examples, judging = held_out(examples)
        reports.say(f"no --eval: {len(judging):,} of the rows are held back to judge by")
    else:
        judging = job.reader.training(job.evaluation)
    if type(judging) is not type(examples):
        raise InvalidInput(f"{judging.name} holds {_kind(judging)} and {examples.name} holds {_kind(examples)}; judge by the same kind")
    return train(examples, judging, job, settings, reports)


def train(examples: Training, judging: Training, job: Job, settings: Settings, reports: Reports) -> TrainedModel:
    """`train_file` for examples that were read already."""
    began = monotonic()
    clean = without_leaks(examples, judging)
    if clean.leaked and not job.keep_leaks:
        reports.say(f"{len(clean.leaked):,} rows of {examples.name} stand in {judging.name} too and are left out (--keep-leaks keeps them)")
        examples = clean.kept
    if not len(examples):
        raise InvalidInput(f"all rows of {examples.name} stand in {judging.name} too; judge by others")
    if isinstance(judging, Pairs) and len(np.unique(judging.labels)) < 2:
        raise InvalidInput(f"all pairs of {judging.name} have label {judging.labels[0]}: they cannot tell a good model from a bad one")
    name = named(job.base, "--base")
    checkpoint = open_checkpoint(locate(name))
    prepared = prepare(examples, judging, checkpoint, name, settings)
    if prepared.objective.inputs.cut:
        reports.say(
            f"{prepared.objective.inputs.cut:,} inputs are longer than {prepared.settings.max_length} tokens and are cut (--max-length)"
        )
    require_place(job.out, job.overwrite)
    config = {"base": name, "digest": checkpoint.digest, "data": examples.digest, "judging": judging.digest, **plain(prepared.settings)}
    run = Run(job.out / "run", config)
    if job.overwrite and not (job.out / "run" / "unfinished").exists():
        shutil.rmtree(job.out / "run", ignore_errors=True)
    run.open()
    (run.folder / "unfinished").touch()
    if run.state.exists():
        reports.say(f"going on with the run in {run.folder}")
    network, outcome = _learned(prepared, run, job, reports)
    result = _finish(network, outcome, prepared, run, job, examples, judging, len(clean.leaked) * (not job.keep_leaks), monotonic() - began)
    for part in (run.state, run.best, run.folder / "unfinished"):
        part.unlink(missing_ok=True)
    return result


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that a run needs, before its base is loaded. settings: with the length, device and precision that were chosen."""

    checkpoint: Checkpoint
    base: str
    settings: Settings
    pooling: Pooling
    template: PairTemplate | None
    objective: Any
    validation: Any


def prepare(examples: Training, judging: Training, checkpoint: Checkpoint, base: str, settings: Settings) -> Prepared:
    """Tokens made, length, device and precision chosen."""
    from dataclasses import replace

    from huiyi.training import networks, recipes

    device = networks.choose_device(settings.device)
    precision = _precision(settings.precision, device, checkpoint)
    classifies = settings.task == "pair-classifier"
    # a BERT that is trained whole reads pairs at [CLS] with token types, as it was made to; an adapter must serve on the engine as it is
    whole_bert = settings.recipe == "full" and checkpoint.family == "bert" and classifies
    pooling: Pooling = "cls" if whole_bert else checkpoint.pooling
    longest = min(checkpoint.config.max_positions, MOST_TOKENS)
    tokenizer = tokenizer_of(checkpoint, settings.max_length or longest)
    template = template_for(checkpoint, tokenizer, whole_bert) if classifies else None
    _check_widths(settings.dimensions, checkpoint)
    instruction = settings.instruction
    if isinstance(examples, Queries) and instruction is None and checkpoint.family == "qwen3" and "query" not in checkpoint.prompts:
        instruction = DEFAULT_TASK
    if settings.instruction and not isinstance(examples, Queries):
        raise InvalidInput("an instruction stands on the query side; it belongs to training data with the columns query and positive")
    length = settings.max_length or suggested_length(_lengths(examples, tokenizer, template, instruction), longest)
    if length > checkpoint.config.max_positions:
        raise InvalidInput(f"{base} reads at most {checkpoint.config.max_positions:,} tokens; lower --max-length")
    tokenizer = tokenizer_of(checkpoint, length)
    chosen = replace(settings, max_length=length, device=device, precision=precision, instruction=instruction)
    if template is not None:
        objective: Any = recipes.pair_classifier(examples, tokenizer, template)
    else:
        widths = tuple(sorted({checkpoint.config.hidden_size, *settings.dimensions}, reverse=True)) if settings.dimensions else ()
        objective = recipes.bi_encoder(
            examples, tokenizer, loss=settings.loss, instruction=instruction, widths=widths, margin=settings.margin, scale=settings.scale
        )
        if settings.mined and not isinstance(objective, recipes.ByContrast):
            raise InvalidInput("--mine finds negatives for InfoNCE; pairs learn by CoSENT unless --loss info-nce is passed")
    validation = recipes.Validation(judging, tokenizer, template, instruction)
    return Prepared(checkpoint, base, chosen, pooling, template, objective, validation)


def network_of(prepared: Prepared) -> "Network":
    from huiyi.training import networks

    settings, checkpoint = prepared.settings, prepared.checkpoint
    lora = None
    if settings.recipe != "full":
        lora = networks.lora_config(
            checkpoint.family,
            rank=settings.rank,
            alpha=settings.alpha,
            dropout=settings.dropout,
            targets=settings.targets,
            classifier=settings.task == "pair-classifier",
            base=prepared.base,
        )
    return networks.build(
        checkpoint,
        pooling=prepared.pooling,
        head=settings.task == "pair-classifier",
        lora=lora,
        device=settings.device,
        bf16=settings.precision == "bf16",
        checkpointing=settings.checkpointing,
        seed=settings.seed,
    )


def memory_of(prepared: Prepared) -> Estimate:
    """What the first epoch's largest batch will take."""
    settings, shapes = prepared.settings, prepared.checkpoint.config.shapes()
    parameters = sum(int(np.prod(shape)) for shape in shapes.values())
    objective, lengths = prepared.objective, prepared.objective.inputs.lengths
    largest = 0
    for step in range(min(steps_per_epoch(len(objective), settings.batch_size), 2000)):
        sizes = lengths[objective.needs(batch_at(step, len(objective), settings.batch_size, settings.seed))]
        largest = max(largest, int(sizes.sum()))
    padded = sum(len(group) * int(lengths[group].max()) for group in groups(lengths[:4096], 1024)) / max(1, int(lengths[:4096].sum()))
    trained = parameters if settings.recipe == "full" else parameters // 100
    return estimate(
        prepared.checkpoint.config,
        parameters=parameters,
        trained=trained,
        tokens=round(largest * padded),
        bf16=settings.precision == "bf16",
        checkpointing=settings.checkpointing,
        lora=settings.recipe != "full",
        on_cpu=settings.device == "cpu",
    )


def _learned(prepared: Prepared, run: Run, job: Job, reports: Reports) -> tuple["Network", Any]:
    from huiyi.training import loop, networks, recipes

    networks.use_threads(job.threads)
    settings = prepared.settings
    on_gpu = settings.device == "cuda"
    require_room(memory_of(prepared), networks.free_bytes(settings.device) if on_gpu else available_bytes(), "GPU" if on_gpu else "machine")
    network = network_of(prepared)
    if settings.mined:
        found = recipes.mine(network, prepared.objective, settings.mined)
        reports.say(f"{found:,} hard negatives found for {len(prepared.objective):,} rows")
    return network, loop.train(network, prepared.objective, prepared.validation, settings, run, reports.step)


def _finish(
    network: "Network",
    outcome: Any,
    prepared: Prepared,
    run: Run,
    job: Job,
    examples: Training,
    judging: Training,
    leaked: int,
    seconds: float,
) -> TrainedModel:
    from huiyi.training import adapters

    settings = prepared.settings
    calibration = _calibrated(outcome.best, judging, prepared)
    about = about_of(prepared, calibration)
    adapters.save(network, job.out, about)
    trained, parameters, head = adapters.counted(network)
    notes = [f"{leaked:,} rows that stand in the judging data too were left out"] if leaked else []
    if outcome.best.figure <= outcome.before.figure:
        notes.append(f"training did not raise {outcome.best.name}: the base alone does as well")
    described = {
        "title": job.out.name,
        "base": prepared.base,
        "digest": prepared.checkpoint.digest,
        "data": f"{len(examples):,} {_kind(examples)} of {examples.name} (SHA-256 {examples.digest[:16]}…)",
        "validation": f"{len(judging):,} {_kind(judging)} of {judging.name} (SHA-256 {judging.digest[:16]}…)",
        "notes": notes,
        "figures": [(name, outcome.before.figures[name], value) for name, value in outcome.best.figures.items()],
        "settings": plain(settings),
    }
    with replacing(job.out / "README.md") as part:
        part.write_text(card(described), "utf-8")
    run.write_curves(f"{job.out.name}: {settings.recipe} on {examples.name}")
    return TrainedModel(
        out=str(job.out),
        recipe=settings.recipe,
        task=settings.task,
        base=prepared.base,
        rows=len(examples),
        judged=len(judging),
        leaked=leaked,
        steps=outcome.steps,
        best_step=outcome.best_step,
        stopped_early=outcome.stopped,
        before=outcome.before.figures,
        after=outcome.best.figures,
        threshold=calibration.threshold if calibration else None,
        max_length=int(settings.max_length or 0),
        trained=trained,
        parameters=parameters,
        head=head,
        tokens_per_s=outcome.tokens_per_s,
        seconds=seconds,
    )


def _calibrated(best: "Validated", judging: Training, prepared: Prepared) -> Calibration | None:
    if not isinstance(judging, Pairs) or best.scores is None:
        return None
    about = {"model": prepared.base, "learned_from": judging.name, "digest": judging.digest}
    return fit(best.scores, judging.labels, about=about)


def about_of(prepared: Prepared, calibration: Calibration | None) -> dict[str, Any]:
    """huiyi.json as docs/training.md has it."""
    import json

    settings, objective = prepared.settings, prepared.objective
    classifies = prepared.template is not None
    return {
        "recipe": settings.recipe,
        "task": settings.task,
        "base": {"name": prepared.base, "digest": prepared.checkpoint.digest},
        "pooling": prepared.pooling,
        "max_length": settings.max_length,
        "pair": prepared.template.to_json() if prepared.template else None,
        "labels": ["0", "1"] if classifies else None,
        "calibration": json.loads(calibration.to_json()) if calibration else None,
        "instruction": settings.instruction,
        "dimensions": list(objective.widths) or None if not classifies else None,
    }


def tokenizer_of(checkpoint: Checkpoint, max_tokens: int) -> Tokenizer:
    return Tokenizer(
        checkpoint.path,
        family=checkpoint.family,
        max_tokens=max_tokens,
        vocab_size=checkpoint.config.vocab_size,
        prompts=checkpoint.prompts,
        pooling=checkpoint.pooling,
    )


def held_out(examples: Split, folds: int = HELD_FOLDS) -> tuple[Split, Split]:
    """Examples to learn from and to judge by; what stands together is told from the rows themselves, so equal ones go together."""
    held = np.array([fold_of(repr(row[0]), folds) == 0 for row in keys(examples)])
    if held.all() or not held.any():
        raise InvalidInput(f"{examples.name} has too few rows to hold some back to judge by; name a file of others with --eval")
    return examples.take(np.flatnonzero(~held)), examples.take(np.flatnonzero(held))


def require_extra() -> None:
    for library in ("torch", "transformers", "peft", "safetensors"):
        if find_spec(library) is None:
            raise MissingExtra("training", "train")


def require_place(out: Path, overwrite: bool) -> None:
    """Nobody's files are mixed with ours: an empty or new folder, or the run that is to go on."""
    if out.is_file():
        raise Conflict(f"{out} is a file; name a folder for --out")
    if not out.is_dir() or not any(out.iterdir()) or overwrite or (out / "run" / "unfinished").exists():
        return
    if (out / "huiyi.json").exists():
        raise Conflict(f"{out} holds a finished run; name another --out, or pass --force to replace it")
    raise Conflict(f"{out} is not empty and holds no run of this command; name another --out")


def _precision(asked: str, device: str, checkpoint: Checkpoint) -> str:
    if asked != "auto":
        if asked not in ("fp32", "bf16"):
            raise InvalidInput(f"training computes in fp32 or bf16, not in {asked}")
        return asked
    if device == "cuda":
        return "bf16"
    from huiyi.engines.openvino import resolve_precision

    return resolve_precision("auto") if checkpoint.config.hidden_size >= SMALL else "fp32"


def _check_widths(widths: tuple[int, ...], checkpoint: Checkpoint) -> None:
    for width in widths:
        if not 0 < width <= checkpoint.config.hidden_size:
            raise InvalidInput(f"there are {checkpoint.config.hidden_size} dimensions; --dimensions cannot hold {width}")


def _lengths(examples: Training, tokenizer: Tokenizer, template: PairTemplate | None, instruction: str | None) -> list[int]:
    """Of inputs, whole, of a sample."""
    sample = examples.take(np.random.default_rng(0).permutation(len(examples))[:4096])
    if isinstance(sample, Queries):
        passages = [text for texts in (*sample.positives, *sample.negatives) for text in texts]
        encoded = [*tokenizer.encode(list(sample.queries), "query", instruction), *tokenizer.encode(passages, prompt="")]
        return [len(ids) for ids in encoded]
    if template is None or not isinstance(sample, Pairs):
        return [len(ids) for ids in tokenizer.encode(sample.texts(), prompt="")]
    sides = [[len(ids) for ids in tokenizer.encode(list(side), prompt="")] for side in (sample.first, sample.second)]
    return [a + b for a, b in zip(*sides, strict=True)]


def _kind(examples: Examples) -> str:
    return {"Pairs": "pairs", "ScoredPairs": "scored pairs", "Triplets": "triplets", "Queries": "queries"}[type(examples).__name__]
