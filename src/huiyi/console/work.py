"""What the pages of long work share: a collection to choose, a job that is watched to its end, files to take away."""

import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from nicegui import ui

from huiyi import workspace
from huiyi.console.frame import View, link_button
from huiyi.console.words import speaker
from huiyi.errors import Conflict
from huiyi.serving import Served
from huiyi.workspace import Collection
from huiyi.workspace.jobfile import Job
from huiyi.workspace.timelines import read_date

LOOK_S = 0.5  # between two looks at a job
SAMPLE = 200  # records that tell which fields there are
LABELS = 200  # different values up to which a field is taken for labels


@dataclass(frozen=True)
class Fields:
    """Of a collection's metadata, told from its first records. dates: most of whose values are dates; labels: few different texts."""

    every: tuple[str, ...]
    dates: tuple[str, ...]
    labels: tuple[str, ...]


def fields_of(collection: Collection) -> Fields:
    rows = [record.metadata for record in collection.page(SAMPLE).records]
    every = tuple(dict.fromkeys(name for row in rows for name in row))
    values = {name: [str(row[name]) for row in rows if name in row and not isinstance(row[name], list)] for name in every}
    dates = tuple(name for name in every if 2 * sum(read_date(each) is not None for each in values[name]) > len(values[name]))
    labels = tuple(
        name for name in every if name not in dates and 1 < len(set(values[name])) <= min(LABELS, max(2, len(values[name]) // 2))
    )
    return Fields(every, dates, labels)


def said(view: View) -> Callable[..., str]:
    """The texts of this module."""
    return speaker("work", view.language)


async def collection_sizes(view: View) -> dict[str, int]:
    """Of the collections that hold something, in order: their records."""
    found = await view.run(workspace.collection_list)
    return {one.name: one.records for one in found.collections if one.problem is None and one.records}


def begun_with(view: View, sizes: Mapping[str, int]) -> str:
    """The collection of the address, else the largest."""
    asked = view.query.get("collection", "")
    return asked if asked in sizes else max(sizes, key=lambda name: sizes[name])


def no_collections(view: View) -> None:
    """The empty state of a page that has nothing to work on."""
    with ui.element("div").classes("card empty"):
        ui.label(said(view)("no_collections"))
        link_button(said(view)("to_data"), "/data", "upload_file")


class Watch:
    """A job on the page, from when `follow` names it: what it does, how far it is, a way to end it. done: called with it at its end."""

    def __init__(self, view: View, done: Callable[[Job], Awaitable[None]]) -> None:
        self.view, self.done = view, done
        self.job: Job | None = None
        self.place = ui.element("div").classes("stack").props("aria-live=polite")
        self.timer = ui.timer(LOOK_S, view.handler(self.look, timed=True), active=False)

    async def follow(self, job: Job) -> None:
        self.job = job
        self.place.clear()
        t = said(self.view)
        with self.place, ui.element("div").classes("card stack tight").props("data-job"):
            with ui.element("div").classes("line apart"):
                self.about = ui.label(t("waiting")).classes("text fill")
                ui.button(t("cancel"), icon="stop", on_click=self.view.handler(self.cancel)).props("flat dense")
            self.bar = ui.linear_progress(0, show_value=False).props(f'indeterminate aria-label="{t("progress")}"')
            self.left = ui.label("").classes("quiet small number")
        await self.look()
        if self.job is not None:
            self.timer.activate()

    async def look(self) -> None:
        watched = self.job
        if watched is None:
            return
        job = await self.view.run(self.view.services.jobs.get, watched.id)
        if self.job is not watched:
            return  # seen by another look, or another job is watched by now
        if job.has_ended:
            self.timer.deactivate()
            self.job = None
            self.place.clear()
            if job.state == "failed":
                with self.place:
                    ended(self.view, job)
            else:
                await self.done(job)
            return
        self.show(job)

    def show(self, job: Job) -> None:
        t, progress = said(self.view), job.progress
        self.about.set_text(job.about or t("waiting" if job.state == "queued" else "working"))
        if progress and progress.total:
            self.bar.props(remove="indeterminate")
            self.bar.set_value(progress.done / progress.total)
            seconds = f"{progress.seconds_left:,.0f}" if progress.seconds_left is not None else "…"
            self.left.set_text(t("left", done=f"{progress.done:,}", total=f"{progress.total:,}", seconds=seconds))

    async def cancel(self) -> None:
        self.view.require_change()
        if self.job is not None:
            await self.view.run(self.view.services.jobs.cancel, self.job.id)


def ended(view: View, job: Job) -> None:
    """Why a job has no result."""
    with ui.element("div").classes("card problem stack tight").props("role=alert"):
        ui.label(said(view)("job_failed")).classes("strong bad")
        ui.label(job.error.message if job.error else said(view)("job_cancelled")).classes("text")


async def submit(view: View, kind: str, arguments: Mapping[str, Any], **more: Any) -> Job:
    """A job, by a visitor who may; files of `more` are moved to it."""
    view.require_change()
    jobs = view.services.jobs
    return await view.run(partial(jobs.submit, kind, arguments, model=model_for(view), **more))


def model_for(view: View) -> Served | None:
    """The first that makes vectors of single texts."""
    return next((model for model in view.services.models if not (model.base or model.is_reranker or model.is_classifier)), None)


async def serve_adapter(view: View, name: str) -> None:
    """HUIYI_HOME/adapters/NAME under its name, beside the model that it fits. Raises what `workspace.load_adapter` raises, Conflict."""
    view.require_change()
    models = cast(list[Served], view.services.models)  # the server's own list

    def require_free() -> None:
        if any(name in (model.name, *model.aliases) for model in models):
            raise Conflict(said(view)("taken", name=name))

    require_free()
    made = await view.run(workspace.load_adapter, [model for model in models if model.base is None], name)
    try:
        require_free()  # somebody may have been faster
    except Conflict:
        made.close()
        raise
    models.append(made)


def retire_adapter(view: View, adapter: Served) -> None:
    """Takes no more requests; those in flight are answered. Its folder stays."""
    view.require_change()
    models = cast(list[Served], view.services.models)
    if adapter in models:
        models.remove(adapter)
        adapter.close()


async def jobs_of(view: View, kind: str) -> list[Job]:
    """Newest first."""
    return [job for job in await view.run(view.services.jobs.list) if job.kind == kind]


async def found_last(view: View, kind: str, sizes: Mapping[str, int]) -> str | None:
    """The newest search within a collection that is there; none where the address names a collection, in which to search."""
    if "collection" in view.query:
        return None
    there = (job for job in await jobs_of(view, kind) if job.state == "succeeded" and job.collection in sizes)
    return next((job.id for job in there if not job.arguments.get("against")), None)


def when(job: Job) -> str:
    return datetime.fromtimestamp(job.created).strftime("%Y-%m-%d %H:%M")


async def download(view: View, name: str, write: Callable[[Path], None]) -> None:
    """A file that `write` makes, into the visitor's hands."""

    def made() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            write(path)
            return path.read_bytes()

    ui.download(await view.run(made), name)


def earlier_jobs(view: View, jobs: list[Job], describe: Callable[[Job], str]) -> None:
    """Links to what was found before."""
    shown = [job for job in jobs if job.state == "succeeded"][:8]
    if not shown:
        return
    with ui.element("div").classes("card stack tight"):
        ui.label(said(view)("earlier")).classes("strong")
        for job in shown:
            with ui.element("div").classes("line tight"):
                ui.link(f"{job.collection or view.t('a_file')} · {when(job)}", f"{view.page.path}?job={job.id}").classes("plain")
                ui.label(describe(job)).classes("quiet small number")


def figure(number: str, unit: str, name: str = "") -> None:
    """A number with its unit. name: for those who look for it."""
    with ui.element("div"):
        ui.label(number).classes("figure").props(f"data-figure={name}" if name else "")
        ui.label(unit).classes("quiet small")


class Bars:
    """Numbers as bars, as high as their share of the largest, with words below: for the first, for all, for the last. label: read aloud."""

    def __init__(self, label: str, colour: str) -> None:
        with ui.element("svg").classes("spark") as self.svg:
            self.path = ui.element("path")
        self.svg.props.update({"preserveAspectRatio": "none", "role": "img", "aria-label": label})
        self.path.props["fill"] = colour
        with ui.element("div").classes("line apart small quiet number nowrap"):
            self.words = [ui.label("") for _ in range(3)]

    def show(self, numbers: Sequence[float], *words: str) -> None:
        most = max([*numbers, 1e-9])
        self.svg.props["viewBox"] = f"0 0 {max(len(numbers), 1)} 30"
        self.path.props["d"] = "".join(f"M{at} 30V{30 - 28 * number / most:.1f}h.8V30z" for at, number in enumerate(numbers) if number)
        self.svg.update()
        self.path.update()
        for label, word in zip(self.words, words, strict=True):
            label.set_text(word)
