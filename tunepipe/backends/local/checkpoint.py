"""What a run leaves on the disk every so often, and goes on from after it was killed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tunepipe.files import replacing


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


def trained_weights(model: Any) -> dict[str, Any]:
    """Return a copy of the weights that training changes, by name."""
    return {
        name: parameter.detach().cpu().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def restore(model: Any, weights: Mapping[str, Any]) -> None:
    """Put weights back into a model; {} changes nothing."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)


def save_checkpoint(
    path: Path, model: Any, optimizers: Sequence[Any], state: State, best: dict[str, Any]
) -> None:
    """Write all that a run is: its state, weights, optimizers, and the best weights so far."""
    content = {
        "state": asdict(state),
        "weights": trained_weights(model),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "best": best,
    }
    with replacing(path, "wb") as file:
        torch.save(content, file)


def resume(path: Path, model: Any, optimizers: Sequence[Any]) -> tuple[State, dict[str, Any]]:
    """Return the state and the best weights of `path`, and set model and optimizers to it."""
    if not path.exists():
        return State(), {}
    content = torch.load(path, weights_only=True, map_location="cpu")
    restore(model, content["weights"])
    for optimizer, state in zip(optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    state = State(**content["state"])
    state.resumed_from = state.step
    return state, content["best"]
