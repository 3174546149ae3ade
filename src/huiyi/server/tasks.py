"""Tasks over HTTP: of a collection as jobs, since they look at all of it, and of a few texts in the request, which are answered at once.

Recommendation alone is answered at once from a collection, too. The paths are the verbs of the command line.
"""

from dataclasses import asdict
from enum import Enum
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from huiyi.server.collections import Filter, Name
from huiyi.server.desk import JsonRoute, desk_of
from huiyi.server.failures import WrongField
from huiyi.server.jobs import JobCard, job_card
from huiyi.server.names import JobId, Named
from huiyi.server.openai import Body, Model, Usage
from huiyi.workspace import Understood, classify, classify_zero_shot, understand

router = APIRouter(route_class=JsonRoute)

COLLECTION: list[str | Enum] = ["Collections: tasks"]
TEXTS: list[str | Enum] = ["Tasks"]
ClassifierName = Annotated[Named, Field(description="Of a classifier that was fitted.")]
Count = Annotated[int | None, Field(ge=1)]
SOME = ["快递什么时候到", "我的包裹还没收到", "怎么申请退款", "退款多久到账"]


def shown(**fields: Any) -> ConfigDict:
    examples: list[Any] = [fields]
    return ConfigDict(json_schema_extra={"examples": examples})


class TopicOptions(Body):
    """granularity: more makes finer topics; without it, it is chosen. n_topics: for kmeans."""

    method: Literal["graph", "kmeans", "hdbscan"] = "graph"
    granularity: Annotated[float | None, Field(gt=0)] = None
    n_topics: Count = None
    min_size: Count = None
    outliers: Annotated[bool, Field(description="Leave out what is unlike everything.")] = True


class ClusterJob(TopicOptions):
    """since: the id of an earlier job, whose names are kept and beside which topics are new or known. assign_to: sort into its topics."""

    model_config = shown(granularity=1.0)
    date: Annotated[str | None, Field(description="A field of the metadata, for topics over time.")] = None
    language: Annotated[Literal["en", "zh"] | None, Field(description="Of the page; default that of most topics.")] = None
    since: JobId | None = None
    assign_to: JobId | None = None


class DedupOptions(Body):
    threshold: Annotated[float | None, Field(ge=0, le=1, description="The least cosine of a repeat.")] = None
    guarded: Annotated[bool, Field(description="Keep apart what differs in a number, a negation or a name.")] = True


class DedupJob(DedupOptions):
    """against: another collection: what it has, too."""

    model_config = shown(threshold=0.92)
    against: Named | None = None


class SummaryOptions(Body):
    k: Annotated[int, Field(ge=1, le=1000)] = 5
    method: Literal["coverage", "lexrank"] = "coverage"


class SummarizeJob(SummaryOptions):
    model_config = shown(k=5)


class ClassifyJob(Body):
    model_config = shown(classifier="intents")
    classifier: ClassifierName


class FitJob(Body):
    """label: the field of the metadata with the label of each record; records without one are left out. outside: the label of no class."""

    model_config = shown(classifier="intents", label="intent")
    classifier: ClassifierName
    label: str | None = None
    outside: str | None = None
    precision: Annotated[float, Field(gt=0, lt=1, description="Of the answers that it is sure of, this share should be right.")] = 0.95
    overwrite: bool = False


class SuggestJob(Body):
    model_config = shown(classifier="intents", count=10)
    classifier: ClassifierName
    count: Annotated[int, Field(ge=1, le=10_000)] = 10


class ReindexJob(Body):
    model_config = shown(model="starter")
    model: Model = None


class ExportJob(Body):
    model_config = shown(format="xlsx")
    format: Literal["jsonl", "csv", "xlsx", "tsv"] = "jsonl"
    vectors: Annotated[bool, Field(description="The vectors besides, as .npy, in the same order.")] = False
    filter: Filter = None


class RecommendOptions(Body):
    """like, dislike, history: ids; the history's oldest first."""

    like: Annotated[list[str], Field(default_factory=list)]
    dislike: Annotated[list[str], Field(default_factory=list)]
    history: Annotated[list[str], Field(default_factory=list)]
    k: Annotated[int, Field(ge=1, le=1000)] = 10
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.3


class RecommendRequest(RecommendOptions):
    model_config = shown(like=["17"], k=5)
    filter: Filter = None


