"""Dates as people write them, and periods that are neither too many nor too coarse."""

from datetime import date

import numpy as np
import pytest

from huiyi.errors import InvalidInput
from huiyi.workspace.timelines import read_date, timeline


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31", date(2026, 1, 31)),
        ("2026/1/5 10:00:00", date(2026, 1, 5)),
        ("2026年1月5日", date(2026, 1, 5)),
        ("20260105", date(2026, 1, 5)),
        ("2026-03", date(2026, 3, 1)),
        ("1767225600", date(2026, 1, 1)),
        ("1767225600000", date(2026, 1, 1)),
        ("2026-13-40", None),
        ("soon", None),
        ("", None),
    ],
)
def test_dates(text, expected) -> None:
    assert read_date(text) == expected


@pytest.mark.parametrize(
    ("last", "period", "count"),
    [("2026-01-20", "day", 20), ("2026-06-01", "week", 23), ("2028-01-01", "month", 25), ("2090-01-01", "year", 65)],
)
def test_periods_fit_the_span(last, period, count) -> None:
    made = timeline(["2026-01-01", last, "?"], np.array([0, 0, 0], np.int32), 1)
    assert (made.period, len(made.periods), made.undated) == (period, count, 1)
    assert sum(made.counts[0]) == 2


def test_a_topic_that_grows_has_a_trend_above_one() -> None:
    dates = ["2026-01-01"] * 10 + ["2026-01-04"] * 10
    labels = np.array([0] * 8 + [1] * 2 + [0] * 2 + [1] * 8, np.int32)
    made = timeline(dates, labels, 2)
    assert made.trends == pytest.approx((0.25, 4.0))


def test_no_date_at_all_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no date can be read"):
        timeline(["x"], np.array([0], np.int32), 1)
