"""The page Duplicates: groups of repeats side by side under a threshold that moves, what the guard holds apart, and what is to go."""

from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

from nicegui import ui

from huiyi.console.frame import Page, View, heading, menu
from huiyi.console.work import (
    Watch,
    begun_with,
    collection_sizes,
    download,
    earlier_jobs,
    figure,
    found_last,
    jobs_of,
    no_collections,
    submit,
)
from huiyi.workspace.jobfile import Job
from huiyi.workspace.jobs import Jobs
from huiyi.workspace.repeats import FOLDER, Choice, FoundRepeats, RepeatGroup, RepeatsView, Twin, open_repeats

SHOWN = 20  # groups, and so many more at a time
TWINS = 12  # of a group
STEP = 0.01
KINDS = ("number", "negation", "term")  # of the guard's remarks
OPEN_REPEATS = 4  # that the server keeps in memory


@lru_cache(OPEN_REPEATS)
def _opened(folder: Path, changed: int) -> FoundRepeats:
    return open_repeats(folder)


def opened(jobs: Jobs, id: str) -> FoundRepeats:
    folder = jobs.file(id, "kept.jsonl").parent / FOLDER
    return _opened(folder, (folder / "pairs.npz").stat().st_mtime_ns if folder.is_dir() else 0)


class DuplicatesPage:
    """What to look at, the work, and what was found."""

    def __init__(self, view: View, sizes: dict[str, int]) -> None:
        self.view, self.sizes, t, chosen = view, sizes, view.t, begun_with(view, sizes)
        with ui.element("div").classes("card line"):
            self.source = ui.select(list(sizes), value=chosen, label=t("collection")).props("outlined dense")
            self.source.classes("fill").on_value_change(lambda change: view.remember(collection=change.value))
            ui.button(t("find"), icon="content_copy", on_click=view.handler(self.find)).props("unelevated")
        self.watch = Watch(view, self.done)
        self.result = ui.element("div").classes("stack")

    async def find(self) -> None:
        name = str(self.source.value)
        job = await submit(self.view, "dedup", {"collection": name}, collection=name)
        self.view.remember(job=job.id, threshold=None, collection=name)
        self.result.clear()
        await self.watch.follow(job)

    async def done(self, job: Job) -> None:
        if job.state == "cancelled":
            await self.show_empty()
            return
        found = await self.view.run(opened, self.view.services.jobs, job.id)
        self.result.clear()
        with self.result:
            review = Review(self.view, found, job)
        await review.refresh()
        with self.result:
            earlier_jobs(self.view, [each for each in await self.found_before() if each.id != job.id], partial(_described, self.view))

    async def found_before(self) -> list[Job]:
        return await jobs_of(self.view, "dedup")

    async def start(self) -> None:
        """What the address asks for, else what was found last."""
        id_ = self.view.query.get("job") or await found_last(self.view, "dedup", self.sizes)
        if not id_:
            await self.show_empty()
            return
        self.view.remember(job=id_)
        job = await self.view.run(self.view.services.jobs.get, id_)
        if job.collection in self.sizes:
            self.source.set_value(job.collection)
        if job.has_ended and job.state == "succeeded":
            await self.done(job)
        else:
            await self.watch.follow(job)

    async def show_empty(self) -> None:
        self.result.clear()
        with self.result:
            with ui.element("div").classes("empty"):
                ui.label(self.view.t("empty"))
            earlier_jobs(self.view, await self.found_before(), partial(_described, self.view))


def _described(view: View, job: Job) -> str:
    result = job.result or {}
    return view.t("described", rows=f"{result.get('rows', 0):,}", groups=f"{result.get('groups', 0):,}")


