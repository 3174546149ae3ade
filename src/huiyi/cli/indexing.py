"""`huiyi index` and `huiyi reindex`: a collection in step with a file or folder, and embedded anew with another model."""

from typing import TYPE_CHECKING, Annotated

import typer

from huiyi.cli import options
from huiyi.cli.printing import Meter, note, print_json

if TYPE_CHECKING:
    from huiyi.model import Model

Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection: letters, digits, - and _.")]


def index(
    context: typer.Context,
    name: Name,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A table (csv, tsv, jsonl, xlsx, parquet, txt with a text a line), a document (Markdown, source code, HTML, PDF, DOCX), "
            "or a folder of documents; - is standard input.",
        ),
    ],
    text: options.Text = None,
    id: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="Column that tells records apart. [default: id, else made of the text]")
    ] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option("--meta", metavar="COLUMN", help="Column to keep as metadata; may be given again. [default: all other columns]"),
    ] = None,
    no_meta: Annotated[bool, typer.Option("--no-meta", help="Keep no metadata.")] = False,
    keep_missing: Annotated[bool, typer.Option("--keep-missing", help="Keep records that are not in FILE.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Go on where nothing in FILE is in the collection yet, and all of it would be deleted.")
    ] = False,
    store: Annotated[
        str | None,
        typer.Option(metavar="STORE", help="Where to keep a new collection: local, milvus, milvus:URI, pinecone. [default: local]"),
    ] = None,
    instruction: Annotated[
        str | None, typer.Option(metavar="TASK", help="Task that queries to a new collection carry. [default: the model's own]")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Cut the vectors of a new collection to N numbers. [default: all]")
    ] = None,
    chunk_tokens: Annotated[int, typer.Option(metavar="N", help="Longest piece that a document is cut into.")] = 256,
    overlap: Annotated[int, typer.Option(metavar="N", help="Tokens that a piece repeats of the one before it.")] = 32,
    format: options.Format = None,
    encoding: options.Encoding = None,
    sheet: options.Sheet = None,
    model: options.Model = None,
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    ray: options.Ray = None,
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Bring the collection NAME in step with FILE, or make it: new records are added, changed ones changed, missing ones deleted.

    Texts that are there already are not embedded again. A run that was stopped goes on when the same command is given again.
    """
    from huiyi import workspace

    if no_meta and meta:
        raise typer.BadParameter("--no-meta and --meta do not go together", ctx=context)

    def load(wanted: str | None) -> "Model":
        return context.obj.loader(model or wanted, precision, threads, introduced=True, ray=ray, device=device)()  # type: ignore[no-any-return]

    with Meter(interrupted="stopped; what was embedded is kept: give the same command again to go on from here") as meter:
        result = workspace.index(
            name,
            source,
            load,
            text=text,
            id=id,
            meta=[] if no_meta else meta,
            keep_missing=keep_missing,
            replace=replace,
            store=store,
            instruction=instruction,
            dimensions=dimensions,
            chunk_tokens=chunk_tokens,
            overlap=overlap,
            format=format,
            encoding=encoding,
            sheet=sheet,
            say=note,
            report=meter,
        )
    for line in result.skipped:
        note(line)
    if result.cut:
        note(f"texts longer than the model reads: {result.cut:,}; the rest of them is not found")
    if json:
        print_json(result)
        return
    kept = f", {result.kept:,} that are not in {source} kept" if result.kept else ""
    typer.echo(
        f"{name}: {result.records:,} records ({result.added:,} added, {result.changed:,} changed, {result.unchanged:,} unchanged, "
        f"{result.deleted:,} deleted{kept}), {result.embedded:,} texts embedded, {result.seconds:.1f} s"
    )


def reindex(
    context: typer.Context,
    name: Name,
    model: options.Model = None,
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    ray: options.Ray = None,
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Embed the collection NAME anew with another model, beside the vectors that are searched meanwhile, and swap at the end."""
    from huiyi import workspace

    with Meter(interrupted="stopped; nothing changed yet: give the same command again to go on from here") as meter:
        result = workspace.reindex(
            name, context.obj.loader(model, precision, threads, introduced=True, ray=ray, device=device), say=note, report=meter
        )
    if json:
        print_json(result)
    else:
        typer.echo(
            f"{name}: {result.records:,} records, now with {result.model} (before: {result.before}), {result.embedded:,} texts embedded"
        )
