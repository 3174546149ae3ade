"""How sure a match is without labelled questions: a default that a model learns once, and only from what it can read."""

import pytest

import huiyi
from fake_encoder import FakeEncoder
from huiyi.demo import samples
from huiyi.model import Model
from huiyi.workspace import confidence


@pytest.fixture(autouse=True)
def forgotten(own_home, monkeypatch):
    monkeypatch.setattr(confidence, "_usual", {})
    return own_home


def kept(home):
    return list((home / "cache" / "answers").glob("*.json"))


def test_it_is_learned_once_and_kept(forgotten, monkeypatch):
    with huiyi.load("starter") as model:
        with huiyi.open("a", model=model) as first:
            rule = confidence.usual(first)
        assert rule.answered > 50
        assert rule.right / rule.answered > 0.9
        assert rule.questions == sum(1 if each.id == samples.UNANSWERED else 2 for each in samples.questions())
        (path,) = kept(forgotten)
        monkeypatch.setattr(confidence, "_usual", {})
        with huiyi.open("b", model=model) as second:
            assert confidence.usual(second) == rule
            path.write_text("{", "utf-8")
            monkeypatch.setattr(confidence, "_usual", {})
            assert confidence.usual(second) == rule  # a damaged file is written anew
        assert path.read_text("utf-8") == rule.to_json()
        assert kept(forgotten) == [path]


def test_another_width_or_instruction_has_its_own(forgotten):
    with huiyi.load("starter") as model:
        for name, how in (("a", {}), ("b", {"dimensions": 64}), ("c", {"instruction": "Find it"})):
            with huiyi.open(name, model=model, **how) as collection:
                confidence.usual(collection)
    assert len(kept(forgotten)) == 3


class Blind(FakeEncoder):
    """All texts are alike to it, whatever they say."""

    def raw(self, words):
        return self._word("text") + 1e-3 * self._word(" ".join(words))


def test_whoever_does_not_read_the_questions_is_never_sure(forgotten, monkeypatch):
    monkeypatch.setattr(confidence, "USUAL_PRECISION", 0.999)  # more than so few questions can show
    with huiyi.open("blind", model=Model(Blind(), "blind")) as collection:
        assert confidence.usual(collection) is None
        collection.add([{"id": "1", "text": "where is my parcel"}])
        found = huiyi.workspace.answer_in(collection, "my parcel")
    assert (found.answer, found.confidence, found.least, found.taught) == ("where is my parcel", None, None, False)
    assert [path.read_text("utf-8") for path in kept(forgotten)] == [""]
    monkeypatch.setattr(confidence, "_usual", {})
