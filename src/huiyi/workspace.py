"""What huiyi can do, in one place: the command line, HTTP and the console all call this, and it composes the rest.

Owns the order of a job: everything that can be refused is refused before a model is loaded, and results appear whole or not at all.
It knows nothing of terminals or HTTP. Results are frozen dataclasses.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Literal, cast

import numpy as np

from huiyi import __version__, settings
from huiyi.encoding import probes, selfcheck
from huiyi.encoding.cache import CachedEncoder
from huiyi.encoding.encoder import LocalEncoder
from huiyi.encoding.selfcheck import Check, Comparison
from huiyi.encoding.tokenizer import Tokenizer
from huiyi.engines.checkpoint import open_checkpoint
from huiyi.engines.hub import locate, pulled
from huiyi.engines.openvino import OpenVINOEngine, resolve_precision
from huiyi.errors import Conflict, InvalidInput, ModelFailed
from huiyi.model import Model
from huiyi.serving import Served
from huiyi.sources.outputs import require_table, write_table
from huiyi.sources.readers import Cells, Row, as_text
from huiyi.sources.tables import Format, Slice, Table, open_table, slices
from huiyi.sources.vectors import Job, PartialVectors, require_vectors
from huiyi.types import Embedded, Floats, Kind

Truncate = Literal["end", "start", "none"]
Load = Callable[[str | None, str, int | None], Model]  # of a name or folder, a precision, a number of threads
Loader = Callable[[], Model]
Encode = Callable[[Sequence[str]], Embedded]

# A slice is one call of the encoder: some thousand tokens, seconds on a slow machine. A text counts as some bytes more than it has,
# so that empty ones do not come in millions.
SLICE_BYTES = 32_768
TEXT_BYTES = 64
# A longer text is cut before the tokenizer sees it: no model reads 32,768 tokens of 15 characters each.
MOST_CHARACTERS = 500_000
MATRIX_TEXTS = 30
ROW_CHARACTERS = 8
PROBE = "会意"
INT8_GAIN = 1.5  # over bf16, see docs/benchmarks.md; over fp32 more


def load(name_or_path: str | None = None, precision: str = "auto", threads: int | None = None) -> Model:
    """As `huiyi.load`."""
    name = _named(name_or_path)
    checkpoint = open_checkpoint(locate(name))
    tokenizer = Tokenizer(
        checkpoint.path,
        family=checkpoint.family,
        max_tokens=checkpoint.max_tokens,
        vocab_size=checkpoint.config.vocab_size,
        prompts=checkpoint.prompts,
        pooling=checkpoint.pooling,
    )
    engine = OpenVINOEngine(checkpoint, precision, threads, settings.home() / "cache" / "weights")
    encoder = LocalEncoder(tokenizer, engine, space=checkpoint.digest, dimensions=checkpoint.dimensions)
    reopen = partial(load, name, precision, threads)
    about = _about(name, engine, offered=precision == "auto")
    return Model(encoder, name, checkpoint.prompts, checkpoint.default_prompt_name, checkpoint.normalize, reopen, about)


def _about(name: str, engine: OpenVINOEngine, offered: bool) -> str:
    """The line that a command begins with. offered: whether to name int8 and what it brings, see docs/benchmarks.md."""
    threads = engine.threads or os.cpu_count() or 1
    int8 = f"; --precision int8 is about {INT8_GAIN} times as fast and a little less exact (huiyi model check --precision int8 compares)"
    return f"{name} in {engine.precision} on {threads} threads{int8 if offered else ''}"


@dataclass(frozen=True)
class Progress:
    """Where a job stands. Rates are of this run alone."""

    rows: int
    rows_done: int
    texts_per_s: float
    tokens_per_s: float
    seconds_left: float


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


@dataclass(frozen=True)
class Matrix:
    """scores[i][j]: cosine of texts i and j, float32 [n, n]."""

    texts: tuple[str, ...]
    scores: Floats


@dataclass(frozen=True)
class ScoredFile:
    """mean: of all scores. full: as in EmbeddedFile, of both columns."""

    output: str
    source: str
    columns: tuple[str, str]
    score: str
    rows: int
    mean: float
    full: int
    model: str
    seconds: float


@dataclass(frozen=True)
class KnownModel:
    """A model that was downloaded whole. revision: as it was asked for, None for the hub's default."""

    name: str
    hub: str
    revision: str | None
    path: str
    size_bytes: int


@dataclass(frozen=True)
class KnownModels:
    models: tuple[KnownModel, ...]


