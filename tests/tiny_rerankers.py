"""Tiny random rerankers in the layout of published ones, `KINDS[kind](folder)`, and what transformers makes of them, `Reference`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
from tokenizers import processors

import tiny

PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
TASK = "Given a web search query, retrieve relevant passages that answer the query"
PAIRS = {
    "Bert": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
    "XLMRoberta": ("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
}


def bert(folder: Path, **options: Any) -> Path:
    return _classifier(tiny.tiny_bert(folder, pooling=None, **options), "Bert")


def roberta(folder: Path, **options: Any) -> Path:
    return _classifier(tiny.tiny_roberta(folder, pooling=None, **options), "Roberta")


def xlm_roberta(folder: Path, **options: Any) -> Path:
    return _classifier(tiny.tiny_xlm_roberta(folder, pooling=None, **options), "XLMRoberta")


def qwen3(folder: Path, tied: bool = True, **options: Any) -> Path:
    """As Qwen3-Reranker is published: a causal language model without sentence-transformers' files."""
    tiny.tiny_qwen3(folder, pooling=None, **({"append_eos": False, "positions": 4096} | options))
    _add_answers(folder)
    return _saved(folder, "Qwen3ForCausalLM", tie_word_embeddings=tied)


def qwen3_classifier(folder: Path, **options: Any) -> Path:
    """As people convert it: one label in the place of the two answers."""
    tiny.tiny_qwen3(folder, pooling=None, **({"append_eos": False, "positions": 4096} | options))
    _add_answers(folder)
    return _saved(folder, "Qwen3ForSequenceClassification", num_labels=1, pad_token_id=0)


KINDS: dict[str, Callable[..., Path]] = {
    "bert": bert,
    "roberta": roberta,
    "xlm-roberta": xlm_roberta,
    "qwen3-reranker": qwen3,
    "qwen3-classifier": qwen3_classifier,
}


class Reference:
    """Log odds as transformers gives them in fp32, one pair at a time, with the code that the model's card publishes."""

    def __init__(self, folder: Path, max_length: int) -> None:
        config = transformers.AutoConfig.from_pretrained(folder)
        self.model = getattr(transformers, config.architectures[0]).from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.max_length, self.prompted = max_length, config.model_type == "qwen3"

    def scores(self, query: str, texts: Sequence[str], task: str = TASK) -> np.ndarray:
        return np.array([self._score(query, text, task) for text in texts])

    def _score(self, query: str, text: str, task: str) -> float:
        with torch.no_grad():
            if not self.prompted:
                inputs = self.tokenizer([[query, text]], truncation=True, max_length=self.max_length, return_tensors="pt")
                return float(self.model(**inputs).logits[0, 0])
            before, after = (self.tokenizer.encode(each, add_special_tokens=False) for each in (PREFIX, SUFFIX))
            asked = f"<Instruct>: {task}\n<Query>: {query}\n<Document>: {text}"
            room = self.max_length - len(before) - len(after)
            ids = before + self.tokenizer(asked, truncation="longest_first", max_length=room)["input_ids"] + after
            logits = self.model(torch.tensor([ids])).logits[0]
        if logits.ndim == 1:
            return float(logits[0])
        yes, no = (self.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
        return float(logits[-1, yes] - logits[-1, no])


def _classifier(folder: Path, architecture: str) -> Path:
    if architecture in PAIRS:
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        single, pair = PAIRS[architecture]
        words = {word.split(":")[0] for word in pair.split()} - {"$A", "$B"}
        special = [(word, tokenizer.token_to_id(word)) for word in sorted(words)]
        tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)
        tokenizer.save(str(folder / "tokenizer.json"))
    return _saved(folder, f"{architecture}ForSequenceClassification", num_labels=1)


def _add_answers(folder: Path) -> None:
    """yes and no are tokens of the published vocabulary; here they are added, in the place of two that are never needed."""
    file = folder / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(file))
    tokenizer.add_tokens(["yes", "no"])
    tokenizer.save(str(file))
    tiny.rewrite_json(folder / "config.json", vocab_size=tokenizer.get_vocab_size())


def _saved(folder: Path, architecture: str, **fields: Any) -> Path:
    """A random model of the same shape with another head, in the place of the one there."""
    config = transformers.AutoConfig.from_pretrained(folder, **fields)
    (folder / "model.safetensors").unlink()
    tiny._save(folder, tiny._random(getattr(transformers, architecture), config, 1), "float32", False)
    return folder
