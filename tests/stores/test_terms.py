"""What of a text keywords look at: words, pairs of characters, and what makes no difference."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiyi.stores.terms import WORD, asked, spans, terms_of


def found(text: str, query: str) -> bool:
    """Whether the text has anything that the query asks for."""
    terms, wanted = terms_of([text])[0], asked(query)
    return any(((low <= terms) & (terms < high)).any() for low, high in zip(wanted.low, wanted.high, strict=True))


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("订单超过48小时未发货怎么办", "发货"),
        ("订单超过48小时未发货怎么办", "48"),
        ("我家有一只猫咪", "猫"),
        ("我家有一只猫", "猫"),
        ("東京都に住んでいます", "東京"),
        ("コーヒーを飲む", "コーヒー"),
        ("ｺｰﾋｰを飲む", "コーヒー"),
        ("ฉันรักประเทศไทย", "ประเทศ"),
        ("주문한 상품이 아직", "상품"),
        ("أين طلبي؟", "طلبي"),
        ("أَيْنَ طَلَبِي", "اين طلبي"),
        ("مـــرحبا", "مرحبا"),
        ("Where is my PARCEL?", "parcel"),
        ("two parcels", "parcel"),
        ("un café crème", "cafe"),
        ("un cafe\u0301", "CAFÉ"),
        ("ＡＢＣ１２３", "abc123"),
        ("Straße", "STRASSE"),
        ("घर कहाँ है", "कहाँ"),
        ("٤٨ ساعة", "48"),
        ("co\u00adoperate", "cooperate"),
        ("𠮷野家", "𠮷野"),
    ],
)
def test_texts_are_found_in_many_scripts(text, query) -> None:
    assert found(text, query)
    assert spans(text, query)


@pytest.mark.parametrize(
    ("text", "query"), [("猫咪", "狗"), ("发票", "票发"), ("class", "clas"), ("status", "statu"), ("abc", "ab"), ("!?。", "!"), ("", "a")]
)
def test_other_words_are_not_found(text, query) -> None:
    assert not found(text, query)
    assert spans(text, query) == []


@pytest.mark.parametrize("query", ["", " ", "?!。，", "👍", "\x00", "\ud800", '"', "* AND NEAR(", "\u0301"])
def test_a_query_without_words_asks_for_nothing_or_for_its_words_alone(query) -> None:
    assert len(asked(query)) <= 2


def test_what_a_query_says_twice_counts_twice_and_is_asked_once() -> None:
    wanted = asked("parcel PARCEL box")
    assert sorted(wanted.times.tolist()) == [1, 2]


def test_terms_know_their_text() -> None:
    terms, places = terms_of(["发货", "", "parcel 发", "\x00"])
    assert sorted(places.tolist()) == [0, 0, 2, 2]
    assert (terms < 2 * WORD).all()


TEXTS = st.text(
    alphabet=st.one_of(st.sampled_from("ab1猫狗货 .é\u0301ไทยا\u064eſﬀßİ\x00"), st.characters(exclude_categories=["Cs"])), max_size=30
)


@given(st.lists(TEXTS, max_size=5))
def test_a_list_has_the_terms_of_its_texts(texts) -> None:
    terms, places = terms_of(texts)
    for number, text in enumerate(texts):
        assert sorted(terms[places == number].tolist()) == sorted(terms_of([text])[0].tolist())


@given(TEXTS, TEXTS)
def test_marks_lie_in_the_text_in_order_and_apart(text, query) -> None:
    marks = spans(text, query)
    borders = [place for mark in marks for place in mark]
    assert borders == sorted(borders)
    assert all(start < end <= len(text) for start, end in marks)
    assert all(a[1] < b[0] for a, b in pairwise(marks))


@given(TEXTS)
def test_every_text_finds_itself(text) -> None:
    assert found(text, text) == bool(len(terms_of([text])[0]))
    assert np.isfinite(asked(text).times).all()
