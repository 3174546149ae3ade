"""Many files of texts into a folder of files of vectors, named after them: what is whole already is left, what cannot be read is told.

The texts go to wherever the model is, on this machine or on a cluster; files are read and written here, by one process, in order, so a
machine that dies takes nothing with it and nothing is written twice. A run that was stopped goes on in the middle of a file.
"""

import glob
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Literal

from huiyi.encoding.ahead import in_order
from huiyi.errors import Conflict, HuiyiError, InvalidInput, NotFound, Unavailable
from huiyi.model import Model
from huiyi.sources.manifest import Finished, Manifest
from huiyi.sources.readers import as_text
from huiyi.sources.tables import SUFFIXES, Format, Slice, Table, is_packed, open_table, slices, suffix_of
from huiyi.sources.vectors import PartialVectors, require_vectors
from huiyi.types import Embedded, Kind
from huiyi.workspace.embedding import PROBE, job_of
from huiyi.workspace.texts import (
    ROW_CHARACTERS,
    SLICE_BYTES,
    TEXT_BYTES,
    Encode,
    Loader,
    Truncate,
    count_full,
    embed_slice,
    text_encoder,
)

VectorFormat = Literal["npy", "jsonl", "parquet"]


@dataclass(frozen=True)
class EmbeddedShards:
    """shards: files of the source; of them `whole_before` needed nothing, and `failed` have no output, each with the reason.

    rows, tokens, full, empty: of all files that are whole now, as in `EmbeddedFile`. embedded: texts of this run.
    """

    output: str
    shards: int
    whole_before: int
    failed: tuple[str, ...]
    rows: int
    embedded: int
    dimensions: int
    tokens: int
    full: int
    empty: int
    model: str
    space: str
    seconds: float


@dataclass(frozen=True)
class ShardProgress:
    """Where a run stands; rates are of this run alone."""

    shards: int
    shards_done: int
    rows_done: int
    texts_per_s: float
    tokens_per_s: float
    seconds_left: float


@dataclass(frozen=True)
class Shard:
    """An input and its output. name: of the input, below the folder that was named."""

    name: str
    source: Path
    output: Path
    bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class How:
    """How texts are read and embedded, as in `embed_file`."""

    text: str | None = None
    kind: Kind = "document"
    instruction: str | None = None
    dimensions: int | None = None
    truncate: Truncate = "end"
    format: Format | None = None
    encoding: str | None = None
    sheet: str | None = None


def embed_shards(
    source: str | Path,
    output: Path,
    load: Loader,
    how: How = How(),
    *,
    as_: VectorFormat = "npy",
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
    report: Callable[[ShardProgress], None] = lambda progress: None,
) -> EmbeddedShards:
    """The vectors of every file of `source` in a file of the same name below the folder `output`, rows in file order.

    source: a file, a folder (all tables below it) or a pattern such as logs/2026-*.csv. as_: the format of the outputs. overwrite: make
    all of them anew. A file that cannot be read or embedded is in `failed`, and the next run tries it again; one that changed since is
    embedded anew. Conflict where the folder holds vectors of another model or made in another way.
    """
    shards = find_shards(source, output, as_, how.format)
    with Manifest(output) as manifest:
        if manifest.is_new and not overwrite:
            for shard in shards:
                if shard.output.exists():
                    raise Conflict(
                        f"{shard.output} is there already, and no run of this kind made it; name another folder, or pass --force"
                    )
        model = load()
        run = _Run(manifest, model, how, overwrite, len(shards), say, report)
        todo = [shard for shard in shards if not run.is_whole(shard)]
        say(f"{source}: {len(shards):,} file{'s' * (len(shards) != 1)}, {len(shards) - len(todo):,} of them embedded before")
        run.embed(todo)
        made = [told for shard in shards if (told := manifest.whole(_below(shard.output, output))) and shard.name not in run.failed]
    return EmbeddedShards(
        output=str(output),
        shards=len(shards),
        whole_before=len(shards) - len(todo),
        failed=tuple(f"{name}: {reason}" for name, reason in run.failed.items()),
        rows=sum(told.rows for told in made),
        embedded=run.texts,
        dimensions=run.dim,
        tokens=sum(told.tokens for told in made),
        full=sum(told.full for told in made),
        empty=sum(told.empty for told in made),
        model=model.name,
        space=model.encoder.space,
        seconds=run.seconds(),
    )


def is_many(source: str) -> bool:
    """Whether a folder or a pattern was named, and not a file."""
    path = Path(source)
    return path.is_dir() or (glob.has_magic(source) and not path.exists())


