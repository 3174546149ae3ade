"""Rows by date: days, weeks, months or years of a column of dates, and what grows."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from huiyi.errors import InvalidInput

MOST_PERIODS = 60
_NUMBERS = re.compile(r"(\d{4})\s*[-/.年]\s*(\d{1,2})(?:\s*[-/.月]\s*(\d{1,2}))?")
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(?!\d)")
_EPOCH = re.compile(r"\d{10}(?:\d{3})?(?:\.\d+)?")


@dataclass(frozen=True)
class Timeline:
    """periods: first days, ISO. counts: for every topic the rows of every period. trends: for every topic its share of the dated rows in
    the later half of the periods over that in the earlier one, None where it has no rows earlier. undated: rows without a date.
    """

    period: str
    periods: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    trends: tuple[float | None, ...]
    undated: int


def timeline(dates: Sequence[str], labels: NDArray[np.int32], topics: int) -> Timeline:
    """InvalidInput where no date can be read."""
    return timeline_of(ordinals(dates), labels, topics)


def ordinals(dates: Sequence[str]) -> NDArray[np.int64]:
    """Days as `date.toordinal` numbers them, 0 for what is none. InvalidInput where no date can be read."""
    days = [read_date(text) for text in dates]
    if not any(days):
        raise InvalidInput(f"no date can be read in that column, such as {dates[0]!r}; write them as 2024-01-31")
    return np.array([day.toordinal() if day else 0 for day in days], np.int64)


def timeline_of(days: NDArray[np.int64], labels: NDArray[np.int32], topics: int) -> Timeline:
    """days: as `ordinals` gives them, at least one of them a day."""
    known = days > 0
    period, starts = _periods(date.fromordinal(int(days[known].min())), date.fromordinal(int(days.max())))
    slot = np.searchsorted([start.toordinal() for start in starts], days, side="right") - 1
    inside = known & (labels >= 0)
    counts = np.zeros((topics, len(starts)), np.int64)
    np.add.at(counts, (labels[inside], slot[inside]), 1)
    half = len(starts) // 2
    all_ = np.bincount(slot[known], minlength=len(starts))
    before, after = max(int(all_[:half].sum()), 1), max(int(all_[half:].sum()), 1)
    trends = tuple(
        float(line[half:].sum() / after / (line[:half].sum() / before)) if half and line[:half].sum() else None for line in counts
    )
    undated = int((~known).sum())
    return Timeline(period, tuple(s.isoformat() for s in starts), tuple(tuple(map(int, line)) for line in counts), trends, undated)


def read_date(text: str) -> date | None:
    """2024-01-31, 2024/1/31 10:00, 2024年1月31日, 20240131, 2024-01, seconds or milliseconds since 1970; None for anything else."""
    plain = text.strip()
    try:
        if _EPOCH.fullmatch(plain):
            seconds = float(plain) / (1000 if len(plain.split(".")[0]) == 13 else 1)
            return datetime.fromtimestamp(seconds, UTC).date()
        found = _NUMBERS.match(plain) or _COMPACT.match(plain)
        return date(int(found[1]), int(found[2]), int(found[3] or 1)) if found else None
    except (ValueError, OverflowError, OSError):
        return None


def _periods(first: date, last: date) -> tuple[str, list[date]]:
    """The finest of day, week, month and year of which there are not too many."""
    days = (last - first).days + 1
    if days <= MOST_PERIODS:
        return "day", [first + timedelta(n) for n in range(days)]
    monday = first - timedelta(first.weekday())
    weeks = (last - monday).days // 7 + 1
    if weeks <= MOST_PERIODS:
        return "week", [monday + timedelta(7 * n) for n in range(weeks)]
    months = (last.year - first.year) * 12 + last.month - first.month + 1
    if months <= MOST_PERIODS:
        return "month", [date(first.year + (first.month - 1 + n) // 12, (first.month - 1 + n) % 12 + 1, 1) for n in range(months)]
    return "year", [date(year, 1, 1) for year in range(first.year, last.year + 1)]
