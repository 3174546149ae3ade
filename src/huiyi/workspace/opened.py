"""The collections that a process holds open: opened when first asked for, shared by all who ask, closed together at the end.

Owns which of the process's models a collection is given, and what happens when another process changed it: what was written is seen at
once (the stores' part), what was reindexed, restored, deleted or made anew is opened again. No lock is held between two calls, so other
processes may write. Knows no HTTP; blocks, so an event loop calls it in a thread.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from huiyi.collection import Added as Added
from huiyi.collection import Collection as Collection
from huiyi.errors import Conflict, NotFound, Unavailable
from huiyi.model import Model
from huiyi.serving import Served
from huiyi.spaces import require_same_space
from huiyi.stores.store import Facts
from huiyi.workspace.collections import (
    Deleted,
    ShownCollection,
    canonical,
    collection_delete,
    existing_store,
    is_for_one_process,
    open_collection,
    shown,
    store_kind,
)

LEAVE_S = 30.0  # for those who use a collection that has to be closed now
MOST_OPEN = 32  # a collection's image takes memory; the one that was not used for longest is closed

T = TypeVar("T")


@dataclass
class _Entry:
    """local: others may replace it unseen, and asking costs nothing; where it lies elsewhere, an error tells."""

    collection: Collection
    local: bool
    users: int = 0
    model: Served | None = None
    retired: bool = False

    def is_usable(self) -> bool:
        return not (self.model and self.model.closed) and (not self.local or self.collection.store.is_current())


class OpenCollections:
    """Safe to call from many threads.

    models: those at work in this process; the list may change meanwhile. home: default HUIYI_HOME, when it is needed.
    """

    def __init__(self, models: Sequence[Served] = (), home: str | Path | None = None) -> None:
        self.home = home
        self._models = models
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()  # around entries
        self._opening = [threading.Lock() for _ in range(64)]  # around opening one of them, by name
        self._lent: set[str] = set()
        self._closed = False

    def run(self, name: str, work: Callable[[Collection], T]) -> T:
        """What `work` makes of the collection `name`. It may be called twice: when the collection was replaced under its hands.

        Raises NotFound where there is none, what `work` raises, and Conflict when a model is needed that is not among `models`.
        """
        with self._used(name) as entry:
            try:
                return work(entry.collection)
            except (Conflict, NotFound):
                if entry.collection.store.is_current():
                    raise
        self._retire(canonical(name), entry)
        with self._used(name) as entry:
            return work(entry.collection)

    def create(
        self,
        name: str,
        model: Served,
        *,
        store: str | None = None,
        instruction: str | None = None,
        dimensions: int | None = None,
    ) -> None:
        """Make a collection of one of `models`. Conflict when it is there already."""
        with self._only(canonical(name)):
            made = model_of(model)
            open_collection(name, made, self.home, store, instruction=instruction, dimensions=dimensions, new=True).close()

    def show(self, name: str, first: int = 3) -> ShownCollection:
        """As `workspace.collection_show`."""
        return self.run(name, lambda collection: shown(collection.store, name, self.home, first))

    def __len__(self) -> int:
        """How many are open."""
        return len(self._entries)

    def delete(self, name: str) -> Deleted:
        """The whole collection, for good. NotFound."""
        with self._only(canonical(name)):
            self.release(name)
            return collection_delete(name, home=self.home)

    def release(self, name: str) -> None:
        """Let go of the collection's files, when those who use it now are done; the next one opens it again."""
        key = canonical(name)
        with self._lock:
            entry = self._entries.get(key)
        if entry:
            self._retire(key, entry)

    @contextmanager
    def lent(self, name: str) -> Iterator[None]:
        """Meanwhile a process of ours works on the collection. All go on reading and writing, but in a Milvus Lite file."""
        key = canonical(name)
        if not is_for_one_process(key, self.home):
            yield
            return
        with self._lock:
            self._lent.add(key)
            entry = self._entries.get(key)
        if entry:
            self._retire(key, entry)
            end = time.monotonic() + LEAVE_S
            while entry.users and time.monotonic() < end:
                time.sleep(0.05)
        try:
            yield
        finally:
            with self._lock:
                self._lent.discard(key)

    def model_for(self, name: str, facts: Facts) -> Served:
        """The model that gives the vectors of the collection: by its digest, else by the probe texts. Conflict where there is none."""
        candidates = [model for model in self._models if not (model.is_classifier or model.is_reranker or model.closed)]
        for model in sorted(candidates, key=lambda model: model.space != facts.space):
            try:
                require_same_space(name, facts, model_of(model))
            except Conflict:
                continue
            return model
        listed = ", ".join(model.name for model in candidates) or "none"
        raise Conflict(
            f"{name} holds vectors of {Path(facts.model).name}, which is not served here (served: {listed}): serve it as well "
            f"(huiyi serve --model), or embed the collection anew with a model that is"
        )

    def served_model(self, name: str) -> Served | None:
        """The same for the collection that is there; None where no model of this process gives its vectors. NotFound."""
        try:
            return self.run(name, lambda collection: self.model_for(name, collection.facts))
        except Conflict:
            return None

    def close(self) -> None:
        """Close all of them, each when those who use it now are done; whoever asks later gets Unavailable."""
        with self._lock:
            self._closed = True
            entries = list(self._entries.items())
        for name, entry in entries:
            self._retire(name, entry)

    @contextmanager
    def _used(self, name: str) -> Iterator[_Entry]:
        key = canonical(name)
        with self._only(key):
            entry = self._held(key)
        try:
            yield entry
        finally:
            self._let_go(entry)

    def _held(self, key: str) -> _Entry:
        """The entry, with one user more."""
        while True:
            with self._lock:
                entry = self._entries.get(key)
                if entry:
                    entry.users += 1
                    self._entries.move_to_end(key)
            if entry is None:
                return self._opened(key)
            usable = False
            try:
                usable = entry.is_usable()
            finally:
                if not usable:
                    self._retire(key, entry)
                    self._let_go(entry)
            if usable:
                return entry

    def _opened(self, key: str) -> _Entry:
        if key in self._lent:
            raise Unavailable(f"a job has {key}, a Milvus Lite file, which is for one process at a time; ask again when it has ended")
        store = existing_store(key, self.home)
        entry = _Entry(Collection(key, store, lambda: self._model(key, entry)), store_kind(key, self.home) == "local", users=1)
        with self._lock:
            closed = self._closed
            if not closed:
                self._entries[key] = entry
            idle = [(other, each) for other, each in self._entries.items() if not each.users]
            surplus = idle[: max(0, len(self._entries) - MOST_OPEN)]
        if closed:
            store.close()
            raise Unavailable("the collections of this process were closed; start it again")
        for other, each in surplus:
            self._retire(other, each)
        return entry

    def _model(self, key: str, entry: _Entry) -> Model:
        entry.model = self.model_for(key, entry.collection.facts)
        return model_of(entry.model)

    def _let_go(self, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            last = entry.retired and not entry.users
        if last:
            entry.collection.close()

    def _retire(self, key: str, entry: _Entry) -> None:
        """Nobody gets it any more; it is closed when the last one lets go."""
        with self._lock:
            if self._entries.get(key) is entry:
                del self._entries[key]
            done = not entry.retired and not entry.users
            entry.retired = True
        if done:
            entry.collection.close()

    @contextmanager
    def _only(self, key: str) -> Iterator[None]:
        with self._opening[hash(key) % len(self._opening)]:
            yield


def model_of(served: Served) -> Model:
    """A served model with the manners that collections and tasks expect; not to be closed."""
    return Model(served.encoder, served.origin.model if served.origin else served.name)
