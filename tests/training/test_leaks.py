"""Leaks, duplicates and conflicts, however they are written."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import shared_data
from huiyi.training.data import Labelled, Pairs, Queries, ScoredPairs, Triplets
from huiyi.training.leaks import folded, pair_key, repeats, without_leaks
from huiyi.workspace.examples import read_training


def pairs(*rows: tuple[str, str, int]) -> Pairs:
    first, second, labels = zip(*rows, strict=True)
    return Pairs(first, second, np.array(labels), lines=np.arange(len(rows)) + 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("花呗 怎么还？", "花呗怎么还?"),
        ("ＡＢＣ１２", "abc12"),
        ("Reset my password!", "reset my  PASSWORD"),
        ("a\u200bb", "ab"),
        ("《还款》", "还款"),
    ],
)
def test_case_width_blanks_and_punctuation_make_no_difference(one, other) -> None:
    assert folded(one) == folded(other)


def test_what_differs_stays_different() -> None:
    assert len({folded(text) for text in ("!", "?", "", "a", "+", "😀", "😂")}) == 7


@settings(max_examples=50)
@given(st.text(), st.text())
def test_a_pair_has_no_order(a, b) -> None:
    assert pair_key(a, b) == pair_key(b, a)


def test_duplicates_and_conflicts_are_told_with_their_lines() -> None:
    found = repeats(pairs(("a", "b", 1), ("c", "d", 0), ("B", "a。", 1), ("d", "c", 1), ("a", "b", 0)))
    assert found.duplicates == (4,)
    assert found.conflicts == ((3, 5), (2, 6))
    scored = ScoredPairs(("a", "a", "a"), ("b", "b", "b"), np.array([1.0, 1.0, 2.0]))
    assert (repeats(scored).duplicates, repeats(scored).conflicts) == ((2,), ((1, 3),))
    assert repeats(Triplets(("a", "a"), ("b", "B"), ("c", "c"))).duplicates == (2,)
    assert repeats(Labelled(("a", "A", "b"), ("x", "y", "y"))).conflicts == ((1, 2),)


def test_leaks_are_taken_out_of_training_data_of_every_kind() -> None:
    evaluation = pairs(("花呗怎么还", "如何还花呗", 1), ("x", "y", 0))
    clean = without_leaks(pairs(("a", "b", 1), ("如何还 花呗？", "花呗怎么还", 0), ("x", "z", 1)), evaluation)
    assert (clean.kept.first, clean.leaked, clean.shared) == (("a", "x"), (3,), 1)
    triplets = Triplets(("a", "Y"), ("b", "k"), ("c", "x"))
    assert without_leaks(triplets, evaluation).leaked == (2,)
    queries = Queries(("q", "x"), (("p",), ("n", "y")), ((), ()))
    assert without_leaks(queries, evaluation).leaked == (2,)
    assert without_leaks(Labelled(("a", "b"), ("1", "2")), Labelled(("B!",), ("2",))).leaked == (2,)


def test_everything_may_leak() -> None:
    clean = without_leaks(pairs(("a", "b", 1)), pairs(("a", "b", 0)))
    assert (len(clean.kept), clean.leaked, clean.shared) == (0, (2,), 0)


def test_planted_leaks_are_found_in_public_data() -> None:
    training, evaluation = (read_training(shared_data(f"pairs/afqmc_{part}.tsv.gz")) for part in ("train", "dev"))
    before = without_leaks(training, evaluation)
    places = np.random.default_rng(0).choice(len(evaluation), 50, replace=False)
    planted = evaluation.take(places)
    disguised = Pairs(
        (*training.first, *(f" {text}？" for text in planted.second)),
        (*training.second, *(text.upper() for text in planted.first)),
        np.concatenate([training.labels, planted.labels]),
    )
    after = without_leaks(disguised, evaluation)
    assert len(after.leaked) == len(before.leaked) + 50
    assert after.kept.digest == before.kept.digest