class Recommendation(BaseModel):
    """because: the id of the liked or seen one that it is nearest to."""

    id: str
    text: str
    score: float
    because: str


class Recommendations(BaseModel):
    object: Literal["list"]
    data: list[Recommendation]


class TextsBody(Body):
    """ids: names for the texts in the answer; default their numbers, from 0."""

    texts: Annotated[list[str], Field(min_length=1)]
    ids: list[str] | None = None
    model: Model = None


class ClusterTexts(TopicOptions, TextsBody):
    model_config = shown(texts=SOME)


class DedupTexts(DedupOptions, TextsBody):
    model_config = shown(texts=[*SOME, SOME[0]])


class SummarizeTexts(SummaryOptions, TextsBody):
    model_config = shown(texts=SOME, k=2)


class RecommendTexts(RecommendOptions, TextsBody):
    model_config = shown(texts=SOME, like=["0"], k=2)


class ClassifyTexts(Body):
    """Either a classifier that was fitted, or labels to choose between by their names."""

    model_config = shown(texts=SOME, labels=["物流", "退款"])
    texts: Annotated[list[str], Field(min_length=1)]
    classifier: ClassifierName | None = None
    labels: Annotated[list[str] | None, Field(min_length=2)] = None
    model: Model = None


class Answer(BaseModel):
    """result: of the task, as docs/server.md has it."""

    object: Literal["result"]
    result: dict[str, Any]
    model: str
    usage: Usage


class Decision(BaseModel):
    """label: null where it is not sure. probability: of `best`; of labels by name alone there is only score, a cosine."""

    label: str | None
    probability: float | None = None
    score: float | None = None
    best: str
    verdict: Literal["sure", "unsure", "out of scope", "nearest"]


class Decisions(BaseModel):
    object: Literal["list"]
    data: list[Decision]
    model: str
    usage: Usage


async def _submitted(request: Request, kind: str, collection: str, body: Body, **more: Any) -> JobCard:
    """A job over a collection that is there."""
    desk = desk_of(request)
    arguments = {"collection": collection} | body.model_dump(exclude_none=True) | more

    def work(cancelled: object) -> JobCard:
        model = desk.collections.served_model(collection)
        return job_card(desk.jobs.submit(kind, arguments, collection=collection, model=model))

    return await desk.wait(request, work)


JOB: dict[str, Any] = {"response_model": JobCard, "status_code": 202, "tags": COLLECTION}


@router.post("/v1/collections/{name}/cluster", summary="The topics of a collection", **JOB)
async def cluster_collection(name: Name, body: ClusterJob, request: Request) -> JobCard:
    """Files: topics.jsonl (a record a line, with its topic), topics.xlsx (a topic a line), topics.html (a map)."""
    return await _submitted(request, "cluster", name, body)


@router.post("/v1/collections/{name}/dedup", summary="The repeats in a collection", **JOB)
async def dedup_collection(name: Name, body: DedupJob, request: Request) -> JobCard:
    """Nothing is deleted. Files: kept.jsonl (records that would stay), repeats.jsonl (pairs, what was kept apart included)."""
    desk = desk_of(request)
    if body.against is not None:
        await desk.on_collection(request, body.against, lambda found: found.facts)
    return await _submitted(request, "dedup", name, body)


@router.post("/v1/collections/{name}/summarize", summary="The records that say most", **JOB)
async def summarize_collection(name: Name, body: SummarizeJob, request: Request) -> JobCard:
    return await _submitted(request, "summarize", name, body)


@router.post("/v1/collections/{name}/classify", summary="Sort a collection with a classifier", **JOB)
async def classify_collection(name: Name, body: ClassifyJob, request: Request) -> JobCard:
    """File: predicted.jsonl, every record with predicted, probability, best and verdict."""
    return await _submitted(request, "classify_predict", name, Body(), name=body.classifier)


@router.post("/v1/collections/{name}/classify/fit", summary="Fit a classifier on a collection's labels", **JOB)
async def fit(name: Name, body: FitJob, request: Request) -> JobCard:
    """Files: classifier.html (its figures), errors.jsonl (labels that are likely wrong)."""
    options = body.model_dump(exclude={"classifier"}, exclude_none=True)
    return await _submitted(request, "classify_fit", name, Body(), name=body.classifier, **options)


