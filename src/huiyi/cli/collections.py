"""`huiyi collections`: see which there are, what one holds, take it out, back it up, delete it."""

import json as json_
from pathlib import Path
from typing import Annotated, Any

import typer

from huiyi.cli import options
from huiyi.cli.printing import note, print_json

app = typer.Typer(help="Collections: list, show, export, delete, back up, restore, check.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection.")]
Filter = Annotated[
    str | None, typer.Option("--filter", metavar="JSON", help='Only records that match, such as \'{"lang": "zh", "price": {"$lt": 10}}\'.')
]


@app.command("list")
def list_(json: options.Json = False) -> None:
    """Show the collections that are there."""
    from huiyi import workspace

    result = workspace.collection_list()
    if json:
        print_json(result)
        return
    for each in result.collections:
        if each.problem:
            typer.echo(f"{each.name}: {each.problem}")
        else:
            size = "" if each.size_bytes is None else f", {_size(each.size_bytes)}"
            typer.echo(f"{each.name}: {each.records:,} records, {each.model}, {each.dim} numbers, {each.store}{size}")
    if not result.collections:
        note("there are no collections yet; huiyi index NAME FILE makes one")


@app.command()
def show(
    name: Name,
    first: Annotated[int, typer.Option(min=0, max=100, metavar="N", help="Records to show.")] = 3,
    json: options.Json = False,
) -> None:
    """Show what a collection is and its first records."""
    from huiyi import workspace

    result = workspace.collection_show(name, first=first)
    if json:
        print_json(result)
        return
    size = "" if result.size_bytes is None else f", {_size(result.size_bytes)}"
    lines = {
        "records": f"{result.records:,} ({result.indexed:,} in the index){size}",
        "model": f"{result.model}{result.precision and f' in {result.precision}'}, {result.dim} numbers",
        "queries": result.instruction or "with the model's own task",
        "store": result.store,
        **result.about,
        "fields": ", ".join(result.fields) or "none",
    }
    for label, value in lines.items():
        typer.echo(f"{label:>8}  {value}")
    for record in result.first:
        typer.echo(f"\n{record.id}  {json_.dumps(record.metadata, ensure_ascii=False)}\n{record.text}")


@app.command()
def export(
    name: Name,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="File to write: .jsonl, .csv, .xlsx or .tsv.")],
    vectors: Annotated[Path | None, typer.Option(metavar="OUT", help="File for the vectors too, in the same order: .npy.")] = None,
    filter: Filter = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Write the records of a collection to a file."""
    from huiyi import workspace

    result = workspace.collection_export(name, output, vectors=vectors, filter=parsed(filter), overwrite=force)
    if json:
        print_json(result)
    else:
        typer.echo(f"{output}: {result.records:,} records" + (f"; vectors in {vectors}" if vectors else ""))


@app.command()
def delete(
    context: typer.Context,
    name: Name,
    id: Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="Delete only this record; may be given again.")] = None,
    filter: Filter = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.Json = False,
) -> None:
    """Delete a collection, or some of its records."""
    from huiyi import workspace

    if id and filter:
        raise typer.BadParameter("--id and --filter do not go together", ctx=context)
    if not (id or filter or yes):
        typer.confirm(f"Delete the collection {name} with all its records?", abort=True, err=True)
    result = workspace.collection_delete(name, ids=tuple(id or ()), filter=parsed(filter))
    if json:
        print_json(result)
    else:
        typer.echo(f"{name}: {result.records:,} records deleted" + (", and the collection" if result.whole else ""))


@app.command()
def backup(
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT", help="File to write. [default: NAME-DATE-TIME.backup]")
    ] = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Write all of a collection into one file, as it is at this moment; it may be written to meanwhile."""
    from huiyi import workspace

    result = workspace.collection_backup(name, output, overwrite=force)
    if json:
        print_json(result)
    else:
        typer.echo(f"{result.file}: {result.records:,} records, {_size(result.size_bytes)}")


@app.command()
def restore(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What huiyi collections backup wrote.")],
    force: Annotated[bool, typer.Option("--force", help="Put it in the place of the collection that is there.")] = False,
    json: options.Json = False,
) -> None:
    """Make a backup the collection NAME."""
    from huiyi import workspace

    result = workspace.collection_restore(name, file, overwrite=force)
    if json:
        print_json(result)
    else:
        typer.echo(f"{name}: {result.records:,} records, {result.model}")


@app.command()
def check(name: Name, json: options.Json = False) -> None:
    """Read every record and every vector of a collection, and say whether all are what was written."""
    from huiyi import workspace

    result = workspace.collection_check(name)
    if json:
        print_json(result)
    else:
        typer.echo(f"{name}: {result.records:,} records, all as they were written")


def parsed(filter: str | None) -> dict[str, Any] | None:
    """--filter, which is JSON."""
    if filter is None:
        return None
    try:
        given = json_.loads(filter)
    except ValueError as error:
        raise typer.BadParameter(f'--filter is JSON, such as \'{{"lang": "zh"}}\': {error}') from None
    if not isinstance(given, dict):
        raise typer.BadParameter('--filter is a JSON object, such as \'{"lang": "zh"}\'')
    return given


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"
