"""The page Train: an adapter learned from a file of pairs, its curve while it learns, what it gained, and a button that serves it."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from nicegui import events, ui

from huiyi.console.data import DROP, PLAIN, new_folder, uploaded
from huiyi.console.frame import Page, View, Words, heading
from huiyi.console.work import Watch, jobs_of, serve_adapter, submit
from huiyi.errors import InvalidInput, MissingExtra, NotFound
from huiyi.workspace.jobfile import Job
from huiyi.workspace.training import require_extra
from huiyi.workspace.training_runs import TrainingRun, training_run, training_runs

KINDS = (".csv", ".tsv", ".jsonl", ".json", ".xlsx", ".gz", ".parquet")
MOST_MB = 256
LOOK_S = 2.0  # between two looks at the curve
RECIPES = ("similarity", "pair-classifier")
INSTALL = 'pip install "huiyi[train]"'


class TrainPage:
    """The form, the work, and the runs there are."""

    def __init__(self, view: View) -> None:
        self.view, t = view, view.t
        self.path: Path | None = None
        self.name = ""
        with ui.element("div").classes("card stack"):
            heading(t("new"))
            ui.label(t("pairs_how")).classes("quiet small")
            said = t("drop", kinds=" ".join(KINDS), most=f"{MOST_MB:,}")
            self.upload = ui.upload(
                on_upload=self.take,
                on_rejected=lambda: view.fail(InvalidInput(said)),
                max_file_size=MOST_MB * 2**20,
                max_files=1,
                auto_upload=True,
            )
            self.upload.props(f'accept="{",".join(KINDS)}" flat bordered').classes("drop")
            self.upload.add_slot("header", DROP % said)
            self.given = ui.label("").classes("strong text")
            with ui.element("div").classes("line"):
                self.recipe = ui.select({one: t(f"recipe_{one}") for one in RECIPES}, value=RECIPES[0], label=t("recipe"))
                self.recipe.props("outlined dense").classes("fill")
                self.called = ui.input(t("name"), value=view.query.get("name", "")).props("outlined dense maxlength=64").classes("fill")
                self.epochs = ui.number(t("epochs"), value=1, min=1, max=100, step=1, format="%d").props("outlined dense")
                ui.button(t("train"), icon="model_training", on_click=view.handler(self.train)).props("unelevated")
        self.watch = Watch(view, self.done)
        self.run = ui.element("div").classes("stack")
        self.runs = ui.element("div")
        self.timer = ui.timer(LOOK_S, view.handler(self.look, timed=True), active=False)

    async def take(self, given: events.UploadEventArguments) -> None:
        try:
            self.view.require_change()
            folder = await self.view.run(new_folder)
            name = given.file.name if PLAIN.fullmatch(given.file.name) else f"pairs{Path(given.file.name).suffix.lower()}"
            await given.file.save(folder / name)
            self.view.remember(upload=folder.name)
            self.show_given(folder / name)
        except Exception as error:  # noqa: BLE001  told on the page
            self.view.fail(error)

    def show_given(self, path: Path) -> None:
        self.path = path
        self.given.set_text(self.view.t("given", name=path.name))
        if not self.called.value:
            self.called.set_value(
                "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_") else "-" for letter in path.stem)
            )

    async def train(self) -> None:
        if self.path is None:
            raise InvalidInput(self.view.t("file_needed"))
        name = str(self.called.value or "").strip()
        arguments = {"name": name, "file": self.path.name, "recipe": self.recipe.value, "epochs": int(self.epochs.value or 1)}
        job = await submit(self.view, "train", arguments, files={self.path.name: self.path})
        await self.view.run(partial(shutil.rmtree, self.path.parent, ignore_errors=True))
        self.path = None
        self.given.set_text("")
        self.upload.reset()
        self.view.remember(job=job.id, name=name, upload=None)
        await self.follow(job)

    async def follow(self, job: Job) -> None:
        self.name = str(job.arguments["name"])
        self.run.clear()
        await self.watch.follow(job)
        self.timer.activate()

    async def look(self) -> None:
        """At the curve of the run that learns."""
        if self.watch.job is None:
            self.timer.deactivate()
            return
        try:
            run = await self.view.run(training_run, self.name)
        except NotFound:
            return  # it has not begun to write yet
        self.show_run(run)

    async def done(self, job: Job) -> None:
        self.timer.deactivate()
        self.view.remember(job=None, name=job.arguments["name"])
        await self.show(str(job.arguments["name"]))
        await self.list_runs()

    async def start(self) -> None:
        if token := self.view.query.get("upload"):
            path = await self.view.run(uploaded, token)
            if path is not None:
                self.show_given(path)
        await self.list_runs()
        busy = [job for job in await jobs_of(self.view, "train") if not job.has_ended]
        if busy:
            await self.follow(busy[0])
            return
        if id_ := self.view.query.get("job"):
            job = await self.view.run(self.view.services.jobs.get, id_)
            if job.state == "failed":
                await self.watch.follow(job)
                return
        if name := self.view.query.get("name"):
            await self.show(name)

    async def list_runs(self) -> None:
        t, found = self.view.t, await self.view.run(training_runs)
        self.runs.clear()
        with self.runs:
            if not found.runs:
                with ui.element("div").classes("empty"):
                    ui.label(t("empty"))
                return
            with ui.element("div").classes("card stack tight"):
                heading(t("adapters"))
                for run in found.runs:
                    with ui.element("div").classes("line tight"):
                        ui.button(run.name, on_click=self.view.handler(self.show, run.name)).props("flat dense no-caps")
                        ui.label(t("of", recipe=run.recipe, base=run.base)).classes("quiet small text")

    async def show(self, name: str) -> None:
        run = await self.view.run(training_run, name)
        self.name = name
        self.view.remember(name=name)
        self.show_run(run)

    def show_run(self, run: TrainingRun) -> None:
        t, view = self.view.t, self.view
        self.run.clear()
        with self.run, ui.element("section").classes("card stack").props("data-run"):
            heading(t("run", name=run.name))
            ui.label(t("of", recipe=run.recipe, base=run.base)).classes("quiet small text")
            self.gains(run)
            if run.losses or run.evaluations:
                with ui.element("div").classes("grid two"):
                    chart(t("loss"), {t("loss"): list(run.losses)}, t("step"))
                    names = list(run.evaluations[0].figures) if run.evaluations else []
                    lines = {name: [(one.step, one.figures.get(name)) for one in run.evaluations] for name in names}
                    if lines:
                        chart(t("figures"), lines, t("step"))
            if run.tokens_per_s:
                ui.label(t("speed", tokens=f"{run.tokens_per_s:,.0f}")).classes("quiet small number")
            if not run.finished:
                ui.label(t("unfinished")).classes("quiet")
            elif any(model.name == run.name for model in view.services.models):
                ui.label(t("served", name=run.name)).classes("strong good text").props("data-served")
            else:
                with ui.element("div").classes("line"):
                    ui.button(t("serve"), icon="play_arrow", on_click=view.handler(self.serve, run.name)).props("unelevated")
                    ui.label(t("serve_how", name=run.name)).classes("quiet small text")

    def gains(self, run: TrainingRun) -> None:
        """The base alone beside the best step, on the same rows held back."""
        t, before, best = self.view.t, run.before, run.best
        if before is None:
            return
        with ui.element("table").classes("plain").style("max-width: 40rem"):
            with ui.element("tr"):
                for text in ("", t("zero_shot"), t("trained"), t("gain")):
                    Words("th", text).classes("number" if text else "")
            for name, value in before.figures.items():
                after = best.figures.get(name) if best else None
                with ui.element("tr"):
                    Words("th", name).props("scope=row")
                    Words("td", f"{value:.4f}").classes("number")
                    Words("td", "…" if after is None else f"{after:.4f}").classes("number")
                    Words("td", "" if after is None else f"{after - value:+.4f}").classes(
                        "number " + ("good" if (after or 0) > value else "")
                    )
        ui.label(t("honest")).classes("quiet small")

    async def serve(self, name: str) -> None:
        await serve_adapter(self.view, name)
        await self.show(name)


def chart(label: str, lines: dict[str, list[Any]], step: str) -> None:
    axis = {"automargin": True, "gridcolor": "rgba(128,128,128,.25)", "zerolinecolor": "rgba(128,128,128,.4)"}
    data = [
        {"type": "scatter", "mode": "lines+markers", "name": name, "x": [x for x, _ in points], "y": [y for _, y in points]}
        for name, points in lines.items()
    ]
    layout = {
        "xaxis": {**axis, "title": {"text": step}},
        "yaxis": axis,
        "showlegend": len(lines) > 1,
        "legend": {"orientation": "h"},
        "font": {"color": "#7a8494"},
        "paper_bgcolor": "transparent",
        "plot_bgcolor": "transparent",
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
    }
    with ui.element("div").classes("stack tight"):
        ui.label(label).classes("strong small")
        drawn = ui.plotly({"data": data, "layout": layout, "config": {"displayModeBar": False}}).style("height: 16rem; width: 100%")
        drawn.props["role"], drawn.props["aria-label"] = "img", label


async def build(view: View) -> None:
    try:
        require_extra()
    except MissingExtra as error:
        with ui.element("div").classes("card empty").props("data-missing"):
            ui.label(view.t("missing"))
            Words("code", INSTALL)
            ui.label(str(error)).classes("quiet small text")
        return
    page = TrainPage(view)
    view.begin(page.start)


PAGE = Page("train", "/train", "model_training", build)
