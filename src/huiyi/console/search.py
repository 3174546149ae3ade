"""The page Search: a collection by meaning, by words, by both, or both side by side; filters, marked words, and why a record was found."""

import json
import re
from collections import Counter
from functools import partial
from typing import Any

from nicegui import ui

from huiyi import workspace
from huiyi.console.frame import Page, View, Words, heading, link_button
from huiyi.console.words import Language
from huiyi.errors import InvalidInput
from huiyi.workspace import Collection

MODES = ("hybrid", "semantic", "keyword", "compare")
STEP, MOST_SHOWN = 10, 200
LOOKED_AT = 1_000  # records from which the choices of filters are made
MOST_VALUES, MOST_FIELDS = 24, 6
MOST_TOLD, LONG = 12, 40  # fields of a hit; characters of a value that is told as a sentence
EXAMPLES = 3
OF_LANGUAGE: dict[Language, re.Pattern[str]] = {"en": re.compile(r"\A[ -~]*\Z"), "zh": re.compile("[一-鿿]")}
EXAMPLE = '{"price": {"$lt": 10}}'


class Form:
    """names: of collections. choices: what filters offer, a field each: its values."""

    def __init__(self, view: View, names: list[str], chosen: str, choices: dict[str, list[str]], count: int, examples: list[str]) -> None:
        self.view, self.t, self.name, self.count, self.examples = view, view.t, chosen, count, examples
        self.shown = STEP
        t, query = self.t, view.query
        mode = query.get("mode", "hybrid")
        filters = _filter_of(query.get("filter", ""))
        with ui.element("div").classes("card stack"):
            with ui.element("div").classes("line"):
                self.query = ui.input(t("query"), value=query.get("q", "")).props("outlined clearable maxlength=10000 type=search")
                self.query.classes("fill").on("keydown.enter", view.handler(self.anew))
                self.button = ui.button(t("search"), icon="search", on_click=view.handler(self.anew)).props("unelevated")
            with ui.element("div").classes("line"):
                picked = ui.select(names, value=chosen, label=t("collection")).props("outlined dense options-dense")
                picked.classes("fill").style("max-width: 22rem")
                picked.on_value_change(lambda change: ui.navigate.to(f"/search?collection={change.value}"))
                self.mode = ui.toggle({each: t(f"mode_{each}") for each in MODES}, value=mode if mode in MODES else "hybrid")
                self.mode.props(f'unelevated no-caps aria-label="{t("mode")}"').classes("wraps").on_value_change(view.handler(self.anew))
            with ui.expansion(t("filters"), icon="filter_list", value=bool(filters)).props("dense").classes("filters"):
                self.fields: dict[str, ui.select] = {}
                with ui.element("div").classes("grid"):
                    for field, values in choices.items():
                        given = filters.pop(field, {}).get("$in", []) if isinstance(filters.get(field), dict) else []
                        known = [*values, *(str(value) for value in given if value not in values)]
                        self.fields[field] = ui.select(known, value=given, label=field, multiple=True).props("outlined dense use-chips")
                        self.fields[field].on_value_change(view.handler(self.anew))
                rest = json.dumps(filters, ensure_ascii=False) if filters else ""
                self.extra = ui.input(t("filter_json"), value=rest).props("outlined dense").classes("q-mt-sm")
                self.extra.on("keydown.enter", view.handler(self.anew))
                ui.label(t("filter_hint", example=EXAMPLE)).classes("quiet small")
        self.result = ui.element("div").classes("stack").props("aria-live=polite")
        self.show_start()

    def show_start(self) -> None:
        t = self.t
        self.result.clear()
        with self.result, ui.element("div").classes("empty"):
            ui.label(t("ask", count=f"{self.count:,}", name=self.name))
            if self.examples:
                ui.label(t("ask_like"))
                with ui.element("div").classes("stack tight"):
                    for example in self.examples:
                        ui.button(example, on_click=self.view.handler(self.take, example)).props("flat").classes("text")

    async def take(self, example: str) -> None:
        self.query.value = example
        await self.anew()

    async def anew(self) -> None:
        self.shown = STEP
        await self.search()

    async def show_more(self) -> None:
        self.shown = min(self.shown + STEP, MOST_SHOWN)
        await self.search()

    def filter(self) -> dict[str, Any] | None:
        asked: dict[str, Any] = {field: {"$in": list(select.value)} for field, select in self.fields.items() if select.value}
        if (self.extra.value or "").strip():
            try:
                extra = json.loads(self.extra.value)
            except ValueError as error:
                raise InvalidInput(self.t("filter_wrong", why=error)) from None
            if not isinstance(extra, dict):
                raise InvalidInput(self.t("filter_wrong", why=type(extra).__name__))
            asked = {"$and": [asked, extra]} if asked and extra else asked or extra
        return asked or None

    async def search(self) -> None:
        query, mode, filter = (self.query.value or "").strip(), self.mode.value, self.filter()
        told = json.dumps(filter, ensure_ascii=False) if filter else None
        self.view.remember(collection=self.name, q=query, mode=mode if mode != "hybrid" else None, filter=told)
        if not query:
            self.show_start()
            return
        self.button.props("loading")
        modes = ("keyword", "semantic") if mode == "compare" else (mode,)
        try:
            found = [await self.view.run(self.found, query, each, filter) for each in modes]
        finally:
            self.button.props(remove="loading")
        self.result.clear()
        with self.result:
            if mode == "compare":
                self.show_beside(found[0].hits[0], found[1].hits[0])
            else:
                self.show_hits(found[0])

    def found(self, query: str, mode: Any, filter: dict[str, Any] | None) -> workspace.Searched:
        def work(collection: Collection) -> workspace.Searched:
            return workspace.search_in(collection, [query], k=self.shown, mode=mode, filter=filter)

        return self.view.services.collections.run(self.name, work)

    def show_hits(self, found: workspace.Searched) -> None:
        t, hits = self.t, found.hits[0]
        if not hits:
            with ui.element("div").classes("empty"):
                ui.label(t("nothing"))
            return
        ui.label(t("found", count=len(hits), ms=f"{1000 * found.seconds:,.0f}")).classes("quiet number")
        for rank, hit in enumerate(hits, 1):
            self.show_hit(rank, hit, found.mode)
        if len(hits) == self.shown < MOST_SHOWN:
            ui.button(self.t("more"), icon="expand_more", on_click=self.view.handler(self.show_more)).props("flat")

    def show_beside(self, words: list[Any], meaning: list[Any]) -> None:
        t = self.t
        both = {hit.id for hit in words} & {hit.id for hit in meaning}
        with ui.element("div").classes("grid two"):
            for title, hits, mode in (("by_words", words, "keyword"), ("by_meaning", meaning, "semantic")):
                with ui.element("section").classes("stack"):
                    heading(t(title))
                    if not hits:
                        ui.label(t("nothing")).classes("quiet")
                    for rank, hit in enumerate(hits, 1):
                        self.show_hit(rank, hit, mode, t("in_both") if hit.id in both else t("only_here"))

    def show_hit(self, rank: int, hit: Any, mode: str, remark: str = "") -> None:
        t = self.t
        score = {"semantic": "cosine", "keyword": "bm25", "hybrid": "fused"}[mode]
        with ui.element("article").classes("card stack tight").props("data-hit"):
            with ui.element("div").classes("line apart"):
                ui.label(f"{rank}.").classes("strong number")
                with ui.element("div").classes("line"):
                    if remark:
                        ui.label(remark).classes("quiet small")
                    ui.label(t(score, score=f"{hit.score:.3f}" if mode != "keyword" else f"{hit.score:.1f}")).classes("quiet small number")
            marked(hit.text, hit.spans)
            told = {field: _plain(value) for field, value in list(hit.metadata.items())[:MOST_TOLD]}
            for field, value in told.items():
                if len(value) > LONG:
                    ui.label(f"{field}: {value}").classes("text quiet")
            with ui.element("div").classes("line tight"):
                for field, value in told.items():
                    if len(value) <= LONG:
                        Words("span", f"{field}: {value}").classes("tag")
            with ui.expansion(t("why")).props("dense").classes("small"):
                for sentence in self.reasons(hit, mode):
                    ui.label(sentence)

    def reasons(self, hit: Any, mode: str) -> list[str]:
        t = self.t
        words = ", ".join(dict.fromkeys(hit.text[start:end] for start, end in hit.spans)) or "–"
        if mode == "semantic":
            return [t("why_cosine", score=f"{hit.score:.3f}"), *([] if hit.spans else [t("why_no_words")])]
        if mode == "keyword":
            return [t("why_words_alone", score=f"{hit.score:.1f}", words=words)]
        near = {"score": f"{hit.cosine:.3f}"}
        meaning = t("why_meaning", rank=hit.semantic_rank, **near) if hit.semantic_rank else t("why_meaning_far", **near)
        if not hit.bm25:
            return [meaning, t("why_no_words")]
        named = {"score": f"{hit.bm25:.1f}", "words": words}
        return [meaning, t("why_words", rank=hit.keyword_rank, **named) if hit.keyword_rank else t("why_words_alone", **named)]


