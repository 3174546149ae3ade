"""What the worker hands to the engine, and what it makes of the answer: one outcome a text, whatever the engine does.

Owns the retry one by one and the checks on rows (shape, NaN, zero). Knows no queue and settles no promise.
"""

from collections.abc import Generator
from copy import copy

import numpy as np

from huiyi.encoding.waiting import Job
from huiyi.errors import HuiyiError, ModelFailed, Unavailable
from huiyi.types import Engine, Floats

Outcome = Floats | HuiyiError


class Batch:
    """Short texts of one adapter that go through the engine together and, where that fails, one by one."""

    counter = "batches"

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs, self.passes, self.seconds = jobs, 0, 0.0
        self.tokens = sum(job.length for job in jobs)
        self.padding_tokens = len(jobs) * max(job.length for job in jobs) - self.tokens

    def run(self, engine: Engine) -> list[tuple[Job, Outcome]]:
        outcomes = self._forward(engine, self.jobs)
        if len(self.jobs) > 1:
            for i, job in enumerate(self.jobs):
                if isinstance(outcomes[i], ModelFailed) and not job.done():
                    outcomes[i] = self._forward(engine, [job])[0]
        return list(zip(self.jobs, outcomes, strict=True))

    def _forward(self, engine: Engine, jobs: list[Job]) -> list[Outcome]:
        self.passes += 1
        try:
            return checked(jobs, engine.forward([job.ids for job in jobs], jobs[0].adapter), engine.dim)
        except HuiyiError as error:  # of a remote engine: it says itself what is wrong
            return [copy(error) for _ in jobs]
        except Exception as error:  # noqa: BLE001  whatever the engine raises is the answer of these texts
            return [failure(job, error) for job in jobs]


class LongRun:
    """One long text between its first step and its last. Its caller may leave at any step."""

    counter = "long_steps"
    padding_tokens = 0

    def __init__(self, job: Job) -> None:
        self.jobs, self.passes, self.seconds, self.tokens = [job], 0, 0.0, 0
        self._steps: Generator[None, None, Floats] | None = None

    def run(self, engine: Engine) -> list[tuple[Job, Outcome]]:
        """Empty while there are steps to come."""
        (job,) = self.jobs
        self.passes = 1
        try:
            self._steps = self._steps or engine.steps(job.ids, job.adapter)
            if job.done():
                self._steps.close()
                return [(job, Unavailable("nobody waits for this text"))]
            try:
                next(self._steps)
            except StopIteration as last:
                self.tokens = job.length
                return [(job, checked([job], np.asarray(last.value)[None], engine.dim)[0])]
            return []
        except Exception as error:  # noqa: BLE001  as in a batch
            return [(job, failure(job, error))]


def checked(jobs: list[Job], rows: Floats, dim: int) -> list[Outcome]:
    """A copy of each row (the engine may use its buffer again), or the failure of that row; ValueError when the shape is wrong."""
    rows = np.asarray(rows, dtype=np.float32)
    if rows.shape != (len(jobs), dim):
        raise ValueError(f"the engine answered {rows.shape} where {(len(jobs), dim)} was due")
    good = np.logical_and(np.isfinite(rows).all(axis=1), rows.any(axis=1))
    return [row.copy() if fine else failure(job) for job, row, fine in zip(jobs, rows, good, strict=True)]


def failure(job: Job, cause: BaseException | None = None) -> ModelFailed:
    what = "could not compute" if cause else "gave no usable vector (NaN, infinite or zero) for"
    error = ModelFailed(f"the model {what} this text of {job.length} tokens; other texts are not affected")
    error.__cause__ = cause
    return error
