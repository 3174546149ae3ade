"""Which folders are rerankers, and what is said of those that are not what they are asked to be."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
import tiny_rerankers
from huiyi import workspace
from huiyi.engines.heads import open_reranker, purpose
from huiyi.errors import InvalidInput, ModelFailed, UnsupportedModel
from huiyi.workspace.reranking import load_reranker


@pytest.mark.parametrize("kind", tiny_rerankers.KINDS)
def test_a_published_reranker_is_known_by_its_architecture_or_its_name(kind, tmp_path):
    folder = tiny_rerankers.KINDS[kind](tmp_path / "model")
    by_name = kind == "qwen3-reranker"
    assert purpose(folder) == (None if by_name else "reranker")
    assert purpose(folder, "Qwen/Qwen3-Reranker-0.6B") == "reranker"
    assert purpose(folder.rename(tmp_path / "our-Reranker")) == "reranker"


def test_an_embedding_model_is_known_by_its_pooling_whatever_its_name(tmp_path):
    folder = tiny.tiny_qwen3(tmp_path / "rerank-candidates", prefix_keys=True)
    assert purpose(folder) == "embedding"
    with pytest.raises(InvalidInput, match="is an embedding model"):
        load_reranker(str(folder))


def test_a_reranker_asked_for_vectors_is_refused_with_the_way_out(tmp_path):
    for kind in ("bert", "qwen3-reranker"):
        folder = tiny_rerankers.KINDS[kind](tmp_path / f"{kind}-reranker")
        with pytest.raises(InvalidInput, match="--rerank-model"):
            workspace.load(str(folder))


def test_a_language_model_of_any_name_can_be_named_as_a_reranker(tmp_path):
    folder = tiny_rerankers.qwen3(tmp_path / "model")
    load_reranker(str(folder), "fp32").close()
    workspace.load(str(folder), "fp32").close()  # nothing says that it has no vectors


def test_what_has_no_head_is_no_reranker(tmp_path):
    bare = tiny.tiny_bert(tmp_path / "bert", pooling=None)
    with pytest.raises(UnsupportedModel, match="ForSequenceClassification"):
        load_reranker(str(bare))
    nothing = tiny.tiny_qwen3(tmp_path / "qwen", pooling=None)  # saved without a language model's head: Qwen3Model
    with pytest.raises(UnsupportedModel, match="Qwen3Model"):
        load_reranker(str(nothing))


def test_a_classifier_of_several_labels_is_refused_with_their_number(tmp_path):
    folder = tiny_rerankers.bert(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"], weights["classifier.bias"] = torch.ones(3, 48), torch.ones(3)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UnsupportedModel, match="3 labels"):
        load_reranker(str(folder))


def test_a_head_that_is_missing_damaged_or_blind_is_refused(tmp_path):
    folder = tiny_rerankers.xlm_roberta(tmp_path / "model")
    whole = load_file(folder / "model.safetensors")
    changes = {
        "missing": {"classifier.out_proj.weight": None},
        "numbers that are none": {"classifier.dense.weight": torch.full((48, 48), float("nan"))},
        "same score": {"classifier.out_proj.weight": torch.zeros(1, 48)},
    }
    for said, change in changes.items():
        kept = {name: tensor for name, tensor in (whole | change).items() if tensor is not None}
        save_file(kept, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises((UnsupportedModel, ModelFailed), match=said):
            load_reranker(str(folder), "fp32")


def test_a_model_that_cannot_say_yes_is_refused(tmp_path):
    folder = tiny.tiny_qwen3(tmp_path / "model", pooling=None, prefix_keys=True, positions=2048)
    with pytest.raises(UnsupportedModel, match="not one token"):
        load_reranker(str(folder), "fp32")


@pytest.mark.parametrize("tied", [True, False])
def test_yes_and_no_are_read_from_the_output_matrix(tied, tmp_path):
    folder = tiny_rerankers.qwen3(tmp_path / "model", tied=tied)
    assert ("lm_head.weight" in load_file(folder / "model.safetensors")) is not tied
    with_head = tiny_rerankers.Reference(folder, 4096)
    made = load_reranker(str(folder), "fp32")
    assert made.relevance("a", ["b", "c"]) == pytest.approx(with_head.scores("a", ["b", "c"]), abs=2e-3)
    made.close()


def test_answers_that_sentence_transformers_saved_are_used(tmp_path):
    """A CrossEncoder of a language model: modules.json with LogitScore, and the two tokens in its folder."""
    from sentence_transformers import CrossEncoder

    folder = tiny_rerankers.qwen3(tmp_path / "model")
    CrossEncoder(str(folder), device="cpu").save_pretrained(str(tmp_path / "saved"))
    saved = tmp_path / "saved"
    assert purpose(saved) == "reranker"
    answers = open_reranker(saved, "saved").answers
    made = load_reranker(str(folder), "fp32")
    made.close()
    assert answers == tuple(int(row[0]) for row in made.tokenizer.encode(["yes", "no"], prompt=""))
    load_reranker(str(saved), "fp32").close()
    config = next(path for path in saved.glob("*LogitScore*/config.json"))
    config.write_text(json.dumps({"true_token_id": 10**9, "false_token_id": None}), "utf-8")
    with pytest.raises(UnsupportedModel, match="true_token_id"):
        load_reranker(str(saved))


def test_the_task_is_in_the_models_description(tmp_path: Path):
    assert workspace.model_info(str(tiny_rerankers.bert(tmp_path / "model"))).task == "reranker"
    assert workspace.model_info("starter").task == "embedding"
