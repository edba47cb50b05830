"""Score a model's predictions, and with a baseline's say whether the model is better.

Rows without an answer are counted and left out of the metrics: an answer that never came says
nothing of the model's answers. A comparison leaves out rows that either model did not answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tunepipe.arguments import SEED_MAX, check_margin, check_range
from tunepipe.data.predictions import Prediction, read
from tunepipe.errors import UsageError
from tunepipe.evaluation import classification_metrics as metrics_labels
from tunepipe.evaluation import json_metrics as metrics_json
from tunepipe.evaluation import text_metrics as metrics_text
from tunepipe.evaluation.comparison import Comparison, compare
from tunepipe.evaluation.intervals import (
    Estimate,
    Floats,
    percentile_interval,
    resampled_sums,
    wilson,
)
from tunepipe.evaluation.metric import Metric
from tunepipe.evaluation.significance import bound_of_no_difference
from tunepipe.evaluation.tasks import check_task, parse
from tunepipe.evaluation.tokenization import normalized

_MAX_LABELS, _MAX_LABEL_CHARACTERS, _MIN_ROWS_PER_LABEL = 30, 50, 5


class _Task(NamedTuple):
    """A task's metrics, the one that decides, and the one that says right or wrong."""

    measure: Callable[[Sequence[str], Sequence[str]], list[Metric]]
    primary: str
    right: str


def _task(name: str) -> _Task:
    check_task(name)
    kind = {"text": metrics_text, "classification": metrics_labels, "json": metrics_json}[name]
    return _Task(kind.measure, kind.PRIMARY, kind.RIGHT)


@dataclass(frozen=True)
class Evaluation:
    """What the predictions are worth.

    Args:
        task: "text", "classification" or "json".
        rows: All rows of the file.
        unanswered: Rows without an answer.
        metrics: Each metric on the answered rows, with its interval; "answered" on all rows. Only
            "answered" is there if no row has an answer.
        baseline: The baseline's metrics on its own answered rows; None without a baseline.
        baseline_unanswered: The baseline's rows without an answer.
        differences: Tuned less baseline, each metric on the rows that both answered; empty
            without a baseline.
        comparison: The verdict; None without a baseline.
        confusion: `{"labels", "matrix"}` of a classification; None otherwise.
        classes: The table of classes; empty unless a classification.
        flips: Rows that went from wrong to right ("fixed") or from right to wrong ("broken"), as
            `{"id", "flip"}`; empty without a baseline.
    """

    task: str
    rows: int
    unanswered: int
    metrics: dict[str, Estimate]
    baseline: dict[str, Estimate] | None
    baseline_unanswered: int
    differences: dict[str, Estimate]
    comparison: Comparison | None
    confusion: dict[str, Any] | None
    classes: list[dict[str, Any]]
    flips: list[dict[str, str]]

    def as_json(self) -> dict[str, Any]:
        """Give the object of `score --json`."""
        return {
            "rows": self.rows,
            "metrics": _as_json(self.metrics),
            "comparison": self.comparison.as_json() if self.comparison else None,
        }

    def details(self) -> dict[str, Any]:
        """Give everything, for the report: `as_json` and the other attributes under their names."""
        return self.as_json() | {
            "comparison": self.comparison.details() if self.comparison else None,
            "task": self.task,
            "unanswered": self.unanswered,
            "baseline": None if self.baseline is None else _as_json(self.baseline),
            "baseline_unanswered": self.baseline_unanswered,
            "differences": _as_json(self.differences),
            "confusion": self.confusion,
            "classes": self.classes,
            "flips": self.flips,
        }


def _as_json(estimates: dict[str, Estimate]) -> dict[str, dict[str, float]]:
    return {name: estimate.as_json() for name, estimate in estimates.items()}


def score(
    predictions_path: str | os.PathLike[str],
    baseline_path: str | os.PathLike[str] = "",
    *,
    task: str = "text",
    metric: str = "",
    seed: int = 0,
    margin: float = 0.0,
) -> dict[str, Any]:
    """Score a predictions file: `evaluate` on what the files hold, as `score --json` prints it.

    Args:
        predictions_path: The tuned model's predictions.
        baseline_path: Another model's on the same rows; "" for none.
        task: "text", "classification", "json", or "auto" to tell from the references.
        metric: The metric that decides; "" for the task's own (rouge_l, accuracy,
            field_accuracy).
        seed: Seeds the resampling.
        margin: The largest acceptable loss, 0..1.

    Raises:
        UsageError: A file cannot be read, the two do not hold the same rows, or there is no such
            task or metric.
    """
    baseline = read(baseline_path) if os.fspath(baseline_path) else None
    rows = read(predictions_path)
    return evaluate(rows, baseline, task=task, metric=metric, seed=seed, margin=margin).as_json()


