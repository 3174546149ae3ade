"""Classifiers by name: fitted from labelled texts, kept below HUIYI_HOME/classifiers, tied to the space of the vectors they were fitted on.

A classifier is arrays (safetensors) and facts (JSON); nothing that is read is ever run. A folder appears whole or not at all.
"""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from huiyi import settings
from huiyi.errors import Conflict, InvalidInput, NotFound
from huiyi.model import Model
from huiyi.sources.outputs import replacing, require_place, sync, table_format, write_table
from huiyi.sources.readers import Cells, as_text
from huiyi.sources.tables import Format, open_table
from huiyi.spaces import embed, facts_of, require_same_space
from huiyi.stores.store import Facts
from huiyi.workspace.classifying_page import classifier_page
from huiyi.workspace.records import Records, embed_texts, read_records, require_one_space, vectors_of
from huiyi.workspace.texts import Loader, Progress, Truncate

if TYPE_CHECKING:
    from huiyi.tasks.classifying import Classifier, LabelError, Validation

NAME = re.compile(r"\w[\w-]{0,63}")
FORMAT = 1
ARRAYS, FACTS = "model.safetensors", "classifier.json"
LABEL_COLUMNS = ("label", "intent", "category", "class", "标签", "类别", "分类", "意图")
ANSWERS = ("predicted", "probability", "best", "verdict")
SHOWN = 10
MOST_ERRORS = 200
VERDICTS = {(True, True): "sure", (False, True): "unsure", (False, False): "out of scope"}


@dataclass(frozen=True)
class FittedClassifier:
    """unlabelled: rows left out for an empty label or text. outside: rows of no class. rare: classes with fewer than four examples.

    validation: as in `tasks.Classifier`. errors: the first SHOWN labels that are likely wrong, of errors_total.
    """

    name: str
    source: str
    column: str
    label: str
    rows: int
    unlabelled: int
    outside: int
    classes: int
    rare: tuple[str, ...]
    threshold: float
    validation: "Validation | None"
    errors: tuple[dict[str, Any], ...]
    errors_total: int
    report: str | None
    path: str
    model: str
    seconds: float


@dataclass(frozen=True)
class PredictedFile:
    """sure, unsure, outside: rows by verdict. labels: how many rows each class got, of those it was sure of."""

    output: str
    source: str
    classifier: str
    column: str
    rows: int
    sure: int
    unsure: int
    outside: int
    labels: dict[str, int]
    model: str
    seconds: float


@dataclass(frozen=True)
class Suggestion:
    row: int
    text: str
    best: str
    probability: float


@dataclass(frozen=True)
class Suggestions:
    classifier: str
    source: str
    suggestions: tuple[Suggestion, ...]
    output: str | None


@dataclass(frozen=True)
class KnownClassifier:
    name: str
    classes: int
    rows: int
    model: str
    path: str


@dataclass(frozen=True)
class ShownClassifier:
    """What a classifier says of itself. label: the column that it learned. errors: rows whose label is likely wrong, the worst first, with
    line, text, label, suggested and both probabilities, and id in a collection; the first MOST_ERRORS of errors_total.
    """

    name: str
    source: str
    label: str
    rows: int
    classes: tuple[str, ...]
    threshold: float
    precision: float
    validation: "Validation | None"
    errors: tuple[dict[str, Any], ...]
    errors_total: int
    model: str


@dataclass(frozen=True)
class Sorted:
    """A text's classes, likeliest first, with probabilities. verdict: sure, unsure or out of scope."""

    text: str
    verdict: str
    classes: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class KnownClassifiers:
    classifiers: tuple[KnownClassifier, ...]


