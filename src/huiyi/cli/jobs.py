"""`huiyi jobs`: the long work of servers on this machine: what waits, runs and has ended, one followed, cancelled or forgotten."""

import json as json_
import time
from typing import TYPE_CHECKING, Annotated

import typer

from huiyi.cli import options
from huiyi.cli.printing import LINE_EVERY_S, Meter, duration, note, print_json, print_table

if TYPE_CHECKING:
    from huiyi.workspace import Job

app = typer.Typer(help="Jobs of huiyi serve: list, show, watch, cancel, delete.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The job, as huiyi jobs list names it.")]
NOBODY = "no server is at the jobs that have not ended; the next huiyi serve takes them up"


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Jobs to show, the newest.")] = 20,
    json: options.Json = False,
) -> None:
    """Show the jobs that wait, run and have ended, newest first."""
    from huiyi import workspace

    result = workspace.job_list(limit)
    if json:
        print_json(result)
        return
    if result.jobs:
        head = ("job", "what", "collection", "state", "since", "")
        print_table(head, [(job.id, job.kind, job.collection or "", job.state, _since(job), _how_far(job)) for job in result.jobs])
    else:
        note("there are no jobs; huiyi serve makes them, of what takes long over HTTP or in the console")
    if not result.worked_on and any(not job.has_ended for job in result.jobs):
        note(NOBODY)


@app.command()
def show(id: Id, json: options.Json = False) -> None:
    """Show a job: its state, its result, the files that it made."""
    from huiyi import workspace

    jobs = workspace.Jobs()
    job = jobs.get(id)
    if json:
        print_json(job)
        return
    lines = {
        "job": f"{job.id}, {job.kind}" + (f" of {job.collection}" if job.collection else ""),
        "state": f"{job.state}, {_since(job)}" + (f", begun {job.attempts} times" if job.attempts > 1 else ""),
        "so far": _how_far(job) if not job.has_ended else "",
        "about": job.about,
        "given": json_.dumps({name: value for name, value in job.arguments.items() if value is not None}, ensure_ascii=False),
        "error": job.error.message if job.error else "",
        "result": json_.dumps(job.result, ensure_ascii=False) if job.result else "",
        **{f"file {number}": str(jobs.file(id, name)) for number, name in enumerate(job.files, 1)},
    }
    for label, value in lines.items():
        if value:
            typer.echo(f"{label:>8}  {value}")


@app.command()
def watch(
    id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The job. [default: the oldest that has not ended]")] = None,
    json: options.Json = False,
) -> None:
    """Follow a job to its end; Ctrl-C ends the watching and not the job. The exit code is 0 when it succeeded."""
    from huiyi import workspace

    with Meter(interrupted="not watched any more; the job goes on, and huiyi jobs cancel ID ends it") as meter:
        job = workspace.job_watch(id, _Told(meter))
    if json:
        print_json(job)
    else:
        typer.echo(f"{job.id}: {job.kind} {job.state}" + (f": {job.error.message}" if job.error else ""))
    if job.state != "succeeded":
        raise typer.Exit(1)


@app.command()
def cancel(id: Id, json: options.Json = False) -> None:
    """Take a job out of the queue, or end its process; records that it added stay."""
    from huiyi import workspace

    job = workspace.Jobs().cancel(id)
    if json:
        print_json(job)
    else:
        typer.echo(f"{id}: {'cancelled' if job.has_ended else 'its process is told to end; huiyi jobs watch shows when it has'}")


@app.command()
def delete(id: Id, json: options.Json = False) -> None:
    """Forget a job that has ended, with its files."""
    from huiyi import workspace

    jobs = workspace.Jobs()
    job = jobs.get(id)
    jobs.delete(id)
    if json:
        print_json(job)
    else:
        typer.echo(f"{id}: deleted, with {len(job.files)} files")


class _Told:
    """Says of a job that is watched what is new."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._state = ""

    def __call__(self, job: "Job", worked_on: bool) -> None:
        if job.state != self._state:
            self._state = job.state
            note(f"{job.id}: {job.kind} {job.state}")
            if not worked_on:
                note(NOBODY)
        elif job.progress and self._meter.on_terminal:
            self._meter.draw(job.progress.done, job.progress.total, _rate(job))
        elif job.progress and time.monotonic() - self._meter.since > LINE_EVERY_S:
            self._meter.since = time.monotonic()
            note(_how_far(job))


def _since(job: "Job") -> str:
    if job.ended is not None:
        return f"took {duration(job.ended - (job.started or job.ended))}"
    since = duration(max(0.0, time.time() - (job.started or job.created)))
    return f"for {since}"


def _how_far(job: "Job") -> str:
    if job.has_ended or job.progress is None:
        return job.error.message if job.error else "" if job.has_ended else job.about
    return f"{job.progress.done:,} of {job.progress.total:,}, {_rate(job)}"


def _rate(job: "Job") -> str:
    assert job.progress
    left = "" if job.progress.seconds_left is None else f", {duration(job.progress.seconds_left)} left"
    return f"{job.progress.texts_per_s:,.0f} texts/s{left}"
