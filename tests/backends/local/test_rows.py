"""The order in which rows are read, and how a step is divided."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.backends.local.rows import TokenRow, batches, reading_order
from tunepipe.backends.local.trainer import micro_batch_size

quick = settings(deadline=None, max_examples=60)
lengths = st.lists(st.integers(1, 50), min_size=1, max_size=80)


@quick
@given(lengths, st.integers(1, 20), st.integers(0, 3), st.booleans())
def test_an_epoch_reads_every_row_once(lengths, size, seed, alike):
    steps = -(-len(lengths) // size)
    epochs = list(islice(batches(lengths, size, seed, alike=alike), 2 * steps))
    for epoch in (epochs[:steps], epochs[steps:]):
        assert sorted(n for batch in epoch for n in batch) == list(range(len(lengths)))
        assert sum(len(batch) == size for batch in epoch) >= steps - 1


@quick
@given(lengths, st.integers(1, 20), st.integers(0, 3), st.booleans())
def test_the_order_depends_on_the_seed_alone(lengths, size, seed, alike):
    first, second = (list(islice(batches(lengths, size, seed, alike=alike), 9)) for _ in range(2))
    assert first == second


@quick
@given(lengths, st.integers(1, 20), st.integers(1, 30), st.booleans())
def test_a_longer_training_begins_as_a_shorter_one(lengths, size, steps, alike):
    short, long = (reading_order(lengths, size, n, 0, alike=alike) for n in (steps, steps + 3))
    assert len(short) == size * steps
    assert long[: len(short)] == short
    epochs = size * steps // len(lengths)
    assert sorted(short[: epochs * len(lengths)]) == sorted(list(range(len(lengths))) * epochs)


@pytest.mark.parametrize(
    ("alike", "order"),
    [
        (True, [1, 3, 4, 2, 0, 7, 6, 5, 2, 0, 7, 1, 3, 4, 6]),
        (False, [1, 5, 4, 7, 3, 2, 0, 6, 5, 2, 4, 7, 6, 1, 3]),
    ],
)
def test_the_order_of_a_seed_stays_as_it_is(alike, order):
    """A training that goes on under another version reads what it would have read."""
    lengths = [5, 1, 4, 2, 3, 9, 8, 7]
    assert reading_order(lengths, 3, 5, 7, alike=alike) == order


def test_batches_of_like_length_save_most_of_the_padding():
    lengths = [n % 97 + 3 for n in range(640)]

    def filled(alike):
        batch = list(islice(batches(lengths, 16, 0, alike=alike), 40))
        assert len({tuple(sorted(b)) for b in batch}) == 40
        return sum(lengths) / sum(len(b) * max(lengths[n] for n in b) for b in batch)

    assert filled(alike=True) > 0.85 > 0.6 > filled(alike=False)


@quick
@given(st.integers(1, 12), st.integers(1, 8), st.integers(0, 200))
def test_a_step_is_divided_into_equal_parts(micro, processes, most):
    batch = micro * processes * 3
    found = micro_batch_size(batch, processes, most)
    assert (batch // processes) % found == 0
    assert found <= max(1, most)


def test_a_row_is_as_long_as_its_longer_answer():
    assert [len(TokenRow([1, 2], [3], [])), len(TokenRow([1], [2], [3, 4, 5]))] == [3, 4]
