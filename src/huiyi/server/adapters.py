"""`/v1/adapters`: adapters that come and go while the server runs; for keys that may do everything.

Only folders in HUIYI_HOME/adapters can be loaded, by a name that cannot be a path.
"""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request

from huiyi.server.desk import JsonRoute, desk_of
from huiyi.server.openai import Body, ModelCard, card

router = APIRouter(route_class=JsonRoute, tags=["Adapters"])

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Of a folder in HUIYI_HOME/adapters.")]


class AdapterRequest(Body):
    name: Name
    model: Annotated[str | None, Field(description="The model that it belongs to; default the one that it fits.")] = None


class Unloaded(BaseModel):
    id: str
    object: Literal["model"]
    deleted: Literal[True]


@router.post("/v1/adapters", response_model=ModelCard, summary="Load an adapter")
async def load(body: AdapterRequest, request: Request) -> ModelCard:
    """Serve the adapter in HUIYI_HOME/adapters/NAME under its name, from the moment of this answer. Others wait a few seconds at most."""
    desk = desk_of(request)
    await desk.load_adapter(request, body.name, body.model)
    return card(desk, body.name)


@router.delete("/v1/adapters/{name}", response_model=Unloaded, summary="Unload an adapter")
async def unload(name: str, request: Request) -> Unloaded:
    """Take no more requests for it; those in flight are answered. Its folder stays."""
    desk_of(request).unload_adapter(name)
    return Unloaded(id=name, object="model", deleted=True)