def find_shards(source: str | Path, output: Path, as_: VectorFormat, format: Format | None = None) -> list[Shard]:
    """In the order of their names. format: of all files of a folder, whatever their names."""
    root, files = _files(str(source), format)
    if output.resolve().is_relative_to(root.resolve()) and Path(source).is_dir():
        raise InvalidInput(f"{output} is inside {source}, and would be read as texts the next time; name a folder beside it")
    shards: dict[Path, Shard] = {}
    for file in files:
        name = file.relative_to(root)
        bare = name.with_suffix("") if is_packed(name) else name
        target = output / bare.with_suffix(f".{as_}")
        if target in shards:
            raise InvalidInput(f"{shards[target].name} and {name} would both become {target}; rename one of them")
        facts = file.stat()
        shards[target] = Shard(name.as_posix(), file, target, facts.st_size, facts.st_mtime_ns)
    return list(shards.values())


def _files(source: str, format: Format | None) -> tuple[Path, list[Path]]:
    """The folder that names are below, and the files."""
    path = Path(source)
    if source == "-":
        raise InvalidInput("standard input is one text after the other: write it to a file to have it embedded on several machines")
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        found = [each for each in sorted(path.rglob("*")) if each.is_file() and not _hidden(each.relative_to(path))]
        files = [each for each in found if format is not None or suffix_of(each) in SUFFIXES]
        if not files:
            raise NotFound(f"there is no table in {source} ({', '.join(SUFFIXES)}); name their format with --format")
        return path, files
    if not glob.has_magic(source):
        raise NotFound(f"there is no file or folder {source}")
    files = [each for name in sorted(glob.glob(source, recursive=True)) if (each := Path(name)).is_file()]
    if not files:
        raise NotFound(f"no file is called like {source}")
    fixed = path.parts[: next(i for i, part in enumerate(path.parts) if glob.has_magic(part))]
    return Path(*fixed), files


