"""What all pages share: navigation, language and colours, errors as sentences, addresses that bring back what a page showed.

A page is a `Page`: a name (of its texts/NAME.toml, whose `title` stands in the navigation), a path, an icon, and `build(view)`, which puts
elements on the screen. Everything it needs comes from the `View`. Records are shown as texts (labels), never as HTML.
"""

import asyncio
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any, Literal, ParamSpec, TypeVar
from urllib.parse import urlencode

from nicegui import app, ui
from nicegui.language import Language as HtmlLanguage
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from huiyi.console.words import FRAME, LANGUAGES, Language, accepted, speaker
from huiyi.errors import HuiyiError
from huiyi.serving import Served
from huiyi.workspace import Jobs, OpenCollections

P = ParamSpec("P")
T = TypeVar("T")
Theme = Literal["auto", "light", "dark"]
THEMES: dict[Theme, tuple[bool | None, str]] = {"auto": (None, "contrast"), "light": (False, "light_mode"), "dark": (True, "dark_mode")}
RECONNECT_S = 15.0
BUILD_S = 60.0  # for a page to be made, on a machine that has much else to do
log = logging.getLogger("huiyi.console")
threads = ThreadPoolExecutor(16, thread_name_prefix="huiyi-console")


@dataclass(frozen=True)
class Services:
    """What the server gives. models: those that are served now; the list changes while the server runs.

    latest: requests to the API, the last ones: when each ended (perf_counter) and its seconds.
    """

    models: Sequence[Served]
    collections: OpenCollections
    jobs: Jobs
    latest: Sequence[tuple[float, float]] = ()


class Forbidden(HuiyiError):
    status = 403
    code = "forbidden"


