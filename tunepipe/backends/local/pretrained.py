"""Loading a base model, fitting it for LoRA, and writing what was tuned."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tunepipe.backends.local.options import TuningOptions, dtype_of
from tunepipe.errors import UsageError


@contextmanager
def loading(name: str, what: str = "base_model") -> Iterator[dict[str, Any]]:
    """Yield the arguments that `from_pretrained` needs for `name`; explain what goes wrong.

    Args:
        name: A folder or a hub id.
        what: What the user named it for.

    Raises:
        UsageError: There is no such folder or hub id, or the hub cannot be reached.
    """
    local = Path(name).is_dir()
    try:
        yield {"local_files_only": local}
    except (OSError, ValueError) as error:
        raise UsageError(
            "the folder holds no model in Hugging Face layout"
            if local
            else f"it can be loaded neither from a folder nor from the hub "
            f"({type(error).__name__})",
            where=f"{what} {name}",
            fix="name a folder with config.json, tokenizer and safetensors"
            if local
            else "check the name and the network, log in for gated models (hf auth login), "
            "or download the model and name its folder",
        ) from error


def load_tokenizer(name: str, what: str = "base_model") -> Any:
    """Load the tokenizer of a folder or hub id; one without a padding token pads with its end."""
    from transformers import AutoTokenizer

    with loading(name, what) as where:
        tokenizer = AutoTokenizer.from_pretrained(name, **where)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


ADAPTER = "adapter_config.json"


def load_config(name: str) -> Any:
    """Load the configuration of a folder or hub id.

    Raises:
        UsageError: There is none, or it is not that of a model that writes text.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    with loading(name) as where:
        config = AutoConfig.from_pretrained(name, **where)
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UsageError(
            f"transformers has no model of the kind {config.model_type} that only writes text",
            where=f"base_model {name}",
            fix="take one that does, such as a Llama, a Qwen or a Gemma",
        )
    return config


def adapter_of(name: str) -> dict[str, Any]:
    """Return the configuration of the adapter in a folder; {} for a whole model."""
    file = Path(name) / ADAPTER
    if not file.exists():
        return {}
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def whole_model_of(name: str) -> str:
    """Return the folder or hub id of the whole model: an adapter's base, else `name` itself."""
    return str(adapter_of(name).get("base_model_name_or_path", name))


def load_base(name: str, options: TuningOptions, device: str) -> Any:
    """Load a base model onto `device`, ready to be trained.

    With LoRA the base is frozen, in the type of the computation; in full tuning weights are
    float32, since a small step would be lost in 16 bits.
    """
    from transformers import AutoModelForCausalLM

    dtype = dtype_of(options.precision, device)
    stored = torch.float32 if options.tuning_mode == "full" else dtype
    bits = _four_bit(dtype, "tuning_mode") if options.tuning_mode == "qlora" else None
    with loading(name) as where:
        model = AutoModelForCausalLM.from_pretrained(
            name, dtype=stored, device_map={"": device}, quantization_config=bits, **where
        )
    if options.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return _kept_differentiable(model)


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
            f"LoRA cannot adapt these modules: {error}",
            where="target_modules",
            fix="name others, such as q_proj,v_proj, or set tuning_mode full",
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


def load_tuned(name: str, device: str, precision: str = "", *, four_bit: bool = False) -> Any:
    """Load what `save` wrote, or any model by name, for prediction.

    An adapter is merged into its base, but for one in 4 bits, which merging would round again.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    dtype, base = dtype_of(precision, device), whole_model_of(name)
    bits = _four_bit(dtype, "four_bit") if four_bit else None
    with loading(base) as where:
        model = AutoModelForCausalLM.from_pretrained(
            base, dtype=dtype, device_map={"": device}, quantization_config=bits, **where
        )
    if adapter_of(name):
        model = PeftModel.from_pretrained(model, name)
        model = model if four_bit else model.merge_and_unload()
    return model.eval()


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


def _kept_differentiable(model: Any) -> Any:
    """Keep bitsandbytes from packing the weights for inference at the first evaluation.

    It does so on CPUs that compute in bfloat16, and no gradient passes through what it packed:
    training would go on, and go wrong in silence (bitsandbytes 0.50.2, nn/modules.py).
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def _four_bit(dtype: torch.dtype, option: str) -> Any:
    if not importlib.util.find_spec("bitsandbytes"):
        raise UsageError(
            "weights in 4 bits need the package bitsandbytes, which is not installed",
            where=option,
            fix="pip install bitsandbytes, or do without",
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
