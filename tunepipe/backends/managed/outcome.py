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

import msgspec

from tunepipe.catalog.tables import load
from tunepipe.errors import DataError, plural

Curve = Sequence[tuple[int, float]]

_POINTS_SHOWN = 500

# A job that made less than this share of its planned steps, or fewer than the model needs.
_STEPS_FRACTION_MIN = 0.5


class _Statistics(msgspec.Struct, frozen=True):
    """A job's statistics of its data, by the service's names; an answer leaves out what is 0."""

    tuning_step_count: int = 0
    tuning_dataset_example_count: int = 0
    total_billable_token_count: int = 0
    total_truncated_example_count: int = 0
    dropped_example_reasons: tuple[str, ...] = ()
    dropped_example_indices: tuple[int, ...] = ()


@dataclass(frozen=True)
class Planned:
    """The plan of the job.

    Args:
        rows: Training rows sent.
        steps: Optimizer steps of the plan; the service chooses its own batch size.
        dropped_fraction_max: The share of rows that may be dropped, 0..1; None takes the table's.
        steps_min: Fewer steps than this hardly change a model; 0 for no advice.
    """

    rows: int
    steps: int
    epochs: int
    dropped_fraction_max: float | None = None
    steps_min: int = 0


def compare_with_plan(
    stats: Mapping[str, Any], curves: Mapping[str, Curve], planned: Planned, *, where: str
) -> dict[str, Any]:
    """Compare a job's own figures with the plan.

    Args:
        stats: The job's data statistics by the service's names, in snake case; {} if it gave
            none.
        curves: Step and value of each metric; {} if none could be read.
        where: The job's name.

    Returns:
        Plain figures for the report, without those that are not known: train_steps and
        planned_steps, examples, billable_tokens, dropped_examples with dropped_reasons,
        loss_curve, first_loss, last_loss, eval_loss; `doubts`, reasons to doubt that the model was
        trained as planned, which belong to the verdict; and `remarks`, what else differs.

    Raises:
        DataError: A loss is not a number, no example or too many were dropped, or no step done.
    """
    job = msgspec.convert(stats, _Statistics, strict=False)
    # Only supervised tuning says how many rows were dropped, any other lists a sample.
    dropped = max(
        job.total_truncated_example_count,
        len(job.dropped_example_reasons or job.dropped_example_indices),
        planned.rows - (job.tuning_dataset_example_count or planned.rows),
    )
    # The service lists a sample of the dropped examples, not all.
    reasons = dict(Counter(job.dropped_example_reasons).most_common(20))
    most = planned.dropped_fraction_max
    if most is None:
        most = float(load("backends/managed/parameters.toml")["dropped_fraction_max"])
    if dropped > most * planned.rows:
        listed = "; ".join(f"{reason} ({count})" for reason, count in reasons.items())
        raise DataError(
            f"the job dropped {dropped:,} of {plural(planned.rows, 'example')}"
            + (f": {listed}" if listed else ""),
            where=where,
            fix="correct the rows, or allow it: option dropped_fraction_max",
        )
    counts = (
        job.tuning_step_count,
        job.tuning_dataset_example_count,
        job.total_billable_token_count,
    )
    if stats and not any(counts):
        raise DataError("the job learnt from no example", where=where, fix="check the dataset")
    _check_losses(curves, where)
    train, held_out = _losses(curves, "train_loss"), _losses(curves, "eval_loss")
    figures = {
        "train_steps": job.tuning_step_count or None,
        "planned_steps": planned.steps,
        "epochs": planned.epochs,
        "examples": job.tuning_dataset_example_count or None,
        "billable_tokens": job.total_billable_token_count or None,
        "dropped_examples": dropped if stats else None,
        "dropped_reasons": reasons,
        "loss_curve": _merge(train, held_out),
        "first_loss": train[0][1] if train else None,
        "last_loss": train[-1][1] if train else None,
        "eval_loss": held_out[-1][1] if held_out else None,
        "doubts": _doubts(job.tuning_step_count, dropped, planned, train),
        "remarks": _remarks(job.tuning_step_count, planned.steps),
    }
    return {name: value for name, value in figures.items() if value not in (None, [], {})}


def _losses(curves: Mapping[str, Curve], name: str) -> Curve:
    """Return the first curve that the job has under one of a loss's names; () without any."""
    names = load("backends/managed/parameters.toml")["curves"][name]
    return next((curves[each] for each in names if each in curves), ())


def _check_losses(curves: Mapping[str, Curve], where: str) -> None:
    for name, curve in curves.items():
        bad = next((step for step, value in curve if not math.isfinite(value)), None)
        if bad is not None and "loss" in name:
            raise DataError(
                f"{name} is not a number at step {bad}: the model has learnt nothing of use",
                where=where,
                fix="lower the learning rate (--learning-rate-multiplier 0.5) and check the rows",
            )


def _merge(train: Curve, held_out: Curve) -> list[list[float | None]]:
    """Return [step, training loss, evaluation loss], as many of each as a chart can show."""
    losses, held_out_losses = dict(train), dict(held_out)
    steps = sorted({step for curve in (train, held_out) for step, _ in _thinned(curve)})
    return [[step, losses.get(step), held_out_losses.get(step)] for step in steps]


def _thinned(curve: Curve) -> Curve:
    every = -(-len(curve) // _POINTS_SHOWN)
    return tuple(p for n, p in enumerate(curve) if n % every == 0 or n == len(curve) - 1)


def _doubts(steps: int, dropped: int, planned: Planned, train: Curve) -> list[str]:
    doubts = []
    if steps and steps < _STEPS_FRACTION_MIN * planned.steps:
        doubts.append(f"the job made only {steps:,} of {plural(planned.steps, 'planned step')}")
    if steps and steps < planned.steps_min:
        doubts.append(f"the model was hardly trained: {plural(steps, 'step')}")
    if dropped:
        doubts.append(f"the job dropped {dropped:,} of {plural(planned.rows, 'example')}")
    if len(train) > 1 and train[-1][1] >= train[0][1]:
        doubts.append(f"the loss did not fall: {train[0][1]:.4g} to {train[-1][1]:.4g}")
    return doubts


def _remarks(steps: int, planned_steps: int) -> list[str]:
    if not steps:
        return [f"the job does not report how many steps it made; {planned_steps:,} were planned"]
    if steps == planned_steps:
        return []
    made = f"{plural(steps, 'step')} made, {planned_steps:,} planned"
    return [f"{made}: the service chooses its own batch size"]
