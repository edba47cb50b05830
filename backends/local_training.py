"""The training loop: the same for a model from nothing, for LoRA and for full tuning.

What a step does depends on its number alone: the rows it reads, the rate, the random numbers. So a
run that was killed goes on from its last checkpoint and ends with the weights of an unbroken one.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from tunepipe.core.errors import DataError
from tunepipe.core.files import replacing

from .contract import Progress
from .local_data import Row, batches, micro_batches, packed, padded

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
        micro_batch_size: Rows through the model at once; gradients add up to `batch_size`.
        packed_tokens: 0 to pad; else the most tokens of a line of packed rows.
        rate: The peak learning rate.
        weight_decay: AdamW's and Muon's.
        muon: Whether matrices are Muon's, which suits a model from nothing.
        seed: Seeds the order of rows and dropout.
        evaluate_every: Steps between evaluations.
        checkpoint_every: Steps between checkpoints.
        patience: Evaluations without a better loss after which training stops, and the best
            weights are kept; 0 trains to the end and keeps the last.
        pad: The token that fills short rows.
    """

    steps: int
    batch_size: int
    micro_batch_size: int
    packed_tokens: int
    rate: float
    weight_decay: float
    muon: bool
    seed: int
    evaluate_every: int
    checkpoint_every: int
    patience: int
    pad: int


@dataclass
class State:
    """How far a run is; with the weights and the optimizers' states, all that it is."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    untrained_loss: float = math.nan
    final_loss: float = math.nan
    best_loss: float = math.inf
    best_step: int = 0
    resumed_from: int = 0
    curve: list[list[float | None]] = field(default_factory=list)
    running_loss: list[float] = field(default_factory=list)


def train(
    model: Any,
    rows: Sequence[Row],
    held_out: Sequence[Row],
    plan: Plan,
    checkpoint: Path,
    progress: Progress,
) -> State:
    """Train `model` in place, going on from `checkpoint` where that exists.

    Args:
        model: A causal language model on its device; what requires a gradient is trained.
        rows: The training rows.
        held_out: Rows for the loss that is reported; may be empty.
        plan: How.
        checkpoint: The file to go on from and to write.
        progress: Told of `done`, `total`, `seconds_left`, `loss` and, where there is one,
            `eval_loss`.

    Returns:
        The state at the end; `curve` holds [step, training loss, evaluation loss or None].

    Raises:
        DataError: The loss is not a number, or did not fall below the untrained model's.
    """
    optimizers = _optimizers(model, plan)
    judged = held_out or rows[:_SAMPLE]
    state, best = _resume(checkpoint, model, optimizers)
    if not state.curve:
        state.untrained_loss = evaluation_loss(model, judged, plan)
        state.curve.append([0, None, state.untrained_loss])
    started = time.monotonic() - state.seconds
    model.train()
    for numbers in _remaining(rows, plan, state.step):
        if plan.patience and _evaluations_since_best(state) >= plan.patience:
            break
        state.step += 1
        loss = _step(model, [rows[n] for n in numbers], optimizers, plan, state.step)
        state.tokens += sum(len(rows[n].ids) for n in numbers)
        state.running_loss.append(loss)
        if _is_due(state.step, plan.evaluate_every, plan.steps):
            best = _evaluate(model, judged, plan, state, best)
        elif _is_due(state.step, plan.steps // _REPORTS, plan.steps):
            _note(state, None)
        state.seconds = time.monotonic() - started
        progress(_event(state, plan, loss))
        if _is_due(state.step, plan.checkpoint_every, plan.steps):
            _save(checkpoint, model, optimizers, state, best)
    _restore(model, best)
    state.final_loss = state.best_loss if plan.patience else _last_evaluation(state)
    _refuse_unless_learnt(state)
    return state


def evaluation_loss(model: Any, rows: Sequence[Row], plan: Plan) -> float:
    """Return the mean loss of the rows' answers, in nats a token."""
    model.eval()
    total = weight = 0.0
    ordered = sorted(rows, key=lambda row: len(row.ids))
    with torch.no_grad():
        for part in micro_batches(ordered, plan.micro_batch_size, plan.packed_tokens):
            answers = [Row(row.ids, [float(w == 1) for w in row.weights]) for row in part]
            total += float(_loss(model, answers, plan))
            weight += sum(sum(row.weights) for row in answers)
    model.train()
    return total / weight


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


