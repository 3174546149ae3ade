"""The article's table on AFQMC in one command: every row on the official split, with its interval, and gone on with row by row.

Models learn from nine tenths of the train file; the tenth that is left chooses steps and thresholds. The dev file is only reported on.
A row is kept as its scores, so figures of all rows come out of one place and differences are of the same resamples.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from huiyi.engines.checkpoint import open_checkpoint
from huiyi.engines.hub import locate
from huiyi.errors import Conflict, InvalidInput, NotFound
from huiyi.sources.outputs import replacing
from huiyi.training.bootstrap import Difference, Estimate
from huiyi.training.data import Pairs
from huiyi.training.judging import JudgedPairs, Learned, judge_pairs
from huiyi.training.leaks import without_leaks
from huiyi.training.runs import Settings, settings_of
from huiyi.workspace.evaluating import in_order
from huiyi.workspace.examples import Reader
from huiyi.workspace.systems import Constant, Lexical
from huiyi.workspace.training import Job, Reports, held_out, prepare, require_extra, tokenizer_of, train

Scores = NDArray[np.float64]
ROWS = ("majority", "tfidf", "zero-shot", "similarity", "pair-classifier", "baseline")
OFFICIAL = (34_334, 4_316)  # rows of AFQMC's train and dev files
FIGURES = ("accuracy", "f1", "auc", "spearman")
BLOG = (
    "Blog posts give 85.15 % for a fully fine-tuned RoBERTa and 83.17 % for Qwen3-Embedding-0.6B with LoRA. Those figures are not on this "
    "split (published ones of RoBERTa-wwm-ext on it are near 74 %) and cannot be compared with this table."
)
_SUFFIXES = (".tsv", ".tsv.gz", ".jsonl", ".json", ".csv", ".xlsx", ".parquet")


@dataclass(frozen=True)
class Row:
    """figures: of the dev pairs. gain: over zero-shot, on the same resamples. trained: numbers that were learned, None for none."""

    name: str
    model: str
    figures: dict[str, Estimate]
    gain: dict[str, Difference]
    threshold: float
    trained: int | None
    seconds: float


@dataclass(frozen=True)
class Reproduced:
    """pairs: learned from, held back to choose by, reported on. official: whether the files have the official number of rows."""

    rows: tuple[Row, ...]
    pairs: tuple[int, int, int]
    leaked: int
    official: bool
    note: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """given: settings in the place of the recipes' own, for all rows that train. limit: train rows to use, for a trial."""

    base: str
    baseline: str
    data: Path
    out: Path
    rows: tuple[str, ...] = ROWS
    given: tuple[tuple[str, Any], ...] = ()
    limit: int | None = None
    threads: int | None = None
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class _Pairs:
    """learning and held are of the train file, reported is the dev file."""

    learning: Pairs
    held: Pairs
    reported: Pairs
    leaked: int
    official: bool


def reproduce_afqmc(plan: Plan, reports: Reports | None = None) -> Reproduced:
    """All rows of the plan; those that an earlier run of the same plan finished are taken from its folder."""
    reports, began = reports or Reports(), monotonic()
    require_extra()
    strange = [name for name in plan.rows if name not in ROWS]
    if strange:
        raise InvalidInput(f"there is no row {strange[0]!r}; there are {', '.join(ROWS)}")
    pairs = _read(plan, reports.say)
    _open(plan, pairs)
    _require_models(plan)
    made: dict[str, dict[str, Any]] = {}
    for name in plan.rows:
        file = plan.out / "rows" / f"{name}.json"
        if not file.exists():
            reports.say(f"{name}: {_described(name, plan)}")
            row = _made(name, plan, pairs, reports)
            with replacing(file) as part:
                part.write_text(json.dumps(row), "utf-8")
        made[name] = json.loads(file.read_text("utf-8"))
    result = _judged(made, plan, pairs, monotonic() - began)
    with replacing(plan.out / "afqmc.json") as part:
        part.write_text(json.dumps(table(result), ensure_ascii=False, indent=1), "utf-8")
    return result


