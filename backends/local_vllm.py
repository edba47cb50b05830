"""Greedy answers through vLLM, where that is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from tunepipe.core.errors import UsageError

from .contract import Answer, Prompt
from .local_loading import load_tokenizer
from .local_lora import ADAPTER
from .local_options import PredictionOptions
from .prompts import end_ids, prompt_ids


def generate(
    name: str, prompts: Sequence[Prompt], options: PredictionOptions, device: str
) -> Iterator[Answer]:
    """Answer the prompts as `local_generation.generate` does; vLLM chooses batches and device.

    Raises:
        UsageError: vLLM is not installed, or the folder holds an adapter alone.
    """
    if not importlib.util.find_spec("vllm"):
        raise UsageError("vLLM is not installed", where="engine", fix="pip install vllm")
    if (Path(name) / ADAPTER).exists():
        raise UsageError("vLLM needs a whole model", where=name, fix="tune with the option merge")
    from vllm import LLM, SamplingParams

    tokenizer = load_tokenizer(name)
    asked = [{"prompt_token_ids": prompt_ids(tokenizer, prompt.messages)} for prompt in prompts]
    greedy = SamplingParams(
        temperature=0.0,
        max_tokens=options.max_output_tokens,
        stop_token_ids=sorted(end_ids(tokenizer)),
    )
    outputs = LLM(model=name, disable_log_stats=True).generate(asked, greedy, use_tqdm=False)
    for prompt, output in zip(prompts, outputs, strict=True):
        yield Answer(prompt.id, output.outputs[0].text)
