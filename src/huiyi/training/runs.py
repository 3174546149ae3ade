"""A training run's own folder: what was asked for, what was seen on the way, where it stands; so that a killed run goes on.

    OUT/run/config.json     settings and digests of the data; a run goes on only where they are the same
    OUT/run/metrics.jsonl   a line a logged step or evaluation
    OUT/run/curves.html     the same as charts, offline
    OUT/run/state.safetensors, best.safetensors   written by training/loop

Knows no torch. Every file appears whole or not at all.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from huiyi.charts import chart, escape, page
from huiyi.errors import Conflict, InvalidInput

Recipe = Literal["similarity", "pair-classifier", "full"]
Task = Literal["bi-encoder", "pair-classifier"]
Loss = Literal["auto", "cosent", "info-nce"]


@dataclass(frozen=True)
class Settings:
    """All that decides a run, besides the base and the data. targets, dimensions: empty for the recipe's own. patience: 0 never stops.

    evaluations: of a whole run. weight_decay: of matrices that are trained, not of LoRA's. max_length: of an input, in tokens.
    scale: of cosines in the losses of bi-encoders, one over the temperature.
    """

    recipe: Recipe
    task: Task
    loss: Loss
    epochs: int
    batch_size: int
    learning_rate: float
    max_length: int | None
    rank: int = 8
    alpha: int = 32
    dropout: float = 0.1
    targets: tuple[str, ...] = ()
    warmup: float = 0.1
    weight_decay: float = 0.01
    accumulate: int = 1
    checkpointing: bool = False
    evaluations: int = 12
    patience: int = 4
    dimensions: tuple[int, ...] = ()
    instruction: str | None = None
    mined: int = 0
    margin: float = 0.1
    scale: float = 20.0
    seed: int = 0
    device: str = "cpu"
    precision: str = "fp32"
    max_steps: int | None = None


# The article's figures for the pair classifier; CoSENT's usual ones and BERT's own (Devlin et al. 2019) for the others.
DEFAULTS: dict[Recipe, dict[str, Any]] = {
    "similarity": {"task": "bi-encoder", "epochs": 5, "batch_size": 64, "learning_rate": 5e-4, "max_length": None},
    "pair-classifier": {"task": "pair-classifier", "epochs": 15, "batch_size": 128, "learning_rate": 5e-4, "max_length": 64},
    "full": {"task": "pair-classifier", "epochs": 3, "batch_size": 64, "learning_rate": 2e-5, "max_length": None},
}


def settings_of(recipe: Recipe, **given: Any) -> Settings:
    """A recipe's settings with what was given in their place; None is not given. Raises InvalidInput."""
    chosen = {"loss": "auto", **DEFAULTS[recipe], **{name: value for name, value in given.items() if value is not None}}
    made = Settings(recipe=recipe, **chosen)
    for name, least in (
        ("epochs", 1),
        ("batch_size", 1),
        ("rank", 1),
        ("accumulate", 1),
        ("evaluations", 1),
        ("patience", 0),
        ("mined", 0),
    ):
        if getattr(made, name) < least:
            raise InvalidInput(f"{name.replace('_', '-')} must be {least} or more, not {getattr(made, name)}")
    if not made.scale > 0:
        raise InvalidInput(f"the scale of cosines must be above 0, not {made.scale:g}")
    if not made.learning_rate > 0:
        raise InvalidInput(f"the learning rate must be above 0, not {made.learning_rate:g}")
    if not (0 <= made.dropout < 1 and 0 <= made.warmup < 1):
        raise InvalidInput("dropout and warmup are shares: from 0 to below 1")
    if made.max_length is not None and made.max_length < 8:
        raise InvalidInput(f"a maximum length of {made.max_length} tokens holds no sentence; 8 is the least")
    if recipe != "full" and made.task != DEFAULTS[recipe]["task"]:
        raise InvalidInput(f"the recipe {recipe} makes a {DEFAULTS[recipe]['task']}; --task belongs to --recipe full")
    if made.task == "pair-classifier":
        for name, value in (
            ("--loss", made.loss != "auto"),
            ("--mine", made.mined),
            ("--dimensions", made.dimensions),
            ("--instruction", made.instruction),
            ("--scale", "scale" in chosen),
        ):
            if value:
                raise InvalidInput(f"{name} belongs to bi-encoders; a pair classifier has no use for it")
    return made


