"""Intervals: they hold the figure, are as wide as theory says, and pair what is compared."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huiyi.training.bootstrap import draws, interval, resampled
from huiyi.training.evaluate import mean_statistics, pair_statistics


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 1), st.integers(0, 1), st.floats(0, 1)), min_size=2, max_size=30))
def test_an_interval_holds_its_figure(rows) -> None:
    found = resampled(pair_statistics(*zip(*rows, strict=True)), len(rows), resamples=50).estimates()
    for name, estimate in found.items():
        assert np.isnan(estimate.value) or estimate.ci[0] <= estimate.value <= estimate.ci[1], name


def test_the_interval_of_a_share_is_the_one_that_theory_gives() -> None:
    right = np.arange(4000) % 10 < 7
    low, high = resampled(mean_statistics({"accuracy": right.astype(float)}), 4000).estimates()["accuracy"].ci
    spread = 1.96 * np.sqrt(0.7 * 0.3 / 4000)
    assert (low, high) == pytest.approx((0.7 - spread, 0.7 + spread), abs=0.0015)


def test_two_systems_are_compared_on_the_same_resamples() -> None:
    random = np.random.default_rng(0)
    old = (random.random(1000) < 0.5).astype(float)
    new = old.copy()
    new[np.flatnonzero(old == 0)[:20]] = 1  # better on 20 rows, worse on none
    both = [resampled(mean_statistics({"accuracy": rows, "x": rows}), 1000) for rows in (new, old)]
    difference = both[0].minus(both[1])["accuracy"]
    assert difference.value == pytest.approx(0.02)
    assert 0.01 < difference.ci[0] < 0.02 < difference.ci[1] < 0.03
    assert difference.better == 1
    assert both[0].minus(both[0])["x"].better == 0.5
    apart = [estimates["accuracy"].ci for estimates in (both[0].estimates(), both[1].estimates())]
    assert apart[0][0] < apart[1][1]  # which the intervals of each alone cannot tell


def test_every_resample_has_as_many_rows() -> None:
    weights = np.concatenate(list(draws(300_000, 10, seed=1)))
    assert weights.shape == (10, 300_000)
    assert (weights.sum(axis=1) == 300_000).all()
    assert np.array_equal(weights, np.concatenate(list(draws(300_000, 10, seed=1))))


def test_a_figure_that_no_resample_has_keeps_itself() -> None:
    assert interval(0.5, np.array([np.nan, np.nan])) == (0.5, 0.5)


def test_a_thousand_resamples_of_afqmc_take_seconds() -> None:
    """Processor time: 1.0 s on one core here."""
    random = np.random.default_rng(0)
    scores, labels = random.random(4316), random.integers(0, 2, 4316)
    began = time.process_time()
    resampled(pair_statistics(scores, labels, labels, scores), 4316)
    assert time.process_time() - began < 6
