"""`huiyi classify`: fit a classifier from labelled texts, sort others with it or by label names alone, see what to label next."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from huiyi.cli import options
from huiyi.cli.printing import Meter, note, print_json

if TYPE_CHECKING:
    from huiyi.workspace import FittedClassifier

app = typer.Typer(help="Sort texts into classes, from a few labelled ones or from the names of the classes.", no_args_is_help=True,
                  rich_markup_mode=None)  # fmt: skip

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the classifier.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="A file of texts (a path has a suffix or a slash), - for standard input.")]


@app.command()
def fit(
    context: typer.Context,
    name: Name,
    file: File,
    text: options.Text = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column that holds the label. [default: label, intent, category, class]")
    ] = None,
    outside: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Label of rows that belong to no class, where there are some.")
    ] = None,
    target: Annotated[
        float, typer.Option("--target-precision", min=0.01, max=0.999, help="Share that should be right of those it is sure of.")
    ] = 0.95,
    report: Annotated[
        Path | None,
        typer.Option(metavar="OUT.html", callback=options.page_with_charts, help="Write a page of figures, with the confusion of classes."),
    ] = None,
    errors: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write the rows whose label is likely wrong: .csv, .xlsx, .jsonl or .tsv.")
    ] = None,
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
    """Fit the classifier NAME on the labelled rows of FILE, and say how good it is on rows held out."""
    from huiyi import workspace

    with Meter(interrupted="stopped; nothing was kept. Give the same command again: what was embedded is remembered") as meter:
        fitted = workspace.classify_fit(
            name,
            file,
            context.obj.loader(model, precision, threads, introduced=True),
            text=text,
            label=label,
            outside=outside,
            precision=target,
            report=report,
            errors=errors,
            truncate=truncate,
            format=format,
            encoding=encoding,
            sheet=sheet,
            overwrite=force,
            say=note,
            progress=meter,
        )
    if json:
        print_json(fitted)
    else:
        _print_fitted(fitted)


@app.command()
def predict(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name of the classifier; none with --zero-shot.", show_default=False)
    ],
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="A file of texts, - for standard input.", show_default=False)] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT", help="File to write: .csv, .xlsx, .jsonl or .tsv.")
    ] = None,
    zero_shot: Annotated[
        Path | None,
        typer.Option(metavar="LABELS", help="Sort without examples: a file of labels, a line `label` or `label: what it means`."),
    ] = None,
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
    """Write FILE with the class of each row, how likely it is, and whether to trust it."""
    from huiyi import workspace

    if zero_shot and file is None:
        name, file = None, name
    if file is None or output is None:
        raise typer.BadParameter("give NAME, FILE and -o OUT, or --zero-shot LABELS, FILE and -o OUT", ctx=context)
    with Meter(interrupted="stopped; nothing was written. Give the same command again: what was embedded is remembered") as meter:
        result = workspace.classify_predict(
            name,
            file,
            output,
            context.obj.loader(model, precision, threads, introduced=True),
            zero_shot=zero_shot,
            text=text,
            truncate=truncate,
            format=format,
            encoding=encoding,
            sheet=sheet,
            overwrite=force,
            say=note,
            progress=meter,
        )
    if json:
        print_json(result)
        return
    if zero_shot:
        note("without examples nothing is calibrated: every row has its nearest label, and score is a cosine")
    verdicts = f"{result.sure:,} sorted, {result.unsure:,} unsure, {result.outside:,} out of scope"
    typer.echo(f"{output}: {result.rows:,} rows, {verdicts}, {result.seconds:.1f} s")
    for each, count in list(result.labels.items())[:10]:
        typer.echo(f"  {count:>7,}  {each}")


@app.command()
def suggest(
    context: typer.Context,
    name: Name,
    file: File,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many rows.")] = 10,
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
    """Show which rows of FILE to label next: those the classifier would learn most from."""
    from huiyi import workspace

    with Meter(interrupted="stopped; nothing was written. Give the same command again: what was embedded is remembered") as meter:
        found = workspace.classify_suggest(
            name,
            file,
            context.obj.loader(model, precision, threads, introduced=True),
            count=count,
            output=output,
            text=text,
            truncate=truncate,
            format=format,
            encoding=encoding,
            sheet=sheet,
            overwrite=force,
            say=note,
            progress=meter,
        )
    if json:
        print_json(found)
        return
    for each in found.suggestions:
        typer.echo(f"{each.row:>7}  {' '.join(each.text.split())[:80]}  ({each.best}? {each.probability:.2f})")


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the classifiers that were fitted."""
    from huiyi import workspace

    known = workspace.classify_list()
    if json:
        print_json(known)
        return
    if not known.classifiers:
        note("no classifier was fitted yet: huiyi classify fit NAME FILE")
    for each in known.classifiers:
        typer.echo(f"{each.name}: {each.classes:,} classes from {each.rows:,} rows, on vectors of {each.model}")


def _print_fitted(fitted: "FittedClassifier") -> None:
    typer.echo(f"{fitted.name}: {fitted.classes:,} classes from {fitted.rows:,} rows, {fitted.seconds:.1f} s, kept in {fitted.path}")
    if fitted.unlabelled:
        note(f"rows without a label or a text, left out: {fitted.unlabelled:,}")
    if fitted.rare:
        note(f"classes with fewer than four examples, which are seldom enough: {', '.join(fitted.rare[:5])}{' …' * (len(fitted.rare) > 5)}")
    found = fitted.validation
    if found is None:
        note("every class has one example, so nothing could be held out: there are no figures, and no row is ever called unsure")
        return
    interval = f"{found.accuracy.value:.1%} ({found.accuracy.low:.1%} to {found.accuracy.high:.1%})"
    beside = f"macro F1 {found.macro_f1.value:.3f}; always the largest class: {found.majority:.1%}"
    typer.echo(f"held out ({found.rows:,} rows, {found.folds} folds): accuracy {interval}, {beside}")
    if found.coverage:
        typer.echo(f"sure of {found.coverage:.1%} (probability {fitted.threshold:.2f} or more), right on {found.precision:.1%} of these")
    else:
        note("at no probability is it right as often as --target-precision asks: every row will be called unsure")
    if found.outside is not None:
        typer.echo(f"out of scope: {found.outside:.1%} of the examples noticed, {1 - found.scope:.1%} of the others taken for it")
    if fitted.errors_total:
        typer.echo(f"\nlabels that are likely wrong: {fitted.errors_total:,}" + (", the first 5" if fitted.errors_total > 5 else ""))
    for each in fitted.errors[:5]:
        typer.echo(f"  line {each['line']}: {' '.join(each['text'].split())[:60]}  ({each['label']}; more likely {each['suggested']})")
    if fitted.report:
        typer.echo(f"wrote {fitted.report}")
