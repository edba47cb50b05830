"""Score a model's predictions, and compare them with another model's.

A missing answer counts as a wrong one, in scores, comparison and gate, unless `missing` is
"excluded". Rows of one group, rows with the same content and several answers to one row are one
unit of evidence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import replace

from tunepipe.arguments import SEED_MAX, hint
from tunepipe.data.predictions import Prediction, read
from tunepipe.decoding import Share, decode
from tunepipe.errors import UsageError, plural
from tunepipe.evaluation import (
    call_metrics,
    classification_metrics,
    custom_metrics,
    json_metrics,
    text_metrics,
)
from tunepipe.evaluation.comparison import Gate, compare_metrics, difference
from tunepipe.evaluation.intervals import Floats, resampled_sums
from tunepipe.evaluation.metric import Bools, Clusters, Measure, Metric, share_of
from tunepipe.evaluation.normalization import CHECKS, CONTENT, STRICT, label_text, plain_text
from tunepipe.evaluation.significance import ZERO, confidence_of_look
from tunepipe.evaluation.tasks import DECIDES, MAX_SLICES, check_slice_values, choose_task
from tunepipe.reporting.facts import (
    CONFIDENCE,
    EXCLUDED,
    WORSE,
    WRONG,
    Comparison,
    Estimate,
    Score,
    Slice,
    WithinRows,
)

# What measures a task, and what an answer is read as by content.
_TASKS: Mapping[str, tuple[Measure, Callable[[str], str]]] = {
    "text": (text_metrics.measure, plain_text),
    "classification": (classification_metrics.measure, label_text),
    "json": (json_metrics.measure, json_metrics.content),
    "calls": (call_metrics.measure, call_metrics.content),
}
_NO_SUMS = np.empty(0)
_PARTS = ("field:", "argument:")
_FIRST = ("rows", "metrics", "comparison", "verdict", "reason")
_DETAILS = ("differences", "classes", "confusion", "baseline", "flips")


class ScoreSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings for scoring and comparing predictions.

    Args:
        task: "text", "classification", "json", "calls", or "auto" to detect it.
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
    normalize: Literal["strict", "content"] = "strict"
    missing: Literal["wrong", "excluded"] = "wrong"
    margin: Share = 0.0
    group_by: str = ""
    slice_by: list[str] = []
    look: Annotated[int, Meta(ge=1)] = 1
    seed: Annotated[int, Meta(ge=0, le=SEED_MAX)] = 0


class Evaluation(Score, frozen=True, kw_only=True):
    """The scores of a file of predictions, and the comparison with another model's.

    Args:
        normalize: "strict" or "content".
        missing: What a missing answer counts as: "wrong" or "excluded".
        baseline: The other model's scores; None without one.
        comparison: The verdict; None without another model.
        flips: Rows on which the deciding metric is higher ("fixed") or lower ("broken") than the
            other model's, as `{"id", "answer", "flip"}`.
        custom_metric: Name and digest of a metric of the user's own.
    """

    normalize: str = STRICT
    missing: str = WRONG
    baseline: Score | None = None
    comparison: Comparison | None = None
    flips: list[dict[str, Any]] = msgspec.field(default_factory=list)
    custom_metric: dict[str, str] | None = None

    @property
    def lost_slices(self) -> list[str]:
        """The declared slices in which a loss is shown."""
        return [each.name for each in self.slices if each.declared and each.verdict == WORSE]

    def decide(self, judged: Comparison | None = None) -> tuple[str, str]:
        """Decide as the gate does, by the metric or by a judge, and by the declared slices.

        Returns:
            The verdict, "" without another model, and the reason in one sentence.
        """
        if not (comparison := judged or self.comparison):
            return "", "One model was scored; there was no other to compare it with."
        return Gate(comparison, slices=self.lost_slices).decide()

    def as_json(self) -> dict[str, Any]:
        """Return the object of `score --json`."""
        verdict, reason = self.decide()
        details = self.details() | {"verdict": verdict, "reason": reason}
        return {name: details[name] for name in (*_FIRST, *details) if name not in _DETAILS}

    def details(self) -> dict[str, Any]:
        """Return everything, for the report; of the other model its metrics."""
        other = msgspec.to_builtins(self.baseline) if self.baseline else None
        return {
            **msgspec.to_builtins(self),
            "baseline": other and other["metrics"],
            "baseline_unanswered": other["unanswered"] if other else 0,
        }


def score(
    predictions_path: str | os.PathLike[str],
    baseline_path: str | os.PathLike[str] = "",
    **settings: Any,
) -> dict[str, Any]:
    """Score a predictions file: `evaluate` on what the files hold, as `score --json` prints it.

    Args:
        predictions_path: The tuned model's predictions.
        baseline_path: Another model's on the same rows; "" for none.
        settings: The fields of `ScoreSettings`.

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
    chosen = decode(settings, ScoreSettings)
    # Several answers to a row do not repeat its reference.
    task = choose_task(list({row.id: row.reference for row in rows}.values()), chosen.task)
    custom = custom_metrics.load(chosen.metric, chosen.metric_code)
    sides = [rows] if baseline is None else [rows, _same_rows(rows, baseline)]
    measuring = _Measuring.of(rows, task.name, custom, chosen)
    models = [measuring.model(side) for side in sides]
    metric = _deciding(chosen.metric or DECIDES[task.name], models[0])
    compared = _Compared(rows, models, _units(rows, chosen.group_by), chosen)
    scores, differences = compared.scores()
    return Evaluation(
        **msgspec.structs.asdict(scores[0])
        | {
            "task": task.name,
            "task_reason": task.reason,
            "metric": metric,
            "look": chosen.look,
            "differences": differences,
            "slices": _slices(compared, metric, task.name),
            "within_rows": _within_rows(rows, models[0].named(metric)),
        },
        normalize=chosen.normalize,
        missing=chosen.missing,
        baseline=scores[1] if baseline is not None else None,
        comparison=compared.compare(metric) if baseline is not None else None,
        flips=_flips(compared, metric),
        custom_metric={"name": custom.name, "sha256": custom.digest} if custom else None,
    )


