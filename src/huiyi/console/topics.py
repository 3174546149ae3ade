"""The page Topics: a collection whose topics are looked for, then as a map, finer or coarser at once, that can be worked on."""

from functools import lru_cache, partial
from pathlib import Path

from nicegui import ui

from huiyi.console.explorer import Explorer
from huiyi.console.frame import Page, View
from huiyi.console.work import (
    Fields,
    Watch,
    begun_with,
    collection_sizes,
    earlier_jobs,
    fields_of,
    found_last,
    jobs_of,
    no_collections,
    submit,
)
from huiyi.workspace.jobfile import Job
from huiyi.workspace.jobs import Jobs
from huiyi.workspace.topic_maps import FOLDER, TopicMap, open_map

LOOKED_AT = 4  # collections that are looked into for dates, the largest first
OPEN_MAPS = 4  # that the server keeps in memory


@lru_cache(OPEN_MAPS)
def _opened(folder: Path, changed: int) -> TopicMap:
    return open_map(folder)


def opened(jobs: Jobs, id: str) -> TopicMap:
    folder = jobs.file(id, "topics.jsonl").parent / FOLDER
    return _opened(folder, folder.stat().st_mtime_ns if folder.is_dir() else 0)


class TopicsPage:
    """What to look at, the work, and what was found."""

    def __init__(self, view: View, sizes: dict[str, int]) -> None:
        self.view, self.sizes, t = view, sizes, view.t
        self.fields = Fields((), (), ())
        with ui.element("div").classes("card line"):
            self.source = ui.select(list(sizes), value=begun_with(view, sizes), label=t("collection")).props("outlined dense")
            self.source.classes("fill").on_value_change(view.handler(self.choose))
            self.date = ui.select({"": t("no_date")}, value="", label=t("date")).props("outlined dense").classes("fill")
            self.button = ui.button(t("find"), icon="bubble_chart", on_click=view.handler(self.find)).props("unelevated")
        self.watch = Watch(view, self.done)
        self.result = ui.element("div").classes("stack")

    async def choose(self) -> None:
        """Which fields may hold dates."""
        self.fields = await self.view.run(self.view.services.collections.run, str(self.source.value), fields_of)
        options = {"": self.view.t("no_date"), **{name: name for name in self.fields.dates}}
        self.date.set_options(options, value=next(iter(self.fields.dates), ""))
        self.view.remember(collection=self.source.value)

    async def prefer_dates(self) -> None:
        """With dates, every topic shows how it grows: the largest collection that has some."""
        for name in sorted(self.sizes, key=lambda name: -self.sizes[name])[:LOOKED_AT]:
            if (await self.view.run(self.view.services.collections.run, name, fields_of)).dates:
                self.source.set_value(name)
                break
        await self.choose()

    async def find(self) -> None:
        name = str(self.source.value)
        arguments = {"collection": name, **({"date": self.date.value} if self.date.value else {})}
        job = await submit(self.view, "cluster", arguments, collection=name)
        self.view.remember(job=job.id, level=None, topic=None, since=None)
        self.result.clear()
        await self.watch.follow(job)

    async def done(self, job: Job) -> None:
        if job.state == "cancelled":
            await self.show_empty()
            return
        found = await self.view.run(opened, self.view.services.jobs, job.id)
        self.result.clear()
        with self.result:
            await Explorer(self.view, found, job).begin()
            earlier_jobs(
                self.view, [each for each in await jobs_of(self.view, "cluster") if each.id != job.id], partial(_described, self.view)
            )

    async def start(self) -> None:
        """What the address asks for, else what was found last, else what there is to begin with."""
        id_ = self.view.query.get("job") or await found_last(self.view, "cluster", self.sizes)
        if not id_:
            await self.show_empty()
            await (self.choose() if "collection" in self.view.query else self.prefer_dates())
            return
        self.view.remember(job=id_)
        try:
            job = await self.view.run(self.view.services.jobs.get, id_)
            if job.collection in self.sizes:
                self.source.set_value(job.collection)
            await (self.done(job) if job.state == "succeeded" else self.watch.follow(job))
        finally:
            await self.choose()

    async def show_empty(self) -> None:
        self.result.clear()
        with self.result:
            with ui.element("div").classes("empty"):
                ui.label(self.view.t("empty"))
            earlier_jobs(self.view, await jobs_of(self.view, "cluster"), partial(_described, self.view))


def _described(view: View, job: Job) -> str:
    result = job.result or {}
    return view.t("described", rows=f"{result.get('rows', 0):,}", topics=f"{len(result.get('topics', ())):,}")


async def build(view: View) -> None:
    sizes = await collection_sizes(view)
    if not sizes:
        no_collections(view)
        return
    page = TopicsPage(view, sizes)
    view.begin(page.start)


PAGE = Page("topics", "/topics", "bubble_chart", build)
