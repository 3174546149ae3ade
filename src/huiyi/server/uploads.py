"""Bodies of any size: records as JSON lines, added as they come, and files that a job indexes. Little of them is in memory at a time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query
from starlette.requests import Request

from huiyi.errors import HuiyiError, InvalidInput, NotFound, TooLarge
from huiyi.server.collections import Name, Upserted
from huiyi.server.desk import Desk, desk_of
from huiyi.server.failures import TooSlow
from huiyi.server.jobs import JobCard, job_card
from huiyi.server.names import FileNamed
from huiyi.server.openai import Model
from huiyi.server.waiting import ClientGone
from huiyi.serving import Served
from huiyi.workspace import Added

SLICE_LINES = 256
SLICE_BYTES = 1 << 20
router = APIRouter(tags=["Collections"])

BYTES = {"schema": {"type": "string", "format": "binary"}}
LINES = '{"id": "1", "text": "花呗逾期会怎样?", "metadata": {"lang": "zh"}}\n{"id": "2", "text": "How do I get an invoice?"}\n'
STREAM = {
    "requestBody": {
        "required": True,
        "content": {"application/x-ndjson": BYTES | {"example": LINES}, "application/octet-stream": BYTES},
    }
}
FILE = {"requestBody": {"required": True, "content": {"application/octet-stream": BYTES}}}


@router.post(
    "/v1/collections/{name}/records/jsonl",
    response_model=Upserted,
    summary="Add records from JSON lines, as many as come",
    openapi_extra=STREAM,
)
async def upsert_lines(name: Name, request: Request) -> Upserted:
    """A record a line, as in `records`. What was added before an error stays. Send it again: nothing is embedded twice."""
    desk = desk_of(request)
    done = Added()
    async for number, lines in _lines(request):

        def add(cancelled: object, number: int = number, lines: list[bytes] = lines) -> Added:
            return desk.collections.run(name, lambda found: found.add(_records(number, lines)))

        try:
            added = await desk.in_turn(add)
        except HuiyiError as error:
            raise _placed(error, number, done) from error
        desk.count_records(added=added.added, changed=added.changed)
        done += added
    return Upserted(object="upserted", **asdict(done))


@router.post(
    "/v1/collections/{name}/index",
    response_model=JobCard,
    status_code=202,
    summary="Bring a collection in step with a file",
    openapi_extra=FILE,
)
async def index(
    name: Name,
    request: Request,
    filename: Annotated[FileNamed, Query(description="Tells what it is: faq.csv, faq.xlsx, guide.md …")],
    model: Annotated[Model, Query()] = None,
    text: Annotated[str | None, Query(description="The column of the texts.")] = None,
    id: Annotated[str | None, Query(description="The column that tells records apart; default id, else made of the text.")] = None,
    meta: Annotated[list[str] | None, Query(description="Columns to keep as metadata; default all others.")] = None,
    keep_missing: Annotated[bool, Query(description="Keep records that are not in the file.")] = False,
    replace: Annotated[bool, Query(description="Go on where nothing in the file is in the collection yet.")] = False,
    encoding: str | None = None,
    sheet: str | None = None,
) -> JobCard:
    """As `huiyi index`: new records are added, changed ones changed, missing ones deleted. One that is not there is made, of `model`."""
    desk = desk_of(request)
    found = await asyncio.to_thread(_model_of, desk, name, model)
    arguments: dict[str, Any] = {
        "collection": name, "file": filename, "text": text, "id": id, "meta": meta, "keep_missing": keep_missing, "replace": replace,
        "encoding": encoding, "sheet": sheet,
    }  # fmt: skip
    with desk.jobs.arriving() as folder:
        path = folder / "body"
        with path.open("wb") as file:
            size = 0
            async for piece in _pieces(request):
                size += len(piece)
                if size > request.app.state.limits.max_upload_bytes:
                    raise TooLarge(f"a file may have {request.app.state.limits.max_upload_bytes / 2**20:,.0f} MB here; send it in parts")
                await asyncio.to_thread(file.write, piece)
        job = await asyncio.to_thread(lambda: desk.jobs.submit("index", arguments, collection=name, model=found, files={filename: path}))
    return job_card(job)


def _model_of(desk: Desk, name: str, model: str | None) -> Served | None:
    """What gives the collection's vectors, None where the job has to load it; for one that is to be made, the model that is named."""
    try:
        return desk.collections.served_model(name)
    except NotFound:
        return desk.model(model)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes. TooSlow when nothing does."""
    limit = request.app.state.limits.body_timeout_s
    more = True
    while more:
        try:
            message = await asyncio.wait_for(request.receive(), limit)
        except TimeoutError:
            raise TooSlow(f"no more of the body arrived within {limit:g} s") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        more = message.get("more_body", False)
        if piece := message.get("body", b""):
            yield piece


async def _lines(request: Request) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Lines that are not empty, some at a time, with the number of the first."""
    longest = request.app.state.limits.max_body_bytes
    rest = b""
    lines: list[bytes] = []
    size, first, number = 0, 1, 1
    async for piece in _pieces(request):
        *whole, rest = (rest + piece).split(b"\n")
        if len(rest) > longest:
            raise TooLarge(f"line {number + len(whole)} is longer than {longest:,} bytes; a record is a line")
        for line in whole:
            lines.append(line)
            size, number = size + len(line), number + 1
            if len(lines) == SLICE_LINES or size > SLICE_BYTES:
                yield first, lines
                lines, size, first = [], 0, number
    if rest or lines:
        yield first, [*lines, rest]


def _records(first: int, lines: list[bytes]) -> list[dict[str, Any]]:
    records = []
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except ValueError:
            raise InvalidInput(f"line {number} is not JSON; send an object with id and text a line") from None
        if not isinstance(record, dict):
            raise InvalidInput(f"line {number} is no object; send an object with id and text a line")
        records.append(record)
    return records


def _placed(error: HuiyiError, first: int, done: Added) -> HuiyiError:
    """The same error, which says what stays."""
    kept = done.added + done.changed + done.unchanged
    error.args = (f"{error} (from line {first} on; {kept:,} records before are kept)",)
    return error
