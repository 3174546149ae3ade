"""`/v1/similarity` and `/v1/rerank`: scores in the place of vectors: cosines, or what a model of pairs says. Higher is more alike."""

from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field, PlainValidator, WithJsonSchema
from starlette.requests import Request

from huiyi.server.desk import Desk, Inputs, JsonRoute, desk_of
from huiyi.server.failures import WrongField
from huiyi.server.openai import Body, Model, Truncation, Usage
from huiyi.serving import Served
from huiyi.types import Floats

router = APIRouter(route_class=JsonRoute)


def _pair(value: list[str]) -> list[str]:
    if len(value) != 2:
        raise ValueError("a pair has two texts")
    return value


def _document(value: Any) -> str:
    """A text as it is, or under `text` as Cohere's and Jina's clients send it."""
    if isinstance(value, dict) and set(value) == {"text"}:
        value = value["text"]
    if not isinstance(value, str):
        raise ValueError('a document is a text, or {"text": "..."}')
    return value


Pair = Annotated[list[str], AfterValidator(_pair), Field(json_schema_extra={"minItems": 2, "maxItems": 2})]
TEXT_OBJECT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"], "additionalProperties": False}
Document = Annotated[str, PlainValidator(_document), WithJsonSchema({"anyOf": [{"type": "string"}, TEXT_OBJECT]})]


class SimilarityRequest(Body):
    """Either `pairs`, or `text` and `others`."""

    model: Model = None
    pairs: Annotated[list[Pair] | None, Field(min_length=1, description="Two texts each.")] = None
    text: Annotated[str | None, Field(description="One text, to be compared with each of `others`.")] = None
    others: Annotated[list[str] | None, Field(min_length=1)] = None
    dimensions: Annotated[int | None, Field(ge=1)] = None
    truncate: Truncation = "none"


class SimilarityResponse(BaseModel):
    """scores: the cosine of each pair, or of `text` with each of `others`, in their order; of a pair classifier log odds.

    probability: of a pair classifier alone: how probable it is that two texts mean the same.
    """

    object: Literal["list"]
    scores: list[float]
    probability: list[float] | None = None
    model: str
    usage: Usage


class RerankRequest(Body):
    model: Annotated[str | None, Field(description="A served name or alias; default the only reranker, else the only model.")] = None
    query: str
    documents: Annotated[list[Document], Field(min_length=1)]
    top_n: Annotated[int | None, Field(ge=1, description="How many to give back; default all.")] = None
    return_documents: bool = False
    instruction: Annotated[str | None, Field(description="Your task in the place of the model's own, for the query.")] = None
    truncate: Truncation = "none"


class RerankedDocument(BaseModel):
    text: str


class Reranked(BaseModel):
    """index: of the document in the request. relevance_score: higher is better, see above. document: null unless return_documents."""

    index: int
    relevance_score: float
    document: RerankedDocument | None = None


class RerankResponse(BaseModel):
    model: str
    results: list[Reranked]
    usage: Usage


@router.post(
    "/v1/similarity", response_model=SimilarityResponse, response_model_exclude_none=True, summary="How alike texts are", tags=["Scores"]
)
async def similarity(body: SimilarityRequest, request: Request) -> SimilarityResponse:
    """Cosines of pairs, or of one text with many; of a pair classifier probabilities. Both sides are taken as they stand."""
    desk = desk_of(request)
    model = desk.model(body.model)
    if model.is_reranker:
        raise WrongField(f"model: {model.name} is a reranker and compares no texts; ask it at /v1/rerank", "model")
    if body.pairs is not None and body.text is None and body.others is None:
        texts = [text for pair in body.pairs for text in pair]
    elif body.pairs is None and body.text is not None and body.others is not None:
        texts = [body.text, *body.others]
    else:
        raise WrongField("send either pairs, or text and others", "pairs")
    if model.is_classifier:
        return await _probabilities(desk, request, model, body)
    made = await desk.embed(request, model, Inputs(texts, truncate=body.truncate), dimensions=body.dimensions)
    left, right = (made.vectors[::2], made.vectors[1::2]) if body.pairs else (made.vectors[:1], made.vectors[1:])
    return SimilarityResponse(object="list", scores=_cosines(left, right), model=model.name, usage=_usage(made.tokens))


async def _probabilities(desk: Desk, request: Request, model: Served, body: SimilarityRequest) -> SimilarityResponse:
    if body.dimensions is not None:
        raise WrongField("a pair classifier has no vectors to cut: leave dimensions out", "dimensions")
    first = [pair[0] for pair in body.pairs] if body.pairs else [body.text or ""] * len(body.others or ())
    second = [pair[1] for pair in body.pairs] if body.pairs else body.others or []
    scored = await desk.score_pairs(request, model, first, second, body.truncate)
    return SimilarityResponse(
        object="list",
        scores=scored.scores.tolist(),
        probability=scored.probabilities.tolist(),
        model=model.name,
        usage=_usage(scored.tokens),
    )


@router.post("/v1/rerank", response_model=RerankResponse, summary="Documents by how well they answer a query", tags=["Scores"])
async def rerank(body: RerankRequest, request: Request) -> RerankResponse:
    """In the shape of Cohere's and Jina's, best first.

    `relevance_score` is a reranker's probability that the document answers the query; of an embedding model, which answers where no
    reranker is served, the cosine of the two vectors.
    """
    desk = desk_of(request)
    model = desk.reranker(body.model)
    if model.is_reranker:
        scored = await desk.rerank(request, model, body.query, body.documents, body.instruction, body.truncate)
        scores, keys, tokens = scored.probabilities.tolist(), scored.scores, scored.tokens
    else:
        query = Inputs([body.query], "query", body.instruction, body.truncate)
        made = await desk.embed(request, model, query, Inputs(body.documents, truncate=body.truncate))
        scores, tokens = _cosines(made.vectors[:1], made.vectors[1:]), made.tokens
        keys = np.array(scores)
    best = np.argsort(-keys, kind="stable")[: body.top_n].tolist()
    results = [
        Reranked(
            index=at,
            relevance_score=scores[at],
            document=RerankedDocument(text=body.documents[at]) if body.return_documents else None,
        )
        for at in best
    ]
    return RerankResponse(model=model.name, results=results, usage=_usage(tokens))


def _cosines(left: Floats, right: Floats) -> list[float]:
    """Of unit vectors, rows of one `left` or as many as `right`; rounding can end at 1.0000001."""
    cosines: list[float] = np.clip(np.einsum("nd,nd->n", np.broadcast_to(left, right.shape), right), -1, 1).astype(float).tolist()
    return cosines


def _usage(tokens: Any) -> Usage:
    return Usage(prompt_tokens=int(tokens.sum()), total_tokens=int(tokens.sum()))
