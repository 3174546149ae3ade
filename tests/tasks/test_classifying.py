"""A classifier as a person meets it: a few examples, honest doubt, figures from rows it had not seen, scikit-learn's manners."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from huiyi.errors import InvalidInput
from huiyi.tasks import Classifier

DIM = 24


def heaps(classes: int, rows: int, spread: float = 0.6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`rows` vectors about each of `classes` directions, and their labels."""
    random = np.random.default_rng(seed)
    centres = np.linalg.qr(np.random.default_rng(99).standard_normal((DIM, DIM)))[0][:classes]
    vectors = np.repeat(centres, rows, axis=0) + spread * random.standard_normal((classes * rows, DIM)) / np.sqrt(DIM)
    return vectors.astype(np.float32), np.repeat([f"class {i}" for i in range(classes)], rows)


def test_four_examples_a_class_are_enough_to_begin() -> None:
    classifier = Classifier().fit(*heaps(8, 4))
    vectors, labels = heaps(8, 50, seed=1)
    assert (classifier.predict(vectors) == labels).mean() > 0.95
    assert classifier.classes_.tolist() == sorted(set(labels))
    assert classifier.predict_proba(vectors).sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_what_it_is_sure_of_is_right_as_often_as_asked_on_rows_it_never_saw() -> None:
    classifier = Classifier(precision=0.95).fit(*heaps(8, 60, spread=1.6))
    vectors, labels = heaps(8, 200, spread=1.6, seed=1)
    decided = classifier.decide(vectors)
    right = decided.best == labels
    assert right.mean() < 0.93  # there is something to be unsure of
    assert right[decided.sure].mean() == pytest.approx(0.95, abs=0.03)
    assert decided.probability.mean() == pytest.approx(right.mean(), abs=0.04)  # a probability, not a score


def test_its_figures_are_those_of_rows_held_out() -> None:
    classifier = Classifier().fit(*heaps(6, 40, spread=1.5))
    vectors, labels = heaps(6, 400, spread=1.5, seed=1)
    found = classifier.validation_
    assert found.accuracy.low <= (classifier.predict(vectors) == labels).mean() <= found.accuracy.high
    assert (found.rows, found.folds, found.confusion.sum()) == (240, 5, 240)
    assert found.majority == pytest.approx(1 / 6)
    assert found.accuracy.value == pytest.approx(np.trace(found.confusion) / 240)
    assert sum(each.rows for each in found.classes) == 240


def test_labels_drawn_by_lot_get_figures_that_say_so() -> None:
    vectors, labels = heaps(4, 60)
    found = Classifier().fit(vectors, np.random.default_rng(0).permutation(labels)).validation_
    assert found.accuracy.low < 0.25 < found.accuracy.high + 0.1
    assert found.coverage < 0.1


def test_texts_of_no_class_are_noticed() -> None:
    classifier = Classifier().fit(*heaps(5, 30))
    strange = np.random.default_rng(3).standard_normal((200, DIM))
    vectors, _ = heaps(5, 100, seed=1)
    assert classifier.decide(strange).in_scope.mean() < 0.2
    assert classifier.decide(vectors).in_scope.mean() > 0.85
    assert not classifier.decide(strange).sure[~classifier.decide(strange).in_scope].any()


def test_examples_of_what_is_outside_are_no_class_but_move_the_limit() -> None:
    vectors, labels = heaps(5, 30)
    strange = np.random.default_rng(3).standard_normal((60, DIM))
    classifier = Classifier(outside="other").fit(np.concatenate([vectors, strange]), [*labels, *["other"] * 60])
    assert "other" not in classifier.classes_
    assert classifier.validation_.outside > 0.8
    assert classifier.validation_.scope > 0.8


def test_wrong_labels_are_found() -> None:
    vectors, labels = heaps(5, 40)
    wrong = [3, 57, 111, 160]
    given_labels = labels.copy()
    given_labels[wrong] = ["class 4", "class 0", "class 0", "class 1"]
    found = Classifier().fit(vectors, given_labels).label_errors_
    assert {each.row for each in found[:4]} == set(wrong)
    assert all(each.suggested == labels[each.row] and each.label == given_labels[each.row] for each in found[:4])