def evaluate(
    rows: Sequence[Prediction],
    baseline: Sequence[Prediction] | None = None,
    *,
    task: str = "auto",
    metric: str = "",
    seed: int = 0,
    margin: float = 0.0,
) -> Evaluation:
    """Score predictions, and compare them with a baseline's; see `score` for the arguments."""
    check_margin(margin)
    check_range(seed, "seed", 0, SEED_MAX, whole=True)
    task = detect_task(rows) if task == "auto" else task
    kind = _task(task)
    ours = _Measured.of(rows, kind)
    ours.scores(metric or kind.primary)  # refuses a metric that is not one of the task's
    theirs = None if baseline is None else _Measured.of(_same_rows(rows, baseline), kind)
    estimates, their_estimates, differences = _estimates(ours, theirs, seed)
    answered = [row for row in rows if row.prediction is not None]
    table = _confusion(answered) if task == "classification" and answered else None
    return Evaluation(
        task=task,
        rows=len(rows),
        unanswered=len(rows) - len(answered),
        metrics=estimates,
        baseline=their_estimates,
        baseline_unanswered=0 if theirs is None else int((~theirs.answered).sum()),
        differences=differences,
        comparison=None
        if theirs is None
        else _compared(ours, theirs, metric or kind.primary, differences, seed, margin),
        confusion=table.as_json() if table else None,
        classes=table.classes() if table else [],
        flips=[] if theirs is None else _flips(rows, ours, theirs, kind.right),
    )


@dataclass(frozen=True)
class _Measured:
    """A model's metrics over all rows; those without an answer are left out by `on`."""

    answered: npt.NDArray[np.bool_]
    metrics: list[Metric]

    @classmethod
    def of(cls, rows: Sequence[Prediction], kind: _Task) -> _Measured:
        # All rows are measured, so that both models' metrics know the same labels and fields.
        answers = [row.prediction or "" for row in rows]
        return cls(
            np.array([row.prediction is not None for row in rows]),
            kind.measure(answers, [row.reference for row in rows]),
        )

    def on(self, rows: npt.NDArray[np.bool_]) -> list[Metric]:
        return [metric.on(rows) for metric in self.metrics]

    def scores(self, name: str) -> list[float | None]:
        names = [metric.name for metric in self.metrics if metric.by_row]
        if name not in names:
            raise UsageError(
                f"the metric {name} has no score for a single row, or is not one of this task",
                where="metric",
                fix=f"name one of {', '.join(names)}",
            )
        values = self.metrics[[metric.name for metric in self.metrics].index(name)].statistics
        pairs = zip(values[:, 0].tolist(), self.answered.tolist(), strict=True)
        return [value if answered else None for value, answered in pairs]

    def estimates(self, sums: Sequence[Floats] | None, seed: int) -> dict[str, Estimate]:
        metrics = self.on(self.answered)
        count, rows = int(self.answered.sum()), len(self.answered)
        estimates = {"answered": Estimate(count / rows, *wilson(count, rows))}
        if count:
            sums = _resampled(metrics, seed) if sums is None else sums
            estimates |= {
                metric.name: metric.estimate(sum_)
                for metric, sum_ in zip(metrics, sums, strict=True)
                if metric.defined
            }
        return estimates


def _estimates(
    ours: _Measured, theirs: _Measured | None, seed: int
) -> tuple[dict[str, Estimate], dict[str, Estimate] | None, dict[str, Estimate]]:
    """Our estimates, theirs, and the paired differences, resampled once where rows allow it."""
    if theirs is None:
        return ours.estimates(None, seed), None, {}
    both = ours.answered & theirs.answered
    if not both.any():
        return ours.estimates(None, seed), theirs.estimates(None, seed), {}
    left, right = ours.on(both), theirs.on(both)
    sums = _resampled([*left, *right], seed)
    our_sums, their_sums = sums[: len(left)], sums[len(left) :]
    triples = zip(zip(left, right, strict=True), our_sums, their_sums, strict=True)
    return (
        ours.estimates(our_sums if both.sum() == ours.answered.sum() else None, seed),
        theirs.estimates(their_sums if both.sum() == theirs.answered.sum() else None, seed),
        {
            a.name: _difference(a, b, sums_a, sums_b)
            for (a, b), sums_a, sums_b in triples
            if a.defined and b.defined
        },
    )


