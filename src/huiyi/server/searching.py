"""What a collection is asked: `/v1/collections/NAME/search`, `/search/compare` and `/answer`.

Rerankers and the language model that writes replies are those that the server was started with; a request names no address.
"""

import logging
import threading
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from huiyi.errors import TooLarge, Unavailable
from huiyi.server.collections import Filter, Name, Value, answered, example
from huiyi.server.desk import Desk, JsonRoute, desk_of
from huiyi.server.failures import WrongField
from huiyi.server.openai import Body
from huiyi.serving import RequestReranker, Served
from huiyi.workspace import Answered, Collection, Writer, answer_in, search_compare_in, unknown_fields, with_reply

log = logging.getLogger(__name__)

MOST_HITS = 10_000  # of all queries of a request together
RERANKED = 50  # candidates of a query
router = APIRouter(route_class=JsonRoute, tags=["Collections"])

Queries = Annotated[str | list[str], Field(description="A text, or several.")]
Hint = Annotated[str | None, Field(description="Why nothing may have been found: fields of the filter that no record has.")]


class SearchRequest(Body):
    """A query, several, or a vector in their place."""

    model_config = example("search")
    query: Queries | None = None
    vector: Annotated[list[float] | None, Field(min_length=1, description="In the query's place; made by the collection's model.")] = None
    k: Annotated[int, Field(ge=1, le=1000)] = 10
    mode: Annotated[
        Literal["hybrid", "semantic", "keyword"] | None,
        Field(description="By meaning and words (hybrid, the default for texts), by meaning alone, or by words alone."),
    ] = None
    filter: Filter = None
    min_score: Annotated[
        float | Literal["tuned"] | None, Field(description="Leave out hits below; tuned: below what huiyi search --tune learned.")
    ] = None
    diversity: Annotated[float | None, Field(ge=0, le=1, description="How much hits shall differ from one another.")] = None
    highlight: Annotated[bool, Field(description="Tell where the query's words are in a hit's text, as spans.")] = False
    rerank: Annotated[
        str | None, Field(description="A served reranker that reads the best candidates together with the query; scores are then its.")
    ] = None
    rerank_depth: Annotated[int | None, Field(ge=1, le=1000, description="Candidates that it reads, k at least; default 50.")] = None


class Hit(BaseModel):
    """score: higher is better; the mode says of what."""

    model_config = ConfigDict(extra="allow")
    id: str
    score: float
    text: str
    metadata: dict[str, Value]


class Found(BaseModel):
    hits: list[Hit]


class SearchResponse(BaseModel):
    """results: one for each query, in their order; hits best first."""

    object: Literal["list"]
    collection: str
    results: list[Found]
    hint: Hint = None


class CompareRequest(Body):
    model_config = example("compare")
    query: Queries
    k: Annotated[int, Field(ge=1, le=1000)] = 10
    filter: Filter = None
    highlight: Annotated[bool, Field(description="Tell where the query's words are in a hit's text, as spans.")] = False


class Compared(BaseModel):
    """The hits by words alone, and by meaning alone."""

    keyword: list[Hit]
    semantic: list[Hit]


class CompareResponse(BaseModel):
    """results: one for each query, in their order."""

    object: Literal["list"]
    collection: str
    results: list[Compared]
    hint: Hint = None


class AnswerRequest(Body):
    model_config = example("answer")
    question: str
    k: Annotated[int, Field(ge=1, le=100, description="Most suggestions beside the answer.")] = 3
    column: Annotated[str | None, Field(description="The metadata that hold answers; default answer, reply, 答案 and the like.")] = None
    filter: Filter = None
    reply: Annotated[
        bool | None,
        Field(description="Whether the server's language model shall write a reply from the passages; default where it has one."),
    ] = None


class Reply(BaseModel):
    """cited: numbers of the passages, from 1, that the text cites; unknown: numbers it cites that are none."""

    text: str
    cited: list[int]
    unknown: list[int]


class AnswerResponse(BaseModel):
    """answer: null where nothing is sure enough to be one; suggestions are then the nearest, hit among them.

    confidence: how probable it is that hit answers the question; least: from where on that is an answer; null where nobody knows.
    taught: whether that was learned from questions of this collection (huiyi answer --learn); else it is a default.
    """

    object: Literal["answer"]
    collection: str
    question: str
    answer: str | None
    confidence: float | None
    least: float | None
    taught: bool
    hit: Hit | None
    suggestions: list[Hit]
    passages: list[str]
    reply: Reply | None
    hint: Hint = None


