"""Collections by name below the workspace folder: opened, listed, shown, exported, deleted, backed up, restored, checked, reindexed.

A collection's folder is HOME/collections/NAME. It holds the local store, or `store.json`, which says where else the records are.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from huiyi import settings
from huiyi.collection import Added, Collection, Filtering, Reindexed
from huiyi.errors import Conflict, HuiyiError, InvalidInput, NotFound
from huiyi.model import Model
from huiyi.sources.outputs import replacing, require_place, table_format, write_table
from huiyi.spaces import facts_of, lasting, require_same_space
from huiyi.stores.filters import parse
from huiyi.stores.store import Facts, Record, Store
from huiyi.workspace.models import load as load_model
from huiyi.workspace.texts import Loader, Progress

NAME = re.compile(r"\w[\w-]{0,63}")
BACKENDS = {"local": "huiyi.stores.local", "milvus": "huiyi.stores.milvus", "pinecone": "huiyi.stores.pinecone"}
ELSEWHERE = "store.json"


@dataclass(frozen=True)
class CollectionInfo:
    """problem: why it cannot be read, and then nothing else is known but its name and store. size_bytes: on this machine's disk."""

    name: str
    store: str
    records: int | None = None
    model: str | None = None
    dim: int | None = None
    instruction: str | None = None
    size_bytes: int | None = None
    problem: str | None = None


@dataclass(frozen=True)
class CollectionList:
    collections: tuple[CollectionInfo, ...]


@dataclass(frozen=True)
class ShownCollection:
    """indexed: records in the approximate index; the others are looked at one by one. fields: of the metadata of the first records."""

    name: str
    store: str
    records: int
    indexed: int
    model: str
    space: str
    precision: str
    dim: int
    instruction: str | None
    size_bytes: int | None
    about: dict[str, str]
    fields: tuple[str, ...]
    first: tuple[Record, ...]


@dataclass(frozen=True)
class Exported:
    output: str
    records: int
    vectors: str | None


@dataclass(frozen=True)
class Deleted:
    """records: how many were deleted. whole: the collection itself as well."""

    name: str
    records: int
    whole: bool


@dataclass(frozen=True)
class BackedUp:
    name: str
    file: str
    records: int
    size_bytes: int


@dataclass(frozen=True)
class Restored:
    name: str
    file: str
    records: int
    model: str


def open_collection(
    name: str,
    model: Model | str | Path | None = None,
    home: str | Path | None = None,
    store: str | None = None,
    *,
    instruction: str | None = None,
    dimensions: int | None = None,
    load: Callable[[str | None], Model] | None = None,
    new: bool = False,
) -> Collection:
    """As `huiyi.open`. load: in the place of `workspace.load`; gets the name of the model, None for the default one.

    new: Conflict when there is one of that name.
    """
    store = _lasting_store(store)
    opened = _store_of(name, home, store)
    try:
        if new and opened.facts is not None:
            raise Conflict(f"there is a collection {name} already; delete it first, or take another name")
        loader = _loader(model, opened.facts, load or load_model)
        if opened.facts is None:
            made = loader()
            opened.create(facts_of(made, instruction, dimensions))
            _remember(name, home, store)
            return Collection(name, opened, lambda: made)
        _remember(name, home, store)  # of a collection that another machine made
        if dimensions not in (None, opened.facts.dim):
            raise Conflict(f"{name} holds vectors of {opened.facts.dim} numbers, not of {dimensions}")
        if model is None:
            return Collection(name, opened, loader, instruction)
        made = loader()
        require_same_space(name, opened.facts, made)
        return Collection(name, opened, lambda: made, instruction)
    except BaseException:
        opened.close()
        raise


def collection_list(home: str | Path | None = None) -> CollectionList:
    """All collections below the workspace folder, by name; one that cannot be read is listed with its problem."""
    return CollectionList(tuple(info for name in _names(home) if (info := _info(name, home)) is not None))


def collection_show(name: str, home: str | Path | None = None, first: int = 3) -> ShownCollection:
    """What a collection is and how its records look; no model is loaded."""
    with _existing(name, home) as store:
        return shown(store, name, home, first)


def shown(store: Store, name: str, home: str | Path | None, first: int) -> ShownCollection:
    facts, status = _facts(store, name), store.status()
    page = store.page(100)
    fields = {field: None for record in page.records for field in record.metadata}
    return ShownCollection(
        name,
        _where(name, home),
        status.records,
        status.indexed,
        facts.model,
        facts.space,
        facts.precision,
        facts.dim,
        facts.instruction,
        status.size_bytes,
        status.about,
        tuple(fields),
        page.records[:first],
    )