def table(result: Reproduced) -> dict[str, Any]:
    """Rows for people: per cent, with intervals."""
    return {
        "note": result.note,
        "pairs": dict(zip(("learned from", "held back", "reported"), result.pairs, strict=True)),
        "rows": [
            {
                "row": row.name,
                "model": row.model,
                **{name: _percent(row.figures[name]) for name in FIGURES},
                "accuracy over zero-shot": _percent(row.gain["accuracy"], "+") if row.gain else None,
                "auc over zero-shot": _percent(row.gain["auc"], "+") if row.gain else None,
                "trained numbers": row.trained,
                "seconds": round(row.seconds),
            }
            for row in result.rows
        ],
    }


def _percent(found: Estimate | Difference, sign: str = "") -> str | None:
    if not np.isfinite(found.value):
        return None
    return f"{100 * found.value:{sign}.1f} [{100 * found.ci[0]:{sign}.1f}, {100 * found.ci[1]:{sign}.1f}]"


def _described(name: str, plan: Plan) -> str:
    return {
        "majority": "always the more frequent label",
        "tfidf": "cosine of character TF-IDF, threshold",
        "zero-shot": f"{plan.base} as it is, cosine, threshold",
        "similarity": f"{plan.base}, LoRA as a bi-encoder (CoSENT), threshold",
        "pair-classifier": f"{plan.base}, LoRA as a pair classifier, the article's recipe",
        "baseline": f"{plan.baseline}, fully fine-tuned as a pair classifier",
    }[name]


def _read(plan: Plan, say: Callable[[str], None]) -> _Pairs:
    train_file, dev_file = (_file(plan.data, split) for split in ("train", "dev"))
    reader = Reader(say=say)
    found = [reader.pairs(file) for file in (train_file, dev_file)]
    if not all(isinstance(each, Pairs) for each in found):
        raise InvalidInput(f"the files in {plan.data} have scores, not labels; AFQMC has labels 0 and 1")
    whole, reported = (in_order(each) for each in found if isinstance(each, Pairs))
    official = (len(whole), len(reported)) == OFFICIAL
    if plan.limit:
        whole = whole.take(np.random.default_rng(0).permutation(len(whole))[: plan.limit])
    clean = without_leaks(whole, reported)
    learning, held = held_out(clean.kept)
    return _Pairs(learning, held, reported, len(clean.leaked), official and not plan.limit)


def _file(folder: Path, split: str) -> Path:
    if not folder.is_dir():
        raise NotFound(f"{folder} is no folder; --data takes the one with AFQMC's train and dev files")
    for name in (f"afqmc_{split}", split):
        for suffix in _SUFFIXES:
            if (folder / (name + suffix)).is_file():
                return folder / (name + suffix)
    raise NotFound(f"{folder} has no afqmc_{split}.tsv (or .jsonl, .csv, {split}.json as CLUE publishes it)")


def _open(plan: Plan, pairs: _Pairs) -> None:
    """The folder of this very plan, new or to be gone on with."""
    config = json.loads(
        json.dumps({"base": plan.base, "baseline": plan.baseline, "data": _digests(pairs), "given": dict(plan.given), "limit": plan.limit})
    )
    file = plan.out / "plan.json"
    if plan.overwrite and file.exists():
        shutil.rmtree(plan.out)
    if plan.out.exists() and not file.exists() and (plan.out.is_file() or any(plan.out.iterdir())):
        raise Conflict(f"{plan.out} is not empty and no run of this command; name another --out")
    (plan.out / "rows").mkdir(parents=True, exist_ok=True)
    if not file.exists():
        with replacing(file) as part:
            part.write_text(json.dumps(config, ensure_ascii=False, indent=1), "utf-8")
    elif json.loads(file.read_text("utf-8")) != config:
        raise Conflict(f"{plan.out} holds rows of another base, other data or other settings; name another --out, or pass --force")


def _require_models(plan: Plan) -> None:
    """Here, or downloaded now, before the first row takes its hours."""
    missing = {name for name in plan.rows if not (plan.out / "rows" / f"{name}.json").exists()} - {"majority", "tfidf"}
    for model in sorted({plan.baseline if name == "baseline" else plan.base for name in missing}):
        open_checkpoint(locate(model))


def _digests(pairs: _Pairs) -> list[str]:
    return [pairs.learning.digest, pairs.held.digest, pairs.reported.digest]


