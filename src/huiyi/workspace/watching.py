"""The jobs of HUIYI_HOME seen from a process that does none of them: which there are, and one followed to its end."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from huiyi.errors import NotFound
from huiyi.workspace.jobfile import Job
from huiyi.workspace.jobs import Jobs

LOOK_S = 0.5


@dataclass(frozen=True)
class JobList:
    """jobs: newest first, without their results. worked_on: whether a server is at those that have not ended."""

    jobs: tuple[Job, ...]
    worked_on: bool


def job_list(limit: int = 20) -> JobList:
    jobs = Jobs()
    return JobList(tuple(replace(job, result=None) for job in jobs.list()[:limit]), jobs.are_worked_on())


def job_watch(id: str | None = None, report: Callable[[Job, bool], object] = lambda job, worked_on: None) -> Job:
    """The job as it ended. id: by default of the oldest one that has not ended. report: also told whether a server is at it. NotFound."""
    jobs = Jobs()
    if id is None:
        waiting = [job.id for job in jobs.list() if not job.has_ended]
        if not waiting:
            raise NotFound("no job waits or runs; huiyi jobs list shows those that have ended")
        id = waiting[-1]
    while not (job := jobs.get(id)).has_ended:
        report(job, jobs.are_worked_on())
        time.sleep(LOOK_S)
    return job
