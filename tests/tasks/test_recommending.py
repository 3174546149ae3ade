"""What somebody may like next: near to what they liked, away from what they did not, never what they have seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huiyi.errors import InvalidInput
from huiyi.tasks import evaluate_recommendations, recommend
from huiyi.tasks.recommending import aims

TOPICS, EACH, DIM = 6, 20, 24


@pytest.fixture(scope="module")
def items() -> np.ndarray:
    """Item i is about topic i // EACH."""
    random = np.random.default_rng(0)
    return np.eye(DIM)[np.repeat(np.arange(TOPICS), EACH)] + 0.6 * random.standard_normal((TOPICS * EACH, DIM)) / np.sqrt(DIM)


def topics(found) -> list[int]:
    return [int(row) // EACH for row in found.indices]


def test_more_like_this(items) -> None:
    found = recommend(items, liked=[3], k=8, diversity=0)
    assert set(topics(found)) == {0}
    assert 3 not in found.indices
    assert (found.because == 3).all()
    assert (np.diff(found.scores) <= 0).all()


def test_several_interests_are_all_served(items) -> None:
    found = recommend(items, liked=[0, 1, 45, 46, 100, 101], k=12)
    assert set(topics(found)) == {0, 2, 5}
    assert all(row // EACH == liked // EACH for row, liked in zip(found.indices, found.because, strict=True))


def test_what_is_disliked_is_avoided(items) -> None:
    liked = (items[0] + items[40]) / 2  # between two topics
    rows = np.concatenate([items, liked[None]])
    assert set(topics(recommend(rows, liked=[len(items)], disliked=[41, 42], k=8, diversity=0))) == {0}


def test_seen_liked_and_disliked_items_are_left_out(items) -> None:
    found = recommend(items, liked=[0], disliked=[50], history=[1, 2, 3], k=len(items))
    assert set(found.indices.tolist()) == set(range(len(items))) - {0, 1, 2, 3, 50}


def test_of_a_history_the_last_counts_most(items) -> None:
    found = recommend(items, history=[*range(40, 50), *range(0, 3)], k=5, diversity=0)
    assert set(topics(found)) == {0}


def test_variety_is_what_it_says(items) -> None:
    rows = np.concatenate([items, np.repeat(items[1:2], 10, axis=0)])
    plain, varied = recommend(rows, liked=[0], k=5, diversity=0), recommend(rows, liked=[0], k=5, diversity=0.6)

    def spread(found) -> float:
        chosen = rows[found.indices] / np.linalg.norm(rows[found.indices], axis=1, keepdims=True)
        return float((chosen @ chosen.T).mean())

    assert spread(varied) < spread(plain) - 0.05


def test_filters_hold(items) -> None:
    allowed = np.zeros(len(items), bool)
    allowed[[5, 60, 61]] = True
    found = recommend(items, liked=[0], k=10, allowed=allowed)
    assert found.indices[0] == 5
    assert set(found.indices.tolist()) == {5, 60, 61}


@given(st.sets(st.integers(0, 11), min_size=1, max_size=5), st.sets(st.integers(0, 11), max_size=5), st.integers(1, 20), st.floats(0, 1))
@settings(max_examples=30)
def test_no_item_comes_twice_and_none_that_was_named(liked, history, k, diversity) -> None:
    rows = np.random.default_rng(1).standard_normal((12, 4))
    found = recommend(rows, sorted(liked), history=sorted(history), k=k, diversity=diversity)
    assert len(set(found.indices.tolist())) == len(found.indices) == min(k, 12 - len(liked | history))
    assert not set(found.indices.tolist()) & (liked | history)


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=40)
def test_a_score_is_what_the_aims_say(seed, likes, dislikes, seen) -> None:
    rows = np.random.default_rng(seed).standard_normal((40, 5)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    named = np.split(np.arange(likes + dislikes + seen), np.cumsum([likes, dislikes]))
    found = recommend(rows, *(each.tolist() for each in named), k=40, diversity=0)
    meant = (aims(rows[: likes + dislikes + seen], *(each.tolist() for each in named)) @ rows[found.indices].T).min(axis=1).max(axis=0)
    np.testing.assert_allclose(found.scores, meant, atol=1e-5)


def test_of_many_liked_rows_every_interest_is_an_aim(items) -> None:
    rows = items / np.linalg.norm(items, axis=1, keepdims=True)
    liked = [topic * EACH + number for topic in (0, 2, 5) for number in range(4)]
    made = aims(rows[liked], range(len(liked)))
    assert len(made) <= len(liked)
    nearest = rows @ made[:, 0].T
    assert {int(row) // EACH for row in nearest.argmax(axis=0)} == {0, 2, 5}


def test_held_out_items_come_back_far_more_often_than_by_chance(items) -> None:
    random = np.random.default_rng(0)
    histories = [random.choice(EACH, 5, replace=False) + EACH * random.integers(TOPICS) for _ in range(60)]
    found = evaluate_recommendations(items, [history.tolist() for history in histories], k=10)
    assert found.hit_rate_low > 3 * found.chance
    assert found.hit_rate_low <= found.hit_rate <= found.hit_rate_high
    assert 0 < found.ndcg <= found.hit_rate
    assert found.chance == pytest.approx(10 / (len(items) - 4))


def test_histories_of_nothing_learnable_score_like_chance(items) -> None:
    random = np.random.default_rng(1)
    histories = [random.choice(len(items), 5, replace=False).tolist() for _ in range(200)]
    found = evaluate_recommendations(items, histories, k=10)
    assert found.hit_rate_low <= found.chance <= found.hit_rate_high


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "name at least one"),
        ({"liked": [9]}, "no row 9"),
        ({"liked": [0], "disliked": [0]}, "liked and disliked"),
        ({"liked": [0], "k": 0}, "k must be"),
        ({"liked": [0], "diversity": 2}, "diversity lies"),
        ({"liked": [0], "allowed": [True]}, "one yes or no a row"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, sentence) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        recommend(np.eye(3), **arguments)


def test_without_histories_there_is_nothing_to_hold_out(items) -> None:
    with pytest.raises(InvalidInput, match="nothing to hold out"):
        evaluate_recommendations(items, [[1], [2, 2]])