@dataclass(frozen=True)
class _Model:
    """A model's answers to all rows and its metrics."""

    answers: Sequence[Prediction]
    task: str
    answered: Bools
    metrics: list[Metric]

    def named(self, name: str) -> Metric:
        return next(metric for metric in self.metrics if metric.name == name)

    def counted(self, settings: ScoreSettings) -> Bools:
        """The rows that count for this model."""
        return self.answered if settings.missing == EXCLUDED else np.ones_like(self.answered)

    def score(self, units: Clusters, metrics: dict[str, Estimate]) -> Score:
        answered = share_of("answered", self.answered.tolist(), [True] * len(self.answered))
        table = None
        if self.task == "classification":
            references = [row.reference for row in self.answers]
            table = classification_metrics.confusion(_texts(self.answers), references)
        return Score(
            rows=len(self.answers),
            groups=units.count,
            unanswered=int((~self.answered).sum()),
            metrics={"answered": answered.estimate(units, _NO_SUMS), **metrics},
            confusion=table.for_kfp() if table else None,
            classes=table.classes() if table else [],
            serving=serving(self.answers),
        )


@dataclass(frozen=True)
class _Measuring:
    """What the models' answers to the same rows are measured by.

    `references` are the texts as they are and by content, and `checks` what of them words cannot
    show, where any reference has it.
    """

    task: str
    custom: custom_metrics.CustomMetric | None
    normalize: str
    references: Mapping[str, Sequence[str]]
    checks: Mapping[str, Sequence[tuple[str, ...]]]

    @classmethod
    def of(
        cls,
        rows: Sequence[Prediction],
        task: str,
        custom: custom_metrics.CustomMetric | None,
        settings: ScoreSettings,
    ) -> _Measuring:
        strict = [row.reference for row in rows]
        checks = {name: list(map(find, strict)) for name, find in CHECKS.items() if task == "text"}
        return cls(
            task,
            custom,
            settings.normalize,
            {STRICT: strict, CONTENT: list(map(_TASKS[task][1], strict))},
            {name: found for name, found in checks.items() if any(found)},
        )

    def model(self, rows: Sequence[Prediction]) -> _Model:
        """Measure one model's answers."""
        answered = np.array([row.prediction is not None for row in rows])
        measure, content = _TASKS[self.task]
        answers = _texts(rows)
        texts = {STRICT: answers, CONTENT: list(map(content, answers))}
        # All metrics of the one reading, and the most telling of the other next to them.
        other = STRICT if self.normalize == CONTENT else CONTENT
        metrics = measure(texts[self.normalize], self.references[self.normalize])
        for metric in measure(texts[other], self.references[other], paired_only=True):
            metrics.append(metric.renamed(f"{metric.name}_{other}"))
        if self.custom:
            metrics.append(custom_metrics.measure(self.custom, rows))
        # What word metrics cannot see: on which of the rows that hold it, it is the reference's.
        for name, expected in self.checks.items():
            pairs = list(zip(map(CHECKS[name], answers), expected, strict=True))
            asked = [bool(answer or reference) for answer, reference in pairs]
            right = [bool(answer or ref) and answer == ref for answer, ref in pairs]
            metrics.append(share_of(f"check:{name}", right, asked))
        return _Model(rows, self.task, answered, [metric.without(~answered) for metric in metrics])


