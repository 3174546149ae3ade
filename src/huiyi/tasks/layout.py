"""A map of vectors: two coordinates a row, near rows near each other, from the same kNN graph that topics are found on.

Edges attract and all rows repel each other as in t-SNE (van der Maaten and Hinton 2008); repulsion is summed on a grid by Fourier
transforms (Linderman 2019), so that time grows with the rows and not with their square. No chance in it: same graph, same map.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from huiyi.tasks.neighbors import Neighbors
from huiyi.types import Floats

STEPS, EARLY_STEPS = 250, 80
FEW = 600  # rows for which repulsion is summed pair by pair
EARLY = 8.0  # how much stronger edges are in the early steps, when topics find their places
GRID = 256  # cells a side at least
CELL = 0.75  # of the kernel's width
MOST_CELLS = 512
EXTENT = 100.0  # the map is scaled to lie within it on both sides of zero


def layout(rows: Floats, graph: Neighbors) -> Floats:
    """float32 [n, 2], within EXTENT of the middle. rows: [n, d], the graph's own, whose two main directions are where it begins."""
    count = len(rows)
    if count < 3 or not graph.indices.shape[1]:
        return np.stack([np.linspace(-1, 1, count), np.zeros(count)], axis=1).astype(np.float32)
    edges = _edges(graph)
    place = _beginning(rows)
    speed = np.zeros_like(place)
    gains = np.ones_like(place)
    rate = max(count / 12, 50)
    for step in range(STEPS):
        early = step < EARLY_STEPS
        force = (EARLY if early else 1.0) * _attraction(place, edges) - _repulsion(place)
        same = np.sign(force) == np.sign(speed)
        gains = np.maximum(np.where(same, gains + 0.2, gains * 0.8), 0.01)
        speed = (0.5 if early else 0.8) * speed + rate * gains * force
        longest = np.abs(speed).max()
        if longest > 5:
            speed *= 5 / longest
        place = place + speed
        place -= place.mean(axis=0)
    return (place * (EXTENT / max(float(np.abs(place).max()), 1e-9))).astype(np.float32)


def _edges(graph: Neighbors) -> Any:
    """Symmetric CSR, weights of all edges together 1."""
    from scipy import sparse

    n, k = graph.indices.shape
    distances = np.maximum(1 - graph.scores, 0)
    scale = np.maximum(distances.mean(axis=1, keepdims=True), 1e-6)
    weights = np.exp(-distances / scale)
    weights /= weights.sum(axis=1, keepdims=True)
    edges = sparse.csr_matrix((weights.ravel(), graph.indices.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    both = sparse.csr_matrix((edges + edges.T) / (2 * n))
    both.sort_indices()
    return both


def _beginning(rows: Floats) -> NDArray[np.float64]:
    """The two main directions, small, signs fixed."""
    middle = (rows - rows.mean(axis=0)).astype(np.float64)
    _, directions = np.linalg.eigh(middle.T @ middle)
    main = directions[:, -1:-3:-1]
    if main.shape[1] < 2:
        main = np.hstack([main, main])
    main = main * np.sign(main[np.abs(main).argmax(axis=0), np.arange(main.shape[1])])
    place = middle @ main
    small: NDArray[np.float64] = place / max(float(place[:, 0].std()), 1e-9) * 1e-2
    small += np.arange(len(rows))[:, None] * np.array([1e-9, -1e-9])  # no two rows in one place
    return small


def _attraction(place: NDArray[np.float64], edges: Any) -> NDArray[np.float64]:
    own = np.repeat(np.arange(len(place)), np.diff(edges.indptr))
    apart = place[edges.indices] - place[own]
    pull = edges.data / (1 + np.einsum("ed,ed->e", apart, apart))
    return np.stack([np.bincount(own, pull * apart[:, axis], len(place)) for axis in (0, 1)], axis=1)


def _repulsion(place: NDArray[np.float64]) -> NDArray[np.float64]:
    """The push away from the attraction of all others: with w = 1 / (1 + d²), the sum of w² (other - own), over the sum of all w."""
    from scipy import fft

    if len(place) <= FEW:
        x, y = (place[:, None, axis] - place[None, :, axis] for axis in (0, 1))
        close = 1 / (1 + x * x + y * y)
        push = np.stack([(close * close * x).sum(axis=1), (close * close * y).sum(axis=1)], axis=1)
        inward: NDArray[np.float64] = -push / max(float(close.sum()) - len(place), 1e-9)
        return inward
    low = place.min(axis=0)
    span = float((place.max(axis=0) - low).max()) + 1e-9
    side = int(np.clip(span / CELL, GRID, MOST_CELLS))
    cell = span / (side - 2)
    scaled = (place - low) / cell
    base = np.clip(scaled.astype(np.int64), 0, side - 2)
    rest = scaled - base
    corners = [(base[:, 0] + i) * side + base[:, 1] + j for i in (0, 1) for j in (0, 1)]
    shares = [(rest[:, 0] if i else 1 - rest[:, 0]) * (rest[:, 1] if j else 1 - rest[:, 1]) for i in (0, 1) for j in (0, 1)]
    mass = np.zeros(side * side)
    for corner, share in zip(corners, shares, strict=True):
        mass += np.bincount(corner, share, side * side)
    size = fft.next_fast_len(2 * side, real=True)
    steps = np.arange(size)
    steps = np.where(steps < side, steps, steps - size) * cell
    x, y = steps[:, None], steps[None, :]
    kernel = 1 / (1 + x * x + y * y)
    spread = fft.rfft2(mass.reshape(side, side), (size, size), workers=2)
    fields = []
    for shape in (kernel, kernel * kernel * x, kernel * kernel * y):
        field = fft.irfft2(spread * fft.rfft2(shape, workers=2), (size, size), workers=2)[:side, :side].ravel()
        fields.append(sum(field[corner] * share for corner, share in zip(corners, shares, strict=True)))
    near, push_x, push_y = fields
    total = max(float(near.sum()) - len(place), 1e-9)
    return -np.stack([push_x, push_y], axis=1) / total
