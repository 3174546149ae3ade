"""What an article about this kind of model promises its readers, tried on real ones; HUIYI_TEST_MODEL names another in their place.

Each promise is made in Chinese and in English. all-MiniLM-L6-v2 is an English model, and the bundled starter a small one for demonstration:
what is beyond them is listed with each promise and has to fail, with the figures in its reason. Of another model all is asked.
"""

import os
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.cluster import KMeans

import huiyi
from conftest import REPOSITORY, minilm_folder
from huiyi.model import Model
from huiyi.tasks import Classifier

NAMED = os.environ.get("HUIYI_TEST_MODEL")


@pytest.fixture(scope="module", params=[NAMED] if NAMED else ["minilm", "starter"])
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    with huiyi.load(str(minilm_folder()) if request.param == "minilm" else request.param) as model:
        yield model


def promise(model: Model, kept: bool, figures: str, beyond: str) -> None:
    """beyond: which of the two models cannot keep it."""
    tried = "starter" if model.name == "starter" else "minilm"
    if not NAMED and tried in beyond:
        assert not kept, f"kept after all, {figures}: take {tried} off this promise's list"
        pytest.xfail(f"beyond {tried}: {figures}")
    assert kept, figures


def listed(scores: object) -> str:
    return ", ".join(f"{score:.2f}" for score in scores)


@pytest.mark.parametrize(
    ("question", "same", "other", "beyond"),
    [
        ("怎么还花呗", "如何归还蚂蚁花呗", "怎么提高花呗额度", ""),
        ("花呗逾期了会怎么样?", "到期没有还款有什么后果?", "花呗逾期之前会提醒我吗?", "minilm, starter"),
        ("银行卡扣了两次钱", "同一笔订单被重复收费", "银行卡只能绑定两张", "minilm, starter"),
        ("How can I pay off my credit?", "In what way do I repay what I borrowed?", "How can I raise my limit?", "starter"),
        ("What happens when I pay my bill late?", "Is there a penalty for an overdue payment?", "Can I pay my bill by phone?", "starter"),
        (
            "How do I pay off my credit card bill?",
            "What is the way to settle my card debt?",
            "How do I get a second credit card?",
            "starter",
        ),
    ],
)
def test_a_question_in_other_words_is_nearer_than_another_question(model: Model, question: str, same: str, other: str, beyond: str) -> None:
    near, far = model.similarity(model.encode(question), model.encode([same, other]))[0]
    promise(model, near > far, f"{near:.2f} for the same question, {far:.2f} for the other one", beyond)


@pytest.mark.parametrize(
    ("question", "documents", "beyond"),
    [
        # a customer's sentence, and the entry of the knowledge base that answers it
        ("我昨天买的耳机还没发货", ["订单超过48小时未发货怎么办", "如何申请退货退款", "耳机无法连接手机怎么办"], "minilm"),
        (
            "The headphones I ordered yesterday have not been shipped yet",
            [
                "What to do when an order has not been shipped within 48 hours",
                "How to return goods for a refund",
                "How to pair the headphones",
            ],
            "",
        ),
        # a search over three documents
        ("手机屏幕碎了能修吗", ["碎屏可以送修,一年内免人工费。", "满九十九元包邮,偏远地区除外。", "会员积分每年年底清零。"], "minilm"),
        (
            "Can a cracked display be repaired?",
            [
                "Broken phone screens are mended in our workshop.",
                "Large orders are delivered free.",
                "Points expire at the end of the year.",
            ],
            "starter",
        ),
    ],
)
def test_a_search_puts_the_document_that_answers_first(model: Model, question: str, documents: list[str], beyond: str) -> None:
    scores = model.similarity(model.encode_query(question), model.encode_document(documents))[0]
    promise(model, scores.argmax() == 0, f"{listed(scores)}, and the first should win", beyond)


@pytest.mark.parametrize(
    ("about_paying", "about_parcels", "beyond"),
    [
        (["付款的时候一直提示失败", "扣了两次钱", "银行卡绑定不了,没法付钱"], ["快递把箱子摔坏了", "包裹三天没有更新物流"], "minilm"),
        (
            ["The payment fails every time", "I was charged twice on my card", "My card is declined when I try to pay"],
            ["The courier crushed the box", "The parcel has had no tracking update for three days"],
            "starter",
        ),
    ],
)
def test_of_five_complaints_those_about_paying_group_together(
    model: Model, about_paying: list[str], about_parcels: list[str], beyond: str
) -> None:
    """Two groups as a user would get them: K-Means, told that there are two."""
    groups = KMeans(2, n_init=10, random_state=0).fit_predict(model.encode(about_paying + about_parcels)).tolist()
    promise(model, groups in ([0, 0, 0, 1, 1], [1, 1, 1, 0, 0]), f"the five fell into groups {groups}", beyond)


@pytest.mark.parametrize(
    ("one", "another", "beyond"),
    [
        (
            ["我的包裹什么时候到?", "When will my parcel arrive?", "Wann kommt mein Paket an?"],
            ["我想修改登录密码。", "I want to change my password.", "Ich möchte mein Passwort ändern."],
            "minilm, starter",
        ),
        (  # three ways to write one language
            ["When will my parcel arrive?", "any idea when my parcel gets here", "Could you kindly tell me wehn the parcel will arive?"],
            ["I want to change my password.", "how do i get a new password", "Would you please let me alter my pasword?"],
            "",
        ),
    ],
)
def test_a_sentence_is_nearer_to_itself_in_three_languages_than_to_another_sentence(
    model: Model, one: list[str], another: list[str], beyond: str
) -> None:
    scores = model.similarity(model.encode(one), model.encode(one + another))
    same, other = scores[:, :3].min(), scores[:, 3:].max()
    promise(model, same > other, f"as little as {same:.2f} with itself, up to {other:.2f} with another", beyond)


@pytest.mark.parametrize("language", ["es", "ar", "zh"])
def test_labels_given_in_english_sort_texts_in_another_language(model: Model, language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four classes, four examples each, eight texts, all written for this; benchmarks/bench_classify.py has the figures."""
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "benchmarks"), *sys.path])
    from bench_classify import EXAMPLES, LANGUAGES, TRUTH

    examples = [text for texts in EXAMPLES.values() for text in texts]
    classifier = Classifier().fit(model.encode(examples), np.repeat(list(EXAMPLES), 4))
    right = int((classifier.predict(model.encode(LANGUAGES[language].split("|"))) == TRUTH).sum())
    promise(model, right >= 7, f"{right} of {len(TRUTH)} texts sorted as their labels in English say", "minilm, starter")
