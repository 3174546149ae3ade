"""`huiyi similarity`: how alike texts are, two of them, a short list, or a file of pairs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from huiyi.cli import options
from huiyi.cli.printing import Meter, excerpt, note, print_json, print_table

if TYPE_CHECKING:
    from huiyi.workspace import Matrix

REMARKS = 10  # shown; JSON holds all


def similarity(
    context: typer.Context,
    texts: Annotated[list[str] | None, typer.Argument(help="Two texts, or a few more for a matrix.", show_default=False)] = None,
    pairs: Annotated[str | None, typer.Option(metavar="FILE", help="Score the pairs in a file; needs -o.")] = None,
    listed: Annotated[str | None, typer.Option("--list", metavar="FILE", help="Compare the texts of a short file with each other.")] = None,
    a: Annotated[str | None, typer.Option("--a", metavar="COLUMN", help="First column of --pairs. [default: sentence1]")] = None,
    b: Annotated[str | None, typer.Option("--b", metavar="COLUMN", help="Second column of --pairs. [default: sentence2]")] = None,
    score: Annotated[str, typer.Option(metavar="COLUMN", help="Name of the column that --pairs adds.")] = "score",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT", help="File for --pairs: .csv, .xlsx, .jsonl or .tsv.")
    ] = None,
    calibrated: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Add probabilities, as `huiyi evaluate pairs --save-calibration` kept them; or their folder."),
    ] = None,
    text: options.Text = None,
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
    """Print the cosine of two texts; with --list or more texts a matrix, with --pairs a file with a column more.

    With --adapter the adapter's; a pair classifier gives probabilities, and --pairs then adds the columns probability and same.
    With --calibrated also how probable it is that two texts mean the same; --pairs then adds the columns probability and same.
    In .csv and .xlsx a text that a spreadsheet would take for a formula (it starts with = + - @) gets an apostrophe in front.
    """
    from huiyi import workspace

    if sum(map(bool, (texts, pairs, listed))) != 1:
        raise typer.BadParameter("give texts, or --list FILE, or --pairs FILE", ctx=context)
    if pairs and not output:
        raise typer.BadParameter("--pairs needs a file to write: -o OUT", ctx=context)
    of_pairs = {"--a": a, "--b": b, "--output": output, "--force": force, "--score": score != "score"}
    of_files = {"--format": format, "--encoding": encoding, "--sheet": sheet}
    needless = ({} if pairs else of_pairs) | ({} if listed else {"--text": text}) | ({} if pairs or listed else of_files)
    for option in (option for option, value in needless.items() if value):
        raise typer.BadParameter(f"{option} means nothing here", ctx=context)
    load = context.obj.loader(model, precision, threads, max_tokens=max_tokens, offline=offline, adapter=adapter)
    if pairs and output:
        with Meter(interrupted="stopped; nothing was written") as meter:
            scored = workspace.similarity_file(
                pairs,
                output,
                load,
                a=a,
                b=b,
                score=score,
                calibrated=calibrated,
                truncate=truncate,
                format=format,
                encoding=encoding,
                sheet=sheet,
                overwrite=force,
                say=note,
                report=meter,
            )
        if json:
            print_json(scored)
        else:
            same = "" if scored.same is None else f", {scored.same:,} taken for the same"
            typer.echo(f"{output}: {scored.rows:,} pairs with the column {score!r}, mean {scored.mean:.4f}{same}, {scored.seconds:.1f} s")
        return
    if listed:
        matrix = workspace.similarity_list(
            listed, load, text=text, calibrated=calibrated, truncate=truncate, format=format, encoding=encoding, sheet=sheet, say=note
        )
    else:
        matrix = workspace.similarity(texts or [], load, truncate, calibrated)
    for remark in () if json else matrix.remarks[:REMARKS]:
        note(remark)
    if json:
        print_json(matrix)
    elif len(matrix.texts) == 2:
        typer.echo(_pair(matrix))
    else:
        _print_matrix(matrix)


def _pair(matrix: "Matrix") -> str:
    """The cosine of two texts, and what it means where that is known; of a pair classifier the probability alone."""
    score = f"{matrix.scores[0, 1]:.4f}"
    if matrix.probabilities is None or matrix.threshold is None:
        return score
    verdict = "the same" if matrix.scores[0, 1] >= matrix.threshold else "not the same"
    if matrix.measure == "log odds":
        return f"probability {matrix.probabilities[0, 1]:.4f}: {verdict}"
    return f"{score}, probability {matrix.probabilities[0, 1]:.2f}: {verdict} (threshold {matrix.threshold:.4f})"


def _print_matrix(matrix: "Matrix") -> None:
    shown = matrix.scores if matrix.probabilities is None else matrix.probabilities
    lines = enumerate(zip(matrix.texts, shown, strict=True), 1)
    rows = ((str(number), excerpt(line), *(f"{value:.2f}" for value in scores)) for number, (line, scores) in lines)
    print_table(("", "text", *(str(n) for n in range(1, len(matrix.texts) + 1))), rows, gap=1)
