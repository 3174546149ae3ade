"""Batches: every row once an epoch, in an order of the seed alone; groups lose nothing and pad little."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from huiyi.training.batches import batch_at, groups, padded, steps_per_epoch, suggested_length

sizes = st.lists(st.integers(1, 300), min_size=1, max_size=80)


@given(st.integers(1, 60), st.integers(1, 17), st.integers(0, 5))
def test_an_epoch_holds_every_row_once(rows: int, size: int, seed: int) -> None:
    steps = steps_per_epoch(rows, size)
    for epoch in (0, 1):
        seen = np.concatenate([batch_at(epoch * steps + step, rows, size, seed) for step in range(steps)])
        assert sorted(seen.tolist()) == list(range(rows))


def test_epochs_and_seeds_differ_and_a_step_is_always_the_same() -> None:
    first = batch_at(0, 100, 100, 7)
    assert (first == batch_at(0, 100, 100, 7)).all()
    assert (first != batch_at(1, 100, 100, 7)).any()
    assert (first != batch_at(0, 100, 100, 8)).any()


@given(sizes, st.integers(1, 600))
def test_groups_hold_every_input_once_within_the_tokens(lengths: list[int], tokens: int) -> None:
    found = groups(lengths, tokens)
    assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
    assert all(len(group) == 1 or len(group) * max(lengths[i] for i in group) <= tokens for group in found)


def test_real_lengths_are_padded_little() -> None:
    lengths = np.random.default_rng(0).lognormal(np.log(12), 0.5, 256).astype(int) + 2
    spent = sum(len(group) * lengths[group].max() for group in groups(lengths, 1024))
    assert spent < 1.25 * lengths.sum()
    assert len(lengths) * lengths.max() > 2 * lengths.sum()  # what one padded batch would cost


@given(sizes)
def test_padding_keeps_the_ids(lengths: list[int]) -> None:
    rows = [np.arange(1, length + 1, dtype=np.int32) for length in lengths]
    ids, sizes = padded(rows)
    assert sizes.tolist() == lengths
    assert all(ids[i, : len(row)].tolist() == row.tolist() and not ids[i, len(row) :].any() for i, row in enumerate(rows))


def test_the_suggested_length_holds_99_of_100_inputs() -> None:
    assert suggested_length([20] * 98 + [61, 62], 512) == 64
    assert suggested_length([5], 512) == 32
    assert suggested_length([4000] * 10, 512) == 512
