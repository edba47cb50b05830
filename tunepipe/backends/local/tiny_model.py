"""The tiny language model that is made when no base model is named: 0.33 M parameters.

The layout is LFM2's: two short convolutions, then attention. Convolutions are what lets so small a
model copy numbers and names it has never seen; layouts of attention alone learn the training rows
by heart and answer nothing else. Its vocabulary is learnt from the training rows. It knows
nothing but the task: it is there to show that a pipeline works, and for narrow formats.

It is trained from scratch on one CPU thread, by a loop with no framework. What a step does depends
on its number alone, so a run that was killed goes on from its last checkpoint and ends with the
weights of an unbroken one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForCausalLM,
    Lfm2Config,
    PreTrainedTokenizerFast,
    get_cosine_schedule_with_warmup,
)

from tunepipe.backends.local.backend import parameter_counts
from tunepipe.backends.local.pretrained import save
from tunepipe.backends.local.rows import TokenRow, batches, encode
from tunepipe.backends.local.training import (
    BASE,
    MAX_TOKENS,
    SAMPLE_ROWS,
    TrainingOutcome,
    TrainingTask,
    require_number,
)
from tunepipe.data.conversations import Example
from tunepipe.files import replacing
from tunepipe.progress import Progress

VOCABULARY = 600
_PAD, _END = "<|pad|>", "<|end|>"
_ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.role == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_LEARNING_RATE = 1.5e-3
# A model that starts from nothing learns to copy also by predicting the prompt.
_PROMPT_WEIGHT = 0.1
_WEIGHT_DECAY = 0.1
_WARM_UP = 0.05
_MUON_RATE = 5.0  # Muon's updates are orthogonal matrices: smaller than AdamW's at equal rate
_REPORTS = 100
_EVALUATED_AT_ONCE = 16


def tune_tiny(task: TrainingTask, progress: Progress) -> dict[str, Any]:
    """Train a tiny model from scratch and write it; its untrained self goes into base/."""
    options, folder, device = task.options, Path(task.folder), task.device
    examples, held_out = task.read_rows()
    tokenizer = learn_tokenizer(examples)
    most = options.max_tokens or MAX_TOKENS
    rows, evaluated = (encode(tokenizer, part, most) for part in (examples, held_out))
    model = untrained_model(tokenizer, task.request.seed)
    save(model, tokenizer, folder / BASE, merge=False)
    settled = replace(task, options=task.settle(_LEARNING_RATE))
    evaluated = evaluated or rows[:SAMPLE_ROWS]
    outcome = _train(model.to(device), rows, evaluated, tokenizer.pad_token_id, settled, progress)
    statistics = outcome.statistics()
    save(model, tokenizer, folder, merge=False)
    counts = parameter_counts(model)
    note = (
        f"A tiny model of {counts['parameters']:,} parameters, trained from scratch on "
        f"{len(rows):,} rows: it knows this one task and no language beyond it. It shows that the "
        "pipeline works, not what a large model would do."
    )
    return statistics | counts | {"device": device, "processes": 1, "base_model": "", "note": note}


def learn_tokenizer(examples: Sequence[Example]) -> Any:
    """Learn a byte-level BPE vocabulary from the training rows, as a tokenizer of transformers.

    Bytes are its alphabet, so no text is unknown to it. A pair is merged only when it occurs about
    once in ten rows or more, and digits never are: rarer merges make tokens that the model sees too
    seldom to learn.
    """
    bpe = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([digits, level])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=max(2, len(examples) // 10),
        special_tokens=[_PAD, _END, *_ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [turn["content"] for each in examples for turn in each.messages]
    bpe.train_from_iterator([*texts, *(each.reference for each in examples)], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=_PAD,
        eos_token=_END,
        additional_special_tokens=list(_ROLES),
        chat_template=_CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_TOKENS,
    )


def untrained_model(tokenizer: Any, seed: int) -> Any:
    """Make a model with random weights; the same seed gives the same weights."""
    layers = ["conv", "conv", "full_attention"]
    config = Lfm2Config(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=192,
        block_auto_adjust_ff_dim=False,  # else transformers makes it another width
        num_hidden_layers=len(layers),
        layer_types=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config)


def _train(
    model: Any,
    rows: Sequence[TokenRow],
    held_out: Sequence[TokenRow],
    pad: int,
    task: TrainingTask,
    progress: Progress,
) -> TrainingOutcome:
    """Train `model` in place, going on from its checkpoint if there is one.

    Args:
        held_out: Rows for the evaluation loss, >= 1.
        pad: The token that fills short rows.
        task: With settled options, whose `learning_rate` is AdamW's at its peak.
        progress: Receives `done`, `total`, `seconds_left`, `loss` and at times `eval_loss`.
    """
    request, options, checkpoint = task.request, task.options, task.checkpoints
    steps = request.train_steps
    optimizers = _optimizers(model, options.learning_rate)
    schedules = [
        get_cosine_schedule_with_warmup(optimizer, round(steps * _WARM_UP), steps + 1)
        for optimizer in optimizers
    ]
    parts = [model, *optimizers, *schedules]
    state: dict[str, Any] = {"step": 0, "tokens": 0, "seconds": 0.0, "curve": [], "losses": []}
    if checkpoint.exists():
        content = torch.load(checkpoint, weights_only=True)
        state = content["state"]
        for part, saved in zip(parts, content["parts"], strict=True):
            part.load_state_dict(saved)
    state["curve"] = state["curve"] or [[0, None, _evaluation_loss(model, held_out, pad)]]
    first, started = state["step"], time.monotonic() - state["seconds"]
    order = batches([len(row) for row in rows], request.batch_size, request.seed)
    model.train()
    for numbers in islice(order, first, steps):
        state["step"] = step = state["step"] + 1
        batch = [rows[number] for number in numbers]
        loss = _loss(model, batch, pad, _PROMPT_WEIGHT)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for part in (*optimizers, *schedules):
            part.step()
        model.zero_grad()
        state["losses"].append(require_number(loss.item(), step))
        state["tokens"] += sum(map(len, batch))
        state["seconds"] = time.monotonic() - started
        left = round(state["seconds"] / step * (steps - step))
        event = {"done": step, "total": steps, "seconds_left": left, "loss": loss.item()}
        if _is_due(step, options.evaluate_every, steps):
            event["eval_loss"] = _evaluation_loss(model, held_out, pad)
        if "eval_loss" in event or _is_due(step, steps // _REPORTS, steps):
            mean = sum(state["losses"]) / len(state["losses"])
            state["curve"].append([step, mean, event.get("eval_loss")])
            state["losses"] = []
        progress(event)
        if _is_due(step, options.checkpoint_every, steps):
            with replacing(checkpoint, "wb") as file:
                torch.save({"state": state, "parts": [part.state_dict() for part in parts]}, file)
    return TrainingOutcome(state["curve"], steps, first, state["tokens"], state["seconds"])


def _is_due(step: int, every: int, steps: int) -> bool:
    return step == steps or step % max(1, every) == 0


def _loss(model: Any, rows: Sequence[TokenRow], pad: int, prompt_weight: float) -> torch.Tensor:
    """Return the weighted mean loss of the rows' tokens, in nats."""

    def padded(parts: list[Any], fill: float) -> torch.Tensor:
        return pad_sequence([torch.tensor(part) for part in parts], True, fill).to(model.device)

    ids = padded([row.prompt + row.completion for row in rows], pad)
    mask = padded([[1] * len(row) for row in rows], 0)
    weights = padded(
        [[prompt_weight] * (len(r.prompt) - 1) + [1.0] * len(r.completion) for r in rows], 0.0
    )
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    targets = ids[:, 1:].flatten()
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets, reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum()


@torch.no_grad()  # type: ignore[untyped-decorator]
def _evaluation_loss(model: Any, rows: Sequence[TokenRow], pad: int) -> float:
    """Return the mean loss of the rows' answers, in nats a token."""
    model.eval()
    ordered = sorted(rows, key=len)
    total = 0.0
    for start in range(0, len(rows), _EVALUATED_AT_ONCE):
        part = ordered[start : start + _EVALUATED_AT_ONCE]
        total += _loss(model, part, pad, 0.0).item() * sum(len(row.completion) for row in part)
    model.train()
    return total / sum(len(row.completion) for row in rows)


def _optimizers(model: Any, rate: float) -> list[Any]:
    """Muon for the matrices, AdamW for embeddings and vectors."""
    embeddings = set(model.get_input_embeddings().parameters())
    matrices = [p for p in model.parameters() if p.ndim == 2 and p not in embeddings]
    others = [p for p in model.parameters() if p.ndim != 2 or p in embeddings]
    return [
        torch.optim.AdamW(others, lr=rate, weight_decay=_WEIGHT_DECAY),
        torch.optim.Muon(matrices, lr=rate * _MUON_RATE, weight_decay=_WEIGHT_DECAY),
    ]
