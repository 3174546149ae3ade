"""When to answer, learned: the precision that was asked for is reached on questions that were not learned from, and kept for good."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiyi.errors import InvalidInput
from huiyi.training.rejection import Rejection, learn, threshold_for


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Evidence of two numbers of which one tells whether a match is right."""
    random = np.random.default_rng(seed)
    right = (random.random(count) < 0.6).astype(int)
    rows = np.stack([0.5 + 0.2 * right + 0.1 * random.standard_normal(count), random.standard_normal(count)], axis=1)
    return rows, right, [f"question {seed} {number}" for number in range(count)]


@pytest.mark.parametrize("precision", [0.8, 0.9, 0.95, 0.98])
def test_the_precision_holds_on_other_questions(precision):
    rejection = learn(*drawn(2000, 1), precision)
    rows, right, _ = drawn(4000, 2)
    answered = rejection.scores(rows) >= rejection.threshold
    assert right[answered].mean() > precision - 0.02
    assert answered.mean() > (0.3 if precision < 0.96 else 0.05)
    assert rejection.right / rejection.answered >= precision - 0.01


def test_a_probability_is_what_comes_true_and_agrees_with_the_threshold():
    rejection = learn(*drawn(2000, 1))
    rows, right, _ = drawn(4000, 3)
    chance = rejection.probability(rejection.scores(rows))
    middle = (chance > 0.4) & (chance < 0.6)
    assert abs(right[middle].mean() - chance[middle].mean()) < 0.12
    assert rejection.probability([rejection.threshold])[0] == pytest.approx(rejection.least)


def test_it_comes_back_from_what_was_kept():
    rejection = learn(*drawn(300, 1), 0.9, "space")
    assert Rejection.from_json(rejection.to_json(), "faq") == rejection


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"weights": [1]}', "null"])
def test_what_is_damaged_is_an_error_with_the_way_out(text):
    with pytest.raises(InvalidInput, match="--learn"):
        Rejection.from_json(text, "faq")


@pytest.mark.parametrize(
    ("right", "said"),
    [([1] * 50, "that nothing answers"), ([0] * 50, "are the ids"), ([1, 0] * 25, "no threshold"), ([1, 0], "too few")],
)
def test_what_cannot_be_learned_from_is_told(right, said):
    rows = np.random.default_rng(0).standard_normal((len(right), 2))
    keys = [str(number) for number in range(len(right))]
    with pytest.raises(InvalidInput, match=said):
        learn(rows, right, keys)


def test_precision_is_a_share():
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        learn(*drawn(100, 1), 1.0)


@given(st.lists(st.tuples(st.floats(-5, 5).map(lambda x: round(x, 1)), st.booleans()), min_size=1, max_size=60), st.floats(0.5, 0.95))
def test_a_threshold_is_as_precise_as_asked_and_no_lower_one_is(pairs, precision):
    scores, right = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs], float)

    def share(cut):
        taken = scores >= cut
        return (right[taken].sum() + 1) / (taken.sum() + 2)

    cut = threshold_for(scores, right, precision)
    enough = [value for value in np.unique(scores) if share(value) >= precision]
    assert cut == (min(enough) if enough else None)
