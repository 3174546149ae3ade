"""`huiyi evaluate`: how good a model is on a file, beside baselines and beside what it is to replace."""

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from huiyi.cli import options
from huiyi.cli.printing import Meter, excerpt, note, print_json, print_table

if TYPE_CHECKING:
    from huiyi.model import Model
    from huiyi.workspace import Evaluation, Loader, Reader, Setup

app = typer.Typer(name="evaluate", help="Measure a model on a file, beside baselines.", no_args_is_help=True, rich_markup_mode=None)

Against = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Compare with another model, or with tfidf or bm25; may be given more than once."),
]
Columns = Annotated[
    str | None, typer.Option(metavar="ROLE=COLUMN,…", help="Columns that have other names, such as sentence1=question,label=same.")
]
Report = Annotated[
    Path | None,
    typer.Option(callback=options.page_with_charts, metavar="OUT.html", help="Write a page with charts, which opens without internet."),
]
Kind = Annotated[
    Literal["document", "query"], typer.Option(help="What the queries are; document is right where questions are matched with questions.")
]
Instruction = Annotated[str | None, typer.Option(metavar="TASK", help="Task in the place of the model's own, for queries.")]
STOPPED = "stopped; nothing was written"


@app.command()
def pairs(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="Pairs: sentence1, sentence2, and label (0 or 1) or score.")],
    threshold_from: Annotated[
        str | None, typer.Option(metavar="FILE", help="Pairs to learn the threshold from. [default: by folds of FILE]")
    ] = None,
    aim: Annotated[Literal["accuracy", "f1"], typer.Option(help="What the threshold makes highest.")] = "accuracy",
    save_calibration: Annotated[
        Path | None, typer.Option(metavar="OUT.json", help="Keep threshold and probabilities for `huiyi similarity --calibrated`.")
    ] = None,
    against: Against = None,
    report: Report = None,
    columns: Columns = None,
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
    """Measure how well cosines tell pairs that mean the same from those that do not.

    Thresholds and probabilities are learned from other pairs than those they are reported on.
    """
    from huiyi import workspace

    reader = _reader(context, columns, format, encoding, sheet)
    with Meter(interrupted=STOPPED) as meter:
        setup = _setup(
            context,
            meter,
            model,
            against,
            reader,
            truncate=truncate,
            precision=precision,
            threads=threads,
            adapter=adapter,
            max_tokens=max_tokens,
            offline=offline,
        )
        result = workspace.evaluate_pairs(
            file, setup, threshold_from=threshold_from, aim=aim, save_calibration=save_calibration, page=report, overwrite=force
        )
    _show(result, json, report)
    if save_calibration:
        note(f"{save_calibration}: threshold and probabilities; use them with huiyi similarity --calibrated {save_calibration}")


@app.command()
def retrieval(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="Queries: query and positive (a text), or query and passage_id, or query_id and query.")],
    corpus: Annotated[str | None, typer.Option(metavar="FILE", help="Passages: id and text. [default: the texts in FILE]")] = None,
    qrels: Annotated[
        str | None, typer.Option(metavar="FILE", help="What answers what: query_id, passage_id, and a gain where answers differ.")
    ] = None,
    kind: Kind = "query",
    instruction: Instruction = None,
    against: Against = None,
    report: Report = None,
    columns: Columns = None,
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
    """Measure how well a model finds the passages that answer queries."""
    from huiyi import workspace

    if instruction and kind == "document":
        raise typer.BadParameter("--instruction belongs to queries, and --kind document makes them documents", ctx=context)
    reader = _reader(context, columns, format, encoding, sheet)
    with Meter(interrupted=STOPPED) as meter:
        setup = _setup(
            context,
            meter,
            model,
            against,
            reader,
            kind,
            instruction,
            truncate=truncate,
            precision=precision,
            threads=threads,
            adapter=adapter,
            max_tokens=max_tokens,
            offline=offline,
        )
        result = workspace.evaluate_retrieval(file, setup, corpus=corpus, answers=qrels, page=report, overwrite=force)
    _show(result, json, report)


@app.command()
def classification(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="Labelled texts to judge on: text and label.")],
    train: Annotated[str | None, typer.Option(metavar="FILE", help="Labelled texts to learn from. [default: by folds of FILE]")] = None,
    against: Against = None,
    report: Report = None,
    columns: Columns = None,
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
    """Measure how well a model's vectors tell classes apart, by a logistic regression on them."""
    from huiyi import workspace

    reader = _reader(context, columns, format, encoding, sheet)
    with Meter(interrupted=STOPPED) as meter:
        setup = _setup(
            context,
            meter,
            model,
            against,
            reader,
            truncate=truncate,
            precision=precision,
            threads=threads,
            adapter=adapter,
            max_tokens=max_tokens,
            offline=offline,
        )
        result = workspace.evaluate_classification(file, setup, train=train, page=report, overwrite=force)
    _show(result, json, report)


