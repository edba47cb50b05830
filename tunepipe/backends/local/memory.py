"""Estimates a training run's memory before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tunepipe.backends.local.options import LocalOptions
from tunepipe.errors import LimitError

_GIB = 2**30
_UNKNOWN = 1 << 62
# Bytes per parameter: AdamW keeps two float32 moments and the float32 gradient.
_OPTIMIZER_BYTES = 12
_FOUR_BIT_BYTES = 0.52  # nf4 and its constants, which are quantized too
# Bytes a token, layer and hidden unit in 16 bits, without the attention matrix, which the fused
# kernels never keep: Korthikanti et al. 2022, "Reducing Activation Recomputation in Large
# Transformer Models", equation 1.
_ACTIVATION_BYTES = 34
_LORA_ACTIVATION_BYTES = 60  # measured with peft 0.21.2: 1.7 times those of full tuning
_CHECKPOINTED_BYTES = 2
_LOGIT_BYTES = 12  # the logits, their float32 copy, its gradient
_PROCESS_BYTES = _GIB // 4
_MARGIN = 1.1


@dataclass(frozen=True)
class Size:
    """A model's size.

    Args:
        linear_parameters: Those of the linear layers but the last: what 4 bits can hold.
        adapter_parameters: Those that LoRA would add, at the rank given.
        hidden: The width of a layer.
    """

    parameters: int
    linear_parameters: int
    adapter_parameters: int
    layers: int
    hidden: int
    vocabulary: int


def size_of(config: Any, rank: int) -> Size:
    """Measure a model by its configuration; no weight is loaded or made."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    text = config.get_text_config()
    return Size(
        parameters=sum(p.numel() for p in model.parameters()),
        linear_parameters=sum(m.weight.numel() for m in linear),
        adapter_parameters=sum(rank * (m.in_features + m.out_features) for m in linear),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        vocabulary=text.vocab_size,
    )


def training_bytes(
    size: Size, options: LocalOptions, tokens: int, number_bytes: int, shards: int = 1
) -> int:
    """Estimate the most memory that a process of a run holds at once.

    On a CPU it was within a fifth of what a Llama of 46 M parameters took, in full and with LoRA,
    with and without gradient checkpointing. `tokens` pass through the model at once, padding
    counted; `number_bytes` are those of a number in the computation, 2 or 4. `shards` processes
    share weights, gradients and optimizer; embedding, head and a layer at a time are whole in each.
    """
    lora = options.tuning_mode != "full"
    width = number_bytes // 2
    trained = size.adapter_parameters if lora else size.parameters
    layer = _LORA_ACTIVATION_BYTES if lora else _ACTIVATION_BYTES
    is_checkpointed = options.gradient_checkpointing
    kept = size.layers * (_CHECKPOINTED_BYTES if is_checkpointed else layer)
    activations = size.hidden * width * tokens * (kept + (layer if is_checkpointed else 0))
    logits = tokens * size.vocabulary * _LOGIT_BYTES
    weights = _weight_bytes(size, options.tuning_mode, number_bytes)
    held = weights + trained * _OPTIMIZER_BYTES
    if shards > 1 and options.tuning_mode != "qlora":  # weights in 4 bits are not shared
        ends = size.parameters - size.linear_parameters  # embedding and head
        gathered = ends + size.linear_parameters / size.layers
        held = held / shards + gathered * (number_bytes if lora else 4)
    needed = held + activations + logits
    return round(needed * _MARGIN) + _PROCESS_BYTES


def fit(
    size: Size,
    options: LocalOptions,
    longest: int,
    free_bytes: int,
    number_bytes: int,
    shards: int = 1,
) -> tuple[LocalOptions, int]:
    """Fit a run into memory, and return its options with the bytes that it needs.

    Rows at once are halved, and gradients checkpointed, only as far as the memory asks for it:
    neither changes what is learnt. A LimitError names a mode that fits, if there is one.
    """

    def needed(changed: LocalOptions) -> int:
        tokens = changed.micro_batch_size * longest
        return training_bytes(size, changed, tokens, number_bytes, shards)

    ways = list(_smaller(options))
    fits = next((way for way in ways if needed(way) <= free_bytes), None)
    if fits and fits.tuning_mode == options.tuning_mode:
        return fits, needed(fits)
    least = min(needed(way) for way in ways if way.tuning_mode == options.tuning_mode)
    raise LimitError(
        f"the run needs about {least / _GIB:.1f} GiB of memory and "
        f"{free_bytes / _GIB:.1f} are free",
        where="base_model",
        fix=f"it fits with tuning_mode {fits.tuning_mode}"
        if fits
        else "take a smaller base model, shorter rows or a machine with more memory",
    )


def require_room_to_answer(size: Size, free_bytes: int, number_bytes: int, four_bit: bool) -> None:
    """Refuse a model whose weights cannot be held."""
    mode = "qlora" if four_bit else "lora"
    needed = round(_weight_bytes(size, mode, number_bytes) * _MARGIN) + _PROCESS_BYTES
    if needed > free_bytes:
        raise LimitError(
            f"the model needs about {needed / _GIB:.1f} GiB of memory to answer and "
            f"{free_bytes / _GIB:.1f} are free",
            where="model",
            fix="take a smaller model or a machine with more memory"
            if four_bit
            else "ask it with four_bit, or on a machine with more memory",
        )


def memory_bytes(device: str) -> tuple[int, int]:
    """Return the free memory, within a container's limit, and the whole: the GPU's or ours."""
    import psutil
    import torch

    if device.startswith("cuda"):
        free, whole = torch.cuda.mem_get_info(torch.device(device))
        return int(free), int(whole)
    machine = psutil.virtual_memory()
    return min(machine.available, _container_room()), machine.total


def _weight_bytes(size: Size, mode: str, number_bytes: int) -> float:
    if mode == "full":
        return size.parameters * 4
    frozen = size.parameters * number_bytes
    if mode == "qlora":
        frozen -= round(size.linear_parameters * (number_bytes - _FOUR_BIT_BYTES))
    return frozen + size.adapter_parameters * 4


def _smaller(options: LocalOptions) -> Iterator[LocalOptions]:
    """Yield the ways to need less, the one that changes least first."""
    modes = ("full", "lora", "qlora")
    halvings = range(options.micro_batch_size.bit_length())
    for mode, checkpointing, halved in product(
        modes[modes.index(options.tuning_mode) :],
        sorted({options.gradient_checkpointing, True}),
        halvings,
    ):
        yield replace(
            options,
            tuning_mode=mode,
            gradient_checkpointing=checkpointing,
            micro_batch_size=options.micro_batch_size >> halved,
        )


def _container_room() -> int:
    """Return the memory that a container's limit leaves; the cached files count as free."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = int((folder / "memory.max").read_text(encoding="ascii"))
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        parts = (folder / "memory.stat").read_text(encoding="ascii").split()
    except (OSError, ValueError):  # not Linux, or no limit ("max")
        return _UNKNOWN
    return max(0, limit - used + int(parts[parts.index("inactive_file") + 1]))