def _made(name: str, plan: Plan, pairs: _Pairs, reports: Reports) -> dict[str, Any]:
    began = monotonic()
    if name in ("majority", "tfidf"):
        system = Constant() if name == "majority" else Lexical("tfidf")
        known = [*pairs.learning.texts(), *pairs.held.texts()]
        held, scores = (system.pair_scores(each.first, each.second, known) for each in (pairs.held, pairs.reported))
        trained = None
    elif name == "zero-shot":
        held, scores = _zero_shot(plan, pairs)
        trained = None
    else:
        held, scores, trained = _fine_tuned(name, plan, pairs, reports)
    return {"held": held.tolist(), "scores": scores.tolist(), "trained": trained, "seconds": monotonic() - began}


def _settings(plan: Plan, recipe: Any) -> Settings:
    given = dict(plan.given)
    if recipe != "similarity":
        given.pop("scale", None)  # of cosines, which a pair classifier has not
    if recipe == "full":
        given.pop("learning_rate", None)  # LoRA's is far too high for all weights
    return settings_of(recipe, **given)


def _zero_shot(plan: Plan, pairs: _Pairs) -> tuple[Scores, Scores]:
    from huiyi.training import networks
    from huiyi.training.recipes import Scorer

    settings = _settings(plan, "similarity")
    checkpoint = open_checkpoint(locate(plan.base))
    prepared = prepare(pairs.learning, pairs.held, checkpoint, plan.base, settings)
    networks.use_threads(plan.threads)
    network = networks.build(
        checkpoint, pooling=prepared.pooling, head=False, device=prepared.settings.device, bf16=prepared.settings.precision == "bf16"
    )
    tokenizer = tokenizer_of(checkpoint, prepared.settings.max_length or checkpoint.max_tokens)
    held, scores = (Scorer(tokenizer, None, each.first, each.second)(network) for each in (pairs.held, pairs.reported))
    return held, scores


def _fine_tuned(name: str, plan: Plan, pairs: _Pairs, reports: Reports) -> tuple[Scores, Scores, int]:
    from huiyi.training import adapters, networks
    from huiyi.training.recipes import Scorer

    base, recipe = (plan.baseline, "full") if name == "baseline" else (plan.base, name)
    folder = plan.out / "runs" / name
    settings = _settings(plan, recipe)
    if not (folder / adapters.ABOUT).exists() or (folder / "run" / "unfinished").exists():
        result = train(pairs.learning, pairs.held, Job(pairs.learning.name, base, folder, threads=plan.threads), settings, reports)
        (folder / "run" / "trained.json").write_text(json.dumps(result.trained), "utf-8")
    trained = int(json.loads((folder / "run" / "trained.json").read_text("utf-8")))
    about = adapters.read_about(folder)
    network = adapters.load(locate(base), folder, networks.choose_device(settings.device))
    tokenizer, template = tokenizer_of(network.checkpoint, about["max_length"]), adapters.template_in(about, str(folder))
    held, scores = (Scorer(tokenizer, template, each.first, each.second)(network) for each in (pairs.held, pairs.reported))
    return held, scores, trained


def _judged(made: dict[str, dict[str, Any]], plan: Plan, pairs: _Pairs, seconds: float) -> Reproduced:
    judged = {name: _judge(row, pairs) for name, row in made.items()}
    zero = judged.get("zero-shot")
    rows = tuple(_rows(made, judged, zero, plan))
    counts = (len(pairs.learning), len(pairs.held), len(pairs.reported))
    kind = "the official split" if pairs.official else "NOT the official split (other files, or --limit)"
    note = f"On {kind}; steps and thresholds chosen on pairs held back from train; 95 % intervals in brackets. {BLOG}"
    return Reproduced(rows, counts, pairs.leaked, pairs.official, note, seconds)


def _judge(row: dict[str, Any], pairs: _Pairs) -> JudgedPairs:
    learned = Learned(np.array(row["held"]), pairs.held.labels)
    return judge_pairs(np.array(row["scores"]), pairs.reported.labels, learned=learned, folds=np.zeros(len(pairs.reported)))


def _rows(made: dict[str, Any], judged: dict[str, JudgedPairs], zero: JudgedPairs | None, plan: Plan) -> Iterator[Row]:
    for name, found in judged.items():
        row = Row(
            name=name,
            model={"majority": "–", "tfidf": "–", "baseline": plan.baseline}.get(name, plan.base),
            figures=found.figures.estimates(),
            gain={},
            threshold=found.threshold.value,
            trained=made[name]["trained"],
            seconds=made[name]["seconds"],
        )
        yield replace(row, gain=found.figures.minus(zero.figures)) if zero is not None and name not in ("majority", "zero-shot") else row
