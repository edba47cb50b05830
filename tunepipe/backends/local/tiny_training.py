"""The training of the tiny model from nothing, on one CPU thread: a loop with no framework.

What a step does depends on its number alone, so a run that was killed goes on from its last
checkpoint and ends with the weights of an unbroken one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from tunepipe.backends.local.outcome import Outcome, require_number
from tunepipe.backends.local.rows import Row, batches
from tunepipe.files import replacing
from tunepipe.progress import Progress

# A model that starts from nothing learns to copy also by predicting the prompt.
_PROMPT_WEIGHT = 0.1
_WEIGHT_DECAY = 0.1
_WARM_UP = 0.05
_MUON_RATE = 5.0  # Muon's updates are orthogonal matrices: smaller than AdamW's at equal rate
_REPORTS = 100
_EVALUATED_AT_ONCE = 16


@dataclass(frozen=True)
class Settings:
    """Settings of a training; `rate` is AdamW's at its peak, and intervals are in steps."""

    steps: int
    batch_size: int
    rate: float
    seed: int
    evaluate_every: int
    checkpoint_every: int


def train(
    model: Any,
    rows: Sequence[Row],
    held_out: Sequence[Row],
    pad: int,
    settings: Settings,
    checkpoint: Path,
    progress: Progress,
) -> Outcome:
    """Train `model` in place, going on from the file `checkpoint` if it exists.

    Args:
        model: The untrained model.
        rows: The training rows.
        held_out: Rows for the evaluation loss, >= 1.
        pad: The token that fills short rows.
        settings: How.
        checkpoint: The file to go on from and to write.
        progress: Receives `done`, `total`, `seconds_left`, `loss` and at times `eval_loss`.

    Raises:
        DataError: The loss is not a number.
    """
    parts = [model, *_optimizers(model, settings.rate)]
    state: dict[str, Any] = {"step": 0, "tokens": 0, "seconds": 0.0, "curve": [], "losses": []}
    if checkpoint.exists():
        content = torch.load(checkpoint, weights_only=True)
        state = content["state"]
        for part, kept in zip(parts, content["parts"], strict=True):
            part.load_state_dict(kept)
    state["curve"] = state["curve"] or [[0, None, _evaluation_loss(model, held_out, pad)]]
    steps, first, started = settings.steps, state["step"], time.monotonic() - state["seconds"]
    order = batches([len(row) for row in rows], settings.batch_size, settings.seed)
    model.train()
    for numbers in islice(order, first, steps):
        state["step"] = step = state["step"] + 1
        batch = [rows[number] for number in numbers]
        loss = _step(model, batch, pad, parts[1:], rate_at(step, steps))
        require_number(loss, step)
        state["losses"].append(loss)
        state["tokens"] += sum(map(len, batch))
        state["seconds"] = time.monotonic() - started
        left = round(state["seconds"] / step * (steps - step))
        event = {"done": step, "total": steps, "seconds_left": left, "loss": loss}
        if _is_due(step, settings.evaluate_every, steps):
            event["eval_loss"] = _evaluation_loss(model, held_out, pad)
        if "eval_loss" in event or _is_due(step, steps // _REPORTS, steps):
            mean = sum(state["losses"]) / len(state["losses"])
            state["curve"].append([step, mean, event.get("eval_loss")])
            state["losses"] = []
        progress(event)
        if _is_due(step, settings.checkpoint_every, steps):
            with replacing(checkpoint, "wb") as file:
                torch.save({"state": state, "parts": [one.state_dict() for one in parts]}, file)
    return Outcome(state["curve"], steps, first, state["tokens"], state["seconds"])


def rate_at(step: int, steps: int) -> float:
    """Return the share of the peak rate at a step: a line up for 5 %, then a cosine to 0."""
    warm_up = max(1, round(steps * _WARM_UP))
    if step <= warm_up:
        return step / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up + 1)))


def _is_due(step: int, every: int, steps: int) -> bool:
    return step == steps or step % max(1, every) == 0


def _step(
    model: Any, rows: Sequence[Row], pad: int, optimizers: Sequence[Any], rate: float
) -> float:
    loss = _loss(model, rows, pad, _PROMPT_WEIGHT)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        optimizer.step()
        optimizer.zero_grad()
    return float(loss.detach())


def _loss(model: Any, rows: Sequence[Row], pad: int, prompt_weight: float) -> torch.Tensor:
    """Return the weighted mean loss of the rows' tokens, in nats."""
    width, device = max(map(len, rows)), model.device
    filled = [(row, width - len(row)) for row in rows]
    ids = torch.tensor([row.prompt + row.completion + [pad] * n for row, n in filled]).to(device)
    mask = torch.tensor([[1] * len(row) + [0] * n for row, n in filled]).to(device)
    weights = torch.tensor(
        [
            [prompt_weight] * (len(row.prompt) - 1) + [1.0] * len(row.completion) + [0.0] * n
            for row, n in filled
        ]
    ).to(device)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    targets = ids[:, 1:].flatten()
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets, reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum()


def _evaluation_loss(model: Any, rows: Sequence[Row], pad: int) -> float:
    """Return the mean loss of the rows' answers, in nats a token."""
    model.eval()
    ordered = sorted(rows, key=len)
    parts = [ordered[n : n + _EVALUATED_AT_ONCE] for n in range(0, len(rows), _EVALUATED_AT_ONCE)]
    tokens = [sum(len(row.completion) for row in part) for part in parts]
    with torch.no_grad():
        losses = [float(_loss(model, part, pad, 0.0)) for part in parts]
    model.train()
    return sum(loss * n for loss, n in zip(losses, tokens, strict=True)) / sum(tokens)


def _optimizers(model: Any, rate: float) -> list[Any]:
    """Muon for the matrices, AdamW for embeddings and vectors."""
    embeddings = {id(p) for p in model.get_input_embeddings().parameters()}
    is_muon = [p.ndim == 2 and id(p) not in embeddings for p in model.parameters()]
    groups = {
        kind: [p for p, muon in zip(model.parameters(), is_muon, strict=True) if muon is kind]
        for kind in (False, True)
    }
    optimizers = [
        torch.optim.AdamW(groups[False], lr=rate, weight_decay=_WEIGHT_DECAY),
        torch.optim.Muon(groups[True], lr=rate * _MUON_RATE, weight_decay=_WEIGHT_DECAY),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers
