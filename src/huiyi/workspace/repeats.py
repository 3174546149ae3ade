"""Repeats on disk: what a search for them found, to be looked at under any threshold, decided on row by row, and written without them.

Owns one folder: `pairs.npz` (what is like what), `rows.jsonl` (the rows), `about.json`, and `decisions.json`, in which a person said of
single rows that they stay or go. Blocks; knows no jobs and no pages.
"""

import json
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from huiyi.errors import InvalidInput, NotFound
from huiyi.sources.outputs import replacing, table_format, write_table
from huiyi.sources.readers import Cells, as_text
from huiyi.workspace.records import Records

if TYPE_CHECKING:
    from huiyi.tasks.duplicates import Duplicates, Pair

FOLDER = ".pairs"
PAIRS, ROWS, ABOUT, DECISIONS = "pairs.npz", "rows.jsonl", "about.json", "decisions.json"
FLOOR = 0.7  # the least threshold that can be asked for
REMEMBERED = 8  # thresholds
REVIEW_COLUMNS = ("group", "stays", "stays_text", "row", "text", "score", "likeness", "decision", "remark")
Choice = Literal["stays", "goes"]


@dataclass(frozen=True)
class Twin:
    """A row that is like another. row, other: numbers from 0. remark: why the guard holds it apart, "" where it does not.

    goes: what happens to it; decided: whether a person said so.
    """

    row: int
    other: int
    text: str
    other_text: str
    score: float
    likeness: str
    remark: str
    goes: bool
    decided: bool


@dataclass(frozen=True)
class RepeatGroup:
    """stays: the row that represents it. twins: the rows like it, nearest first."""

    stays: int
    text: str
    twins: tuple[Twin, ...]