@dataclass(frozen=True)
class ModelInfo:
    """What a model folder holds. weights_mb: of the weights alone, by precision, 10^6 bytes; precision, threads: what auto means here.

    dimensions: the widths that a vector may be cut to, as text. longest_tokens: what max_tokens may be raised to.
    licence: as the folder's README states it, None where it does not.
    """

    name: str
    path: str
    family: str
    parameters: int
    weights_mb: dict[str, int]
    layers: int
    dim: int
    dimensions: str
    pooling: str
    normalizes: bool
    max_tokens: int
    longest_tokens: int
    prompts: dict[str, str]
    licence: str | None
    space: str
    precision: str
    threads: int


@dataclass(frozen=True)
class CheckedModel:
    """comparison: with fp32 on the same weights, where a precision was asked for by name."""

    name: str
    precision: str
    ok: bool
    checks: tuple[Check, ...]
    comparison: Comparison | None
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
        encode = _encoding(model, kind, instruction, dimensions, truncate)
        probe = encode([PROBE]).vectors
        job: Job = {
            "source": table.digest(),
            "format": f"{table.format} {table.encoding} {table.delimiter} {sheet}",
            "text": column,
            "kind": kind,
            "instruction": instruction,
            "truncate": truncate,
            "model": f"{model.encoder.space} {hashlib.sha256(probe.tobytes()).hexdigest()}",  # the probe tells precisions apart
            "version": __version__,
        }
        clock = _Clock(table, [column], report)
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
                made = _embed(table, piece, encode)
                partial.append(made.vectors, int(made.tokens.sum()), _full(made, model))
                clock.add(piece, made)
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


def similarity(texts: Sequence[str], load: Loader, truncate: Truncate = "end") -> Matrix:
    """The cosine of every two of `texts`, all taken as documents: of 2 to MATRIX_TEXTS of them."""
    if not 2 <= len(texts) <= MATRIX_TEXTS:
        way_out = "one text has nothing to be compared with" if len(texts) < 2 else "for more, take the vectors of `huiyi embed`"
        raise InvalidInput(f"similarity compares 2 to {MATRIX_TEXTS} texts, not {len(texts):,}; {way_out}")
    vectors = _encoding(load(), truncate=truncate)(texts).vectors
    return Matrix(tuple(texts), _cosines(vectors @ vectors.T))


