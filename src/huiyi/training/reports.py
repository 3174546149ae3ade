"""What an evaluation found, and the page that shows it: figures with their intervals, charts, and what changed most.

The page is one file that opens without internet; every text of a user's is escaped.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from huiyi.charts import chart, escape, page
from huiyi.training.bootstrap import Difference, Estimate

Task = Literal["pairs", "retrieval", "classification", "clustering"]
Figures = dict[str, Estimate]
LOWER_IS_BETTER = {"brier"}


@dataclass(frozen=True)
class Changed:
    """One example that two systems answer differently. texts: what was judged. wanted: the right answer. better: new is nearer to it.

    old, new: probabilities of pairs, ranks of the first right passage (None: not found), names of classes.
    """

    line: int
    texts: tuple[str, ...]
    wanted: str
    old: float | str | None
    new: float | str | None
    better: bool


@dataclass(frozen=True)
class Against:
    """An old system beside the new one. differences: new minus old, on the same resamples. changed: most changed first."""

    name: str
    figures: Figures
    differences: dict[str, Difference]
    changed: tuple[Changed, ...]


@dataclass(frozen=True)
class Evaluation:
    """What a system made of a file.

    rows: that were judged. figures: by name, with 95 % intervals. threshold: of pairs. protocol: from where what was chosen comes, a
    sentence. baselines: figures by name. notes: what else must be known to read the figures, sentences. curves: for pictures.
    """

    task: Task
    source: str
    digest: str
    rows: int
    system: str
    space: str
    figures: Figures
    threshold: Estimate | None
    protocol: str
    baselines: dict[str, Figures]
    against: tuple[Against, ...]
    notes: tuple[str, ...]
    curves: dict[str, Any]
    seconds: float

    def plain(self) -> dict[str, Any]:
        """For JSON: the figures at the top, each with `value` and `ci`, all else behind them; numbers to six digits, nan as None."""
        rest = asdict(self)
        figures, threshold = rest.pop("figures"), rest.pop("threshold")
        against = {each.pop("name"): each for each in rest.pop("against")}
        whole = {"task": rest.pop("task"), **figures, **({"threshold": threshold} if threshold else {}), **rest, "against": against}
        found: dict[str, Any] = _plain(whole)
        return found

    def table(self) -> list[list[str]]:
        """The figures for people: the first row is the head, the first column the names."""
        others = {**self.baselines, **{each.name: each.figures for each in self.against}}
        rows = [["", short(self.system), *map(short, others), *(f"minus {short(each.name)}" for each in self.against)]]
        for name, estimate in self.figures.items():
            differences = (each.differences.get(name) for each in self.against)
            cells = [name + " (lower is better)" * (name in LOWER_IS_BETTER), _with_interval(estimate)]
            cells += [_number(figures[name].value) if name in figures else "" for figures in others.values()]
            rows.append([*cells, *(_with_interval(each, "+") if each else "" for each in differences)])
        if self.threshold:
            rows.append(["threshold", _with_interval(self.threshold), *[""] * (len(rows[0]) - 2)])
        return rows

    def changes(self, against: Against) -> list[list[str]]:
        """The examples that changed most, texts whole; the first row is the head."""
        texts = [f"text {place}" for place in range(1, len(against.changed[0].texts) + 1)] if against.changed else []
        rows = [["line", *texts, "right", short(against.name), short(self.system), ""]]
        for row in against.changed:
            rows.append([str(row.line), *row.texts, row.wanted, _answer(row.old), _answer(row.new), "better" if row.better else "worse"])
        return rows


def short(name: str) -> str:
    """A model that is named by its folder, by the end of it."""
    return Path(name).name if len(name) > 40 else name


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return (round(value, 6) if math.isfinite(value) else None) if isinstance(value, float) else value


def _with_interval(estimate: Estimate | Difference, sign: str = "") -> str:
    if math.isnan(estimate.value):
        return "–"
    return f"{estimate.value:{sign}.4f} [{estimate.ci[0]:{sign}.4f}, {estimate.ci[1]:{sign}.4f}]"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def _answer(value: float | str | None) -> str:
    """A side of a `Changed`."""
    return f"{value:.3f}" if isinstance(value, float) else "–" if value is None else str(value)


def page_of(evaluation: Evaluation) -> str:
    """A whole HTML document."""
    title = f"{short(evaluation.system)} on {evaluation.source}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{evaluation.rows:,} rows ({evaluation.task}), SHA-256 of the data {evaluation.digest[:16]}…; intervals hold 95 %.</p>",
        *(f"<p>{escape(line[0].upper() + line[1:])}.</p>" for line in (evaluation.protocol, *evaluation.notes) if line),
        table_of(evaluation.table()),
        chart(_intervals(evaluation), 90 + 45 * len(evaluation.figures), "figures with intervals, beside those of other systems"),
        *_curves(evaluation.curves, [evaluation.threshold.value] if evaluation.threshold else []),
        *(
            f"<h2>Most changed from {escape(short(each.name))}</h2>{table_of(evaluation.changes(each))}"
            for each in evaluation.against
            if each.changed
        ),
    ]
    return page(title, "".join(parts))


def table_of(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the head."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows[1:])
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def _intervals(evaluation: Evaluation) -> dict[str, Any]:
    """A row a figure, and in it a dot a system, a little below the one before."""
    systems = {evaluation.system: evaluation.figures, **evaluation.baselines, **{each.name: each.figures for each in evaluation.against}}
    row = {name: number for number, name in enumerate(evaluation.figures)}
    traces = []
    for place, (system, figures) in enumerate(systems.items()):
        there = {name: figure for name, figure in figures.items() if math.isfinite(figure.value)}
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": short(system),
                "y": [row[name] + 0.6 * (place + 0.5) / len(systems) - 0.3 for name in there],
                "text": list(there),
                "x": [figure.value for figure in there.values()],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [figure.ci[1] - figure.value for figure in there.values()],
                    "arrayminus": [figure.value - figure.ci[0] for figure in there.values()],
                },
            }
        )
    axis = {"autorange": "reversed", "tickvals": list(row.values()), "ticktext": list(row), "zeroline": False}
    return {"data": traces, "layout": {"yaxis": axis, "showlegend": True}}


def axes(x: str, y: str) -> dict[str, Any]:
    """Of a layout: what both axes are called."""
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}


def upright(x: float) -> dict[str, Any]:
    """A dotted line through a chart, at `x`."""
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": {"dash": "dot"}}


def _curves(curves: dict[str, Any], thresholds: Sequence[float]) -> Iterator[str]:
    if scores := curves.get("scores"):
        edges = scores["edges"]
        middles = [(low + high) / 2 for low, high in pairwise(edges)]
        bars = [{"type": "bar", "name": f"label {label}", "x": middles, "y": scores[label]} for label in ("0", "1")]
        layout = {"barmode": "overlay", "bargap": 0, **axes("score", "pairs"), "shapes": [upright(at) for at in thresholds]}
        yield "<h2>Scores</h2><p>The dotted line is the threshold.</p>"
        yield chart({"data": [bar | {"opacity": 0.6} for bar in bars], "layout": layout}, label="histogram of scores by label")
    if roc := curves.get("roc"):
        lines = [{"type": "scatter", "name": short(name), "x": each["false"], "y": each["true"]} for name, each in roc.items()]
        yield "<h2>ROC</h2>"
        yield chart({"data": [*lines, _diagonal()], "layout": axes("false alarms", "hits")}, label="ROC curves")
    if found := curves.get("reliability"):
        curve = found["curve"]
        dots = {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "observed",
            "x": [part["expected"] for part in curve],
            "y": [part["observed"] for part in curve],
            "text": [f"{part['pairs']} pairs" for part in curve],
        }
        yield f"<h2>Reliability</h2><p>Mean distance from the diagonal: {found['error']:.4f}.</p>"
        yield chart({"data": [dots, _diagonal()], "layout": axes("probability said", "share of label 1")}, label="reliability curve")


def _diagonal() -> dict[str, Any]:
    return {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "line": {"dash": "dot"}, "showlegend": False, "hoverinfo": "skip"}