def _texts(rows: Sequence[Prediction]) -> list[str]:
    return [row.prediction or "" for row in rows]


def _deciding(name: str, model: _Model) -> str:
    names = [metric.name for metric in model.metrics]
    if name not in names:
        raise UsageError(
            f"the metric {name} is not known for this task",
            where="metric",
            fix=f"{hint(name, names)}; known: {', '.join(names)}; or a metric of your own: "
            "module:function, regex:PATTERN, schema:FILE, number:TOLERANCE",
        )
    return name


def _units(rows: Sequence[Prediction], group_by: str) -> Clusters:
    """Put rows together that are not independent of each other."""
    if group_by and not any(group_by in row.fields or group_by == "group" for row in rows):
        known = sorted({field for row in rows for field in row.fields} | {"group"})
        fix = hint(group_by, known)
        raise UsageError(f"no row has the field {group_by}", where="group_by", fix=fix)
    return Clusters.of_rows(rows, [_text(row.fields.get(group_by)) for row in rows])


def _text(value: Any) -> str:
    return "" if value is None else str(value)


@dataclass(frozen=True)
class _Compared:
    """One model, or two on the same rows, and which rows belong together."""

    rows: Sequence[Prediction]
    models: Sequence[_Model]
    units: Clusters
    settings: ScoreSettings

    @property
    def both(self) -> Bools:
        """The rows that count for all models."""
        both: Bools = np.all([model.counted(self.settings) for model in self.models], axis=0)
        return both

    def scores(self) -> tuple[list[Score], dict[str, Estimate]]:
        """Score each model, and estimate the differences on the same resamples."""
        seed, both = self.settings.seed, self.both
        units = self.units.on(both)
        metrics = [[metric.on(both) for metric in model.metrics] for model in self.models]
        drawn = _resampled(metrics, units, seed)
        differences = {}
        for left, right in zip(*metrics, strict=True) if len(metrics) > 1 else ():
            if left.defined and right.defined:
                sums = (drawn[0][left.name], drawn[1][left.name]) if left.name in drawn[0] else None
                found = difference(left, right, units, seed=seed, sums=sums)
                differences[left.name] = found[0]
        scores = []
        for number, model in enumerate(self.models):
            counted, own, own_units = model.counted(self.settings), metrics[number], units
            sums_by_name = drawn[number]
            if (counted != both).any():
                own, own_units = [m.on(counted) for m in model.metrics], self.units.on(counted)
                sums_by_name = _resampled([own], own_units, seed)[0]
            estimates = {
                metric.name: metric.estimate(
                    own_units, sums_by_name.get(metric.name, _NO_SUMS), seed
                )
                for metric in own
                if metric.defined and model.answered.any()
            }
            scores.append(model.score(self.units, estimates))
        return scores, differences

    def compare(
        self, metric: str, part: Bools | None = None, confidence: float = 0.0
    ) -> Comparison:
        """Compare the two models by one metric, on all rows or a part of them."""
        if part is None:
            part = np.ones(len(self.rows), dtype=np.bool_)
        kept = self.both & part
        ours, theirs = self.models
        return compare_metrics(
            ours.named(metric).on(kept),
            theirs.named(metric).on(kept),
            self.units.on(kept),
            missing=self.settings.missing,
            absent=(int((part & ~ours.answered).sum()), int((part & ~theirs.answered).sum())),
            margin=self.settings.margin,
            confidence=confidence or confidence_of_look(self.settings.look),
            seed=self.settings.seed,
        )

    def slice(self, field: str, value: str, part: Bools, metric: str, declared: bool) -> Slice:
        """Score and compare a part of the rows."""
        model, comparison = self.models[0], None
        counted = part & model.counted(self.settings)
        measured, units = model.named(metric).on(counted), self.units.on(counted)
        sums = _resampled([[measured]], units, self.settings.seed)[0].get(metric, _NO_SUMS)
        if len(self.models) > 1:
            comparison = self.compare(metric, part, CONFIDENCE)
        return Slice(
            field=field,
            value=value,
            rows=int(part.sum()),
            groups=self.units.on(part).count,
            score=measured.estimate(units, sums) if measured.defined else Estimate(0.0, 0.0, 1.0),
            comparison=comparison,
            p_adjusted=comparison.p_value if comparison else 1.0,
            declared=declared,
        )


