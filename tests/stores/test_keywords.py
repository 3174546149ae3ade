"""BM25: the scores of its formula, whatever the parts, the deletions and the filters; files that are right or not used."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huiyi.stores import keywords
from huiyi.stores.keywords import K1, B, Keywords, Part
from huiyi.stores.terms import asked, terms_of

ALL = lambda part: None  # noqa: E731


def index(texts: list[str], pieces: int = 3) -> Keywords:
    """Rows 10, 20, 30, ... in some parts, joined as they come."""
    made = Keywords("token")
    rows = [10 * (i + 1) for i in range(len(texts))]
    for some in np.array_split(np.arange(len(texts)), pieces):
        if len(some):
            own = [rows[i] for i in some]
            made = made.extended(Part.of(made.last, own[-1], own, [texts[i] for i in some]))
    return made


def formula(texts: dict[int, str], query: str) -> dict[int, float]:
    """BM25 as it is written down, one record at a time."""
    terms = {row: Counter(terms_of([text])[0].tolist()) for row, text in texts.items()}
    lengths = {row: sum(own.values()) for row, own in terms.items()}
    average = max(sum(lengths.values()) / max(1, len(texts)), 1e-9)
    wanted = asked(query)
    scores = dict.fromkeys(texts, 0.0)
    for low, high, times in zip(wanted.low.tolist(), wanted.high.tolist(), wanted.times.tolist(), strict=True):
        counts = {row: sum(count for term, count in own.items() if low <= term < high) for row, own in terms.items()}
        holding = sum(count > 0 for count in counts.values())
        idf = np.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        for row, count in counts.items():
            norm = K1 * (1 - B + B * lengths[row] / average)
            scores[row] += times * idf * count * (K1 + 1) / (count + norm)
    return scores


WORDS = st.lists(st.sampled_from(["猫", "狗", "发货", "a", "b", "parcel", " "]), max_size=8).map(" ".join) | st.text(
    "猫狗货ab ", max_size=10
)


@settings(max_examples=150)
@given(st.lists(WORDS, min_size=1, max_size=12), WORDS, st.integers(1, 4), st.integers(1, 15), st.data(), st.sampled_from([1, 200_000]))
def test_scores_are_those_of_the_formula(texts, query, pieces, k, data, postings) -> None:
    made = index(texts, pieces)
    rows = [10 * (i + 1) for i in range(len(texts))]
    gone = set(data.draw(st.lists(st.sampled_from(rows), max_size=len(rows) - 1, unique=True)))
    meant = set(data.draw(st.lists(st.sampled_from(rows), unique=True))) - gone
    also = sorted(set(data.draw(st.lists(st.sampled_from(rows), unique=True))) & meant)
    keywords.FIRST_POSTINGS, before = postings, keywords.FIRST_POSTINGS
    try:
        found = made.search(
            asked(query), k, lambda part: ~np.isin(part.rows, list(gone)), lambda part: np.isin(part.rows, list(meant)), also
        )
    finally:
        keywords.FIRST_POSTINGS = before
    right = formula({row: text for row, text in zip(rows, texts, strict=True) if row not in gone}, query)
    best = sorted((score for row, score in right.items() if row in meant and score > 0), reverse=True)[:k]
    scores = dict(zip(found.rows, found.scores, strict=True))
    assert scores == pytest.approx({row: right[row] for row in scores}, rel=1e-4, abs=1e-5)
    assert sorted(scores.values(), reverse=True)[: len(best)] == pytest.approx(best, rel=1e-4)
    assert set(also) <= set(scores) <= meant
    assert len(set(scores) - set(also)) <= k
    assert found.scores == sorted(found.scores, reverse=True)


def test_a_rare_word_counts_more_than_one_that_all_have() -> None:
    made = index([f"the parcel number {i}" for i in range(50)] + ["the invoice"])
    assert made.search(asked("the invoice"), 1, ALL).rows == [510]


def test_nothing_in_common_is_no_hit() -> None:
    assert index(["猫", "狗"]).search(asked("parcel"), 5, ALL).rows == []
    assert index(["猫", "狗"]).search(asked("?"), 5, ALL).rows == []
    assert Keywords("token").search(asked("猫"), 5, ALL).rows == []


def test_few_parts_are_left_of_many() -> None:
    made = index([f"text number {i}" for i in range(500)], pieces=500)
    assert len(made.parts) < 15
    assert made.count == 500
    assert made.search(asked("number 499"), 1, ALL).rows == [5000]


def test_a_part_comes_back_from_its_file_and_a_damaged_one_does_not(tmp_path) -> None:
    texts = ["猫 and parcel", "狗"]
    made = index(texts, 1)
    part = made.parts[0]
    part.write(tmp_path, "token")
    path = tmp_path / part.name("token")
    again = Part.read(path, part.after, part.last)
    assert Keywords("token", (again,)).search(asked("parcel"), 5, ALL).rows == [10]
    whole = path.read_bytes()
    for place in (10, 300, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises((ValueError, KeyError)):
            Part.read(path, part.after, part.last)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises((ValueError, OSError)):
        Part.read(path, part.after, part.last)