class View:
    """One page as one visitor sees it. query: of the address. t: its texts. may_change: the visitor may do more than read."""

    def __init__(self, page: "Page", pages: "Sequence[Page]", services: Services, request: Request) -> None:
        self.page, self.pages, self.services = page, pages, services
        self.language: Language = _language()
        self.t = speaker(page.name, self.language)
        self.query: Mapping[str, str] = dict(request.query_params)
        visitor = request.scope.get("state", {}).get("console", {})
        self.may_change: bool = visitor.get("may_change", False)
        self.logged_in: bool = visitor.get("logged_in", False)
        self.client = ui.context.client
        self._shown = dict(self.query)
        self._problems: ui.element | None = None
        self._main: ui.element | None = None
        self._first: Callable[[], Any] = lambda: None
        self._has_started, self._ready = False, asyncio.Event()

    def begin(self, work: Callable[[], Any]) -> None:
        """`work`, once the page is in the browser; whatever the visitor does meanwhile waits for it."""
        self._first = work

    async def run(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """`work` in a thread: whatever reads files, waits or computes. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(threads, partial(work, *args, **options))

    def remember(self, **shown: object) -> None:
        """Put what is shown into the address, so that a reload or a link brings it back. None and empty take a name out."""
        for name, value in shown.items():
            self._shown.pop(name, None)
            if value not in (None, "", (), []):
                self._shown[name] = str(value)
        address = self.page.path + (f"?{urlencode(self._shown)}" if self._shown else "")
        self.client.run_javascript(f"history.replaceState(history.state, '', {json.dumps(address)})")

    def handler(self, work: Callable[..., Any], *args: Any, timed: bool = False) -> Callable[[], Coroutine[Any, Any, None]]:
        """For events: `work(*args)`, whose errors become sentences on the page; while it runs, a second event does nothing.

        timed: for timers, which take no sentence off the page.
        """
        running = False

        async def handle() -> None:
            nonlocal running
            if running:
                return
            running = True
            try:
                await self._ready.wait()
                if not timed:
                    self.clear_problem()
                await _awaited(work(*args))
            except Exception as error:  # noqa: BLE001  whatever it is, the visitor is told
                self.fail(error)
            finally:
                running = False

        return handle

    def fail(self, error: Exception) -> None:
        """Show why something did not work, and the way out."""
        if self._problems is None or self.client.is_deleted:
            return
        headline, sentence = told(error, self.t)
        self._problems.clear()
        with self._problems, ui.element("div").classes("card problem stack tight").props("role=alert"):
            with ui.element("div").classes("line apart"):
                ui.label(headline).classes("strong bad")
                icon_button("close", self.t("close"), self.clear_problem)
            ui.label(sentence).classes("text")

    def clear_problem(self) -> None:
        if self._problems is not None:
            self._problems.clear()

    def require_change(self) -> None:
        """Raises Forbidden for a visitor who may read only: first line of whatever changes something."""
        if not self.may_change:
            raise Forbidden(self.t("read_only"))

    async def build(self) -> None:
        """The whole page: frame and content."""
        _furniture(self)
        ui.page_title(f"{self.t('title')} · {self.t('brand')}")
        with ui.element("div").classes("stack").props('id="content" tabindex="-1" aria-busy="true"') as main:
            self._main = main
            with ui.element("div").classes("stack tight"):
                heading(self.t("title"), 1)
                ui.label(self.t("about")).classes("quiet")
            self._problems = ui.element("div")
            with ui.element("div").classes("stack") as content:
                pass
        try:
            with content:
                await _awaited(self.page.build(self))
        except Exception as error:  # noqa: BLE001
            with main:
                self.fail(error)
                link_button(self.t("reload"), self.page.path, "refresh")
        self.client.on_connect(self._start)

    async def _start(self) -> None:
        """At the first connection only: a browser that was away for a moment finds the page as it left it."""
        if self._has_started:
            return
        self._has_started = True
        try:
            await _awaited(self._first())
        except Exception as error:  # noqa: BLE001  told on the page
            self.fail(error)
        self._ready.set()
        if self._main is not None:
            self._main.props(remove="aria-busy")


@dataclass(frozen=True)
class Page:
    """build: puts the page's elements where it stands; a plain or an async function. hidden: not in the navigation."""

    name: str
    path: str
    icon: str
    build: Callable[[View], Awaitable[None] | None]


class _Route(ui.page):
    """A page in the visitor's own language and colours from its first byte."""

    def resolve_language(self) -> HtmlLanguage | None:
        return LANGUAGES[_language()][1]  # type: ignore[return-value]

    def resolve_dark(self) -> bool | None:
        return THEMES[_theme()][0]


def mount(shell: Any, secret: str, services: Services, pages: Sequence[Page]) -> frozenset[str]:
    """Routes of all pages in `shell`; their paths."""
    for page in pages:
        _Route(page.path, response_timeout=BUILD_S)(_builder(page, pages, services))
    _Route("/{path:path}")(_lost(pages, services))
    app.on_page_exception(_broken)
    app.config.quasar_config["loadingBar"]["skipHijack"] = True  # a bar without a name over every upload
    app.colors(primary="#0b62b8", secondary="#566172", positive="#1a6e35", negative="#b3261e", warning="#875300", info="#0b62b8")
    style = files("huiyi.console").joinpath("console.css").read_text("utf-8")
    ui.add_head_html(f"<style>{style}</style>", shared=True)
    shell.add_route("/", _to_first(pages[0].path))
    ui.run_with(
        shell,
        title="huiyi",
        favicon="/favicon.ico",
        reconnect_timeout=RECONNECT_S,
        binding_refresh_interval=None,
        tailwind=False,
        storage_secret=secret,
        session_middleware_kwargs={"session_cookie": "huiyi_visitor", "same_site": "lax"},
        show_welcome_message=False,
    )
    return frozenset({"/", *(page.path for page in pages)})


def told(error: Exception, t: Callable[..., str]) -> tuple[str, str]:
    """An error as a headline and a sentence. What is not ours is logged, by its kind alone, and says nothing about itself."""
    if isinstance(error, HuiyiError):
        try:
            return t(f"problem_{error.code}"), str(error)
        except KeyError:
            return t("problem"), str(error)
    log.error("%s in a page of the console", type(error).__name__, exc_info=error)
    return t("problem"), t("unexpected")


def heading(text: str, level: int = 2) -> ui.element:
    return Words(f"h{level}", text)


def icon_button(icon: str, label: str, on_click: Callable[..., Any], props: str = "") -> ui.button:
    """A button without a word on it, which has one for those who cannot see it."""
    button = ui.button(icon=icon, on_click=on_click).props(f"flat round {props}").tooltip(label)
    button.props["aria-label"] = label
    return button


def menu(choices: Mapping[str, Callable[..., Any]], chosen: str | None = None) -> ui.menu:
    """Opens below the element it stands in: what can be chosen, and what each does. chosen: the one that holds now, and is marked."""
    with ui.menu().props("auto-close") as opened:
        for text, act in choices.items():
            item = ui.menu_item(text, act).props("role=menuitem" if chosen is None else "role=menuitemradio aria-checked=false")
            if text == chosen:
                item.props("active aria-checked=true")
    return opened


def link_button(text: str, address: str, icon: str | None = None) -> ui.element:
    """A link that looks like a button."""
    return ui.button(text, icon=icon).props("unelevated no-caps").props(f"href={json.dumps(address)}")


class Words(ui.element):
    """An element of any kind that holds a text as it is: `Words("mark", "花呗")`."""

    def __init__(self, tag: str, text: str) -> None:
        super().__init__(tag)
        self._text = text


def _builder(page: Page, pages: Sequence[Page], services: Services) -> Callable[[Request], Coroutine[Any, Any, None]]:
    async def build(request: Request) -> None:
        _note_language(request)
        await View(page, pages, services, request).build()

    return build


def _lost(pages: Sequence[Page], services: Services) -> Callable[[Request], Coroutine[Any, Any, None]]:
    async def build(request: Request) -> None:
        _note_language(request)
        t = speaker(FRAME, _language())
        page = Page(FRAME, request.url.path, "", lambda view: None)
        ui.context.client.status_code = 404
        _furniture(View(page, pages, services, request))
        ui.page_title(t("brand"))
        with ui.element("div").classes("stack empty").props('id="content" tabindex="-1"'):
            heading(t("not_found_title"), 1)
            ui.label(t("not_found", path=request.url.path[:200])).classes("text")
            link_button(t("to_start"), "/", "home")

    return build


def _to_first(path: str) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def redirect(request: Request) -> Response:
        return RedirectResponse(path)

    return redirect


def _broken(error: Exception) -> None:
    headline, sentence = told(error, t := speaker(FRAME, _language()))
    with ui.element("div").classes("stack empty"):
        heading(headline, 1)
        ui.label(sentence)
        link_button(t("to_start"), "/", "home")


def _furniture(view: View) -> None:
    t = view.t
    # Closed for the server until the browser says otherwise: without a value it would be asked, and a slow one that is late is an error.
    drawer = ui.left_drawer(value=False).props("width=220 breakpoint=900 show-if-above")
    with drawer, ui.element("nav").classes("pages") as nav:
        nav.props["aria-label"] = t("navigation")
        for page in view.pages:
            with ui.element("a").props(f'href="{page.path}"') as link:
                ui.icon(page.icon).props("aria-hidden=true").style("font-size: 1.3rem")
                Words("span", speaker(page.name, view.language)("title"))
            if page.path == view.page.path:
                link.props('aria-current="page"')
        with ui.element("a").props('href="/docs"'):
            ui.icon("api").props("aria-hidden=true").style("font-size: 1.3rem")
            Words("span", t("api_documentation"))
    with ui.header():
        Words("a", t("skip")).classes("skip").props('href="#content"')
        icon_button("menu", t("menu"), drawer.toggle)
        Words("a", t("brand")).classes("brand").props('href="/"')
        ui.space()
        _choice("translate", t("language"), {name: spoken for name, (spoken, _) in LANGUAGES.items()}, view.language, "language")
        _choice(THEMES[_theme()][1], t("theme"), {theme: t(f"theme_{theme}") for theme in THEMES}, _theme(), "theme")
        if view.logged_in:
            icon_button("logout", t("log_out"), lambda: ui.navigate.to("/logout"))


def _choice(icon: str, label: str, options: Mapping[Any, str], chosen: str, name: str) -> None:
    def choose(option: str) -> None:
        app.storage.user[name] = option
        ui.run_javascript("location.reload()")

    with ui.button(icon=icon).props("flat round").tooltip(label) as button:
        button.props["aria-label"] = label
        menu({text: partial(choose, option) for option, text in options.items()}, options[chosen])


def _note_language(request: Request) -> None:
    """What the browser asks for, where it is found in every context of this page."""
    app.storage.browser["accepts"] = accepted(request.headers.get("accept-language", ""))


def _language() -> Language:
    kept = app.storage.user.get("language", app.storage.browser.get("accepts"))
    return kept if kept in LANGUAGES else "en"


def _theme() -> Theme:
    kept = app.storage.user.get("theme")
    return kept if kept in THEMES else "auto"


async def _awaited(result: object) -> None:
    if inspect.isawaitable(result):
        await result
