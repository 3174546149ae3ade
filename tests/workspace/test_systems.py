"""What is evaluated: models by their vectors, pair classifiers by their log odds, adapters on a model, each text computed once."""

import json

import numpy as np
import pytest

from fake_encoder import FakeEncoder
from fakes import ids_of_length
from huiyi.encoding.classifier import PairClassifier
from huiyi.errors import InvalidInput
from huiyi.model import Model
from huiyi.training.calibration import Calibration
from huiyi.workspace import Setup, evaluate_pairs, evaluate_retrieval, load
from huiyi.workspace.systems import Lexical, ModelSystem
from lora import Trained
from tiny import tiny_qwen3


class Classifier(PairClassifier):
    """Its log odds: how many characters both texts share, less two."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.space, self.max_tokens, self.dim = "classifier", 8, 4

    def pair_ids(self, first, second, **options):
        self.part = list(zip(first, second, strict=True))
        self.asked += self.part
        return [ids_of_length(min(len(a) + len(b), self.max_tokens)) for a, b in self.part]

    def logits_of(self, rows, **options):
        return np.array([[0, len(set(a) & set(b)) - 2] for a, b in self.part], np.float32)

    def close(self) -> None:
        pass


def test_every_text_is_computed_once_whatever_its_order() -> None:
    encoder = FakeEncoder()
    system = ModelSystem(Model(encoder, "fake"), truncate="none")
    one = system.pair_scores(["a", "b", "a"], ["b", "a", "a"], [])
    assert one[0] == one[1]
    assert one[2] == pytest.approx(1)
    system.pair_scores(["a", "c"], ["b", "b"], [])
    assert encoder.calls == [["a", "b"], ["c"]]


def test_progress_reaches_the_end_and_texts_that_fill_the_model_are_counted() -> None:
    seen = []
    system = ModelSystem(Model(FakeEncoder(max_tokens=4), "fake"), truncate="none", report=seen.append)
    system.features([f"word {'x ' * (number % 5)}{number}" for number in range(2000)], [])
    assert [seen[-1].rows_done, seen[-1].rows] == [2000, 2000]
    assert len(seen) > 1
    assert system.full == 1600  # a text of three words and more, beside the EOS


def test_queries_carry_their_instruction_and_passages_do_not() -> None:
    encoder = FakeEncoder()
    system = ModelSystem(Model(encoder, "fake"), instruction="find", truncate="none")
    assert system.rank(["a b"], ["a b", "c d"], 5).tolist() == [[0, 1]]
    assert set(system._known) == {("a b", "query"), ("a b", "document"), ("c d", "document")}


def test_an_error_names_the_text() -> None:
    from fake_model import fake_model
    from fakes import FakeEngine

    system = ModelSystem(fake_model(FakeEngine(nan_on=[ord("坏")])))
    with pytest.raises(Exception, match=r"the text '坏的'"):
        system.pair_scores(["好", "坏的"], ["好", "好"], [])


def test_a_pair_classifier_is_judged_by_its_log_odds(tmp_path) -> None:
    rows = [(f"{number}ab", f"ab{number}" if number % 2 else "xyz", number % 2) for number in range(40)]
    (tmp_path / "dev.tsv").write_text("sentence1\tsentence2\tlabel\n" + "".join(f"{a}\t{b}\t{c}\n" for a, b, c in rows), "utf-8")
    made = Classifier()
    setup = Setup(lambda: Model(made, "classifier"), load)
    found = evaluate_pairs(tmp_path / "dev.tsv", setup, save_calibration=tmp_path / "c.json")
    assert found.figures["auc"].value == found.figures["accuracy"].value == 1
    assert -2 < found.threshold.value < 1
    assert Calibration.from_json((tmp_path / "c.json").read_bytes(), "c").space == "classifier"
    assert sorted(made.asked) == sorted((a, b) for a, b, _ in rows)
    (tmp_path / "q.tsv").write_text("query\tpositive\na\tb\n", "utf-8")
    with pytest.raises(InvalidInput, match=r"pair classifier"):
        evaluate_retrieval(tmp_path / "q.tsv", setup)


def test_an_adapter_is_judged_as_another_model(tmp_path) -> None:
    base = tiny_qwen3(tmp_path / "base")
    adapter = Trained(base, tmp_path / "adapter").folder
    lines = [json.dumps({"sentence1": f"card {n}", "sentence2": f"cards {n % 7}", "label": int(n % 3 == 0)}) for n in range(60)]
    (tmp_path / "dev.jsonl").write_text("\n".join(lines), "utf-8")
    setup = Setup(lambda: load(str(base), adapter=str(adapter)), load, against=[str(base)])
    found = evaluate_pairs(tmp_path / "dev.jsonl", setup)
    with load(str(base)) as plain:
        assert found.space != plain.encoder.space
    (old,) = found.against
    assert old.differences["auc"].value != 0
    assert old.differences["auc"].value == pytest.approx(found.figures["auc"].value - old.figures["auc"].value)


def test_what_has_no_features_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"bm25 ranks passages and has no features"):
        Lexical("bm25").features(["a"], ["a"])