@router.post("/v1/collections/{name}/search", response_model=SearchResponse, summary="The records that answer a query best")
async def search(name: Name, body: SearchRequest, request: Request) -> Response:
    desk = desk_of(request)
    if (body.query is None) == (body.vector is None):
        raise WrongField("send either a query, or a vector", "query")
    queries: Any = [body.query] if isinstance(body.query, str) else body.query
    if body.vector is not None:
        queries = np.asarray([body.vector], np.float32)
    _refuse_many(len(queries), body.k)
    mode = body.mode or ("semantic" if body.vector is not None else None)
    given = {"mode": mode, "min_score": body.min_score, "diversity": body.diversity, "highlight": body.highlight or None}
    options: dict[str, Any] = {option: value for option, value in given.items() if value is not None}
    reranker = _reranker(desk, body, len(queries))

    def work(cancelled: threading.Event) -> tuple[list[Any], str | None]:
        if reranker:
            options["rerank"] = RequestReranker(reranker, cancelled)
            options["rerank_depth"] = body.rerank_depth or RERANKED

        def ask(found: Collection) -> tuple[list[Any], str | None]:
            hits = found.search_all(queries, body.k, filter=body.filter, **options)
            return hits, None if all(hits) else unknown_fields(found, body.filter)

        return desk.collections.run(name, ask)

    found, hint = await desk.wait(request, work)
    desk.count_searches(len(queries))
    results = [{"hits": [asdict(hit) for hit in hits]} for hits in found]
    return answered({"object": "list", "collection": name, "results": results, "hint": hint})


@router.post("/v1/collections/{name}/search/compare", response_model=CompareResponse, summary="What words find beside what meaning finds")
async def compare(name: Name, body: CompareRequest, request: Request) -> Response:
    desk = desk_of(request)
    queries = [body.query] if isinstance(body.query, str) else body.query
    _refuse_many(len(queries), 2 * body.k)
    options: dict[str, Any] = {"k": body.k, "filter": body.filter, "highlight": body.highlight}
    found = await desk.on_collection(request, name, lambda found: search_compare_in(found, queries, **options))
    desk.count_searches(2 * len(queries))
    both = zip(found.keyword, found.semantic, strict=True)
    results = [{"keyword": [asdict(hit) for hit in words], "semantic": [asdict(hit) for hit in meaning]} for words, meaning in both]
    return answered({"object": "list", "collection": name, "results": results, "hint": found.hint})


@router.post("/v1/collections/{name}/answer", response_model=AnswerResponse, summary="The record that answers a question, or none")
async def answer(name: Name, body: AnswerRequest, request: Request) -> Response:
    desk = desk_of(request)
    writer = desk.writer if body.reply is not False else None
    if body.reply and writer is None:
        raise WrongField("this server has no language model (huiyi serve --llm URL --llm-model NAME); leave reply out", "reply")
    options: dict[str, Any] = {"k": body.k, "column": body.column, "filter": body.filter}
    found = await desk.on_collection(request, name, lambda found: answer_in(found, body.question, **options))
    desk.count_searches(1)
    if writer and found.answer is not None:
        found = await desk.wait(request, lambda cancelled: _told(found, writer))
    told = asdict(found)
    if found.reply:
        del told["reply"]["passages"]  # those of the answer
    return answered({"object": "answer", "collection": told.pop("name"), **told})


def _told(found: Answered, writer: Writer) -> Answered:
    try:
        return with_reply(found, writer)
    except Unavailable as error:  # its words name the model's address
        log.warning("%s", error)
        raise Unavailable('the language model of this server gave no reply; with "reply": false the passages come without one') from error


def _reranker(desk: Desk, body: SearchRequest, queries: int) -> Served | None:
    if body.rerank is None:
        if body.rerank_depth is not None:
            raise WrongField("rerank_depth means nothing without rerank", "rerank_depth")
        return None
    named = desk.model(body.rerank)
    if not named.is_reranker:
        served = ", ".join(model.name for model in desk.models if model.is_reranker)
        raise WrongField(f"{named.name} is no reranker; served here: {served or 'none (huiyi serve --rerank-model NAME)'}", "rerank")
    desk.refuse_many(queries * (1 + max(body.k, body.rerank_depth or RERANKED)))
    return named


def _refuse_many(queries: int, hits: int) -> None:
    if queries * hits > MOST_HITS:
        raise TooLarge(f"{queries:,} queries of {hits:,} hits are more than {MOST_HITS:,} in all; send fewer at a time")
