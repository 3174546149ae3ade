"""A shop's FAQ on the starter: what is answered, how sure that is, what is not answered, and what is learned from labelled questions."""

from pathlib import Path

import pytest

import huiyi
import shop
from huiyi.errors import InvalidInput, NotFound
from huiyi.workspace.answering import answer, answer_in, answer_learn
from huiyi.workspace.citing import Reply, Writer
from huiyi.workspace.confidence import learned


@pytest.fixture(scope="module")
def model():
    with huiyi.load("starter") as model:
        yield model


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def load(model):
    return lambda name: model


@pytest.fixture(scope="module")
def faq(home, model):
    with huiyi.open("faq", model=model, home=home) as made:
        made.add({"id": id_, "text": question, "metadata": {"answer": reply}} for id_, (question, reply) in shop.FAQ.items())
        yield made


@pytest.fixture(scope="module")
def queries(tmp_path_factory) -> Path:
    return shop.write(tmp_path_factory.mktemp("files"))[1]


@pytest.fixture(scope="module")
def taught(faq, home, load, queries):
    return answer_learn("faq", queries, precision=0.95, load=load, home=home)


def test_before_it_learned_a_default_of_the_model_says_what_is_an_answer(home, model, monkeypatch):
    monkeypatch.setenv("HUIYI_HOME", str(home))
    with huiyi.open("untaught", model=model, home=home) as untaught:
        untaught.add([{"id": "a", "text": "退款多久能到账", "metadata": {"answer": "五天"}}, {"id": "b", "text": "怎么退货"}])
        found = answer_in(untaught, "退款几天到账")
        assert (found.answer, found.taught) == ("五天", False)
        assert found.confidence >= found.least
        assert found.passages == ("退款多久能到账\n五天", "怎么退货")
        assert [hit.id for hit in found.suggestions] == ["b"]
        assert answer_in(untaught, "怎么退货呢").answer == "怎么退货"  # a record without an answer is one itself
        nothing = answer_in(untaught, "哪支球队赢了昨晚的比赛")
        assert (nothing.answer, nothing.passages) == (None, ())


def test_what_was_learned_is_counted(taught):
    assert (taught.questions, taught.answerable) == (80, 56)
    assert taught.nearest > 45
    assert taught.right / taught.answered > 0.88
    assert taught.right > 28
    assert 0 < taught.least < 1


def test_a_question_put_differently_gets_its_answer(taught, home, load):
    assert answer("faq", "我昨天买的耳机还没发货", home=home, load=load).hit.id == "ship"
    found = answer("faq", "我的订单超过48小时还未发货", home=home, load=load)
    assert found.hit.id == "ship"
    assert found.answer == shop.FAQ["ship"][1]
    assert found.confidence >= found.least
    assert found.taught
    assert len(found.suggestions) == 3
    assert "ship" not in {hit.id for hit in found.suggestions}


def test_a_question_that_nothing_answers_gets_no_answer_and_the_nearest_ones(taught, home, load):
    found = answer("faq", "哪支球队赢了昨晚的比赛", k=2, home=home, load=load)
    assert found.answer is None
    assert found.confidence < found.least
    assert len(found.suggestions) == 2
    assert found.suggestions[0].id == found.hit.id


def test_records_with_one_answer_are_no_rivals(taught, faq):
    with_twin = [{"id": "again", "text": "退款多久能到我的账户", "metadata": {"answer": shop.FAQ["refund"][1]}}]
    before = answer_in(faq, "退款多久能到账户")
    faq.add(with_twin)
    try:
        after = answer_in(faq, "退款多久能到账户")
        assert after.answer == before.answer == shop.FAQ["refund"][1]
        assert after.confidence >= before.confidence - 0.05
        assert not {"again", "refund"} & {hit.id for hit in after.suggestions}
    finally:
        faq.delete(["again"])


