"""What the routes share: the models under their names, the room where requests wait, and how a body gets to a route.

Owns the limits that need a model or a count of inputs, so that routes stay a few lines each.
"""

import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from time import time
from typing import Any, TypeVar, cast

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from huiyi.errors import Conflict, TooLarge
from huiyi.server.failures import UnknownModel, WrongField
from huiyi.server.metrics import Metrics
from huiyi.server.waiting import ClientGone, WaitingRoom
from huiyi.serving import ScoredPairs, Served, Truncate
from huiyi.types import Embedded, Kind
from huiyi.workspace import Collection, Jobs, OpenCollections, Writer, load_adapter

MAX_STRAY_BYTES = 65_536
T = TypeVar("T")


@dataclass(frozen=True)
class Inputs:
    """Texts, or lists of token ids, that are treated alike."""

    inputs: Sequence[Any]
    kind: Kind = "document"
    instruction: str | None = None
    truncate: Truncate = "none"


class Desk:
    """models: adapters come to the end of this list and leave it; the event loop alone changes it. max_inputs: in a request."""

    def __init__(
        self,
        models: list[Served],
        room: WaitingRoom,
        metrics: Metrics,
        max_inputs: int,
        collections: OpenCollections,
        jobs: Jobs,
        writer: Writer | None = None,
    ) -> None:
        self.collections, self.jobs, self.writer = collections, jobs, writer
        self.models, self.started = models, int(time())
        self.draining = False
        self._room, self._metrics, self._max_inputs = room, metrics, max_inputs
        self._coming: set[str] = set()

    def model(self, name: str | None) -> Served:
        """The model called so, or the only one that is no reranker. UnknownModel, and WrongField where none of several is named."""
        listed = ", ".join(model.name for model in self.models)
        bases = [model for model in self.models if model.base is None and not model.is_reranker]
        if name is None and len(bases) > 1:
            raise WrongField(f"model: say which one; served here: {listed}", "model")
        if name is None and not bases:
            raise UnknownModel(f"no embedding model is served here, only for /v1/rerank: {listed}")
        if name is None:
            return bases[0]
        by_alias = {alias: model for model in reversed(self.models) for alias in model.aliases}
        by_name = by_alias | {model.name: model for model in self.models}
        if name not in by_name:
            raise UnknownModel(f"no such model is served here; served here: {listed}")
        return by_name[name]

    async def embed(self, request: Request, model: Served, *parts: Inputs, dimensions: int | None = None) -> Embedded:
        """Vectors of all inputs of all parts, in their order. Raises what `Served` and the waiting room raise."""
        count = sum(len(part.inputs) for part in parts)
        self.refuse_many(count)
        model.width(dimensions)

        def work(cancelled: threading.Event) -> Embedded:
            rows = [row for part in parts for row in model.token_ids(part.inputs, part.kind, part.instruction, part.truncate, cancelled)]
            return model.embed(rows, dimensions, cancelled)

        made = await self._room.run(request, work)
        self._count(model, count, int(made.tokens.sum()))
        return made

    async def score_pairs(self, request: Request, model: Served, first: list[str], second: list[str], truncate: Truncate) -> ScoredPairs:
        """As `Served.score_pairs`. Raises what that and the waiting room raise."""
        self.refuse_many(2 * len(first))
        scored = await self._room.run(request, lambda cancelled: model.score_pairs(first, second, truncate, cancelled))
        self._count(model, 2 * len(first), int(scored.tokens.sum()))
        return scored

    def reranker(self, name: str | None) -> Served:
        """The model called so, else the only reranker; where there is none, the only model. Raises what `model` raises."""
        rerankers = [model for model in self.models if model.is_reranker]
        if name is None and len(rerankers) > 1:
            raise WrongField(f"model: say which one; rerankers here: {', '.join(model.name for model in rerankers)}", "model")
        return rerankers[0] if name is None and rerankers else self.model(name)

    async def rerank(
        self, request: Request, model: Served, query: str, documents: list[str], instruction: str | None, truncate: Truncate
    ) -> ScoredPairs:
        """As `Served.rerank`. Raises what that and the waiting room raise."""
        self.refuse_many(1 + len(documents))
        scored = await self._room.run(request, lambda cancelled: model.rerank(query, documents, instruction, truncate, cancelled))
        self._count(model, 1 + len(documents), int(scored.tokens.sum()))
        return scored

    async def wait(self, request: Request, work: Callable[[threading.Event], T]) -> T:
        """`work` in a thread, given up by whoever leaves. Raises what it raises, and what the waiting room raises."""
        if "json" not in request.scope.get("state", {}):
            await _drained(request)
        return await self._room.run(request, work)

    async def on_collection(self, request: Request, name: str, work: Callable[[Collection], T]) -> T:
        """As `OpenCollections.run`, in a thread."""
        return await self.wait(request, lambda cancelled: self.collections.run(name, work))

    async def in_turn(self, work: Callable[[threading.Event], T]) -> T:
        """One of many steps of a request whose body still comes."""
        return await self._room.run(None, work)

    def count_records(self, added: int = 0, changed: int = 0, deleted: int = 0) -> None:
        for what, count in (("added", added), ("changed", changed), ("deleted", deleted)):
            self._metrics.records.labels(what).inc(count)

    def count_searches(self, queries: int) -> None:
        self._metrics.searches.inc(queries)

    async def load_adapter(self, request: Request, name: str, base: str | None) -> Served:
        """Serve HUIYI_HOME/adapters/NAME under its name. Raises Conflict where it is taken, and what `workspace.load_adapter` raises."""
        if name in self._coming or any(name in (model.name, *model.aliases) for model in self.models):
            raise Conflict(f"{name} is served here already; unload it first, to load it anew")
        bases = [model for model in self.models if model.base is None and base in (None, model.name, *model.aliases)]
        if not bases:
            self.model(base)
            raise Conflict(f"{base} is an adapter itself; name the model that it belongs to")
        self._coming.add(name)
        try:
            made = await self._room.run(request, lambda cancelled: load_adapter(bases, name))
        finally:
            self._coming.discard(name)
        self.models.append(made)
        return made

    def unload_adapter(self, name: str) -> None:
        """Take no more requests for it; those in flight are answered. Raises UnknownModel."""
        adapters = [model for model in self.models if model.base is not None and model.name == name]
        if not adapters:
            listed = ", ".join(model.name for model in self.models if model.base is not None)
            raise UnknownModel(f"no such adapter is served here; served here: {listed or 'none'}")
        self.models.remove(adapters[0])
        adapters[0].close()

    def refuse_many(self, count: int) -> None:
        """TooLarge."""
        if count > self._max_inputs:
            raise TooLarge(f"{count:,} inputs, and one request may have {self._max_inputs:,} here; send them in several requests")

    def _count(self, model: Served, texts: int, tokens: int) -> None:
        self._metrics.texts.labels(model.name).inc(texts)
        self._metrics.tokens.labels(model.name).inc(tokens)

    def close(self) -> None:
        """Whoever still waits gets an error."""
        self.draining = True
        self._room.close()
        self.jobs.close()
        self.collections.close()
        for model in reversed(self.models):  # adapters first
            model.close(drain=False, timeout_s=5)


def desk_of(request: Request) -> Desk:
    return cast(Desk, request.app.state.desk)


async def _drained(request: Request) -> None:
    """A request without a body, or with one that is not asked for: what is received next is that the client leaves."""
    size = 0
    while True:
        message = await request.receive()
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect":
            raise ClientGone
        if size > MAX_STRAY_BYTES:
            raise TooLarge(f"a {request.method} needs no body")
        if not message.get("more_body", False):
            return


class JsonRequest(Request):
    """The body as the `BodyReader` read it."""

    async def body(self) -> bytes:
        return b"read"

    async def json(self) -> Any:
        return self.scope["state"]["json"]


class JsonRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def with_read_body(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return with_read_body
