"""Options of the local backend, for tuning and for prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from tunepipe.errors import UsageError

if TYPE_CHECKING:
    import torch

MODES = ("lora", "qlora", "full")
ENGINES = ("transformers", "vllm")
PRECISIONS = ("float32", "bfloat16")
_CHOICES = {"tuning_mode": MODES, "engine": ENGINES, "precision": PRECISIONS}
_T = TypeVar("_T")


@dataclass(frozen=True)
class TuningOptions:
    """The options of `tune`; 0 and "" mean "choose for me".

    Args:
        tuning_mode: "lora", "qlora" (4-bit base; needs bitsandbytes) or "full". The tiny
            model from nothing is always trained in full.
        lora_rank: The rank of LoRA's matrices, >= 1.
        lora_alpha: LoRA's scale; the update is multiplied by alpha / rank.
        target_modules: The modules that LoRA adapts, separated by commas, or "all-linear".
        merge: Write the tuned model whole instead of an adapter, which is then in adapter/.
        learning_rate: The recommended rate, before the multiplier; 0 takes the mode's own.
        max_tokens: The most tokens a row may have; 0 takes what the model can read, up to 4096.
        micro_batch_size: Most rows through the model at once; 0 takes what fits into memory.
        packing: Lay short rows one after the other instead of padding them.
        gradient_checkpointing: Compute activations twice instead of keeping them; where memory asks
            for it, it is the default.
        beta: How closely DPO keeps to the model before tuning, > 0; for preference rows alone.
        early_stopping: Stop after this many evaluations without a better loss, and keep the best
            weights; 0 trains to the end.
        evaluate_every: Steps between evaluations; 0 takes a tenth of the run.
        checkpoint_every: Steps between checkpoints; 0 takes a tenth of the run.
        checkpoint_dir: Where they go; "" takes the output folder.
        device: "cpu", "cuda" or "cuda:N"; "" takes a GPU if there is one.
        precision: "float32" or "bfloat16"; "" takes bfloat16 on a GPU that computes in it.
        processes: Processes that share the rows of each step; 0 takes one a GPU, and one on a CPU.
        accelerate_config: How they share the model: an accelerate YAML file, or one of those that
            come with TRL (fsdp2, zero2, zero3); "" gives each process the whole model.
        threads: CPU threads; more than one is slower for small models on a busy machine.
    """

    tuning_mode: str = "lora"
    lora_rank: int = 16
    lora_alpha: int = 32
    target_modules: str = "all-linear"
    merge: bool = False
    learning_rate: float = 0.0
    max_tokens: int = 0
    micro_batch_size: int = 0
    packing: bool = False
    gradient_checkpointing: bool = False
    beta: float = 0.1
    early_stopping: int = 0
    evaluate_every: int = 0
    checkpoint_every: int = 0
    checkpoint_dir: str = ""
    device: str = ""
    precision: str = ""
    processes: int = 0
    accelerate_config: str = ""
    threads: int = 1


@dataclass(frozen=True)
class PredictionOptions:
    """The settings of `predict`.

    Args:
        max_output_tokens: The longest answer, >= 1.
        batch_size: Prompts at once.
        engine: "transformers" or "vllm"; "" takes vLLM if it is installed and worth its start.
        device: As in `TuningOptions`.
        precision: As in `TuningOptions`.
        four_bit: Hold the weights in 4 bits, as "qlora" does; needs bitsandbytes.
        threads: As in `TuningOptions`.
    """

    max_output_tokens: int = 256
    batch_size: int = 32
    engine: str = ""
    device: str = ""
    precision: str = ""
    four_bit: bool = False
    threads: int = 1


def read_options(kind: type[_T], values: Mapping[str, Any]) -> _T:
    """Check options and fill in the rest.

    Args:
        kind: TuningOptions or PredictionOptions.
        values: Names and values. Whole numbers may come as 16.0: KFP makes floats of them.

    Raises:
        UsageError: A name that is not known, or a value of the wrong type or out of range.
    """
    defaults = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in defaults:
            close = get_close_matches(name, defaults, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise UsageError(
                f"the local backend has no option {name!r}",
                where=name,
                fix=f"{hint}It takes {', '.join(sorted(defaults))}",
            )
    checked = {name: _check(name, value, defaults[name]) for name, value in values.items()}
    return kind(**checked)


def _check(name: str, value: Any, default: Any) -> Any:
    kind = type(default)
    if kind in (int, float) and type(value) in (int, float):
        if value == kind(value) >= _least(name):
            return kind(value)
    elif type(value) is kind and value in (default, *_CHOICES.get(name, (value,))):
        return value
    raise UsageError(
        f"{value!r} is not a value of this option: it takes {_domain(name, kind)}",
        where=name,
        fix=f"leave it out to get {default!r}",
    )


def _least(name: str) -> int:
    return int(name in ("lora_rank", "lora_alpha", "batch_size", "max_output_tokens", "threads"))


def _domain(name: str, kind: type) -> str:
    if kind in (int, float):
        return f"a {'whole number' if kind is int else 'number'} from {_least(name)} up"
    if name in _CHOICES:
        return f"one of {', '.join(_CHOICES[name])}"
    return "true or false" if kind is bool else "a text"


def dtype_of(precision: str, device: str) -> torch.dtype:
    """Return a model's computing type.

    Args:
        precision: "float32" or "bfloat16"; "" takes bfloat16 on a GPU that computes in it, else
            float32. GPUs before Ampere only emulate it, slowly.
        device: "cpu", "cuda" or "cuda:N".
    """
    import torch

    if precision:
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    has_it = device != "cpu" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_it else torch.float32
