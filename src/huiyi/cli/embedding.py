"""`huiyi embed`: a file of texts into a file of vectors."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from huiyi.cli import options
from huiyi.cli.printing import Meter, note, print_json


def embed(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="txt (a text a line), csv, tsv, jsonl, xlsx or parquet; - is standard input.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="File to write: .npy, .jsonl or .parquet.")],
    text: options.Text = None,
    kind: Annotated[
        Literal["document", "query"], typer.Option(help="What the texts are; queries get the model's instruction.")
    ] = "document",
    instruction: Annotated[str | None, typer.Option(metavar="TASK", help="Task in the place of the model's own, for queries.")] = None,
    dimensions: Annotated[int | None, typer.Option(min=1, metavar="N", help="Cut vectors to N numbers. [default: all]")] = None,
    truncate: options.Truncate = "end",
    format: options.Format = None,
    encoding: options.Encoding = None,
    sheet: options.Sheet = None,
    model: options.Model = None,
    adapter: options.Adapter = None,
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    max_tokens: options.MaxTokens = None,
    offline: options.Offline = False,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Write the vector of every text in FILE, in the order of the file.

    A run that was stopped or killed goes on where it was when the same command is given again.
    """
    from huiyi import workspace

    with Meter(interrupted="stopped; give the same command again to go on from here") as meter:
        result = workspace.embed_file(
            file,
            output,
            context.obj.loader(model, precision, threads, introduced=True, max_tokens=max_tokens, offline=offline, adapter=adapter),
            text=text,
            kind=kind,
            instruction=instruction,
            dimensions=dimensions,
            truncate=truncate,
            format=format,
            encoding=encoding,
            sheet=sheet,
            overwrite=force,
            say=note,
            report=meter,
        )
    if result.full:
        note(f"texts that fill all the tokens the model reads: {result.full:,}; the rest of them is cut (--truncate none refuses them)")
    if result.empty:
        note(f"texts that are empty: {result.empty:,}")
    if json:
        print_json(result)
    else:
        typer.echo(f"{output}: {result.rows:,} vectors of {result.dimensions} numbers, {result.tokens:,} tokens, {result.seconds:.1f} s")