class Run:
    """The folder of one run. config: what decides it."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder, self.config = folder, json.loads(json.dumps(config, ensure_ascii=False))
        self.state, self.best = folder / "state.safetensors", folder / "best.safetensors"
        self._metrics = folder / "metrics.jsonl"

    def open(self) -> None:
        """Go on where a run with the same config stands, or begin. Raises Conflict where another one stands."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "config.json"
        if not file.exists():
            with writing(file) as part:
                part.write_text(json.dumps(self.config, ensure_ascii=False, indent=1), "utf-8")
            return
        there = json.loads(file.read_text("utf-8"))
        changed = sorted(name for name in there.keys() | self.config.keys() if there.get(name) != self.config.get(name))
        if changed:
            what = "; ".join(f"{name} was {there.get(name)!r}, now {self.config.get(name)!r}" for name in changed[:3])
            raise Conflict(f"{self.folder.parent} holds a run with other settings ({what}); name another --out, or pass --force")

    def log(self, line: Mapping[str, Any]) -> None:
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def forget_after(self, step: int) -> None:
        """Lines of steps that will be taken again."""
        kept = [line for line in self.lines() if line["step"] <= step]
        with writing(self._metrics) as part:
            part.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept), "utf-8")

    def lines(self) -> list[dict[str, Any]]:
        """What was logged; a last line that a kill cut off is left out."""
        found = []
        for line in self._metrics.read_text("utf-8").splitlines() if self._metrics.exists() else ():
            try:
                found.append(json.loads(line))
            except ValueError:
                break
        return found

    def write_curves(self, title: str) -> Path:
        lines = self.lines()
        steps = [line for line in lines if "loss" in line]
        judged = [line for line in lines if "figures" in line]
        parts = [f"<h1>{escape(title)}</h1>"]
        if steps:
            parts += [
                "<h2>Loss</h2>",
                chart(_lines({"loss": ([s["step"] for s in steps], [s["loss"] for s in steps])}, "step"), label="loss by step"),
            ]
            rates = [s["tokens_per_s"] for s in steps]
            parts += [
                "<h2>Tokens a second</h2>",
                chart(_lines({"tokens/s": ([s["step"] for s in steps], rates)}, "step"), label="rate by step"),
            ]
        if judged:
            at = [line["step"] for line in judged]
            figures = {name: (at, [line["figures"].get(name) for line in judged]) for name in judged[0]["figures"]}
            parts += ["<h2>Evaluation</h2>", chart(_lines(figures, "step"), label="figures by step")]
        file = self.folder / "curves.html"
        with writing(file) as part:
            part.write_text(page(title, "".join(parts)), "utf-8")
        return file


def _lines(curves: Mapping[str, tuple[list[Any], list[Any]]], x: str) -> dict[str, Any]:
    data = [{"type": "scatter", "mode": "lines", "name": name, "x": xs, "y": ys} for name, (xs, ys) in curves.items()]
    return {"data": data, "layout": {"xaxis": {"title": {"text": x}}, "showlegend": True}}


@contextmanager
def writing(file: Path) -> Iterator[Path]:
    """A file beside `file` that takes its place when the block ends well."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def card(about: Mapping[str, Any]) -> str:
    """The model card in Markdown. about: as `workspace.training` gathers it."""
    settings: dict[str, Any] = about["settings"]
    figures = [f"| {name} | {before:.4f} | {after:.4f} |" for name, before, after in about["figures"]]
    lines = [
        "---",
        f"base_model: {about['base']}",
        *(["library_name: peft"] if settings["recipe"] != "full" else []),
        "tags: [huiyi]",
        "---",
        f"# {about['title']}",
        "",
        f"Made by `huiyi train --recipe {settings['recipe']}` from {about['base']} (weights {about['digest']}).",
        "",
        "## Data",
        "",
        f"- Learned from {about['data']}.",
        f"- Judged by {about['validation']}, which also chose the best step and the threshold, so these figures flatter it.",
        *(f"- {note}." for note in about["notes"]),
        "",
        "## Figures",
        "",
        "| | before | after |",
        "| --- | ---: | ---: |",
        *figures,
        "",
        "## Settings",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in settings.items() if value not in (None, (), [])),
        "",
    ]
    return "\n".join(lines)


def plain(settings: Settings) -> dict[str, Any]:
    return asdict(settings)
