"""Score a model's predictions, and with another model's say whether the model is better.

A missing answer counts as a wrong one, in scores, comparison and gate, unless `missing` is
"excluded". Rows of one group, rows with the same content and several answers to one row are one
unit of evidence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from tunepipe.arguments import SEED_MAX, check_margin, check_range, hint
from tunepipe.data.predictions import Prediction, read
from tunepipe.errors import UsageError
from tunepipe.evaluation import (
    call_metrics,
    classification_metrics,
    custom_metrics,
    json_metrics,
    text_metrics,
)
from tunepipe.evaluation.comparison import (
    BETTER,
    EXCLUDED,
    UNDECIDED,
    WORSE,
    WRONG,
    Comparison,
    compare_metrics,
    difference,
)
from tunepipe.evaluation.intervals import CONFIDENCE, Estimate, Floats, resampled_sums
from tunepipe.evaluation.metric import Bools, Metric, Units, share_of
from tunepipe.evaluation.normalization import CHECKS, CONTENT, NORMALIZATIONS, STRICT
from tunepipe.evaluation.significance import ZERO, confidence_of_look
from tunepipe.evaluation.tasks import Task, choose_task

_MAX_SLICES = 200


class _Kind(NamedTuple):
    """A task's metrics, the one that decides, and those that are shown strict and by content."""

    measure: Callable[[Sequence[str], Sequence[str], Sequence[str]], list[Metric]]
    content: Callable[[str], str]
    primary: str
    paired: Sequence[str]


def _kind(task: str) -> _Kind:
    module = {
        "text": text_metrics,
        "classification": classification_metrics,
        "json": json_metrics,
        "calls": call_metrics,
    }[task]
    return _Kind(module.measure, module.CONTENT, module.PRIMARY, module.PAIRED)