def classify_fit(
    name: str,
    source: str | Path,
    load: Loader,
    *,
    text: str | None = None,
    label: str | None = None,
    outside: str | None = None,
    precision: float = 0.95,
    report: Path | None = None,
    errors: Path | None = None,
    truncate: Truncate = "end",
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> FittedClassifier:
    """Fit a classifier on the labelled rows of `source` and keep it as `name`.

    label: the column, by default the first of LABEL_COLUMNS. outside: the label of rows that belong to no class. precision: what share of
    the rows it is sure of should be right. report: an .html page of its figures. errors: a table of rows whose label is likely wrong.
    """
    folder = _folder(name)
    if folder.exists() and not overwrite:
        raise Conflict(f"there is a classifier {name!r} already; pass --force to replace it, or choose another name")
    _require_places(overwrite, report, errors)
    records = read_records(source, text=text, format=format, encoding=encoding, sheet=sheet, say=say)
    column = _label_column(records, label)
    labels = [each.strip() for each in records.cells(column)]
    rows = [row for row, each in enumerate(labels) if each and records.texts[row].strip()]
    counts = Counter(labels[row] for row in rows if labels[row] != outside)
    if len(counts) < 2:
        raise InvalidInput(f"the column {column!r} of {records.name} holds {len(counts)} label(s); sorting needs examples of two or more")
    if outside is not None and outside not in set(labels):
        raise InvalidInput(f"no row has the label {outside!r}, which --outside names")
    began = monotonic()
    vectors, facts = vectors_of(records, load, truncate, progress)
    from huiyi.tasks import Classifier

    classifier = Classifier(precision=precision, outside=outside).fit(vectors[rows], [labels[row] for row in rows])
    found = [_error(records, rows, each) for each in classifier.label_errors_]
    kept = {"rows": len(rows), "source": records.about, "label": column, "errors": found[:MOST_ERRORS], "errors_total": len(found)}
    _save(folder, classifier, facts, kept)
    if errors:
        own = ("id",) if records.facts is not None else ()
        write_table(errors, ("line", *own, "text", "label", "suggested", "probability_label", "probability_suggested"), iter(found))
    if report:
        with replacing(report) as partial:
            partial.write_text(classifier_page(name, records.about, classifier, found), "utf-8")
    return FittedClassifier(
        name=name, source=records.about, column=records.column, label=column, rows=len(rows), unlabelled=len(labels) - len(rows),
        outside=sum(labels[row] == outside for row in rows), classes=len(counts),
        rare=tuple(sorted(each for each in counts if counts[each] < 4)),
        threshold=classifier.threshold_, validation=classifier.validation_, errors=tuple(found[:SHOWN]), errors_total=len(found),
        report=str(report) if report else None, path=str(folder), model=facts.model, seconds=monotonic() - began,
    )  # fmt: skip


def classify_predict(
    name: str | None,
    source: str | Path,
    output: Path,
    load: Loader,
    *,
    zero_shot: Path | None = None,
    text: str | None = None,
    truncate: Truncate = "end",
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> PredictedFile:
    """`source` with four columns more, in `output`: predicted (empty where it is not sure), probability, best and verdict.

    zero_shot: in the place of a fitted classifier, a file of labels, as `read_labels` takes it. Nothing is calibrated then: `score`, a
    cosine, takes the place of the probability, and every row gets its nearest label.
    """
    if (name is None) == (zero_shot is None):
        raise InvalidInput("give the name of a classifier, or a file of labels for --zero-shot")
    _require_places(overwrite, output)
    kept = None if name is None else _kept(name)
    described = read_labels(zero_shot) if zero_shot else []
    records = read_records(source, text=text, format=format, encoding=encoding, sheet=sheet, say=say)
    answers = ANSWERS if zero_shot is None else ("predicted", "score")
    taken = [column for column in answers if column in records.columns]
    if taken:
        raise Conflict(f"{records.name} has a column {taken[0]!r} already, which the answer would be written to; rename it")
    began, load = monotonic(), cache(load)
    vectors, facts = vectors_of(records, load, truncate, progress)
    lines: list[Cells]
    if kept is None:
        model = load()
        if records.facts is not None:
            require_same_space(records.name, records.facts, model)
        descriptions = embed_texts([description for _, description in described], model, truncate)
        lines = _nearest(vectors, descriptions, [label for label, _ in described])
        verdicts = Counter(sure=len(lines))
    else:
        decided = _open(name or "", kept, facts).decide(vectors)
        lines = [
            {"predicted": str(best) if sure else "", "probability": round(float(p), 4), "best": str(best), "verdict": VERDICTS[sure, near]}
            for best, p, sure, near in zip(decided.best, decided.probability, decided.sure.tolist(), decided.in_scope.tolist(), strict=True)
        ]
        verdicts = Counter(str(line["verdict"]) for line in lines)
    write_table(output, [*records.columns, *answers], ({**row, **line} for row, line in zip(records.rows, lines, strict=True)))
    labels = Counter(str(line["predicted"]) for line in lines if line["predicted"])
    return PredictedFile(
        output=str(output), source=records.about, classifier=name or f"zero-shot: {len({label for label, _ in described})} labels",
        column=records.column, rows=len(records), sure=verdicts["sure"], unsure=verdicts["unsure"], outside=verdicts["out of scope"],
        labels=dict(labels.most_common()), model=facts.model, seconds=monotonic() - began,
    )  # fmt: skip


def classify_suggest(
    name: str,
    source: str | Path,
    load: Loader,
    *,
    count: int = 10,
    output: Path | None = None,
    text: str | None = None,
    truncate: Truncate = "end",
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Suggestions:
    """The rows of `source` that teach the classifier most when they are labelled, most useful first; equal texts once."""
    _require_places(overwrite, output)
    kept = _kept(name)
    records = read_records(source, text=text, format=format, encoding=encoding, sheet=sheet, say=say)
    once = sorted({each: row for row, each in reversed(list(enumerate(records.texts))) if each.strip()}.values())
    if not once:
        raise InvalidInput(f"{records.name} holds no text in the column {records.column!r}")
    vectors, facts = vectors_of(records, load, truncate, progress)
    classifier, vectors = _open(name, kept, facts), vectors[once]
    chosen = classifier.suggest(vectors, count)
    decided = classifier.decide(vectors[chosen])
    rows = [once[i] for i in chosen]
    if output:
        write_table(
            output,
            [*records.columns, "best", "best_probability"],
            ({**records.rows[row], "best": str(best), "best_probability": round(float(p), 4)}
             for row, best, p in zip(rows, decided.best, decided.probability, strict=True)),
        )  # fmt: skip
    return Suggestions(
        name,
        records.about,
        tuple(Suggestion(records.numbers[row], records.texts[row], str(best), round(float(p), 4))
              for row, best, p in zip(rows, decided.best, decided.probability, strict=True)),
        str(output) if output else None,
    )  # fmt: skip


def classify_list() -> KnownClassifiers:
    found = []
    for folder in sorted((settings.home() / "classifiers").glob("*/")):
        if NAME.fullmatch(folder.name):
            facts = _facts(folder.name, folder)
            found.append(KnownClassifier(folder.name, len(facts["state"]["classes"]), int(facts["rows"]), str(facts["model"]), str(folder)))
    return KnownClassifiers(tuple(found))


def classify_show(name: str) -> ShownClassifier:
    """NotFound."""
    from huiyi.tasks.classifying import ClassFigures, Estimate, Validation

    facts = _facts(name, _kept(name))
    try:
        held = facts["validation"]
        validation = held and Validation(
            **{
                **held, "accuracy": Estimate(**held["accuracy"]), "macro_f1": Estimate(**held["macro_f1"]),
                "confusion": np.array(held["confusion"]), "classes": tuple(ClassFigures(**each) for each in held["classes"]),
            }
        )  # fmt: skip
        errors = tuple(facts.get("errors", ()))
        return ShownClassifier(
            name=name, source=str(facts["source"]), label=str(facts.get("label", "")), rows=int(facts["rows"]),
            classes=tuple(facts["state"]["classes"]), threshold=float(facts["state"]["threshold"]),
            precision=float(facts["state"]["precision"]), validation=validation, errors=errors,
            errors_total=int(facts.get("errors_total", len(errors))), model=str(facts["model"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"the classifier {name!r} is damaged ({error}); fit it again") from error


def classify_texts(name: str, texts: Sequence[str], model: Model, most: int = 5) -> tuple[Sorted, ...]:
    """A few texts at once, each with its `most` likeliest classes. NotFound; Conflict where the vectors are not those it was fitted on."""
    if not texts or not all(text.strip() for text in texts):
        raise InvalidInput("there is no text to sort; write one")
    classifier = load_classifier(name, model)
    vectors = embed(model, texts, "document").vectors
    decided, probabilities = classifier.decide(vectors), classifier.predict_proba(vectors)
    found = []
    for text, row, sure, near in zip(texts, probabilities, decided.sure.tolist(), decided.in_scope.tolist(), strict=True):
        best = np.argsort(-row, kind="stable")[:most]
        found.append(Sorted(text, VERDICTS[sure, near], tuple((str(classifier.classes_[i]), float(row[i])) for i in best)))
    return tuple(found)


def load_classifier(name: str, model: Model) -> "Classifier":
    """The classifier `name`, for vectors of `model`. NotFound; Conflict when it was fitted on vectors of another model."""
    return _open(name, _kept(name), facts_of(model, None, None))


def read_labels(path: Path) -> list[tuple[str, str]]:
    """Labels with what they mean: of a text file a line each, `label` or `label: description`; of a table the columns label and text.

    A label may come several times, with another description each. An underscore in a bare label is read as a blank.
    """
    with open_table(path) as table:
        if table.format == "txt":
            lines = [as_text(row.cells["text"]).strip() for row in table]
            pairs = [re.split(r"\t|[:：]\s*", line, maxsplit=1) for line in lines if line]
        else:
            column = next((each for each in LABEL_COLUMNS if each in table.columns), None)
            if column is None:
                raise NotFound(f"{table.name} has no column `label`; it has {', '.join(table.columns)}")
            others = [each for each in table.columns if each != column]
            pairs = [[as_text(row.cells.get(each)).strip() for each in (column, *others[:1])] for row in table]
        found = [(pair[0].strip(), pair[-1].strip() if len(pair) > 1 else "") for pair in pairs]
        labels = [(label, description or label.replace("_", " ")) for label, description in found if label]
        if len({label for label, _ in labels}) < 2:
            raise InvalidInput(f"{table.name} holds fewer than two labels; there is nothing to choose between")
        return labels


def _nearest(vectors: Any, described: Any, labels: list[str]) -> list[Cells]:
    """The label of the description nearest to each vector, and its cosine."""
    cosines = vectors @ described.T
    best = cosines.argmax(axis=1)
    return [{"predicted": labels[i], "score": round(min(float(cosines[row, i]), 1.0), 4)} for row, i in enumerate(best)]


def _label_column(records: Records, wanted: str | None) -> str:
    if wanted is not None:
        records.cells(wanted)
        return wanted
    by_name = {name.casefold(): name for name in reversed(records.columns)}
    found = next((by_name[name] for name in LABEL_COLUMNS if name in by_name), None)
    if found is None:
        raise NotFound(f"{records.name} has the columns {', '.join(records.columns)}; name the one that holds the label with --label")
    return found


def _require_places(overwrite: bool, *paths: Path | None) -> None:
    for path in filter(None, paths):
        require_place(path, overwrite)
        if path.suffix.lower() != ".html":
            table_format(path)


def _error(records: Records, rows: list[int], found: "LabelError") -> Cells:
    row = rows[found.row]
    return {
        "line": records.numbers[row],
        **({"id": records.rows[row]["id"]} if records.facts is not None else {}),
        "text": records.texts[row],
        "label": found.label,
        "suggested": found.suggested,
        "probability_label": round(found.probability_label, 4),
        "probability_suggested": round(found.probability_suggested, 4),
    }


def _folder(name: str) -> Path:
    if not NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is no name for a classifier; letters, digits, _ and - will do, up to 64 of them")
    return settings.home() / "classifiers" / name


def _kept(name: str) -> Path:
    folder = _folder(name)
    if not (folder / FACTS).is_file():
        known = sorted(path.parent.name for path in (settings.home() / "classifiers").glob(f"*/{FACTS}"))
        there = f"there are {', '.join(known)}" if known else "fit one with huiyi classify fit NAME FILE"
        raise NotFound(f"there is no classifier {name!r}; {there}")
    return folder


def _save(folder: Path, classifier: "Classifier", space: Facts, more: dict[str, Any]) -> None:
    from safetensors.numpy import save_file

    arrays, state = classifier.state()
    facts = {
        "format": FORMAT, "model": space.model, "space": space.space, "precision": space.precision, "dim": space.dim,
        **more, "state": state, "validation": None if classifier.validation_ is None else _plain(asdict(classifier.validation_)),
    }  # fmt: skip
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        partial.mkdir(parents=True)
        save_file({**{name: np.ascontiguousarray(array) for name, array in arrays.items()}, "probes": space.probes}, partial / ARRAYS)
        (partial / FACTS).write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", "utf-8")
        for file in (ARRAYS, FACTS):
            sync(partial / file)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _facts(name: str, folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        if facts["format"] != FORMAT:
            raise InvalidInput(f"the classifier {name!r} was written by another version of huiyi; fit it again")
        return {**facts, "state": {**facts["state"], "classes": list(facts["state"]["classes"])}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"the classifier {name!r} is damaged ({folder / FACTS}: {error}); fit it again") from error


def _open(name: str, folder: Path, space: Facts) -> "Classifier":
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from huiyi.tasks.classifying import Classifier

    facts = _facts(name, folder)
    try:
        arrays = load_file(folder / ARRAYS)
        probes = arrays["probes"]
        classifier: Classifier = Classifier.from_state(arrays, facts["state"])
    except (OSError, KeyError, SafetensorError, InvalidInput) as error:
        raise InvalidInput(f"the classifier {name!r} is damaged ({folder / ARRAYS}: {error}); fit it again") from error
    fitted = Facts(facts["model"], facts["space"], facts["precision"], facts["dim"], None, probes)
    way_out = f"predict with --model {fitted.model}, or fit it again with --model {space.model}"
    require_one_space(f"the classifier {name!r}", fitted, "what is to be sorted", space, way_out)
    return classifier
