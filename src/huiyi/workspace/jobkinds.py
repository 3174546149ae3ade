"""What jobs can do: a function a kind, whose keyword arguments are what a job may be given, as JSON.

Runs in the job's own process; `require` tells beforehand whether arguments fit. A collection is named; files are names in the job's own
folders; `since`, `assign_to` are ids of earlier jobs. Nothing else of the file system can be named.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from huiyi.errors import InvalidInput, NotFound
from huiyi.model import Model
from huiyi.workspace.texts import Progress

RUN = "topics.npz"
EARLIER = {"since": RUN, "assign_to": RUN}  # options that name an earlier job, and the file of it that is meant


@dataclass(frozen=True)
class Place:
    """Of a job at work. load: a model by name, None for the one it was submitted with. inputs, outputs, jobs: folders.

    base: name of the model that it was submitted with.
    """

    load: Callable[[str | None], Model]
    say: Callable[[str], None]
    report: Callable[[Progress], None]
    inputs: Path
    outputs: Path
    jobs: Path
    base: str | None = None

    def source(self, collection: str | None, file: str | None) -> str | Path:
        if (collection is None) == (file is None):
            raise InvalidInput("name a collection, or a file that was sent; one of them")
        return collection if collection is not None else self.input(str(file))

    def input(self, name: str) -> Path:
        path = self.inputs / Path(name).name
        if not path.is_file():
            raise NotFound(f"no file {name!r} was sent with this job")
        return path

    def out(self, name: str) -> Path:
        return self.outputs / name

    def page(self, name: str) -> Path | None:
        """Of a page with charts. None where they cannot be drawn, without the extra `console`: the job is done all the same."""
        from huiyi.charts import has_charts

        return self.out(name) if has_charts() else None

    def earlier(self, job: str | None) -> Path | None:
        return None if job is None else self.jobs / Path(job).name / "out" / RUN


def index(
    at: Place, /, *, collection: str, file: str, text: str | None = None, id: str | None = None, meta: list[str] | None = None,
    keep_missing: bool = False, replace: bool = False, store: str | None = None, instruction: str | None = None,
    dimensions: int | None = None, chunk_tokens: int = 256, overlap: int = 32, encoding: str | None = None, sheet: str | None = None,
) -> Any:  # fmt: skip
    from huiyi.workspace.indexing import index

    return index(
        collection, at.input(file), at.load, text=text, id=id, meta=meta, keep_missing=keep_missing, replace=replace, store=store,
        instruction=instruction, dimensions=dimensions, chunk_tokens=chunk_tokens, overlap=overlap, encoding=encoding, sheet=sheet,
        say=at.say, report=at.report,
    )  # fmt: skip


def reindex(at: Place, /, *, collection: str) -> Any:
    from huiyi.workspace.collections import reindex

    return reindex(collection, partial(at.load, None), say=at.say, report=at.report)


def cluster(
    at: Place, /, *, collection: str | None = None, file: str | None = None, text: str | None = None, date: str | None = None,
    method: Literal["graph", "kmeans", "hdbscan"] = "graph", granularity: float | None = None, n_topics: int | None = None,
    min_size: int | None = None, outliers: bool = True, language: Literal["en", "zh"] | None = None, since: str | None = None,
    assign_to: str | None = None,
) -> Any:  # fmt: skip
    from huiyi.workspace.clustering import cluster_file
    from huiyi.workspace.topic_maps import FOLDER

    return cluster_file(
        at.source(collection, file), partial(at.load, None), output=at.out("topics.jsonl"), report_file=at.page("topics.html"),
        table=at.out("topics.xlsx"), save=None if assign_to else at.out(RUN), map_folder=at.out(FOLDER), since=at.earlier(since),
        assign_to=at.earlier(assign_to), text=text, date=date, method=method, granularity=granularity, n_topics=n_topics, min_size=min_size,
        outliers=outliers, language=language, say=at.say, report=at.report,
    )  # fmt: skip


def dedup(
    at: Place, /, *, collection: str | None = None, file: str | None = None, text: str | None = None, against: str | None = None,
    threshold: float | None = None, guarded: bool = True,
) -> Any:  # fmt: skip
    from huiyi.workspace.duplicates import dedup_file
    from huiyi.workspace.repeats import FOLDER

    return dedup_file(
        at.source(collection, file), partial(at.load, None), against=against, output=at.out("kept.jsonl"),
        review=at.out("repeats.jsonl"), pairs_folder=None if against else at.out(FOLDER), threshold=threshold, guarded=guarded, text=text,
        say=at.say, report=at.report,
    )  # fmt: skip


def summarize(
    at: Place, /, *, collection: str | None = None, file: str | None = None, text: str | None = None, k: int = 5,
    method: Literal["coverage", "lexrank"] = "coverage",
) -> Any:  # fmt: skip
    from huiyi.workspace.summaries import summarize_file

    source = at.source(collection, file)
    return summarize_file(source, partial(at.load, None), k=k, method=method, text=text, say=at.say, report=at.report)


def classify_fit(
    at: Place, /, *, name: str, collection: str | None = None, file: str | None = None, text: str | None = None,
    label: str | None = None, outside: str | None = None, precision: float = 0.95, overwrite: bool = False,
) -> Any:  # fmt: skip
    from huiyi.workspace.classifying import classify_fit

    return classify_fit(
        name, at.source(collection, file), partial(at.load, None), text=text, label=label, outside=outside, precision=precision,
        report=at.page("classifier.html"), errors=at.out("errors.jsonl"), overwrite=overwrite, say=at.say, progress=at.report,
    )  # fmt: skip


def classify_predict(at: Place, /, *, name: str, collection: str | None = None, file: str | None = None, text: str | None = None) -> Any:
    from huiyi.workspace.classifying import classify_predict

    source = at.source(collection, file)
    return classify_predict(name, source, at.out("predicted.jsonl"), partial(at.load, None), text=text, say=at.say, progress=at.report)


def classify_suggest(
    at: Place, /, *, name: str, collection: str | None = None, file: str | None = None, text: str | None = None, count: int = 10
) -> Any:
    from huiyi.workspace.classifying import classify_suggest

    source = at.source(collection, file)
    return classify_suggest(
        name, source, partial(at.load, None), count=count, output=at.out("suggested.jsonl"), text=text, say=at.say, progress=at.report
    )


def train(
    at: Place, /, *, name: str, file: str, evaluation: str | None = None, recipe: Literal["similarity", "pair-classifier"] = "similarity",
    epochs: int | None = None, batch_size: int | None = None, learning_rate: float | None = None, max_steps: int | None = None,
    overwrite: bool = False,
) -> Any:  # fmt: skip
    from huiyi.workspace.training_runs import train_adapter

    return train_adapter(
        name, at.input(file), at.base, recipe=recipe, evaluation=at.input(evaluation) if evaluation else None, epochs=epochs,
        batch_size=batch_size, learning_rate=learning_rate, max_steps=max_steps, overwrite=overwrite, say=at.say, report=at.report,
    )  # fmt: skip


def recommend(
    at: Place, /, *, collection: str | None = None, file: str | None = None, text: str | None = None, liked: list[str] | None = None,
    disliked: list[str] | None = None, history: list[str] | None = None, k: int = 10, diversity: float = 0.3,
) -> Any:  # fmt: skip
    from huiyi.workspace.recommending import recommend_file

    return recommend_file(
        at.source(collection, file), partial(at.load, None), liked=liked or (), disliked=disliked or (), history=history or (), k=k,
        diversity=diversity, output=at.out("recommended.jsonl"), text=text, say=at.say, report=at.report,
    )  # fmt: skip


def export(at: Place, /, *, collection: str, vectors: bool = False, filter: dict[str, Any] | None = None, format: str = "jsonl") -> Any:
    from huiyi.workspace.collections import collection_export

    output = at.out(f"{collection}.{format}")
    return collection_export(collection, output, vectors=at.out(f"{collection}.npy") if vectors else None, filter=filter)


def backup(at: Place, /, *, collection: str) -> Any:
    from huiyi.workspace.collections import collection_backup

    return collection_backup(collection, at.out(f"{collection}.backup"))


KINDS: dict[str, Callable[..., Any]] = {
    made.__name__: made
    for made in (
        index, reindex, cluster, dedup, summarize, classify_fit, classify_predict, classify_suggest, train, recommend, export, backup
    )
}  # fmt: skip


def require(kind: str, arguments: Mapping[str, Any]) -> None:
    """InvalidInput where there is no such kind, or it takes no such arguments."""
    if kind not in KINDS:
        raise InvalidInput(f"there is no job {kind[:80]!r}; there are {', '.join(KINDS)}")
    try:
        inspect.signature(KINDS[kind]).bind(None, **arguments)
    except TypeError as error:
        raise InvalidInput(f"{kind}: {error}") from error
