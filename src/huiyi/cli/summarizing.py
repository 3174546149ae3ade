"""`huiyi summarize` and `huiyi recommend`: short views of many texts."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from huiyi.cli import options
from huiyi.cli.printing import Meter, excerpt, note, print_json

STOPPED = "stopped; nothing was written. Give the same command again: what was embedded is remembered"


def summarize(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="A document or a table of texts (a path has a suffix or a slash), - for standard input.")],
    k: Annotated[int, typer.Option("-k", min=1, metavar="N", help="How many sentences or texts.")] = 5,
    kind: Annotated[
        Literal["auto", "text", "rows"],
        typer.Option("--as", help="text: the sentences of one text; rows: texts, a row each. auto: rows for tables and collections."),
    ] = "auto",
    method: Annotated[Literal["coverage", "lexrank"], typer.Option(help="How they are chosen; lexrank is the baseline.")] = "coverage",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="OUT", help="Write them: .csv, .xlsx, .jsonl or .tsv.")] = None,
    text: options.Text = None,
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
    """Print the sentences of a long text, or the texts of a table, that say most, none twice."""
    from huiyi import workspace

    with Meter(interrupted=STOPPED) as meter:
        found = workspace.summarize_file(
            file,
            context.obj.loader(model, precision, threads),
            k=k,
            kind=kind,
            method=method,
            output=output,
            text=text,
            truncate=truncate,
            format=format,
            encoding=encoding,
            sheet=sheet,
            overwrite=force,
            say=note,
            report=meter,
        )
    if json:
        print_json(found)
        return
    for line in found.lines:
        times = f" ×{line.times:,}" if line.times > 1 else ""
        typer.echo(excerpt(line.text, 300) if found.kind == "text" else f"{line.share:>6.1%}  {excerpt(line.text, 300)}{times}")
    note(f"mean cosine of all to these: {found.coverage:.2f}; to LexRank's choice {found.lexrank:.2f}, to one by lot {found.chance:.2f}")
    if found.output:
        typer.echo(f"wrote {found.output}")


def recommend(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="A table of items (a path has a suffix or a slash), - for standard input.")],
    like: Annotated[list[str] | None, typer.Option(metavar="ID", help="An item that is liked; give it again for more.")] = None,
    dislike: Annotated[list[str] | None, typer.Option(metavar="ID", help="An item that is not.")] = None,
    history: Annotated[list[str] | None, typer.Option(metavar="ID", help="An item that was seen, the oldest first.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, metavar="N", help="How many items.")] = 10,
    diversity: Annotated[float, typer.Option(min=0.0, max=1.0, help="0: the best ones, however alike; towards 1: more variety.")] = 0.3,
    where: Annotated[list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Only items of which this is true.")] = None,
    id_column: Annotated[str | None, typer.Option("--id", metavar="COLUMN", help="Column of the ids. [default: id, else the line]")] = None,
    evaluate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Do not recommend: say how often the last item of each user in this file (user, item) comes back."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="OUT", help="Write them: .csv, .xlsx, .jsonl or .tsv.")] = None,
    text: options.Text = None,
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
    """Recommend items from liked, disliked and seen ones; with one --like: more like this. What was named is left out."""
    from huiyi import workspace

    load = context.obj.loader(model, precision, threads)
    files: dict[str, Any] = {"text": text, "truncate": truncate, "format": format, "encoding": encoding, "sheet": sheet}
    with Meter(interrupted=STOPPED) as meter:
        if evaluate:
            given = {"--like": like, "--dislike": dislike, "--history": history, "--where": where, "--output": output}
            for option in (option for option, value in given.items() if value):
                raise typer.BadParameter(f"{option} means nothing with --evaluate", ctx=context)
            judged = workspace.evaluate_recommend(file, evaluate, load, k=k, id_column=id_column, say=note, report=meter, **files)
        else:
            found = workspace.recommend_file(
                file,
                load,
                liked=like or (),
                disliked=dislike or (),
                history=history or (),
                k=k,
                diversity=diversity,
                where=where or (),
                id_column=id_column,
                output=output,
                overwrite=force,
                say=note,
                report=meter,
                **files,
            )
    if json:
        print_json(judged if evaluate else found)
    elif evaluate:
        held = judged.held
        typer.echo(
            f"{held.histories:,} histories: the last item is among {held.k} for {held.hit_rate:.1%} "
            f"({held.hit_rate_low:.1%} to {held.hit_rate_high:.1%}), nDCG@{held.k} {held.ndcg:.3f}; "
            f"the most popular items {held.popular:.1%}, by lot {held.chance:.1%}"
        )
        if judged.unknown:
            note(f"interactions with items that are not in {file}: {judged.unknown:,}")
    else:
        for line in found.lines:
            typer.echo(f"{line.score:.3f}  {line.id:>6}  {excerpt(line.text, 300)}  (as {line.because})")
        if not found.lines:
            note("nothing is left to recommend: everything was named or filtered out")
        if found.output:
            typer.echo(f"wrote {found.output}")
