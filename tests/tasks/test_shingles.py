"""Equal and nearly equal strings: the form they share, and the pairs found without comparing all with all."""

from hypothesis import given
from hypothesis import strategies as st

from huiyi.tasks.shingles import SHARED, jaccard, near_pairs, normal_form


@given(st.text())
def test_the_form_of_a_form_is_itself(text: str) -> None:
    assert normal_form(normal_form(text)) == normal_form(text)


def test_what_changes_the_meaning_stays_in_the_form() -> None:
    assert len({normal_form(text) for text in ("1.5", "15", "C++", "C", "C#", "10:30", "1030", "-5", "5", "100%", "100")}) == 11


def test_what_does_not_change_it_goes() -> None:
    assert normal_form("Can’t  log in!") == normal_form("can't log in")
    assert normal_form("你 好，世界！") == normal_form("你好世界")
    assert normal_form("ＡＢＣ") == "abc"
    assert normal_form("?!") == "?!"


def test_all_near_pairs_of_a_set_are_found_and_no_others() -> None:
    import random

    draw = random.Random(0)
    texts = ["".join(draw.choices("abcdefghijklmnop ", k=80)) for _ in range(300)]
    texts += [text[:40] + draw.choice("xyz") + text[41:] for text in texts[:150]]
    expected = {(i, j) for i in range(len(texts)) for j in range(i + 1, len(texts)) if jaccard(texts[i], texts[j]) >= SHARED}
    found = {(int(i), int(j)) for i, j in near_pairs(texts)}
    assert found <= expected
    assert len(found) >= 0.97 * len(expected) > 100


def test_across_two_sets_each_text_meets_a_near_one_of_the_other() -> None:
    here = ["the parcel was left with a neighbour", "the parcel was left with a neighbour!!", "nothing like it at all"]
    there = ["something else entirely, with no twin", "the parcel was left with a neighbours"]
    assert near_pairs([*here, *there], split=3).tolist() == [[0, 4], [1, 4]]


@given(st.lists(st.text(max_size=5), max_size=6))
def test_short_and_odd_texts_are_no_trouble(texts: list[str]) -> None:
    for one, other in near_pairs(texts):
        assert one < other
        assert jaccard(texts[one], texts[other]) >= SHARED