def collection_export(
    name: str,
    output: Path,
    *,
    vectors: Path | None = None,
    filter: Filtering = None,
    overwrite: bool = False,
    home: str | Path | None = None,
) -> Exported:
    """Records as a table (.csv, .xlsx, .tsv, or .jsonl, which is exact): id, text and a column a field; vectors as .npy, in that order."""
    table_format(output)
    require_place(output, overwrite)
    if vectors is not None:
        require_place(vectors, overwrite)
        if vectors.suffix != ".npy":
            raise InvalidInput(f"vectors are written as .npy, not {vectors.name}")
    tree = parse(filter)
    with _existing(name, home) as store:
        _facts(store, name)
        records: list[Record] = []
        rows = []
        for batch in store.scan(tree):
            records += batch.records
            if vectors is not None:
                rows.append(batch.vectors)
        fields = {field: None for record in records for field in record.metadata}
        columns = ["id", "text", *(f"metadata.{field}" if field in ("id", "text") else field for field in fields)]
        by_field = dict(zip(fields, columns[2:], strict=True))
        write_table(output, columns, (_cells(record, by_field) for record in records))
        if vectors is not None:
            with replacing(vectors) as partial, partial.open("wb") as file:
                np.save(file, np.concatenate([np.empty((0, _facts(store, name).dim), np.float32), *rows]))
    return Exported(str(output), len(records), str(vectors) if vectors else None)


def collection_delete(name: str, *, ids: tuple[str, ...] = (), filter: Filtering = None, home: str | Path | None = None) -> Deleted:
    """Records, by ids or filter, or else the whole collection."""
    if not ids and filter is None:
        try:
            store = _store_of(name, home, None)
        except HuiyiError:
            if not (_folder(name, home)).is_dir():
                raise
            return _delete_damaged(name, home)  # what cannot be opened can still be deleted
        records = store.count() if store.facts else 0
        if store.facts is None:
            store.close()
            raise _not_there(name, home)
        store.drop()
        _forget(name, home)
        return Deleted(name, records, True)
    with _existing(name, home) as store:
        collection = Collection(name, store, _no_model)
        return Deleted(name, collection.delete(ids=ids or None, filter=filter), False)


def collection_backup(name: str, output: Path | None = None, *, overwrite: bool = False, home: str | Path | None = None) -> BackedUp:
    """All records and vectors as one file, of one moment, while writes go on. output: default NAME-DATE.backup in the current folder."""
    target = output or Path(f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}.backup")
    require_place(target, overwrite)
    with _existing(name, home) as store:
        _local(store, name).backup(target)
        records = store.count()
    return BackedUp(name, str(target), records, target.stat().st_size)


def collection_restore(name: str, source: Path, *, overwrite: bool = False, home: str | Path | None = None) -> Restored:
    """A backup as the collection `name`. overwrite: in the place of the one that is there."""
    if not source.is_file():
        raise NotFound(f"there is no file {source}")
    folder = _folder(name, home)
    if _where(name, home) != "local":
        raise Conflict(f"{name} is kept in {_where(name, home)}; restore under another name")
    there = any(folder.glob("*.sqlite3"))
    if there and not overwrite:
        raise Conflict(f"there is a collection {name} already; pass --force to put the backup in its place, or name another")
    from huiyi.stores import local

    store = local.restored(folder, source)
    try:
        return Restored(name, str(source), store.count(), _facts(store, name).model)
    finally:
        store.close()


def collection_check(name: str, home: str | Path | None = None) -> CollectionInfo:
    """Read every record and vector; raises when one is not what was written."""
    with _existing(name, home) as store:
        _local(store, name).check()
    info = _info(name, home)
    assert info
    return info


def reindex(
    name: str,
    load: Loader,
    *,
    home: str | Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Reindexed:
    """Embed a collection anew with the model that `load` gives, beside the live vectors, and swap. A broken run goes on."""
    from time import monotonic

    with _existing(name, home) as store:
        collection = Collection(name, store, _no_model)
        before = _facts(store, name)
        say(f"{name}: {store.count():,} records with vectors of {before.model}; searches go on meanwhile")
        began = monotonic()
        resumed: list[int] = []

        def told(done: int, records: int, made: Added) -> None:
            if not resumed:
                resumed.append(done - made.embedded)
            seconds = max(monotonic() - began, 1e-9)
            left = (records - done) * seconds / max(made.embedded, 1)
            report(Progress(records, done, made.embedded / seconds, made.tokens / seconds, left))

        done = collection.reindex(load, told)
        collection.close()
        return done


def _loader(model: Model | str | Path | None, facts: Facts | None, load: Callable[[str | None], Model]) -> Callable[[], Model]:
    """Gives the model that was named, else the collection's own."""
    if isinstance(model, Model):
        return lambda: model
    if model is not None:
        return lambda: load(lasting(str(model)))
    return lambda: load(facts.model if facts else None)


def _lasting_store(store: str | None) -> str | None:
    """A Milvus Lite file by its whole path, for the same reason."""
    kind, _, address = (store or "").partition(":")
    return (
        f"{kind}:{Path(address).expanduser().resolve()}" if kind == "milvus" and address.endswith(".db") and "://" not in address else store
    )


def _no_model() -> Model:
    raise InvalidInput("this needs no model")


def _home(home: str | Path | None) -> Path:
    return Path(home).expanduser() if home is not None else settings.home()


def _names(home: str | Path | None) -> list[str]:
    folder = _home(home) / "collections"
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and NAME.fullmatch(path.name)) if folder.is_dir() else []


