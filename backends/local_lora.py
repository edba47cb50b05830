"""Loading a base model, fitting it for LoRA, and writing what was tuned."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from tunepipe.core.errors import LimitError, UsageError

from .local_loading import loading
from .local_options import TuningOptions

ADAPTER = "adapter_config.json"


def load_config(name: str) -> Any:
    """Load the configuration of a folder or hub id."""
    from transformers import AutoConfig

    with loading(name) as where:
        return AutoConfig.from_pretrained(name, **where)


def load_base(name: str, options: TuningOptions, device: str) -> Any:
    """Load a base model onto `device`, ready to be trained.

    With LoRA the base is frozen, in bfloat16 on a GPU; in full tuning weights are float32 and the
    computation on a GPU is bfloat16.
    """
    from transformers import AutoModelForCausalLM

    settings: dict[str, Any] = {"dtype": torch.float32}
    if options.tuning_mode == "qlora":
        settings = _four_bit(device)
    elif options.tuning_mode == "lora" and device != "cpu":
        settings = {"dtype": torch.bfloat16}
    with loading(name) as where:
        model = AutoModelForCausalLM.from_pretrained(name, **settings, **where)
    if options.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if options.tuning_mode == "qlora":
        return model
    return model.to(device)


def adapt(model: Any, options: TuningOptions, seed: int) -> Any:
    """Freeze `model` and lay LoRA matrices over it; the seed gives their start."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    named = options.target_modules
    targets = named if named == "all-linear" else [part.strip() for part in named.split(",")]
    config = LoraConfig(
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise UsageError(
            "the model has no modules of these names",
            where="target_modules",
            fix="use all-linear, or names such as q_proj,v_proj",
        ) from error


def save(model: Any, tokenizer: Any, folder: Path, *, merge: bool) -> None:
    """Write model and tokenizer in Hugging Face layout.

    Args:
        model: A whole model, or one under LoRA.
        tokenizer: Its tokenizer.
        folder: Where to.
        merge: Write a model under LoRA whole, and its adapter into adapter/.
    """
    if merge and hasattr(model, "merge_and_unload"):
        _save_quietly(model, folder / "adapter")
        model = _merged(model, folder / "adapter")
    _save_quietly(model, folder)
    tokenizer.save_pretrained(folder)


def load_tuned(name: str, device: str) -> Any:
    """Load what `save` wrote, or any model by name, for prediction; an adapter is merged."""
    from transformers import AutoModelForCausalLM

    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    if (Path(name) / ADAPTER).exists():
        from peft import AutoPeftModelForCausalLM

        with loading(name):
            model = AutoPeftModelForCausalLM.from_pretrained(name, dtype=dtype).merge_and_unload()
    else:
        with loading(name) as where:
            model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, **where)
    return model.to(device).eval()


def _merged(model: Any, adapter: Path) -> Any:
    """Merge LoRA into its base; one in 4 bits is read anew, as merging would round it again."""
    if not getattr(model.get_base_model(), "is_loaded_in_4bit", False):
        return model.merge_and_unload()
    from peft import AutoPeftModelForCausalLM

    return AutoPeftModelForCausalLM.from_pretrained(adapter, dtype="auto").merge_and_unload()


def _save_quietly(model: Any, folder: Path) -> None:
    # "auto" would ask the hub whether the vocabulary was changed; it never is here.
    adapter = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    model.save_pretrained(folder, **adapter)


def _four_bit(device: str) -> dict[str, Any]:
    if device == "cpu" or not importlib.util.find_spec("bitsandbytes"):
        raise LimitError(
            "qlora needs a GPU and the package bitsandbytes",
            where="tuning_mode",
            fix="pip install bitsandbytes on a machine with a GPU, or use lora",
        )
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": quantization, "device_map": {"": device}}
