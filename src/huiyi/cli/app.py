"""The command `huiyi`: one module a group of commands, and the one place where an error becomes a sentence and an exit code.

A command parses, calls `workspace` once and prints; it imports that inside itself, so that `huiyi --help` loads nothing heavy.
Results go to standard output, all else to standard error. Exit codes: 0, 1 (it failed), 2 (wrong usage), 130 (Ctrl-C).
"""

import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from huiyi import __version__
from huiyi.cli import (
    answering,
    classifying,
    clustering,
    collections,
    comparing,
    deduplicating,
    demonstrating,
    embedding,
    evaluating,
    indexing,
    jobs,
    model,
    searching,
    serving,
    summarizing,
    training,
)
from huiyi.cli.invocation import Invocation
from huiyi.cli.printing import note
from huiyi.ending import end_at_once
from huiyi.errors import HuiyiError

if TYPE_CHECKING:
    from huiyi.workspace import Load

app = typer.Typer(
    name="huiyi",
    help="One small embedding model put to all the work that a team has for it.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich alone would double the time of `huiyi --help`
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(embedding.embed)
app.command()(comparing.similarity)
app.command()(deduplicating.dedup)
app.command()(clustering.cluster)
app.command()(summarizing.summarize)
app.command()(summarizing.recommend)
app.command()(serving.serve)
app.command()(demonstrating.demo)
app.command()(training.train)
app.command()(indexing.index)
app.command()(indexing.reindex)
app.command()(searching.search)
app.command()(answering.answer)
app.add_typer(collections.app, name="collections")
app.add_typer(jobs.app, name="jobs")
app.add_typer(model.app, name="model")
app.add_typer(classifying.app, name="classify")
app.add_typer(evaluating.app, name="evaluate")
app.add_typer(training.app, name="reproduce")
app.add_typer(clustering.topics, name="topics")


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", envvar="HUIYI_DEBUG", help="Show the whole trace of an error.")] = False,
) -> None:
    context.obj.debug = debug
    if version:
        typer.echo(f"huiyi {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(args: Sequence[str] | None = None, load: "Load | None" = None) -> NoReturn:
    """Run one command and exit. load: in the place of `workspace.load`, for programs that bring their own model."""
    invocation = Invocation(load)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 still gets an answer
    try:
        code = app(args, prog_name="huiyi", standalone_mode=False, obj=invocation)
    except typer.Abort:
        code = 130
    except Exception as error:  # noqa: BLE001  (the boundary: nothing is swallowed, each ends in a sentence and a code)
        if invocation.debug:
            traceback.print_exception(error)
        code = _fail(error)
    for joined in invocation.joined:
        joined.close()
    sys.exit(code if isinstance(code, int) else 0)


def run() -> NoReturn:
    """`main`, in a process of its own."""
    end_at_once(main)


def _fail(error: Exception) -> int:
    """Say it in one sentence; the exit code."""
    if hasattr(error, "format_message"):  # wrong usage, as Typer puts it
        command = getattr(getattr(error, "ctx", None), "command_path", "huiyi")
        note(f"{error.format_message().rstrip('.')} (see {command} --help)")
        return 2
    if isinstance(error, HuiyiError):
        note(str(error))
    else:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        note(f"this should not have happened: {what}; run huiyi --debug, or set HUIYI_DEBUG=1, for the whole trace")
    return 1
