"""The repeats in a file, or what it shares with another one: written without them, and side by side for a person to look at.

What the guard holds apart is kept, and shown with its reason. Everything that can be refused is refused before a model is loaded.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from huiyi.charts import escape, page
from huiyi.errors import Conflict, InvalidInput
from huiyi.sources.outputs import replacing, require_place, table_format, write_table
from huiyi.sources.readers import Cells, as_text
from huiyi.sources.tables import Format, open_table
from huiyi.workspace import repeats as repeats_kept
from huiyi.workspace.records import Records, read_records, require_one_space, vectors_of
from huiyi.workspace.texts import Loader, Progress, Truncate

if TYPE_CHECKING:
    from huiyi.tasks.duplicates import Pair

HTML_PAIRS = 5_000  # a browser draws so many lines at once
SHOWN = 20
REVIEW_COLUMNS = ("group", "stays", "stays_text", "row", "text", "score", "likeness", "decision", "remark")


@dataclass(frozen=True)
class ShownPair:
    """row, stays: lines of the file (`stays` of the other file, where two are compared). decision: "repeat" or "kept apart".

    id, stays_id: of a collection's records.
    """

    row: int
    text: str
    stays: int
    stays_text: str
    score: float
    likeness: str
    decision: str
    remark: str
    id: str = ""
    stays_id: str = ""


@dataclass(frozen=True)
class DedupedFile:
    """exact, near, semantic: rows that are repeats, by how. apart: pairs that the guard kept. groups: with two rows or more.

    unread: scripts whose texts the vectors do not tell apart, and in which nothing is semantic.
    repeats, held: the first SHOWN of both kinds. against: the other file, "" for one alone.
    """

    source: str
    against: str
    column: str
    rows: int
    kept: int
    groups: int
    exact: int
    near: int
    semantic: int
    apart: int
    empty: int
    threshold: float
    repeats: tuple[ShownPair, ...]
    held: tuple[ShownPair, ...]
    unread: tuple[str, ...]
    output: str | None
    review: str | None
    model: str
    seconds: float


def dedup_file(
    source: str | Path,
    load: Loader,
    *,
    against: str | Path | None = None,
    output: Path | None = None,
    review: Path | None = None,
    pairs_folder: Path | None = None,
    threshold: float | None = None,
    terms: Path | None = None,
    guarded: bool = True,
    text: str | None = None,
    against_text: str | None = None,
    truncate: Truncate = "end",
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> DedupedFile:
    """The repeats within `source`, or those of its rows that `against` has too.

    output: a table for the rows that stay, as they were. review: pairs side by side, .html or a table. pairs_folder: what was found within
    `source`, kept there as `repeats` does. threshold: as in `tasks.dedup`.
    terms: a file of names that must not be mixed up, as `read_terms` takes it. guarded: False merges what the guard would hold apart.
    """
    _require_places(output, review, overwrite)
    names = read_terms(terms) if terms else []
    if terms and not guarded:
        raise InvalidInput("terms are for the guard, and it was switched off; leave out one of both")
    records = read_records(source, text=text, format=format, encoding=encoding, sheet=sheet, say=say)
    others = None if against is None else read_records(against, text=against_text or text, say=say)
    began, load = monotonic(), cache(load)
    texts = [*records.texts, *(others.texts if others else ())]
    vectors, facts = vectors_of(records, load, truncate, report)
    from huiyi.tasks import Guard, dedup, overlap

    guard = Guard(names) if guarded else Guard.off()
    guard.learn(texts)
    if others is None:
        found = dedup(vectors, records.texts, threshold, guard)
        pairs = [(number, pair) for number, group in enumerate(found.groups, 1) for pair in group.repeats]
        level, apart, kept, unread = found.threshold, found.apart, found.kept, found.unread
        if pairs_folder:
            repeats_kept.write(pairs_folder, records, found, names, guarded)
    else:
        others_vectors, others_facts = vectors_of(others, load, truncate, report)
        require_one_space(records.name, facts, others.name, others_facts, f"pass --model {others_facts.model}, or reindex one of them")
        shared = overlap(vectors, others_vectors, records.texts, others.texts, threshold, guard)
        pairs = list(enumerate(shared.pairs, 1))
        level, apart, kept, unread = shared.threshold, shared.apart, shared.kept, shared.unread
    stays = others or records
    held = [_shown(pair, records, stays, "kept apart") for pair in apart]
    repeats = [_shown(pair, records, stays, "repeat") for _, pair in pairs]
    if review:
        lines = [*zip((number for number, _ in pairs), repeats, strict=True), *((None, pair) for pair in held)]
        _write_review(review, records, others, lines, level)
    if output:
        write_table(output, records.columns, (records.rows[row] for row in kept))
    kinds = [pair.likeness for pair in repeats]
    return DedupedFile(
        source=records.about, against=others.about if others else "", column=records.column, rows=len(records), kept=len(kept),
        groups=len({number for number, _ in pairs}), exact=kinds.count("exact"), near=kinds.count("near"), semantic=kinds.count("semantic"),
        apart=len(held), empty=sum(not each.strip() for each in records.texts), threshold=level, repeats=tuple(repeats[:SHOWN]),
        held=tuple(held[:SHOWN]), unread=unread, output=str(output) if output else None, review=str(review) if review else None,
        model=facts.model, seconds=monotonic() - began,
    )  # fmt: skip


def read_terms(path: Path) -> list[list[str]]:
    """Groups of names from a text file: a line is one thing, its names between commas or tabs; names of two lines are two things."""
    with open_table(path, "txt") as table:
        lines = [as_text(row.cells["text"]) for row in table]
    for mark in ",，、\t":
        lines = [line.replace(mark, "\n") for line in lines]
    groups = [[name.strip() for name in line.split("\n") if name.strip()] for line in lines]
    return [group for group in groups if group]


def _require_places(output: Path | None, review: Path | None, overwrite: bool) -> None:
    if output:
        require_place(output, overwrite)
        table_format(output)
    if review:
        require_place(review, overwrite)
        if review.suffix.lower() != ".html":
            table_format(review)
    if output and review and output.resolve() == review.resolve():
        raise Conflict(f"{output} is named twice; the rows that stay and the review are two files")


def _shown(pair: "Pair", records: Records, others: Records, decision: str) -> ShownPair:
    return ShownPair(
        row=records.numbers[pair.row],
        text=records.texts[pair.row],
        stays=others.numbers[pair.other],
        stays_text=others.texts[pair.other],
        score=round(pair.score, 4),
        likeness=pair.likeness,
        decision=decision,
        remark="; ".join(map(str, pair.remarks)),
        id="" if records.facts is None else str(records.rows[pair.row]["id"]),
        stays_id="" if others.facts is None else str(others.rows[pair.other]["id"]),
    )


def _write_review(
    path: Path, records: Records, others: Records | None, lines: list[tuple[int | None, ShownPair]], threshold: float
) -> None:
    if path.suffix.lower() == ".html":
        with replacing(path) as partial:
            partial.write_text(_review_page(records, others, lines, threshold), "utf-8")
    else:
        columns = (*REVIEW_COLUMNS, *(("id", "stays_id") if records.facts is not None else ()))
        write_table(path, columns, _review_rows(lines, columns))


def _review_rows(lines: Iterable[tuple[int | None, ShownPair]], columns: Sequence[str]) -> Iterator[Cells]:
    for number, pair in lines:
        yield {"group": number, **{column: getattr(pair, column) for column in columns[1:]}}


STYLE = (
    ".pairs { width: 100%; table-layout: fixed; } .pairs td { padding: .5rem .75rem .5rem 0; } .pairs .number { width: 5rem; }"
    " mark { background: color-mix(in srgb, var(--accent) 22%, transparent); color: inherit; border-radius: 3px; }"
    " @media (max-width: 40rem) { .pairs, .pairs tbody, .pairs tr, .pairs td { display: block; width: auto; }"
    " .pairs thead { display: none; }"
    " .pairs td { padding: .1rem 0; } .pairs tr { padding: .6rem 0; } }"
)


def _review_page(records: Records, others: Records | None, lines: list[tuple[int | None, ShownPair]], threshold: float) -> str:
    repeats = [(number, pair) for number, pair in lines if number is not None]
    held = [(number, pair) for number, pair in lines if number is None]
    what = f"{records.name} beside {others.name}" if others else records.name
    body = [f"<h1>Repeats: {escape(what)}</h1>"]
    body.append(f'<p class="quiet">{escape(records.about)}. Cosine {threshold:g} or more. Marked is what differs.</p>')
    for title, note, pairs in (
        ("Kept apart", "As near as repeats, but with another number, negation or name. Both stay.", held),
        ("Repeats", "The left text stays, the right one goes.", repeats),
    ):
        body.append(f"<h2>{title}: {len(pairs):,}</h2>")
        if not pairs:
            body.append("<p>None.</p>")
            continue
        rest = f" The first {HTML_PAIRS:,}; a table (.csv, .xlsx, .jsonl) holds all." if len(pairs) > HTML_PAIRS else ""
        body.append(f'<p class="quiet">{note}{rest}</p><table class="pairs"><thead><tr><th class="number">cosine</th><th>')
        body.append("stays</th><th>" + ("stays too" if title == "Kept apart" else "goes") + "</th><th>how</th></tr></thead><tbody>")
        body += map(_review_line, (pair for _, pair in pairs[:HTML_PAIRS]))
        body.append("</tbody></table>")
    return page(f"Repeats: {what}", "".join(body), style=STYLE)


def _review_line(pair: ShownPair) -> str:
    left, right = _marked(pair.stays_text, pair.text)
    how = escape(pair.remark or pair.likeness)
    return (
        f'<tr><td class="number">{pair.score:.3f}</td><td><span class="quiet">{pair.stays:,}</span> {left}</td>'
        f'<td><span class="quiet">{pair.row:,}</span> {right}</td><td>{how}</td></tr>'
    )


LONGEST_MARKED = 2_000


def _marked(one: str, other: str) -> tuple[str, str]:
    """Both as HTML, what only one of them has marked; long texts cut."""
    one, other = one[:LONGEST_MARKED], other[:LONGEST_MARKED]
    left: list[str] = []
    right: list[str] = []
    for what, i, j, k, m in SequenceMatcher(None, one, other, autojunk=len(one) + len(other) > 1_000).get_opcodes():
        for side, text in ((left, one[i:j]), (right, other[k:m])):
            if text:
                side.append(escape(text) if what == "equal" else f"<mark>{escape(text)}</mark>")
    return "".join(left), "".join(right)
