"""Training runs below HUIYI_HOME/adapters, by name: started, followed while they learn, listed with what they reached."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huiyi import settings
from huiyi.errors import InvalidInput, NotFound
from huiyi.training.runs import Recipe, Run, settings_of
from huiyi.workspace.serving import ADAPTER_NAME
from huiyi.workspace.texts import Progress

if TYPE_CHECKING:
    from huiyi.workspace.training import Step, TrainedModel

FULL = "full"  # makes a whole model, no adapter


@dataclass(frozen=True)
class Evaluated:
    """figures: of the rows held back, by name; the first is what is to grow."""

    step: int
    figures: dict[str, float]


@dataclass(frozen=True)
class TrainingRun:
    """losses: (step, mean loss since the last). evaluations: the first is the base alone. best: the one whose weights are kept.

    finished: whether its folder can be served. base, recipe: "" where the folder does not say.
    """

    name: str
    base: str
    recipe: str
    finished: bool
    losses: tuple[tuple[int, float], ...]
    tokens_per_s: float
    evaluations: tuple[Evaluated, ...]

    @property
    def before(self) -> Evaluated | None:
        return self.evaluations[0] if self.evaluations else None

    @property
    def best(self) -> Evaluated | None:
        later = self.evaluations[1:]
        return max(later, key=lambda one: next(iter(one.figures.values()))) if later else None


@dataclass(frozen=True)
class TrainingRuns:
    runs: tuple[TrainingRun, ...]


def train_adapter(
    name: str,
    source: Path,
    base: str | None,
    *,
    recipe: Recipe = "similarity",
    evaluation: Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    max_steps: int | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> "TrainedModel":
    """Fine-tune `base` on `source` into HUIYI_HOME/adapters/NAME, from where `load_adapter` serves it; a broken run goes on.

    recipe: "similarity" or "pair-classifier". Raises what `train_file` raises.
    """
    if recipe == FULL:
        raise InvalidInput("the recipe full makes a whole model, which is no adapter; run huiyi train for it")
    from huiyi.workspace.training import Job, Reports, require_extra, train_file

    require_extra()
    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "max_steps": max_steps}

    def step(at: "Step") -> None:
        report(Progress(at.steps, at.step, 0.0, at.tokens_per_s, at.seconds_left))

    job = Job(source, base, adapter_folder(name), evaluation, overwrite=overwrite)
    return train_file(job, settings_of(recipe, **given), Reports(say, step))


def training_run(name: str) -> TrainingRun:
    """How the run stands, also while another process is at it. NotFound."""
    folder = adapter_folder(name)
    if not folder.is_dir():
        raise NotFound(f"there is no adapter {name} in HUIYI_HOME/adapters, and none is being trained")
    about: dict[str, Any] = {}
    for file in (folder / "run" / "config.json", folder / "huiyi.json"):
        with suppress(OSError, ValueError):
            about |= json.loads(file.read_text("utf-8"))
    base = about.get("base", "")
    lines = Run(folder / "run", {}).lines()
    losses = [line for line in lines if "loss" in line]
    return TrainingRun(
        name=name,
        base=str(base.get("name", "") if isinstance(base, dict) else base),
        recipe=str(about.get("recipe", "")),
        finished=(folder / "huiyi.json").exists() and not (folder / "run" / "unfinished").exists(),
        losses=tuple((int(line["step"]), float(line["loss"])) for line in losses),
        tokens_per_s=float(losses[-1]["tokens_per_s"]) if losses else 0.0,
        evaluations=tuple(Evaluated(int(line["step"]), dict(line["figures"])) for line in lines if "figures" in line),
    )


def training_runs() -> TrainingRuns:
    """All adapters of this machine's HUIYI_HOME, by name."""
    shelf = settings.home() / "adapters"
    names = sorted(path.name for path in shelf.iterdir() if path.is_dir() and ADAPTER_NAME.fullmatch(path.name)) if shelf.is_dir() else []
    return TrainingRuns(tuple(map(training_run, names)))


def adapter_folder(name: str) -> Path:
    """InvalidInput for a name that is none."""
    if not ADAPTER_NAME.fullmatch(name):
        raise InvalidInput(f"an adapter's name has letters, digits, - and _ only, 64 at most; {name[:64]!r} has others or none")
    return settings.home() / "adapters" / name