def _difference(ours: Metric, theirs: Metric, our_sums: Floats, their_sums: Floats) -> Estimate:
    value, rows = ours.value - theirs.value, len(ours.statistics)
    if np.array_equal(ours.statistics, theirs.statistics):
        bound = bound_of_no_difference(rows)
        return Estimate(0.0, -bound, bound)
    if rows == 1:
        return Estimate(value, -1.0, 1.0)
    replicates = ours.combine(our_sums) - theirs.combine(their_sums)
    return Estimate(value, *percentile_interval(replicates, rows))


def _resampled(metrics: Sequence[Metric], seed: int) -> list[Floats]:
    """Each metric's sums in every resample, all metrics on the same resamples."""
    statistics = [metric.statistics for metric in metrics]
    ends = np.cumsum([numbers.shape[1] for numbers in statistics])
    return np.split(resampled_sums(np.hstack(statistics), seed=seed), ends[:-1], axis=1)


def _compared(
    ours: _Measured,
    theirs: _Measured,
    metric: str,
    differences: Mapping[str, Estimate],
    seed: int,
    margin: float,
) -> Comparison:
    known = differences.get(metric)
    return compare(
        ours.scores(metric),
        theirs.scores(metric),
        metric=metric,
        seed=seed,
        margin=margin,
        bootstrap=(known.low, known.high) if known else None,
    )


def _same_rows(rows: Sequence[Prediction], others: Sequence[Prediction]) -> list[Prediction]:
    """The other model's rows in the order of ours; an unpaired comparison would say nothing."""
    by_id = {row.id: row for row in others}
    missing = sum(row.id not in by_id for row in rows)
    if missing or len(by_id) != len(rows):
        raise UsageError(
            f"the two files do not hold the same rows: {missing:,} of {len(rows):,} ids are "
            f"missing in the baseline, which holds {len(by_id):,}",
            where="baseline",
            fix="let both models answer the same held-out file",
        )
    paired = [by_id[row.id] for row in rows]
    pairs = list(zip(rows, paired, strict=True))
    _require_none([a.id for a, b in pairs if a.reference != b.reference], "reference")
    # A file may leave the inputs out.
    _require_none([a.id for a, b in pairs if a.input and b.input and a.input != b.input], "input")
    return paired


def _require_none(changed: Sequence[str], what: str) -> None:
    if changed:
        raise UsageError(
            f"{len(changed):,} rows have another {what} in the baseline, first {changed[0]}",
            where="baseline",
            fix="let both models answer the same held-out file",
        )


def _confusion(answered: Sequence[Prediction]) -> metrics_labels.Confusion:
    return metrics_labels.confusion(
        [row.prediction or "" for row in answered], [row.reference for row in answered]
    )


def _flips(
    rows: Sequence[Prediction], ours: _Measured, theirs: _Measured, right: str
) -> list[dict[str, str]]:
    triples = zip(rows, ours.scores(right), theirs.scores(right), strict=True)
    return [
        {"id": row.id, "flip": "fixed" if tuned > base else "broken"}
        for row, tuned, base in triples
        if tuned is not None and base is not None and tuned != base
    ]


def detect_task(rows: Sequence[Prediction]) -> str:
    """Tell the task from the references.

    Returns:
        "json" if all are JSON objects; "classification" if at most 30 short texts come back again
        and again, five times each on average; else "text".
    """
    references = [row.reference for row in rows]
    if all(parse(text) is not None for text in references):
        return "json"
    labels = {normalized(text) for text in references}
    few = len(labels) <= min(_MAX_LABELS, len(references) / _MIN_ROWS_PER_LABEL)
    short = all(0 < len(label) <= _MAX_LABEL_CHARACTERS for label in labels)
    return "classification" if few and short else "text"
