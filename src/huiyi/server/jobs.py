"""`/v1/jobs`: what takes long, done behind everything else: its state, its progress, its result and its files."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import FileResponse

from huiyi.server.desk import JsonRoute, desk_of
from huiyi.server.names import FileNamed, JobId
from huiyi.workspace import Job

router = APIRouter(route_class=JsonRoute, tags=["Jobs"])

Id = Annotated[JobId, Path()]
FileName = Annotated[FileNamed, Path()]
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".jsonl": "application/x-ndjson",
    ".csv": "text/csv; charset=utf-8",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


class Progress(BaseModel):
    """done of total, in texts or records. seconds_left: an estimate, null where nobody knows."""

    done: int
    total: int
    texts_per_s: float
    seconds_left: float | None


class JobFailure(BaseModel):
    """As the error of the same call would be."""

    status: int
    code: str
    message: str


class JobCard(BaseModel):
    """created, started, ended: seconds since 1970. about: what it is doing. files: at /v1/jobs/ID/files/NAME.

    attempts: how often it was begun: a job that ended with the server is begun again, and `index` and `reindex` go on where they were.
    """

    object: Literal["job"]
    id: str
    kind: str
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    collection: str | None
    created: float
    started: float | None
    ended: float | None
    attempts: int
    about: str
    progress: Progress | None
    result: dict[str, Any] | None
    error: JobFailure | None
    files: list[str]


class JobList(BaseModel):
    object: Literal["list"]
    data: list[JobCard]


class DeletedJob(BaseModel):
    id: str
    deleted: Literal[True]


@router.get("/v1/jobs", response_model=JobList, summary="All jobs, newest first")
async def jobs(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 20) -> JobList:
    """The last 100 that have ended are kept. Their results are at /v1/jobs/ID."""
    desk = desk_of(request)
    found = await desk.wait(request, lambda cancelled: desk.jobs.list())
    return JobList(object="list", data=[job_card(job).model_copy(update={"result": None}) for job in found[:limit]])


@router.get("/v1/jobs/{id}", response_model=JobCard, summary="One job")
async def job(id: Id, request: Request) -> JobCard:
    desk = desk_of(request)
    return job_card(await desk.wait(request, lambda cancelled: desk.jobs.get(id)))


@router.post("/v1/jobs/{id}/cancel", response_model=JobCard, summary="Cancel a job")
async def cancel(id: Id, request: Request) -> JobCard:
    """It is cancelled when its status says so: its process has ended then, and left nothing half done. Records it added stay."""
    desk = desk_of(request)
    return job_card(await desk.wait(request, lambda cancelled: desk.jobs.cancel(id)))


@router.delete("/v1/jobs/{id}", response_model=DeletedJob, summary="Forget a job that has ended, with its files")
async def delete(id: Id, request: Request) -> DeletedJob:
    desk = desk_of(request)
    await desk.wait(request, lambda cancelled: desk.jobs.delete(id))
    return DeletedJob(id=id, deleted=True)


@router.get(
    "/v1/jobs/{id}/files/{name}",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
    summary="A file that a job made",
)
async def file(id: Id, name: FileName, request: Request) -> FileResponse:
    """Pages open in a browser, cut off from this site; everything else is downloaded."""
    desk = desk_of(request)
    path = await desk.wait(request, lambda cancelled: desk.jobs.file(id, name))
    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox allow-scripts"}
    how = "inline" if path.suffix == ".html" else "attachment"
    media_type = TYPES.get(path.suffix, "application/octet-stream")
    return FileResponse(path, media_type=media_type, filename=name, headers=headers, content_disposition_type=how)


def job_card(job: Job) -> JobCard:
    return JobCard(
        object="job",
        id=job.id,
        kind=job.kind,
        status=job.state,
        collection=job.collection,
        created=job.created,
        started=job.started,
        ended=job.ended,
        attempts=job.attempts,
        about=job.about,
        progress=Progress(**job.progress.__dict__) if job.progress else None,
        result=job.result,
        error=JobFailure(**job.error.__dict__) if job.error else None,
        files=list(job.files),
    )
