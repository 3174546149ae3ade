"""A map of topics on the page: its levels, list and messages; names and merges that stay, news since a date, exports."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import date
from functools import partial
from typing import Any

import numpy as np
from nicegui import ui
from nicegui.events import GenericEventArguments

from huiyi.console.frame import View, Words, heading, icon_button, menu
from huiyi.console.point_map import PointMap, Shown
from huiyi.console.work import Bars, download, figure
from huiyi.errors import InvalidInput
from huiyi.workspace.clustering import Topic
from huiyi.workspace.jobfile import Job
from huiyi.workspace.timelines import read_date
from huiyi.workspace.topic_maps import MapView, TopicMap
from huiyi.workspace.topics_report import COLORS

SHOWN = 24  # topics of the list, and so many more at a time
MESSAGES = 20
TAKEN_IN = 20  # topics that a person takes in at a glance


class Explorer:
    """A map that was found, at the level of the address, else where one begins."""

    def __init__(self, view: View, found: TopicMap, job: Job) -> None:
        self.view, self.found, self.job = view, found, job
        asked = view.query.get("level", "")
        self.level = int(asked) if asked.isdigit() and int(asked) < len(found.levels) else first_level(found, job)
        self.on: int | None = None
        self.since: date | None = read_date(view.query.get("since", "")) if found.days is not None else None
        self.limit, self.messages = SHOWN, MESSAGES
        self.chosen: set[int] = set()
        self.news: dict[int, tuple[int, int]] = {}
        self.turn = asyncio.Lock()

    def act(self, work: Callable[..., Any], *args: Any) -> Callable[[], Coroutine[Any, Any, None]]:
        """A handler of what changes the page: one change after the other, since each draws what the others draw."""
        return self.view.handler(self._in_turn, work, *args)

    async def _in_turn(self, work: Callable[..., Any], *args: Any) -> None:
        async with self.turn:
            made = work(*args)
            if made is not None:
                await made

    async def begin(self) -> None:
        self.shown: MapView = await self.view.run(self.found.view, self.level)
        topic = self.view.query.get("topic", "")
        self.on = int(topic) if topic.lstrip("-").isdigit() and any(int(topic) == one.topic for one in self.shown.topics) else None
        if self.since:
            self.news = await self.view.run(self.found.news, self.shown, self.since)
        self.build(await self.view.run(self.drawn))
        self.tell()
        self.list_topics()
        await self.show_detail()

    def build(self, drawn: Shown) -> None:
        view, t, found = self.view, self.view.t, self.found
        self.facts = ui.element("div").classes("grid small")
        with ui.element("div").classes("card stack"):
            with ui.element("div").classes("line"):
                if len(found.levels) > 1:
                    with ui.element("div").classes("fill"):
                        self.told = ui.label("").classes("small quiet")
                        slider = ui.slider(min=0, max=len(found.levels) - 1, step=1, value=len(found.levels) - 1 - self.level)
                        slider.props(f'snap markers aria-label="{t("granularity")}"').classes("granularity")
                        slider.on("change", lambda event: self.act(self.regroup, event.args)(), throttle=0.05)
                        with ui.element("div").classes("line apart small quiet"):
                            ui.label(t("broad"))
                            ui.label(t("narrow"))
                if found.days is not None:
                    since = ui.input(t("since"), value=self.since.isoformat() if self.since else "").props(
                        "outlined dense type=date clearable"
                    )
                    since.props("stack-label").on_value_change(lambda change: self.act(self.set_since, change.value)())
                with ui.button(t("export"), icon="download").props("flat"):
                    menu({t(f"export_{suffix}"): view.handler(self.export, suffix) for suffix in ("csv", "xlsx", "html")})
            self.map = PointMap(found.place, drawn, t("no_webgl")).classes("map")
            self.map.props["role"], self.map.props["aria-label"] = "img", t("map")
            self.map.on("point", self.open_point)
            self.map.on("over", self.tell_point)
            self.map.on("all", self.act(self.pick, None))
            self.said = ui.label(t("map_help")).classes("quiet small text picked")
        self.detail = ui.element("div").classes("stack").props('id="detail"')
        with ui.element("div").classes("card stack"):
            with ui.element("div").classes("line apart"):
                heading(t("list"))
                self.search = ui.input(t("search")).props("outlined dense clearable").classes("fill")
                self.search.on_value_change(lambda: self.act(self.list_topics)())
                self.merging = ui.button(t("merge"), icon="merge", on_click=self.act(self.merge)).props("flat")
            self.topics = ui.element("div").classes("grid")
            self.more = ui.button(t("more"), icon="expand_more", on_click=self.act(self.list_more)).props("flat")
        ui.label(t("how", about=found.about["about"], model=found.about["model"])).classes("quiet small")

    async def regroup(self, value: Any) -> None:
        """The slider's right end is the finest level."""
        self.level = len(self.found.levels) - 1 - int(value)
        self.shown = await self.view.run(self.found.view, self.level)
        self.on, self.limit, self.chosen = None, SHOWN, set()
        self.view.remember(level=self.level, topic=None)
        await self.refresh()

    async def set_since(self, value: str | None) -> None:
        self.since = read_date(value or "")
        self.view.remember(since=self.since)
        await self.refresh()

    async def refresh(self) -> None:
        """All that depends on level, names, merges, date or topic."""
        self.news = await self.view.run(self.found.news, self.shown, self.since) if self.since else {}
        self.map.show(await self.view.run(self.drawn))
        self.tell()
        self.list_topics()
        await self.show_detail()

    def tell(self) -> None:
        """The figures."""
        t, shown = self.view.t, self.shown
        self.facts.clear()
        with self.facts:
            figure(f"{len(self.found.where):,}", t("rows"))
            figure(f"{len(shown.topics):,}", t("topics"), "topics")
            figure(f"{shown.outliers:,}", t("outliers"))
            if self.since:
                late = sum(after for _, after in self.news.values())
                figure(f"{late:,}", t("rows_since", day=self.since.isoformat()))
                figure(f"{sum(is_new(news) for news in self.news.values()):,}", t("new_topics"), "new")
        if len(self.found.levels) > 1:
            own = "" if self.level == self.found.level else t("granularity_own", topics=f"{self.found.levels[self.found.level]:,}")
            self.told.set_text(t("granularity_is", topics=f"{len(shown.topics):,}") + own)

    def drawn(self) -> Shown:
        """What the map shows now; in a thread."""
        keep = None
        if self.since:
            rows = self.found.members(self.shown, None, self.since)
            keep = np.zeros(len(self.found.place), np.uint8)
            keep[self.found.where[rows]] = 1
        anchors = self.found.anchors(self.shown)
        names = [(topic.topic, topic.name, anchors[topic.topic]) for topic in self.shown.topics]
        return Shown(self.shown.labels, names, self.on, keep)

    async def pick(self, topic: int | None) -> None:
        self.on = None if topic == self.on else topic
        self.messages = MESSAGES
        self.view.remember(level=self.level, topic=self.on)
        self.map.pick(self.on)
        self.list_topics()
        await self.show_detail()
        if self.on is not None:
            self.view.client.run_javascript('document.getElementById("detail").scrollIntoView({behavior: "smooth", block: "nearest"})')

    async def open_point(self, event: GenericEventArguments) -> None:
        await self.tell_point(event)
        topic = event.args.get("topic")
        if isinstance(topic, int) and topic >= 0 and topic != self.on:
            await self.act(self.pick, topic)()

    async def tell_point(self, event: GenericEventArguments) -> None:
        point = event.args.get("point")
        if isinstance(point, int):
            try:
                self.said.set_text(await self.view.run(self.found.text, point))
            except Exception as error:  # noqa: BLE001
                self.view.fail(error)

    def list_topics(self) -> None:
        wanted = str(self.search.value or "").strip().casefold()
        found = [
            topic for topic in self.shown.topics if not wanted or wanted in " ".join((topic.name, *topic.words, *topic.examples)).casefold()
        ]
        if self.since:
            found.sort(key=lambda topic: (not is_new(self.news[topic.topic]), -self.news[topic.topic][1]))
        self.topics.clear()
        with self.topics:
            if not found:
                ui.label(self.view.t("none_found")).classes("quiet")
            for topic in found[: self.limit]:
                self.card(topic)
        self.more.set_visibility(len(found) > self.limit)
        self.merging.set_visibility(len(self.chosen) > 1)

    def list_more(self) -> None:
        self.limit += SHOWN
        self.list_topics()

    def card(self, topic: Topic) -> None:
        t = self.view.t
        with ui.element("section").classes("card stack tight" + (" picked-topic" if topic.topic == self.on else "")) as card:
            card.props["data-topic"] = str(topic.topic)
            with ui.element("div").classes("line tight nowrap"):
                chosen = ui.checkbox(value=topic.topic in self.chosen, on_change=partial(self.choose, topic.topic)).props("dense")
                chosen.props["aria-label"] = t("choose")
                name = ui.button(on_click=self.act(self.pick, topic.topic)).props("flat dense no-caps align=left")
                name.classes("fill topic-name")
                with name:
                    ui.element("span").classes("dot").style(f"background: {COLORS[topic.topic % len(COLORS)]}")
                    Words("span", topic.name).classes("strong text")
            ui.label(self.sized(topic)).classes("quiet small number")
            if self.since and is_new(self.news[topic.topic]):
                ui.label(t("new_since", day=self.since.isoformat())).classes("small strong good")
            ui.label(", ".join(topic.words)).classes("text small")
            self.spark(topic)
            for example in topic.examples[:2]:
                ui.label(" ".join(example.split())[:160]).classes("text small quiet")

    def sized(self, topic: Topic) -> str:
        t = self.view.t
        parts = [t("size", rows=f"{topic.rows:,}", share=f"{100 * topic.share:.1f}")]
        if self.since:
            parts.append(t("size_since", rows=f"{self.news[topic.topic][1]:,}"))
        elif topic.trend is not None:
            parts.append(t("trend", value=f"{topic.trend:.1f}"))
        if topic.stability is not None:
            parts.append(t("stability", value=f"{100 * topic.stability:.0f}"))
        return " · ".join(parts)

    def spark(self, topic: Topic) -> None:
        """Rows in every period."""
        if topic.per_period:
            t, periods = self.view.t, self.shown.periods
            label = t("per", most=f"{max(*topic.per_period, 1):,}", period=t(self.shown.period))
            Bars(label, COLORS[topic.topic % len(COLORS)]).show(topic.per_period, periods[0], label, periods[-1])

    def choose(self, topic: int, change: Any) -> None:
        (self.chosen.add if change.value else self.chosen.discard)(topic)
        self.merging.set_visibility(len(self.chosen) > 1)
        self.merging.set_text(self.view.t("merge_some", count=len(self.chosen)))

    async def merge(self) -> None:
        """Into the largest of them."""
        self.view.require_change()
        chosen = [topic.topic for topic in self.shown.topics if topic.topic in self.chosen]
        self.shown = await self.view.run(self.found.merge, self.level, chosen)
        self.chosen, self.on = set(), chosen[0]
        await self.refresh()

    async def rename(self, topic: int, name: str | None) -> None:
        self.view.require_change()
        if not (name or "").strip():
            raise InvalidInput(self.view.t("name_needed"))
        self.shown = await self.view.run(self.found.rename, self.level, topic, str(name))
        await self.refresh()
        with self.facts:
            ui.notify(self.view.t("renamed"))

    async def show_detail(self) -> None:
        """One topic and its messages."""
        self.detail.clear()
        if self.on is None:
            return
        t, view, topic = self.view.t, self.view, self.shown.topic(self.on)
        rows = await view.run(self.found.members, self.shown, topic.topic, self.since)
        records = await view.run(lambda: [self.found.message(int(row)) for row in rows[: self.messages]])
        with self.detail, ui.element("div").classes("card stack"):
            with ui.element("div").classes("line apart"):
                heading(topic.name).classes("text fill")
                icon_button("close", t("close"), self.act(self.pick, topic.topic))
            ui.label(self.sized(topic)).classes("quiet small number")
            ui.label(", ".join(topic.words)).classes("text")
            with ui.element("div").classes("line"):
                name = ui.input(t("name"), value=topic.name).props("outlined dense maxlength=80").classes("fill")
                rename = self.act(lambda: self.rename(topic.topic, name.value))
                name.on("keydown.enter", rename)
                ui.button(t("rename"), icon="edit", on_click=rename).props("flat")
            heading(t("messages", shown=f"{len(records):,}", rows=f"{len(rows):,}"), 3)
            with ui.element("div").classes("stack tight"):
                for text, others in records:
                    with ui.element("div").classes("message"):
                        ui.label(text).classes("text")
                        if others:
                            ui.label(" · ".join(f"{name}: {value[:60]}" for name, value in others)).classes("quiet small text")
            if len(rows) > len(records):
                ui.button(t("more"), icon="expand_more", on_click=self.act(self.more_messages)).props("flat")

    async def more_messages(self) -> None:
        self.messages += MESSAGES
        await self.show_detail()

    async def export(self, suffix: str) -> None:
        name = f"topics-{self.job.collection or self.job.id}.{suffix}"
        await download(self.view, name, lambda path: self.found.export(self.shown, path, self.view.language))


def is_new(news: tuple[int, int]) -> bool:
    return news[0] == 0 and news[1] > 0


def first_level(found: TopicMap, job: Job) -> int:
    """The search's own where somebody said how finely; else the finest, from that one on, whose topics a person can take in."""
    if job.arguments.get("n_topics") or job.arguments.get("granularity"):
        return found.level
    coarser = range(found.level, len(found.levels))
    return next((level for level in coarser if found.levels[level] <= TAKEN_IN), coarser[-1])
