"""`/v1/embeddings` and `/v1/models`, with OpenAI's fields and some of our own.

A field that is not known is refused: an option that is ignored gives an answer that nobody asked for. Vectors are written by hand,
since a general serialiser would take longer than a small model's forward pass.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from huiyi.server.desk import Desk, Inputs, JsonRoute, desk_of
from huiyi.server.failures import WrongField
from huiyi.serving import OutputType, Truncate, quantized

ROWS_AT_ONCE = 64

router = APIRouter(route_class=JsonRoute, tags=["OpenAI"])


def checked_input(value: Any) -> list[Any]:
    """The inputs as a list: of texts, or of lists of token ids."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise ValueError("give a text, a list of texts, a list of token ids, or a list of such lists; at least one")
    if isinstance(value[0], str):
        for at, text in enumerate(value):
            if not isinstance(text, str):
                raise ValueError(f"element {at} is not a text, and the ones before are; do not mix")
        return value
    return value if isinstance(value[0], list) else [value]


TOKENS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
Input = Annotated[
    list[Any],
    PlainValidator(checked_input),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                TOKENS,
                {"type": "array", "items": TOKENS, "minItems": 1},
            ]
        }
    ),
]
Model = Annotated[str | None, Field(description="A served model's name or alias; may be left out where one model is served.")]
Truncation = Annotated[Truncate, Field(description="Where a text that is too long is cut; none refuses it.")]


class Body(BaseModel):
    """What requests have in common: nothing is coerced and nothing is ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)


class EmbeddingRequest(Body):
    input: Annotated[Input, Field(description="A text, texts, or token ids that end in the model's end-of-text token.")]
    model: Model = None
    dimensions: Annotated[int | None, Field(ge=1, description="Cut vectors to this many numbers, then to unit length.")] = None
    encoding_format: Annotated[Literal["float", "base64"] | None, Field(description="base64: of little-endian float32.")] = None
    user: Annotated[str | None, Field(description="Taken and not used.")] = None
    input_type: Annotated[
        Literal["query", "document"] | None, Field(description="query puts the model's instruction before each text; default document.")
    ] = None
    instruction: Annotated[str | None, Field(description="Your task in the instruction's place, for input_type query.")] = None
    output_type: Annotated[OutputType | None, Field(description="Small integers in the place of float32; see docs/server.md.")] = None
    truncate: Truncation = "none"


class Usage(BaseModel):
    """Tokens as the model saw them, template and end-of-text token included."""

    prompt_tokens: int
    total_tokens: int


class Embedding(BaseModel):
    object: Literal["embedding"]
    index: int
    embedding: Annotated[list[float] | str, Field(description="Numbers, or base64 of their bytes.")]


class EmbeddingResponse(BaseModel):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class ModelCard(BaseModel):
    """task: embedding; pair-classifier, which /v1/similarity alone can use; or reranker, for /v1/rerank.

    dimensions: of a full vector, null where there is none. max_tokens: of a text, or of a pair. space: which vectors may be compared.
    parent: of an adapter, the model that it changes.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    aliases: list[str]
    task: Literal["embedding", "pair-classifier", "reranker"]
    parent: str | None
    dimensions: int | None
    max_tokens: int
    space: str


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ModelCard]


@router.post("/v1/embeddings", response_model=EmbeddingResponse, summary="Vectors of texts")
async def embeddings(body: EmbeddingRequest, request: Request) -> Response:
    """One unit vector an input, in the order of the inputs."""
    desk = desk_of(request)
    model = desk.model(body.model)
    output = body.output_type or "float"
    if body.instruction is not None and body.input_type != "query":
        raise WrongField('an instruction belongs to queries: send "input_type": "query" with it', "instruction")
    inputs = Inputs(body.input, body.input_type or "document", body.instruction, body.truncate)
    made = await desk.embed(request, model, inputs, dimensions=body.dimensions)
    end = _ending(model.name, int(made.tokens.sum()))
    pieces = _written(quantized(made.vectors, output), body.encoding_format == "base64")
    if len(made.vectors) <= ROWS_AT_ONCE:
        return Response(b"".join([START, *pieces, end]), media_type="application/json")
    return StreamingResponse(_paced(pieces, end), media_type="application/json")


@router.get("/v1/models", response_model=ModelList, summary="The models served here")
async def models(request: Request) -> ModelList:
    desk = desk_of(request)
    return ModelList(object="list", data=[card(desk, model.name) for model in desk.models])


@router.get("/v1/models/{name:path}", response_model=ModelCard, summary="One of them")
async def model(name: str, request: Request) -> ModelCard:
    return card(desk_of(request), name)


def card(desk: Desk, name: str) -> ModelCard:
    found = desk.model(name)
    return ModelCard(
        id=found.name,
        object="model",
        created=desk.started,
        owned_by="huiyi",
        aliases=list(found.aliases),
        task="reranker" if found.is_reranker else "pair-classifier" if found.is_classifier else "embedding",
        parent=found.base,
        dimensions=None if found.is_classifier or found.is_reranker else found.dim,
        max_tokens=found.max_tokens,
        space=found.space,
    )


START = b'{"object":"list","data":['


def _ending(name: str, tokens: int) -> bytes:
    return b"]," + orjson.dumps({"model": name, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})[1:]


def _written(rows: NDArray[Any], as_base64: bool) -> Iterator[bytes]:
    """Pieces of the list under `data`, ROWS_AT_ONCE in each."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        piece = []
        for index in range(start, min(start + ROWS_AT_ONCE, len(rows))):
            row = rows[index]
            if as_base64:
                numbers = b'"' + base64.b64encode(np.ascontiguousarray(row, row.dtype.newbyteorder("<")).tobytes()) + b'"'
            else:
                numbers = orjson.dumps(np.ascontiguousarray(row), option=orjson.OPT_SERIALIZE_NUMPY)
            piece.append(b'%b{"object":"embedding","index":%d,"embedding":%b}' % (b"," if index else b"", index, numbers))
        yield b"".join(piece)


async def _paced(pieces: Iterator[bytes], end: bytes) -> AsyncIterator[bytes]:
    yield START
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)  # others have their turn
    yield end
