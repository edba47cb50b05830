"""The training of the tiny model from nothing, on one CPU thread: a loop with no framework.

What a step does depends on its number alone: the rows it reads, the rate, the random numbers. So a
run that was killed goes on from its last checkpoint and ends with the weights of an unbroken one.
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
_MAX_GRADIENT_NORM = 1.0
_MUON_RATE = 5.0  # Muon's updates are orthogonal matrices: smaller than AdamW's at equal rate
_REPORTS = 100


@dataclass(frozen=True)
class Settings:
    """How to train the tiny model.

    Args:
        steps: Optimizer steps, >= 1.
        batch_size: Rows a step.
        rate: The peak learning rate of AdamW.
        seed: Seeds the order of rows.
        evaluate_every: Steps between evaluations.
        checkpoint_every: Steps between checkpoints.
    """

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
    """Train `model` in place, going on from the file `checkpoint` where that exists.

    Args:
        model: The untrained model, on the CPU.
        rows: The training rows.
        held_out: Rows for the evaluation loss, >= 1.
        pad: The token that fills short rows.
        settings: How.
        checkpoint: The file to go on from and to write.
        progress: Receives `done`, `total`, `seconds_left`, `loss` and, where there is one,
            `eval_loss`.

    Raises:
        DataError: The loss is not a number.
    """
    optimizers = _optimizers(model, settings.rate)
    state = _resume(checkpoint, model, optimizers)
    state["curve"] = state["curve"] or [[0, None, _evaluation_loss(model, held_out, pad)]]
    steps, first, started = settings.steps, state["step"], time.monotonic() - state["seconds"]
    order = batches([len(row) for row in rows], settings.batch_size, settings.seed)
    model.train()
    for numbers in islice(order, first, steps):
        state["step"] = step = state["step"] + 1
        batch = [rows[number] for number in numbers]
        loss = _step(model, batch, pad, optimizers, rate_at(step, steps))
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
            _save(checkpoint, model, optimizers, state)
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
    torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRADIENT_NORM)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        optimizer.step()
        optimizer.zero_grad()
    return float(loss.detach())


def _loss(model: Any, rows: Sequence[Row], pad: int, prompt_weight: float) -> torch.Tensor:
    """Return the weighted mean loss of the rows' tokens, in nats."""
    width = max(map(len, rows))
    fill = [width - len(row) for row in rows]
    ids = [r.prompt + r.completion + [pad] * n for r, n in zip(rows, fill, strict=True)]
    mask = [[1] * len(r) + [0] * n for r, n in zip(rows, fill, strict=True)]
    weights = torch.tensor(
        [
            [prompt_weight] * (len(r.prompt) - 1) + [1.0] * len(r.completion) + [0.0] * n
            for r, n in zip(rows, fill, strict=True)
        ]
    )
    inputs = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    logits = model(**inputs, use_cache=False).logits[:, :-1].flatten(0, 1)
    targets = inputs["input_ids"][:, 1:].flatten()
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum()


def _evaluation_loss(model: Any, rows: Sequence[Row], pad: int, batch_size: int = 16) -> float:
    """Return the mean loss of the rows' answers, in nats a token."""
    model.eval()
    ordered = sorted(rows, key=len)
    total = tokens = 0.0
    with torch.no_grad():
        for start in range(0, len(ordered), batch_size):
            part = ordered[start : start + batch_size]
            weight = sum(len(row.completion) for row in part)
            total += float(_loss(model, part, pad, 0.0)) * weight
            tokens += weight
    model.train()
    return total / tokens


def _optimizers(model: Any, rate: float) -> list[Any]:
    """Muon for the matrices, AdamW for embeddings and vectors."""
    embeddings = {id(p) for p in model.get_input_embeddings().parameters()}
    by_muon = [p for p in model.parameters() if p.ndim == 2 and id(p) not in embeddings]
    muon_ids = {id(p) for p in by_muon}
    rest = [p for p in model.parameters() if id(p) not in muon_ids]
    optimizers = [
        torch.optim.AdamW(rest, lr=rate, weight_decay=_WEIGHT_DECAY),
        torch.optim.Muon(by_muon, lr=rate * _MUON_RATE, weight_decay=_WEIGHT_DECAY),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def _save(path: Path, model: Any, optimizers: Sequence[Any], state: dict[str, Any]) -> None:
    parts = [model, *optimizers]
    with replacing(path, "wb") as file:
        torch.save({"state": state, "parts": [part.state_dict() for part in parts]}, file)


def _resume(path: Path, model: Any, optimizers: Sequence[Any]) -> dict[str, Any]:
    """Return how far the run is, and set model and optimizers to it."""
    if not path.exists():
        return {"step": 0, "tokens": 0, "seconds": 0.0, "curve": [], "losses": []}
    content = torch.load(path, weights_only=True)
    for part, kept in zip([model, *optimizers], content["parts"], strict=True):
        part.load_state_dict(kept)
    state: dict[str, Any] = content["state"]
    return state
