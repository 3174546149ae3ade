"""Topics that were found, kept in a file: to sort new texts into them, to tell what is new, and to keep the names that people gave.

A run is one .npz without pickles: centres and limits of the topics as they were found, and which of them are shown as one under what
name. Renaming and merging change only that, so they hold for every later run that is compared with this one.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from huiyi.errors import Conflict, InvalidInput, NotFound
from huiyi.sources.outputs import replacing
from huiyi.types import Floats

if TYPE_CHECKING:
    from huiyi.tasks.clustering import Topics
    from huiyi.workspace.clustering import Topic

VERSION = 1
MATCH = 0.5  # of a topic's rows that go to one earlier topic, from which on it is that one


@dataclass(frozen=True)
class Shown:
    """topic: its number in the run. given: whether a person named it. parts: the numbers of the topics that were merged into it."""

    topic: int
    name: str
    rows: int
    words: tuple[str, ...]
    given: bool
    parts: tuple[int, ...]


@dataclass(frozen=True)
class TopicRun:
    """into: for every topic as it was found, the topic that it is shown as. names, given, words, rows: for every topic as found."""

    path: str
    space: str
    model: str
    centres: Floats
    reach: Floats
    mean: Floats
    into: tuple[int, ...]
    all_names: tuple[str, ...]
    given: tuple[bool, ...]
    words: tuple[tuple[str, ...], ...]
    rows: tuple[int, ...]

    @property
    def shown(self) -> tuple[Shown, ...]:
        return tuple(
            Shown(
                topic=topic,
                name=self.all_names[topic],
                rows=sum(self.rows[part] for part in parts),
                words=self.words[topic],
                given=self.given[topic],
                parts=tuple(parts),
            )
            for topic in self.names
            for parts in [[part for part, into in enumerate(self.into) if into == topic]]
        )

    @property
    def names(self) -> dict[int, str]:
        """Of the topics that are shown."""
        return {topic: self.all_names[topic] for topic in sorted(set(self.into))}

    def sort(self, vectors: Floats) -> NDArray[np.int32]:
        """The topic of every row, as it is shown; -1 for none."""
        rows = vectors - self.mean
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
        cosines = rows @ self.centres.T
        best = cosines.argmax(axis=1)
        labels: NDArray[np.int32] = np.array(self.into, np.int32)[best]
        labels[cosines.max(axis=1) < self.reach[best]] = -1
        return labels


@dataclass(frozen=True)
class Matched:
    """topics: with those shown as one that an earlier run showed as one. names: of the topics that it knew, by number."""

    topics: "Topics"
    names: dict[int, str]


def write(path: Path, found: "Topics", topics: "Sequence[Topic]", space: str, model: str) -> None:
    about = {
        "version": VERSION,
        "space": space,
        "model": model,
        "into": list(range(len(topics))),
        "names": [topic.name for topic in topics],
        "given": [False] * len(topics),
        "words": [list(topic.words) for topic in topics],
        "rows": [topic.rows for topic in topics],
    }
    _save(path, about, found.centres, found.reach, found.mean)


def _save(path: Path, about: Mapping[str, Any], centres: Floats, reach: Floats, mean: Floats) -> None:
    text = np.frombuffer(json.dumps(about, ensure_ascii=False).encode("utf-8", "replace"), np.uint8)
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, about=text, centres=centres, reach=reach, mean=mean)


def topics_list(path: Path) -> TopicRun:
    """NotFound, InvalidInput."""
    try:
        with np.load(path, allow_pickle=False) as held:
            about = json.loads(held["about"].tobytes().decode())
            centres, reach, mean = (np.asarray(held[name], np.float32) for name in ("centres", "reach", "mean"))
        if about["version"] != VERSION:
            raise InvalidInput(f"{path} was written by another version of huiyi ({about['version']}); find the topics again")
        return TopicRun(
            path=str(path), space=about["space"], model=about["model"], centres=centres, reach=reach, mean=mean,
            into=tuple(about["into"]), all_names=tuple(about["names"]), given=tuple(about["given"]),
            words=tuple(map(tuple, about["words"])), rows=tuple(about["rows"]),
        )  # fmt: skip
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}; `huiyi cluster FILE --save {path}` writes one") from None
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise InvalidInput(f"{path} holds no topics ({type(error).__name__}); give a file that `huiyi cluster --save` wrote") from error


def topics_rename(path: Path, topic: int, name: str) -> TopicRun:
    """Give a topic a name that later runs keep."""
    run = topics_list(path)
    _require(run, topic)
    if not name.strip():
        raise InvalidInput("a name must have at least one character")
    if any(other != topic and shown == name.strip() for other, shown in run.names.items()):
        raise Conflict(f"there is a topic {name!r} already; merge the two, or take another name")
    names, given = list(run.all_names), list(run.given)
    names[topic], given[topic] = name.strip(), True
    return _kept(replace(run, all_names=tuple(names), given=tuple(given)))


def topics_merge(path: Path, topics: Sequence[int]) -> TopicRun:
    """Show topics as one, under the number and name of the first."""
    run = topics_list(path)
    for topic in topics:
        _require(run, topic)
    if len(set(topics)) < 2:
        raise InvalidInput("name two topics or more to merge")
    return _kept(replace(run, into=tuple(topics[0] if into in topics else into for into in run.into)))


def _require(run: TopicRun, topic: int) -> None:
    if topic not in run.names:
        raise NotFound(f"{run.path} has no topic {topic}; it has {', '.join(map(str, run.names))}")


def _kept(run: TopicRun) -> TopicRun:
    about = {
        "version": VERSION, "space": run.space, "model": run.model, "into": run.into, "names": run.all_names, "given": run.given,
        "words": run.words, "rows": run.rows,
    }  # fmt: skip
    _save(Path(run.path), about, run.centres, run.reach, run.mean)
    return run


def require_space(run: TopicRun, space: str) -> None:
    if run.space != space:
        raise Conflict(
            f"{run.path} was made with the model {run.model}, whose vectors cannot be compared with this one's; name it with --model"
        )


def matched(found: "Topics", vectors: Floats, counts: NDArray[np.int64], run: TopicRun) -> Matched:
    """Which topics of `found` an earlier run knew: most of their rows go to one of its. Those that go to one merged topic are one."""
    old = run.sort(vectors)
    best: dict[int, int] = {}
    for topic in range(len(found.sizes)):
        inside = found.labels == topic
        votes = np.bincount(old[inside] + 1, counts[inside], len(run.into) + 1)
        if votes[1:].max() >= MATCH * votes.sum():
            best[topic] = int(votes[1:].argmax())
    several = {topic for topic in run.names if run.into.count(topic) > 1}
    into = np.arange(len(found.sizes))
    first: dict[int, int] = {}
    for topic, known in best.items():
        if known in several:
            into[topic] = first.setdefault(known, topic)
    found, into = _joined(found, into, counts)
    names: dict[int, str] = {}
    for topic, known in best.items():  # the largest first: of two that come from one, it keeps the name
        if run.names[known] not in names.values():
            names.setdefault(int(into[topic]), run.names[known])
    return Matched(found, names)


def _joined(found: "Topics", into: NDArray[np.int64], counts: NDArray[np.int64]) -> "tuple[Topics, NDArray[np.int64]]":
    """Topics shown as one, numbered anew by size; the new number of every old topic."""
    if (into == np.arange(len(into))).all():
        return found, into
    sizes = np.bincount(into, found.sizes, len(into))
    order = [topic for topic in np.argsort(-sizes, kind="stable") if sizes[topic]]
    number = np.full(len(into), -1)
    number[order] = np.arange(len(order))
    fresh = number[into]
    labels = np.where(found.labels >= 0, fresh[np.maximum(found.labels, 0)], -1).astype(np.int32)
    weights = np.zeros((len(order), len(into)))
    weights[fresh, np.arange(len(into))] = found.sizes
    weights /= weights.sum(axis=1, keepdims=True)
    centres = (weights @ found.centres).astype(np.float32)
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    reach = np.array([(found.reach[fresh == topic]).min() for topic in range(len(order))], np.float32)
    joined = replace(
        found, labels=labels, levels=(labels,), level=0, sizes=sizes[order].astype(np.int64),
        stability=(weights @ found.stability).astype(np.float32), centres=centres, reach=reach,
    )  # fmt: skip
    return joined, fresh


def unique(names: Sequence[str], kept: Mapping[int, str]) -> list[str]:
    """No two the same: names that are kept stay, of the others the later get a number."""
    taken, made = set(kept.values()), []
    for topic, name in enumerate(names):
        if topic not in kept:
            tries = (name, *(f"{name} {n}" for n in range(2, len(names) + 3)))
            name = next(one for one in tries if one not in taken)
        taken.add(name)
        made.append(name)
    return made
