"""Which script a text is in, and in which of them vectors tell nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huiyi.tasks.scripts import script, typical_likeness

ARABIC = ["أين طردي؟", "أريد استرداد أموالي", "نسيت كلمة المرور", "كم تكلفة الشحن؟", "لون الفستان مختلف", "شكرا جزيلا لكم"]
CHINESE = ["我的包裹在哪里", "想要退款", "密码忘了", "运费多少钱", "颜色不一样", "非常感谢你们"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Where is it?", "Latin"),
        ("Où est-ce ?", "Latin"),
        ("ＡＢＣ", "Latin"),
        ("我的包裹在哪里", "Han"),
        ("わすれました", "Hiragana"),
        ("비밀번호", "Hangul"),
        ("أين طردي؟ iPhone", "Arabic"),
        ("Где посылка", "Cyrillic"),
        ("", ""),
        ("😀 123 !?", ""),
    ],
)
def test_a_text_is_in_the_script_of_most_of_its_letters(text: str, name: str) -> None:
    assert script(text) == name


def test_what_texts_of_a_script_have_in_common_is_told_apart_from_what_two_of_them_have() -> None:
    apart = np.eye(len(CHINESE), 32)
    soup = np.ones((len(ARABIC), 32)) + 0.1 * np.eye(len(ARABIC), 32)
    rows = np.concatenate([apart, soup / np.linalg.norm(soup, axis=1, keepdims=True)]).astype(np.float32)
    found = typical_likeness(rows, [*CHINESE, *ARABIC])
    assert found["Han"] == 0
    assert found["Arabic"] > 0.99


def test_nothing_is_said_of_few_texts_or_of_ones_that_share_their_words() -> None:
    assert typical_likeness(np.ones((4, 2), np.float32), ARABIC[:4]) == {}
    assert typical_likeness(np.ones((20, 2), np.float32), [f"your order {n} is on its way to you" for n in range(20)]) == {}


@given(st.permutations(range(60)))
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_rows_changes_nothing(order: list[int]) -> None:
    texts = [f"{chr(0x4E00 + 7 * n)}{chr(0x5E00 + 11 * n)}{chr(0x6E00 + 13 * n)}" for n in range(60)]
    rows = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    assert typical_likeness(rows[order], [texts[n] for n in order]) == typical_likeness(rows, texts)