@app.command()
def clustering(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="Labelled texts: text and label.")],
    against: Against = None,
    report: Report = None,
    columns: Columns = None,
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
    """Measure how well classes come out as clusters of a model's vectors, by k-means told their number."""
    from huiyi import workspace

    reader = _reader(context, columns, format, encoding, sheet)
    with Meter(interrupted=STOPPED) as meter:
        setup = _setup(
            context,
            meter,
            model,
            against,
            reader,
            truncate=truncate,
            precision=precision,
            threads=threads,
            adapter=adapter,
            max_tokens=max_tokens,
            offline=offline,
        )
        result = workspace.evaluate_clustering(file, setup, page=report, overwrite=force)
    _show(result, json, report)


@app.command()
def data(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="Training or evaluation data: pairs, scored pairs, triplets, queries, labelled texts.")],
    evaluation: Annotated[str | None, typer.Option("--eval", metavar="FILE", help="Look for examples that FILE holds too: leaks.")] = None,
    report: Report = None,
    columns: Columns = None,
    format: options.Format = None,
    encoding: options.Encoding = None,
    sheet: options.Sheet = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", envvar="HUIYI_MODEL", metavar="NAME", help="Model whose tokenizer counts tokens.")
    ] = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Look at data before training on it: balance, duplicates, contradictions, leaks, token lengths and a max_length for them."""
    from huiyi import workspace

    reader = _reader(context, columns, format, encoding, sheet)
    found = workspace.evaluate_data(file, reader, evaluation=evaluation, model=model, page=report, overwrite=force)
    if json:
        print_json(found)
    else:
        _print_rows(found.table())
    if not model:
        note("token lengths are not counted: name a model with --model")
    if report:
        note(f"{report}: the same with pictures; open it in a browser")


def _setup(
    context: typer.Context,
    meter: Meter,
    model: str | None,
    against: list[str] | None,
    reader: "Reader",
    kind: Literal["document", "query"] = "query",
    instruction: str | None = None,
    *,
    truncate: Literal["end", "start", "none"],
    precision: str,
    threads: int | None,
    adapter: str | None,
    max_tokens: int | None,
    offline: bool,
) -> "Setup":
    """adapter, max_tokens: of the model that is judged, not of those beside it."""
    from huiyi.workspace import Setup

    def named(name: str) -> "Model":
        other: Loader = context.obj.loader(name, precision, threads, introduced=True, offline=offline)
        return other()

    load = context.obj.loader(model, precision, threads, introduced=True, adapter=adapter, max_tokens=max_tokens, offline=offline)
    return Setup(load, named, against or [], reader, truncate, kind, instruction, adapter, meter)


def _reader(context: typer.Context, columns: str | None, format: Any, encoding: str | None, sheet: str | None) -> "Reader":
    from huiyi.workspace import Reader

    return Reader(roles(context, columns), format, encoding, sheet, note)


def roles(context: typer.Context, columns: str | None) -> dict[str, str]:
    """`a=x,b=y` as a dict."""
    parts = [part.partition("=") for part in (columns or "").split(",") if part.strip()]
    if not all(sign and column.strip() for _, sign, column in parts):
        raise typer.BadParameter("--columns takes ROLE=COLUMN, several with commas between, such as sentence1=a,sentence2=b", ctx=context)
    return {role.strip(): column.strip() for role, _, column in parts}


def _show(result: "Evaluation", json: bool, report: Path | None) -> None:
    if json:
        typer.echo(json_.dumps(result.plain(), ensure_ascii=False, allow_nan=False))
    else:
        _print(result)
    if report:
        note(f"{report}: the same with charts; open it in a browser")


def _print(result: "Evaluation") -> None:
    typer.echo(f"{result.source}: {result.rows:,} rows; 95 % intervals in brackets")
    _print_rows(result.table())
    for line in (result.protocol, *result.notes):
        if line:
            typer.echo(line)
    for against in result.against:
        if against.changed:
            typer.echo(f"\nmost changed from {against.name}:")
            _print_rows([[excerpt(cell) for cell in row] for row in result.changes(against)])


def _print_rows(rows: list[list[str]]) -> None:
    """The first row is the head."""
    print_table(rows[0], rows[1:])