def similarity_list(
    source: str | Path,
    load: Loader,
    *,
    text: str | None = None,
    truncate: Truncate = "end",
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Matrix:
    """`similarity` of the texts in a short file."""
    with open_table(source, format, encoding, sheet) as table:
        column = table.text_column(text)
        say(f"{table.description()}; texts from the column {column!r}")
        texts = [as_text(row.cells.get(column)) for row in islice(table, MATRIX_TEXTS)]
        if table.rows > MATRIX_TEXTS:
            raise InvalidInput(f"a matrix is for {MATRIX_TEXTS} texts at most and {table.name} has {table.rows:,}; try `huiyi embed`")
    return similarity(texts, load, truncate)


def similarity_file(
    source: str | Path,
    output: Path,
    load: Loader,
    *,
    a: str | None = None,
    b: str | None = None,
    score: str = "score",
    truncate: Truncate = "end",
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> ScoredFile:
    """`source` with a column `score` more, in `output` (.csv, .tsv, .jsonl or .xlsx): the cosine of the texts in the columns `a` and `b`.

    a, b: default sentence1 and sentence2, or the only two columns. Memory does not grow with the file.
    """
    with open_table(source, format, encoding, sheet) as table:
        pair = table.pair_columns(a, b)
        if score in table.columns:
            raise Conflict(f"{table.name} has a column {score!r} already; name another for the result with --score")
        require_table(output, table, overwrite)
        say(f"{table.description()}; pairs from the columns {pair[0]!r} and {pair[1]!r}")
        model = load()
        encode = _encoding(model, truncate=truncate)
        clock = _Clock(table, pair, report)
        total, full = 0.0, 0

        def scored() -> Iterator[Cells]:
            nonlocal total, full
            for piece in slices(table, pair, SLICE_BYTES, TEXT_BYTES):
                made = _embed(table, piece, encode)
                scores = _cosines(np.einsum("nd,nd->n", made.vectors[::2], made.vectors[1::2]))
                total, full = total + float(scores.sum()), full + _full(made, model)
                clock.add(piece, made)
                for row, value in zip(piece.rows, scores, strict=True):
                    yield {**row.cells, score: round(float(value), 6)}
            table.require_unchanged()

        write_table(output, [*table.columns, score], scored())
    return ScoredFile(
        output=str(output),
        source=table.description(),
        columns=pair,
        score=score,
        rows=table.rows,
        mean=total / table.rows,
        full=full,
        model=model.name,
        seconds=clock.seconds(),
    )


def model_pull(name: str, hub: str | None = None, revision: str | None = None) -> KnownModel:
    """Download a model, or what is new of it; the hub's library shows its progress on standard error."""
    return _known(locate(name, hub=hub, revision=revision, refresh=True), name, hub, revision)


def model_list() -> KnownModels:
    """What was downloaded and is still there, by name."""
    return KnownModels(tuple(_known(model.path, model.name, model.hub, model.revision) for model in pulled()))


def model_info(name_or_path: str | None = None) -> ModelInfo:
    """What a model is; its weights are mapped, not run."""
    name = _named(name_or_path)
    folder = locate(name)
    checkpoint = open_checkpoint(folder)
    parameters = sum(tensor.data.size for tensor in checkpoint.weights.values())
    widths = checkpoint.dimensions
    return ModelInfo(
        name=name,
        path=str(folder),
        family=checkpoint.family,
        parameters=parameters,
        weights_mb={precision: round(parameters * size / 1e6) for precision, size in (("fp32", 4), ("bf16", 2), ("int8", 1))},
        layers=checkpoint.config.num_layers,
        dim=checkpoint.config.hidden_size,
        dimensions=f"{widths[0]} to {widths[-1]}" if isinstance(widths, range) else ", ".join(map(str, widths)),
        pooling=checkpoint.pooling,
        normalizes=checkpoint.normalize,
        max_tokens=checkpoint.max_tokens,
        longest_tokens=checkpoint.config.max_positions,
        prompts=checkpoint.prompts,
        licence=_licence(folder),
        space=checkpoint.digest,
        precision=resolve_precision("auto"),
        threads=os.cpu_count() or 1,
    )


def model_check(
    name_or_path: str | None = None,
    precision: str = "auto",
    threads: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> CheckedModel:
    """Whether a model's vectors are what its folder means, as `selfcheck.check` judges.

    A precision other than auto and fp32 is compared with fp32 over 200 texts, which takes as long as embedding them twice.
    """
    name, began = _named(name_or_path), monotonic()
    folder = locate(name)
    checkpoint = open_checkpoint(folder)
    resolved = resolve_precision(precision)
    with load(str(folder), precision, threads) as model:
        say(f"{name} in {resolved}: looking at its vectors")
        report = selfcheck.check(model.encoder, resolved, checkpoint.pooling == "last", _published_sha256(checkpoint.path))
        compares = precision not in ("auto", "fp32")
        if compares:
            say(f"comparing {resolved} with fp32 over {len(probes.TEXTS)} texts")
            vectors = _encoding(model, truncate="end")(probes.TEXTS).vectors
    comparison = None
    if compares:
        with load(str(folder), "fp32", threads) as reference:
            comparison = selfcheck.compare(vectors, _encoding(reference, truncate="end")(probes.TEXTS).vectors, probes.TEXTS, resolved)
    ok = report.ok and (comparison is None or comparison.ok)
    return CheckedModel(name, resolved, ok, report.checks, comparison, monotonic() - began)


def serve(
    models: Sequence[str],
    precision: str = "auto",
    threads: int | None = None,
    *,
    served_names: Sequence[str] = (),
    cache: bool = True,
    max_request_tokens: int = 300_000,
    say: Callable[[str], None] = lambda line: None,
) -> list[Served]:
    """Models loaded and checked, ready to be served; close each. None named: HUIYI_MODEL.

    A folder is served under its last part, a hub's name under itself with its last part as an alias. served_names: names in the place of
    those, in the order of `models`. cache: keep vectors in HUIYI_HOME/cache/vectors. Raises what `load` raises, ModelFailed when vectors
    are not what a model's folder means.
    """
    names = [_named(None)] if not models else list(models)
    if len(served_names) > len(names):
        raise InvalidInput(f"{len(served_names)} served names for {len(names)} models; give one for each, in their order")
    known = [_served_under(name) for name in names]
    known[: len(served_names)] = [(name, ()) for name in served_names]
    twice = {name for name, _ in known if [other for other, _ in known].count(name) > 1}
    if twice:
        raise InvalidInput(f"two models would be served as {', '.join(sorted(twice))}; name them apart with --served-model-name")
    served: list[Served] = []
    try:
        for name, (under, aliases) in zip(names, known, strict=True):
            folder = locate(name)
            model = load(str(folder), precision, threads)
            encoder = cast(LocalEncoder, model.encoder)
            resolved = resolve_precision(precision)
            kept = settings.home() / "cache" / "vectors"
            cached = CachedEncoder(encoder, kept, variant=f"{resolved} {__version__}") if cache else None
            served.append(Served(under, encoder, aliases=aliases, cached=cached, max_request_tokens=max_request_tokens))
            say(f"{name} in {resolved}: looking at its vectors")
            last_token = open_checkpoint(folder).pooling == "last"
            report = selfcheck.check(encoder, resolved, last_token, _published_sha256(folder))
            if not report.ok:
                found = "; ".join(f"{check.name} {check.value} {check.limit} {check.note}".strip() for check in report.failed)
                raise ModelFailed(f"{name} does not give the vectors that its folder means ({found}); see `huiyi model check`")
    except BaseException:
        for each in served:
            each.close(drain=False)
        raise
    return served


def _served_under(name: str) -> tuple[str, tuple[str, ...]]:
    """The name that answers give, and others that are understood."""
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser().resolve().name, ()
    return name, (name.rpartition("/")[2],) if "/" in name else ()


def _named(name_or_path: str | None) -> str:
    name = name_or_path or settings.default_model()
    if name is None:
        raise InvalidInput("no model is named: pass --model NAME (or a folder), or set HUIYI_MODEL")
    return name


def _known(path: Path, name: str, hub: str | None, revision: str | None) -> KnownModel:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return KnownModel(name, hub or settings.hub(), revision, str(path), size)


def _licence(folder: Path) -> str | None:
    """From the head of the model card, where hubs put it."""
    card = folder / "README.md"
    head = re.match(r"---\n(.*?)\n---", card.read_text("utf-8", errors="replace"), re.DOTALL) if card.is_file() else None
    found = re.search(r"^license: *(\S+)", head[1], re.MULTILINE) if head else None
    return found[1] if found else None


def _published_sha256(folder: Path) -> str | None:
    """The digest of a weights file that has the size of the published one; None for all others."""
    weights = folder / "model.safetensors"
    if not weights.is_file() or weights.stat().st_size != selfcheck.PUBLISHED_BYTES:
        return None
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _encoding(
    model: Model,
    kind: Kind = "document",
    instruction: str | None = None,
    dimensions: int | None = None,
    truncate: Truncate = "none",
) -> Encode:
    encoder = model.encoder
    if isinstance(encoder, LocalEncoder):
        side = None if truncate == "none" else truncate
        kept = {None: slice(None), "end": slice(MOST_CHARACTERS), "start": slice(-MOST_CHARACTERS, None)}[side]
        return lambda texts: encoder.embed([text[kept] for text in texts], kind, instruction, dimensions, truncate=side, repeatable=True)
    if truncate != "none":
        raise InvalidInput("this model cannot cut texts that are too long; pass --truncate none")
    return lambda texts: encoder.embed(texts, kind, instruction, dimensions)


def _embed(table: Table, piece: Slice, encode: Encode) -> Embedded:
    """An error that names a text, counted in the slice, names its line instead."""
    try:
        return encode(piece.texts)
    except (InvalidInput, ModelFailed) as error:
        named = re.match(r"texts?[ \[](\d+)\]?:? ", str(error))
        if named is None:
            raise
        line = piece.rows[int(named[1]) * len(piece.rows) // len(piece.texts)].number
        raise type(error)(f"{table.name}, line {line}: the text {str(error)[named.end() :]}") from error


def _full(made: Embedded, model: Model) -> int:
    return int((made.tokens >= model.encoder.max_tokens).sum())


def _cosines(products: Floats) -> Floats:
    return np.clip(products, -1, 1)  # of unit vectors; rounding can end at 1.0000001


class _Clock:
    """Progress by characters, since texts differ in length; a row counts as some more, so that empty ones count too."""

    def __init__(self, table: Table, columns: Sequence[str], report: Callable[[Progress], None]) -> None:
        self._columns, self._report = columns, report
        self._rows = table.rows
        self._work = ROW_CHARACTERS * table.rows + sum(table.columns[column].characters for column in columns)
        self._rows_done = self._work_skipped = self._work_done = self._texts = self._tokens = 0
        self._began = monotonic()

    def skip(self, row: Row) -> None:
        """A row of an earlier run."""
        self._rows_done += 1
        self._work_skipped += self._work_of(row)

    def add(self, piece: Slice, made: Embedded) -> None:
        self._rows_done += len(piece.rows)
        self._work_done += sum(map(self._work_of, piece.rows))
        self._texts += len(piece.texts)
        self._tokens += int(made.tokens.sum())
        seconds = self.seconds()
        left = self._work - self._work_skipped - self._work_done
        self._report(Progress(self._rows, self._rows_done, self._texts / seconds, self._tokens / seconds, left * seconds / self._work_done))

    def seconds(self) -> float:
        return max(monotonic() - self._began, 1e-9)

    def _work_of(self, row: Row) -> int:
        return ROW_CHARACTERS + sum(len(as_text(row.cells.get(column))) for column in self._columns)
