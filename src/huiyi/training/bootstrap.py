"""How sure a figure is: 95 % intervals by resampling rows, and the interval of the difference of two systems on the same rows.

A statistic is a function of weights: how often each row stands in a resample. Weights of one give the figure itself, so that figure and
interval cannot be computed in two ways. The percentile bootstrap (Efron 1979), all resamples at once; two systems that are compared get
the same weights. Rows are taken in a given order: whoever wants an interval that does not depend on it sorts the rows first.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]  # [resamples, rows]
Values = NDArray[np.float64]  # [resamples]
Statistics = Callable[[Weights], Mapping[str, Values]]

RESAMPLES = 1000
CELLS = 1 << 20  # weights at a time: 8 MB, and a few arrays of that size beside them


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its 95 % interval, which always holds it."""

    value: float
    ci: tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """new minus old, on the same rows. better: share of resamples in which new is above old, ties counted half."""

    value: float
    ci: tuple[float, float]
    better: float


@dataclass(frozen=True, eq=False)
class Resampled:
    """A figure by name, and the same in every resample."""

    values: Mapping[str, float]
    samples: Mapping[str, Values]

    def estimates(self) -> dict[str, Estimate]:
        return {name: Estimate(value, interval(value, self.samples[name])) for name, value in self.values.items()}

    def minus(self, old: "Resampled") -> dict[str, Difference]:
        """Of what both have. `old` must come from the same rows in the same order, and as many resamples."""
        found = {}
        for name in self.values.keys() & old.values.keys():
            value, samples = self.values[name] - old.values[name], self.samples[name] - old.samples[name]
            better = float(np.mean(samples > 0) + np.mean(samples == 0) / 2)
            found[name] = Difference(value, interval(value, samples), better)
        return {name: found[name] for name in self.values if name in found}


def resampled(statistics: Statistics, rows: int, resamples: int = RESAMPLES, seed: int = 0) -> Resampled:
    """`statistics` of all rows, and of `resamples` samples of as many rows, drawn with replacement."""
    whole = {name: float(values[0]) for name, values in statistics(np.ones((1, rows))).items()}
    parts = [statistics(weights) for weights in draws(rows, resamples, seed)]
    return Resampled(whole, {name: np.concatenate([part[name] for part in parts]) for name in whole})


def draws(rows: int, resamples: int, seed: int) -> Iterator[Weights]:
    """Weights in portions that fit in memory; the same for the same arguments."""
    random = np.random.default_rng(seed)
    portion = max(1, CELLS // rows)
    for start in range(0, resamples, portion):
        count = min(portion, resamples - start)
        places = random.integers(0, rows, (count, rows)) + np.arange(count)[:, None] * rows
        yield np.bincount(places.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)


def interval(value: float, samples: Values) -> tuple[float, float]:
    """The middle 95 % of `samples`, widened where it takes that to hold `value`."""
    low, high = np.quantile(samples[np.isfinite(samples)], (0.025, 0.975)) if np.isfinite(samples).any() else (value, value)
    return min(float(low), value), max(float(high), value)
