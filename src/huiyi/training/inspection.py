"""What a file of examples holds: balance, repeats, contradictions, leaks, and how long its texts are as a model counts.

Nothing is changed here; `training/leaks` takes out what must go. Knows tokens only as numbers.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from huiyi.charts import chart, escape, page
from huiyi.training.data import Examples, Labelled, Pairs, Queries, ScoredPairs
from huiyi.training.leaks import repeats, without_leaks
from huiyi.training.reports import axes, table_of, upright

CountTokens = Callable[[Sequence[str]], Sequence[int]]

SIZES = tuple(1 << power for power in range(4, 16))  # 16 to 32,768
HELD = 0.99  # of all rows fit the suggested length whole: 20 to 60 tokens a pair end at 64
PERCENTILES = (5, 50, 95, 99, 100)
LINES_SHOWN = 10
LABELS_SHOWN = 20


@dataclass(frozen=True)
class Lengths:
    """Tokens of n texts or pairs. percentiles: by name, the longest is "100". edges, counts: a histogram, counts[i] from edges[i] up to
    edges[i + 1]. max_length: the suggestion. longer: how many it would cut."""

    n: int
    percentiles: dict[str, int]
    edges: tuple[int, ...]
    counts: tuple[int, ...]
    max_length: int
    longer: int


@dataclass(frozen=True)
class DataReport:
    """kind: of the examples, as their class is called. labels: how often each stands there, most frequent first; scores as least, mean
    and greatest. duplicates, conflicts, leaks: how many, the first few in *_lines. evaluation: the file that leaks were looked for in.
    shared: texts of both files that are no leak. lengths: of "text", and of "pair" (both texts in one input), where tokens were counted.
    """

    name: str
    kind: str
    rows: int
    texts: int
    digest: str
    labels: dict[str, int]
    scores: dict[str, float]
    duplicates: int
    duplicate_lines: tuple[int, ...]
    conflicts: int
    conflict_lines: tuple[tuple[int, int], ...]
    evaluation: str | None
    leaks: int
    leak_lines: tuple[int, ...]
    shared: int
    lengths: dict[str, Lengths]

    def table(self) -> list[list[str]]:
        """For people: name, figure, remark; the first row is the head."""
        rows = [["", "", ""], [self.kind.lower(), f"{self.rows:,}", f"of {self.texts:,} different texts"]]
        for label, count in list(self.labels.items())[:LABELS_SHOWN]:
            rows.append([f"label {label}", f"{count:,}", f"{100 * count / self.rows:.1f} %"])
        if len(self.labels) > LABELS_SHOWN:
            rows.append([f"{len(self.labels) - LABELS_SHOWN:,} more labels", f"{sum(list(self.labels.values())[LABELS_SHOWN:]):,}", ""])
        rows += [[f"score, {name}", f"{value:.3f}", ""] for name, value in self.scores.items()]
        rows.append(["duplicates", f"{self.duplicates:,}", _at(self.duplicate_lines)])
        rows.append(["conflicts", f"{self.conflicts:,}", _at([f"{a} and {b}" for a, b in self.conflict_lines])])
        if self.evaluation:
            rows.append(["leaks", f"{self.leaks:,}", f"also in {self.evaluation}; {_at(self.leak_lines)}".rstrip("; ")])
            rows.append(["shared texts", f"{self.shared:,}", f"in other pairs of {self.evaluation}; no leak, but not quite unseen"])
        for what, lengths in self.lengths.items():
            spread = ", ".join(f"{name} % ≤ {value:,}" for name, value in lengths.percentiles.items())
            rows.append([f"tokens a {what}", f"{lengths.percentiles['50']:,}", spread])
            cut = f"cuts {lengths.longer:,} of {lengths.n:,}"
            rows.append([f"max_length, {what}", f"{lengths.max_length:,}", f"{cut}; holds {100 * HELD:.0f} % whole"])
        return rows


def _at(lines: Sequence[object]) -> str:
    return f"lines {', '.join(map(str, lines))}" + ", …" * (len(lines) >= LINES_SHOWN) if lines else ""


def inspected(examples: Examples, evaluation: Examples | None = None, count_tokens: CountTokens | None = None) -> DataReport:
    """evaluation: what must not stand in `examples`. count_tokens: of texts, special tokens included; None counts none."""
    found = repeats(examples)
    clean = without_leaks(examples, evaluation) if evaluation else None
    scores = examples.scores if isinstance(examples, ScoredPairs) else None
    return DataReport(
        name=examples.name,
        kind=type(examples).__name__,
        rows=len(examples),
        texts=len(examples.texts()),
        digest=examples.digest,
        labels=_labels(examples),
        scores={"least": float(scores.min()), "mean": float(scores.mean()), "greatest": float(scores.max())} if scores is not None else {},
        duplicates=len(found.duplicates),
        duplicate_lines=found.duplicates[:LINES_SHOWN],
        conflicts=len(found.conflicts),
        conflict_lines=found.conflicts[:LINES_SHOWN],
        evaluation=evaluation.name if evaluation else None,
        leaks=len(clean.leaked) if clean else 0,
        leak_lines=clean.leaked[:LINES_SHOWN] if clean else (),
        shared=clean.shared if clean else 0,
        lengths=_lengths(examples, count_tokens) if count_tokens else {},
    )


def _labels(examples: Examples) -> dict[str, int]:
    if not isinstance(examples, Pairs | Labelled):
        return {}
    return {str(label): count for label, count in sorted(Counter(examples.labels).items(), key=lambda item: (-item[1], str(item[0])))}


def _lengths(examples: Examples, count_tokens: CountTokens) -> dict[str, Lengths]:
    texts = examples.texts()
    tokens = dict(zip(texts, count_tokens(texts), strict=True))
    found = {"text": lengths_of(list(tokens.values()))}
    if isinstance(examples, Pairs | ScoredPairs):
        found["pair"] = lengths_of([tokens[a] + tokens[b] for a, b in zip(examples.first, examples.second, strict=True)])
    if isinstance(examples, Queries):
        found["pair"] = lengths_of(
            [tokens[q] + tokens[p] for q, each in zip(examples.queries, examples.positives, strict=True) for p in each]
        )
    return found


def lengths_of(tokens: ArrayLike) -> Lengths:
    """The spread of n token counts, and the least of SIZES that holds HELD of them whole (the largest where none does)."""
    counts = np.asarray(tokens, np.int64)
    at = np.percentile(counts, PERCENTILES, method="higher")
    enough = int(np.quantile(counts, HELD, method="higher"))
    suggested = next((size for size in SIZES if size >= enough), SIZES[-1])
    step = max(1, -(-int(counts.max()) // 40))
    edges = np.arange(0, int(counts.max()) + step + 1, step)
    return Lengths(
        n=len(counts),
        percentiles={str(name): int(value) for name, value in zip(PERCENTILES, at, strict=True)},
        edges=tuple(edges.tolist()),
        counts=tuple(np.histogram(counts, edges)[0].tolist()),
        max_length=suggested,
        longer=int((counts > suggested).sum()),
    )


def page_of(report: DataReport) -> str:
    """A whole HTML document: the table, and a picture of the lengths."""
    parts = [f"<h1>{escape(report.name)}</h1>", table_of(report.table())]
    for what, lengths in report.lengths.items():
        parts.append(f"<h2>Tokens a {what}</h2>")
        parts.append(chart(_histogram(lengths, what), label=f"histogram of tokens a {what}, with the suggested max_length"))
    return page(report.name, "".join(parts))


def _histogram(lengths: Lengths, what: str) -> dict[str, Any]:
    step = lengths.edges[1]
    mark = {
        "x": lengths.max_length,
        "y": 1,
        "yref": "paper",
        "text": f"max_length {lengths.max_length}",
        "showarrow": False,
        "xanchor": "left",
    }
    bars = {"type": "bar", "x": [edge + step / 2 for edge in lengths.edges[:-1]], "y": lengths.counts, "width": step}
    return {
        "data": [bars],
        "layout": {**axes(f"tokens a {what}", "how many"), "bargap": 0, "shapes": [upright(lengths.max_length)], "annotations": [mark]},
    }
