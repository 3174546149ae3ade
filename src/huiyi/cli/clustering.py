"""`huiyi cluster` and `huiyi topics`: the topics of a file or a collection, and what a person makes of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from huiyi.cli import options
from huiyi.cli.printing import Meter, note, print_json, print_table

if TYPE_CHECKING:
    from huiyi.workspace import ClusteredFile, TopicRun

SHOWN = 40

topics = typer.Typer(help="Topics that `huiyi cluster --save` kept: shown, renamed, merged. What is done holds for later runs.")


def cluster(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="File of texts, - for standard input, or the name of a collection.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "--out", "-o", metavar="OUT", help="Every row with its topic and name: .jsonl, .csv, .xlsx or .tsv."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="HTML", callback=options.page_with_charts, help="One page with a map, names, words, examples; opens offline."),
    ] = None,
    table: Annotated[Path | None, typer.Option(metavar="FILE", help="A line a topic: .csv, .xlsx, .jsonl or .tsv.")] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Keep the topics, .npz, for --since, --assign and `huiyi topics`.")
    ] = None,
    since: Annotated[Path | None, typer.Option(metavar="RUN", help="Keep that run's names and merges; say which topics are new.")] = None,
    assign: Annotated[Path | None, typer.Option(metavar="RUN", help="Sort the texts into that run's topics; look for no others.")] = None,
    text: options.Text = None,
    date: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of dates, for topics over time.")] = None,
    method: Annotated[Literal["graph", "kmeans", "hdbscan"], typer.Option(help="How topics are found.")] = "graph",
    granularity: Annotated[
        float | None, typer.Option(metavar="X", help="For graph: 0.1 few broad topics, 16 many narrow ones. [default: chosen]")
    ] = None,
    number: Annotated[int | None, typer.Option("--topics", metavar="N", help="So many topics, for graph and kmeans.")] = None,
    min_size: Annotated[int | None, typer.Option(min=1, metavar="N", help="Smaller topics join the nearest. [default: 5]")] = None,
    outliers: Annotated[bool, typer.Option("--outliers/--no-outliers", help="Whether texts far from all others are in no topic.")] = True,
    namer: Annotated[str | None, typer.Option(metavar="URL", help="Chat server (OpenAI's protocol) that names the topics.")] = None,
    namer_model: Annotated[str | None, typer.Option(metavar="M", help="Its model; its key is HUIYI_NAMER_KEY.")] = None,
    language: Annotated[Literal["en", "zh"] | None, typer.Option(help="Of the page. [default: that of the texts]")] = None,
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
    """Find the topics of many texts, and name them.

    The order of rows changes nothing. Topics are named by the words that set them apart; -1 is a text that is in none.
    """
    from huiyi import workspace

    if bool(namer) != bool(namer_model):
        raise typer.BadParameter("--namer and --namer-model go together", ctx=context)
    with Meter(interrupted="stopped; nothing was written") as meter:
        result = workspace.cluster_file(
            source,
            context.obj.loader(model, precision, threads, introduced=True),
            output=output,
            report_file=report,
            table=table,
            save=save,
            since=since,
            assign_to=assign,
            text=text,
            date=date,
            method=method,
            granularity=granularity,
            n_topics=number,
            min_size=min_size,
            outliers=outliers,
            namer=workspace.namer(namer, namer_model) if namer and namer_model else None,
            language=language,
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


def _print(result: "ClusteredFile") -> None:
    rows = []
    for topic in result.topics[:SHOWN]:
        firm = "–" if topic.stability is None else f"{topic.stability:.2f}"
        share = f"{100 * topic.share:.1f} %"
        rows.append((str(topic.topic), topic.name, f"{topic.rows:,}", share, firm, ", ".join(topic.words[:5]), topic.status))
    print_table(("topic", "name", "rows", "share", "stability", "words", ""), rows)
    if len(result.topics) > SHOWN:
        typer.echo(f"… and {len(result.topics) - SHOWN:,} more (--table writes all)")
    outside = f", {result.outliers:,} rows in none" if result.outliers else ""
    outside += f", {result.empty:,} without text" if result.empty else ""
    typer.echo(f"{result.rows:,} rows, {len(result.topics):,} topics{outside}; {result.about}; {result.seconds:.1f} s")
    for path in filter(None, (result.output, result.report, result.table, result.run)):
        typer.echo(path)


@topics.command("list")
def list_(run: Annotated[Path, typer.Argument(help="A file that --save wrote.")], json: options.Json = False) -> None:
    """The topics of a run: numbers, names, sizes, words."""
    from huiyi import workspace

    _print_run(workspace.topics_list(run), json)


@topics.command()
def rename(
    run: Annotated[Path, typer.Argument(help="A file that --save wrote.")],
    topic: Annotated[int, typer.Argument(help="Its number, as `huiyi topics list` shows it.")],
    name: Annotated[str, typer.Argument(help="The new name.")],
    json: options.Json = False,
) -> None:
    """Give a topic another name, which later runs keep."""
    from huiyi import workspace

    _print_run(workspace.topics_rename(run, topic, name), json)


@topics.command()
def merge(
    run: Annotated[Path, typer.Argument(help="A file that --save wrote.")],
    numbers: Annotated[list[int], typer.Argument(help="Numbers of topics; the first keeps its name.")],
    json: options.Json = False,
) -> None:
    """Show several topics as one, in later runs too."""
    from huiyi import workspace

    _print_run(workspace.topics_merge(run, numbers), json)


def _print_run(run: "TopicRun", json: bool) -> None:
    from dataclasses import asdict
    from json import dumps

    if json:
        typer.echo(dumps({"topics": [asdict(one) for one in run.shown], "model": run.model, "space": run.space}, ensure_ascii=False))
        return
    for one in run.shown:
        parts = f"  ({len(one.parts)} merged)" if len(one.parts) > 1 else ""
        typer.echo(f"{one.topic}\t{one.name}\t{one.rows:,} rows\t{', '.join(one.words[:5])}{parts}")
