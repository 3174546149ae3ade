"""The console in front of the API: which addresses are its own, and who and what gets in there.

A layer like the API's own: host, origin and session are looked at before anything is read, for pages, uploads and the socket alike. What
is not the console's goes on to the API unseen. Knows nothing of pages; a test holds it with an application of its own.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from huiyi.errors import HuiyiError, TooLarge
from huiyi.server.connections import MAX_MESSAGE_BYTES
from huiyi.server.failures import Forbidden, TooSlow, Unauthorized, WrongOrigin
from huiyi.server.guard import Admission, require_host
from huiyi.server.login import COOKIE, MAX_FORM_BYTES, login_address, login_routes
from huiyi.server.sessions import Sessions

INNER = "/_nicegui"  # what pages load, send and listen to
SOCKET = "/_nicegui_ws"
ICONS = ("/favicon.svg", "/favicon.ico")  # the second one is asked for by browsers of themselves
IDLE_S = 60.0  # between two pieces of an upload
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}
DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0b62b8"/>'
    '<circle cx="12" cy="16" r="6.5" fill="#fff"/><circle cx="20" cy="16" r="6.5" fill="#fff" fill-opacity=".6"/></svg>'
)


class Furnish(Protocol):
    """Puts pages into the application it is given; the paths of them."""

    def __call__(self, shell: FastAPI, secret: str, **services: Any) -> Collection[str]: ...


@dataclass(frozen=True)
class Console:
    """app: an ASGI application. paths: of its pages; everything below INNER and SOCKET is its own, too."""

    app: ASGIApp
    paths: frozenset[str]
    lifespan: Callable[[], AbstractAsyncContextManager[Any]]


def built(furnish: Furnish, sessions: Sessions, secret: str, **services: Any) -> Console:
    shell = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    routes = login_routes(sessions)
    for path, endpoint in routes.items():
        shell.add_route(path, endpoint, methods=["GET", "POST"])

    async def icon(request: object) -> Response:
        return Response(DRAWING, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})

    for path in ICONS:
        shell.add_route(path, icon)
    pages = furnish(shell, secret, **services)
    return Console(shell, frozenset(pages) | set(routes) | set(ICONS), lambda: shell.router.lifespan_context(shell))


class Front:
    """app: the API. api_paths: what a browser that asks for a page is never answered with a page at.

    max_upload_bytes: of one upload. Uploads and changes need a session that may do everything.
    """

    def __init__(
        self,
        app: ASGIApp,
        console: Console,
        sessions: Sessions,
        admission: Admission,
        api_paths: frozenset[str],
        max_upload_bytes: int,
    ) -> None:
        self._app, self._console, self._sessions, self._admission = app, console, sessions, admission
        self._api_paths, self._max_upload_bytes = api_paths, max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not self._is_console(scope):
            return await self._app(scope, receive, send)
        if scope["type"] == "websocket":
            return await self._socket(scope, receive, send)
        return await self._page(scope, receive, send)

    def _is_console(self, scope: Scope) -> bool:
        """Its own addresses, and whatever else a browser looks for that the API does not have: it gets a page that says so."""
        path = scope["path"]
        if path in self._console.paths or path.startswith((f"{INNER}/", f"{SOCKET}/")):
            return True
        if scope["type"] != "http" or scope["method"] != "GET" or path in self._api_paths or path.startswith(("/v1", "/docs/")):
            return False
        return "text/html" in Headers(scope=scope).get("accept", "")

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._admit(scope)
        except Exception as error:  # noqa: BLE001  a refusal, whatever it is; before the handshake is answered this is a 403
            await send({"type": "websocket.close", "code": 1008, "reason": str(error)[:120]})
            return
        await self._console.app(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusals: list[HuiyiError] = []

        async def with_headers(message: Message) -> None:
            if refusals:
                return  # what the console makes of half a body is not the answer
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        path = scope["path"]
        try:
            self._admit(scope, open=path in ("/login", "/logout", *ICONS))
        except Unauthorized:
            if scope["method"] == "GET" and not path.startswith(INNER):
                answer = RedirectResponse(login_address(path, scope["query_string"].decode("latin-1")), 303)
                return await answer(scope, receive, with_headers)
            raise
        try:
            await self._console.app(scope, self._bounded(scope, receive, refusals), with_headers)
        finally:
            if refusals:
                raise refusals[0]

    def _admit(self, scope: Scope, open: bool = False) -> None:
        headers = Headers(scope=scope)
        require_host(self._admission, headers.get("host"))
        origin = headers.get("origin")
        cross = headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and scope["path"].startswith(INNER)
        if cross or (origin is not None and origin.partition("://")[2] != headers.get("host")):
            raise WrongOrigin("pages of other sites may not use the console")
        may = self._sessions.scope(HTTPConnection(scope).cookies.get(COOKIE))
        if may is None and not open:
            raise Unauthorized("log in at /login; then load this page again")
        uploads = scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith(f"{INNER}/")
        if uploads and may != "admin":
            raise Forbidden("this key may read only; an upload needs an admin key")
        scope.setdefault("state", {})["console"] = {"may_change": may == "admin", "logged_in": not self._sessions.open}

    def _bounded(self, scope: Scope, receive: Receive, refusals: list[HuiyiError]) -> Receive:
        """Refuses a body by its declared length, by what comes, and when nothing comes; noted in `refusals`, too."""
        if scope["method"] in ("GET", "HEAD"):
            return receive
        path = scope["path"]
        limit = MAX_FORM_BYTES if path == "/login" else MAX_MESSAGE_BYTES if path.startswith(SOCKET) else self._max_upload_bytes
        refusal = TooLarge(f"this may have {limit / 2**20:,.3g} MB here; take a smaller file, or use huiyi index on the server's machine")
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise refusal
        held = 0

        async def counted() -> Message:
            nonlocal held
            if held < 0:
                return await receive()  # the body is there: what comes next is that the client leaves
            try:
                message = await asyncio.wait_for(receive(), IDLE_S)
            except TimeoutError:
                refusals.append(TooSlow(f"no more of the body arrived within {IDLE_S:g} s"))
                raise refusals[0] from None
            held += len(message.get("body", b""))
            if held > limit:
                refusals.append(refusal)
                raise refusal
            if not message.get("more_body", False):
                held = -1
            return message

        return counted
