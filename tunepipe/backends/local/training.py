"""The training loop: the same for a model from nothing, for LoRA and for full tuning.

What a step does depends on its number alone: the rows it reads, the rate, the random numbers. So a
run that was killed goes on from its last checkpoint and ends with the weights of an unbroken one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from tunepipe.backends.local.batches import Layout, Row, batches, micro_batches
from tunepipe.backends.local.checkpoint import (
    State,
    restore,
    resume,
    save_checkpoint,
    trained_weights,
)
from tunepipe.backends.local.loss import evaluation_loss, summed_loss
from tunepipe.backends.local.processes import Crew
from tunepipe.errors import DataError
from tunepipe.progress import Progress

_WARM_UP = 0.05
_MAX_GRADIENT_NORM = 1.0
_MUON_RATE = 5.0  # Muon's updates are orthogonal matrices: smaller than AdamW's at equal rate
_REPORTS = 100
_SAMPLE = 64  # rows that stand for the training set where nothing is held out


@dataclass(frozen=True)
class Plan:
    """How to train.

    Args:
        steps: Optimizer steps.
        batch_size: Rows a step.
        layout: How those rows pass through the model.
        rate: The peak learning rate.
        weight_decay: AdamW's and Muon's.
        muon: Whether matrices are Muon's, which suits a model from nothing.
        seed: Seeds the order of rows and dropout.
        evaluate_every: Steps between evaluations.
        checkpoint_every: Steps between checkpoints.
        patience: Evaluations without a better loss after which training stops, and the best
            weights are kept; 0 trains to the end and keeps the last.
    """

    steps: int
    batch_size: int
    layout: Layout
    rate: float
    weight_decay: float
    muon: bool
    seed: int
    evaluate_every: int
    checkpoint_every: int
    patience: int


def train(
    model: Any,
    rows: Sequence[Row],
    held_out: Sequence[Row],
    plan: Plan,
    checkpoint: Path,
    crew: Crew,
    progress: Progress,
) -> State:
    """Train `model` in place, going on from `checkpoint` where that exists.

    Args:
        model: A causal language model on its device; what requires a gradient is trained.
        rows: The training rows.
        held_out: Rows for the loss that is reported; may be empty.
        plan: How.
        checkpoint: The file to go on from and to write.
        crew: The processes that train together; all call this alike.
        progress: Told of `done`, `total`, `seconds_left`, `loss` and, where there is one,
            `eval_loss`.

    Returns:
        The state at the end; `curve` holds [step, training loss, evaluation loss or None].

    Raises:
        DataError: The loss is not a number, or did not fall below the untrained model's.
    """
    optimizers = _optimizers(model, plan)
    judged = held_out or rows[:_SAMPLE]
    state, best = resume(checkpoint, model, optimizers)
    if not state.curve:
        state.untrained_loss = evaluation_loss(model, judged, plan.layout, crew)
        state.curve.append([0, None, state.untrained_loss])
    started = time.monotonic() - state.seconds
    model.train()
    for numbers in _remaining(rows, plan, state.step):
        if _is_out_of_patience(state, plan):
            break
        loss = _advance(model, [rows[n] for n in numbers], optimizers, plan, state, crew)
        if _is_due(state.step, plan.evaluate_every, plan.steps):
            best = _evaluate(model, judged, plan, state, best, crew)
        elif _is_due(state.step, plan.steps // _REPORTS, plan.steps):
            _note(state, None)
        state.seconds = time.monotonic() - started
        progress(_event(state, plan, loss))
        if crew.is_first and _is_due(state.step, plan.checkpoint_every, plan.steps):
            save_checkpoint(checkpoint, model, optimizers, state, best)
    restore(model, best)
    state.final_loss = state.best_loss if plan.patience else _last_evaluation(state)
    _refuse_unless_learnt(state)
    return state


def rate_at(step: int, steps: int) -> float:
    """Return the share of the peak rate at a step: a line up for 5 %, then a cosine to 0."""
    warm_up = max(1, round(steps * _WARM_UP))
    if step <= warm_up:
        return step / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up + 1)))


def _remaining(rows: Sequence[Row], plan: Plan, done: int) -> Iterator[list[int]]:
    lengths = [len(row.ids) for row in rows]
    return islice(batches(lengths, plan.batch_size, plan.seed), done, plan.steps)


def _is_due(step: int, every: int, steps: int) -> bool:
    return step == steps or step % max(1, every) == 0


def _advance(
    model: Any,
    rows: Sequence[Row],
    optimizers: Sequence[Any],
    plan: Plan,
    state: State,
    crew: Crew,
) -> float:
    """Make one step and return its loss."""
    state.step += 1
    torch.manual_seed(plan.seed * 1_000_003 + state.step + crew.number * 104_729)
    loss = _accumulate(model, rows, plan.layout, crew)
    if not math.isfinite(loss):
        raise DataError(
            f"the training loss is not a number at step {state.step}",
            where="learning_rate_multiplier",
            fix="lower it, to 0.3 for a start",
        )
    torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRADIENT_NORM)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate_at(state.step, plan.steps)
        optimizer.step()
        optimizer.zero_grad()
    state.tokens += sum(len(row.ids) for row in rows)
    state.running_loss.append(loss)
    return loss


def _accumulate(model: Any, rows: Sequence[Row], layout: Layout, crew: Crew) -> float:
    """Add up the gradients of a step, the same however it is divided; return its loss."""
    weight = sum(sum(row.weights) for row in rows)
    total = torch.zeros((), device=model.device)
    for part in micro_batches(crew.share(rows), layout):
        loss = summed_loss(model, part, layout) / weight
        loss.backward()
        total += loss.detach()
    crew.add_up_gradients(model.parameters())
    return float(crew.add_up(total))


def _optimizers(model: Any, plan: Plan) -> list[Any]:
    embeddings = {id(p) for p in model.get_input_embeddings().parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    by_muon = [p for p in trained if plan.muon and p.ndim == 2 and id(p) not in embeddings]
    muon_ids = {id(p) for p in by_muon}
    rest = [p for p in trained if id(p) not in muon_ids]
    result: list[Any] = [torch.optim.AdamW(rest, lr=plan.rate, weight_decay=plan.weight_decay)]
    if by_muon:
        rate = plan.rate * _MUON_RATE
        result.append(torch.optim.Muon(by_muon, lr=rate, weight_decay=plan.weight_decay))
    for optimizer in result:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return result


def _evaluate(
    model: Any, rows: Sequence[Row], plan: Plan, state: State, best: dict[str, Any], crew: Crew
) -> dict[str, Any]:
    """Note the evaluation loss; return the weights to keep, {} where the last ones are."""
    loss = evaluation_loss(model, rows, plan.layout, crew)
    _note(state, loss)
    if loss < state.best_loss:
        state.best_loss, state.best_step = loss, state.step
        return trained_weights(model) if plan.patience else {}
    return best


def _note(state: State, evaluation: float | None) -> None:
    mean = sum(state.running_loss) / len(state.running_loss)
    state.curve.append([state.step, mean, evaluation])
    state.running_loss.clear()


def _is_out_of_patience(state: State, plan: Plan) -> bool:
    later = [loss for step, _, loss in state.curve if step and step > state.best_step]
    return 0 < plan.patience <= sum(loss is not None for loss in later)


def _event(state: State, plan: Plan, loss: float) -> dict[str, Any]:
    left = round(state.seconds / state.step * (plan.steps - state.step))
    event = {"done": state.step, "total": plan.steps, "seconds_left": left, "loss": loss}
    step, _, evaluation = state.curve[-1]
    return event | ({"eval_loss": evaluation} if step == state.step and evaluation else {})


def _refuse_unless_learnt(state: State) -> None:
    if not state.final_loss < state.untrained_loss:
        raise DataError(
            f"training did not help: the loss was {state.untrained_loss:.4g} before and is "
            f"{state.final_loss:.4g} after {state.step} steps",
            where="train_steps",
            fix="train for more steps, with another learning_rate_multiplier, or on more rows",
        )


def _last_evaluation(state: State) -> float:
    return [loss for _, _, loss in state.curve if loss is not None][-1]