def test_what_to_label_next_is_doubtful_and_not_twice_the_same() -> None:
    vectors, labels = heaps(4, 20)
    classifier = Classifier().fit(vectors, labels)
    centres = np.stack([vectors[labels == each].mean(axis=0) for each in classifier.classes_])
    between = np.concatenate([(centres[0] + centres[1])[None].repeat(5, 0), (centres[2] + centres[3])[None].repeat(5, 0)])
    chosen = classifier.suggest(np.concatenate([centres, between]), 2)
    assert {int(row) // 9 for row in chosen} <= {0, 1}
    assert sorted((int(row) - 4) // 5 for row in chosen) == [0, 1]
    assert len(classifier.suggest(centres, 100)) == 4  # no more than there are


def test_more_labels_where_it_asked_help_more_than_labels_by_lot() -> None:
    pool, labels = heaps(12, 60, spread=1.7)
    test, truth = heaps(12, 100, spread=1.7, seed=5)
    start = np.concatenate([np.flatnonzero(labels == each)[:2] for each in np.unique(labels)])
    rest = np.setdiff1d(np.arange(len(pool)), start)
    asked = rest[Classifier().fit(pool[start], labels[start]).suggest(pool[rest], 60)]
    scores = []
    for seed in range(5):
        drawn = np.random.default_rng(seed).choice(rest, 60, replace=False)
        rows = np.concatenate([start, drawn])
        scores.append((Classifier().fit(pool[rows], labels[rows]).predict(test) == truth).mean())
    rows = np.concatenate([start, asked])
    assert (Classifier().fit(pool[rows], labels[rows]).predict(test) == truth).mean() > np.mean(scores) - 0.02


def test_a_handful_of_rows_that_are_all_right_does_not_make_it_certain() -> None:
    vectors, labels = heaps(2, 4, spread=0.1)
    classifier = Classifier().fit(vectors, labels)
    assert classifier.validation_.accuracy.value == 1
    assert 0.75 < classifier.predict_proba(vectors).max(axis=1).mean() < 0.97


def test_names_of_classes_alone_sort_by_what_is_nearest() -> None:
    centres, labels = heaps(6, 1, spread=0)
    classifier = Classifier().fit(centres, labels)
    vectors, truth = heaps(6, 30, seed=2)
    assert (classifier.predict(vectors) == truth).mean() > 0.9
    assert classifier.validation_ is None
    assert classifier.decide(vectors).sure.all()


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=14).filter(lambda labels: len(set(labels)) > 1), st.integers(0, 3))
@settings(max_examples=40)
def test_any_few_labels_give_an_answer(labels: list[str], seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((len(labels), 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = Classifier().fit(vectors, labels)
    decided = classifier.decide(vectors)
    assert set(decided.best) <= set(labels)
    assert np.isfinite(decided.probability).all()
    assert (classifier.validation_ is None) == (len(set(labels)) == len(labels))


def test_it_comes_back_from_arrays_and_facts_as_it_was() -> None:
    classifier = Classifier(outside="none").fit(*heaps(5, 12))
    again = Classifier.from_state(*classifier.state())
    vectors, _ = heaps(5, 20, seed=1)
    assert (again.predict_proba(vectors) == classifier.predict_proba(vectors)).all()
    assert (again.decide(vectors).sure == classifier.decide(vectors).sure).all()
    arrays, facts = classifier.state()
    with pytest.raises(InvalidInput, match="do not fit"):
        Classifier.from_state({**arrays, "coef": arrays["coef"][:, :3]}, facts)
    with pytest.raises(InvalidInput, match="no saved classifier"):
        Classifier.from_state(arrays, {})


def test_it_has_the_manners_of_scikit_learn() -> None:
    vectors, labels = heaps(3, 20)
    assert clone(Classifier(C=3, precision=0.9)).get_params() == {"C": 3, "precision": 0.9, "outside": None, "seed": 0}
    assert cross_val_score(Classifier(), vectors, labels, cv=3).mean() > 0.9
    assert Classifier().fit(vectors, labels).score(vectors, labels) > 0.9
    numbers = Classifier().fit(vectors, np.repeat([7, 8, 9], 20)).predict(vectors)
    assert set(numbers) == {7, 8, 9}
    with pytest.raises(NotFittedError):
        Classifier().predict(vectors)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((np.ones((2, 3)), ["a"]), "1 labels for 2 vectors"),
        ((np.eye(3), ["a", "a", "a"]), "one label only"),
        ((np.zeros((2, 3)), ["a", "b"]), "row 0"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(arguments, sentence) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        Classifier().fit(*arguments)


def test_vectors_of_another_width_are_refused_and_none_at_all_are_fine() -> None:
    classifier = Classifier().fit(*heaps(3, 5))
    with pytest.raises(InvalidInput, match="fitted on 24"):
        classifier.predict(np.ones((1, 5)))
    assert classifier.predict(np.empty((0, DIM))).shape == (0,)
