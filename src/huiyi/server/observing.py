"""What is seen of a request from outside: its id, its count and time, one line in the log, and the answer when something raised.

The outermost layer but for CORS; every failure passes here. Logs hold routes, statuses, times and ids: no texts, no keys, no addresses
that a client made up.
"""

import asyncio
import logging
import re
import traceback
import uuid
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from huiyi.errors import HuiyiError, Unavailable
from huiyi.server.failures import response_of
from huiyi.server.metrics import Metrics
from huiyi.server.waiting import ClientGone

ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
log = logging.getLogger("huiyi.server")


class Observer:
    """routes: paths by which requests are counted; all others count as `other`. every: log answers with success, too."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: frozenset[str], every: bool = False) -> None:
        self._app, self._metrics, self._routes, self._every = app, metrics, routes, every

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began = perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        id_ = given if ID.fullmatch(given) else uuid.uuid4().hex
        status = 0

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = id_
            await send(message)

        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, with_id)
            except ClientGone:
                status = 499
            except asyncio.CancelledError:
                if not status:
                    await response_of(Unavailable("the server is shutting down"))(scope, receive, with_id)
            except Exception as error:  # noqa: BLE001  whatever is raised becomes an answer, here and nowhere else
                if not isinstance(error, HuiyiError) or error.status == 500:
                    log.error("%s in request %s\n%s", _names(error), id_, _frames(error))
                if status:  # half an answer is out: the client must not take it for a whole one
                    raise ConnectionAbortedError("the answer could not be finished") from None
                await response_of(error)(scope, receive, with_id)
        self._count(scope, status, perf_counter() - began, id_)

    def _count(self, scope: Scope, status: int, seconds: float, id_: str) -> None:
        path = getattr(scope.get("route"), "path", scope["path"])
        route = path if path in self._routes else "other"
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if route.startswith("/v1/"):
            self._metrics.latest.append((perf_counter(), seconds))
        if self._every or status >= 400:
            method = scope["method"] if scope["method"].isalpha() else "-"
            log.info("%s %s %d in %.0f ms, request %s", method, route, status, 1000 * seconds, id_)


def _names(error: BaseException) -> str:
    """The types alone, with those of the causes: a message may quote what was sent."""
    cause = error.__cause__
    return type(error).__name__ + (f" from {_names(cause)}" if cause else "")


def _frames(error: BaseException) -> str:
    cause = error.__cause__
    return (_frames(cause) + "which was then\n" if cause else "") + "".join(traceback.format_tb(error.__traceback__))
