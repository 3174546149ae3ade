"""Communities of a graph: nested levels, in a process that can be ended."""

import numpy as np
import pytest
from scipy import sparse

from huiyi.errors import ModelFailed
from huiyi.tasks import communities as module
from huiyi.tasks.communities import communities


def cliques(count: int = 6, size: int = 10) -> sparse.csr_matrix:
    """Cliques, two and two of them joined by a few edges."""
    block = np.kron(np.eye(count), np.ones((size, size))) + 0.3 * np.kron(np.eye(count // 2), np.ones((2 * size, 2 * size)))
    np.fill_diagonal(block, 0)
    return sparse.csr_matrix(block)


def test_levels_nest_and_follow_the_resolutions() -> None:
    found = communities([cliques(), cliques(4)], [2, 0.2])
    assert found.algorithm == "leiden"
    fine, coarse = found.levels[0]
    assert (fine.max() + 1, coarse.max() + 1) == (6, 3)
    for clique in range(6):
        assert len(set(fine[clique * 10 : clique * 10 + 10].tolist())) == 1
    assert found.levels[1][0].max() + 1 == 4


def test_a_graph_without_edges_is_nodes() -> None:
    fine, _ = communities([sparse.csr_matrix((3, 3))], [2, 1]).levels[0]
    assert sorted(fine.tolist()) == [0, 1, 2]


CHILD = """
import sys, time; sys.path.insert(0, sys.argv[1])
from huiyi.tasks import communities
def slow(graph, resolutions, method, levels=communities._levels):
    {first}
    return levels(graph, resolutions, method)
communities._levels = slow
communities.child(*sys.argv[2:])
"""


def test_leiden_that_hangs_is_ended_and_louvain_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHILD", CHILD.format(first="while method.__name__ == 'Leiden': pass"))
    found = communities([cliques()], [4, 0.5], limit_s=2)
    assert found.algorithm == "louvain"
    assert found.levels[0][0].max() + 1 == 6


def test_no_answer_at_all_is_an_error_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHILD", CHILD.format(first="while True: pass"))
    with pytest.raises(ModelFailed, match="--method kmeans"):
        communities([cliques()], [1], limit_s=0.5)


@pytest.mark.skipif(not module.CPU_TIMER, reason="this system has no timer of CPU time")
def test_time_in_which_other_programs_have_the_cores_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHILD", CHILD.format(first="time.sleep(3)"))
    assert communities([cliques()], [4, 0.5], limit_s=2).algorithm == "leiden"
