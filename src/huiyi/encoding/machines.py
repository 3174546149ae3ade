"""`RayEncoder`: texts through a model on every machine of a Ray cluster. Needs the extra `ray`.

Owns which machine gets what: a worker with the machine's CPUs on each, two calls on the way to it, other machines for what was on the way
to one that died, and new machines as they join. Workers must give the same vectors: same weights and precision.
Knows no files. What is on the way is lost with a machine and computed again; what was answered is the caller's.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np

from huiyi.encoding.encoder import LocalEncoder, Side, TextTokenizer
from huiyi.encoding.ray_connection import connect, first_line
from huiyi.errors import HuiyiError, InvalidInput, ModelFailed, Unavailable
from huiyi.types import Embedded, Ids, Kind

AHEAD = 2  # calls on the way to a worker: while one is computed, the next one arrives
LOSSES = 3  # workers that may die over the same texts
LOOK_S = 1.0
ANSWER_S = 5.0
PATIENCE_S = 10.0  # until a person is told what is waited for
ALONE_S = 60.0  # without any worker
CLOSED = "the cluster was left; run the command again to go on"

Load = Callable[[int], LocalEncoder]  # with that many threads


@dataclass(frozen=True)
class Opened:
    """What a worker says of its model. precision: of the numbers that it computes with."""

    space: str
    precision: str
    dim: int
    max_tokens: int


class Worker:
    """What runs on a machine of the cluster, in a process of its own, one call at a time."""

    def __init__(self, load: Load, threads: int) -> None:
        self._load, self._threads = load, threads

    def open(self) -> Opened:
        self._encoder = encoder = self._load(self._threads)
        return Opened(encoder.space, encoder.precision, encoder.dim, encoder.max_tokens)

    def embed(self, texts: list[str], kind: Kind, instruction: str | None, dimensions: int | None, truncate: Side | None) -> Embedded:
        return self._encoder.embed(texts, kind, instruction, dimensions, truncate=truncate, repeatable=True)


@dataclass(eq=False)
class Lane:
    """A worker as it is seen from here. opening: its first answer, until that is there. calls: on the way to it."""

    node: str
    machine: str
    actor: Any
    opening: Any
    calls: int = 0


class RayEncoder:
    """An `Encoder` to be called from many threads: a call goes whole to one worker, and `places` calls keep all of them busy.

    address: of a cluster that this machine is part of (HOST:PORT, or "auto" for the one that runs here), or "local" for one of its own,
    which ends with it. threads: of a worker; default all CPUs of its machine, less makes several workers a machine. tokenizer: the
    model's, for what is counted in tokens here. say: gets what happens to machines, a line each.
    Raises MissingExtra, InvalidInput, Unavailable, and what `load` raised where it did so on every machine.
    """

    def __init__(
        self,
        load: Load,
        address: str,
        threads: int | None = None,
        *,
        tokenizer: TextTokenizer | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._load, self.threads, self._say = load, threads, say
        self._tokenizer = tokenizer
        self._changed = threading.Condition()
        self._lanes: list[Lane] = []  # those that answer
        self._coming: list[Lane] = []
        self._barred: dict[str, HuiyiError] = {}  # why no worker is started on a machine (any more), by node
        self._problem: BaseException | None = None
        self._opened: Opened | None = None
        self._lost_at = self._told_at = monotonic()
        self._closed = False
        self._calls = 0
        self._ray, self._own = connect(address)
        self._watcher = threading.Thread(target=self._watch, name="huiyi-machines", daemon=True)
        try:
            self._watcher.start()
            self._wait_for_the_first()
        except BaseException:
            self.close()
            raise

    @property
    def dim(self) -> int:
        return self._model.dim

    @property
    def max_tokens(self) -> int:
        return self._model.max_tokens

    @property
    def space(self) -> str:
        return self._model.space

    @property
    def precision(self) -> str:
        return self._model.precision

    @property
    def places(self) -> int:
        """How many calls at once are of use: more as machines join."""
        return AHEAD * max(1, len(self._lanes)) + 1

    @property
    def machines(self) -> list[str]:
        """Those with a worker that answers; one comes as often as it has workers."""
        with self._changed:
            return [lane.machine for lane in self._lanes]

    def embed(
        self,
        texts: Sequence[str],
        kind: Kind = "document",
        instruction: str | None = None,
        dimensions: int | None = None,
        *,
        truncate: Side | None = None,
        repeatable: bool = True,
    ) -> Embedded:
        """As `LocalEncoder.embed`; always repeatable: bytes are those of one machine alone, whichever it was of machines of one kind."""
        errors = self._ray.exceptions
        for _ in range(LOSSES):
            lane = self._borrow()
            try:
                made = self._ray.get(lane.actor.embed.remote(list(texts), kind, instruction, dimensions, truncate))
                return Embedded(np.array(made.vectors), np.array(made.tokens))  # out of Ray's memory
            except errors.RayTaskError as error:
                raise _own_error(error, lane) from error
            except errors.RayError as error:
                self._lose(lane, error)
            finally:
                self._give_back(lane)
        raise ModelFailed(
            f"{LOSSES} workers died over the same {len(texts)} texts ({self._problem}); was it memory, a lower --max-tokens helps"
        )

    def token_ids(
        self, texts: Sequence[str], kind: Kind = "document", instruction: str | None = None, *, truncate: Side | None = None
    ) -> list[Ids]:
        """As `LocalEncoder.token_ids`, here and not in the cluster; texts that are too long are let be where they are not cut."""
        if self._tokenizer is None:
            raise InvalidInput("the model's tokenizer is not on this machine, and the texts have to be cut here: pull the model first")
        rows = self._tokenizer.encode(texts, kind, instruction)
        return rows if truncate is None else [self._tokenizer.truncate(row, truncate) for row in rows]

    def close(self) -> None:
        """End the workers at once; calls that wait raise Unavailable."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            lanes = self._lanes + self._coming
            self._lanes, self._coming = [], []
            self._changed.notify_all()
        for lane in lanes:
            self._ray.kill(lane.actor)
        with self._changed:
            self._changed.wait_for(lambda: not self._calls, ANSWER_S)
        if self._watcher.is_alive():
            self._watcher.join()
        if self._own:
            self._ray.shutdown()

    # calls

    def _borrow(self) -> Lane:
        with self._changed:
            while True:
                if self._closed:
                    raise Unavailable(CLOSED)
                free = [lane for lane in self._lanes if lane.calls < AHEAD]
                if free:
                    lane = min(free, key=lambda lane: lane.calls)
                    lane.calls += 1
                    self._calls += 1
                    return lane
                if not self._lanes and monotonic() - self._lost_at > ALONE_S:
                    raise Unavailable(
                        f"no machine of the cluster was left for {ALONE_S:g} s ({self._problem}); run the command again to go on"
                    )
                self._changed.wait(LOOK_S)

    def _give_back(self, lane: Lane) -> None:
        with self._changed:
            lane.calls -= 1
            self._calls -= 1
            self._changed.notify_all()

    def _lose(self, lane: Lane, error: Exception) -> None:
        with self._changed:
            if self._closed:
                raise Unavailable(CLOSED) from error
            if lane not in self._lanes:
                return
            self._problem = error
            self._lanes.remove(lane)
            self._lost_at = monotonic()
        self._say(f"{lane.machine}: its worker is gone ({first_line(error)}); what it had goes to others")
        self._ray.kill(lane.actor)

    # machines

    @property
    def _model(self) -> Opened:
        assert self._opened is not None
        return self._opened

    def _wait_for_the_first(self) -> None:
        with self._changed:
            while not self._lanes:
                if self._problem is not None:
                    raise self._problem
                self._changed.wait(LOOK_S)

    def _watch(self) -> None:
        while not self._closed:
            try:
                self._look()
            except Exception as error:  # noqa: BLE001  a watcher that dies would keep every new machine out
                with self._changed:
                    if not self._closed and self._opened is None:
                        self._problem = Unavailable(f"the cluster cannot be asked which machines it has ({first_line(error)})")
                        self._changed.notify_all()
            with self._changed:
                self._changed.wait_for(lambda: self._closed, LOOK_S)

    def _look(self) -> None:
        """Start workers where there are none, and let those in that are ready."""
        nodes = {node["NodeID"]: node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1}
        for id_, node in nodes.items():
            cpus = int(node["Resources"]["CPU"])
            threads = min(self.threads or cpus, cpus)
            there = sum(lane.node == id_ for lane in self._lanes + self._coming)
            for _ in range(there, 0 if id_ in self._barred else cpus // threads):
                self._start(id_, str(node["NodeManagerHostname"]), threads)
        if self._coming:
            ready, _ = self._ray.wait([lane.opening for lane in self._coming], num_returns=len(self._coming), timeout=LOOK_S)
            for lane in [lane for lane in self._coming if lane.opening in ready or lane.node not in nodes]:
                self._admit(lane)
        self._tell(nodes)

    def _start(self, node: str, machine: str, threads: int) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        actor = self._ray.remote(Worker).options(num_cpus=threads, scheduling_strategy=there, max_restarts=0).remote(self._load, threads)
        with self._changed:
            self._coming.append(Lane(node, machine, actor, actor.open.remote()))

    def _admit(self, lane: Lane) -> None:
        errors = self._ray.exceptions
        problem: HuiyiError | None = None
        try:
            opened = self._ray.get(lane.opening, timeout=ANSWER_S)
            problem = self._difference(opened, lane)
        except errors.RayTaskError as error:
            problem = _own_error(error, lane)
        except errors.RayError as error:
            problem = Unavailable(f"{lane.machine}: its worker did not start ({_reason(error)})")
        with self._changed:
            if self._closed:
                return
            self._coming.remove(lane)
            if problem is None:
                self._opened = self._opened or opened
                self._lanes.append(lane)
            else:
                self._barred[lane.node] = problem
            self._changed.notify_all()
        if problem is not None:
            self._ray.kill(lane.actor)
            said = str(problem)
            self._say(f"left out: {said if lane.machine in said else f'{lane.machine}: {said}'}")

    def _difference(self, opened: Opened, lane: Lane) -> HuiyiError | None:
        """Why a worker's vectors may not be mixed with those of the others."""
        first = self._opened
        if first is None or opened == first:
            return None
        if opened.space != first.space:
            return Unavailable(f"{lane.machine} has other weights under the name of the model than the first machine")
        return Unavailable(
            f"{lane.machine} computes in {opened.precision} up to {opened.max_tokens} tokens, the first machine in {first.precision} up to "
            f"{first.max_tokens}: name a --precision that all of them have"
        )

    def _tell(self, nodes: dict[str, Any]) -> None:
        """What is waited for; and that there is nothing to wait for."""
        with self._changed:
            if self._lanes or self._closed:
                return
            if not nodes:
                self._problem = Unavailable("the cluster has no machine with a CPU for us")
            elif not self._coming and nodes.keys() <= self._barred.keys():
                why = list(reversed(self._barred.values()))  # what loading raised, rather than that a machine did not come so far
                self._problem = next((each for each in why if not isinstance(each, Unavailable)), why[0])
            self._changed.notify_all()
            waits = self._coming and monotonic() - self._told_at > PATIENCE_S
        if waits:
            self._told_at = monotonic() + 3 * PATIENCE_S
            names = ", ".join(sorted({lane.machine for lane in self._coming}))
            self._say(f"waiting for {names}: the model is loaded there, or others have its CPUs (--threads N asks for fewer)")


def _own_error(error: Any, lane: Lane) -> HuiyiError:
    """What was raised on the machine, when it is one of ours."""
    cause = error.cause
    if isinstance(cause, HuiyiError):
        return cause
    return ModelFailed(f"{lane.machine}: {_reason(error)}")


def _reason(error: Exception) -> str:
    said = str(error)
    if "No module named 'huiyi" in said:
        return "huiyi is not installed there, or not for the Python that Ray runs in"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
