"""`huiyi search`: the records of a collection that answer a query, by meaning, by words or by both."""

import json as json_
import sys
from contextlib import ExitStack, closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from huiyi.cli import options
from huiyi.cli.collections import Filter, parsed
from huiyi.cli.printing import Meter, note, print_json

if TYPE_CHECKING:
    from huiyi.model import Model
    from huiyi.workspace import Hit, Searched, TunedSearch

SHOWN = 200  # characters of a text


def search(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The collection.")],
    query: Annotated[str | None, typer.Argument(metavar="QUERY", help="What is looked for.", show_default=False)] = None,
    k: Annotated[int, typer.Option("-k", min=1, metavar="N", help="Most hits.")] = 10,
    mode: Annotated[
        Literal["hybrid", "semantic", "keyword"],
        typer.Option(help="By meaning, by words (no model is loaded), or by both."),
    ] = "hybrid",
    filter: Filter = None,
    min_score: Annotated[
        str | None, typer.Option(metavar="SCORE", help="Leave out hits below: a number, or tuned, which is what --tune learned.")
    ] = None,
    diversity: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, metavar="D", help="How much hits shall differ from one another, 0 to 1.")
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Reranker, by name or folder, that reads the best candidates together with the query."),
    ] = None,
    rerank_depth: Annotated[int, typer.Option(min=1, metavar="N", help="Candidates that --rerank reads, -k at least.")] = 50,
    compare: Annotated[bool, typer.Option("--compare", help="Show what words find beside what meaning finds.")] = False,
    queries: Annotated[str | None, typer.Option(metavar="FILE", help="A file of queries, a row each; - is standard input.")] = None,
    tune: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Learn how much meaning counts beside words, and a threshold, from labelled queries: a table of queries and ids, -1 where "
            "nothing answers.",
        ),
    ] = None,
    target_precision: Annotated[
        float,
        typer.Option(min=0.01, max=0.999, metavar="P", help="With --tune: the share of first hits above the threshold that are right."),
    ] = 0.95,
    text: Annotated[
        str | None, typer.Option("--text", metavar="COLUMN", help="Column of queries in a file. [default: query, question, text]")
    ] = None,
    id: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="Column of --tune with ids. [default: id, passage_id, faq_id]")
    ] = None,
    model: options.Model = None,
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Print the records of the collection NAME that answer QUERY best, or each query in a file."""
    from huiyi import workspace

    if sum(given is not None for given in (query, queries, tune)) != 1:
        raise typer.BadParameter("give a query, or a file of them with --queries, or labelled ones with --tune", ctx=context)
    if tune and (compare or min_score or diversity or filter or rerank or mode != "hybrid"):
        raise typer.BadParameter("--tune takes --text, --id and --target-precision; leave out what is about hits", ctx=context)
    if id and not tune:
        raise typer.BadParameter("--id means nothing without --tune", ctx=context)
    if compare and (min_score or diversity or rerank or mode != "hybrid"):
        raise typer.BadParameter(
            "--compare shows both modes as they are; leave out --mode, --min-score, --diversity, --rerank", ctx=context
        )
    if text and query is not None:
        raise typer.BadParameter("--text means nothing without --queries or --tune", ctx=context)

    def load(wanted: str | None) -> "Model":
        return context.obj.loader(model or wanted, precision, threads)()  # type: ignore[no-any-return]

    if tune is not None:
        with Meter(interrupted="stopped; nothing was learned") as meter:
            tuned = workspace.search_tune(
                name,
                tune,
                precision=target_precision,
                text=text,
                id=id,
                load=load,
                report=lambda done, all_: meter.draw(done, all_, "queries") if sys.stderr.isatty() else None,
            )
        if json:
            print_json(tuned)
        else:
            _print_tuned(tuned)
        return
    asked = [query] if query is not None else workspace.queries_of(queries or "", text=text)
    if compare:
        both = workspace.search_compare(name, asked, k=k, filter=parsed(filter), load=load)
        if both.hint:
            note(both.hint)
        if json:
            _print_json(asked, query is not None, keyword=both.keyword, semantic=both.semantic)
        else:
            for each, words, meaning in zip(asked, both.keyword, both.semantic, strict=True):
                _print_compared(each, words, meaning)
        return
    score = _score(context, min_score)
    with ExitStack() as held, Meter(interrupted="stopped") as meter:
        reranker = held.enter_context(closing(workspace.load_reranker(rerank, precision, threads))) if rerank else None
        found = workspace.search(
            name,
            asked,
            k=k,
            mode=mode,
            filter=parsed(filter),
            min_score=score,
            diversity=diversity,
            rerank=reranker,
            rerank_depth=rerank_depth,
            load=load,
            report=meter,
        )
    if found.hint:
        note(found.hint)
    if json:
        _print_json(asked, query is not None, hits=found.hits)
    else:
        _print_hits(found)


def _print_tuned(tuned: "TunedSearch") -> None:
    learned = tuned.tuning
    typer.echo(
        f"{tuned.name}: weight of meaning {learned.weight:.2f}, nDCG@10 {learned.ndcg:.3f} on {tuned.answerable:,} queries "
        f"(before {tuned.before:.3f}, meaning alone {tuned.semantic:.3f}, words alone {tuned.keyword:.3f})"
    )
    if learned.min_score is None:
        note(f"no score from which on {learned.precision:.0%} of the first hits are right; --min-score tuned stays without meaning")
    else:
        typer.echo(
            f"{tuned.name}: from a score of {learned.min_score:.4f} on {learned.precision:.0%} of the first hits are right; "
            f"{learned.answered:.0%} of {learned.queries:,} queries have one (--min-score tuned)"
        )


def _score(context: typer.Context, given: str | None) -> Any:
    if given is None or given == "tuned":
        return given
    try:
        return float(given)
    except ValueError:
        raise typer.BadParameter(f"--min-score is a number or tuned, not {given}", ctx=context) from None


def _print_json(queries: list[str], one: bool, **legs: "list[list[Hit]]") -> None:
    """{"query", "hits"} for one query, {"results": [...]} for a file of them."""
    rows = [
        {"query": query, **{leg: [_as_json(hit) for hit in hits[number]] for leg, hits in legs.items()}}
        for number, query in enumerate(queries)
    ]
    typer.echo(json_.dumps(rows[0] if one else {"results": rows}, ensure_ascii=False))


def _as_json(hit: "Hit") -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(hit).items()}


def _print_hits(found: "Searched") -> None:
    from rich.table import Table

    both = found.mode == "hybrid"
    for number, (query, hits) in enumerate(zip(found.queries, found.hits, strict=True)):
        if len(found.queries) > 1:
            typer.echo(("\n" if number else "") + query)
        if not hits:
            typer.echo("nothing found")
            continue
        before = ("retrieved",) if hits[0].retrieved is not None else ()
        table = Table("", "score", *before, *(("meaning", "words") if both else ()), "id", "text", box=None, padding=(0, 2, 0, 0))
        for place, hit in enumerate(hits, 1):
            ranks = [_rank(hit.semantic_rank), _rank(hit.keyword_rank)] if both else []
            first = [f"{hit.retrieved:.4f}"] if hit.retrieved is not None else []
            table.add_row(str(place), f"{hit.score:.4f}", *first, *ranks, hit.id, _text(hit))
        _console().print(table)


def _print_compared(query: str, words: "list[Hit]", meaning: "list[Hit]") -> None:
    from rich.table import Table

    table = Table("", "by words", "by meaning", title=query, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for place in range(max(len(words), len(meaning))):
        cells: list[Any] = [str(place + 1)]
        for hits in (words, meaning):
            cells.append(_text(hits[place], f"{hits[place].score:.2f}  ") if place < len(hits) else "")
        table.add_row(*cells)
    _console().print(table)
    if not words and not meaning:
        typer.echo("nothing found")


def _rank(rank: int | None) -> str:
    return "-" if rank is None else str(rank)


def _text(hit: "Hit", before: str = "") -> Any:
    """On one line, the words of the query marked; a long text from a little before the first of them."""
    from rich.text import Text

    first = hit.spans[0][0] if hit.spans else 0
    start = max(0, first - SHOWN // 4) if len(hit.text) > SHOWN and first > SHOWN // 2 else 0
    end = start + SHOWN
    line = Text(before + ("…" if start else ""))
    at = start
    for one, other in hit.spans:
        if one < at or one >= end:
            continue
        line.append(hit.text[at:one].replace("\n", " "))
        line.append(hit.text[one : min(other, end)].replace("\n", " "), style="bold yellow")
        at = min(other, end)
    line.append(hit.text[at:end].replace("\n", " ") + ("…" if len(hit.text) > end else ""))
    return line


def _console() -> Any:
    from rich.console import Console

    # where no terminal sets the width, rows are not broken
    return Console(width=None if sys.stdout.isatty() else 2 * SHOWN, markup=False, highlight=False, emoji=False)
