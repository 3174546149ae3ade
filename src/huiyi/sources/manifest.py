"""What a folder of results was made of, and which of its files are whole: a file of JSON lines in it, for one run at a time.

The first line says what all files depend on; every other one tells of a file that was finished. A line is on disk before its file appears
under its name, so that what is both listed and there is whole.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huiyi.errors import Conflict
from huiyi.sources.outputs import replacing
from huiyi.sources.vectors import lock

NAME = "huiyi.jsonl"


@dataclass(frozen=True)
class Finished:
    """A file of the folder. source: the name of its input; bytes, mtime_ns, sha256: of that. full, empty: texts, as in `EmbeddedFile`."""

    file: str
    source: str
    bytes: int
    mtime_ns: int
    sha256: str
    rows: int
    tokens: int
    full: int
    empty: int


class Manifest:
    """Of one folder, which is made when it is not there. Raises Conflict while another run has it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / NAME
        self.finished: dict[str, Finished] = {}
        self._made_with: dict[str, Any] | None = None
        if folder.exists() and not folder.is_dir():
            raise Conflict(f"{folder} is a file; name a folder")
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / f".{NAME}.lock").open("wb")
        lock(self._lock, folder)
        self._read()

    def __enter__(self) -> "Manifest":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def settle(self, made_with: Mapping[str, Any], anew: bool = False) -> None:
        """What all files are made with from now on. anew: whatever was made before. Conflict where that was something else."""
        before = self._made_with
        if before is not None and not anew:
            changed = [f"{name} {before.get(name)!r}, not {wanted!r}" for name, wanted in made_with.items() if before.get(name) != wanted]
            if changed:
                raise Conflict(
                    f"{self.folder} was made with {'; '.join(changed)}: name another folder, or pass --force to make all of it anew"
                )
            return
        self.finished = {}
        with replacing(self.path) as whole:
            whole.write_text(json.dumps({"made_with": made_with}, ensure_ascii=False) + "\n", "utf-8")
        self._made_with = dict(made_with)

    @property
    def is_new(self) -> bool:
        return self._made_with is None

    def whole(self, file: str) -> Finished | None:
        """What is known of a file that is there and whole."""
        return self.finished.get(file) if (self.folder / file).is_file() else None

    def add(self, finished: Finished) -> None:
        """On disk when it returns."""
        with self.path.open("ab") as file:
            file.write(json.dumps(asdict(finished), ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.finished[finished.file] = finished

    def _read(self) -> None:
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return
        try:
            self._made_with = dict(json.loads(lines[0])["made_with"])
            for line in lines[1:]:
                if line.endswith(b"\n"):  # the last one of a killed run may not
                    told = Finished(**json.loads(line))
                    self.finished[told.file] = told
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise Conflict(f"{self.path} is damaged ({error}); name another folder") from error
        if not lines[-1].endswith(b"\n"):
            with replacing(self.path) as whole:
                whole.write_bytes(b"".join(lines[:-1]))
