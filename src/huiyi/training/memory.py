"""How much memory a training run will take, before it starts: an estimate from the shape of the model and the longest batch.

Knows no torch. The figures are fitted to measured runs on the 0.6B shape (docs/decisions.md).
"""

from dataclasses import dataclass
from pathlib import Path

from huiyi.engines.checkpoint import BertConfig, Qwen3Config
from huiyi.errors import TooLarge

# Values of hidden, query/key/value and MLP width that a layer keeps a token for its gradients, as transformers' own code does.
_HIDDEN, _HEADS, _INNER = 6, 3, 3
_FIXED_BYTES = 900_000_000  # torch and what stands beside the model
_CPU_COPIES = 3  # of bf16 weights: the mapped file, torch's own, and the form in which oneDNN multiplies


@dataclass(frozen=True)
class Estimate:
    """In bytes. weights: of the model. states: gradients and moments of what is trained. activations: of the largest batch."""

    weights: int
    states: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.states + self.activations + _FIXED_BYTES


def estimate(
    config: Qwen3Config | BertConfig,
    *,
    parameters: int,
    trained: int,
    tokens: int,
    bf16: bool,
    checkpointing: bool,
    lora: bool,
    on_cpu: bool,
) -> Estimate:
    """tokens: of the largest batch, with padding. trained: numbers that are learned."""
    heads = config.num_heads * (config.head_dim if isinstance(config, Qwen3Config) else config.hidden_size // config.num_heads)
    each = 2 if bf16 else 4
    kept = (_HIDDEN * config.hidden_size + _HEADS * heads + _INNER * config.intermediate_size) * each
    layers = (config.num_layers * config.hidden_size * each + kept) if checkpointing else config.num_layers * kept
    weights = parameters * (2 * (_CPU_COPIES if on_cpu else 1) if bf16 and lora else 4)
    return Estimate(weights, trained * 12, tokens * layers)


def require_room(needed: Estimate, free: int | None, where: str) -> None:
    """Raises TooLarge with what to lower. free: bytes, None where nobody knows."""
    if free is not None and needed.total > free:
        raise TooLarge(
            f"training needs about {needed.total / 1e9:.1f} GB ({needed.weights / 1e9:.1f} weights, {needed.states / 1e9:.1f} optimizer, "
            f"{needed.activations / 1e9:.1f} activations of the largest batch) and {free / 1e9:.1f} GB are free on the {where}; "
            "lower --batch-size (with --accumulate for the same effect) or --max-length, or pass --checkpointing"
        )


def available_bytes() -> int | None:
    """Of this machine's memory, as the kernel sees it and as a container is bound; None where it does not say."""
    found = []
    info = Path("/proc/meminfo")
    if info.exists():
        lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        if "MemAvailable" in lines:
            found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and limit.read_text().strip() != "max":
        found.append(int(limit.read_text()) - int(used.read_text()))
    return min(found) if found else None
