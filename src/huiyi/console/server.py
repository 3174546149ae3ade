"""The page Server: what goes through it now, which models it serves, whether their vectors are right, and a request for programs."""

from collections import deque
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from nicegui import ui

from huiyi import workspace
from huiyi.console.frame import Page, View, Words, heading
from huiyi.console.work import Bars, retire_adapter, serve_adapter
from huiyi.serving import Served
from huiyi.workspace.training_runs import training_runs

LOOK_S = 2.0
WINDOW_S = 60.0
KEPT = 60  # looks, two minutes of them
COLOR = "#2f86d6"
EXAMPLES = {
    "curl": """curl {url}/v1/embeddings -H 'Content-Type: application/json'{curl_key} \\
  -d '{{"model": "{model}", "input": "Where is my parcel?"}}'""",
    "Python": """# pip install openai
{python_import}from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key={python_key})
vector = client.embeddings.create(model="{model}", input="Where is my parcel?").data[0].embedding""",
    "JavaScript": """const answer = await fetch("{url}/v1/embeddings", {{
  method: "POST",
  headers: {{"Content-Type": "application/json"{js_key}}},
  body: JSON.stringify({{model: "{model}", input: "Where is my parcel?"}}),
}});
const vector = (await answer.json()).data[0].embedding;""",
}


@dataclass(frozen=True)
class Counts:
    """Of all models together, at one moment."""

    at: float
    texts: int
    tokens: int
    waiting: int
    running: int
    hits: int
    misses: int
    cache_bytes: int


class Live:
    """Figures that are looked at again every two seconds."""

    def __init__(self, view: View) -> None:
        self.view, self.t = view, view.t
        self.looks: deque[Counts] = deque(maxlen=KEPT)
        self.numbers: dict[str, tuple[ui.label, ui.label]] = {}
        with ui.element("section").classes("card stack"):
            heading(self.t("now"))
            with ui.element("div").classes("grid small"):
                for name in ("requests", "half", "p95", "texts_per_s", "tokens_per_s", "waiting", "cached"):
                    with ui.element("div"):
                        self.numbers[name] = ui.label("–").classes("figure"), ui.label("").classes("quiet small")
            self.silence = ui.label(self.t("no_requests", window=f"{WINDOW_S:.0f}")).classes("quiet")
            self.bars = Bars(self.t("over_time"), COLOR)
        ui.timer(LOOK_S, self.look, immediate=True)

    async def look(self) -> None:
        self.looks.append(await self.view.run(counted, list(self.view.services.models)))
        now, t = self.looks[-1], self.t
        before = self.looks[-2] if len(self.looks) > 1 else now
        seconds = max(now.at - before.at, 1e-9)
        took = np.array([each for ended, each in list(self.view.services.latest) if ended > now.at - WINDOW_S])
        self.silence.set_visibility(not len(took))
        self.show("requests", f"{len(took) / WINDOW_S:.1f}", t("requests", window=f"{WINDOW_S:.0f}"))
        for name, percent in (("half", 50), ("p95", 95)):
            self.show(name, f"{1000 * np.percentile(took, percent):,.0f}" if len(took) else "–", t(name))
        self.show("texts_per_s", f"{(now.texts - before.texts) / seconds:,.0f}", t("texts_per_s"))
        self.show("tokens_per_s", f"{(now.tokens - before.tokens) / seconds:,.0f}", t("tokens_per_s"))
        self.show("waiting", f"{now.waiting:,}", t("waiting", running=f"{now.running:,}"))
        asked = now.hits + now.misses
        self.show("cached", f"{100 * now.hits / asked:.0f}" if asked else "–", t("cached", mb=f"{now.cache_bytes / 2**20:,.1f}"))
        pairs = zip(list(self.looks)[1:], self.looks, strict=False)
        rates = [(after.tokens - first.tokens) / max(after.at - first.at, 1e-9) for after, first in pairs]
        most = t("most_tokens", most=f"{max(rates, default=0):,.0f}")
        self.bars.show([0.0] * (KEPT - len(rates)) + rates, t("ago", seconds=f"{LOOK_S * KEPT:.0f}"), most, t("just_now"))

    def show(self, name: str, number: str, unit: str) -> None:
        figure, label = self.numbers[name]
        figure.set_text(number)
        label.set_text(unit)


def counted(models: list[Served]) -> Counts:
    engines = [model.stats() for model in models if model.base is None]  # an adapter shares the engine of its base
    caches = [stats for model in models if (stats := model.cache_stats())]
    return Counts(
        perf_counter(),
        sum(each.texts for each in engines),
        sum(each.tokens for each in engines),
        sum(each.waiting_texts for each in engines),
        sum(each.running_texts for each in engines),
        sum(each.hits for each in caches),
        sum(each.misses for each in caches),
        max((each.bytes for each in caches), default=0),
    )


