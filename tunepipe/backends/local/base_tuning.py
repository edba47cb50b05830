"""Tuning a base model in one process: rows, memory, model, training, and what is written."""

from __future__ import annotations

import dataclasses
import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace

from tunepipe.backends.local.backend import parameter_counts
from tunepipe.backends.local.base_model import (
    check_base_model,
    commit_of,
    context_of,
    dtype_of,
    load_tokenizer,
    quantization_of,
    split_revision,
)
from tunepipe.backends.local.memory import fit, memory_bytes, size_of
from tunepipe.backends.local.pretrained import adapt, load_base, save
from tunepipe.backends.local.rows import encode
from tunepipe.backends.local.trainer import micro_batch_size, train
from tunepipe.backends.local.training import MAX_TOKENS, SAMPLE_ROWS, TrainingTask
from tunepipe.errors import LimitError
from tunepipe.progress import Progress

_SHARED_BY_FSDP = {
    "ACCELERATE_USE_FSDP": ("true",),
    "FSDP_RESHARD_AFTER_FORWARD": ("true", "full_shard"),
    "FSDP_SHARDING_STRATEGY": ("full_shard", "1"),  # as FSDP 1 was told it
}
_ZERO_STAGE = "ACCELERATE_DEEPSPEED_ZERO_STAGE"
_RATES = {"lora": 2e-4, "qlora": 2e-4, "full": 2e-5}
_PREFERENCE_RATES = {"lora": 1e-5, "qlora": 1e-5, "full": 1e-6}  # TRL's, ten times it for LoRA


def tune_here(task: TrainingTask, progress: Progress) -> dict[str, Any]:
    """Do this process's part of tuning a base model, and return the statistics."""
    request, options, device = task.request, task.options, task.device
    config = check_base_model(request.base_model, options)
    # The commit that was loaded is the model from here on, and in the report.
    if commit := commit_of(request.base_model):
        pinned = f"{split_revision(request.base_model)[0]}@{commit}"
        request = dataclasses.replace(request, base_model=pinned)
    tokenizer = load_tokenizer(request.base_model)
    # Rows, as tokens.
    most = options.max_tokens or min(MAX_TOKENS, context_of(config))
    rows, held_out = (encode(tokenizer, part, most) for part in task.read_rows())
    by_preference = bool(rows[0].rejected)
    # How they pass through the model: as many at once as the memory holds.
    if quantization_of(config):
        task = dataclasses.replace(task, options=replace(options, tuning_mode="qlora"))
    dtype = dtype_of(options.precision, device)
    rates = _PREFERENCE_RATES if by_preference else _RATES
    options, needed_bytes = fit(
        size_of(config, options.lora_rank),
        replace(
            task.settle(rates[task.options.tuning_mode]),
            micro_batch_size=options.micro_batch_size or request.batch_size // task.processes,
            precision=str(dtype).removeprefix("torch."),
        ),
        longest=max(map(len, (*rows, *held_out))) * (2 if by_preference else 1),
        free_bytes=memory_bytes(device)[0] // (task.processes if device == "cpu" else 1),
        number_bytes=dtype.itemsize,
        shards=shards_of(task.processes),
    )
    micro = micro_batch_size(request.batch_size, task.processes, options.micro_batch_size)
    options = replace(options, micro_batch_size=micro)
    task = dataclasses.replace(task, request=request, options=options)
    # The model, and its training.
    is_placed = not options.accelerate_config
    model = load_base(request.base_model, tokenizer, options, device, placed=is_placed)
    if options.tuning_mode != "full":
        model = adapt(model, request.base_model, options, request.seed)
    counts = parameter_counts(model)
    try:
        evaluated = held_out or rows[:SAMPLE_ROWS]
        trainer, outcome = train(model, tokenizer, rows, evaluated, task, progress)
    except torch.OutOfMemoryError as error:  # a GPU's; others use its memory too
        raise LimitError(
            f"the memory of {device} ran out, which the estimate of "
            f"{needed_bytes / 2**30:.1f} GiB did not foresee",
            where="micro_batch_size",
            fix=f"lower it (it was {micro}), set gradient_checkpointing, or end "
            "what else uses the GPU; the run goes on from its last checkpoint",
        ) from error
    statistics = outcome.statistics()
    # What is written.
    whole = _gathered(trainer)
    if trainer.is_world_process_zero():
        save(
            whole,
            tokenizer,
            Path(task.folder),
            merge=options.merge,
            precision=options.precision,
            is_sharded=_is_sharded(trainer),
        )
    method = "DPO, " if by_preference else ""
    note = (
        f"{request.base_model} tuned on {len(rows):,} rows ({method}{options.tuning_mode}): "
        f"{counts['trained_parameters']:,} parameters were trained."
    )
    if len(tokenizer) > config.get_text_config().vocab_size:
        note += f" Its embedding was enlarged to the {len(tokenizer):,} tokens of its tokenizer."
    return {
        **statistics,
        **counts,
        "memory_estimated_bytes": needed_bytes,
        "micro_batch_size": micro,
        "gradient_checkpointing": options.gradient_checkpointing,
        "device": device,
        "processes": task.processes,
        "base_model": request.base_model,
        "base_revision": commit,
        "note": note,
    }


def shards_of(processes: int) -> int:
    """Return over how many processes accelerate shares the weights, by what it told this one.

    1 for what shares less (ZeRO-1, ZeRO-2, FSDP that does not reshard), or does not tell it.
    """
    is_fsdp = all(
        os.environ.get(name, "").lower() in told for name, told in _SHARED_BY_FSDP.items()
    )
    return processes if is_fsdp or os.environ.get(_ZERO_STAGE) == "3" else 1


def _gathered(trainer: Any) -> Any:
    """Return the trained model whole, where its processes hold it in shards (FSDP, ZeRO-3)."""
    accelerator = trainer.accelerator
    if _is_sharded(trainer):
        state = accelerator.get_state_dict(trainer.model_wrapped)
        model = accelerator.unwrap_model(trainer.model_wrapped)
        model.save_pretrained = partial(model.save_pretrained, state_dict=state)
        return model
    return accelerator.unwrap_model(trainer.model)


def _is_sharded(trainer: Any) -> bool:
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)