def marked(text: str, spans: tuple[tuple[int, int], ...]) -> None:
    """A record's text, with the words that were asked for marked."""
    with ui.element("div").classes("text"):
        at = 0
        for start, end in spans:
            if start < at:
                continue
            Words("span", text[at:start])
            Words("mark", text[start:end])
            at = end
        Words("span", text[at:])


def _filter_of(given: str) -> dict[str, Any]:
    """What an address says, as far as it can be shown."""
    try:
        read = json.loads(given)
    except ValueError:
        return {}
    if isinstance(read, dict) and list(read) == ["$and"] and all(isinstance(part, dict) for part in read["$and"]):
        return {field: value for part in read["$and"] for field, value in part.items()}
    return read if isinstance(read, dict) else {}


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def overview(collection: Collection, language: Language) -> tuple[int, dict[str, list[str]], list[str]]:
    """How many records there are; for each field with few values in the first ones these values; a few texts to begin with, in the
    visitor's language where there are enough."""
    records = collection.page(LOOKED_AT).records
    seen: dict[str, Counter[str]] = {}
    for record in records:
        for field, value in record.metadata.items():
            for each in value if isinstance(value, list | tuple) else [value]:
                if isinstance(each, str):
                    seen.setdefault(field, Counter())[each] += 1
    few = {field: sorted(values) for field, values in seen.items() if 1 < len(values) <= MOST_VALUES}
    short = [record.text for record in records if len(record.text) < 80]
    own = [text for text in short if OF_LANGUAGE[language].search(text)]
    short = own if len(own) >= EXAMPLES else short
    return len(collection), dict(list(few.items())[:MOST_FIELDS]), short[:: max(1, len(short) // EXAMPLES)][:EXAMPLES]


async def build(view: View) -> None:
    t, services = view.t, view.services
    names = [info.name for info in (await view.run(workspace.collection_list)).collections if info.problem is None]
    if not names:
        with ui.element("div").classes("empty card"):
            ui.label(t("no_collections"))
            link_button(t("make_collection"), "/data", "upload_file")
        return
    chosen = view.query.get("collection", "")
    chosen = chosen if chosen in names else names[0]
    count, choices, examples = await view.run(services.collections.run, chosen, partial(overview, language=view.language))
    form = Form(view, names, chosen, choices, count, examples)
    if form.query.value:
        view.begin(form.anew)


PAGE = Page("search", "/search", "search", build)
