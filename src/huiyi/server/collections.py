"""`/v1/collections`: records that are found by meaning, over HTTP. Each call waits in a thread; what takes long is a job.

Names, never paths: a collection lies below HUIYI_HOME, its model is one that is served.
"""

from dataclasses import asdict
from pathlib import PurePath
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from huiyi.errors import NotFound
from huiyi.server.desk import Desk, JsonRoute, desk_of
from huiyi.server.failures import WrongField
from huiyi.server.names import Named
from huiyi.server.openai import Body, Model
from huiyi.workspace import CollectionInfo, ShownCollection, collection_list

router = APIRouter(route_class=JsonRoute, tags=["Collections"])

Name = Annotated[Named, Path(description="Of letters, digits, - and _.")]
Filter = Annotated[
    dict[str, Any] | None,
    Field(description="Only records whose metadata match, such as {\"lang\": \"zh\", \"price\": {\"$lt\": 10}}; see docs/collections.md."),
]  # fmt: skip
Value = str | int | float | bool | list[str] | None
EXAMPLES = {
    "create": {"name": "faq", "model": "starter"},
    "upsert": {"records": [{"id": "1", "text": "花呗逾期会怎样?", "metadata": {"lang": "zh"}}]},
    "search": {"query": "花呗没还会怎么样?", "k": 3, "filter": {"lang": "zh"}},
    "compare": {"query": "花呗没还会怎么样?", "k": 3},
    "answer": {"question": "花呗没还会怎么样?"},
    "delete": {"filter": {"lang": "en"}},
    "scroll": {"limit": 100, "filter": {"lang": "zh"}},
}


def example(name: str) -> ConfigDict:
    examples: list[Any] = [EXAMPLES[name]]
    return ConfigDict(json_schema_extra={"examples": examples})


class CreateRequest(Body):
    """store: where the records lie; a Milvus server or Pinecone is set up on the server's command line. dimensions: cut vectors."""

    model_config = example("create")
    name: Named
    model: Model = None
    store: Literal["local", "milvus", "pinecone"] | None = None
    instruction: Annotated[str | None, Field(description="The task that queries carry; default the model's own.")] = None
    dimensions: Annotated[int | None, Field(ge=1)] = None


class CollectionCard(BaseModel):
    """model: as it was named when the collection was made. problem: why it cannot be read, and then little else is known."""

    object: Literal["collection"]
    name: str
    store: str
    records: int | None
    model: str | None
    dimensions: int | None
    instruction: str | None
    size_bytes: int | None
    problem: str | None = None


class CollectionDetails(CollectionCard):
    """indexed: records in the approximate index; the others are looked at one by one. fields: of the metadata of the first records."""

    indexed: int
    space: str
    fields: list[str]


class CollectionCards(BaseModel):
    object: Literal["list"]
    data: list[CollectionCard]


class RecordBody(Body):
    """metadata: by field a text, a number, true or false, or a list of texts."""

    id: str
    text: str
    metadata: Annotated[dict[str, Value], Field(default_factory=dict)]


class UpsertRequest(Body):
    model_config = example("upsert")
    records: Annotated[list[RecordBody], Field(min_length=1, description="Of two with one id the later counts.")]


class Upserted(BaseModel):
    """In records. cut: new texts that lost their end, being longer than the model reads. embedded, tokens: what went through the model."""

    object: Literal["upserted"]
    added: int
    changed: int
    unchanged: int
    cut: int
    embedded: int
    tokens: int


class DeleteRequest(Body):
    """Either ids or a filter."""

    model_config = example("delete")
    ids: Annotated[list[str] | None, Field(min_length=1)] = None
    filter: Filter = None


class DeletedRecords(BaseModel):
    deleted: int


class DeletedCollection(BaseModel):
    name: str
    deleted: Literal[True]
    records: int


class Record(BaseModel):
    id: str
    text: str
    metadata: dict[str, Value]


class GetRequest(Body):
    ids: Annotated[list[str], Field(min_length=1)]


class Records(BaseModel):
    """next: what to send as `after` for the page that follows; null after the last."""

    object: Literal["list"]
    data: list[Record]
    next: str | None = None


class ScrollRequest(Body):
    model_config = example("scroll")
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: Annotated[str | None, Field(description="`next` of the page before.")] = None
    filter: Filter = None


@router.post("/v1/collections", response_model=CollectionDetails, status_code=201, summary="Make a collection")
async def create(body: CreateRequest, request: Request) -> CollectionDetails:
    """An empty one, of a model that is served here."""
    desk = desk_of(request)
    model = desk.model(body.model)
    options: dict[str, Any] = {"store": body.store, "instruction": body.instruction, "dimensions": body.dimensions}
    model.width(body.dimensions)
    await desk.wait(request, lambda cancelled: desk.collections.create(body.name, model, **options))
    return await _details(desk, request, body.name)


@router.get("/v1/collections", response_model=CollectionCards, summary="All collections")
async def collections(request: Request) -> CollectionCards:
    desk = desk_of(request)
    found = await desk.wait(request, lambda cancelled: collection_list(desk.collections.home))
    return CollectionCards(object="list", data=[_card(info) for info in found.collections])


