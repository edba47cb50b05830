"""Loading a base model whole, fitting it for LoRA, and writing what was tuned."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from tunepipe.backends.local.base_model import (
    adapter_of,
    dtype_of,
    load_config,
    load_tokenizer,
    loading,
    quantization_of,
    require_bitsandbytes,
    require_whole,
    split_revision,
    whole_model_of,
)
from tunepipe.backends.local.options import LocalOptions
from tunepipe.errors import UsageError


def load_base(
    name: str, tokenizer: Any, options: LocalOptions, device: str, *, placed: bool = True
) -> Any:
    """Load a base model, ready to be trained; of an adapter, the whole model under it.

    With LoRA the base is frozen, in the type of the computation; in full tuning weights are
    float32, since a small step would be lost in 16 bits.

    Args:
        tokenizer: Its tokenizer; if it has more tokens than the model, the embedding grows.
        placed: Whether the weights go to `device` now; else the trainer places them.
    """
    dtype = dtype_of(options.precision, device)
    whole = whole_model_of(name)
    is_full = options.tuning_mode == "full"
    model = _load_whole(
        whole,
        tokenizer,
        torch.float32 if is_full else dtype,
        four_bit="tuning_mode" if options.tuning_mode == "qlora" else "",
        attn_implementation=attention_of(whole, dtype, device),
        device_map={"": device} if placed else None,
    )
    if is_full and adapter_of(name):
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, name).merge_and_unload()
        model.requires_grad_(True)
    # Keep bitsandbytes from packing the weights for inference at the first evaluation. It does so
    # on CPUs that compute in bfloat16, and no gradient passes through what it packed: training
    # would go on, and go wrong in silence (bitsandbytes 0.50.2, nn/modules.py).
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def attention_of(name: str, dtype: torch.dtype, device: str) -> str | None:
    """Return the attention to compute with; None leaves it to transformers.

    Flash attention is taken on a GPU in 16 bits where its package is installed and the model's
    class takes it: rows then pass without padding.
    """
    from transformers import AutoModelForCausalLM

    is_installed = importlib.util.find_spec("flash_attn") is not None
    if device == "cpu" or dtype == torch.float32 or not is_installed:
        return None
    kind = AutoModelForCausalLM._model_mapping[type(load_config(name))]
    return "flash_attention_2" if getattr(kind, "_supports_flash_attn", False) else None


def adapt(model: Any, name: str, options: LocalOptions, seed: int) -> Any:
    """Freeze `model` and lay LoRA matrices over it; an adapter `name` goes on from its own."""
    from peft import LoraConfig, PeftModel, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    if adapter_of(name):
        return PeftModel.from_pretrained(model, name, is_trainable=True)
    torch.manual_seed(seed)
    names = [part.strip() for part in options.target_modules.split(",")]
    config = LoraConfig(
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        target_modules="all-linear" if names == ["all-linear"] else names,
        task_type="CAUSAL_LM",
        revision=split_revision(name)[1] or None,
    )
    is_tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    try:
        adapted = get_peft_model(model, config)
        ends = (adapted.get_input_embeddings(), adapted.get_base_model().get_output_embeddings())
        if is_tied and any(isinstance(end, BaseTunerLayer) for end in ends):
            raise ValueError("embedding and head are one matrix, and merging would change both")
        return adapted
    except ValueError as error:
        raise UsageError(
            f"LoRA cannot adapt these modules: {error}",
            where="target_modules",
            fix="name others, such as q_proj,v_proj, or set tuning_mode full",
        ) from error


def save(
    model: Any,
    tokenizer: Any,
    folder: Path,
    *,
    merge: bool,
    precision: str = "",
    is_sharded: bool = False,
) -> None:
    """Write model and tokenizer in Hugging Face layout; merged, the adapter goes into adapter/.

    Args:
        precision: That of the training; a base that is read again is merged in it.
        is_sharded: Whether each process holds only a part of the base.
    """
    if merge and hasattr(model, "merge_and_unload"):
        _save_one(model, tokenizer, folder / "adapter")
        # Merging would round a base in 4 bits, and of one in shards would find this process's.
        if is_sharded or getattr(model.get_base_model(), "is_loaded_in_4bit", False):
            from transformers.integrations.deepspeed import unset_hf_deepspeed_config

            unset_hf_deepspeed_config()  # by which what is loaded would be in shards too
            model = load_tuned(str(folder / "adapter"), "cpu", precision)
        else:
            model = model.merge_and_unload()
    _save_one(model, tokenizer, folder)


def load_tuned(name: str, device: str, precision: str = "", *, four_bit: bool = False) -> Any:
    """Load what `save` wrote, or any model by name, for prediction.

    An adapter is merged into its base, but for one in 4 bits, which merging would round again.
    """
    from peft import PeftModel

    dtype, whole = dtype_of(precision, device), whole_model_of(name)
    tokenizer, option = load_tokenizer(name), "four_bit" if four_bit else ""
    model = _load_whole(whole, tokenizer, dtype, four_bit=option, device_map={"": device})
    if adapter_of(name):
        model = PeftModel.from_pretrained(model, name)
        is_rounded = four_bit or quantization_of(load_config(whole))
        model = model if is_rounded else model.merge_and_unload()
    return model.eval()


def _load_whole(
    name: str, tokenizer: Any, dtype: torch.dtype, *, four_bit: str, **arguments: Any
) -> Any:
    """Load a model; in 4 bits where the option `four_bit` asks for it and its files are not."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if four_bit and not quantization_of(load_config(name)):
        require_bitsandbytes(four_bit)
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    chosen = {key: value for key, value in arguments.items() if value is not None}
    with loading(name) as place:
        model, report = AutoModelForCausalLM.from_pretrained(
            dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, **chosen, **place
        )
    require_whole(name, report)
    # Each token of the tokenizer has a row of the embedding; some folders lack the last ones.
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        torch.manual_seed(0)  # the new rows are drawn at random, and must be the same each time
        model.resize_token_embeddings(len(tokenizer))
    return model


def _save_one(model: Any, tokenizer: Any, folder: Path) -> None:
    arguments: dict[str, Any] = {}
    if hasattr(model, "peft_config"):
        # "auto" would ask the hub whether the vocabulary was changed.
        rows = model.get_input_embeddings().weight.shape[0]
        adapter = model.peft_config["default"]
        base = f"{adapter.base_model_name_or_path}@{adapter.revision or ''}".removesuffix("@")
        known = load_config(whole_model_of(base))
        arguments["save_embedding_layers"] = rows != known.get_text_config().vocab_size
    model.save_pretrained(folder, **arguments)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # peft's, which names paths of this machine
