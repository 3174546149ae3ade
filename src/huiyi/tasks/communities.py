"""Communities of a weighted graph, fine to coarse: Leiden, and Louvain in its place where Leiden does not come back in time.

scikit-network 0.33.5's Leiden can hang (its issue 592), and compiled code cannot be interrupted from inside: it runs in a process of its
own, which is ended at a limit of CPU time, so that a busy machine changes no answer. Each level is found on the communities of the one
before, so that levels nest. Fixed seeds.
"""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from huiyi.errors import ModelFailed

Algorithm = Literal["leiden", "louvain"]
Labels = NDArray[np.int32]

LIMIT_S = 20.0
LIMIT_S_PER_EDGE = 2e-5  # Leiden needs 1e-6 to 5e-6; the rest is for slow machines
WALL_S, WALL = 120.0, 10  # seconds and times the limit, after which a child that neither works nor ends is ended too

CPU_TIMER = hasattr(signal, "setitimer")  # not on Windows, where the limit is one of wall time

CHILD = "import sys; sys.path.insert(0, sys.argv[1]); from huiyi.tasks.communities import child; child(*sys.argv[2:])"


@dataclass(frozen=True)
class Communities:
    """levels: for every graph, for every resolution, labels int32 [nodes] from 0 on. algorithm: the one that found them."""

    levels: tuple[tuple[Labels, ...], ...]
    algorithm: Algorithm


def communities(graphs: Sequence[Any], resolutions: Sequence[float], limit_s: float | None = None) -> Communities:
    """Communities of every graph at every resolution.

    graphs: symmetric scipy CSR matrices of weights >= 0. resolutions: of modularity, from the finest (largest) on. limit_s: of CPU
    time, for all graphs together; by default it grows with their edges. ModelFailed where neither algorithm ends in time.
    """
    with tempfile.TemporaryDirectory(prefix="huiyi-graph-") as folder:
        place = Path(folder)
        np.save(place / "resolutions.npy", np.array(resolutions, np.float64))
        for number, graph in enumerate(graphs):
            for part in ("data", "indices", "indptr"):
                np.save(place / f"{part}-{number}.npy", getattr(graph, part))
        limit = limit_s if limit_s is not None else LIMIT_S + LIMIT_S_PER_EDGE * sum(graph.nnz for graph in graphs)
        algorithms: tuple[Algorithm, ...] = ("leiden", "louvain")
        for algorithm in algorithms:
            if _run(place, algorithm, limit):
                levels = tuple(tuple(np.load(place / f"levels-{number}.npy")) for number in range(len(graphs)))
                return Communities(levels, algorithm)
    raise ModelFailed(f"no communities were found in {2 * limit:.0f} s of CPU time; try --method kmeans, or fewer texts")


def _run(place: Path, algorithm: Algorithm, limit_s: float) -> bool:
    """Whether the child ended well and in time."""
    house = str(Path(__file__).resolve().parents[2])
    try:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, house, str(place), algorithm, str(limit_s)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=WALL_S + limit_s * (WALL if CPU_TIMER else 1),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def child(folder: str, algorithm: str, limit_s: str) -> None:
    """What the process of its own does."""
    from scipy import sparse
    from sknetwork.clustering import Leiden, Louvain

    if CPU_TIMER:
        signal.setitimer(signal.ITIMER_PROF, float(limit_s))  # its signal ends the process, whatever it is doing
    place = Path(folder)
    method = {"leiden": Leiden, "louvain": Louvain}[algorithm]
    resolutions = np.load(place / "resolutions.npy")
    number = 0
    while (place / f"indptr-{number}.npy").exists():
        data, indices, indptr = (np.load(place / f"{part}-{number}.npy") for part in ("data", "indices", "indptr"))
        nodes = len(indptr) - 1
        graph = sparse.csr_matrix((data, indices, indptr), shape=(nodes, nodes))
        np.save(place / f"levels-{number}.npy", _levels(graph, resolutions, method))
        number += 1


def _levels(graph: Any, resolutions: NDArray[np.float64], method: Any) -> Labels:
    """[levels, nodes]; the communities of a level are the nodes of the next one's graph."""
    from scipy import sparse

    levels = np.empty((len(resolutions), graph.shape[0]), np.int32)
    labels = np.arange(graph.shape[0], dtype=np.int32)
    for level, resolution in enumerate(resolutions):
        if graph.nnz and graph.shape[0] > 1:
            found = method(resolution=float(resolution), random_state=0).fit_predict(graph).astype(np.int32)
            count = int(found.max()) + 1
            members = sparse.csr_matrix((np.ones(len(found)), (np.arange(len(found)), found)), shape=(len(found), count))
            graph = sparse.csr_matrix(members.T @ graph @ members)
            labels = found[labels]
        levels[level] = labels
    return levels
