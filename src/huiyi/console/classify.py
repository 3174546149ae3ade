"""The page Classify: a classifier learned from a column of labels, what it is worth, a text tried, and labels put right or added."""

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from huiyi import workspace
from huiyi.console.frame import Page, View, Words, heading
from huiyi.console.work import Watch, begun_with, collection_sizes, fields_of, figure, jobs_of, no_collections, submit
from huiyi.errors import InvalidInput
from huiyi.workspace import Collection
from huiyi.workspace.classifying import LABEL_COLUMNS, ShownClassifier, Sorted, classify_show, classify_texts
from huiyi.workspace.jobfile import Job
from huiyi.workspace.opened import model_of

MOST_CLASSES = 30  # of a confusion table; beyond, the pairs that are confused most are told
SHOWN = 10
SUGGESTED = 8


class ClassifyPage:
    """Which classifier, the work, and what it is worth."""

    def __init__(self, view: View, sizes: dict[str, int]) -> None:
        self.view, t, chosen = view, view.t, begun_with(view, sizes)
        self.known: list[str] = []
        self.tried = view.query.get("text", "")
        self.kept = ui.element("div")
        with ui.element("details").classes("card").props("open") as self.form:
            Words("summary", t("learn")).classes("strong")
            with ui.element("div").classes("line"):
                self.source = ui.select(list(sizes), value=chosen, label=t("collection")).props("outlined dense").classes("fill")
                self.source.on_value_change(view.handler(self.choose))
                self.label = ui.select([], label=t("label")).props("outlined dense").classes("fill")
                self.name = ui.input(t("name"), value=chosen).props("outlined dense maxlength=64").classes("fill")
            with ui.element("div").classes("line"):
                self.precision = (
                    ui.number(t("precision"), value=95, min=50, max=99.9, step=1, suffix="%").props("outlined dense").classes("fill")
                )
                ui.button(t("fit"), icon="category", on_click=view.handler(self.fit)).props("unelevated")
        self.watch = Watch(view, self.done)
        self.result = ui.element("div").classes("stack")

    async def choose(self) -> None:
        fields = await self.view.run(self.view.services.collections.run, str(self.source.value), fields_of)
        options = list(dict.fromkeys((*fields.labels, *fields.every)))
        best = next((name for name in options if name.casefold() in LABEL_COLUMNS), next(iter(fields.labels), None))
        self.label.set_options(options, value=best)
        self.name.set_value(self.source.value)

    async def fit(self) -> None:
        if not self.label.value:
            raise InvalidInput(self.view.t("label_needed"))
        name, collection = str(self.name.value or "").strip(), str(self.source.value)
        arguments = {
            "name": name, "collection": collection, "label": self.label.value, "precision": float(self.precision.value or 95) / 100,
            "overwrite": name in self.known,
        }  # fmt: skip
        job = await submit(self.view, "classify_fit", arguments, collection=collection)
        self.view.remember(name=name, job=job.id)
        self.result.clear()
        await self.watch.follow(job)

    async def done(self, job: Job) -> None:
        await self.list_known(str(job.arguments.get("name", "")))

    async def start(self) -> None:
        await self.choose()
        id_ = self.view.query.get("job")
        if id_:
            job = await self.view.run(self.view.services.jobs.get, id_)
            if not job.has_ended:
                await self.watch.follow(job)
                return
        await self.list_known(self.view.query.get("name", ""))

    async def list_known(self, chosen: str) -> None:
        found = await self.view.run(workspace.classify_list)
        self.known = [one.name for one in found.classifiers]
        self.kept.clear()
        if not self.known:
            self.result.clear()
            with self.result, ui.element("div").classes("empty"):
                ui.label(self.view.t("empty"))
            return
        chosen = chosen if chosen in self.known else self.known[0]
        with self.kept, ui.element("div").classes("card line"):
            pick = ui.select(self.known, value=chosen, label=self.view.t("classifier")).props("outlined dense").classes("fill")
            pick.on_value_change(lambda change: self.view.handler(self.show, change.value)())
        self.form.props(remove="open")
        await self.show(chosen)

    async def show(self, name: str) -> None:
        self.view.remember(name=name, job=None)
        shown = await self.view.run(classify_show, name)
        fits = [job for job in await jobs_of(self.view, "classify_fit") if job.arguments.get("name") == name and job.state == "succeeded"]
        self.result.clear()
        with self.result:
            Worth(self.view, self, shown, fits[0].collection if fits else None).build()


