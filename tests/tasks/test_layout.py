"""The map: topics apart, the same every time, in time that grows with the rows."""

import numpy as np
import pytest

from huiyi.tasks.layout import EXTENT, layout
from huiyi.tasks.neighbors import neighbors


def topics(count: int = 5, size: int = 60) -> np.ndarray:
    random = np.random.default_rng(0)
    rows = np.repeat(random.standard_normal((count, 16)) * 2, size, axis=0) + random.standard_normal((count * size, 16)) * 0.4
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def placed() -> np.ndarray:
    rows = topics()
    return layout(rows, neighbors(rows, 15))


def test_topics_lie_apart(placed) -> None:
    groups = placed.reshape(5, 60, 2)
    middles = groups.mean(axis=1)
    nearest = np.linalg.norm(placed[:, None] - middles[None], axis=2).argmin(axis=1)
    assert (nearest == np.repeat(np.arange(5), 60)).mean() > 0.97


def test_the_map_is_the_same_every_time_and_fills_its_extent(placed) -> None:
    rows = topics()
    np.testing.assert_array_equal(placed, layout(rows, neighbors(rows, 15)))
    assert placed.dtype == np.float32
    assert np.abs(placed).max() == pytest.approx(EXTENT, rel=1e-5)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_rows_have_places_too(count) -> None:
    rows = np.eye(4, dtype=np.float32)[:count]
    place = layout(rows, neighbors(rows, 15))
    assert place.shape == (count, 2)
    assert np.isfinite(place).all()
