"""The training of the tiny model from scratch, on one CPU thread: a loop with no framework.

What a step does depends on its number alone, so a run that was killed goes on from its last
checkpoint and ends with the weights of an unbroken one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import get_cosine_schedule_with_warmup

from tunepipe.backends.local.outcome import TrainingOutcome, require_number
from tunepipe.backends.local.rows import TokenRow, batches
from tunepipe.backends.local.task import TrainingTask
from tunepipe.files import replacing
from tunepipe.progress import Progress

# A model that starts from nothing learns to copy also by predicting the prompt.
_PROMPT_WEIGHT = 0.1
_WEIGHT_DECAY = 0.1
_WARM_UP = 0.05
_MUON_RATE = 5.0  # Muon's updates are orthogonal matrices: smaller than AdamW's at equal rate
_REPORTS = 100
_EVALUATED_AT_ONCE = 16


def train(
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
