"""Vectors on their way to disk: rows are added piece by piece, a killed run goes on where it stopped, and the result appears whole.

Whatever the format asked for, the vectors wait in `OUT.partial` (a .npy of its final size) and `OUT.partial.json` says how many rows
are certain and for which job; only at the end do they become .npy (renamed), .jsonl or .parquet (written beside the input's cells).
So the bytes of a resumed run are those of an unbroken one, if the same rows get the same vectors.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import IO, Any

import numpy as np

from huiyi.errors import Conflict, InvalidInput, MissingExtra
from huiyi.sources.outputs import json_line, replacing, require_place
from huiyi.sources.readers import as_text, open_parquet
from huiyi.sources.tables import Column, Table
from huiyi.types import Floats

VECTOR_SUFFIXES = (".npy", ".jsonl", ".parquet")
EMBEDDING = "embedding"
PARQUET_GROUP_ROWS = 4096
KEEP_EVERY_S = 2.0  # writing state at every slice costs fast models time

Job = dict[str, str | int | None]


@dataclass
class Done:
    """What is on disk for certain. tokens: as the model saw them. full: texts that filled all the tokens the model reads."""

    rows: int = 0
    tokens: int = 0
    full: int = 0


class PartialVectors:
    """The vectors of `job`, of which `done` are there. One process at a time.

    job: everything that the vectors depend on; when it is not what an earlier run left, the work starts over and `changed` names
    the differences.
    """

    def __init__(self, output: Path, job: Job, rows: int, dim: int) -> None:
        self.output, self.rows, self.dim = output, rows, dim
        self.path = output.with_name(f"{output.name}.partial")
        self.state_path = output.with_name(f"{output.name}.partial.json")
        self.job: Job = {**job, "rows": rows, "dim": dim}
        self.done = Done()
        self.changed: list[str] = []
        self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "rb+")
        lock(self._file, output)
        self._resume()
        self._kept = monotonic()

    def __enter__(self) -> "PartialVectors":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file.closed:
            return
        self._keep()
        self._file.close()

    def _resume(self) -> None:
        np.lib.format.write_array_header_1_0(self._file, {"descr": "<f4", "fortran_order": False, "shape": (self.rows, self.dim)})
        self._start = self._file.tell()
        try:
            state = json.loads(self.state_path.read_bytes())
            was, done = dict(state["job"]), Done(**state["done"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # nothing is certain
            was, done = self.job, Done()
        self.changed = sorted(key for key in was.keys() | self.job.keys() if was.get(key) != self.job.get(key))
        size = self._file.seek(0, os.SEEK_END)
        if not self.changed and size >= self._end(done.rows):
            self.done = done
        self._file.truncate(self._end(self.done.rows))
        self._file.seek(0, os.SEEK_END)

    def _end(self, rows: int) -> int:
        return self._start + 4 * rows * self.dim

    def append(self, vectors: Floats, tokens: int, full: int) -> None:
        """Add the next rows; they survive a kill within KEEP_EVERY_S, and an exception at once."""
        self._file.write(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
        self.done = Done(self.done.rows + len(vectors), self.done.tokens + tokens, self.done.full + full)
        if monotonic() - self._kept > KEEP_EVERY_S:
            self._keep()

    def _keep(self) -> None:
        """Rows first, then their number: what is counted is on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        with replacing(self.state_path) as state:
            state.write_text(json.dumps({"job": self.job, "done": asdict(self.done)}), "utf-8")
        self._kept = monotonic()

    def finish(self, table: Table) -> None:
        """Make `output` of all rows and of the cells of `table`, and remove what was kept for resuming."""
        assert self.done.rows == self.rows
        self._keep()
        if self.output.suffix == ".npy":
            self._file.close()
            self.path.replace(self.output)
        else:
            vectors: Floats = np.memmap(self.path, "<f4", "r", self._start, (self.rows, self.dim))
            write = _write_jsonl if self.output.suffix == ".jsonl" else _write_parquet
            with replacing(self.output) as whole:
                write(whole, table, vectors)
        self._file.close()
        self.state_path.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def require_vectors(output: Path, table: Table, overwrite: bool) -> None:
    """Refuse before the work what could not be written after it."""
    require_place(output, overwrite)
    if output.suffix not in VECTOR_SUFFIXES:
        raise InvalidInput(f"{output} has a name that does not tell how to write it; end it in .npy, .jsonl or .parquet")
    if output.suffix != ".npy" and EMBEDDING in table.columns:
        raise Conflict(f"{table.name} has a column {EMBEDDING!r} already; rename it, or write a .npy")
    if output.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise MissingExtra("writing parquet", "parquet") from error


def lock(file: IO[bytes], output: Path) -> None:
    """Until it is closed; Conflict while another process has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise Conflict(f"another run is writing {output}; wait for it, or name another file") from None


def _write_jsonl(path: Path, table: Table, vectors: Floats) -> None:
    numbers = ", ".join(["%.9g"] * vectors.shape[1])  # nine digits name every float32
    with path.open("w", encoding="utf-8", newline="") as file:
        for row, vector in zip(table, vectors, strict=True):
            cells = json_line(row.cells)[:-1] + ", " * bool(row.cells)
            file.write(f'{cells}"{EMBEDDING}": [{numbers % tuple(vector.tolist())}]}}\n')


def _write_parquet(path: Path, table: Table, vectors: Floats) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    if table.format == "parquet":
        fields = list(open_parquet(table.file, table.name).schema_arrow)
    else:
        types = {"integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
        fields = [pa.field(name, types.get(column.type or "text", pa.string())) for name, column in table.columns.items()]
    schema = pa.schema([*fields, pa.field(EMBEDDING, pa.list_(pa.float32(), vectors.shape[1]))])
    rows = iter(table)
    with parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, len(vectors), PARQUET_GROUP_ROWS):
            group = [row.cells for row in islice(rows, PARQUET_GROUP_ROWS)]
            arrays = [pa.array(_typed(group, field.name, table), field.type) for field in fields]
            flat = pa.array(np.asarray(vectors[start : start + len(group)]).ravel())
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _typed(group: list[dict[str, Any]], name: str, table: Table) -> Iterator[object]:
    """One column, each cell of the column's type; where a column is of several types all are text."""
    column: Column = table.columns[name]
    values = (cells.get(name) for cells in group)
    if table.format == "parquet":
        return values
    if column.type == "number":
        return (value if value is None else float(value) for value in values)
    return (value if value is None or column.type != "mixed" else as_text(value) for value in values)