class Worth:
    """One classifier. collection: where its labels come from, None where that is not known any more."""

    def __init__(self, view: View, page: ClassifyPage, shown: ShownClassifier, collection: str | None) -> None:
        self.view, self.page, self.shown, self.collection = view, page, shown, collection

    def build(self) -> None:
        view, t, shown = self.view, self.view.t, self.shown
        with ui.element("section").classes("card stack"):
            heading(t("try"))
            with ui.element("div").classes("line"):
                self.text = ui.textarea(t("text"), value=self.page.tried).props("outlined autogrow maxlength=20000").classes("fill")
                ui.button(t("sort"), icon="send", on_click=view.handler(self.sort)).props("unelevated")
            self.sorted = ui.element("div").classes("stack tight").props("aria-live=polite")
        with ui.element("section").classes("card stack"):
            heading(t("worth", name=shown.name))
            ui.label(t("source", source=shown.source, rows=f"{shown.rows:,}", classes=f"{len(shown.classes):,}")).classes(
                "quiet small text"
            )
            self.figures()
        self.confusion()
        self.errors()
        self.suggestions()

    def figures(self) -> None:
        t, found = self.view.t, self.shown.validation
        if found is None:
            ui.label(t("not_validated")).classes("quiet")
            return
        with ui.element("div").classes("grid small"):
            figure(
                f"{100 * found.accuracy.value:.1f} %",
                t("accuracy", low=percent(found.accuracy.low), high=percent(found.accuracy.high)),
                "accuracy",
            )
            figure(f"{100 * found.macro_f1.value:.1f} %", t("macro_f1", low=percent(found.macro_f1.low), high=percent(found.macro_f1.high)))
            figure(f"{100 * found.majority:.1f} %", t("majority"))
            figure(f"{100 * found.coverage:.1f} %", t("coverage"))
            figure(f"{100 * found.precision:.1f} %", t("right"))
        ui.label(t("held_out", rows=f"{found.rows:,}", folds=found.folds)).classes("quiet small")

    def confusion(self) -> None:
        t, found, classes = self.view.t, self.shown.validation, self.shown.classes
        if found is None:
            return
        with ui.element("section").classes("card stack"):
            heading(t("confusion"))
            if len(classes) > MOST_CLASSES:
                off = found.confusion.copy()
                off[range(len(classes)), range(len(classes))] = 0
                for place in off.ravel().argsort()[::-1][:SHOWN]:
                    true, taken = divmod(int(place), len(classes))
                    if off[true, taken]:
                        told = t("confused", rows=f"{off[true, taken]:,}", label=classes[true], taken=classes[taken])
                        ui.label(told).classes("text")
                return
            ui.label(t("confusion_how")).classes("quiet small")
            with ui.element("div").classes("scroll").props("tabindex=0 role=group"), ui.element("table").classes("plain"):
                with ui.element("tr"):
                    Words("th", t("true"))
                    for number in range(1, len(classes) + 1):
                        Words("th", str(number)).classes("number").props("scope=col")
                    Words("th", t("recall")).classes("number")
                for at, label in enumerate(classes):
                    total = max(int(found.confusion[at].sum()), 1)
                    with ui.element("tr"):
                        Words("th", f"{at + 1}. {label}").props("scope=row")
                        for count in found.confusion[at].tolist():
                            Words("td", f"{count:,}" if count else "·").classes("number heat").style(f"--heat: {100 * count / total:.0f}%")
                        Words("td", f"{100 * found.confusion[at, at] / total:.0f} %").classes("number")

    def errors(self) -> None:
        t, view, shown = self.view.t, self.view, self.shown
        with ui.element("section").classes("card stack").props("data-errors"):
            heading(t("errors", count=f"{shown.errors_total:,}"))
            ui.label(t("errors_how") if shown.errors else t("errors_none")).classes("quiet small")
            for error in shown.errors[:SHOWN]:
                with ui.element("div").classes("message line apart top"):
                    with ui.element("div").classes("stack tight fill"):
                        ui.label(str(error["text"])).classes("text")
                        told = t(
                            "error", label=error["label"], suggested=error["suggested"],
                            own=percent(error["probability_label"]), other=percent(error["probability_suggested"]),
                        )  # fmt: skip
                        ui.label(told).classes("quiet small text number")
                    if self.collection and "id" in error:
                        put = view.handler(self.relabel, error["id"], error["suggested"])
                        ui.button(t("put_right", label=error["suggested"]), on_click=put).props("flat dense")

    def suggestions(self) -> None:
        t, view = self.view.t, self.view
        if not self.collection:
            return
        with ui.element("section").classes("card stack").props("data-suggestions"):
            heading(t("suggest"))
            ui.label(t("suggest_how")).classes("quiet small")
            with ui.element("div").classes("line"):
                ui.button(t("suggest_do"), icon="rate_review", on_click=view.handler(self.suggest)).props("flat")
            self.suggested = ui.element("div").classes("stack tight")
            with ui.element("div").classes("line") as self.again:
                self.labelled = ui.label("").classes("quiet small number")
                ui.button(t("fit_again"), icon="refresh", on_click=view.handler(self.fit_again)).props("unelevated")
            self.again.set_visibility(False)
            self.count = 0

    async def sort(self) -> None:
        text = self.page.tried = str(self.text.value or "")
        served = self.view.services.models
        found = await self.view.run(sorted_by_first, self.shown.name, [text], served)
        self.view.remember(text=text[:500])
        self.sorted.clear()
        with self.sorted:
            self.show_sorted(found[0])

    def show_sorted(self, one: Sorted) -> None:
        t, name = self.view.t, one.verdict.replace(" ", "_")
        label, probability = one.classes[0]
        said = ui.label(t(f"verdict_{name}", label=label, probability=percent(probability))).props(f"data-verdict={name}")
        said.classes("strong text " + {"sure": "good", "unsure": "warn"}.get(name, "bad"))
        for label, probability in one.classes:
            with ui.element("div").classes("line nowrap"):
                ui.label(label).classes("text fill")
                ui.linear_progress(probability, show_value=False).props(f'aria-label="{percent(probability)}"').style(
                    "max-width: min(12rem, 30%)"
                )
                ui.label(percent(probability)).classes("number probability")

    async def suggest(self) -> None:
        """Rows that have no label, else any, in a thread: vectors are there already."""
        t, view, name = self.view.t, self.view, str(self.collection)
        rows = await view.run(view.services.collections.run, name, lambda collection: undecided(collection, self.shown, SUGGESTED))
        self.suggested.clear()
        with self.suggested:
            if not rows:
                ui.label(t("suggest_none")).classes("quiet")
            for id_, text, best, probability in rows:
                with ui.element("div").classes("message line apart top") as row:
                    with ui.element("div").classes("stack tight fill"):
                        ui.label(text).classes("text")
                        ui.label(t("guess", label=best, probability=percent(probability))).classes("quiet small text number")
                    with ui.element("div").classes("line tight"):
                        chosen = ui.select(list(self.shown.classes), value=best, label=t("label_of")).props("outlined dense")
                        chosen.style("min-width: 10rem")
                        ui.button(t("save"), on_click=view.handler(self.label_row, row, id_, chosen)).props("flat dense")

    async def label_row(self, row: ui.element, id_: str, chosen: ui.select) -> None:
        await self.relabel(id_, str(chosen.value))
        row.delete()

    async def relabel(self, id_: str, label: str) -> None:
        """On the record in the collection; the classifier learns it with the next fit."""
        self.view.require_change()
        field = self.shown.label

        def put(collection: Collection) -> None:
            record = collection.get(id_)
            if record is None:
                raise InvalidInput(self.view.t("record_gone", id=id_))
            collection.add([{"id": id_, "text": record.text, "metadata": {**record.metadata, field: label}}])

        await self.view.run(self.view.services.collections.run, str(self.collection), put)
        self.count += 1
        self.labelled.set_text(self.view.t("labelled", count=f"{self.count:,}"))
        self.again.set_visibility(True)

    async def fit_again(self) -> None:
        arguments = {
            "name": self.shown.name, "collection": self.collection, "label": self.shown.label, "precision": self.shown.precision,
            "overwrite": True,
        }  # fmt: skip
        job = await submit(self.view, "classify_fit", arguments, collection=self.collection)
        self.view.remember(job=job.id)
        await self.page.watch.follow(job)


