"""What a person or a program sees: results on standard output, notes and progress on standard error.

Rich is imported only when it draws something.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import typer

if TYPE_CHECKING:
    from huiyi.workspace import Progress, ShardProgress

LINE_EVERY_S = 10.0


def note(line: str) -> None:
    typer.echo(f"huiyi: {line}", err=True)


def print_json(result: Any) -> None:
    """A result dataclass as one JSON object; arrays as lists, scores to six digits."""
    rounded = {name: value.astype(float).round(6).tolist() if hasattr(value, "tolist") else value for name, value in asdict(result).items()}
    typer.echo(json.dumps(rounded, ensure_ascii=False))


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], gap: int = 2) -> None:
    """Where no terminal sets the width, rows of up to 240 characters are not broken."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, box=None, padding=(0, gap, 0, 0))
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 240, markup=False, highlight=False, emoji=False).print(table)


def excerpt(text: str, longest: int = 40) -> str:
    """On one line, `longest` characters at most."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


class Meter:
    """Shows the `Progress` that it is called with: a bar on a terminal, else a line now and then.

    interrupted: what to say on Ctrl-C, which ends the command with 130.
    """

    def __init__(self, interrupted: str) -> None:
        self._interrupted = interrupted
        self._bar: Any = None
        self._stack = ExitStack()
        self.since = monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()
        if isinstance(error, KeyboardInterrupt):
            note(self._interrupted)
            raise typer.Exit(130) from error

    def __call__(self, progress: "Progress") -> None:
        self._show(progress.rows_done, progress.rows, "rows", _rates(progress))

    def shards(self, progress: "ShardProgress") -> None:
        """The same of many files, whose rows are not known before."""
        self._show(progress.shards_done, progress.shards, "files", f"{progress.rows_done:,} rows, {_rates(progress)}")

    def _show(self, done: int, total: int, things: str, rates: str) -> None:
        if self.on_terminal:
            self.draw(done, total, rates)
        elif monotonic() - self.since > LINE_EVERY_S:
            self.since = monotonic()
            note(f"{done:,} of {total:,} {things}, {rates}")

    @property
    def on_terminal(self) -> bool:
        return sys.stderr.isatty()

    def draw(self, done: int, total: int, rates: str) -> None:
        """A bar of `done` of `total`, with `rates` beside it."""
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bar = self._stack.enter_context(Bar(*columns, console=Console(stderr=True), transient=True))
            self._bar.add_task("", total=total)
        self._bar.update(self._bar.task_ids[0], completed=done, description=rates)


def _rates(progress: "Progress | ShardProgress") -> str:
    return f"{progress.texts_per_s:,.0f} texts/s, {progress.tokens_per_s:,.0f} tokens/s, {duration(progress.seconds_left)} left"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
