"""Compares the report of a finished managed tuning job with the plan.

A job can succeed and have learnt nothing: its loss is not a number, or it dropped the rows. Such
a job is paid for and found again, and still does not pass.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunepipe.catalog.tables import load
from tunepipe.errors import DataError

Curve = Sequence[tuple[int, float]]

_POINTS_SHOWN = 500

# What a job that has learnt something says, one or another of it.
_DONE = ("tuning_step_count", "tuning_dataset_example_count", "total_billable_token_count")

# A job that made less than this share of its planned steps, or fewer than the model needs.
_STEPS_FRACTION_MIN = 0.5


@dataclass(frozen=True)
class Planned:
    """The plan of the job.

    Args:
        rows: Training rows sent.
        steps: Optimizer steps of the plan; the service chooses its own batch size.
        epochs: Passes over the rows.
        dropped_fraction_max: The share of rows that may be dropped, 0..1; None takes the table's.
        steps_min: Fewer steps than this hardly change a model; 0 for no advice.
    """

    rows: int
    steps: int
    epochs: int
    dropped_fraction_max: float | None = None
    steps_min: int = 0


def reconciled(
    stats: Mapping[str, Any], curves: Mapping[str, Curve], planned: Planned, *, where: str
) -> dict[str, Any]:
    """Hold a job's own figures against the plan; an answer leaves out a figure that is 0.

    Args:
        stats: The job's data statistics by the service's names, in snake case; {} if it gave
            none.
        curves: Step and value of each metric; {} if none could be read.
        planned: What it was to do.
        where: The job's name.

    Returns:
        Plain figures for the report: train_steps and planned_steps, examples, billable_tokens,
        dropped_examples with dropped_reasons, loss_curve, first_loss, last_loss, eval_loss;
        `doubts`, reasons to doubt that the model was trained as planned, which belong to the
        verdict; and `remarks`, what else differs from the plan.

    Raises:
        DataError: A loss is not a number, no example or too many were dropped, or no step done.
    """
    dropped = _dropped(stats, planned)
    steps = _count(stats, "tuning_step_count")
    _check_examples(stats, dropped, planned, where)
    _check_losses(curves, where)
    train, held_out = _losses(curves, "train_loss"), _losses(curves, "eval_loss")
    found = {
        "train_steps": steps,
        "planned_steps": planned.steps,
        "epochs": planned.epochs,
        "examples": _count(stats, "tuning_dataset_example_count"),
        "billable_tokens": _count(stats, "total_billable_token_count"),
        "dropped_examples": dropped if stats else None,
        "dropped_reasons": _reasons(stats),
        "loss_curve": _merged(train, held_out),
        "first_loss": train[0][1] if train else None,
        "last_loss": train[-1][1] if train else None,
        "eval_loss": held_out[-1][1] if held_out else None,
        "doubts": _doubts(steps, dropped, planned, train),
        "remarks": _remarks(steps, planned),
    }
    return {name: value for name, value in found.items() if value not in (None, [], {})}


def _losses(curves: Mapping[str, Curve], name: str) -> Curve:
    """Return the first curve that the job has under one of a loss's names; () without any."""
    names = load("backends/managed/parameters.toml")["curves"][name]
    return next((curves[each] for each in names if each in curves), ())


def _dropped(stats: Mapping[str, Any], planned: Planned) -> int:
    """Count the dropped rows: only supervised tuning says how many, any other lists a sample."""
    listed = stats.get("dropped_example_reasons") or stats.get("dropped_example_indices") or ()
    learnt = _count(stats, "tuning_dataset_example_count") or planned.rows
    truncated = _count(stats, "total_truncated_example_count") or 0
    return max(truncated, len(listed), planned.rows - learnt)


def _count(stats: Mapping[str, Any], name: str) -> int | None:
    value = stats.get(name)
    return None if value is None else int(value)


def _reasons(stats: Mapping[str, Any]) -> dict[str, int]:
    """Count the reasons; the service lists a sample of the examples, not all."""
    return dict(Counter(map(str, stats.get("dropped_example_reasons") or ())).most_common(20))


def _check_examples(stats: Mapping[str, Any], dropped: int, planned: Planned, where: str) -> None:
    most = planned.dropped_fraction_max
    if most is None:
        most = float(load("backends/managed/parameters.toml")["dropped_fraction_max"])
    if dropped > most * planned.rows:
        reasons = "; ".join(f"{reason} ({n})" for reason, n in _reasons(stats).items())
        raise DataError(
            f"the job dropped {dropped:,} of {planned.rows:,} examples"
            + (f": {reasons}" if reasons else ""),
            where=where,
            fix="correct the rows, or allow it: option dropped_fraction_max",
        )
    if stats and not any(stats.get(name) for name in _DONE):
        raise DataError("the job learnt from no example", where=where, fix="check the dataset")


def _check_losses(curves: Mapping[str, Curve], where: str) -> None:
    for name, curve in curves.items():
        bad = next((step for step, value in curve if not math.isfinite(value)), None)
        if bad is not None and "loss" in name:
            raise DataError(
                f"{name} is not a number at step {bad}: the model has learnt nothing of use",
                where=where,
                fix="lower the learning rate (--learning-rate-multiplier 0.5) and check the rows",
            )


def _merged(train: Curve, held_out: Curve) -> list[list[float | None]]:
    """Return [step, training loss, evaluation loss or null], as many as a chart can show."""
    losses = dict(held_out)
    every = -(-len(train) // _POINTS_SHOWN)
    shown = [p for n, p in enumerate(train) if n % every == 0 or n == len(train) - 1]
    return [[step, value, losses.get(step)] for step, value in shown]


def _doubts(steps: int | None, dropped: int, planned: Planned, train: Curve) -> list[str]:
    found = []
    if steps and steps < _STEPS_FRACTION_MIN * planned.steps:
        found.append(f"only {steps:,} of {planned.steps:,} planned steps were made")
    if steps and steps < planned.steps_min:
        found.append(f"the model was hardly trained: {steps:,} steps")
    if dropped:
        found.append(f"{dropped:,} of {planned.rows:,} examples were dropped")
    if len(train) > 1 and train[-1][1] >= train[0][1]:
        found.append(f"the loss did not fall: {train[0][1]:.4g} to {train[-1][1]:.4g}")
    return found


def _remarks(steps: int | None, planned: Planned) -> list[str]:
    if not steps:
        return [f"the job does not report how many steps it made; {planned.steps:,} were planned"]
    if steps != planned.steps:
        return [
            f"{steps:,} steps were made and {planned.steps:,} planned: the service chooses its own "
            "batch size"
        ]
    return []
