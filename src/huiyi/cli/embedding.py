"""`huiyi embed`: a file of texts into a file of vectors, or many of them into a folder, on this machine or on those of a Ray cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from huiyi.cli import options
from huiyi.cli.printing import Meter, note, print_json

if TYPE_CHECKING:
    from huiyi.workspace import EmbeddedFile, EmbeddedShards


def embed(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            help="txt (a text a line), csv, tsv, jsonl, xlsx or parquet; - is standard input. Or many: a folder, or a pattern in quotes."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT", help="File to write: .npy, .jsonl or .parquet. Of many files, and with --ray: a folder."
        ),
    ],
    ray: options.Ray = None,
    as_: Annotated[
        Literal["npy", "jsonl", "parquet"] | None,
        typer.Option("--as", help="Format of the files in a folder. [default: npy]", show_default=False),
    ] = None,
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
    device: options.Device = None,
    max_tokens: options.MaxTokens = None,
    offline: options.Offline = False,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Write the vector of every text in FILE, in the order of the file.

    A run that was stopped or killed goes on where it was when the same command is given again. Of many files, those that are done are
    left, and those that cannot be read are named at the end.
    """
    from huiyi import workspace

    named = {"max_tokens": max_tokens, "offline": offline, "adapter": adapter, "device": device}
    load = context.obj.loader(model, precision, threads, introduced=True, ray=ray, **named)
    reading = {"text": text, "format": format, "encoding": encoding, "sheet": sheet}
    how = {"kind": kind, "instruction": instruction, "dimensions": dimensions, "truncate": truncate}
    many = ray is not None or workspace.is_many(file)
    if as_ is not None and not many:
        raise typer.BadParameter("--as is for many files; the name of OUT tells the format of one", ctx=context)
    result: EmbeddedFile | EmbeddedShards
    with Meter(interrupted="stopped; give the same command again to go on from here") as meter:
        if many:
            asked = workspace.How(**reading, **how)  # type: ignore[arg-type]
            result = workspace.embed_shards(file, output, load, asked, as_=as_ or "npy", overwrite=force, say=note, report=meter.shards)
        else:
            result = workspace.embed_file(file, output, load, **reading, **how, overwrite=force, say=note, report=meter)  # type: ignore[arg-type]
    if result.full:
        note(f"texts that fill all the tokens the model reads: {result.full:,}; the rest of them is cut (--truncate none refuses them)")
    if result.empty:
        note(f"texts that are empty: {result.empty:,}")
    if json:
        print_json(result)
    else:
        typer.echo(f"{output}: {result.rows:,} vectors of {result.dimensions} numbers, {result.tokens:,} tokens, {result.seconds:.1f} s")
    if failed := getattr(result, "failed", ()):
        note(f"files that were not embedded: {len(failed):,} (given above); the same command tries them again")
        raise typer.Exit(1)
