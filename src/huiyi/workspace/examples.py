"""Files of examples, for training and for judging: opened as any table, read as their columns say, with errors that name the line."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from huiyi.sources.tables import Format, open_table
from huiyi.training import reading, searches
from huiyi.training.data import Labelled, Pairs, ScoredPairs, Training
from huiyi.training.reading import Rows
from huiyi.training.searches import Searches

Read = TypeVar("Read")


@dataclass(frozen=True)
class Reader:
    """How files of examples are read: the options of `open_table`, the columns by role, and who is told what was read."""

    columns: Mapping[str, str] | None = None
    format: Format | None = None
    encoding: str | None = None
    sheet: str | None = None
    say: Callable[[str], None] = lambda line: None

    def training(self, source: str | Path) -> Training:
        return self._read(source, reading.read_training)

    def any(self, source: str | Path) -> Training | Labelled:
        return self._read(source, reading.read_examples)

    def pairs(self, source: str | Path) -> Pairs | ScoredPairs:
        return self._read(source, reading.read_pairs)

    def labelled(self, source: str | Path) -> Labelled:
        return self._read(source, reading.read_labelled)

    def searches(self, source: str | Path, corpus: str | Path | None, answers: str | Path | None) -> Searches:
        """Queries in `source`, passages in `corpus`, and, where the queries do not say it, what answers them in `answers`."""
        asked = self._read(source, searches.read_asked)
        passages = self._read(corpus, searches.read_passages) if corpus is not None else None
        return searches.joined(asked, passages, self._read(answers, searches.read_answers) if answers is not None else None)

    def _read(self, source: str | Path, read: Callable[[Rows, Iterable[str], str, Mapping[str, str]], Read]) -> Read:
        with open_table(source, self.format, self.encoding, self.sheet) as table:
            self.say(table.description())
            return read(((row.number, row.cells) for row in table), table.columns, table.name, self.columns or {})


def read_training(
    source: str | Path,
    columns: Mapping[str, str] | None = None,
    *,
    format: Format | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Training:
    """The examples in a file, as `training.reading.read_training` tells them. columns: roles to columns, where these have other names."""
    return Reader(columns, format, encoding, sheet, say).training(source)
