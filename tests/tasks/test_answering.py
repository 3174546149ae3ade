"""What speaks for a match: numbers that depend on the words, the cosines and the runner-up, and on nothing else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from huiyi.tasks.answering import NAMES, evidence, shares, terms

TEXTS = st.text(max_size=20)


def test_words_in_scripts_with_blanks_and_pairs_in_those_without():
    assert terms("Where is my PARCEL?") == {"where", "is", "my", "parcel"}
    assert terms("退款ABC") == {"退", "款", "退款", "abc"}
    assert terms("ＡＢＣ") == terms("abc")
    assert terms("?!… \n") == frozenset()


def test_the_same_text_alone_has_all_of_it_and_no_rival():
    assert evidence("退款多久到账", ["退款多久到账"], [0.9], ["a"]).tolist() == [0.9, 1, 1, 1, 0.9, 1, 1, 1, 0]


def test_the_rival_is_the_next_one_with_another_answer():
    texts, cosines = ["how to pay", "how to pay by card", "how to return"], [0.8, 0.7, 0.3]
    alone = evidence("how to pay", texts, cosines, ["a", "a", "b"])
    assert alone[4] == 0.8 - 0.3
    assert np.isclose(evidence("how to pay", texts, cosines, ["a", "b", "c"])[4], 0.1)


def test_a_match_that_words_chose_says_how_much_nearer_another_one_is():
    assert np.isclose(evidence("a", ["b", "c"], [0.2, 0.5], ["x", "y"])[-1], 0.3)


@given(TEXTS, st.lists(st.tuples(TEXTS, st.floats(-1, 1)), min_size=1, max_size=5))
def test_any_texts_give_finite_numbers_within_their_bounds(question, matches):
    texts, cosines = zip(*matches, strict=True)
    found = evidence(question, texts, cosines, texts)
    assert found.shape == (len(NAMES),)
    assert np.isfinite(found).all()
    assert ((found[1:4] >= 0) & (found[1:4] <= 1)).all()


@given(TEXTS, TEXTS)
def test_shares_change_sides_with_their_texts(one, other):
    a, b, both = shares(terms(one), terms(other))
    assert shares(terms(other), terms(one)) == (b, a, both)