@router.get("/v1/collections/{name}", response_model=CollectionDetails, summary="What one is, with figures")
async def collection(name: Name, request: Request) -> CollectionDetails:
    return await _details(desk_of(request), request, name)


@router.delete("/v1/collections/{name}", response_model=DeletedCollection, summary="Delete a collection, for good")
async def delete_collection(name: Name, request: Request) -> DeletedCollection:
    desk = desk_of(request)

    def work(cancelled: object) -> int:
        desk.jobs.require_idle(name)
        return desk.collections.delete(name).records

    return DeletedCollection(name=name, deleted=True, records=await desk.wait(request, work))


@router.post("/v1/collections/{name}/records", response_model=Upserted, summary="Add records, or bring them up to date")
async def upsert(name: Name, body: UpsertRequest, request: Request) -> Upserted:
    """On disk when this answers. What is there already is not embedded again. One that cannot be kept: none is added."""
    desk = desk_of(request)
    desk.refuse_many(len(body.records))
    added = await desk.on_collection(request, name, lambda found: found.add(record.model_dump() for record in body.records))
    desk.count_records(added=added.added, changed=added.changed)
    return Upserted(object="upserted", **asdict(added))


@router.post("/v1/collections/{name}/delete", response_model=DeletedRecords, summary="Delete records, by ids or by a filter")
async def delete(name: Name, body: DeleteRequest, request: Request) -> DeletedRecords:
    if (body.ids is None) == (not body.filter):
        raise WrongField("send either ids, or a filter that is not empty", "ids")
    desk = desk_of(request)
    deleted = await desk.on_collection(request, name, lambda found: found.delete(ids=body.ids, filter=body.filter))
    desk.count_records(deleted=deleted)
    return DeletedRecords(deleted=deleted)


@router.post("/v1/collections/{name}/get", response_model=Records, summary="Records by their ids")
async def get(name: Name, body: GetRequest, request: Request) -> Response:
    """Those that are there, in the order of `ids`."""
    desk = desk_of(request)
    desk.refuse_many(len(body.ids))
    there = await desk.on_collection(request, name, lambda found: found.store.get(body.ids))
    return answered({"object": "list", "data": [asdict(there[id_]) for id_ in body.ids if id_ in there], "next": None})


@router.get("/v1/collections/{name}/records/{id:path}", response_model=Record, summary="One record")
async def record(name: Name, id: str, request: Request) -> Response:
    found = await desk_of(request).on_collection(request, name, lambda found: found.get(id))
    if found is None:
        raise NotFound(f"the collection {name} has no record of this id")
    return answered(asdict(found))


@router.delete("/v1/collections/{name}/records/{id:path}", response_model=DeletedRecords, summary="Delete one record")
async def delete_record(name: Name, id: str, request: Request) -> DeletedRecords:
    desk = desk_of(request)
    deleted = await desk.on_collection(request, name, lambda found: found.delete(ids=[id]))
    desk.count_records(deleted=deleted)
    return DeletedRecords(deleted=deleted)


@router.get("/v1/collections/{name}/records", response_model=Records, summary="All records, page by page")
async def records(
    name: Name,
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> Response:
    return await _page(desk_of(request), request, name, limit, after, None)


@router.post("/v1/collections/{name}/scroll", response_model=Records, summary="Records that match, page by page")
async def scroll(name: Name, body: ScrollRequest, request: Request) -> Response:
    """A record that stays the same is on exactly one page."""
    return await _page(desk_of(request), request, name, body.limit, body.after, body.filter)


async def _page(desk: Desk, request: Request, name: str, limit: int, after: str | None, filter: dict[str, Any] | None) -> Response:
    page = await desk.on_collection(request, name, lambda found: found.page(limit, after, filter))
    return answered({"object": "list", "data": [asdict(record) for record in page.records], "next": page.next})


async def _details(desk: Desk, request: Request, name: str) -> CollectionDetails:
    shown = await desk.wait(request, lambda cancelled: desk.collections.show(name))
    return _shown(shown)


def _shown(shown: ShownCollection) -> CollectionDetails:
    return CollectionDetails(
        object="collection",
        name=shown.name,
        store=_kind(shown.store),
        records=shown.records,
        model=_model(shown.model),
        dimensions=shown.dim,
        instruction=shown.instruction,
        size_bytes=shown.size_bytes,
        indexed=shown.indexed,
        space=shown.space,
        fields=list(shown.fields),
    )


def _card(info: CollectionInfo) -> CollectionCard:
    return CollectionCard(
        object="collection",
        name=info.name,
        store=_kind(info.store),
        records=info.records,
        model=_model(info.model),
        dimensions=info.dim,
        instruction=info.instruction,
        size_bytes=info.size_bytes,
        problem=info.problem and "it cannot be read; huiyi collections list on the server's machine says why",
    )


def _kind(store: str) -> str:
    """Without the address."""
    return store.partition(":")[0]


def _model(name: str | None) -> str | None:
    """Of a folder the last part."""
    return PurePath(name).name if name and PurePath(name).is_absolute() else name


def answered(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
