"""The losses against their formulas written out one term at a time."""

import math

import numpy as np
import pytest
import torch

from huiyi.training import losses


def rows(count: int, width: int = 6, seed: int = 0) -> torch.Tensor:
    return losses.unit(torch.from_numpy(np.random.default_rng(seed).standard_normal((count, width))))


def test_cosent_is_the_sum_over_pairs_in_the_wrong_order() -> None:
    scores, wanted = torch.tensor([0.9, 0.2, 0.5, 0.4]), torch.tensor([0.0, 1.0, 1.0, 0.0])
    terms = [
        math.exp(20 * (float(scores[j]) - float(scores[i]))) for i in range(4) for j in range(4) if float(wanted[i]) > float(wanted[j])
    ]
    assert float(losses.cosent(scores, wanted)) == pytest.approx(math.log(1 + sum(terms)), rel=1e-5)


def test_cosent_knows_only_the_order_of_the_scores() -> None:
    scores = torch.tensor([0.1, 0.3, 0.8])
    first, second = (float(losses.cosent(scores, torch.tensor(wanted))) for wanted in ([1.0, 2.0, 5.0], [0.0, 0.1, 0.2]))
    assert first == second
    assert float(losses.cosent(scores, torch.tensor([1.0, 1.0, 1.0]))) == 0


def written_out(q: np.ndarray, d: np.ndarray, positive: list[int], known: list[list[bool]], same: list[list[bool]], margin: float) -> float:
    total = 0.0
    for i, place in enumerate(positive):
        best = float(q[i] @ d[place])
        own = math.exp(20 * best)
        z = own
        for j in range(len(d)):
            for other in (float(q[i] @ d[j]), float(d[place] @ d[j])):
                if not known[i][j] and other <= best + margin:
                    z += math.exp(20 * other)
        for j in range(len(q)):
            if not same[i][j] and float(q[i] @ q[j]) <= best + margin:
                z += math.exp(20 * float(q[i] @ q[j]))
        total -= math.log(own / z)
    return total / len(q)


@pytest.mark.parametrize("margin", [-0.5, 0.1, 3.0])
def test_info_nce_is_its_formula(margin: float) -> None:
    q, d, positive = rows(3), rows(5, seed=1), [0, 2, 3]
    known = [[j == p for j in range(5)] for p in positive]
    known[0][4] = True
    same = [[i == j for j in range(3)] for i in range(3)]
    found = losses.info_nce(q, d, torch.tensor(positive), torch.tensor(known), torch.tensor(same), margin=margin)
    assert float(found) == pytest.approx(written_out(q.numpy(), d.numpy(), positive, known, same, margin), rel=1e-6)


def test_a_negative_that_is_nearer_than_the_positive_by_the_margin_counts_for_nothing() -> None:
    """It is most likely an answer that nobody marked: neither loss nor gradient may push it away."""
    q = torch.tensor([[1.0, 0.0]])
    near = torch.tensor([[0.6, 0.8], [0.95, 0.31], [0.0, 1.0]], requires_grad=True)
    known, same = torch.tensor([[True, False, False]]), torch.tensor([[True]])
    losses.info_nce(q, near, torch.tensor([0]), known, same).backward()
    assert near.grad is not None
    assert not near.grad[1].any()
    assert near.grad[2].any()


def test_matryoshka_is_the_mean_over_widths_each_of_unit_length() -> None:
    made = torch.from_numpy(np.random.default_rng(3).standard_normal((4, 8)))
    widths = [part.norm(dim=1) for part in (losses.unit(made, 8), losses.unit(made, 2))]
    assert all(torch.allclose(each, torch.ones(4, dtype=torch.float64)) for each in widths)
    total = losses.matryoshka(made, [8, 2], lambda unit: unit[:, 0].sum())
    assert float(total) == pytest.approx(float((losses.unit(made)[:, 0].sum() + losses.unit(made, 2)[:, 0].sum()) / 2))
