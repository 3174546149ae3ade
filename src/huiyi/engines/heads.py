"""Rerankers among the checkpoints: how a folder is told to be one, and the head that makes a score of its pooled row.

Two kinds: a sequence classifier with one label (BERT, RoBERTa, XLM-R, Qwen3), and a Qwen3 that says yes or no, whose head is the rows of
these two tokens in its output matrix. Knows nothing of text: which tokens they are it is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from huiyi.engines.checkpoint import Checkpoint, open_checkpoint, read_modules, read_object
from huiyi.engines.families import plain_name
from huiyi.engines.weights import Weights, open_weights
from huiyi.errors import InvalidInput, UnsupportedModel
from huiyi.types import Floats

Purpose = Literal["embedding", "reranker"]
CLASSIFIER, WRITER = "ForSequenceClassification", "ForCausalLM"


@dataclass(frozen=True)
class Head:
    """weight: [labels, width]. bias: [labels]. dense: weight and bias of a layer with tanh between the pooled row and these."""

    weight: Floats
    bias: Floats
    dense: tuple[Floats, Floats] | None = None

    def logits(self, row: Floats) -> Floats:
        """float32 [labels] of a pooled row [width]."""
        if self.dense is not None:
            row = np.tanh(row @ self.dense[0].T + self.dense[1])
        return np.asarray(row @ self.weight.T + self.bias, np.float32)


@dataclass(frozen=True)
class RerankerFolder:
    """answers: ids of the tokens for yes and no where the folder names them; None where it does not, and where there are none.

    has_label: whether a sequence classifier scores, and not the two answers.
    """

    checkpoint: Checkpoint
    has_label: bool
    answers: tuple[int, int] | None = None


def purpose(path: Path, name: str = "") -> Purpose | None:
    """What a model folder is for, by its files, else by its name; None where neither tells. name: under which it was asked for."""
    modules = read_modules(path / "modules.json")
    if "Pooling" in modules:
        return "embedding"
    raw = read_object(path / modules.get("Transformer", "") / "config.json")
    declared = read_object(path / "config_sentence_transformers.json").get("model_type") == "CrossEncoder"
    if declared or "LogitScore" in modules or (_is(raw, CLASSIFIER) and _labels(raw) == 1):
        return "reranker"
    return "reranker" if any("rerank" in each.lower() for each in (name, path.name)) else None


def require_embedding(path: Path, name: str) -> None:
    """Raises InvalidInput for a reranker, whose pooled rows mean nothing to one another."""
    if purpose(path, name) == "reranker":
        raise InvalidInput(
            f"{name} is a reranker, which scores texts for a query and has no vectors to compare: "
            f"use it with huiyi serve --rerank-model, or huiyi search --rerank"
        )


def open_reranker(path: Path, name: str) -> RerankerFolder:
    """The checkpoint of a reranker with the pooling that its kind reads. Raises InvalidInput, and what `open_checkpoint` raises."""
    if purpose(path, name) == "embedding":
        raise InvalidInput(f"{name} is an embedding model: it pools its tokens into vectors and scores no pairs; name a reranker")
    checkpoint = open_checkpoint(path)
    raw = read_object(checkpoint.path / "config.json")
    has_label = _is(raw, CLASSIFIER)
    if not has_label and (checkpoint.family != "qwen3" or not _is(raw, WRITER)):
        stated = ", ".join(raw.get("architectures") or []) or "none"
        raise UnsupportedModel(
            f"{name} is no reranker that can be told: its config.json states the architecture {stated}; "
            f"a cross-encoder is ...{CLASSIFIER}, and one that says yes or no is Qwen3{WRITER}"
        )
    answers = None
    if folder := read_modules(path / "modules.json").get("LogitScore"):
        named = read_object(path / folder / "config.json")
        yes, no = named.get("true_token_id"), named.get("false_token_id")
        if not all(type(id_) is int and 0 <= id_ < checkpoint.config.vocab_size for id_ in (yes, no)):
            raise UnsupportedModel(f"{path / folder}: true_token_id and false_token_id must be tokens of the model, not {yes!r} and {no!r}")
        answers = int(yes or 0), int(no or 0)
    pooled = replace(checkpoint, pooling="last" if checkpoint.family == "qwen3" else "cls", normalize=False)
    return RerankerFolder(pooled, has_label, answers)


def classifier_head(checkpoint: Checkpoint) -> Head:
    """Of a sequence classifier with one label, as two: 0, and the label's logit, which is then the log odds."""
    weights, hidden = _all_weights(checkpoint), checkpoint.config.hidden_size
    if checkpoint.family == "qwen3":
        label, before = "score", None
    elif "classifier.dense.weight" in weights.entries:
        label, before = "classifier.out_proj", "classifier.dense"
    else:
        label, before = "classifier", "pooler.dense"
    found = weights.entries.get(f"{label}.weight")
    if found is not None and found.shape[:1] != (1,):
        raise UnsupportedModel(f"{checkpoint.path} is a classifier with {found.shape[0]} labels; a reranker has 1")
    shapes: dict[str, tuple[int, ...]] = {f"{label}.weight": (1, hidden)}
    shapes |= {f"{label}.bias": (1,)} if checkpoint.family != "qwen3" or f"{label}.bias" in weights.entries else {}
    shapes |= {f"{before}.weight": (hidden, hidden), f"{before}.bias": (hidden,)} if before else {}
    tensors = {name: np.array(tensor.float32()) for name, tensor in weights.only(shapes, checkpoint.path).items()}
    row, bias = tensors[f"{label}.weight"], tensors.get(f"{label}.bias", np.zeros(1, np.float32))
    dense = (tensors[f"{before}.weight"], tensors[f"{before}.bias"]) if before else None
    return _finite(checkpoint, Head(np.concatenate([np.zeros_like(row), row]), np.concatenate([np.zeros_like(bias), bias]), dense))


def answer_head(checkpoint: Checkpoint, yes: int, no: int) -> Head:
    """The logits of two tokens, no before yes, from the output matrix: the embedding's own where config.json ties them."""
    tied = read_object(checkpoint.path / "config.json").get("tie_word_embeddings")
    weights, name = _all_weights(checkpoint), "lm_head.weight"
    if tied or (tied is None and name not in weights.entries):
        name = "embed_tokens.weight"
    shape = (checkpoint.config.vocab_size, checkpoint.config.hidden_size)
    tensor = weights.only({name: shape}, checkpoint.path)[name]
    rows = replace(tensor, data=tensor.data[[no, yes]]).float32()
    return _finite(checkpoint, Head(rows, np.zeros(2, np.float32)))


def _all_weights(checkpoint: Checkpoint) -> Weights:
    return open_weights(checkpoint.path, partial(plain_name, checkpoint.family))


def _finite(checkpoint: Checkpoint, head: Head) -> Head:
    if not all(np.isfinite(array).all() for array in (head.weight, head.bias, *(head.dense or ()))):
        raise UnsupportedModel(f"{checkpoint.path}: the head holds numbers that are none; download the model again")
    return head


def _is(raw: dict[str, Any], kind: str) -> bool:
    stated = raw.get("architectures")
    return isinstance(stated, Sequence) and any(isinstance(each, str) and each.endswith(kind) for each in stated)


def _labels(raw: dict[str, Any]) -> int:
    """As config.json states them; transformers takes 2 where it does not."""
    names = raw.get("id2label")
    if isinstance(names, dict):
        return len(names)
    count = raw.get("num_labels")
    return count if isinstance(count, int) else 2