def _resampled(
    models: Sequence[Sequence[Metric]], units: Clusters, seed: int
) -> list[dict[str, Floats]]:
    """For each model, the sums of each metric of the whole file in every resample.

    All of them are on the same resamples.
    """
    found: list[dict[str, Floats]] = [{} for _ in models]
    chosen = [(n, each) for n, model in enumerate(models) for each in model if not each.by_row]
    if not chosen or units.count < 2:
        return found
    statistics = [units.sums(metric.statistics) for _, metric in chosen]
    ends = np.cumsum([numbers.shape[1] for numbers in statistics])
    parts = np.split(resampled_sums(np.hstack(statistics), seed=seed), ends[:-1], axis=1)
    for (number, metric), part in zip(chosen, parts, strict=True):
        found[number][metric.name] = part
    return found


def _slices(compared: _Compared, metric: str, task: str) -> list[Slice]:
    """Score and compare each slice; p-values are adjusted over all of them (Holm).

    The classes of a classification, the fields of a JSON answer and the arguments of a call are
    slices too; of the last two each has its own metric.
    """
    rows, declared = compared.rows, compared.settings.slice_by
    fields = list(dict.fromkeys(declared))
    if task == "classification" and "class" not in fields:
        fields.append("class")
    slices = []
    for name in fields:
        values = np.array([slice_value(row, name) for row in rows], dtype=object)
        distinct = sorted(set(values) - {""})
        if name in declared:
            check_slice_values(name, distinct, {field for row in rows for field in row.fields})
        slices += [
            compared.slice(name, value, values == value, metric, name in declared)
            for value in distinct[: MAX_SLICES + 1]
        ]
    for each in compared.models[0].metrics:
        if each.name.startswith(_PARTS):
            kind, _, value = each.name.partition(":")
            asked = each.statistics[:, 1] > 0
            slices.append(compared.slice(kind, value, asked, each.name, declared=False))
    return holm(slices)


def slice_value(row: Prediction, name: str) -> str:
    """Return what a row has in a field to slice by; "" if it has none."""
    if name == "class":
        return row.reference.strip()
    if name == "group":
        return row.group
    if name == "language" and "language" not in row.fields:
        from tunepipe.validation.statistics import language

        return language(row.input)
    return _text(row.fields.get(name))


def holm(slices: list[Slice]) -> list[Slice]:
    """Adjust p-values by Holm's correction: the least by the number of slices, and so on."""
    order = sorted(range(len(slices)), key=lambda number: slices[number].p_adjusted)
    result, largest = list(slices), 0.0
    for place, number in enumerate(order):
        adjusted = min(1.0, slices[number].p_adjusted * (len(slices) - place))
        largest = max(largest, adjusted)
        result[number] = replace(slices[number], p_adjusted=largest)
    return result


def _within_rows(rows: Sequence[Prediction], metric: Metric) -> WithinRows | None:
    by_id = Clusters.of([row.id for row in rows])
    if by_id.single:
        return None
    values = np.nan_to_num(metric.scores)
    counts = np.bincount(by_id.of_row)
    means = np.bincount(by_id.of_row, weights=values) / counts
    apart = np.abs(values - means[by_id.of_row])
    within = float((apart**2).sum() / max(len(values) - len(counts), 1))
    return WithinRows(
        answers=len(values) / len(counts),
        deviation_within_rows=within**0.5,
        deviation_between_rows=float(means.std()),
        rows_that_vary=float((np.bincount(by_id.of_row, weights=apart) > ZERO).mean()),
    )


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
            found = f"the baseline has {plural(extra, 'row')} not in the predictions"
        raise UsageError(
            f"the two files do not hold the same rows: {found}",
            where="baseline",
            fix="let both models answer the same held-out file",
        )
    paired = [by_key[row.key] for row in rows]
    for what in ("reference", "input"):
        changed = []
        for row, other in zip(rows, paired, strict=True):
            texts = getattr(row, what), getattr(other, what)
            # A file may leave the inputs out.
            if texts[0] != texts[1] and (what == "reference" or all(texts)):
                changed.append(row.id)
        if changed:
            raise UsageError(
                f"{plural(len(changed), 'row')} with another {what} in the baseline, "
                f"first {changed[0]}",
                where="baseline",
                fix="let both models answer the same held-out file",
            )
    return paired


def _flips(compared: _Compared, metric: str) -> list[dict[str, Any]]:
    """The rows on which the deciding metric differs, by which wins and losses are counted."""
    if len(compared.models) < 2:
        return []
    ours, theirs = (np.nan_to_num(model.named(metric).scores) for model in compared.models)
    gains = np.where(compared.both, ours - theirs, 0.0)
    return [
        {"id": row.id, "answer": row.answer, "flip": "fixed" if gain > 0 else "broken"}
        for row, gain in zip(compared.rows, gains.tolist(), strict=True)
        if abs(gain) > ZERO
    ]
