"""How fast vectors move to the graph behind searches."""

import pytest

from huiyi.stores.following import MOVE_S, Pace
from huiyi.stores.locking import PATIENCE_S


def settled(each_s: float) -> Pace:
    pace = Pace()
    for _ in range(20):
        pace.took(10, 10 * each_s)
    return pace


@pytest.mark.parametrize("each_s", [0.0002, 0.001, 0.004])
@pytest.mark.parametrize("waited_s", [0.0, 0.002, PATIENCE_S + 0.002])
def test_quick_searches_wait_no_longer_than_promised(each_s: float, waited_s: float) -> None:
    assert settled(each_s).count(waited_s) * each_s <= MOVE_S


@pytest.mark.parametrize("search_s", [0.1, 0.5, 2.0])
def test_where_searches_take_long_the_graph_gets_about_as_much_time_as_they(search_s: float) -> None:
    each_s = 0.001
    assert settled(each_s).count(PATIENCE_S + search_s) * each_s == pytest.approx(search_s, rel=0.02)


def test_a_vector_that_takes_longer_than_all_of_the_time_moves_all_the_same() -> None:
    assert settled(1.0).count(0.0) == 1


def test_a_slow_moment_is_forgotten() -> None:
    pace = settled(0.001)
    usual = pace.count(0.0)
    pace.took(1, 5.0)
    assert pace.count(0.0) == 1
    for _ in range(20):
        pace.took(1, 0.001)
    assert pace.count(0.0) == usual