def _folder(name: str, home: str | Path | None) -> Path:
    return _home(home) / "collections" / canonical(name)


def canonical(name: str) -> str:
    """The name as its folder has it. InvalidInput for what cannot be one."""
    name = unicodedata.normalize("NFC", name)
    if not NAME.fullmatch(name):
        raise InvalidInput(f"{name[:80]!r} cannot be a collection's name: take up to 64 letters, digits, - and _, not beginning with -")
    return name


def existing_store(name: str, home: str | Path | None = None) -> Store:
    """What keeps the collection; close it. NotFound."""
    store = _store_of(name, home, None)
    if store.facts is None:
        store.close()
        raise _not_there(name, home)
    return store


def store_kind(name: str, home: str | Path | None = None) -> str:
    """local, milvus or pinecone."""
    return _where(name, home).partition(":")[0]


def is_for_one_process(name: str, home: str | Path | None = None) -> bool:
    """Whether it lies in a Milvus Lite file, which two processes cannot have open."""
    kind, _, address = _where(name, home).partition(":")
    return kind == "milvus" and (not address or address.endswith(".db"))


def _where(name: str, home: str | Path | None) -> str:
    elsewhere = _folder(name, home) / ELSEWHERE
    if not elsewhere.is_file():
        return "local"
    try:
        return str(json.loads(elsewhere.read_text("utf-8"))["store"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HuiyiError(
            f'{elsewhere} is damaged ({error}): it says where the records of {name} are, as {{"store": "milvus:ADDRESS"}}; put that right, '
            f"or delete the collection here"
        ) from error


def _store_of(name: str, home: str | Path | None, store: str | None) -> Store:
    folder = _folder(name, home)
    there = _where(name, home)
    if store is not None and store != there and (there != "local" or any(folder.glob("*.sqlite3"))):
        raise Conflict(f"the collection {name} is kept in {there}, not in {store}; leave the store out, or take another name")
    kind, _, address = (store or there).partition(":")
    if kind not in BACKENDS:
        raise InvalidInput(f"there is no store {kind!r}; there are {', '.join(BACKENDS)}, as in store='milvus:http://localhost:19530'")
    opened: Store = import_module(BACKENDS[kind]).open_store(name, address, folder)
    return opened


def _remember(name: str, home: str | Path | None, store: str | None) -> None:
    """Where a collection is that is not local."""
    if store and store.partition(":")[0] != "local" and store != _where(name, home):
        folder = _folder(name, home)
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / ELSEWHERE) as partial:
            partial.write_text(json.dumps({"store": store}), "utf-8")


def _forget(name: str, home: str | Path | None) -> None:
    folder = _folder(name, home)
    (folder / ELSEWHERE).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _delete_damaged(name: str, home: str | Path | None) -> Deleted:
    import shutil

    shutil.rmtree(_folder(name, home))
    return Deleted(name, 0, True)


@contextmanager
def _existing(name: str, home: str | Path | None) -> Iterator[Store]:
    store = existing_store(name, home)
    try:
        yield store
    finally:
        store.close()


def _not_there(name: str, home: str | Path | None) -> NotFound:
    there = ", ".join([each for each in _names(home) if each != canonical(name)][:20])
    return NotFound(f"there is no collection {name}; " + (f"there are {there}" if there else f"make it: huiyi index {name} FILE"))


def _facts(store: Store, name: str) -> Facts:
    if store.facts is None:
        raise NotFound(f"there is no collection {name}")
    return store.facts


def _info(name: str, home: str | Path | None) -> CollectionInfo | None:
    """None for a folder without a collection in it."""
    where = "unknown"
    try:
        where = _where(name, home)
        store = _store_of(name, home, None)
        try:
            facts = store.facts
            if facts is None:
                return None if where == "local" else CollectionInfo(name, where, problem="it is not there any more")
            size = sum(file.stat().st_size for file in _folder(name, home).rglob("*") if file.is_file())
            return CollectionInfo(name, where, store.count(), facts.model, facts.dim, facts.instruction, size)
        finally:
            store.close()
    except HuiyiError as error:
        return CollectionInfo(name, where, problem=str(error))


def _local(store: Store, name: str) -> Any:
    """The store as one that can be backed up; the others are their servers' to back up."""
    if not hasattr(store, "backup"):
        raise InvalidInput(f"{name} is not in the local store; back it up where it is kept, or use huiyi collections export")
    return store


def _cells(record: Record, columns: dict[str, str]) -> dict[str, Any]:
    return {"id": record.id, "text": record.text} | {columns[field]: value for field, value in record.metadata.items()}
