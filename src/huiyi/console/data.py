"""The page Data: a file becomes a collection, and what there is: how large, whether sound, embedded anew, deleted."""

import re
import secrets
import shutil
import time
from pathlib import Path

from nicegui import events, ui

from huiyi import settings, workspace
from huiyi.console.frame import Page, View, Words, heading, link_button
from huiyi.console.jobs import JobList
from huiyi.errors import InvalidInput, NotFound
from huiyi.workspace import CollectionInfo, Job

KINDS = (".csv", ".tsv", ".xlsx", ".jsonl", ".json", ".txt", ".parquet", ".md", ".html", ".pdf", ".docx")
MOST_MB = 512
KEPT_S = 24 * 3600  # an upload that nobody went on with
# Quasar's own header has an input inside a button, which those who cannot see it do not find; the text is one of ours.
DROP = """<label class="drop-here" tabindex="0" @keydown.enter.prevent="props.pickFiles">
  <q-icon name="upload_file" size="2rem" aria-hidden="true" /><span>%s</span><q-uploader-add-trigger /></label>"""
TOKEN = re.compile(r"[0-9a-f]{32}")
PLAIN = re.compile(r"\w[\w.-]{0,100}", re.ASCII)


class Uploading:
    """A file on its way: taken, looked at, then handed to a job."""

    def __init__(self, view: View, models: list[str]) -> None:
        self.view, self.t, self.models = view, view.t, models
        self.place = ui.element("div").classes("card stack")

    def show_drop(self) -> None:
        t, said = self.t, {"kinds": " ".join(KINDS), "most": f"{MOST_MB:,}"}
        self.view.remember(upload=None)
        self.place.clear()
        with self.place:
            heading(t("add"))
            upload = ui.upload(
                on_upload=self.take,
                on_rejected=lambda: self.view.fail(InvalidInput(t("rejected", **said))),
                max_file_size=MOST_MB * 2**20,
                max_files=1,
                auto_upload=True,
            )
            upload.props(f'accept="{",".join(KINDS)}" flat bordered').classes("drop")
            upload.add_slot("header", DROP % t("drop", **said))
            if not self.view.may_change:
                upload.disable()
                ui.label(t("read_only")).classes("quiet")

    async def take(self, given: events.UploadEventArguments) -> None:
        try:
            self.view.require_change()
            folder = await self.view.run(new_folder)
            name = given.file.name if PLAIN.fullmatch(given.file.name) else f"file{Path(given.file.name).suffix.lower()}"
            if Path(name).suffix.lower() not in KINDS:
                raise InvalidInput(self.t("rejected", kinds=" ".join(KINDS), most=f"{MOST_MB:,}"))
            await given.file.save(folder / name)
            self.view.remember(upload=folder.name)
            await self.show_preview(folder.name)
        except Exception as error:  # noqa: BLE001
            self.show_drop()
            self.view.fail(error)

    async def show_preview(self, token: str) -> None:
        t = self.t
        path = await self.view.run(uploaded, token)
        if path is None:
            raise NotFound(t("gone"))
        preview = await self.view.run(workspace.preview_file, path)
        self.path, self.preview = path, preview
        self.place.clear()
        with self.place:
            heading(t("preview", name=path.name))
            ui.label(preview.description).classes("quiet")
            with ui.element("div").classes("scroll").props("tabindex=0 role=group"), ui.element("table").classes("plain"):
                with ui.element("tr"):
                    for column in preview.columns:
                        Words("th", column).props("scope=col")
                for row in preview.rows:
                    with ui.element("tr"):
                        for cell in row:
                            Words("td", cell).classes("text").style("min-width: 6rem; max-width: 24rem")
            with ui.element("div").classes("grid"):
                suggested = re.sub(r"[^\w-]+", "-", path.stem).strip("-") or "texts"
                self.name = ui.input(t("name"), value=suggested).props(f'outlined dense hint="{t("name_hint")}"')
                self.text = self.id = self.model = None
                if preview.columns:
                    columns = list(preview.columns)
                    self.text = ui.select(columns, value=preview.text, label=t("text_column")).props("outlined dense")
                    self.id = ui.select({"": t("id_default"), **{column: column for column in columns}}, value="", label=t("id_column"))
                    self.id.props("outlined dense")
                if len(self.models) > 1:
                    self.model = ui.select(self.models, value=self.models[0], label=t("model")).props("outlined dense")
            self.missing = ui.checkbox(t("missing"), value=True)
            with ui.element("div").classes("line"):
                ui.button(t("start"), icon="playlist_add", on_click=self.view.handler(self.start)).props("unelevated")
                ui.button(t("discard"), on_click=self.view.handler(self.discard, token)).props("flat")

    async def start(self) -> None:
        t = self.t
        self.view.require_change()
        name = (self.name.value or "").strip()
        if not name:
            raise InvalidInput(t("which_name"))
        if self.text is not None and not self.text.value:
            raise InvalidInput(t("which_column"))
        arguments = {
            "collection": name,
            "file": self.path.name,
            "text": self.text.value if self.text else None,
            "id": (self.id.value or None) if self.id else None,
            "keep_missing": not self.missing.value,
            "replace": True,
        }
        await self.view.run(submit_index, self.view, name, arguments, self.model.value if self.model else None, self.path)
        self.show_drop()
        ui.notify(t("started"), type="positive")

    async def discard(self, token: str) -> None:
        await self.view.run(shutil.rmtree, folder_of(token), True)
        self.show_drop()