def _hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _below(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


class _Open:
    """A shard between its first and its last row."""

    def __init__(self, shard: Shard, table: Table, column: str, digest: str, partial: PartialVectors) -> None:
        self.shard, self.table, self.column, self.digest, self.partial = shard, table, column, digest, partial
        self.failed = False
        self._characters = ROW_CHARACTERS * table.rows + table.columns[column].characters
        self.bytes_a_character = shard.bytes / self._characters

    def bytes_of(self, piece: Slice) -> float:
        """The share of the file that these rows are, by what of it is embedded."""
        return self.bytes_a_character * sum(ROW_CHARACTERS + len(text) for text in piece.texts)

    def close(self) -> None:
        self.partial.__exit__()
        self.table.file.close()


class _Run:
    """One run over the files that are to be embedded."""

    def __init__(
        self,
        manifest: Manifest,
        model: Model,
        how: How,
        overwrite: bool,
        shards: int,
        say: Callable[[str], None],
        report: Callable[[ShardProgress], None],
    ) -> None:
        self._manifest, self._model, self._how, self._say, self._report = manifest, model, how, say, report
        self._encode: Encode = text_encoder(model, how.kind, how.instruction, how.dimensions, how.truncate)
        probe = self._encode([PROBE]).vectors
        self.dim = probe.shape[1]
        precision = str(getattr(model.encoder, "precision", ""))
        # What vectors depend on. On one machine rounding is part of it, as in embed_file; those of a cluster agree on less.
        self._space = f"{model.encoder.space} {precision or hashlib.sha256(probe.tobytes()).hexdigest()}"
        made_with = {"model": self._space, "dim": self.dim, "kind": how.kind, "instruction": how.instruction, "truncate": how.truncate}
        manifest.settle({**made_with, "max_tokens": model.encoder.max_tokens, "text": how.text}, overwrite)
        self.failed: dict[str, str] = {}
        self.texts = self._tokens = self._rows = 0
        self._shards, self._shards_done = shards, 0
        self._bytes = self._bytes_done = 0.0
        self._open: list[_Open] = []
        self._began = monotonic()

    def is_whole(self, shard: Shard) -> bool:
        """Whether its output is there and made of the file as it is now."""
        told = self._manifest.whole(_below(shard.output, self._manifest.folder))
        if told is None or told.source != shard.name or told.bytes != shard.bytes:
            return False
        return told.mtime_ns == shard.mtime_ns or _sha256(shard.source) == told.sha256

    def embed(self, shards: list[Shard]) -> None:
        self._shards_done = self._shards - len(shards)
        self._bytes = float(sum(shard.bytes for shard in shards))
        with ExitStack() as stack:
            stack.callback(self._close)
            for (opened, piece), future in stack.enter_context(in_order(self._model.encoder, self._embedded, self._pieces(shards))):
                if not opened.failed:
                    try:
                        self._take(opened, piece, future.result())
                    except Unavailable:
                        raise
                    except HuiyiError as error:
                        self._fail(opened, error)

    def seconds(self) -> float:
        return max(monotonic() - self._began, 1e-9)

    def _embedded(self, work: tuple[_Open, Slice]) -> Embedded | None:
        opened, piece = work
        return embed_slice(opened.table, piece, self._encode) if piece.texts and not opened.failed else None

    def _pieces(self, shards: list[Shard]) -> Iterator[tuple[_Open, Slice]]:
        """All texts that are to be embedded; for a shard that has none left, one empty piece."""
        for shard in shards:
            try:
                opened = self._opened(shard)
            except (HuiyiError, OSError) as error:
                self._bytes -= shard.bytes
                self._tell_failed(shard, error)
                continue
            try:
                rows = iter(opened.table)
                for row in islice(rows, opened.partial.done.rows):
                    self._bytes -= opened.bytes_a_character * (ROW_CHARACTERS + len(as_text(row.cells.get(opened.column))))
                if opened.partial.done.rows == opened.table.rows:
                    yield opened, Slice([], [])
                    continue
                for piece in slices(rows, [opened.column], SLICE_BYTES, TEXT_BYTES):
                    yield opened, piece
                    if opened.failed:
                        break
            except (HuiyiError, OSError) as error:  # it went or changed under our hands
                self._fail(opened, error)

    def _opened(self, shard: Shard) -> _Open:
        how = self._how
        table = open_table(shard.source, how.format, how.encoding, how.sheet)
        try:
            column = table.text_column(how.text)
            shard.output.parent.mkdir(parents=True, exist_ok=True)
            require_vectors(shard.output, table, overwrite=True)
            shard.output.unlink(missing_ok=True)  # of a file that changed, or made in another way
            job = job_of(table, column, how.sheet, how.kind, how.instruction, how.truncate, self._space)
            opened = _Open(shard, table, column, str(job["source"]), PartialVectors(shard.output, job, table.rows, self.dim))
        except BaseException:
            table.file.close()
            raise
        self._open.append(opened)
        if opened.partial.done.rows:
            self._say(f"{shard.name}: going on after row {opened.partial.done.rows:,}, where an earlier run stopped")
        return opened

    def _take(self, opened: _Open, piece: Slice, made: Embedded | None) -> None:
        partial, table = opened.partial, opened.table
        if made is not None:
            partial.append(made.vectors, int(made.tokens.sum()), count_full(made, self._model))
            self.texts += len(made.tokens)
            self._tokens += int(made.tokens.sum())
            self._rows += len(made.tokens)
            self._bytes_done += opened.bytes_of(piece)
        if partial.done.rows == table.rows:
            table.require_unchanged()
            shard, done = opened.shard, partial.done
            file = _below(shard.output, self._manifest.folder)
            counts = (done.rows, done.tokens, done.full, table.empty(opened.column))
            self._manifest.add(Finished(file, shard.name, shard.bytes, shard.mtime_ns, self._digest_of(opened), *counts))
            partial.finish(table)
            opened.close()
            self._open.remove(opened)
            self._shards_done += 1
        if made is not None:
            self._tell()

    def _digest_of(self, opened: _Open) -> str:
        """Of the file as it lies there; a packed one was unpacked for the table."""
        return _sha256(opened.shard.source) if is_packed(opened.shard.source) else opened.digest

    def _fail(self, opened: _Open, error: HuiyiError | OSError) -> None:
        opened.failed = True
        opened.close()
        if opened in self._open:
            self._open.remove(opened)
        self._tell_failed(opened.shard, error)

    def _tell_failed(self, shard: Shard, error: Exception) -> None:
        self.failed[shard.name] = str(error) or type(error).__name__
        self._shards_done += 1
        self._say(f"{shard.name}: not embedded: {self.failed[shard.name]}")

    def _tell(self) -> None:
        seconds = self.seconds()
        left = max(0.0, self._bytes - self._bytes_done) * seconds / max(self._bytes_done, 1e-9)
        rates = (self.texts / seconds, self._tokens / seconds, left)
        self._report(ShardProgress(self._shards, self._shards_done, self._rows, *rates))

    def _close(self) -> None:
        """What is open stays as it is, for the next run."""
        for opened in self._open:
            opened.close()
