"""The image and the keywords of a local store, brought to exactly the state that a reader sees, and the graph that is built behind.

Nobody waits for another's reading, or for more than a few vectors on their way to the graph: they move in a thread that makes way.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from huiyi.stores.image import Image
from huiyi.stores.keywords import Keywords
from huiyi.stores.locking import PATIENCE_S, SharedLock
from huiyi.stores.textindex import TextIndex
from huiyi.stores.transactions import Snapshot
from huiyi.stores.vectorindex import BLOCK

log = logging.getLogger(__name__)

GRAPH_FROM = 10_000  # positions; fewer are searched one by one
MOVE_S = 0.006  # searches wait that long for vectors that move to the graph
SAVE_EVERY = 100_000  # vectors that came into the graph
SAVE_AT_END = 4_096
WORN = 0.3  # share of positions that are gone at which the image is made anew
CLOSE_S = 30.0
NO_WORDS = Keywords("")

Answer = TypeVar("Answer")


class Pace:
    """How many vectors move to the graph at a time.

    Searches wait MOVE_S for them. Where much is not in the graph yet and a search takes long, vectors that waited for it may take as long
    as it did: else they would hardly move while anybody searches, and searches would stay slow.
    """

    def __init__(self) -> None:
        self._each_s = MOVE_S / 4  # of one vector

    def count(self, waited_s: float) -> int:
        """waited_s: patiently for a pause, and then for the searches in progress."""
        return max(1, int(max(MOVE_S, waited_s - PATIENCE_S) / self._each_s))

    def took(self, count: int, seconds: float) -> None:
        self._each_s = (self._each_s + max(seconds, 1e-6) / count) / 2


class Following:
    """Safe to call from many threads. image: as it is just now; None before the first question.

    read: gives a transaction that sees the live vectors; True: this thread's own writing, where there is one. dim: of the vectors.
    """

    def __init__(self, folder: Path, read: Callable[[bool], AbstractContextManager[Snapshot]], dim: Callable[[], int]) -> None:
        self._folder, self._read, self._dim = folder, read, dim
        self.image: Image | None = None
        self._words = TextIndex(folder)
        self._lock = SharedLock()  # around what searches read of the image
        self._following = threading.Lock()  # around making it follow
        self._starting = threading.Lock()
        self._builder: threading.Thread | None = None
        self._woken = False
        self._closing = threading.Event()
        self._unbuilt = 0

    @property
    def is_building(self) -> bool:
        return self._builder is not None

    @contextmanager
    def ask(self, question: Callable[[Image], Answer]) -> Iterator[tuple[Snapshot, Answer]]:
        """The image's answer and the transaction whose state it is of. Nobody waits for what is done with them.

        The image is everybody's, so what this thread has not committed yet is not in it.
        """
        with self.ask_words(lambda image, words: question(image), read=False) as asked_:
            yield asked_

    @contextmanager
    def ask_words(self, question: Callable[[Image, Keywords], Answer], read: bool = True) -> Iterator[tuple[Snapshot, Answer]]:
        """The same of the image and the keywords, which are read to that state and may be of later rows too. read: else they are empty."""
        while True:
            with self._read(False) as snapshot:
                state = snapshot.state()
                if self.image is None or self.image.is_behind(state):
                    self._follow(snapshot)
                words = self._words.at(snapshot, state) if read else NO_WORDS
                with self._lock.shared():
                    image = self.image
                    there = image is not None and image.at == state  # else another thread has gone on already
                    if image is not None and there:
                        answer = question(image, words)
                if there:
                    yield snapshot, answer
                    return

    def grew(self, count: int) -> None:
        """So many records were put."""
        self._unbuilt += count
        if self._unbuilt >= BLOCK:
            self._wake()

    def close(self) -> None:
        self._closing.set()
        builder = self._builder
        if builder is not None and builder is not threading.current_thread():
            builder.join(CLOSE_S)
        self.image = None

    def _follow(self, snapshot: Snapshot) -> None:
        state = snapshot.state()
        with self._following:
            image = self.image
            if image is None:
                image = Image.loaded(self._folder, self._dim(), state)
            if image.is_behind(state):
                changes = image.changes(snapshot, state)
                if changes is None:  # no way from there to here
                    image = Image(self._dim())
                    changes = image.changes(snapshot, state)
                    assert changes
                if image is self.image:
                    changes = changes.read()  # before anybody has to wait
                    with self._lock.alone():
                        image.take(changes)
                else:
                    image.take(changes)
            self.image = image
        if self._work(image):
            self._wake()

    def _wake(self) -> None:
        with self._starting:
            self._woken = True
            if self._builder is None and not self._closing.is_set():
                self._builder = threading.Thread(target=self._build, name="huiyi-index", daemon=True)
                self._builder.start()

    def _build(self) -> None:
        if sys.platform == "linux":  # where this is of a thread
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while True:
            with self._starting:
                if not self._woken or self._closing.is_set():
                    self._builder = None
                    return
                self._woken = False
            try:
                self._build_all()
            except Exception as error:  # noqa: BLE001  searches do without; the next one that finds work tries again
                if not self._closing.is_set():
                    log.warning("the index of %s could not be brought up to date: %s", self._folder.name, error)

    def _build_all(self) -> None:
        while not self._closing.is_set():
            self._unbuilt = 0
            with self.ask(lambda image: image) as (snapshot, image):
                self._words.renew_if_worn(snapshot)
                if self._words.follow(snapshot, snapshot.state()):
                    continue
                work = self._work(image)
            self._save_words()
            if work is None:
                return
            work(image)

    def _work(self, image: Image) -> Callable[[Image], None] | None:
        if image.gone > WORN * image.size and image.size >= BLOCK:
            return self._renew
        if image.index.movable and (image.index.graph is not None or image.size >= GRAPH_FROM):
            return self._grow
        return None

    def _grow(self, image: Image) -> None:
        """Move whole blocks to the graph, as long as this is the image."""
        index = image.index
        if index.graph is None:
            with self._lock.shared():
                graph = index.new_graph()
            with self._lock.alone():
                index.graph = graph
        before, pace = index.graphed, Pace()
        while index.movable and self.image is image and not self._closing.is_set():
            asked = time.perf_counter()
            with self._lock.alone(patient=True):
                began, already = time.perf_counter(), index.graphed
                index.move(pace.count(began - asked))
                pace.took(index.graphed - already, time.perf_counter() - began)
            if index.graphed - before >= SAVE_EVERY:
                self._save(image)
                before = index.graphed
        if index.graphed - before >= (SAVE_AT_END if self._closing.is_set() else 1) and self.image is image:
            self._save(image)

    def _save(self, image: Image) -> None:
        with self._lock.shared():
            saved = image.saved()
        try:
            saved.write(self._folder)
        except OSError as error:
            log.warning("the index of %s could not be saved, and will be built again: %s", self._folder.name, error)

    def _save_words(self) -> None:
        try:
            self._words.save()
        except OSError as error:
            log.warning("the keywords of %s could not be saved, and will be read again: %s", self._folder.name, error)

    def _renew(self, worn: Image) -> None:
        """An image without what is gone, in the place of the worn one."""
        with self._read(True) as snapshot:
            fresh = Image(self._dim())
            changes = fresh.changes(snapshot, snapshot.state())
            assert changes
            fresh.take(changes)
        index = fresh.index
        if fresh.size >= GRAPH_FROM:
            index.graph = index.new_graph()
            while index.movable and not self._closing.is_set():
                index.move(BLOCK)
        with self._following, self._lock.alone():
            if self.image is worn and not self._closing.is_set():
                self.image = fresh
        if index.graphed:
            self._save(fresh)
