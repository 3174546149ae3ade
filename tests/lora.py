"""LoRA adapters for the tiny checkpoints, made and saved by peft itself, with what torch makes of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from huiyi.encoding.pairing import bare, template_of
from huiyi.engines.checkpoint import open_checkpoint
from huiyi.types import Floats, Ids
from huiyi.workspace.adapters import tokenizer_of

QWEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
BERT = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]


class Trained:
    """An adapter as if it were trained: A and B random, so that outputs change. folder: where it was saved."""

    def __init__(self, base: Path, folder: Path, *, seed: int = 0, strength: float = 1.0, **config: Any) -> None:
        self.folder, self.pooling = folder, open_checkpoint(base).pooling
        model = AutoModel.from_pretrained(base, dtype=torch.float32)
        options = {"r": 8, "lora_alpha": 16, "target_modules": linears(base), "task_type": "FEATURE_EXTRACTION"} | config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = peft.get_peft_model(model, peft.LoraConfig(**options)).eval()
            for name, parameter in self.model.named_parameters():
                if "lora_B" in name:
                    parameter.data = strength * 0.1 * torch.randn_like(parameter)
        self.model.save_pretrained(folder)

    def vectors(self, batch: Sequence[Ids]) -> Floats:
        """Pooled, not normalised, one text at a time."""
        return np.stack([self.vector(ids) for ids in batch])

    def vector(self, ids: Ids) -> Floats:
        with torch.no_grad():
            hidden = self.model(torch.tensor(np.asarray(ids, np.int64)[None])).last_hidden_state[0].numpy()
        return {"last": hidden[-1], "cls": hidden[0], "mean": hidden.mean(axis=0)}[self.pooling]


def linears(base: Path) -> list[str]:
    """All that an adapter may change in this checkpoint."""
    return QWEN if open_checkpoint(base).family == "qwen3" else BERT


def change_config(folder: Path, **fields: Any) -> Path:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | fields), "utf-8")
    return folder


def change_weights(folder: Path, change: Any) -> Path:
    """`change` gets the tensors by name and changes the dictionary."""
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "adapter_model.safetensors", {"format": "pt"})
    return folder


class Classifier(Trained):
    """A pair classifier with the files that docs/training.md describes, and torch's logits for it."""

    def __init__(self, base: Path, folder: Path, *, max_length: int = 64, calibration: Any = None, **config: Any) -> None:
        qkv = [module for module in linears(base) if module in ("q_proj", "k_proj", "v_proj", "query", "key", "value")]
        super().__init__(base, folder, **{"task_type": "SEQ_CLS", "target_modules": qkv, "r": 8, "lora_alpha": 32, **config})
        checkpoint = open_checkpoint(base)
        self.max_length = max_length
        self.template = template_of(tokenizer_of(checkpoint), doubled=False)
        random = np.random.default_rng(0)
        self.weight = random.standard_normal((2, checkpoint.config.hidden_size)).astype(np.float32)
        self.bias = random.standard_normal(2).astype(np.float32)
        save_file({"weight": torch.tensor(self.weight), "bias": torch.tensor(self.bias)}, folder / "head.safetensors")
        write_about(
            folder,
            base,
            recipe="pair-classifier",
            task="pair-classifier",
            max_length=max_length,
            pair=self.template.to_json(),
            labels=["0", "1"],
            calibration=calibration,
        )
        self._tokenizer = tokenizer_of(checkpoint)

    def logits(self, first: Sequence[str], second: Sequence[str]) -> Floats:
        sides = zip(bare(self._tokenizer, first), bare(self._tokenizer, second), strict=True)
        rows = np.stack([self.vector(self.template.join(a, b, self.max_length)) for a, b in sides])
        return rows @ self.weight.T + self.bias


def write_about(folder: Path, base: Path, **fields: Any) -> None:
    """huiyi.json with every field that docs/training.md names."""
    checkpoint = open_checkpoint(base)
    about = {
        "huiyi": "adapter",
        "version": 1,
        "recipe": "similarity",
        "task": "bi-encoder",
        "base": {"name": base.name, "digest": checkpoint.digest},
        "pooling": checkpoint.pooling,
        "max_length": 64,
        **dict.fromkeys(("pair", "labels", "calibration", "instruction", "dimensions")),
    }
    (folder / "huiyi.json").write_text(json.dumps(about | fields), "utf-8")