class Review:
    """Repeats that were found."""

    def __init__(self, view: View, found: FoundRepeats, job: Job) -> None:
        self.view, self.found, self.job = view, found, job
        self.threshold = _threshold(view.query.get("threshold", ""), found)
        self.limit, t = SHOWN, view.t
        self.facts = ui.element("div").classes("grid small")
        with ui.element("div").classes("card line"):
            with ui.element("div").classes("fill"):
                self.told = ui.label("").classes("small quiet number")
                slider = ui.slider(min=found.floor, max=1.0, step=STEP, value=self.threshold)
                slider.props(f'label aria-label="{t("threshold")}"').classes("granularity")
                slider.on("change", lambda event: view.handler(self.move, event.args)(), throttle=0.05)
                with ui.element("div").classes("line apart small quiet"):
                    ui.label(t("more_found"))
                    ui.label(t("only_equal"))
            with ui.button(t("export"), icon="download").props("flat"):
                kinds = product(("kept", "review"), ("csv", "xlsx"))
                menu({t(f"export_{what}", suffix=suffix): view.handler(self.export, what, suffix) for what, suffix in kinds})
            if job.collection:
                self.merging = ui.button(t("merge"), icon="merge", on_click=view.handler(self.ask)).props("unelevated color=negative")
        self.body = ui.element("div").classes("stack")

    async def move(self, value: Any) -> None:
        self.threshold, self.limit = round(float(value), 2), SHOWN
        self.view.remember(threshold=f"{self.threshold:.2f}")
        await self.refresh()

    async def refresh(self) -> None:
        t, view = self.view.t, self.view
        self.shown: RepeatsView = await view.run(self.found.view, self.threshold)
        shown = self.shown
        self.told.set_text(t("threshold_is", threshold=f"{shown.threshold:.2f}"))
        self.facts.clear()
        with self.facts:
            figure(f"{shown.rows:,}", t("rows"))
            figure(f"{len(shown.groups):,}", t("groups"), "groups")
            figure(f"{shown.exact:,} · {shown.near:,} · {shown.semantic:,}", t("kinds"))
            figure(f"{len(shown.apart):,}", t("held"), "apart")
            figure(f"{len(shown.gone):,}", t("gone"), "gone")
        if self.job.collection:
            self.merging.set_visibility(bool(shown.gone))
            self.merging.set_text(t("merge_some", count=f"{len(shown.gone):,}"))
        self.body.clear()
        with self.body:
            if shown.unread:
                ui.label(t("unread", scripts=", ".join(shown.unread))).classes("quiet small").props("data-unread")
            if shown.apart:
                with ui.element("section").classes("card stack").props("data-apart"):
                    heading(t("apart"))
                    ui.label(t("apart_why")).classes("quiet small")
                    for twin in shown.apart[: self.limit]:
                        self.pair(twin, with_other=True)
            with ui.element("section").classes("stack"):
                heading(t("list"))
                if not shown.groups:
                    ui.label(t("none")).classes("quiet")
                for group in shown.groups[: self.limit]:
                    self.group(group)
            if max(len(shown.groups), len(shown.apart)) > self.limit:
                ui.button(t("more"), icon="expand_more", on_click=view.handler(self.more)).props("flat")

    async def more(self) -> None:
        self.limit += SHOWN
        await self.refresh()

    def group(self, group: RepeatGroup) -> None:
        t, view = self.view.t, self.view
        rows = [twin.row for twin in group.twins]
        with ui.element("div").classes("card stack tight").props(f"data-group={group.stays}"):
            with ui.element("div").classes("line apart"):
                ui.label(t("size", rows=f"{len(rows) + 1:,}")).classes("small quiet number")
                with ui.element("div").classes("line tight"):
                    ui.button(t("keep_all"), on_click=view.handler(self.decide, rows, "stays")).props("flat dense")
                    ui.button(t("merge_all"), on_click=view.handler(self.decide, rows, "goes")).props("flat dense")
            with ui.element("div").classes("line tight nowrap top"):
                ui.label(t("stays")).classes("small strong good verdict")
                ui.label(group.text).classes("text")
            for twin in group.twins[:TWINS]:
                self.pair(twin)
            if len(group.twins) > TWINS:
                ui.label(t("others", count=f"{len(group.twins) - TWINS:,}")).classes("quiet small number")

    def pair(self, twin: Twin, with_other: bool = False) -> None:
        t, view = self.view.t, self.view
        with ui.element("div").classes("message line tight top apart").props(f"data-row={twin.row}"):
            with ui.element("div").classes("fill stack tight"):
                if with_other:
                    ui.label(twin.other_text).classes("text")
                with ui.element("div").classes("line tight nowrap top"):
                    ui.label(t("goes" if twin.goes else "stays")).classes("small strong verdict " + ("bad" if twin.goes else "good"))
                    ui.label(twin.text).classes("text")
                ui.label(self.why(twin)).classes("small quiet number text")
            choice: Choice = "stays" if twin.goes else "goes"
            ui.button(t("keep" if twin.goes else "merge_one"), on_click=view.handler(self.decide, [twin.row], choice)).props("flat dense")

    def why(self, twin: Twin) -> str:
        t = self.view.t
        remarks = [each.partition(": ") for each in twin.remark.split("; ") if each]
        differs = [t(f"differ_{kind}", sides=sides) if kind in KINDS else f"{kind}{colon}{sides}" for kind, colon, sides in remarks]
        parts = [t("cosine", score=f"{twin.score:.3f}"), *(differs or [t(f"like_{twin.likeness}")])]
        return " · ".join([*parts, *([t("decided")] if twin.decided else [])])

    async def decide(self, rows: list[int], choice: Choice) -> None:
        self.view.require_change()
        await self.view.run(self.found.decide, rows, choice)
        await self.refresh()

    async def export(self, what: Literal["kept", "review"], suffix: str) -> None:
        name = f"{what}-{self.job.collection or self.job.id}.{suffix}"
        await download(self.view, name, lambda path: self.found.export(self.shown, path, what))

    async def ask(self) -> None:
        """Nothing is deleted before this was answered."""
        self.view.require_change()
        t, name, count = self.view.t, str(self.job.collection), f"{len(self.shown.gone):,}"
        with ui.dialog() as dialog, ui.element("div").classes("card stack"):
            heading(t("sure", count=count, name=name))
            ui.label(t("sure_about")).classes("text")
            with ui.element("div").classes("line end"):
                ui.button(t("no"), on_click=lambda: dialog.submit(False)).props("flat")
                ui.button(t("yes", count=count), on_click=lambda: dialog.submit(True)).props("unelevated color=negative")
        if await dialog:
            await self.merge(name)
        dialog.delete()

    async def merge(self, name: str) -> None:
        ids = self.found.ids(self.shown)
        deleted = await self.view.run(self.view.services.collections.run, name, lambda collection: collection.delete(ids))
        self.body.clear()
        with self.body, ui.element("div").classes("card stack tight").props("role=status"):
            ui.label(self.view.t("merged", count=f"{deleted:,}", name=name)).classes("strong good")
            ui.label(self.view.t("merged_next")).classes("quiet")
        self.merging.set_visibility(False)


def _threshold(asked: str, found: FoundRepeats) -> float:
    try:
        return min(max(float(asked), found.floor), 1.0)
    except ValueError:
        return found.threshold


async def build(view: View) -> None:
    sizes = await collection_sizes(view)
    if not sizes:
        no_collections(view)
        return
    page = DuplicatesPage(view, sizes)
    view.begin(page.start)


PAGE = Page("duplicates", "/duplicates", "content_copy", build)
