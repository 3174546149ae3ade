"""Who and what gets in, as ASGI layers around the application: hosts, origins, keys, and bodies that are small, timely and JSON.

Each refuses by raising a `HuiyiError`. Nothing is read of a request that may not come in. Knows no models.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from huiyi.errors import InvalidInput, Overloaded, TooLarge
from huiyi.server.auth import Keys, is_loopback
from huiyi.server.auth import Scope as KeyScope
from huiyi.server.failures import NotJson, TooSlow, WrongHost, WrongOrigin

CHANGING = ("/v1/collections", "/v1/jobs")  # what is below may be read by all, and changed with a key that may do everything
READING = re.compile(r"/v1/collections/[^/]+/(get|scroll|search|search/compare|answer|recommend)")  # bodies that only ask
STREAMED = re.compile(r"/v1/collections/[^/]+/(records/jsonl|index)")  # bodies of any size, which their routes read as they come
BODILESS = re.compile(r"/v1/jobs/[^/]+/cancel")
STREAMS = frozenset({"application/x-ndjson", "application/jsonl", "application/octet-stream"})
BODIES_AT_ONCE = 8  # times the largest body: memory that bodies may take together


@dataclass(frozen=True)
class Admission:
    """keys: None lets everyone in. hosts: names that the Host header may have beside loopback ones; None lets any in, as * does.

    origins: pages of other sites that may call, * for any.
    """

    keys: Keys | None = None
    hosts: frozenset[str] | None = frozenset()
    origins: frozenset[str] = frozenset()


class Doorkeeper:
    """Host, origin and key, in this order. open_paths: need no key; admin_paths, and all below them: need one that may do everything."""

    def __init__(self, app: ASGIApp, admission: Admission, open_paths: frozenset[str], admin_paths: frozenset[str]) -> None:
        self._app, self._admission, self._open_paths, self._admin_paths = app, admission, open_paths, admin_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            require_host(self._admission, headers.get("host"))
            self._check_origin(headers.get("origin"), headers.get("host"))
            if self._admission.keys and scope["path"] not in self._open_paths:
                needed: KeyScope = "admin" if self._is_admin(scope["method"], scope["path"]) else "read"
                self._admission.keys.check(headers.get("authorization"), needed)
        await self._app(scope, receive, send)

    def _is_admin(self, method: str, path: str) -> bool:
        if any(path == admin or path.startswith(f"{admin}/") for admin in self._admin_paths):
            return True
        return method not in ("GET", "HEAD", "OPTIONS") and path.startswith(CHANGING) and not READING.fullmatch(path)

    def _check_origin(self, origin: str | None, host: str | None) -> None:
        """Same-origin pages (the documentation) may call; a browser puts Origin on whatever a page of another site sends."""
        if origin is None or origin_allowed(origin, self._admission.origins) or (host and origin.partition("://")[2] == host):
            return
        raise WrongOrigin("pages of other sites may not call this server; start it with --cors-origin ORIGIN to let one")


class CrossOrigin:
    """CORS headers for the origins that were let in, on failures too; answers their preflights."""

    def __init__(self, app: ASGIApp, origins: frozenset[str]) -> None:
        self._app, self._origins = app, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = Headers(scope=scope).get("origin") if scope["type"] == "http" else None
        if origin is None or not origin_allowed(origin, self._origins):
            return await self._app(scope, receive, send)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Access-Control-Allow-Origin"] = origin
                headers.add_vary_header("Origin")
                headers["Access-Control-Expose-Headers"] = "X-Request-ID, Retry-After"
            await send(message)

        asked = Headers(scope=scope).get("access-control-request-method")
        if scope["method"] == "OPTIONS" and asked:
            allowed = Headers(scope=scope).get("access-control-request-headers") or "authorization, content-type"
            headers = {
                b"access-control-allow-methods": b"GET, POST, DELETE",
                b"access-control-allow-headers": allowed.encode("latin-1"),
                b"access-control-max-age": b"600",
            }
            await with_headers({"type": "http.response.start", "status": 204, "headers": list(headers.items())})
            return await send({"type": "http.response.body", "body": b""})
        return await self._app(scope, receive, with_headers)


class BodyReader:
    """The whole JSON body of a POST, read before the application sees the request, in `scope["state"]["json"]`.

    Refuses by the declared length and, since that may be missing or wrong, by the bytes that come; refuses when they do not come.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, body_timeout_s: float) -> None:
        self._app, self._max_bytes, self._timeout_s = app, max_body_bytes, body_timeout_s
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if STREAMED.fullmatch(scope["path"]):
            if content_type not in STREAMS:
                raise NotJson(f"send the bytes of a file, with the header Content-Type: {' or '.join(sorted(STREAMS))}")
            return await self._app(scope, receive, send)
        if BODILESS.fullmatch(scope["path"]) and not content_type:
            return await self._app(scope, receive, send)
        if content_type != "application/json":
            raise NotJson("send JSON, with the header Content-Type: application/json")
        self._refuse_large(int(length) if (length := headers.get("content-length", "")).isdecimal() else 0)
        held = 0
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    piece = message.get("body", b"")
                    more = message.get("more_body", False)
                    body += piece
                    held += len(piece)
                    self._hold(len(piece))
                    self._refuse_large(len(body))
        except TimeoutError:
            raise TooSlow(f"the body did not arrive within {self._timeout_s:g} s") from None
        else:
            scope.setdefault("state", {})["json"] = _parsed(bytes(body))
            body.clear()
            return await self._app(scope, receive, send)
        finally:
            self._held -= held

    def _refuse_large(self, size: int) -> None:
        if size > self._max_bytes:
            raise TooLarge(f"a body may have {self._max_bytes:,} bytes here; send fewer texts at a time")

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > BODIES_AT_ONCE * self._max_bytes:
            raise Overloaded("the bodies of other requests fill the memory set aside for them; try again in a moment")


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError as error:  # its message tells a place and no text; nesting is bounded by it, too
        raise InvalidInput(f"the body is not valid JSON ({error})" if body else "the body is empty; send a JSON object") from error


def require_host(admission: Admission, host: str | None) -> None:
    """Raises WrongHost for a Host header under which this server does not answer."""
    hosts = admission.hosts
    if hosts is None or "*" in hosts:
        return
    name = host_name(host)
    if name is None or not (is_loopback(name) or name in hosts):
        raise WrongHost(
            "this server answers to loopback names only, so that a web page cannot reach it under a name of its own; "
            "start it with --allowed-host NAME to let this one in"
        )


def host_name(host: str | None) -> str | None:
    """The name in a Host header, without port; None when it is none."""
    try:
        return urlsplit(f"//{host}").hostname if host and not set(host) & set("/@?#\\ ") else None
    except ValueError:
        return None


def origin_allowed(origin: str, origins: frozenset[str]) -> bool:
    return "*" in origins or origin in origins
