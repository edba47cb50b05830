"""The order of rows, their division, and the memory a run needs."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.backends.local.batches import Layout, Row, batches, micro_batches, packed, padded
from tunepipe.backends.local.memory import (
    Size,
    free_bytes,
    require_room,
    require_room_to_answer,
    size_of,
    total_bytes,
    training_bytes,
)
from tunepipe.backends.local.options import TuningOptions
from tunepipe.backends.local.training import rate_at
from tunepipe.errors import LimitError

quick = settings(deadline=None, max_examples=60)
lengths = st.lists(st.integers(1, 50), min_size=1, max_size=80)


def row(length):
    return Row(list(range(length)), [0.0] + [1.0] * (length - 1))


@quick
@given(lengths, st.integers(1, 20), st.integers(0, 3))
def test_an_epoch_reads_every_row_once(lengths, size, seed):
    steps = -(-len(lengths) // size)
    epochs = list(islice(batches(lengths, size, seed), 2 * steps))
    for epoch in (epochs[:steps], epochs[steps:]):
        assert sorted(n for batch in epoch for n in batch) == list(range(len(lengths)))
        assert sum(len(batch) == size for batch in epoch) >= steps - 1


@quick
@given(lengths, st.integers(1, 20), st.integers(0, 3))
def test_the_order_depends_on_the_seed_alone(lengths, size, seed):
    first, second = (list(islice(batches(lengths, size, seed), 9)) for _ in range(2))
    assert first == second


def test_batches_of_like_length_save_most_of_the_padding():
    lengths = [n % 97 + 3 for n in range(640)]
    batch = list(islice(batches(lengths, 16, 0), 40))
    filled = sum(len(b) * max(lengths[n] for n in b) for b in batch)
    assert sum(lengths) / filled > 0.85
    assert len({tuple(sorted(b)) for b in batch}) == 40


@quick
@given(lengths, st.integers(1, 9), st.sampled_from([0, 60, 200]))
def test_a_step_is_divided_without_loss(lengths, size, line):
    rows = [row(length) for length in lengths]
    parts = micro_batches(rows, Layout(size, line, pad=0))
    assert sorted(len(r.ids) for part in parts for r in part) == sorted(lengths)
    if line:
        assert all(sum(len(r.ids) for r in part) <= line for part in parts)
    else:
        assert all(0 < len(part) <= size for part in parts)


def test_a_row_longer_than_a_line_has_a_line_of_its_own():
    assert [len(part) for part in micro_batches([row(9), row(2), row(2)], Layout(1, 5, pad=0))] == [
        1,
        2,
    ]


def test_padding_weighs_nothing_and_is_masked():
    inputs, weights = padded([row(2), row(4)], pad=99)
    assert inputs["input_ids"].tolist() == [[0, 1, 99, 99], [0, 1, 2, 3]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert weights.tolist() == [[0, 1, 0, 0], [0, 1, 1, 1]]


def test_packed_rows_begin_their_positions_anew():
    inputs, weights = packed([row(2), row(3)])
    assert inputs["input_ids"].tolist() == [[0, 1, 0, 1, 2]]
    assert inputs["position_ids"].tolist() == [[0, 1, 0, 1, 2]]
    assert weights.tolist() == [[0, 1, 0, 1, 1]]


@pytest.mark.parametrize("steps", [1, 2, 19, 20, 466])
def test_the_rate_climbs_to_its_peak_and_falls_towards_nought(steps):
    rates = [rate_at(step, steps) for step in range(1, steps + 1)]
    top = rates.index(max(rates))
    assert max(rates) == 1
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert all(rate > 0 for rate in rates)
    if steps > 19:
        assert rates[-1] < 0.05


SEVEN_BILLION = Size(
    parameters=6_738_415_616,
    linear_parameters=6_476_005_376,
    adapter_parameters=39_976_960,
    layers=32,
    hidden=4096,
    vocabulary=32_000,
)
GIB = 2**30


def options(**changes):
    return replace(TuningOptions(micro_batch_size=8), **changes)


@pytest.mark.parametrize(
    ("mode", "low", "high"),
    # Weights and optimizer alone: 16 bytes a parameter in full, 2 a frozen one, 0.6 in 4 bits.
    [("full", 100, 150), ("lora", 13, 60), ("qlora", 4, 50)],
)
def test_the_estimate_of_a_known_model(mode, low, high):
    needed = training_bytes(SEVEN_BILLION, options(tuning_mode=mode), 8 * 512, number_bytes=2)
    assert low < needed / GIB < high


@pytest.mark.parametrize("mode", ["full", "lora", "qlora"])
@pytest.mark.parametrize("number_bytes", [2, 4])
def test_less_at_once_or_recomputed_needs_less(mode, number_bytes):
    chosen = options(tuning_mode=mode)
    whole, half = (training_bytes(SEVEN_BILLION, chosen, n, number_bytes) for n in (4096, 2048))
    again = replace(chosen, gradient_checkpointing=True)
    assert half < whole
    assert training_bytes(SEVEN_BILLION, again, 4096, number_bytes) < whole


@pytest.mark.parametrize(
    ("free_gib", "mode", "fix"),
    [
        (40, "lora", "it fits with micro_batch_size 4"),
        (17, "lora", "it fits with gradient_checkpointing true, micro_batch_size 4"),
        (24, "full", "it fits with tuning_mode lora, micro_batch_size 2"),
        (7, "lora", "it fits with tuning_mode qlora"),
        (1, "full", "take a smaller base model"),
    ],
)
def test_a_run_that_cannot_fit_is_refused_with_what_would(free_gib, mode, fix):
    with pytest.raises(LimitError) as caught:
        require_room(SEVEN_BILLION, options(tuning_mode=mode), 512, free_gib * GIB, number_bytes=2)
    assert f"{free_gib:.1f} are free" in caught.value.found
    assert caught.value.fix.startswith(fix)


@pytest.mark.parametrize("free_gib", [6, 8, 12, 16, 24, 48, 80])
def test_what_is_advised_does_fit(free_gib):
    chosen = options(tuning_mode="full")
    with pytest.raises(LimitError) as caught:
        require_room(SEVEN_BILLION, chosen, 512, free_gib * GIB, number_bytes=2)
    advice = dict(change.rsplit(" ", 1) for change in caught.value.fix[13:].split(", "))
    advised = replace(
        chosen,
        tuning_mode=advice.get("tuning_mode", "full"),
        micro_batch_size=int(advice.get("micro_batch_size", 8)),
        gradient_checkpointing="gradient_checkpointing" in advice,
    )
    assert (
        require_room(SEVEN_BILLION, advised, 512, free_gib * GIB, number_bytes=2) <= free_gib * GIB
    )


@pytest.mark.parametrize(
    ("free_gib", "number_bytes", "four_bit", "fits"),
    # 6.7 G parameters: 12.6 GiB in 16 bits, 25.1 in 32; in 4, 3.1 and the embeddings' 0.5.
    [(16, 2, False, True), (12, 2, False, False), (16, 4, False, False), (6, 2, True, True)],
)
def test_a_model_that_cannot_be_held_is_not_asked(free_gib, number_bytes, four_bit, fits):
    needed = (SEVEN_BILLION, free_gib * GIB, number_bytes, four_bit)
    if fits:
        require_room_to_answer(*needed)
    else:
        with pytest.raises(LimitError, match=f"{free_gib}.0 are free") as caught:
            require_room_to_answer(*needed)
        assert "four_bit" in caught.value.fix


def test_a_model_is_measured_by_its_configuration():
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=32_000, hidden_size=4096, intermediate_size=11_008, num_hidden_layers=32
    )
    # Llama 2 7B, as Meta counts it; its LoRA of rank 16 on all linear layers as peft counts it.
    assert size_of(config, 16) == SEVEN_BILLION


def test_the_memory_of_this_machine_is_known():
    assert 2**20 < free_bytes("cpu") < total_bytes("cpu") < 2**50