def undecided(collection: Collection, shown: ShownClassifier, count: int) -> list[tuple[str, str, str, float]]:
    """Id, text, likeliest class and its probability, of the rows that teach most: those without a label, where there are any."""
    held = collection.contents()
    bare = [row for row, cells in enumerate(held.metadata) if not str(cells.get(shown.label, "")).strip() and held.texts[row].strip()]
    if not bare:
        return []
    classifier = workspace.load_classifier(shown.name, collection.model)
    chosen = classifier.suggest(held.vectors[bare], count)
    decided = classifier.decide(held.vectors[bare][chosen])
    rows = [bare[int(place)] for place in chosen]
    every = zip(rows, decided.best, decided.probability, strict=True)
    return [(held.ids[row], held.texts[row], str(best), float(probability)) for row, best, probability in every]


def sorted_by_first(name: str, texts: list[str], models: Sequence[Any]) -> tuple[Sorted, ...]:
    """By the first served model whose vectors the classifier was fitted on; what the first one says where there is none."""
    usable = [model for model in models if not (model.is_reranker or model.is_classifier)]
    known = [model for model in usable if model.origin and model.origin.model == classify_show(name).model]
    return classify_texts(name, texts, model_of((known or usable)[0]))


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


async def build(view: View) -> None:
    sizes = await collection_sizes(view)
    if not sizes:
        no_collections(view)
        return
    page = ClassifyPage(view, sizes)
    view.begin(page.start)


PAGE = Page("classify", "/classify", "category", build)
