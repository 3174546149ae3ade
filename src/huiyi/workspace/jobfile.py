"""A job as it lies on disk: a file of JSON in a folder of its own, replaced whole whenever something changes."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from huiyi.errors import NotFound
from huiyi.serving import Origin
from huiyi.sources.outputs import replacing

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED = ("succeeded", "failed", "cancelled")
STATE = "job.json"
CANCEL = "cancel"  # a file that says: end this one


@dataclass(frozen=True)
class JobProgress:
    """done of total, in texts or records; seconds_left: None where nobody knows."""

    done: int
    total: int
    texts_per_s: float
    seconds_left: float | None


@dataclass(frozen=True)
class JobError:
    """As an error of the same call would be told."""

    status: int
    code: str
    message: str


@dataclass(frozen=True)
class Job:
    """created, started, ended: seconds since 1970. about: what it is doing, a sentence. result: what the function of its kind returned.

    files: names of what it made, there when it succeeded. attempts: how often it was begun; an interrupted one is begun again.
    """

    id: str
    kind: str
    state: State
    collection: str | None
    arguments: dict[str, Any]
    created: float
    origin: Origin | None = None
    started: float | None = None
    ended: float | None = None
    attempts: int = 0
    about: str = ""
    progress: JobProgress | None = None
    result: dict[str, Any] | None = None
    error: JobError | None = None
    files: tuple[str, ...] = field(default=())

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


def write(folder: Path, job: Job, durable: bool = True) -> None:
    """durable: on disk when this returns."""
    text = json.dumps(plain(asdict(job)), ensure_ascii=False, allow_nan=False)
    if durable:
        with replacing(folder / STATE) as partial:
            partial.write_text(text, "utf-8")
        return
    partial = folder / f".{STATE}"
    partial.write_text(text, "utf-8")
    partial.replace(folder / STATE)


def read(folder: Path) -> Job:
    """NotFound."""
    try:
        found = json.loads((folder / STATE).read_text("utf-8"))
        found = {each.name: found[each.name] for each in fields(Job) if each.name in found}
        found["files"] = tuple(found.get("files", ()))
        for name, made in (("origin", Origin), ("progress", JobProgress), ("error", JobError)):
            found[name] = made(**found[name]) if found.get(name) else None
        job = Job(**found)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise NotFound(f"the job {folder.name} cannot be read any more ({type(error).__name__})") from error
    return replace(job, state="cancelled") if job.state == "queued" and (folder / CANCEL).exists() else job


def unplaced(line: str, *folders: Path) -> str:
    """JSON in which files of these folders have their names alone."""
    for folder in folders:
        line = line.replace(json.dumps(f"{folder}{os.sep}", ensure_ascii=False)[1:-1], "")
    return line


def plain(value: Any) -> Any:
    """What JSON can say: tuples as lists, paths as texts, numpy's numbers as Python's, NaN as nothing."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value if value is None or isinstance(value, bool | int) else str(value)
