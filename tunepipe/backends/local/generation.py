"""Greedy answers in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch

from tunepipe.backends.base import Answer, Prompt
from tunepipe.backends.chat_template import answer_texts, end_ids, generation_ids
from tunepipe.backends.local.base_model import (
    context_of,
    dtype_of,
    load_config,
    load_tokenizer,
    whole_model_of,
)
from tunepipe.backends.local.memory import memory_bytes, require_room_to_answer, size_of
from tunepipe.backends.local.options import PredictionOptions
from tunepipe.backends.local.pretrained import load_tuned
from tunepipe.errors import LimitError


def generate(
    name: str, prompts: Sequence[Prompt], options: PredictionOptions, device: str
) -> Iterator[Answer]:
    """Answer the prompts, those of like length together, shortest first."""
    tokenizer, config = load_tokenizer(name), load_config(whole_model_of(name))
    size, width = size_of(config, rank=0), dtype_of(options.precision, device).itemsize
    require_room_to_answer(size, memory_bytes(device)[0], width, options.four_bit)
    model = load_tuned(name, device, options.precision, four_bit=options.four_bit)
    encoded, too_long = encode(tokenizer, prompts, context_of(config))
    yield from too_long
    encoded.sort(key=lambda pair: len(pair[1]))
    for start in range(0, len(encoded), options.batch_size):
        batch = encoded[start : start + options.batch_size]
        texts = _answers(model, tokenizer, [ids for _, ids in batch], options.max_output_tokens)
        yield from (Answer(id, text) for (id, _), text in zip(batch, texts, strict=True))


def encode(
    tokenizer: Any, prompts: Sequence[Prompt], context: int
) -> tuple[list[tuple[str, list[int]]], list[Answer]]:
    """Return the prompts' tokens by id, and apart from them those that leave no room to answer."""
    rows = [(prompt.id, generation_ids(tokenizer, prompt.messages)) for prompt in prompts]
    reason = f"the prompt leaves no room to answer: the model reads {context:,} tokens"
    too_long = [Answer(id, None, reason) for id, row in rows if len(row) >= context]
    return [(id, row) for id, row in rows if len(row) < context], too_long


def _answers(model: Any, tokenizer: Any, batch: list[list[int]], longest: int) -> list[str]:
    """Answer all at once, or by halves where memory or context do not suffice."""
    room = context_of(model.config) - max(map(len, batch))
    try:
        if len(batch) == 1 or room >= longest:
            return _generated(model, tokenizer, batch, min(longest, room))
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            raise LimitError(
                f"a prompt of {len(batch[0])} tokens and its answer need more memory than there is",
                where="max_output_tokens",
                fix="lower it, ask with four_bit, or take a smaller model",
            ) from error
    # Only here is the memory free that the failed try held.
    torch.cuda.empty_cache()
    ask, half = partial(_answers, model, tokenizer, longest=longest), len(batch) // 2
    return ask(batch[:half]) + ask(batch[half:])


def _generated(model: Any, tokenizer: Any, batch: list[list[int]], longest: int) -> list[str]:
    width = max(map(len, batch))
    # Padding is on the left: an answer must directly follow its prompt.
    ids = [[tokenizer.pad_token_id] * (width - len(prompt)) + prompt for prompt in batch]
    # Both the tokenizer's ends and the model's own count.
    own = model.generation_config.eos_token_id
    ends = end_ids(tokenizer).union(own if isinstance(own, list) else {own} - {None})
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch]
    with torch.no_grad():
        output = model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=longest,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=sorted(ends),
            do_sample=False,
        )
    return answer_texts(tokenizer, output[:, width:].tolist(), ends)
