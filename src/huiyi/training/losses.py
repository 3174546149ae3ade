"""What a batch of vectors or logits should have been: losses as functions of tensors, each with the source of its formula."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

SCALE = 20.0  # of cosines: one over the temperature of 0.05
MARGIN = 0.1


def unit(rows: Tensor, width: int | None = None) -> Tensor:
    """Rows cut to `width`, then of unit length: cutting changes the length."""
    return functional.normalize(rows[:, :width], dim=1)


def cosent(scores: Tensor, wanted: Tensor, scale: float = SCALE) -> Tensor:
    """log(1 + Σ exp(scale · (scores[j] - scores[i]))) over all i, j with wanted[i] > wanted[j].

    scores: cosines [n]. wanted: labels, or scores on any scale.

    CoSENT, Su Jianlin 2022 (https://kexue.fm/archives/8847): only the order of pairs counts, so no threshold is learned.
    """
    gaps = scale * (scores[None, :] - scores[:, None])
    ordered = wanted[:, None] > wanted[None, :]
    return torch.logsumexp(torch.cat([scores.new_zeros(1), gaps[ordered]]), dim=0)


def info_nce(
    queries: Tensor,
    documents: Tensor,
    positive: Tensor,
    known: Tensor,
    same_query: Tensor,
    scale: float = SCALE,
    margin: float = MARGIN,
) -> Tensor:
    """Mean over queries of -log(exp(scale · s(q, d+)) / Z), rows of unit length.

    Z holds the positive, all documents of the batch (hard negatives and other queries' documents), the other queries, and the documents as
    seen from d+. Left out as false negatives: what is more alike than s(q, d+) + margin, and what is the positive itself
    (Zhang et al. 2025, Qwen3 Embedding, section 3).

    queries [n, d]; documents [m, d], each distinct document once; positive int [n], places of d+. known bool [n, m]: documents that answer
    the query, the positive among them. same_query bool [n, n]: queries of the same text, the diagonal among them.
    """
    own = documents[positive]
    s_qd, s_qq, s_dd = queries @ documents.T, queries @ queries.T, own @ documents.T
    s_positive = s_qd.gather(1, positive[:, None])
    limit = s_positive.detach() + margin
    parts = [s_positive]
    for scores, excluded in ((s_qd, known), (s_qq, same_query), (s_dd, known)):
        parts.append(scores.masked_fill(excluded | (scores.detach() > limit), float("-inf")))
    return (torch.logsumexp(scale * torch.cat(parts, dim=1), dim=1) - scale * s_positive[:, 0]).mean()


def matryoshka(rows: Tensor, widths: Sequence[int], loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean of `loss` over the rows cut to each width and of unit length (Kusupati et al. 2022). widths: none for the whole one."""
    if not widths:
        return loss(unit(rows))
    return torch.stack([loss(unit(rows, width)) for width in widths]).mean()


def classification(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, mean over rows."""
    return functional.cross_entropy(logits, labels)
