"""Baselines: what characters alone tell, in Chinese and in English."""

import numpy as np
import pytest

from huiyi.training.baselines import BM25, K1, B, terms, tfidf, tfidf_pairs


def test_terms_are_words_in_latin_and_neighbours_in_chinese() -> None:
    assert terms("Reset 花呗PIN2码") == ["reset", "花", "呗", "pin2", "码", "花呗"]
    assert terms("？！") == []


def test_bm25_is_the_formula() -> None:
    passages = ["card lost", "card late late", "refund"]
    query, passage = "late card", 1
    expected = 0.0
    for count, holding in ((2, 1), (1, 2)):  # late, card
        idf = np.log(1 + (3 - holding + 0.5) / (holding + 0.5))
        expected += idf * count * (K1 + 1) / (count + K1 * (1 - B + B * 3 / 2))
    assert BM25(passages).scores([query])[0, passage] == pytest.approx(expected)
    assert BM25(passages).scores([query, "unknown"]).shape == (2, 3)
    assert BM25(passages).scores(["unknown"]).sum() == 0


@pytest.mark.parametrize(
    "texts",
    [["花呗怎么还款", "花呗如何还款", "今天天气很好"], ["how do I reset my card", "how can I reset my cards", "weather is fine"]],
    ids=["zh", "en"],
)
def test_texts_that_share_characters_score_higher(texts) -> None:
    first, second = [texts[0], texts[0], texts[0]], [texts[0], texts[1], texts[2]]
    for scores in (tfidf_pairs(texts, first, second), BM25(texts).pairs(first, second)):
        assert scores[0] == pytest.approx(1)
        assert scores[0] > scores[1] > scores[2] >= 0
    forth, back = BM25(texts).pairs(first, second), BM25(texts).pairs(second, first)
    np.testing.assert_allclose(forth, back)


def test_texts_of_nothing_known_have_no_features() -> None:
    vectors = tfidf(["", "?", " "])(["", "花呗"])
    assert vectors.shape[0] == 2
    assert abs(vectors).sum() == 0
    assert BM25(["", "?"]).pairs(["", "花"], ["?", "呗"]).tolist() == [0, 0]