@dataclass(frozen=True)
class RepeatsView:
    """What is found at one threshold. exact, near, semantic: rows that are repeats, by how; gone: rows that go, as decided.

    unread: as in `tasks.duplicates.Duplicates`.
    """

    threshold: float
    rows: int
    groups: tuple[RepeatGroup, ...]
    apart: tuple[Twin, ...]
    exact: int
    near: int
    semantic: int
    gone: tuple[int, ...]
    unread: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class FoundRepeats:
    """Safe to call from many threads. column: of the text; name: of what was searched; threshold: that was asked for."""

    folder: Path
    name: str
    column: str
    columns: tuple[str, ...]
    threshold: float
    found: "Duplicates"
    rows: Sequence[dict[str, Any]]
    _at: "OrderedDict[float, Duplicates]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        return tuple(as_text(row.get(self.column)) for row in self.rows)

    @property
    def floor(self) -> float:
        return self.found.floor

    def view(self, threshold: float) -> RepeatsView:
        """InvalidInput below `floor`."""
        at, chosen = self._found(threshold), self._decisions()
        groups = tuple(
            RepeatGroup(group.representative, self.texts[group.representative], tuple(self._twin(pair, chosen) for pair in group.repeats))
            for group in at.groups
        )
        apart = tuple(self._twin(pair, chosen) for pair in at.apart)
        kinds = [pair.likeness for group in at.groups for pair in group.repeats]
        gone = sorted(twin.row for twins in (*(group.twins for group in groups), apart) for twin in twins if twin.goes)
        return RepeatsView(
            at.threshold, len(self.rows), groups, apart, kinds.count("exact"), kinds.count("near"), kinds.count("semantic"), tuple(gone),
            at.unread,
        )  # fmt: skip

    def decide(self, rows: Sequence[int], choice: Choice | None) -> None:
        """What happens to these rows, whatever is found; None leaves it to what is found."""
        strange = [row for row in rows if not 0 <= row < len(self.rows)]
        if strange:
            raise NotFound(f"there is no row {strange[0]} among {len(self.rows):,}")
        with self._lock:
            known = self._decisions()
            for row in rows:
                known.pop(row, None)
                if choice is not None:
                    known[row] = choice
            with replacing(self.folder / DECISIONS) as partial:
                partial.write_text(json.dumps({str(row): known[row] for row in sorted(known)}), "utf-8")

    def ids(self, view: RepeatsView) -> tuple[str, ...]:
        """Of the rows that go. InvalidInput where rows have none, as in a file."""
        if "id" not in self.columns:
            raise InvalidInput(f"the rows of {self.name} have no ids")
        return tuple(str(self.rows[row]["id"]) for row in view.gone)

    def export(self, view: RepeatsView, path: Path, what: Literal["kept", "review"] = "kept") -> None:
        """The rows that stay, as they were; or all pairs side by side (.csv, .tsv, .jsonl, .xlsx)."""
        table_format(path)
        if what == "review":
            write_table(path, REVIEW_COLUMNS, self._review(view))
        else:
            gone = set(view.gone)
            write_table(path, self.columns, (row for number, row in enumerate(self.rows) if number not in gone))

    def _review(self, view: RepeatsView) -> Iterator[Cells]:
        numbered = [(number, twin) for number, group in enumerate(view.groups, 1) for twin in group.twins]
        for number, twin in [*numbered, *((None, twin) for twin in view.apart)]:
            yield {
                "group": number, "stays": twin.other + 1, "stays_text": twin.other_text, "row": twin.row + 1, "text": twin.text,
                "score": round(twin.score, 4), "likeness": twin.likeness, "decision": "goes" if twin.goes else "stays",
                "remark": twin.remark,
            }  # fmt: skip

    def _found(self, threshold: float) -> "Duplicates":
        with self._lock:
            at = self._at.get(threshold)
            if at is None:
                at = self._at[threshold] = self.found.at(threshold)
                while len(self._at) > REMEMBERED:
                    self._at.popitem(last=False)
            return at

    def _twin(self, pair: "Pair", chosen: dict[int, Choice]) -> Twin:
        remark = "; ".join(map(str, pair.remarks))
        goes = chosen[pair.row] == "goes" if pair.row in chosen else not remark
        return Twin(
            pair.row, pair.other, self.texts[pair.row], self.texts[pair.other], pair.score, pair.likeness, remark, goes, pair.row in chosen
        )

    def _decisions(self) -> dict[int, Choice]:
        path = self.folder / DECISIONS
        return {int(row): choice for row, choice in json.loads(path.read_text("utf-8")).items()} if path.is_file() else {}


def open_repeats(folder: Path) -> FoundRepeats:
    """What `write` left in `folder`. NotFound, InvalidInput."""
    from huiyi.tasks.duplicates import Duplicates
    from huiyi.tasks.guard import Guard

    try:
        about = json.loads((folder / ABOUT).read_text("utf-8"))
        with (folder / ROWS).open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        texts = [as_text(row.get(about["column"])) for row in rows]
        guard = Guard(about["terms"]) if about["guarded"] else Guard.off()
        guard.learn(texts)
        with np.load(folder / PAIRS, allow_pickle=False) as held:
            found = Duplicates.from_state(held, texts, guard)
    except FileNotFoundError:
        raise NotFound("these repeats are not kept any more; look for them again") from None
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(f"the repeats in {folder} are damaged ({type(error).__name__}); look for them again") from error
    return FoundRepeats(folder, about["name"], about["column"], tuple(about["columns"]), found.threshold, found, rows)


def write(folder: Path, records: Records, found: "Duplicates", terms: Sequence[Sequence[str]] = (), guarded: bool = True) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with replacing(folder / PAIRS) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **found.state(FLOOR))  # type: ignore[arg-type]
    write_table(folder / ROWS, records.columns, iter(records.rows))
    about = {
        "name": records.name, "column": records.column, "columns": records.columns, "terms": [list(group) for group in terms],
        "guarded": guarded,
    }  # fmt: skip
    with replacing(folder / ABOUT) as partial:
        partial.write_text(json.dumps(about, ensure_ascii=False), "utf-8", "replace")
