"""What training pulls together and pushes apart, one loss a kind of group; vectors are of unit length, 1/temperature is SCALE."""

import torch
from torch import Tensor
from torch.nn import functional as F

SCALE = 20.0
FAR = -1e4


def in_order(cosines: Tensor, marks: Tensor) -> Tensor:
    """CoSENT (Su 2022): every pair with the higher mark should have the higher cosine."""
    differences = SCALE * (cosines[None, :] - cosines[:, None])  # [i, j]: j over i
    wrong = differences.masked_fill(marks[:, None] <= marks[None, :], FAR).flatten()
    return torch.logsumexp(torch.cat([wrong, wrong.new_zeros(1)]), 0)


def found(queries: Tensor, candidates: Tensor, right: Tensor, excused: Tensor) -> Tensor:
    """InfoNCE: query i should find candidate right[i] among all candidates. excused: [queries, candidates], not to be told apart."""
    scores = SCALE * queries @ candidates.T
    excused = excused.scatter(1, right[:, None], False)
    return F.cross_entropy(scores.masked_fill(excused, FAR), right)


def found_both_ways(a: Tensor, b: Tensor, a_keys: Tensor, b_keys: Tensor) -> Tensor:
    """Texts a[i] and b[i] mean the same; all others of the batch are candidates, but for texts that are equal to one of the two."""
    right = torch.arange(len(a))
    together, keys = torch.cat([b, a]), torch.cat([b_keys, a_keys])
    there = found(a, together, right, (a_keys[:, None] == keys) | (b_keys[:, None] == keys))
    together, keys = torch.cat([a, b]), torch.cat([a_keys, b_keys])
    return (there + found(b, together, right, (a_keys[:, None] == keys) | (b_keys[:, None] == keys))) / 2


def loss(kind: str, vectors: list[Tensor], marks: Tensor, keys: list[Tensor]) -> Tensor:
    """vectors, keys: one tensor a place of the tuple (anchor, nearer, …); equal texts have equal keys."""
    if kind in ("pairs", "scores"):
        a, b = vectors
        ordered = in_order((a * b).sum(1), marks)
        same = (marks >= (1.0 if kind == "pairs" else 0.8)).nonzero()[:, 0]
        if not len(same):
            return ordered
        return ordered + found_both_ways(a[same], b[same], keys[0][same], keys[1][same])
    if kind == "translations":
        return found_both_ways(*vectors, *keys)
    if kind == "triplets":
        a, near, far = vectors
        excused = keys[0][:, None] == torch.cat(keys[1:])
        return found(a, torch.cat([near, far]), torch.arange(len(a)), excused)
    (texts,) = vectors
    scores = (SCALE * texts @ texts.T).fill_diagonal_(FAR)
    same = (marks[:, None] == marks).fill_diagonal_(False)
    some = same.any(1)
    logs = scores.log_softmax(1)
    return -((logs * same).sum(1)[some] / same.sum(1)[some]).mean()
