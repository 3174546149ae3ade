"""What a search needs in memory, made of the records and never more than a copy: positions, columns for filters, the vector index.

A position is the place of a row in the order in which rows were read; it stays, and a row that went is only marked. The
image is at one `State` of the records and goes on from there by what was added and changed since. What took long (the graph) is kept
in files that may be deleted at any time: a file that does not prove itself is not used.
"""

import io
import json
import logging
import os
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from huiyi.stores.columns import Columns
from huiyi.stores.filters import Filter
from huiyi.stores.keywords import Part, Which
from huiyi.stores.transactions import Snapshot, State, step
from huiyi.stores.vectorindex import Selection, VectorIndex

log = logging.getLogger(__name__)

FORMAT = 1
MOST_SELECTIONS = 64
CHUNK_BYTES = 1 << 24


class Image:
    """at: the state of the records that this is a copy of. Not thread-safe but for reading."""

    def __init__(self, dim: int) -> None:
        self.index = VectorIndex(dim)
        self.columns = Columns()
        self.at: State | None = None
        self._rows: NDArray[np.int64] = np.empty(0, np.int64)
        self._gone: NDArray[np.bool_] = np.empty(0, bool)
        self.gone = 0
        self._selections: OrderedDict[Filter, Selection] = OrderedDict()
        self._placed: WeakKeyDictionary[Part, tuple[NDArray[np.int64], bool]] = WeakKeyDictionary()

    @property
    def size(self) -> int:
        return self.index.size

    def is_behind(self, state: State) -> bool:
        """Whether `state` has what this has not; not so when this has gone on from there."""
        at = self.at
        return at is None or (at.token, at.generation) != (state.token, state.generation) or at.row < state.row or at.change < state.change

    def rows(self, positions: NDArray[np.int64]) -> list[int]:
        found: list[int] = self._rows[positions].tolist()
        return found

    def select(self, filter: Filter | None) -> Selection | None:
        """Positions that are there and match; None for all."""
        if filter is None:
            return None if not self.gone else self._select_there()
        found = self._selections.get(filter)
        if found is None:
            mask = self.columns.mask(filter, self.size)
            if self.gone:
                mask &= ~self._gone[: self.size]
            found = self._selections[filter] = Selection.of(mask)
            while len(self._selections) > MOST_SELECTIONS:
                with suppress(KeyError):  # another reader was faster
                    self._selections.popitem(last=False)
        return found

    def masks(self, filter: Filter | None) -> "tuple[Which, Which]":
        """For parts of the keywords: which of their rows are there, and which of these match."""
        assert self.at
        selection = self.select(filter) if filter is not None else None
        bits = None if selection is None else np.unpackbits(selection.bits, count=self.size, bitorder="little").view(bool)
        own: dict[int, Any] = {}

        def there(part: Part) -> NDArray[np.bool_] | None:
            positions, whole = self._places(part)
            if whole and not self.gone:
                return None
            if id(part) not in own:
                own[id(part)] = (positions >= 0) & ~self._gone[positions]
            mask: NDArray[np.bool_] = own[id(part)]
            return None if mask.all() else mask

        def matching(part: Part) -> NDArray[np.bool_] | None:
            if bits is None:
                return there(part)
            positions, _ = self._places(part)
            mask: NDArray[np.bool_] = (positions >= 0) & bits[positions]
            return mask

        return there, matching

    def _places(self, part: Part) -> tuple[NDArray[np.int64], bool]:
        """Positions of the rows of a part, -1 for those that are not there; and whether all are."""
        found = self._placed.get(part)
        if found is None:
            rows = self._rows[: self.size]
            positions = np.searchsorted(rows, part.rows)
            positions[positions == len(rows)] = 0
            positions = np.where(rows[positions] == part.rows, positions, -1) if len(rows) else np.full(len(part.rows), -1)
            found = positions, bool((positions >= 0).all())
            if self.at and part.last <= self.at.row:
                self._placed[part] = found
        return found

    def matching(self, filter: Filter) -> list[int]:
        """The rows that match, in order."""
        selection = self.select(filter)
        assert selection
        return self.rows(np.flatnonzero(np.unpackbits(selection.bits, count=self.size, bitorder="little")))

    def _select_there(self) -> Selection:
        return Selection.of(~self._gone[: self.size])

    # following the records

    def changes(self, snapshot: Snapshot, state: State) -> "Changes | None":
        """What to `take` to get from here to `state`, which is that of `snapshot`; None when there is no way from here to there."""
        at = self.at or State(state.token, state.generation, 0, state.change)
        if (at.token, at.generation) != (state.token, state.generation) or at.row > state.row or at.change > state.change:
            return None
        changed = snapshot.changed(at.change) if at.change < state.change else {}
        if changed is None:
            return None
        return Changes(state, {row: told for row, told in changed.items() if row <= at.row}, snapshot.after(at.row))

    def take(self, changes: "Changes") -> None:
        for row, told in changes.changed.items():
            position = int(np.searchsorted(self._rows[: self.size], row))
            if position < self.size and self._rows[position] == row:
                if told is None:
                    self.gone += not self._gone[position]
                    self._gone[position] = True
                else:
                    self.columns.replace(position, json.loads(told))
        for rows, told_each, halves in changes.added:
            start = self.size
            self._reserve(start + len(rows))
            self._rows[start : start + len(rows)] = rows
            for position, metadata in enumerate(told_each, start):
                if metadata != "{}":
                    self.columns.put(position, json.loads(metadata))
            self.index.append(halves)
        self._selections.clear()
        self.at = changes.state

    def _reserve(self, size: int) -> None:
        if size > len(self._rows):
            room = max(1024, size + size // 2)
            for name, dtype in (("_rows", np.int64), ("_gone", bool)):
                grown = np.zeros(room, dtype)
                grown[: self.size] = getattr(self, name)[: self.size]
                setattr(self, name, grown)

    # the files

    def saved(self) -> "SavedImage":
        """What `SavedImage.write` needs, copied; the graph itself is not, and must stay as it is until that is done."""
        assert self.at
        size = self.index.graphed
        arrays = {"rows": self._rows[:size], "gone": self._gone[:size], **self.columns.saved(size)}
        return SavedImage(self.at, self.index.dim, self.index.graph, {name: array.copy() for name, array in arrays.items()})

    @classmethod
    def loaded(cls, folder: Path, dim: int, state: State) -> "Image":
        """From the files where they belong to these records and are whole; else an empty image, which takes in everything."""
        path = folder / "index.bin"
        if path.exists():
            try:
                made = cls._read(path, dim, state)
                if made is not None:
                    return made
                log.info("%s is of other records; it is made anew", path)
            except Exception as error:  # noqa: BLE001  whatever is wrong with a copy, the records are the truth
                log.warning("%s cannot be used (%s); it is made anew", path, error)
        return cls(dim)

    @classmethod
    def _read(cls, path: Path, dim: int, state: State) -> "Image | None":
        import faiss

        whole = path.read_bytes()
        if zlib.crc32(memoryview(whole)[4:]).to_bytes(4, "little") != whole[:4]:
            raise ValueError("its checksum is wrong")
        with np.load(io.BytesIO(whole[4:]), allow_pickle=False) as kept:
            arrays: dict[str, NDArray[Any]] = dict(kept)
        facts = json.loads(arrays.pop("facts").tobytes())
        rows, gone = arrays.pop("rows"), arrays.pop("gone")
        belongs = (facts["format"], facts["dim"], facts["token"], facts["generation"]) == (FORMAT, dim, state.token, state.generation)
        if not belongs or facts["change"] > state.change or rows[-1] > state.row:
            return None
        graph_path = path.with_name(facts["graph"])
        if _crc(graph_path) != facts["crc"]:
            raise ValueError(f"the checksum of {graph_path.name} is wrong")
        graph = faiss.read_index(str(graph_path))
        made = cls(dim)
        made.index = VectorIndex(dim, graph)
        if made.index.graphed != len(rows):
            raise ValueError("it does not fit its graph")
        made._rows, made._gone, made.gone = rows, gone, int(gone.sum())
        made.columns = Columns.loaded(arrays)
        made.at = State(state.token, state.generation, int(rows[-1]), facts["change"])
        return made


@dataclass(frozen=True)
class Changes:
    """changed: metadata as JSON by row, None for a row that went. added: as `Snapshot.after` gives them."""

    state: State
    changed: dict[int, str | None]
    added: Iterable[tuple[list[int], list[str], bytes]]

    def read(self) -> "Changes":
        return replace(self, added=list(self.added))


@dataclass(frozen=True)
class SavedImage:
    at: State
    dim: int
    graph: Any
    arrays: dict[str, NDArray[Any]]

    def write(self, folder: Path) -> None:
        """The graph in a file of its own, then the file that names it: a reader takes both or none."""
        import faiss

        size = len(self.arrays["rows"])
        graph = folder / f"index-{self.at.token}-{self.at.generation}-{size}-{os.getpid()}.faiss"
        partial = folder / f".index-{os.getpid()}"
        try:
            faiss.write_index(self.graph, str(graph))
            step("index: graph written")
            names = {"format": FORMAT, "dim": self.dim, "token": self.at.token, "generation": self.at.generation}
            facts = names | {"change": self.at.change, "graph": graph.name, "crc": _crc(graph)}
            held = io.BytesIO()
            np.savez(held, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), **self.arrays)  # type: ignore[arg-type]
            partial.write_bytes(zlib.crc32(held.getbuffer()).to_bytes(4, "little") + held.getvalue())
            step("index: written")
            partial.replace(folder / "index.bin")
            step("index: replaced")
            for other in folder.glob("index-*.faiss"):
                if other != graph:
                    other.unlink(missing_ok=True)
        except BaseException:
            partial.unlink(missing_ok=True)
            graph.unlink(missing_ok=True)
            raise


def _crc(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            found = zlib.crc32(chunk, found)
    return found
