"""Names of topics: words that set them apart, short, in the language of the topic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiyi.tasks.topics import NAME_CHARACTERS, central, language, name_levels, name_topics

TEXTS = [
    ["花呗逾期了怎么办", "花呗逾期会影响征信吗", "我的花呗逾期三天了", "花呗逾期怎么还款", "花呗晚还一天算逾期吗"],
    ["快递什么时候到", "我的快递丢了", "快递一直不更新", "快递送错地址了", "快递员电话是多少"],
    ["How do I cancel my card payment?", "The card payment was declined", "card payment is pending", "Where is my card payment?"],
    ["Wann kommt mein Paket?", "Das Paket ist noch nicht da", "Wo ist mein Paket", "Das Paket wurde beschädigt geliefert"],
]


def named(groups: list[list[str]]):
    texts = [text for group in groups for text in group]
    labels = np.repeat(np.arange(len(groups), dtype=np.int32), [len(group) for group in groups])
    return name_topics(texts, labels)


def test_a_topic_is_named_by_the_words_that_set_it_apart() -> None:
    huabei, express, card, parcel = named(TEXTS)
    assert "花呗" in huabei.name
    assert "逾期" in huabei.name
    assert "快递" in express.name
    assert card.name.startswith("card payment")
    assert "paket" in parcel.name
    assert [one.language for one in (huabei, express, card, parcel)] == ["zh", "zh", "en", "de"]


def test_a_topic_of_two_languages_is_named_in_the_one_of_most_of_its_texts() -> None:
    mixed, _ = named([[*TEXTS[1], "Where is my parcel", "parcel parcel parcel"], TEXTS[2]])
    assert mixed.language == "zh"
    assert not any("parcel" in word for word in mixed.words)


@given(st.lists(st.lists(st.text(max_size=30), min_size=1, max_size=4), min_size=1, max_size=4))
def test_names_are_short_and_no_two_are_the_same_whatever_the_texts(groups) -> None:
    names = [one.name for one in named(groups)]
    assert all(0 < len(name) <= NAME_CHARACTERS for name in names)
    assert len(set(names)) == len(names)


def test_emoji_only_and_nothing_at_all_still_have_a_name() -> None:
    smile, nothing = named([["😀😀", "😀"], ["", " "]])
    assert smile.name == "😀😀"
    assert nothing.name == "–"


def test_one_endless_text_does_not_hold_anything_up() -> None:
    (one,) = named([["退款" * 500_000, "退款到账", "怎么退款"]])
    assert "退款" in one.name


def test_several_levels_are_named_as_each_alone() -> None:
    texts = [
        "refund for my card",
        "refund of the card payment",
        "parcel is late",
        "where is my parcel",
        "password reset",
        "reset my password",
    ]
    levels = [np.array([0, 0, 1, 1, 2, 2], np.int32), np.array([0, 0, 0, 0, 1, 1], np.int32)]
    assert name_levels(texts, levels) == [name_topics(texts, labels) for labels in levels]


def test_central_texts_are_the_nearest_to_the_centre() -> None:
    rows = np.array([[1, 0], [0.8, 0.6], [0.99, 0.141], [0, 1]], np.float32)
    assert central(rows, np.array([0, 0, 0, 1], np.int32), np.array([[1, 0], [0, 1]], np.float32), 2) == [[0, 2], [3]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("怎么还款", "zh"),
        ("お支払いは", "ja"),
        ("결제가 안 돼요", "ko"),
        ("Где мой заказ", "ru"),
        ("où est ma commande", "fr"),
        ("123 ?", ""),
    ],
)
def test_languages(text, expected) -> None:
    assert language(text) == expected
