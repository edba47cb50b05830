"""What a managed tuning job says of itself when it has ended, held against what was planned.

A job can end well and have learnt nothing: its loss is not a number, or it dropped the rows. Such
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

TRAIN_LOSS, EVAL_LOSS = "/train_total_loss", "/eval_total_loss"


@dataclass(frozen=True)
class Planned:
    """What the job was to do.

    Args:
        rows: Training rows sent.
        steps: Optimizer steps of the plan; the service chooses its own batch size.
        epochs: Passes over the rows.
        dropped_fraction_max: The share of rows that may be dropped, 0..1; None takes the table's.
    """

    rows: int
    steps: int
    epochs: int
    dropped_fraction_max: float | None = None


def reconciled(
    stats: Mapping[str, Any], curves: Mapping[str, Curve], planned: Planned, *, where: str
) -> dict[str, Any]:
    """Hold a job's own figures against the plan; an answer leaves out a figure that is 0.

    Args:
        stats: The job's data statistics by the service's names, in snake case; {} where it gave
            none.
        curves: Step and value of each metric; {} where none could be read.
        planned: What it was to do.
        where: The job's name.

    Returns:
        Plain figures for the report: train_steps and planned_steps, examples, billable_tokens,
        dropped_examples with dropped_reasons, loss_curve, first_loss, last_loss, eval_loss, and
        `remarks`, sentences where job and plan differ.

    Raises:
        DataError: A loss is not a number, no example or too many were dropped, or no step done.
    """
    dropped = _dropped(stats, planned)
    steps = _count(stats, "tuning_step_count")
    _check_examples(stats, dropped, planned, where)
    _check_losses(curves, where)
    train, held_out = curves.get(TRAIN_LOSS, ()), curves.get(EVAL_LOSS, ())
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
        "remarks": _remarks(steps, dropped, planned, train),
    }
    return {name: value for name, value in found.items() if value not in (None, [], {})}


def _dropped(stats: Mapping[str, Any], planned: Planned) -> int:
    """Count the dropped rows: only supervised tuning says how many, any other lists a sample."""
    listed = stats.get("dropped_example_reasons") or stats.get("dropped_example_indices") or ()
    learnt = _count(stats, "tuning_dataset_example_count") or planned.rows
    told = _count(stats, "total_truncated_example_count") or 0
    return max(told, len(listed), planned.rows - learnt)


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
            fix="mend the rows, or allow it: option dropped_fraction_max",
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
    beside = dict(held_out)
    every = -(-len(train) // _POINTS_SHOWN)
    shown = [p for n, p in enumerate(train) if n % every == 0 or n == len(train) - 1]
    return [[step, value, beside.get(step)] for step, value in shown]


def _remarks(steps: int | None, dropped: int, planned: Planned, train: Curve) -> list[str]:
    found = []
    if not steps:
        found.append(f"the job does not say how many steps were done; {planned.steps:,} planned")
    elif steps != planned.steps:
        found.append(f"{steps:,} steps were done and {planned.steps:,} planned: the service")
        found[-1] += " chooses its own batch size"
    if dropped:
        found.append(f"{dropped:,} of {planned.rows:,} examples were dropped")
    if len(train) > 1 and train[-1][1] >= train[0][1]:
        found.append(f"the loss did not fall: {train[0][1]:.4g} to {train[-1][1]:.4g}")
    return found