def _step(
    model: Any, rows: Sequence[Row], optimizers: Sequence[Any], plan: Plan, step: int
) -> float:
    torch.manual_seed(plan.seed * 1_000_003 + step)
    # One sum over the whole step: the gradient is the same however the step is divided.
    weight = sum(sum(row.weights) for row in rows)
    total = torch.zeros((), device=model.device)
    for part in micro_batches(rows, plan.micro_batch_size, plan.packed_tokens):
        loss = _loss(model, part, plan) / weight
        loss.backward()
        total += loss.detach()
    trained = [p for p in model.parameters() if p.requires_grad]
    torch.nn.utils.clip_grad_norm_(trained, _MAX_GRADIENT_NORM)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate_at(step, plan.steps)
        optimizer.step()
        optimizer.zero_grad()
    if not math.isfinite(result := float(total)):
        raise DataError(
            f"the training loss is not a number at step {step}",
            where="learning_rate_multiplier",
            fix="lower it, to 0.3 for a start",
        )
    return result


def _loss(model: Any, rows: Sequence[Row], plan: Plan) -> torch.Tensor:
    """Return the sum of the weighted losses of the rows' tokens."""
    inputs, weights = packed(rows) if plan.packed_tokens else padded(rows, plan.pad)
    inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
    weights = weights[:, 1:].to(model.device)
    # The vocabulary is wide: no logits before the first token that counts.
    first = int(weights.any(dim=0).nonzero()[0])
    kept = weights.shape[1] - first
    with _precision(model):
        logits = model(**inputs, use_cache=False, **_keeping(model, kept + 1)).logits
    losses = torch.nn.functional.cross_entropy(
        logits[:, -kept - 1 : -1].flatten(0, 1).float(),
        inputs["input_ids"][:, -kept:].flatten(),
        reduction="none",
    )
    return (losses * weights[:, -kept:].flatten()).sum()


def _keeping(model: Any, positions: int) -> dict[str, int]:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    knows = "logits_to_keep" in inspect.signature(base.forward).parameters
    return {"logits_to_keep": positions} if knows else {}


def _precision(model: Any) -> AbstractContextManager[Any]:
    on_gpu = model.device.type == "cuda"
    return torch.autocast("cuda", dtype=torch.bfloat16) if on_gpu else nullcontext()


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
    model: Any, rows: Sequence[Row], plan: Plan, state: State, best: dict[str, Any]
) -> dict[str, Any]:
    """Note the evaluation loss; return the weights to keep, {} where the last ones are."""
    loss = evaluation_loss(model, rows, plan)
    _note(state, loss)
    if loss < state.best_loss:
        state.best_loss, state.best_step = loss, state.step
        return _trained(model) if plan.patience else {}
    return best


def _note(state: State, evaluation: float | None) -> None:
    mean = sum(state.running_loss) / len(state.running_loss)
    state.curve.append([state.step, mean, evaluation])
    state.running_loss.clear()


def _evaluations_since_best(state: State) -> int:
    return sum(
        step is not None and step > state.best_step and evaluation is not None
        for step, _, evaluation in state.curve
    )


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


def _trained(model: Any) -> dict[str, Any]:
    return {
        name: parameter.detach().cpu().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def _restore(model: Any, weights: dict[str, Any]) -> None:
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)


def _save(
    path: Path, model: Any, optimizers: Sequence[Any], state: State, best: dict[str, Any]
) -> None:
    content = {
        "state": asdict(state),
        "weights": _trained(model),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "best": best,
    }
    with replacing(path, "wb") as file:
        torch.save(content, file)


def _resume(path: Path, model: Any, optimizers: Sequence[Any]) -> tuple[State, dict[str, Any]]:
    if not path.exists():
        return State(), {}
    content = torch.load(path, weights_only=True, map_location="cpu")
    _restore(model, content["weights"])
    for optimizer, state in zip(optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    state = State(**content["state"])
    state.resumed_from = state.step
    return state, content["best"]