@dataclass(frozen=True)
class Settings:
    """Settings for scoring and comparing predictions.

    Args:
        task: "text", "classification", "json", or "auto" to detect it from the references.
        metric: The metric that decides: one of the task's, or one of the user's own
            (`custom_metrics`); "" takes the task's default.
        metric_code: The file of a metric of the user's own, if it was read before.
        normalize: "strict" scores answers as they are; "content" looks through their wrappings.
        missing: "wrong" scores a missing answer 0; "excluded" leaves it out.
        margin: The largest acceptable loss, 0..1.
        group_by: A field of the rows; rows that agree in it are one unit of evidence.
        slice_by: Fields of the rows, or "class" (the reference's label); a loss that is shown in
            one of their slices stops a promotion.
        look: How often the held-out rows have decided, this time included; from the second time
            on the interval is wider (`significance.confidence_of_look`).
        seed: Seeds the resampling of metrics of the whole file.
    """

    task: str = "auto"
    metric: str = ""
    metric_code: str = ""
    normalize: str = STRICT
    missing: str = WRONG
    margin: float = 0.0
    group_by: str = ""
    slice_by: Sequence[str] = ()
    look: int = 1
    seed: int = 0

    def check(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            UsageError: Names the setting and what is wanted.
        """
        check_margin(self.margin)
        check_range(self.look, "look", 1, whole=True)
        check_range(self.seed, "seed", 0, SEED_MAX, whole=True)
        for name, value, known in (
            ("normalize", self.normalize, NORMALIZATIONS),
            ("missing", self.missing, (WRONG, EXCLUDED)),
        ):
            if value not in known:
                raise UsageError(f"{value!r} is not known", where=name, fix=hint(value, known))


@dataclass(frozen=True)
class Slice:
    """The rows that agree in one field.

    Args:
        field: The field.
        value: What they agree in.
        rows: How many rows.
        groups: How many independent units among them.
        score: The tuned model's.
        comparison: Against the other model; None without one.
        p_adjusted: The comparison's p-value after Holm's correction over all slices.
        declared: Whether the user declared it: a loss in it stops a promotion.
    """

    field: str
    value: str
    rows: int
    groups: int
    score: Estimate
    comparison: Comparison | None
    p_adjusted: float
    declared: bool

    @property
    def name(self) -> str:
        """How people call it: field=value."""
        return f"{self.field}={self.value}"

    @property
    def verdict(self) -> str:
        """The verdict at the adjusted p-value."""
        if self.comparison is None or self.p_adjusted > 1 - CONFIDENCE:
            return UNDECIDED
        return BETTER if self.comparison.difference > 0 else WORSE

    def as_json(self) -> dict[str, Any]:
        """Return the slice for `score --json` and the report."""
        return {
            "field": self.field,
            "value": self.value,
            "rows": self.rows,
            "groups": self.groups,
            "score": self.score.as_json(),
            "comparison": self.comparison.as_json() if self.comparison else None,
            "p_adjusted": self.p_adjusted,
            "verdict": self.verdict,
            "declared": self.declared,
        }


@dataclass(frozen=True)
class Evaluation:
    """The scores of a file of predictions.

    Args:
        task: The task, and why it was taken.
        metric: The metric that decides.
        settings: As given.
        rows: All answers of the file.
        groups: Independent units among them.
        unanswered: Missing answers.
        metrics: Each metric with its interval; "answered" is the share of rows with an answer.
        baseline: The other model's metrics; None without one.
        baseline_unanswered: Its missing answers.
        differences: Tuned less other, each metric; empty without another model.
        comparison: The verdict; None without another model.
        confusion: `{"labels", "matrix"}` of a classification; None otherwise.
        classes: The table of classes; empty unless a classification.
        baseline_classes: The other model's.
        slices: Each slice with its score and comparison.
        flips: Rows on which the deciding metric is higher ("fixed") or lower ("broken") than the
            other model's, as `{"id", "flip"}`.
        within_rows: With several answers a row: how many, and how much they differ.
        serving: Time, tokens and cost of an answer, if the files hold them.
        baseline_serving: The other model's.
        custom: Name and digest of a metric of the user's own.
    """

    task: Task
    metric: str
    settings: Settings
    rows: int
    groups: int
    unanswered: int
    metrics: dict[str, Estimate]
    baseline: dict[str, Estimate] | None = None
    baseline_unanswered: int = 0
    differences: dict[str, Estimate] = field(default_factory=dict)
    comparison: Comparison | None = None
    confusion: dict[str, Any] | None = None
    classes: list[dict[str, Any]] = field(default_factory=list)
    baseline_classes: list[dict[str, Any]] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    flips: list[dict[str, str]] = field(default_factory=list)
    within_rows: dict[str, float] | None = None
    serving: dict[str, float | None] = field(default_factory=dict)
    baseline_serving: dict[str, float | None] = field(default_factory=dict)
    custom: dict[str, str] | None = None

    @property
    def lost_slices(self) -> list[str]:
        """The declared slices in which a loss is shown."""
        return [each.name for each in self.slices if each.declared and each.verdict == WORSE]

    def as_json(self) -> dict[str, Any]:
        """Return the object of `score --json`."""
        return {
            "rows": self.rows,
            "metrics": _as_json(self.metrics),
            "comparison": self.comparison.as_json() if self.comparison else None,
            "task": self.task.name,
            "task_reason": self.task.reason,
            "metric": self.metric,
            "normalize": self.settings.normalize,
            "missing": self.settings.missing,
            "groups": self.groups,
            "unanswered": self.unanswered,
            "baseline_unanswered": self.baseline_unanswered,
            "look": self.settings.look,
            "slices": [each.as_json() for each in self.slices],
            "within_rows": self.within_rows,
            "serving": self.serving,
            "custom_metric": self.custom,
        }

    def details(self) -> dict[str, Any]:
        """Return everything, for the report."""
        return self.as_json() | {
            "baseline": None if self.baseline is None else _as_json(self.baseline),
            "differences": _as_json(self.differences),
            "confusion": self.confusion,
            "classes": self.classes,
            "flips": self.flips,
        }

    def baseline_details(self) -> dict[str, Any]:
        """Return the other model's side, in the same form."""
        return {
            "rows": self.rows,
            "metrics": _as_json(self.baseline or {}),
            "comparison": None,
            "unanswered": self.baseline_unanswered,
            "classes": self.baseline_classes,
            "serving": self.baseline_serving,
        }


def _as_json(estimates: dict[str, Estimate]) -> dict[str, dict[str, float]]:
    return {name: estimate.as_json() for name, estimate in estimates.items()}


def score(
    predictions_path: str | os.PathLike[str],
    baseline_path: str | os.PathLike[str] = "",
    **settings: Any,
) -> dict[str, Any]:
    """Score a predictions file: `evaluate` on what the files hold, as `score --json` prints it.

    Args:
        predictions_path: The tuned model's predictions.
        baseline_path: Another model's on the same rows; "" for none.
        settings: The fields of `Settings`.

    Raises:
        UsageError: A file cannot be read, the two do not hold the same rows, or a setting is wrong.
    """
    baseline = read(baseline_path) if os.fspath(baseline_path) else None
    return evaluate(read(predictions_path), baseline, **settings).as_json()


def evaluate(
    rows: Sequence[Prediction],
    baseline: Sequence[Prediction] | None = None,
    **settings: Any,
) -> Evaluation:
    """Score predictions, and compare them with another model's; see `score`."""
    chosen = Settings(**settings)
    chosen.check()
    task = choose_task([row.reference for row in rows], chosen.task)
    kind = _kind(task.name)
    custom = custom_metrics.load(chosen.metric, chosen.metric_code)
    ours = _Measured.of(rows, task.name, kind, custom, chosen)
    metric = _deciding(chosen.metric or kind.primary, ours)
    others = None if baseline is None else _same_rows(rows, baseline)
    theirs = None if others is None else _Measured.of(others, task.name, kind, custom, chosen)
    units = _units(rows, chosen.group_by)
    alone = _estimates(ours, theirs, units, chosen)
    tables = [
        classification_metrics.confusion(_answers(each), [row.reference for row in each])
        for each in (rows, others)
        if each is not None and task.name == "classification"
    ]
    return replace(
        alone,
        task=task,
        metric=metric,
        comparison=None if theirs is None else _compared(ours, theirs, metric, units, chosen),
        confusion=tables[0].as_json() if tables else None,
        classes=tables[0].classes() if tables else [],
        baseline_classes=tables[1].classes() if len(tables) > 1 else [],
        slices=_slices(rows, ours, theirs, metric, units, task.name, chosen),
        flips=[] if theirs is None else _flips(rows, ours, theirs, metric),
        within_rows=_within_rows(rows, ours.named(metric)),
        serving=serving(rows),
        baseline_serving=serving(others or ()),
        custom={"name": custom.name, "sha256": custom.digest} if custom else None,
    )


def _answers(rows: Sequence[Prediction]) -> list[str]:
    return [row.prediction or "" for row in rows]


@dataclass(frozen=True)
class _Measured:
    """A model's metrics over all rows."""

    answered: Bools
    metrics: list[Metric]

    @classmethod
    def of(
        cls,
        rows: Sequence[Prediction],
        task: str,
        kind: _Kind,
        custom: custom_metrics.CustomMetric | None,
        settings: Settings,
    ) -> _Measured:
        answered = np.array([row.prediction is not None for row in rows])
        answers, references = _answers(rows), [row.reference for row in rows]
        content = kind.content
        by_content = settings.normalize == CONTENT
        # All metrics of the one reading, and the most telling of the other next to them.
        suffix = STRICT if by_content else CONTENT
        metrics = [
            *_read(kind, answers, references, content if by_content else None),
            *(
                replace(metric, name=f"{metric.name}_{suffix}")
                for metric in _read(
                    kind, answers, references, None if by_content else content, kind.paired
                )
            ),
        ]
        if custom:
            metrics.append(custom_metrics.measure(custom, rows))
        if task == "text":
            metrics += _checks(answers, references)
        return cls(answered, [metric.without(~answered) for metric in metrics])

    def named(self, name: str) -> Metric:
        return next(metric for metric in self.metrics if metric.name == name)


def _read(
    kind: _Kind,
    answers: Sequence[str],
    references: Sequence[str],
    content: Callable[[str], str] | None,
    only: Sequence[str] = (),
) -> list[Metric]:
    """Measure the answers as they are, or their content."""
    if content is None:
        return kind.measure(answers, references, only)
    return kind.measure(list(map(content, answers)), list(map(content, references)), only)


def _checks(answers: Sequence[str], references: Sequence[str]) -> list[Metric]:
    """What word metrics cannot see: on which of the rows that hold it, it is the reference's."""
    metrics = []
    for name, holds in CHECKS.items():
        wanted = list(map(holds, references))
        if any(wanted):
            pairs = list(zip(map(holds, answers), wanted, strict=True))
            asked = [bool(answer or reference) for answer, reference in pairs]
            right = [
                ask and answer == reference
                for ask, (answer, reference) in zip(asked, pairs, strict=True)
            ]
            metrics.append(share_of(f"check:{name}", right, asked))
    return metrics


def _deciding(name: str, measured: _Measured) -> str:
    names = [metric.name for metric in measured.metrics]
    if name not in names:
        raise UsageError(
            f"the metric {name} is not known for this task",
            where="metric",
            fix=f"{hint(name, names)}; known: {', '.join(names)}; or a metric of your own: "
            "module:function, regex:PATTERN, schema:FILE, number:TOLERANCE",
        )
    return name


def _units(rows: Sequence[Prediction], group_by: str) -> Units:
    """Put rows together that are not independent of each other."""
    if group_by and not any(group_by in row.fields or group_by == "group" for row in rows):
        known = sorted({name for row in rows for name in row.fields} | {"group"})
        raise UsageError(
            f"no row has the field {group_by}", where="group_by", fix=f"one of {', '.join(known)}"
        )
    content = [row.hash or (f"{row.input}\0{row.reference}" if row.input else "") for row in rows]
    keys = [[row.id for row in rows], [row.group for row in rows], content]
    if group_by and group_by != "group":
        keys.append([_text(row.fields.get(group_by)) for row in rows])
    return Units.of(*keys)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _estimates(
    ours: _Measured, theirs: _Measured | None, units: Units, settings: Settings
) -> Evaluation:
    """Both models' metrics and their differences, all file metrics on the same resamples."""
    kept = _kept(ours, theirs, settings)
    left, right, pairs = _on(ours, kept), _on(theirs, kept), units.on(kept)
    sums = _resampled([*left, *right], pairs, settings.seed)
    differences = {}
    for number, metric in enumerate(left if right else ()):
        other = right[number]
        if metric.defined and other.defined:
            drawn = None
            if (metric.name, 1) in sums:
                drawn = sums[metric.name, 0], sums[metric.name, 1]
            differences[metric.name] = difference(
                metric, other, pairs, seed=settings.seed, sums=drawn
            )[0]

    def estimates(model: _Measured, side: int) -> dict[str, Estimate]:
        own = model.answered if settings.missing == EXCLUDED else np.ones_like(model.answered)
        same = bool((own == kept).all())
        metrics, model_units = _on(model, own), units.on(own)
        drawn = sums if same else _resampled(metrics, model_units, settings.seed)
        found = {"answered": _answered(model, units)}
        for metric in metrics if model.answered.any() else ():
            if metric.defined:
                key = (metric.name, side if same else 0)
                found[metric.name] = metric.estimate(
                    model_units, drawn.get(key, np.empty(0)), settings.seed
                )
        return found

    return Evaluation(
        task=Task("", ""),
        metric="",
        settings=settings,
        rows=len(ours.answered),
        groups=units.count,
        unanswered=int((~ours.answered).sum()),
        metrics=estimates(ours, 0),
        baseline=estimates(theirs, 1) if theirs else None,
        baseline_unanswered=int((~theirs.answered).sum()) if theirs else 0,
        differences=differences,
    )


def _kept(ours: _Measured, theirs: _Measured | None, settings: Settings) -> Bools:
    """The rows that are compared."""
    if settings.missing == WRONG:
        return np.ones_like(ours.answered)
    return ours.answered & theirs.answered if theirs else ours.answered


def _on(model: _Measured | None, rows: Bools) -> list[Metric]:
    return [metric.on(rows) for metric in model.metrics] if model else []


def _answered(model: _Measured, units: Units) -> Estimate:
    values = model.answered.astype(np.float64)
    metric = share_of("answered", values.tolist(), [True] * len(values))
    return metric.estimate(units, np.empty(0))


def _resampled(metrics: Sequence[Metric], units: Units, seed: int) -> dict[tuple[str, int], Floats]:
    """The sums of each metric of the whole file in every resample, all on the same resamples.

    A metric that is there twice, for two models, has the keys (name, 0) and (name, 1).
    """
    chosen = [metric for metric in metrics if not metric.by_row]
    if not chosen or units.count < 2:
        return {}
    statistics = [units.sums(metric.statistics) for metric in chosen]
    ends = np.cumsum([numbers.shape[1] for numbers in statistics])
    parts = np.split(resampled_sums(np.hstack(statistics), seed=seed), ends[:-1], axis=1)
    sums: dict[tuple[str, int], Floats] = {}
    for metric, part in zip(chosen, parts, strict=True):
        sums[metric.name, int((metric.name, 0) in sums)] = part
    return sums


def _compared(
    ours: _Measured,
    theirs: _Measured,
    metric: str,
    units: Units,
    settings: Settings,
    rows: Bools | None = None,
    confidence: float = 0.0,
) -> Comparison:
    """Compare the two models by one metric, on all rows or a part of them."""
    kept = _kept(ours, theirs, settings)
    part = np.ones_like(kept) if rows is None else rows
    kept = kept & part
    return compare_metrics(
        ours.named(metric).on(kept),
        theirs.named(metric).on(kept),
        units.on(kept),
        missing=settings.missing,
        absent=(int((part & ~ours.answered).sum()), int((part & ~theirs.answered).sum())),
        margin=settings.margin,
        confidence=confidence or confidence_of_look(settings.look),
        seed=settings.seed,
    )


def _slices(
    rows: Sequence[Prediction],
    ours: _Measured,
    theirs: _Measured | None,
    metric: str,
    units: Units,
    task: str,
    settings: Settings,
) -> list[Slice]:
    """Score and compare each slice; p-values are adjusted over all of them (Holm)."""
    fields = list(dict.fromkeys(settings.slice_by))
    if task == "classification" and "class" not in fields:
        fields.append("class")
    slices = []
    for name in fields:
        values = np.array([_slice_value(row, name) for row in rows], dtype=object)
        declared = name in settings.slice_by
        distinct = sorted(set(values) - {""})
        if declared and not distinct:
            raise UsageError(
                f"no row has the field {name}",
                where="slice_by",
                fix=f"one of {', '.join(sorted({n for row in rows for n in row.fields}))}, class",
            )
        if len(distinct) > _MAX_SLICES:
            if declared:
                raise UsageError(
                    f"the field {name} has {len(distinct):,} values, more than {_MAX_SLICES}",
                    where="slice_by",
                    fix="slice by a field with few values",
                )
            continue
        for value in distinct:
            part = values == value
            slices.append(
                _slice(name, value, part, ours, theirs, metric, units, settings, declared)
            )
    return _adjusted(slices)


def _slice(
    name: str,
    value: str,
    part: Bools,
    ours: _Measured,
    theirs: _Measured | None,
    metric: str,
    units: Units,
    settings: Settings,
    declared: bool,
) -> Slice:
    own = part & _kept(ours, None, settings)
    measured, own_units = ours.named(metric).on(own), units.on(own)
    sums = _resampled([measured], own_units, settings.seed).get((metric, 0), np.empty(0))
    compared = None
    if theirs is not None:
        compared = _compared(ours, theirs, metric, units, settings, part, CONFIDENCE)
    estimate = measured.estimate(own_units, sums) if measured.defined else Estimate(0.0, 0.0, 1.0)
    p_value = compared.p_value if compared else 1.0
    rows, count = int(part.sum()), units.on(part).count
    return Slice(name, value, rows, count, estimate, compared, p_value, declared)


def _slice_value(row: Prediction, name: str) -> str:
    if name == "class":
        return row.reference.strip()
    if name == "group":
        return row.group
    if name == "language" and "language" not in row.fields:
        from tunepipe.validation.statistics import language

        return language(row.input)
    return _text(row.fields.get(name))


def _adjusted(slices: list[Slice]) -> list[Slice]:
    """Holm's step-down correction: the least p-value by the number of slices, and so on."""
    order = sorted(range(len(slices)), key=lambda number: slices[number].p_adjusted)
    result, largest = list(slices), 0.0
    for place, number in enumerate(order):
        adjusted = min(1.0, slices[number].p_adjusted * (len(slices) - place))
        largest = max(largest, adjusted)
        result[number] = replace(slices[number], p_adjusted=largest)
    return result


def _within_rows(rows: Sequence[Prediction], metric: Metric) -> dict[str, float] | None:
    """With several answers a row: how many, and what share of the variance lies within rows."""
    by_id = Units.of([row.id for row in rows])
    if by_id.single:
        return None
    values = np.nan_to_num(metric.scores)
    counts = np.bincount(by_id.of_row)
    means = np.bincount(by_id.of_row, weights=values) / counts
    within = float(((values - means[by_id.of_row]) ** 2).sum() / max(len(values) - len(counts), 1))
    unequal = np.bincount(by_id.of_row, weights=np.abs(values - means[by_id.of_row])) > ZERO
    return {
        "answers": float(len(values) / len(counts)),
        "deviation_within_rows": float(np.sqrt(within)),
        "deviation_between_rows": float(means.std()),
        "rows_that_vary": float(unequal.mean()),
    }


def serving(rows: Sequence[Prediction]) -> dict[str, float | None]:
    """Summarise time and tokens of the answers, where the rows hold them.

    Returns:
        `latency_p50_ms`, `latency_p95_ms`, mean `input_tokens` and `output_tokens`; {} if nothing
        was measured.
    """
    answered = [row for row in rows if row.prediction is not None]
    seconds = [row.seconds for row in answered if row.seconds is not None]
    found: dict[str, float | None] = {}
    if seconds:
        p50, p95 = np.quantile(seconds, [0.5, 0.95])
        found |= {"latency_p50_ms": float(1000 * p50), "latency_p95_ms": float(1000 * p95)}
    for name in ("input_tokens", "output_tokens"):
        values = [value for row in answered if (value := getattr(row, name)) is not None]
        if values:
            found[name] = float(np.mean(values))
    return found


def _same_rows(rows: Sequence[Prediction], others: Sequence[Prediction]) -> list[Prediction]:
    """Return the other model's answers in this model's order, matched by row."""
    by_key = {row.key: row for row in others}
    missing, extra = sum(row.key not in by_key for row in rows), len(by_key) - len(rows)
    if missing or extra:
        found = f"{missing:,} of {len(rows):,} rows are missing in the baseline"
        if not missing:
            found = f"the baseline has {extra:,} rows that are not in the predictions"
        raise UsageError(
            f"the two files do not hold the same rows: {found}",
            where="baseline",
            fix="let both models answer the same held-out file",
        )
    paired = [by_key[row.key] for row in rows]
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


def _flips(
    rows: Sequence[Prediction], ours: _Measured, theirs: _Measured, metric: str
) -> list[dict[str, str]]:
    """The rows on which the deciding metric differs, by which wins and losses are counted."""
    gains = np.nan_to_num(ours.named(metric).scores) - np.nan_to_num(theirs.named(metric).scores)
    return [
        {"id": row.id, "flip": "fixed" if gain > 0 else "broken"}
        for row, gain in zip(rows, gains.tolist(), strict=True)
        if abs(gain) > ZERO
    ]
