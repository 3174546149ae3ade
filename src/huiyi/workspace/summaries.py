"""What a long text, or a heap of texts, says: its own sentences or rows that say most, with how much of it they cover."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Literal

from huiyi.errors import InvalidInput
from huiyi.sources.documents import TABLES, read_document
from huiyi.sources.encodings import decode
from huiyi.sources.outputs import require_place, table_format, write_table
from huiyi.sources.sentences import cut_before, pieces
from huiyi.sources.tables import Format
from huiyi.workspace.records import embed_texts, is_collection, read_records, vectors_of
from huiyi.workspace.texts import Loader, Progress, Truncate

Kind = Literal["auto", "text", "rows"]

LONGEST_SENTENCE = 1_000  # characters; a longer one is cut at a clause or a word
WEIGHT_CHARACTERS = 200  # from here on a sentence counts no more for being longer


@dataclass(frozen=True)
class SummaryLine:
    """row: its place among the sentences, or the line of the file. share: of everything, that it stands for. times: how often it came.

    id: of a collection's record.
    """

    row: int
    text: str
    share: float
    times: int
    id: str = ""


@dataclass(frozen=True)
class SummarizedFile:
    """kind: "text" for sentences of one text, which stay in its order, "rows" for texts, largest share first. items: sentences or rows.

    coverage: mean cosine of everything to what was taken; lexrank, chance: the same for LexRank's choice and for one by lot.
    """

    source: str
    kind: str
    items: int
    lines: tuple[SummaryLine, ...]
    coverage: float
    lexrank: float
    chance: float
    output: str | None
    model: str
    seconds: float


def summarize_file(
    source: str | Path,
    load: Loader,
    *,
    k: int = 5,
    kind: Kind = "auto",
    method: Literal["coverage", "lexrank"] = "coverage",
    output: Path | None = None,
    text: str | None = None,
    truncate: Truncate = "end",
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> SummarizedFile:
    """The `k` sentences of a document, or rows of a table or collection, that say most.

    kind: auto takes a table (.csv, .xlsx …) or a collection as rows, anything else (.txt, .md, .pdf, .docx, .html, standard input) as
    one text. output: a table of them. method: as in `tasks.summarize`.
    """
    if k < 1:
        raise InvalidInput(f"-k must be 1 or more, not {k}")
    if output:
        require_place(output, overwrite)
        table_format(output)
    if kind == "auto":
        tabular = is_collection(source) or Path(source).suffix.lower() in TABLES or text is not None or format not in (None, "txt")
        kind = "rows" if tabular else "text"
    began = monotonic()
    from huiyi.tasks import summarize

    if kind == "text":
        about, texts = _sentences(source, encoding)
        say(f"{about}: {len(texts):,} sentence{'s' * (len(texts) != 1)}")
        ids: list[str] = []
        places, times = list(range(1, len(texts) + 1)), [1] * len(texts)
        weights = [float(min(len(each), WEIGHT_CHARACTERS)) for each in texts]
        model = load()
        vectors, name = embed_texts(texts, model, truncate, report), model.name
    else:
        records = read_records(source, text=text, format=format, encoding=encoding, sheet=sheet, say=say)
        about = records.about
        rows = sorted({each: row for row, each in reversed(list(enumerate(records.texts))) if each.strip()}.values())
        if not rows:
            raise InvalidInput(f"{records.name} holds no text in the column {records.column!r}")
        all_vectors, facts = vectors_of(records, load, truncate, report)
        vectors, name = all_vectors[rows], facts.model
        counts = Counter(records.texts)
        texts, places = [records.texts[row] for row in rows], [records.numbers[row] for row in rows]
        times = [counts[each] for each in texts]
        ids = [str(records.rows[row]["id"]) for row in rows] if records.facts is not None else []
        weights = [float(each) for each in times]
    found = summarize(vectors, k, weights, method)
    baseline = found if method == "lexrank" else summarize(vectors, k, weights, "lexrank")
    shares = zip(found.indices.tolist(), found.shares.tolist(), strict=True)
    lines = [SummaryLine(places[i], texts[i], round(share, 4), times[i], ids[i] if ids else "") for i, share in shares]
    lines.sort(key=lambda line: line.row if kind == "text" else -line.share)
    if output:
        columns = ("row", "text", "share", "times", *(("id",) if ids else ()))
        write_table(output, columns, ({column: getattr(line, column) for column in columns} for line in lines))
    return SummarizedFile(
        source=about, kind=kind, items=len(texts), lines=tuple(lines), coverage=found.coverage,
        lexrank=baseline.coverage, chance=found.chance,
        output=str(output) if output else None, model=name, seconds=monotonic() - began,
    )  # fmt: skip


def _sentences(source: str | Path, encoding: str | None) -> tuple[str, list[str]]:
    """What the text is called, and its sentences in order."""
    if str(source) == "-":
        name = "standard input"
        _, text = decode(sys.stdin.buffer.read(), name, encoding)
    else:
        document = read_document(source, encoding=encoding)
        name, text = document.source, document.text
    found: list[str] = []
    for piece in pieces(text, 0, len(text)):
        start = piece.start
        while start < piece.end:
            end = piece.end if piece.end - start <= LONGEST_SENTENCE else cut_before(text, start, start + LONGEST_SENTENCE)[0]
            found.append(" ".join(text[start:end].split()))
            start = end
    sentences = [each for each in found if each]
    if not sentences:
        raise InvalidInput(f"{name} holds no text")
    return name, sentences
