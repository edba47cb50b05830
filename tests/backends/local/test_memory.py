"""The memory that a run needs, estimated before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import trl
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from msgspec.structs import replace

from tunepipe.backends.local import base_tuning, launching
from tunepipe.backends.local.memory import (
    Size,
    fit,
    memory_bytes,
    require_room_to_answer,
    size_of,
    training_bytes,
)
from tunepipe.backends.local.options import LocalOptions
from tunepipe.errors import LimitError

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
    return replace(LocalOptions(micro_batch_size=8), **changes)


@pytest.mark.parametrize(
    ("mode", "number_bytes", "needed", "checkpointed"),
    [
        # 6.74 G parameters of 16 bytes, 18.3 GB of activations and 1.6 of logits; a tenth more.
        ("full", 2, 140_673_672_806, 122_403_284_582),
        ("full", 4, 160_752_644_915, 124_211_868_467),
        ("lora", 2, 52_960_174_899, 19_815_106_970),
        ("lora", 4, 103_218_169_446, 36_928_033_587),
        ("qlora", 2, 42_417_238_148, 9_272_170_218),
        ("qlora", 4, 78_428_020_868, 12_137_885_008),
    ],
)
def test_the_estimate_of_a_known_model(mode, number_bytes, needed, checkpointed):
    for is_checkpointed, expected in ((False, needed), (True, checkpointed)):
        chosen = options(tuning_mode=mode, gradient_checkpointing=is_checkpointed)
        assert training_bytes(SEVEN_BILLION, chosen, 8 * 512, number_bytes) == expected
        one = replace(chosen, micro_batch_size=1)
        assert fit(SEVEN_BILLION, one, 8 * 512, expected, number_bytes) == (one, expected)
        if not is_checkpointed:
            less = fit(SEVEN_BILLION, one, 8 * 512, expected - 1, number_bytes)
            assert less == (replace(one, gradient_checkpointing=True), checkpointed)


@pytest.mark.parametrize(
    ("mode", "needed"),
    [
        # An eighth of 16 bytes a parameter, 4 of a layer, embedding and head; the rest as above.
        ("full", 38_947_128_115),
        ("lora", 40_395_607_552),
        ("qlora", 42_417_238_148),
    ],
)
def test_eight_processes_share_weights_and_optimizer(mode, needed):
    chosen = options(tuning_mode=mode)
    assert training_bytes(SEVEN_BILLION, chosen, 8 * 512, 2, shards=8) == needed
    one = replace(chosen, micro_batch_size=1)
    assert fit(SEVEN_BILLION, one, 8 * 512, needed, 2, shards=8) == (one, needed)
    if mode == "full":
        with pytest.raises(LimitError):
            fit(SEVEN_BILLION, one, 8 * 512, needed, 2)


@pytest.mark.parametrize(
    ("configuration", "shards"),
    [("fsdp1", 8), ("fsdp2", 8), ("zero1", 1), ("zero2", 1), ("zero3", 8), ("", 1)],
)
def test_weights_are_shared_by_fsdp_and_zero3(monkeypatch, configuration, shards):
    """By what accelerate itself tells its processes of a configuration of TRL."""
    for name in (*base_tuning._SHARED_BY_FSDP, base_tuning._ZERO_STAGE):
        monkeypatch.delenv(name, raising=False)
    file = Path(trl.__file__).parent / "accelerate_configs" / f"{configuration}.yaml"
    command = launching.launch_command(8, str(file) if configuration else "")
    arguments = launch_command_parser().parse_args([*command[3:], "work.json"])
    arguments, read, _ = _validate_launch_command(arguments)
    if arguments.use_deepspeed:
        arguments.deepspeed_fields_from_accelerate_config = ",".join(read.deepspeed_config)
        _, environment = prepare_deepspeed_cmd_env(arguments)
    else:
        environment = prepare_multi_gpu_env(arguments)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert base_tuning.shards_of(8) == shards
    monkeypatch.setenv("FSDP_SHARDING_STRATEGY", "SHARD_GRAD_OP")
    assert base_tuning.shards_of(8) == (1 if "fsdp" in configuration else shards)


@pytest.mark.parametrize("mode", ["full", "lora", "qlora"])
@pytest.mark.parametrize("number_bytes", [2, 4])
def test_less_at_once_or_recomputed_needs_less(mode, number_bytes):
    chosen = options(tuning_mode=mode)
    whole, half = (training_bytes(SEVEN_BILLION, chosen, n, number_bytes) for n in (4096, 2048))
    again = replace(chosen, gradient_checkpointing=True)
    assert half < whole
    assert training_bytes(SEVEN_BILLION, again, 4096, number_bytes) < whole


@pytest.mark.parametrize(
    ("free_gib", "checkpointing", "rows"), [(80, False, 8), (40, False, 4), (17, True, 4)]
)
def test_less_memory_means_fewer_rows_at_once_and_then_checkpoints(free_gib, checkpointing, rows):
    found, needed = fit(SEVEN_BILLION, options(), 512, free_gib * GIB, number_bytes=2)
    assert (found.gradient_checkpointing, found.micro_batch_size) == (checkpointing, rows)
    assert needed <= free_gib * GIB
    assert (found.tuning_mode, found.lora_rank) == ("lora", options().lora_rank)


@pytest.mark.parametrize(
    ("free_gib", "mode", "fix"),
    [
        (24, "full", "it fits with tuning_mode lora"),
        (7, "lora", "it fits with tuning_mode qlora"),
        (1, "full", "take a smaller base model"),
    ],
)
def test_a_run_that_cannot_fit_is_refused_with_what_would(free_gib, mode, fix):
    with pytest.raises(LimitError) as caught:
        fit(SEVEN_BILLION, options(tuning_mode=mode), 512, free_gib * GIB, number_bytes=2)
    assert f"{free_gib:.1f} are free" in caught.value.found
    assert caught.value.fix.startswith(fix)


@pytest.mark.parametrize("free_gib", [6, 8, 12, 16, 24, 48, 80])
def test_what_is_advised_does_fit(free_gib):
    with pytest.raises(LimitError) as caught:
        fit(SEVEN_BILLION, options(tuning_mode="full"), 512, free_gib * GIB, number_bytes=2)
    advised = options(tuning_mode=caught.value.fix.rsplit(" ", 1)[1])
    assert fit(SEVEN_BILLION, advised, 512, free_gib * GIB, number_bytes=2)[1] <= free_gib * GIB


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


@pytest.mark.parametrize(
    ("number_bytes", "four_bit", "needed"),
    [
        (2, False, 15_268_848_435),
        (4, False, 30_093_362_790),
        (2, True, 4_725_911_684),
        (4, True, 5_303_214_212),
    ],
)
def test_a_model_that_just_fits_is_asked(number_bytes, four_bit, needed):
    require_room_to_answer(SEVEN_BILLION, needed, number_bytes, four_bit)
    with pytest.raises(LimitError):
        require_room_to_answer(SEVEN_BILLION, needed - 1, number_bytes, four_bit)


def test_a_model_is_measured_by_its_configuration():
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=32_000, hidden_size=4096, intermediate_size=11_008, num_hidden_layers=32
    )
    # Llama 2 7B, as Meta counts it; its LoRA of rank 16 on all linear layers as peft counts it.
    assert size_of(config, 16) == SEVEN_BILLION


def test_the_memory_of_this_machine_is_known():
    free, whole = memory_bytes("cpu")
    assert 2**20 < free < whole < 2**50
