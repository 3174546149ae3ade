"""A file of texts into a file of vectors: what can be refused is refused before the model is loaded, and a killed run goes on."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from huiyi import __version__
from huiyi.sources.tables import Format, Table, open_table, slices
from huiyi.sources.vectors import Job, PartialVectors, require_vectors
from huiyi.types import Kind
from huiyi.workspace.texts import SLICE_BYTES, TEXT_BYTES, Clock, Loader, Progress, Truncate, count_full, embed_slice, text_encoder

PROBE = "会意"


@dataclass(frozen=True)
class EmbeddedFile:
    """full: texts that filled all the tokens that the model reads; what they held beyond was cut. empty: texts of no characters.

    resumed_rows: rows that an earlier run had left. changed: why such rows were not used, empty when there were none.
    """

    output: str
    source: str
    column: str
    rows: int
    dimensions: int
    tokens: int
    full: int
    empty: int
    resumed_rows: int
    changed: tuple[str, ...]
    model: str
    space: str
    seconds: float


def embed_file(
    source: str | Path,
    output: Path,
    load: Loader,
    *,
    text: str | None = None,
    kind: Kind = "document",
    instruction: str | None = None,
    dimensions: int | None = None,
    truncate: Truncate = "end",
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> EmbeddedFile:
    """The vector of every row's text in the file `output`, rows in file order; memory does not grow with the file.

    source: a file, or - for standard input. output: .npy (float32 [rows, dim]), .jsonl or .parquet (the row's cells and `embedding`).
    text: the column, found as `Table.text_column` says. load: gives the model, called when all else was found good. truncate: the side
    where a text that is too long is cut; "none" refuses it. overwrite: replace a finished `output`. say: gets what was decided, a line
    each. A run that was stopped is taken up by the next one with the same arguments, and gives the same bytes as an unbroken one.
    """
    with open_table(source, format, encoding, sheet) as table:
        column = table.text_column(text)
        require_vectors(output, table, overwrite)
        say(f"{table.description()}; texts from the column {column!r}")
        model = load()
        encode = text_encoder(model, kind, instruction, dimensions, truncate)
        probe = encode([PROBE]).vectors
        as_it_rounds = f"{model.encoder.space} {hashlib.sha256(probe.tobytes()).hexdigest()}"  # the probe tells precisions apart
        job = job_of(table, column, sheet, kind, instruction, truncate, as_it_rounds)
        clock = Clock(table, [column], report)
        with PartialVectors(output, job, table.rows, probe.shape[1]) as partial:
            resumed = partial.done.rows
            if partial.changed:
                say(f"starting over: what an earlier run left was made with another {', '.join(partial.changed)}")
            elif resumed:
                say(f"going on after row {resumed:,}, where an earlier run stopped")
            rows = iter(table)
            for row in islice(rows, resumed):
                clock.skip(row)
            for piece in slices(rows, [column], SLICE_BYTES, TEXT_BYTES):
                made = embed_slice(table, piece, encode)
                partial.append(made.vectors, int(made.tokens.sum()), count_full(made, model))
                clock.add(piece, made.tokens)
            table.require_unchanged()
            partial.finish(table)
    return EmbeddedFile(
        output=str(output),
        source=table.description(),
        column=column,
        rows=table.rows,
        dimensions=partial.dim,
        tokens=partial.done.tokens,
        full=partial.done.full,
        empty=table.empty(column),
        resumed_rows=resumed,
        changed=tuple(partial.changed),
        model=model.name,
        space=model.encoder.space,
        seconds=clock.seconds(),
    )


def job_of(table: Table, column: str, sheet: str | None, kind: Kind, instruction: str | None, truncate: Truncate, model: str) -> Job:
    """All that the vectors of a file depend on. model: its space and what else tells its vectors from others."""
    return {
        "source": table.digest(),
        "format": f"{table.format} {table.encoding} {table.delimiter} {sheet}",
        "text": column,
        "kind": kind,
        "instruction": instruction,
        "truncate": truncate,
        "model": model,
        "version": __version__,
    }