class Shelf:
    """The collections that there are."""

    def __init__(self, view: View, models: list[str]) -> None:
        self.view, self.t, self.models = view, view.t, models
        with ui.element("section").classes("stack"):
            heading(self.t("collections"))
            self.place = ui.element("div").classes("grid two")

    async def show(self) -> None:
        known = (await self.view.run(workspace.collection_list)).collections
        self.place.clear()
        with self.place:
            if not known:
                with ui.element("div").classes("empty card"):
                    ui.label(self.t("no_collections"))
            for info in known:
                self.show_one(info)

    def show_one(self, info: CollectionInfo) -> None:
        t, handler = self.t, self.view.handler
        with ui.element("div").classes("card stack").props("data-collection"):
            heading(info.name, 3)
            if info.problem:
                ui.label(t("broken", problem=info.problem)).classes("bad text")
            else:
                with ui.element("div").classes("stack tight"):
                    ui.label(t("records", count=f"{info.records:,}")).classes("number")
                    ui.label(t("vectors", dim=f"{info.dim:,}", model=Path(info.model or "").name)).classes("quiet number")
                    if info.size_bytes is not None:
                        ui.label(t("size", size=f"{info.size_bytes / 2**20:,.1f}")).classes("quiet number")
                    else:
                        ui.label(t("store", store=info.store)).classes("quiet")
            with ui.element("div").classes("line tight"):
                if not info.problem:
                    link_button(t("search"), f"/search?collection={info.name}", "search").props("flat dense")
                    check = ui.button(t("check"), icon="health_and_safety").props("flat dense")
                if self.view.may_change:
                    if not info.problem:
                        ui.button(t("reindex"), icon="autorenew", on_click=handler(self.ask_reindex, info)).props("flat dense")
                    ui.button(t("delete"), icon="delete", on_click=handler(self.ask_delete, info)).props("flat dense color=negative")
            if not info.problem:
                health = ui.label("").classes("good text").props("role=status")
                check.on_click(handler(self.check, info, health))

    async def check(self, info: CollectionInfo, health: ui.label) -> None:
        health.set_text("")
        checked = await self.view.run(workspace.collection_check, info.name)
        health.set_text(self.t("healthy", name=checked.name, count=f"{checked.records:,}"))

    async def ask_delete(self, info: CollectionInfo) -> None:
        question = self.t("delete_question", name=info.name, count="?" if info.records is None else f"{info.records:,}")
        if await asked(self.view, question, self.t("delete"), "negative"):
            self.view.require_change()
            await self.view.run(self.view.services.jobs.require_idle, info.name)
            await self.view.run(self.view.services.collections.delete, info.name)
            ui.notify(self.t("deleted", name=info.name))
            await self.show()

    async def ask_reindex(self, info: CollectionInfo) -> None:
        with ui.dialog() as dialog, ui.element("div").classes("card stack"):
            ui.label(self.t("reindex_question", name=info.name))
            chosen = ui.select(self.models, value=self.models[0], label=self.t("model")).props("outlined dense")
            with ui.element("div").classes("line end"):
                ui.button(self.t("cancel"), on_click=lambda: dialog.submit(None)).props("flat")
                ui.button(self.t("reindex"), on_click=lambda: dialog.submit(chosen.value)).props("unelevated")
        if model := await dialog:
            self.view.require_change()
            await self.view.run(submit_reindex, self.view, info.name, model)


async def asked(view: View, question: str, yes: str, colour: str = "primary") -> bool:
    """Whether the visitor says yes."""
    with ui.dialog() as dialog, ui.element("div").classes("card stack"):
        ui.label(question)
        with ui.element("div").classes("line end"):
            ui.button(view.t("cancel"), on_click=lambda: dialog.submit(False)).props("flat")
            ui.button(yes, on_click=lambda: dialog.submit(True)).props(f"unelevated color={colour}")
    return bool(await dialog)


def new_folder() -> Path:
    """A place for one upload, for its owner only; old ones are cleared away."""
    shelf = settings.home() / "console" / "uploads"
    shelf.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in shelf.iterdir():
        if old.stat().st_mtime < time.time() - KEPT_S:
            shutil.rmtree(old, ignore_errors=True)
    folder = shelf / secrets.token_hex(16)
    folder.mkdir(mode=0o700)
    return folder


def folder_of(token: str) -> Path:
    return settings.home() / "console" / "uploads" / (token if TOKEN.fullmatch(token) else "none")


def uploaded(token: str) -> Path | None:
    folder = folder_of(token)
    return next(iter(folder.iterdir()), None) if folder.is_dir() else None


def submit_index(view: View, name: str, arguments: dict[str, object], model: str | None, path: Path) -> Job:
    services = view.services
    try:
        facts = services.collections.run(name, lambda found: found.facts)
        served = services.collections.model_for(name, facts)
    except NotFound:
        served = next(each for each in services.models if model in (None, each.name) and not each.is_classifier)
    job = services.jobs.submit("index", arguments, collection=name, model=served, files={path.name: path})
    shutil.rmtree(path.parent, ignore_errors=True)
    return job


def submit_reindex(view: View, name: str, model: str) -> Job:
    served = next(each for each in view.services.models if each.name == model)
    return view.services.jobs.submit("reindex", {"collection": name}, collection=name, model=served)


async def build(view: View) -> None:
    models = [model.name for model in view.services.models if not model.is_classifier]
    uploading = Uploading(view, models)
    shelf_place = ui.element("div").classes("stack")

    async def ended(job: Job) -> None:
        await shelf.show()

    JobList(view, ("index", "reindex"), ended)
    with shelf_place:
        shelf = Shelf(view, models)
    await shelf.show()
    if token := view.query.get("upload"):
        try:
            await uploading.show_preview(token)
            return
        except NotFound:
            pass  # it was indexed or discarded meanwhile
    uploading.show_drop()


PAGE = Page("data", "/data", "dataset", build)