@router.post("/v1/collections/{name}/classify/suggest", summary="Which records to label next", **JOB)
async def suggest(name: Name, body: SuggestJob, request: Request) -> JobCard:
    return await _submitted(request, "classify_suggest", name, Body(), name=body.classifier, count=body.count)


@router.post("/v1/collections/{name}/reindex", summary="Embed a collection anew with another model", **JOB)
async def reindex(name: Name, body: ReindexJob, request: Request) -> JobCard:
    """Beside the live vectors; searches and writes go on, and the new ones take over at the end."""
    desk = desk_of(request)
    model = desk.model(body.model)
    model.width(None)

    def work(cancelled: object) -> JobCard:
        desk.collections.run(name, lambda found: found.facts)
        return job_card(desk.jobs.submit("reindex", {"collection": name}, collection=name, model=model))

    return await desk.wait(request, work)


@router.post("/v1/collections/{name}/export", summary="All records as a file", **JOB)
async def export(name: Name, body: ExportJob, request: Request) -> JobCard:
    return await _submitted(request, "export", name, body)


@router.post(
    "/v1/collections/{name}/recommend", response_model=Recommendations, summary="What else may please of a collection", tags=COLLECTION
)
async def recommend_from(name: Name, body: RecommendRequest, request: Request) -> Recommendations:
    _require_start(body)
    desk = desk_of(request)
    options = body.model_dump()
    found = await desk.on_collection(request, name, lambda found: found.recommend(**options))
    return Recommendations(object="list", data=[Recommendation(**asdict(each)) for each in found])


@router.post("/v1/cluster", response_model=Answer, summary="The topics of some texts", tags=TEXTS)
async def cluster(body: ClusterTexts, request: Request) -> Answer:
    return await _understood(request, "cluster", body)


@router.post("/v1/dedup", response_model=Answer, summary="The repeats among some texts", tags=TEXTS)
async def dedup(body: DedupTexts, request: Request) -> Answer:
    return await _understood(request, "dedup", body)


@router.post("/v1/summarize", response_model=Answer, summary="The texts that say most", tags=TEXTS)
async def summarize(body: SummarizeTexts, request: Request) -> Answer:
    return await _understood(request, "summarize", body)


@router.post("/v1/recommend", response_model=Recommendations, summary="What else may please of some texts", tags=TEXTS)
async def recommend(body: RecommendTexts, request: Request) -> Recommendations:
    _require_start(body)
    _, found = await _worked(request, "recommend", body)
    return Recommendations(object="list", data=[Recommendation(**asdict(each)) for each in found.result])


@router.post("/v1/classify", response_model=Decisions, summary="Sort some texts", tags=TEXTS)
async def classify_texts(body: ClassifyTexts, request: Request) -> Decisions:
    if (body.classifier is None) == (body.labels is None):
        raise WrongField("send either a classifier, or labels", "classifier")
    desk = desk_of(request)
    desk.refuse_many(len(body.texts))
    model = desk.model(body.model)
    model.width(None)
    if body.classifier is not None:
        name = body.classifier
        found = await desk.wait(request, lambda cancelled: classify(model, body.texts, name, cancelled))
        data = [Decision(**asdict(each)) for each in found.result]
    else:
        labels = body.labels or []
        found = await desk.wait(request, lambda cancelled: classify_zero_shot(model, body.texts, labels, cancelled))
        data = [Decision(label=label, score=score, best=label, verdict="nearest") for label, score in found.result]
    return Decisions(object="list", data=data, model=model.name, usage=Usage(prompt_tokens=found.tokens, total_tokens=found.tokens))


async def _understood(request: Request, task: str, body: TextsBody) -> Answer:
    name, found = await _worked(request, task, body)
    usage = Usage(prompt_tokens=found.tokens, total_tokens=found.tokens)
    return Answer(object="result", result=asdict(found.result), model=name, usage=usage)


async def _worked(request: Request, task: str, body: TextsBody) -> tuple[str, Understood]:
    desk = desk_of(request)
    desk.refuse_many(len(body.texts))
    model = desk.model(body.model)
    model.width(None)
    options = body.model_dump(exclude={"texts", "ids", "model"})
    found = await desk.wait(request, lambda cancelled: understand(task, model, body.texts, body.ids, cancelled=cancelled, **options))
    return model.name, found


def _require_start(body: RecommendOptions) -> None:
    if not body.like and not body.history:
        raise WrongField("name what to start from: ids in like, or in history", "like")
