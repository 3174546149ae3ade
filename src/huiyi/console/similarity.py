"""The page Similarity: two texts with a verdict, or a short list as a heat map, and what the guard says of them."""

from nicegui import ui

from huiyi import settings, workspace
from huiyi.console.frame import Page, View, Words, heading
from huiyi.errors import InvalidInput
from huiyi.serving import Served
from huiyi.workspace import model_of

MOST = workspace.MATRIX_TEXTS
COLOURS = {"same": "good", "different": "bad", "apart": "warn"}
MOST_DIFFERENCES = 12
COMMAND = "huiyi evaluate pairs pairs.csv --save-calibration {file}"


class Comparison:
    """The form and its result."""

    def __init__(self, view: View) -> None:
        self.view, t = view, view.t
        self.mode = "list" if view.query.get("mode") == "list" else "two"
        self.models = {model.name: model for model in view.services.models}
        chosen = view.query.get("model", "")
        with ui.element("div").classes("card stack"):
            with ui.element("div").classes("line"):
                modes = ui.toggle({"two": t("two"), "list": t("list")}, value=self.mode, on_change=lambda change: self.switch(change.value))
                modes.props("unelevated no-caps")
                if len(self.models) > 1:
                    names = list(self.models)
                    self.model = ui.select(names, value=chosen if chosen in names else names[0], label=t("model")).props("outlined dense")
                    self.model.classes("fill")
            self.fields = ui.element("div").classes("stack")
            with ui.element("div").classes("line"):
                self.button = ui.button(t("compare"), icon="compare_arrows", on_click=view.handler(self.compare)).props("unelevated")
                ui.button(t("example"), on_click=view.handler(self.take_example)).props("flat")
        self.result = ui.element("div").classes("stack").props("aria-live=polite")
        self.show_fields(view.query.get("a", ""), view.query.get("b", ""), view.query.get("texts", ""))

    def switch(self, mode: str) -> None:
        self.mode = mode
        self.view.remember(mode=mode if mode == "list" else None, a=None, b=None, texts=None)
        self.show_fields()

    def show_fields(self, a: str = "", b: str = "", texts: str = "") -> None:
        t = self.view.t
        self.fields.clear()
        self.result.clear()
        with self.fields:
            if self.mode == "two":
                with ui.element("div").classes("grid two"):
                    self.a, self.b = (_area(t(label), text) for label, text in (("first", a), ("second", b)))
            else:
                self.texts = _area(t("texts", most=MOST), texts)
        with self.result, ui.element("div").classes("empty"):
            ui.label(t(f"empty_{self.mode}", most=MOST))

    async def take_example(self) -> None:
        t = self.view.t
        self.show_fields(t("example_a"), t("example_b"), t("example_list"))
        await self.compare()

    def given(self) -> list[str]:
        if self.mode == "two":
            return [self.a.value or "", self.b.value or ""]
        return [line.strip() for line in (self.texts.value or "").splitlines() if line.strip()]

    async def compare(self) -> None:
        texts = self.given()
        if not all(text.strip() for text in texts):
            raise InvalidInput(self.view.t("empty_two"))
        served = self.models[self.model.value] if len(self.models) > 1 else next(iter(self.models.values()))
        name = served.name if len(self.models) > 1 else None
        if self.mode == "two":
            self.view.remember(a=texts[0], b=texts[1], model=name)
        else:
            self.view.remember(texts="\n".join(texts), model=name)
        self.button.props("loading")
        try:
            matrix = await self.view.run(compared, texts, served)
        finally:
            self.button.props(remove="loading")
        self.result.clear()
        with self.result:
            if self.mode == "two":
                self.show_verdict(matrix)
            else:
                self.show_heat(matrix)

    def show_verdict(self, matrix: workspace.Matrix) -> None:
        t = self.view.t
        differences, score = matrix.differences, float(matrix.scores[0, 1])
        probability = None if matrix.probabilities is None else float(matrix.probabilities[0, 1])
        is_near = None if matrix.threshold is None else score >= matrix.threshold
        verdict = "undecided" if is_near is None else "different" if not is_near else "apart" if differences else "same"
        if verdict == "undecided" and differences:
            verdict = "apart"
        with ui.element("div").classes("card stack"):
            heading(t(verdict)).classes({"same": "good", "different": "bad", "apart": "warn"}.get(verdict, "")).props(
                f"data-verdict={verdict}"
            )
            with ui.element("div").classes("grid"):
                figure(f"{score:.3f}", t("cosine" if matrix.measure == "cosine" else "log_odds"))
                if probability is not None:
                    figure(f"{100 * probability:.0f} %", t("probability"))
            if matrix.threshold is not None:
                ui.label(t("threshold", threshold=f"{matrix.threshold:.3f}")).classes("quiet")
            self.show_differences(matrix, pairs=False)
        if matrix.threshold is None:
            command = COMMAND.format(file=settings.home() / "calibrations" / "pairs.json")
            ui.label(t("learn", command=command)).classes("quiet small")

    def show_differences(self, matrix: workspace.Matrix, pairs: bool) -> None:
        t = self.view.t
        heading(t("differences"), 3)
        if not matrix.differences:
            ui.label(t("no_differences")).classes("quiet")
        for found in matrix.differences[:MOST_DIFFERENCES]:
            with ui.element("div").classes("line tight"):
                ui.icon("warning").classes("warn").props("aria-hidden=true")
                if pairs:
                    ui.label(t("pair", i=found.first + 1, j=found.second + 1)).classes("quiet")
                ui.label(t(f"differ_{found.kind}"))
                ui.label(f"{found.left or '–'} / {found.right or '–'}").classes("text strong")
        if (more := len(matrix.differences) - MOST_DIFFERENCES) > 0:
            ui.label(t("more_differences", more=more)).classes("quiet")

    def show_heat(self, matrix: workspace.Matrix) -> None:
        t = self.view.t
        measure = t("cosine" if matrix.measure == "cosine" else "log_odds")
        with ui.element("div").classes("card stack"):
            heading(t("heat", measure=measure))
            with (
                ui.element("div").classes("scroll").props("tabindex=0 role=group").style("max-height: 75vh"),
                ui.element("table").classes("plain"),
            ):
                with ui.element("tr"):
                    Words("th", "")
                    Words("th", "")
                    for at in range(len(matrix.texts)):
                        Words("th", str(at + 1)).props("scope=col").classes("number")
                for at, text in enumerate(matrix.texts):
                    with ui.element("tr"):
                        Words("th", str(at + 1)).props("scope=row").classes("number")
                        Words("td", text).classes("text").style("min-width: 12rem")
                        for score in matrix.scores[at]:
                            strength = max(0.0, min(1.0, float(score)))
                            Words("td", f"{score:.2f}").classes("number heat").style(f"--heat: {100 * strength:.0f}%")
            self.show_differences(matrix, pairs=True)


def compared(texts: list[str], served: Served) -> workspace.Matrix:
    model = model_of(served)
    return workspace.similarity(texts, lambda: model, calibrated=workspace.kept_calibration(model))


def figure(number: str, unit: str) -> None:
    with ui.element("div"):
        ui.label(number).classes("figure")
        ui.label(unit).classes("quiet small")


def _area(label: str, text: str) -> ui.textarea:
    return ui.textarea(label, value=text).props("outlined autogrow maxlength=100000").classes("fill")


async def build(view: View) -> None:
    comparison = Comparison(view)
    if any(comparison.given()):
        view.begin(comparison.compare)


PAGE = Page("similarity", "/similarity", "compare_arrows", build)
