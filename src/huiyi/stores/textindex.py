"""The keywords of a local collection, in step with its records: what was read before comes from files, what is new from the records.

A reader brings them to exactly the state that it sees; the thread that builds the graph does so ahead of readers, and saves. Files may
be deleted at any time, and several processes may write them: each holds one span of rows, whole, and proves itself.
"""

import logging
import re
import threading
from pathlib import Path

from huiyi.stores.keywords import Keywords, Part
from huiyi.stores.transactions import Snapshot, State

log = logging.getLogger(__name__)

READ_CHARACTERS = 1_000_000  # read into one part
SAVE_ROWS = 4_096  # fewer are read anew sooner than a file is opened
WORN_ROWS = 4_096
WORN = 0.3  # share of rows that are gone at which all is read anew
FILE = re.compile(r"keywords-([0-9a-f]+)-(\d+)-(\d+)\.bin")


class TextIndex:
    """Safe to call from many threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keywords: Keywords | None = None
        self._following = threading.Lock()
        self._saved: set[str] = set()

    def at(self, snapshot: Snapshot, state: State) -> Keywords:
        """Keywords of all rows of `state`, which is that of `snapshot`; they may be of later rows as well."""
        while self._is_behind(state):
            self.follow(snapshot, state)
        assert self._keywords
        return self._keywords

    def follow(self, snapshot: Snapshot, state: State) -> bool:
        """Read some rows that are new; whether there was anything to read."""
        with self._following:
            if not self._is_behind(state):
                return False
            keywords = self._keywords
            if keywords is None or keywords.token != state.token:
                keywords = self._loaded(state)
            if keywords.last < state.row:
                rows, texts = snapshot.texts(keywords.last, READ_CHARACTERS)
                last = rows[-1] if rows else state.row
                keywords = keywords.extended(Part.of(keywords.last, last, rows, texts))
            self._keywords = keywords
            return True

    def renew_if_worn(self, snapshot: Snapshot) -> None:
        """Read everything anew when much of what was read is gone."""
        keywords, count = self._keywords, snapshot.count()
        if keywords is None or keywords.count - count < max(WORN_ROWS, WORN * keywords.count):
            return
        state = snapshot.state()
        fresh = Keywords(state.token)
        while fresh.last < state.row:
            rows, texts = snapshot.texts(fresh.last, READ_CHARACTERS)
            fresh = fresh.extended(Part.of(fresh.last, rows[-1] if rows else state.row, rows, texts))
        with self._following:
            if self._keywords is not None and self._keywords.token == state.token:
                self._keywords = fresh

    def save(self) -> None:
        """Write what is not in files yet and is worth one, and take away what no part needs any more."""
        keywords = self._keywords
        if keywords is None:
            return
        named = {part.name(keywords.token): part for part in keywords.parts if part.is_full or len(part.rows) >= SAVE_ROWS}
        if set(named) == self._saved:
            return
        for name, part in named.items():
            if name not in self._saved:
                part.write(self._folder, keywords.token)
        self._saved = set(named)
        for path in self._folder.glob("keywords-*.bin"):
            if path.name not in named:
                path.unlink(missing_ok=True)

    def _is_behind(self, state: State) -> bool:
        keywords = self._keywords
        return keywords is None or keywords.token != state.token or keywords.last < state.row

    def _loaded(self, state: State) -> Keywords:
        """From files, as far as they follow one another."""
        spans: dict[int, dict[int, Path]] = {}
        for path in self._folder.glob("keywords-*.bin"):
            found = FILE.fullmatch(path.name)
            if found and found[1] == state.token and int(found[3]) <= state.row:
                spans.setdefault(int(found[2]), {})[int(found[3])] = path
        parts: list[Part] = []
        after = 0
        while own := spans.pop(after, None):
            for last in sorted(own, reverse=True):
                try:
                    parts.append(Part.read(own[last], after, last))
                except (ValueError, KeyError, OSError) as error:
                    log.warning("%s cannot be used (%s); it is made anew", own[last], error)
                    continue
                self._saved.add(own[last].name)
                after = last
                break
        return Keywords(state.token, tuple(parts))
