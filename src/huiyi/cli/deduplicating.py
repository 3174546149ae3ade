"""`huiyi dedup`: the repeats in a file, or what it shares with another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from huiyi.cli import options
from huiyi.cli.printing import Meter, excerpt, note, print_json

if TYPE_CHECKING:
    from huiyi.workspace import DedupedFile, ShownPair

LINES = 5


def dedup(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="A file of texts (a path has a suffix or a slash), - for standard input.")],
    against: Annotated[
        str | None, typer.Option(metavar="FILE2", help="Find the rows that this file has too, instead of repeats within FILE.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT", help="Write the rows that stay: .csv, .xlsx, .jsonl or .tsv.")
    ] = None,
    review: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write the pairs side by side: .html, .csv, .xlsx, .jsonl or .tsv.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, metavar="COSINE", help="Least cosine of two texts that are one. [default: 0.9]")
    ] = None,
    terms: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Names that must not be mixed up: a line a thing, several names of it between commas."),
    ] = None,
    merge_all: Annotated[bool, typer.Option("--merge-all", help="Merge texts even where numbers, negation or names differ.")] = False,
    text: options.Text = None,
    against_text: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of FILE2 that holds the text.")] = None,
    truncate: options.Truncate = "end",
    format: options.Format = None,
    encoding: options.Encoding = None,
    sheet: options.Sheet = None,
    model: options.Model = None,
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Find texts that say the same: equal, nearly equal, or in other words.

    Texts whose numbers, negation or names differ are shown apart and stay. The row that most others are like stays of each group.
    """
    from huiyi import workspace

    if against_text and not against:
        raise typer.BadParameter("--against-text means nothing without --against", ctx=context)
    if terms and merge_all:
        raise typer.BadParameter("--terms means nothing with --merge-all", ctx=context)
    with Meter(interrupted="stopped; nothing was written. Give the same command again: what was embedded is remembered") as meter:
        result = workspace.dedup_file(
            file,
            context.obj.loader(model, precision, threads, introduced=True),
            against=against,
            output=output,
            review=review,
            threshold=threshold,
            terms=terms,
            guarded=not merge_all,
            text=text,
            against_text=against_text,
            truncate=truncate,
            format=format,
            encoding=encoding,
            sheet=sheet,
            overwrite=force,
            say=note,
            report=meter,
        )
    if json:
        print_json(result)
    else:
        _print(result)


def _print(result: "DedupedFile") -> None:
    gone = result.exact + result.near + result.semantic
    what = "are there too" if result.against else f"repeats in {result.groups:,} group{'s' * (result.groups != 1)}"
    how = f"{result.exact:,} exact, {result.near:,} near, {result.semantic:,} in other words at {result.threshold:g}"
    typer.echo(f"{result.rows:,} row{'s' * (result.rows != 1)}: {result.kept:,} stay, {gone:,} {what} ({how}), {result.seconds:.1f} s")
    _print_pairs("repeats", result.repeats, gone)
    _print_pairs("kept apart by the guard", result.held, result.apart)
    if result.unread:
        note(
            f"{result.model} does not tell texts in {', '.join(result.unread)} script apart: any two of them are as near as repeats, "
            f"so that only equal and nearly equal ones were taken for that"
        )
    if result.empty > 1:
        note(f"empty texts: {result.empty:,}; they count as one text")
    for path in filter(None, (result.output, result.review)):
        typer.echo(f"wrote {path}")


def _print_pairs(title: str, pairs: "tuple[ShownPair, ...]", total: int) -> None:
    if pairs:
        typer.echo(f"\n{title}: {total:,}" + (f", the first {LINES}" if total > LINES else ""))
    for pair in pairs[:LINES]:
        how = pair.remark or pair.likeness
        typer.echo(f"  {pair.score:.3f}  {excerpt(pair.stays_text)}  |  {excerpt(pair.text)}  ({how})")
