"""Greedy answers through vLLM, if that is installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tunepipe.backends.base import Answer, Prompt
from tunepipe.backends.chat_template import answer_texts, end_ids
from tunepipe.backends.local.base_model import (
    adapter_of,
    context_of,
    dtype_of,
    load_config,
    load_tokenizer,
    split_revision,
    whole_model_of,
)
from tunepipe.backends.local.generation import encode
from tunepipe.backends.local.memory import memory_bytes
from tunepipe.backends.local.options import PredictionOptions
from tunepipe.errors import TunepipeError, UsageError

# vLLM takes most of a minute to start: small models have answered by then, or a few prompts.
_WORTH_BYTES = 2**30
_WORTH_PROMPTS = 64
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # those that its LoRA kernels come in
_MEMORY_SHARE = 0.9  # of what is free


def is_worth_its_start(name: str, prompts: int, device: str) -> bool:
    """Return True if vLLM is the default: it is installed, with a GPU, and there is much to do.

    Args:
        device: "cpu", "cuda" or "cuda:N"; vLLM takes the GPU it finds, so one of several is none.
    """
    if device != "cuda" or prompts < _WORTH_PROMPTS or not can_answer(name):
        return False
    folder = Path(whole_model_of(name))
    files = folder.glob("*.safetensors")
    return not folder.is_dir() or sum(file.stat().st_size for file in files) > _WORTH_BYTES


def can_answer(name: str) -> bool:
    """Return True if vLLM is installed, and answers as the model or adapter `name` would."""
    return bool(importlib.util.find_spec("vllm")) and not _adapter_fault(name)


def _adapter_fault(name: str) -> str:
    """Return why vLLM would answer as another model than this adapter; "" if it would not.

    It gives no error for what it leaves out (vLLM 0.26, lora/peft_helper.py, lora_model.py).
    """
    adapter = adapter_of(name)
    if not adapter:
        return ""
    if adapter.get("alpha_pattern") or adapter.get("rank_pattern"):
        return "vLLM takes no rank or alpha of single modules (alpha_pattern, rank_pattern)"
    config = load_config(whole_model_of(name))
    # The text part alone was tuned. The names of its modules are not those that vLLM gives them
    # inside the whole, and only the classes of the Gemmas translate them.
    is_part = config.get_text_config() is not config
    if is_part and not config.model_type.startswith("gemma"):
        return f"vLLM finds no module of an adapter over the text part of {config.model_type}"
    return ""


def generate(
    name: str, prompts: Sequence[Prompt], options: PredictionOptions, device: str
) -> Iterator[Answer]:
    """Answer the prompts as `generation.generate` does; vLLM chooses the batches.

    An adapter is served over its base. A UsageError if vLLM is not installed or cannot do what
    `options` ask, else a TunepipeError if it does not start.
    """
    if not importlib.util.find_spec("vllm"):
        raise UsageError("vLLM is not installed", where="engine", fix="pip install vllm")
    if fault := _adapter_fault(name):
        raise UsageError(
            fault, where="engine", fix="take the engine transformers, or tune with merge=true"
        )
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # it would tell its makers of every start
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm.platforms import current_platform

    kind = current_platform.device_type
    if options.four_bit or options.device not in ("", kind):
        raise UsageError(
            f"vLLM computes on {kind or 'no device'} here, and with whole weights",
            where="four_bit" if options.four_bit else "device",
            fix="leave it out (CUDA_VISIBLE_DEVICES chooses among GPUs), or take the engine "
            "transformers",
        )
    tokenizer = load_tokenizer(name)
    context = context_of(load_config(whole_model_of(name)))
    encoded, too_long = encode(tokenizer, prompts, context)
    yield from too_long
    rows = [row for _, row in encoded]
    longest = min(context, max(map(len, rows), default=0) + options.max_output_tokens)
    try:
        engine = _engine(name, longest, options, device)
        answers = _answers(name, rows, engine, tokenizer, options)
    except (OSError, RuntimeError, ValueError) as error:
        raise TunepipeError(
            f"vLLM failed: {error}", where="engine", fix="take the engine transformers"
        ) from error
    yield from (Answer(id, text) for (id, _), text in zip(encoded, answers, strict=True))


def _engine(name: str, longest: int, options: PredictionOptions, device: str) -> Any:
    from vllm import LLM

    base, rank = whole_model_of(name), int(adapter_of(name).get("r", 0))
    model, revision = split_revision(base)
    free, total = memory_bytes(device)
    return LLM(
        model=model,
        revision=revision or None,
        tokenizer_revision=revision or None,
        dtype=str(dtype_of(options.precision, device)).removeprefix("torch."),
        # Room for what a model could read at most may be more than there is.
        max_model_len=longest,
        gpu_memory_utilization=_MEMORY_SHARE * free / total,
        enable_lora=rank > 0,
        max_lora_rank=next((known for known in _RANKS if known >= rank), rank),
        disable_log_stats=True,
    )


def _answers(
    name: str, encoded: Sequence[list[int]], llm: Any, tokenizer: Any, options: PredictionOptions
) -> list[str]:
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    ends = end_ids(tokenizer)
    greedy = SamplingParams(
        temperature=0.0,
        repetition_penalty=llm.get_default_sampling_params().repetition_penalty,
        max_tokens=options.max_output_tokens,
        stop_token_ids=sorted(ends),
        detokenize=False,
    )
    outputs = llm.generate(
        [{"prompt_token_ids": ids} for ids in encoded],
        greedy,
        use_tqdm=False,
        lora_request=LoRARequest("tuned", 1, name) if adapter_of(name) else None,
    )
    return answer_texts(tokenizer, [output.outputs[0].token_ids for output in outputs], ends)
