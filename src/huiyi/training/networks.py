"""A base as transformers loads it from the folder that our engine reads, with LoRA or whole, and a head: token ids in, rows out.

Inputs go through in groups of like length. A causal model needs no mask for right padding: no real token sees it. In bf16 a frozen base
is held in bf16 and whatever is trained in fp32.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from huiyi.engines.checkpoint import Checkpoint, Pooling
from huiyi.errors import InvalidInput, UnsupportedModel
from huiyi.training.batches import CPU_TOKENS, GPU_TOKENS, groups, padded
from huiyi.types import Ids

LINEARS = {
    "qwen3": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "bert": ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"),
}
LABELS = 2


class Network(nn.Module):
    """rows of token ids -> pooled rows float32 [n, width], or logits [n, 2] where there is a head. base: of transformers, maybe in PEFT."""

    def __init__(self, base: nn.Module, checkpoint: Checkpoint, pooling: Pooling, head: bool, device: str, bf16: bool) -> None:
        super().__init__()
        self.base: Any
        self.base, self.checkpoint, self.pooling, self.bf16 = base, checkpoint, pooling, bf16
        self.width = checkpoint.config.hidden_size
        self.head = nn.Linear(self.width, LABELS) if head else None
        if self.head is not None:
            nn.init.normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)
        self.device = torch.device(device)
        self.filler = int(getattr(base.config, "pad_token_id", None) or 0)
        self.causal = checkpoint.family == "qwen3"
        self.tokens_at_once = GPU_TOKENS if self.device.type == "cuda" else CPU_TOKENS
        self.to(self.device)

    def forward(self, rows: Sequence[Ids], types: Sequence[Ids] | None = None) -> Tensor:
        found = groups([len(row) for row in rows], self.tokens_at_once)
        parts = [self._pooled([rows[i] for i in group], [types[i] for i in group] if types else None) for group in found]
        back = torch.from_numpy(np.argsort(np.concatenate(found))).to(self.device)
        pooled = torch.cat(parts)[back]
        return pooled if self.head is None else self.head(pooled)

    def _pooled(self, rows: Sequence[Ids], types: Sequence[Ids] | None) -> Tensor:
        ids, lengths = padded(rows, self.filler)
        inputs: dict[str, Any] = {"input_ids": torch.from_numpy(ids).to(self.device)}
        ends = torch.from_numpy(lengths).to(self.device)
        real = torch.arange(ids.shape[1], device=self.device)[None] < ends[:, None]
        if self.causal:
            inputs["use_cache"] = False
        elif (lengths != ids.shape[1]).any():
            inputs["attention_mask"] = real.long()
        if types is not None:
            inputs["token_type_ids"] = torch.from_numpy(padded(types)[0]).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            hidden: Tensor = self.base(**inputs).last_hidden_state
        if self.pooling == "last":
            return hidden[torch.arange(len(rows), device=self.device), ends - 1].float()
        if self.pooling == "cls":
            return hidden[:, 0].float()
        return (hidden.float() * real[:, :, None]).sum(1) / ends[:, None]

    def trained(self) -> dict[str, Tensor]:
        """What training changes, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}


def build(
    checkpoint: Checkpoint,
    *,
    pooling: Pooling,
    head: bool,
    lora: Any = None,
    device: str = "cpu",
    bf16: bool = False,
    checkpointing: bool = False,
    seed: int = 0,
) -> Network:
    """lora: a `peft.LoraConfig`; None trains the whole base."""
    torch.manual_seed(seed)
    base = load_base(checkpoint, torch.bfloat16 if bf16 and lora is not None else torch.float32)
    if checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if lora is not None:
        base = with_lora(base, lora)
    network = Network(base, checkpoint, pooling, head, device, bf16)
    for parameter in network.trained().values():
        parameter.data = parameter.data.float()
    return network


def load_base(checkpoint: Checkpoint, dtype: torch.dtype) -> Any:
    from transformers import AutoModel

    options = {} if checkpoint.family == "qwen3" else {"add_pooling_layer": False}
    with quiet():
        return AutoModel.from_pretrained(checkpoint.path, dtype=dtype, local_files_only=True, **options)


def lora_config(family: str, *, rank: int, alpha: int, dropout: float, targets: Sequence[str] | None, classifier: bool, base: str) -> Any:
    """A `peft.LoraConfig`. targets: names of linears; None is query, key and value."""
    from peft import LoraConfig

    known = LINEARS[family]
    strange = [name for name in targets or () if name not in known]
    if strange:
        raise InvalidInput(f"this model has no linear {strange[0]!r} for LoRA; there are {', '.join(known)}")
    return LoraConfig(
        task_type="SEQ_CLS" if classifier else "FEATURE_EXTRACTION",
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(targets or known[:3]),
        base_model_name_or_path=base,
    )


def with_lora(base: Any, config: Any) -> Any:
    from peft import get_peft_model

    name = config.base_model_name_or_path
    with quiet():
        model = get_peft_model(base, config)
    config.base_model_name_or_path = name  # PEFT puts the folder of this machine there
    return model


def choose_device(name: str) -> str:
    """auto: cuda where torch sees one."""
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise InvalidInput("torch sees no CUDA device here; pass --device cpu, or install a torch with CUDA")
    if name not in ("auto", "cpu", "cuda"):
        raise InvalidInput(f"there is no device {name!r}; there are auto, cpu and cuda")
    return ("cuda" if there else "cpu") if name == "auto" else name


def free_bytes(device: str) -> int | None:
    """Of a GPU's memory; None for the CPU, whose memory the system knows."""
    return int(torch.cuda.mem_get_info()[0]) if device == "cuda" else None


def use_threads(count: int | None) -> None:
    if count:
        torch.set_num_threads(count)


def require_finite(value: float, step: int) -> None:
    if not np.isfinite(value):
        raise UnsupportedModel(f"the loss is no number at step {step}; lower --learning-rate, or pass --precision fp32")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and notes of transformers and PEFT, which speak of what is their own."""
    from transformers.utils import logging as theirs

    shown, level = theirs.is_progress_bar_enabled(), theirs.get_verbosity()
    theirs.disable_progress_bar()  # type: ignore[no-untyped-call]
    theirs.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        theirs.set_verbosity(level)
        if shown:
            theirs.enable_progress_bar()  # type: ignore[no-untyped-call]