def test_a_column_a_filter_and_an_empty_result(taught, faq):
    assert answer_in(faq, "怎么退货", column="answer").answer == shop.FAQ["return"][1]
    with pytest.raises(InvalidInput, match="no 'reply'"):
        answer_in(faq, "怎么退货", column="reply")
    nothing = answer_in(faq, "怎么退货", filter={"lang": "en"})
    assert (nothing.answer, nothing.hit, nothing.suggestions) == (None, None, ())
    assert "no record of faq has 'lang', which the filter asks for; it has: answer" in nothing.hint
    with pytest.raises(InvalidInput, match="k is"):
        answer_in(faq, "怎么退货", k=0)
    with pytest.raises(InvalidInput, match="not empty"):
        answer_in(faq, "  ")


class Scribe(Writer):
    """Says which passages it was given."""

    def reply(self, question, passages):
        return Reply(question, tuple(passages), (1,), ())


def test_passages_go_to_the_writer_only_where_there_is_an_answer(taught, faq):
    scribe = Scribe("http://127.0.0.1:1", "m")
    found = answer_in(faq, "退款多久到账", writer=scribe)
    question, reply = shop.FAQ["refund"]
    assert found.reply.passages[0] == f"{question}\n{reply}"
    assert len(found.reply.passages) == scribe.passages
    assert answer_in(faq, "哪支球队赢了昨晚的比赛", writer=scribe).reply is None


def test_a_collection_in_hand_answers_as_the_command_does(taught, faq, home, load):
    for question in ("退款多久到账", "哪支球队赢了昨晚的比赛"):
        assert faq.answer(question, 2) == answer("faq", question, k=2, home=home, load=load)
    assert faq.answer("怎么退货", column="answer", filter={"answer": {"$exists": True}}).answer == shop.FAQ["return"][1]
    assert faq.answer("退款多久到账", writer=Scribe("http://127.0.0.1:1", "m")).reply.cited == (1,)
    with pytest.raises(InvalidInput, match="k is"):
        faq.answer("怎么退货", 0)


def test_what_was_learned_is_another_models_after_a_reindex(home, load, queries, model, tmp_path):
    from tiny import tiny_qwen3

    with huiyi.open("moved", model=model, home=home) as moved:
        moved.add({"id": id_, "text": question} for id_, (question, _) in shop.FAQ.items())
    answer_learn("moved", queries, precision=0.95, load=load, home=home)
    with huiyi.load(str(tiny_qwen3(tmp_path / "tiny")), "fp32") as other, huiyi.open("moved", model=model, home=home) as moved:
        assert learned(moved) is not None
        moved.reindex(lambda: other)
        assert learned(moved) is None


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("query\tfaq_id\n怎么退货\tnowhere\n", "line 2.*no record with the id 'nowhere'"),
        ("query\tfaq_id\n\treturn\n", "line 2.*no question"),
        ("query\twho\n怎么退货\treturn\n", "--id"),
        ("query\tfaq_id\n怎么退货\treturn\n", "add questions that nothing answers"),
        ("query\tfaq_id\n今天天气\t-1\n", "are the ids"),
    ],
)
def test_a_file_that_cannot_be_learned_from_is_told_with_its_line(faq, home, load, tmp_path, rows, said):
    (tmp_path / "queries.tsv").write_text(rows, "utf-8")
    with pytest.raises(InvalidInput, match=said):
        answer_learn("faq", tmp_path / "queries.tsv", home=home, load=load)


def test_an_empty_collection_has_nothing_to_learn(home, load, model, queries):
    with huiyi.open("empty", model=model, home=home) as empty:
        assert answer_in(empty, "怎么退货").hit is None
    with pytest.raises(InvalidInput, match="is empty"):
        answer_learn("empty", queries, home=home, load=load)


def test_a_collection_that_is_not_there_is_not_made(home, load, queries):
    for ask in (lambda: answer("nowhere", "a", home=home, load=load), lambda: answer_learn("nowhere", queries, home=home, load=load)):
        with pytest.raises(NotFound):
            ask()
