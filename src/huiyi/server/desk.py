"""What the routes share: the models under their names, the room where requests wait, and how a body gets to a route.

Owns the limits that need a model or a count of inputs, so that routes stay a few lines each.
"""

import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from time import time
from typing import Any, cast

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from huiyi.errors import TooLarge
from huiyi.server.failures import UnknownModel, WrongField
from huiyi.server.metrics import Metrics
from huiyi.server.waiting import WaitingRoom
from huiyi.serving import Served, Truncate
from huiyi.types import Embedded, Kind


@dataclass(frozen=True)
class Inputs:
    """Texts, or lists of token ids, that are treated alike."""

    inputs: Sequence[Any]
    kind: Kind = "document"
    instruction: str | None = None
    truncate: Truncate = "none"


class Desk:
    """max_inputs: in a request."""

    def __init__(self, models: Sequence[Served], room: WaitingRoom, metrics: Metrics, max_inputs: int) -> None:
        self.models, self.started = list(models), int(time())
        self.draining = False
        self._room, self._metrics, self._max_inputs = room, metrics, max_inputs
        aliases = {alias: model for model in reversed(models) for alias in model.aliases}
        self._by_name = aliases | {model.name: model for model in models}

    def model(self, name: str | None) -> Served:
        """The model called so, or the only one. Raises UnknownModel, and WrongField where none of several is named."""
        listed = ", ".join(model.name for model in self.models)
        if name is None and len(self.models) > 1:
            raise WrongField(f"model: say which one; served here: {listed}", "model")
        if name is None:
            return self.models[0]
        if name not in self._by_name:
            raise UnknownModel(f"no such model is served here; served here: {listed}")
        return self._by_name[name]

    async def embed(self, request: Request, model: Served, *parts: Inputs, dimensions: int | None = None) -> Embedded:
        """Vectors of all inputs of all parts, in their order. Raises what `Served` and the waiting room raise."""
        count = sum(len(part.inputs) for part in parts)
        if count > self._max_inputs:
            raise TooLarge(f"{count:,} inputs, and one request may have {self._max_inputs:,} here; send them in several requests")
        model.width(dimensions)

        def work(cancelled: threading.Event) -> Embedded:
            rows = [row for part in parts for row in model.token_ids(part.inputs, part.kind, part.instruction, part.truncate, cancelled)]
            return model.embed(rows, dimensions, cancelled)

        made = await self._room.run(request, work)
        self._metrics.texts.labels(model.name).inc(count)
        self._metrics.tokens.labels(model.name).inc(int(made.tokens.sum()))
        return made

    def close(self) -> None:
        """Whoever still waits gets an error."""
        self.draining = True
        self._room.close()
        for model in self.models:
            model.close(drain=False, timeout_s=5)


def desk_of(request: Request) -> Desk:
    return cast(Desk, request.app.state.desk)


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
