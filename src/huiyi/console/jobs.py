"""Long work on a page: what waits, runs and has ended, with progress that moves and a way to stop it."""

from collections.abc import Awaitable, Callable
from time import time

from nicegui import ui

from huiyi.console.frame import View, Words, heading
from huiyi.console.words import speaker
from huiyi.workspace import Job

LOOK_S = 1.0
SHOWN = 5


class JobList:
    """The latest jobs of some kinds, looked at every second. ended: called once for each that ends from now on."""

    def __init__(self, view: View, kinds: tuple[str, ...], ended: Callable[[Job], Awaitable[None]] | None = None) -> None:
        self.view, self.kinds, self.ended = view, kinds, ended
        self.t = speaker("jobs", view.language)
        self._over: set[str] | None = None
        self._drawn: object = None
        with ui.element("section").classes("stack").props("aria-live=polite"):
            heading(self.t("jobs"))
            self._place = ui.element("div").classes("stack tight")
        ui.timer(LOOK_S, self.look, immediate=True)

    async def look(self) -> None:
        jobs = [job for job in await self.view.run(self.view.services.jobs.list) if job.kind in self.kinds][:SHOWN]
        over = [job for job in jobs if job.has_ended]
        fresh = [] if self._over is None else [job for job in over if job.id not in self._over]
        self._over = (self._over or set()) | {job.id for job in over}
        for job in fresh:
            if self.ended:
                await self.ended(job)
        if jobs != self._drawn:
            self._drawn = jobs
            self._draw(jobs)

    def _draw(self, jobs: list[Job]) -> None:
        self._place.clear()
        with self._place:
            if not jobs:
                ui.label(self.t("no_jobs")).classes("quiet")
            for job in jobs:
                self._draw_one(job)

    def _draw_one(self, job: Job) -> None:
        t = self.t
        with ui.element("div").classes("card stack tight").props(f"data-job={job.state}"):
            with ui.element("div").classes("line apart"):
                with ui.element("div").classes("line"):
                    Words("span", t(f"kind_{job.kind}")).classes("strong")
                    if job.collection:
                        Words("span", job.collection)
                    colour = {"succeeded": "good", "failed": "bad"}.get(job.state, "quiet")
                    Words("span", t(job.state)).classes(colour)
                    if job.started:
                        Words("span", t("took", seconds=f"{(job.ended or time()) - job.started:.0f}")).classes("quiet number")
                if not job.has_ended and self.view.may_change:
                    ui.button(t("cancel"), on_click=self.view.handler(self.cancel, job.id)).props("flat dense")
            if job.progress and not job.has_ended:
                done = job.progress.done / max(1, job.progress.total)
                bar = ui.linear_progress(done, show_value=False).props("rounded")
                bar.props["aria-label"] = t(f"kind_{job.kind}")
                counts = {"done": f"{job.progress.done:,}", "total": f"{job.progress.total:,}", "rate": f"{job.progress.texts_per_s:,.0f}"}
                left = job.progress.seconds_left
                told = t("progress_open", **counts) if left is None else t("progress", left=f"{left:,.0f}", **counts)
                ui.label(told).classes("quiet small number")
            if job.about and not job.has_ended:
                ui.label(job.about).classes("quiet small text")
            if job.error:
                ui.label(job.error.message).classes("text")

    async def cancel(self, id: str) -> None:
        self.view.require_change()
        await self.view.run(self.view.services.jobs.cancel, id)
        await self.look()
