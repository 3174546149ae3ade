"""The ASGI application: routes, and the layers around them from outside in: CORS, observing, console, admission, bodies.

`create_app(models, settings)` opens no port and reads no environment, so that tests and other servers can hold it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Security
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from huiyi import __version__
from huiyi.errors import Unavailable
from huiyi.server import adapters, api, collections, front, jobs, openai, pages, searching, tasks, uploads
from huiyi.server.desk import Desk, desk_of
from huiyi.server.failures import ErrorBody, response_of
from huiyi.server.guard import Admission, BodyReader, CrossOrigin, Doorkeeper
from huiyi.server.metrics import CONTENT_TYPE, Metrics
from huiyi.server.observing import Observer
from huiyi.server.sessions import Sessions, kept_secret
from huiyi.server.waiting import WaitingRoom
from huiyi.serving import Served
from huiyi.workspace import Jobs, OpenCollections, Writer

ADMIN_PATHS = frozenset({"/metrics", "/v1/adapters"})
OPEN_PATHS = frozenset({"/health", "/ready"}) | pages.PATHS
FAILURES: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The request cannot be used as it is."},
    401: {"model": ErrorBody, "description": "No key, or an unknown one."},
    403: {"model": ErrorBody, "description": "This key, host or origin may not."},
    404: {"model": ErrorBody, "description": "No such model, collection, record or job."},
    409: {"model": ErrorBody, "description": "What is there does not fit what is asked."},
    405: {"model": ErrorBody, "description": "Another method is meant."},
    408: {"model": ErrorBody, "description": "The body did not come in time."},
    413: {"model": ErrorBody, "description": "More bytes, inputs or tokens than a request may have, however long one waits."},
    415: {"model": ErrorBody, "description": "Another kind of content is meant, JSON mostly."},
    429: {"model": ErrorBody, "description": "Others fill the queue now; Retry-After says when to ask again."},
    500: {"model": ErrorBody, "description": "The server's fault."},
    501: {"model": ErrorBody, "description": "An optional part is not installed on the server."},
    503: {"model": ErrorBody, "description": "Not ready, shutting down, or not done in time."},
    "default": {"model": ErrorBody, "description": "Any other failure."},
}


@dataclass(frozen=True)
class Limits:
    """max_inputs: in a request. max_requests: at once. max_wait_s: for a request to be done. body_timeout_s: for a body to arrive.

    max_upload_bytes: of a file in the console.
    """

    max_body_bytes: int = 16 * 2**20
    max_inputs: int = 16_384
    max_requests: int = 512
    max_wait_s: float = 600
    body_timeout_s: float = 30
    max_upload_bytes: int = 512 * 2**20


@dataclass(frozen=True)
class ServerSettings:
    """writer: makes replies of what answers a question; None: nobody does."""

    admission: Admission = field(default_factory=Admission)
    limits: Limits = field(default_factory=Limits)
    open_metrics: bool = False
    log_requests: bool = False
    writer: Writer | None = None


class Status(BaseModel):
    status: Literal["ok"]


status = APIRouter(tags=["Server"])


@status.get("/health", response_model=Status, summary="Whether the process lives")
async def health() -> Status:
    return Status(status="ok")


@status.get("/ready", response_model=Status, summary="Whether requests are taken")
async def ready(request: Request) -> Status:
    """503 from the moment the server was told to stop, and when a model cannot answer any more."""
    desk = desk_of(request)
    if desk.draining:
        raise Unavailable("the server is shutting down")
    if ended := [model.name for model in desk.models if model.closed]:
        raise Unavailable(f"{', '.join(ended)} stopped working; start the server again")
    return Status(status="ok")


@status.get("/metrics", summary="Figures for Prometheus", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    return Response(request.app.state.metrics.page(), media_type=CONTENT_TYPE)


def create_app(
    models: Sequence[Served],
    settings: ServerSettings | None = None,
    furnish: front.Furnish | None = None,
    home: Path | None = None,
) -> FastAPI:
    """models: at least one; closed with the application. Its `state.desk.draining` turns /ready to 503. furnish: makes the console at /.

    home: of collections and jobs, default HUIYI_HOME. Jobs that an earlier server left go on once this one has started.
    """
    settings = settings or ServerSettings()
    limits, admission = settings.limits, settings.admission
    served = list(models)
    figures = Metrics(served)
    shelf = OpenCollections(served, home)
    work = Jobs(shelf, home)
    figures.watch(shelf, work)
    desk = Desk(served, WaitingRoom(limits.max_requests, limits.max_wait_s), figures, limits.max_inputs, shelf, work, settings.writer)

    secret = kept_secret() if furnish else ""
    sessions = Sessions(admission.keys, secret)
    services = {"models": desk.models, "collections": shelf, "jobs": work, "latest": figures.latest}
    console = front.built(furnish, sessions, secret, **services) if furnish else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        work.start()
        async with console.lifespan() if console else nullcontext():
            yield
        await asyncio.to_thread(desk.close)

    app = FastAPI(
        title="huiyi",
        version=__version__,
        description="Text embeddings in OpenAI's protocol. Errors are OpenAI's, too: {error: {message, type, param, code}}.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        responses=FAILURES,
        # OpenTelemetry by its standard variables, where its packages are installed; logs would hold what was sent
        telemetry={"auto_configure": True, "logs": False, "operation_spans": False},
    )
    app.state.desk, app.state.metrics, app.state.limits = desk, figures, limits
    routers = (
        openai.router,
        api.router,
        adapters.router,
        collections.router,
        searching.router,
        uploads.router,
        tasks.router,
        jobs.router,
        status,
    )
    told: list[Any] = [Security(HTTPBearer(auto_error=False))] if admission.keys else []  # for the documentation: the layers below check
    for router in routers:
        app.include_router(router, dependencies=told)
    pages.add_pages(app, welcome=console is None)
    for kind in (RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer)
    routes = pages.PATHS | {route.path for router in routers for route in router.routes if isinstance(route, APIRoute)}
    opened = OPEN_PATHS | ({"/metrics"} if settings.open_metrics else set())
    app.add_middleware(partial(BodyReader, max_body_bytes=limits.max_body_bytes, body_timeout_s=limits.body_timeout_s))
    app.add_middleware(partial(Doorkeeper, admission=admission, open_paths=opened, admin_paths=ADMIN_PATHS))
    if console:
        door = partial(front.Front, console=console, sessions=sessions, admission=admission)
        app.add_middleware(partial(door, api_paths=routes, max_upload_bytes=limits.max_upload_bytes))
    app.add_middleware(partial(Observer, metrics=figures, routes=routes, every=settings.log_requests))
    app.add_middleware(partial(CrossOrigin, origins=admission.origins))
    return app


async def _answer(request: Request, error: Exception) -> Response:
    return response_of(error)