class Models:
    """What is served, a look at whether it is right, and adapters that come and go."""

    def __init__(self, view: View) -> None:
        self.view, self.t = view, view.t
        with ui.element("section").classes("stack"):
            heading(self.t("models"))
            self.place = ui.element("div").classes("grid two")
            self.coming = ui.element("div")

    async def start(self) -> None:
        found = await self.view.run(training_runs)
        self.place.clear()
        with self.place:
            for model in self.view.services.models:
                self.show(model)
        taken = {name for model in self.view.services.models for name in (model.name, *model.aliases)}
        names = [run.name for run in found.runs if run.finished and run.name not in taken]
        self.coming.clear()
        if not (names and self.view.may_change):
            return
        with self.coming, ui.element("div").classes("card line"):
            chosen = ui.select(names, value=names[0], label=self.t("adapter")).props("outlined dense").classes("fill")
            ui.button(self.t("load"), icon="play_arrow", on_click=self.view.handler(self.load, chosen)).props("flat")

    async def load(self, chosen: ui.select) -> None:
        await serve_adapter(self.view, str(chosen.value))
        await self.start()

    async def unload(self, model: Served) -> None:
        retire_adapter(self.view, model)
        await self.start()

    def show(self, model: Served) -> None:
        t = self.t
        with ui.element("div").classes("card stack tight").props("data-model"):
            heading(model.name, 3)
            tokens = f"{model.max_tokens:,}"
            told = t("judges", tokens=tokens) if model.is_classifier else t("vectors", dim=f"{model.dim:,}", tokens=tokens)
            ui.label(told).classes("number")
            if model.base:
                ui.label(t("adapter_of", base=model.base)).classes("quiet")
            elif precision := getattr(model.encoder, "precision", ""):
                ui.label(t("precision", precision=precision)).classes("quiet")
            if model.aliases:
                ui.label(t("also", names=", ".join(model.aliases))).classes("quiet")
            with ui.element("div").classes("line"):
                if model.base is None and not model.is_classifier:
                    ui.button(t("check"), icon="fact_check", on_click=self.view.handler(self.check, model)).props("flat dense")
                if model.base is not None and self.view.may_change:
                    ui.button(t("unload"), icon="stop", on_click=self.view.handler(self.unload, model)).props("flat dense")

    async def check(self, model: Served) -> None:
        t = self.t
        checks = await self.view.run(workspace.check_served, model)
        ok = all(check.ok is not False for check in checks)
        with ui.dialog(value=True), ui.element("div").classes("card stack").style("max-width: min(44rem, 92vw)"):
            heading(t("check_about", name=model.name))
            ui.label(t("check_good") if ok else t("check_bad")).classes("strong " + ("good" if ok else "bad"))
            with ui.element("div").classes("scroll"), ui.element("table").classes("plain"):
                for check in checks:
                    word = {True: "passed", False: "failed", None: "skipped"}[check.ok]
                    with ui.element("tr"):
                        Words("td", t(word)).classes({True: "good", False: "bad", None: "quiet"}[check.ok])
                        Words("td", check.name)
                        value = "" if check.value is None else f"{check.value:.6g} {check.limit}"
                        Words("td", f"{value} {check.note}".strip()).classes("number quiet")


def show_requests(view: View) -> None:
    """The same request in three languages, for the first model that makes vectors."""
    t, request = view.t, view.client.request
    model = next((each.name for each in view.services.models if not each.is_classifier), view.services.models[0].name)
    values = {
        "url": f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}",
        "model": model,
        "curl_key": ' -H "Authorization: Bearer $HUIYI_API_KEY"' if view.logged_in else "",
        "python_import": "import os\n" if view.logged_in else "",
        "python_key": 'os.environ["HUIYI_API_KEY"]' if view.logged_in else '"none"',
        "js_key": ', "Authorization": `Bearer ${process.env.HUIYI_API_KEY}`' if view.logged_in else "",
    }
    with ui.element("section").classes("card stack"):
        heading(t("ask"))
        if view.logged_in:
            ui.label(t("key_needed")).classes("quiet")
        for name, example in EXAMPLES.items():
            text = example.format(**values)
            with ui.element("div").classes("stack tight"):
                with ui.element("div").classes("line apart"):
                    heading(name, 3)
                    ui.button(t("copy"), icon="content_copy", on_click=view.handler(copied, view, text)).props("flat dense")
                Words("pre", text).props("tabindex=0")


def copied(view: View, text: str) -> None:
    ui.clipboard.write(text)
    ui.notify(view.t("copied"))


async def build(view: View) -> None:
    Live(view)
    await Models(view).start()
    show_requests(view)


PAGE = Page("server", "/server", "dns", build)
