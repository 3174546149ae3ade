"""Attention of packed tokens in torch, each text over itself alone: by a kernel for varying lengths, or over rows padded to the longest.

The kernel is torch's flash attention for varying lengths: GPUs, 16 bits, no padding anywhere. Everything else (CPUs, fp32, older GPUs
and older torch) gathers rows as `packing` says and lets scaled_dot_product_attention mask them.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from huiyi.engines.checkpoint import Pooling
from huiyi.engines.packing import RowArrays, batch_rows

MOST_HEAD_DIM = 256  # of flash attention, in steps of 8


def _kernel() -> Callable[..., Any] | None:
    """torch's, from the release on in which it has grouped queries and windows."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    known = inspect.signature(varlen_attn).parameters
    return varlen_attn if "enable_gqa" in known and "window_size" in known else None


varlen_attn = _kernel()


def has_kernel(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether attention needs no padding here: an NVIDIA GPU from compute capability 8.0 (Ampere) on, in bf16."""
    fits = dtype == torch.bfloat16 and head_dim % 8 == 0 and head_dim <= MOST_HEAD_DIM
    return varlen_attn is not None and fits and device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


@dataclass(frozen=True)
class Varying:
    """Queries [texts' queries, heads, head_dim] over keys and values of the same texts, behind one another.

    offsets: int32 [texts + 1], where each text's queries and keys begin. queries, keys: the tokens that take part, None for all.
    """

    query_offsets: Tensor
    key_offsets: Tensor
    most_queries: int
    most_keys: int
    causal: bool
    queries: Tensor | None = None
    keys: Tensor | None = None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[texts' queries, heads · head_dim]."""
        assert varlen_attn is not None
        if self.queries is not None:
            q = q.index_select(0, self.queries)
        if self.keys is not None:
            k, v = k.index_select(0, self.keys), v.index_select(0, self.keys)
        attended: Tensor = varlen_attn(
            q,
            k,
            v,
            self.query_offsets,
            self.key_offsets,
            self.most_queries,
            self.most_keys,
            window_size=(-1, 0) if self.causal else (-1, -1),
            enable_gqa=q.shape[1] != k.shape[1],
        )
        return attended.flatten(1)


@dataclass(frozen=True)
class Padded:
    """The same over rows of equal length; `packing.RowArrays` as tensors."""

    queries: Tensor
    keys: Tensor
    mask: Tensor
    back: Tensor

    @classmethod
    def of(cls, rows: RowArrays, dtype: torch.dtype, device: torch.device) -> "Padded":
        queries, keys, mask, back = (onto(value, device) for value in rows.values())
        return cls(queries, keys, mask.to(dtype), back)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x[where].transpose(1, 2) for x, where in ((q, self.queries), (k, self.keys), (v, self.keys)))
        group = q.shape[1] // k.shape[1]
        if q.is_cuda and group > 1:  # with a mask the GPU kernels that keep no scores know no groups
            k, v, group = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), 1
        attended = functional.scaled_dot_product_attention(q, k, v, self.mask, enable_gqa=group > 1)
        return attended.transpose(1, 2).flatten(2).flatten(0, 1)[self.back]


Attention = Varying | Padded


def attentions(
    lengths: NDArray[np.int64], causal: bool, pooling: Pooling, dtype: torch.dtype, device: torch.device, varying: bool
) -> tuple[Attention, Attention, Tensor | None]:
    """For all layers but the last, for the last, and the tokens whose answer the last has to give (None: all).

    With last or cls pooling one token a text is all that is asked of the last layer: its other queries are never computed.
    """
    if not varying:
        rows, last, pick = batch_rows(lengths, causal, pooling)
        picked = None if pooling == "mean" else onto(pick, device)
        padded = Padded.of(rows, dtype, device)
        return padded, (padded if last is rows else Padded.of(last, dtype, device)), picked
    ends = np.cumsum(lengths)
    offsets = onto(np.concatenate([[0], ends]).astype(np.int32), device)
    longest = int(lengths.max())
    whole = Varying(offsets, offsets, longest, longest, causal)
    if pooling == "mean":
        return whole, whole, None
    first, one_each = ends - lengths, torch.arange(len(lengths) + 1, dtype=torch.int32, device=device)
    picked = onto(ends - 1 if pooling == "last" else first, device)
    if causal and pooling == "cls":  # a first token sees nothing but itself
        return whole, Varying(one_each, one_each, 1, 1, False, picked, picked), picked
    return whole, Varying(one_each, offsets, 1, longest, False, picked), picked


def onto(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on a device; to a GPU by way of pinned memory, so that what is under way there is not waited for."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
