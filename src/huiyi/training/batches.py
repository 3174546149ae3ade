"""Which examples make a batch, and in which groups its inputs go through a model: pure functions of lengths, a seed and a step.

A batch is drawn at random, whatever its lengths; only inside it inputs of like length go through the model together, so that next to
nothing is padded and the loss sees what it would see anyhow. A run that was stopped needs no more than its step to go on.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# Padded tokens at a time. On two cores about 1,000 are best (docs/decisions.md); a GPU wants more work a launch.
CPU_TOKENS, GPU_TOKENS = 1024, 32_768


def steps_per_epoch(rows: int, batch_size: int) -> int:
    return -(-rows // batch_size)


def batch_at(step: int, rows: int, batch_size: int, seed: int) -> Ints:
    """The rows of batch `step`, counted from 0 over all epochs; each row stands once in an epoch, each epoch in an order of its own."""
    epoch, place = divmod(step, steps_per_epoch(rows, batch_size))
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return order[place * batch_size : (place + 1) * batch_size]


def groups(lengths: Sequence[int] | Ints, tokens: int) -> list[Ints]:
    """Places of inputs in groups of like length, of at most `tokens` with their padding, or of one longer input; shortest first."""
    sizes = np.asarray(lengths, np.int64)
    found: list[list[int]] = []
    for place in np.argsort(sizes, kind="stable").tolist():
        if not found or (len(found[-1]) + 1) * sizes[place] > tokens:
            found.append([])
        found[-1].append(place)
    return [np.array(group, np.int64) for group in found]


def suggested_length(lengths: Sequence[int] | Ints, most: int) -> int:
    """A multiple of 8 that holds 99 of 100 inputs whole, at least 32 and at most `most`."""
    needed = int(np.quantile(np.asarray(lengths), 0.99)) if len(lengths) else 0
    return int(min(most, max(32, -(-needed // 8) * 8)))


def padded(rows: Sequence[NDArray[np.int32]], filler: int = 0) -> tuple[Ints, Ints]:
    """ids int64 [n, longest], filled up at the right; lengths int64 [n]."""
    lengths = np.array([len(row) for row in rows], np.int64)
    ids = np.full((len(rows), int(lengths.max())), filler, np.int64)
    ids[np.arange(ids.shape[1])[None] < lengths[:, None]] = np.concatenate(rows)
    return ids, lengths
