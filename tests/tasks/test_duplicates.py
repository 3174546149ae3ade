"""Repeats as a person expects them: what is one group, what stays, what the guard keeps, and nothing searched twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huiyi.errors import InvalidInput
from huiyi.tasks import Guard, dedup, overlap
from huiyi.tasks.duplicates import Duplicates

DIM = 16


def near(base: np.ndarray, cosine: float, seed: int) -> np.ndarray:
    """A unit vector at exactly this cosine from `base`."""
    other = np.random.default_rng(seed).standard_normal(len(base))
    other -= (other @ base) * base
    return cosine * base + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other)


def base(seed: int) -> np.ndarray:
    row = np.random.default_rng(1_000 + seed).standard_normal(DIM)
    return row / np.linalg.norm(row)


def rows_of(found) -> set[frozenset[int]]:
    return {frozenset(group.rows) for group in found.groups}


def test_equal_texts_are_one_whatever_their_width_case_blanks_and_marks() -> None:
    texts = ["退款要多久?", "退款要多久？", " 退款 要多久", "How long?", "HOW  LONG", "1.5 元", "15 元"]
    found = dedup(np.stack([base(i) for i in range(len(texts))]), texts)
    assert rows_of(found) == {frozenset({0, 1, 2}), frozenset({3, 4})}
    assert {pair.likeness for group in found.groups for pair in group.repeats} == {"exact"}
    assert found.kept.tolist() == [0, 3, 5, 6]


def test_texts_that_share_nearly_all_their_letters_are_near_whatever_the_vectors_say() -> None:
    long = "the parcel was left with a neighbour who does not know anything about it and cannot find it"
    texts = [long, long.replace("neighbour", "neighbours"), "something else altogether, about another thing"]
    found = dedup(np.stack([base(0), base(1), base(2)]), texts)
    (group,) = found.groups
    assert [pair.likeness for pair in group.repeats] == ["near"]
    assert group.repeats[0].score < 0.9


def test_every_repeat_is_like_its_representative_so_that_no_chain_forms() -> None:
    """a-b and b-c are alike, a-c are not: b, which is like both, stands for all; d, like c alone, is not drawn in."""
    b, *axes = np.eye(DIM)
    a, c, e = (0.92 * b + np.sqrt(1 - 0.92**2) * axis for axis in axes[:3])
    d = 0.92 * c + np.sqrt(1 - 0.92**2) * axes[3]
    found = dedup(np.stack([a, b, c, d, e]), threshold=0.9)
    (group,) = found.groups
    assert (group.representative, sorted(group.rows)) == (1, [0, 1, 2, 4])
    assert found.kept.tolist() == [1, 3]


def test_the_guard_keeps_apart_what_says_something_else() -> None:
    row = base(0)
    texts = ["退款要 3 天", "退款需要 3 天", "退款要 5 天", "退款不要 3 天"]
    rows = np.stack([row, *(near(row, 0.99, i) for i in range(3))])
    found = dedup(rows, texts)
    assert rows_of(found) == {frozenset({0, 1})}
    assert {pair.row for pair in found.apart} == {2, 3}
    assert all(pair.remarks for pair in found.apart)
    assert rows_of(dedup(rows, texts, guard=Guard.off())) == {frozenset(range(4))}


def test_no_two_rows_of_a_group_contradict_each_other_even_where_the_representative_is_silent() -> None:
    row = base(0)
    texts = ["怎么还款", "花呗怎么还款", "借呗怎么还款"]
    found = dedup(np.stack([row, near(row, 0.97, 1), near(row, 0.96, 2)]), texts, guard=Guard())
    assert rows_of(found) == {frozenset({0, 1})}
    (pair,) = found.apart
    assert (pair.row, pair.other) == (2, 1)


def test_the_row_that_stays_is_one_that_most_others_may_be_merged_with() -> None:
    """All are like the question with an amount in it, and none of them means that amount."""
    texts = ["借5000元利息多少", "借的利息多少啊", "利息多少呢", "借2000元利息多少"]
    one = base(0)
    rows = np.stack([one, near(one, 0.97, 1), near(one, 0.96, 2), near(one, 0.95, 3)])
    assert {frozenset({0, 1, 2, 3})} == rows_of(dedup(rows, texts, 0.9, Guard.off()))
    found = dedup(rows, texts, 0.9)
    assert rows_of(found) == {frozenset({1, 2})}


def test_another_threshold_is_the_same_as_asking_anew_without_searching(monkeypatch) -> None:
    rows = np.stack([near(base(i // 5), 0.7 + 0.06 * (i % 5), i) for i in range(60)])
    found = dedup(rows, threshold=0.8)
    expected = {level: dedup(rows, threshold=level) for level in (0.65, 0.8, 0.95)}
    monkeypatch.setattr("huiyi.tasks.duplicates.neighbors", None)
    for level, other in expected.items():
        assert rows_of(found.at(level)) == rows_of(other)
        assert found.at(level).kept.tolist() == other.kept.tolist()
    with pytest.raises(InvalidInput, match=r"dedup\(threshold=0.5\)"):
        found.at(0.5)


def test_what_was_found_is_the_same_from_its_state_at_every_threshold() -> None:
    texts = [f"{word} number {n % 7}" for word in ("refund", "parcel", "login") for n in range(30)]
    rows = np.vstack([near(base(seed), 0.75 + 0.01 * (n % 25), 100 * seed + n) for seed in range(3) for n in range(30)])
    found = dedup(rows, texts, 0.85)
    again = Duplicates.from_state(found.state(0.7), texts)
    assert again.threshold == 0.85
    assert again.floor == 0.7
    for threshold in (0.7, 0.8, 0.85, 0.95):
        assert again.at(threshold).groups == found.at(threshold).groups
        assert again.at(threshold).apart == found.at(threshold).apart
    with pytest.raises(InvalidInput, match="look for them again"):
        Duplicates.from_state(found.state(), texts[1:])


def test_a_heap_larger_than_the_neighbours_asked_for_is_one_group() -> None:
    rows = np.stack([near(base(0), 0.995, i) for i in range(500)] + [base(1)])
    found = dedup(rows, threshold=0.95)
    assert [len(group.rows) for group in found.groups] == [500]
    assert len(found.kept) == 2


@given(st.permutations(range(30)))
@settings(max_examples=25)
def test_shuffled_rows_are_grouped_alike(order: list[int]) -> None:
    rows = np.stack([near(base(i // 6), 0.9 + 0.015 * (i % 6), i) for i in range(30)])
    texts = [f"text {'abcdefghij'[i % 10] * 3}{'klm'[i // 10] * 3}" for i in range(30)]
    straight = dedup(rows, texts)
    shuffled = dedup(rows[order], [texts[i] for i in order])
    assert {frozenset(order[i] for i in group) for group in rows_of(shuffled)} == rows_of(straight)


@given(st.lists(st.sampled_from(["", " ", "?", "a", "A", "啊", "😀", "b"]), max_size=12))
def test_every_row_stays_or_is_a_repeat_of_one_that_stays(texts: list[str]) -> None:
    found = dedup(np.ones((len(texts), 4)), texts)
    repeats = [pair.row for group in found.groups for pair in group.repeats]
    assert sorted([*found.kept.tolist(), *repeats]) == list(range(len(texts)))
    assert {group.representative for group in found.groups} <= set(found.kept.tolist())


def test_emoji_repeat_each_other_only_exactly() -> None:
    found = dedup(np.ones((4, 4)), ["😀", "🎉", "😀", "???"])
    assert rows_of(found) == {frozenset({0, 2})}


KOREAN = ["배송이 늦어요", "환불해 주세요", "비밀번호를 잊었어요", "색상이 다릅니다", "정말 감사합니다", "쿠폰이 안 돼요"]


def test_where_vectors_do_not_tell_texts_of_a_script_apart_only_equal_and_nearly_equal_ones_are_repeats() -> None:
    """As of a model that reads Chinese and has never seen Korean."""
    chinese = ["怎么退款", "退款怎么弄", "密码忘了", "运费多少", "颜色不对", "非常感谢"]
    soup = [near(base(1), 0.98, seed) for seed in range(len(KOREAN) + 1)]
    rows = np.stack([base(2), near(base(2), 0.95, 1), *(base(3 + n) for n in range(4)), *soup])
    texts = [*chinese, *KOREAN, "비밀번호를 잊었어요!"]
    found = dedup(rows, texts, 0.9)
    assert rows_of(found) == {frozenset({0, 1}), frozenset({8, 12})}
    assert found.unread == ("Hangul",)
    assert rows_of(Duplicates.from_state(found.state(0.7), texts).at(0.9)) == rows_of(found)
    shared = overlap(rows[:8], rows[8:], texts[:8], texts[8:])
    assert (shared.pairs, shared.unread) == ((), ("Hangul",))


def test_where_they_tell_them_apart_other_words_are_repeats_in_every_script() -> None:
    rows = np.stack([*(base(n) for n in range(len(KOREAN))), near(base(0), 0.95, 7)])
    found = dedup(rows, [*KOREAN, "물건이 너무 늦게 와요"], 0.9)
    assert rows_of(found) == {frozenset({0, 6})}
    assert found.unread == ()


def test_a_hundred_thousand_equal_lines_take_no_time() -> None:
    found = dedup(np.ones((100_000, 8), np.float32), ["the same line"] * 100_000)
    assert len(found.kept) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"vectors": np.ones((2, 3)), "texts": ["a"]}, "1 texts for 2 vectors"),
        ({"vectors": np.ones((2, 3)), "threshold": 90}, "threshold is a cosine"),
        ({"vectors": np.zeros((2, 3))}, "row 0"),
        ({"vectors": ["a", "b"]}, "numbers"),
    ],
)
def test_what_cannot_be_right_is_refused(arguments, sentence) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        dedup(**arguments)


def test_across_two_sets_each_row_names_its_best_twin() -> None:
    here = np.stack([base(0), near(base(1), 0.95, 1), base(2), base(3)])
    there = np.stack([base(9), base(1), near(base(2), 0.99, 2), near(base(2), 0.98, 3)])
    texts = ["怎么退货", "订单三天没到", "能退款", "Same TEXT"]
    others = ["same text", "订单三天未到", "不能退款", "可以退款"]
    found = overlap(here, there, texts, others)
    assert [(pair.row, pair.other, pair.likeness) for pair in found.pairs] == [(1, 1, "semantic"), (2, 3, "semantic"), (3, 0, "exact")]
    assert found.kept.tolist() == [0]
    assert [(pair.row, pair.other) for pair in found.at(0.985).apart] == [(2, 2)]


def test_sets_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(InvalidInput, match="3 and 4 numbers"):
        overlap(np.ones((1, 3)), np.ones((1, 4)))
    with pytest.raises(InvalidInput, match="texts of both"):
        overlap(np.ones((1, 3)), np.ones((1, 3)), ["a"])
