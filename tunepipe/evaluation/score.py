"""Score a model's predictions, and compare them with another model's.

A missing answer counts as a wrong one, in scores, comparison and gate, unless `missing` is
"excluded". Rows of one group, rows with the same content or prompt and several answers to one row
are one unit of evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from tunepipe.arguments import SEED_MAX, hint
from tunepipe.data.predictions import Prediction
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
from tunepipe.evaluation.metric import Bools, Clusters, Measure, Metric, resampled, share
from tunepipe.evaluation.normalization import (
    CHECKS,
    CONTENT,
    STRICT,
    label_text,
    normalized,
    plain_text,
)
from tunepipe.evaluation.significance import ZERO, confidence_of_look
from tunepipe.evaluation.tasks import (
    DECIDES,
    MAX_SLICES,
    check_metric,
    check_slice_values,
    choose_task,
)
from tunepipe.reporting.facts import (
    CONFIDENCE,
    EXCLUDED,
    WORSE,
    WRONG,
    ClassScore,
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
        group_by: A field of the rows; rows that agree in it are one unit of evidence.
        slice_by: Fields of the rows, or "class" (the reference's label); a loss that is shown in
            one of their slices stops a promotion.
        look: How often the held-out rows have decided, this time included; from the second time
            on the interval is wider (`significance.confidence_of_look`).
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

    `baseline` and `comparison` are None without another model. `flips` are the rows on which the
    deciding metric is higher ("fixed") or lower ("broken") than the other model's, as
    `{"id", "answer", "flip"}`; `custom_metric` has name and digest of a metric of the user's own.
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

        Without another model the verdict is "".
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


def evaluate(
    rows: Sequence[Prediction], baseline: Sequence[Prediction] | None = None, **settings: Any
) -> Evaluation:
    """Score the tuned model's predictions, and compare them with another model's on the same rows.

    The settings are the fields of `ScoreSettings`.
    """
    if not rows:
        raise UsageError("there is no row to score", where="rows", fix="give at least one answer")
    chosen = decode(settings, ScoreSettings)
    # Several answers to a row do not repeat its reference.
    task = choose_task(list({row.id: row.reference for row in rows}.values()), chosen.task)
    check_metric(chosen.metric, task.name, [row.reference for row in rows], chosen.normalize)
    custom = custom_metrics.load(chosen.metric, chosen.metric_code)
    sides = [rows] if baseline is None else [rows, _same_rows(rows, baseline)]
    models = _measure(sides, task.name, custom, chosen.normalize)
    metric = chosen.metric or DECIDES[task.name]
    units = _units(rows, chosen.group_by)
    compared = _Compared(rows, models, task.name, units, chosen)
    scores, differences = compared.scores()
    return Evaluation(
        **msgspec.structs.asdict(scores[0])
        | {
            "task": task.name,
            "task_reason": task.reason,
            "metric": metric,
            "look": chosen.look,
            "differences": differences,
            "slices": compared.slices(metric),
            "within_rows": _within_rows(rows, models[0].metrics[metric]),
        },
        normalize=chosen.normalize,
        missing=chosen.missing,
        baseline=scores[1] if baseline is not None else None,
        comparison=compared.compare(metric) if baseline is not None else None,
        flips=compared.flips(metric),
        custom_metric={"name": custom.name, "sha256": custom.digest} if custom else None,
    )


@dataclass(frozen=True)
class _Model:
    """A model's answers to all rows and its metrics by name."""

    answers: Sequence[Prediction]
    answered: Bools
    metrics: Mapping[str, Metric]

    def score(self, task: str, units: Clusters, metrics: dict[str, Estimate]) -> Score:
        answered = share("answered", self.answered.tolist())
        confusion, classes = None, list[ClassScore]()
        if task == "classification":
            references = [row.reference for row in self.answers]
            texts = _texts(self.answers)
            confusion, classes = classification_metrics.confusion(texts, references)
        return Score(
            rows=len(self.answers),
            groups=units.count,
            unanswered=int((~self.answered).sum()),
            metrics={"answered": answered.estimate(units), **metrics},
            confusion=confusion,
            classes=classes,
            serving=serving(self.answers),
        )


def _measure(
    sides: Sequence[Sequence[Prediction]],
    task: str,
    custom: custom_metrics.CustomMetric | None,
    normalize: str,
) -> list[_Model]:
    """Measure each model's answers to the same rows."""
    measure, content = _TASKS[task]
    strict = [row.reference for row in sides[0]]
    references = {STRICT: strict, CONTENT: list(map(content, strict))}
    other = STRICT if normalize == CONTENT else CONTENT
    # What word metrics cannot see, where any reference has it: that of the references, then of
    # each model's answers.
    checks = {
        name: [list(map(find, texts)) for texts in (strict, *map(_texts, sides))]
        for name, find in CHECKS.items()
        if task == "text" and any(map(find, strict))
    }
    models = []
    for number, rows in enumerate(sides, start=1):
        answers = _texts(rows)
        texts = {STRICT: answers, CONTENT: list(map(content, answers))}
        # All metrics of the one reading, and the most telling of the other next to them.
        metrics = measure(texts[normalize], references[normalize])
        for metric in measure(texts[other], references[other], paired_only=True):
            metrics.append(replace(metric, name=f"{metric.name}_{other}"))
        if custom:
            metrics.append(custom_metrics.measure(custom, rows))
        for name, found in checks.items():
            # On the rows where the reference or any answer holds it, the same for all models.
            by_row = list(zip(*found, strict=True))
            right = [any(row) and row[0] == row[number] for row in by_row]
            metrics.append(share(f"check:{name}", right, list(map(any, by_row))))
        answered = np.array([row.prediction is not None for row in rows])
        by_name = {metric.name: metric.without(~answered) for metric in metrics}
        models.append(_Model(rows, answered, by_name))
    return models


def _texts(rows: Sequence[Prediction]) -> list[str]:
    return [row.prediction or "" for row in rows]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _units(rows: Sequence[Prediction], group_by: str) -> Clusters:
    """Put rows together that are not independent of each other."""
    if group_by and not any(group_by in row.fields or group_by == "group" for row in rows):
        known = sorted({field for row in rows for field in row.fields} | {"group"})
        fix = hint(group_by, known)
        raise UsageError(f"no row has the field {group_by}", where="group_by", fix=fix)
    return Clusters.of_rows(rows, [_text(row.fields.get(group_by)) for row in rows])


@dataclass(frozen=True)
class _Compared:
    """One model, or two on the same rows, and which rows belong together."""

    rows: Sequence[Prediction]
    models: Sequence[_Model]
    task: str
    units: Clusters
    settings: ScoreSettings

    def counted(self, *models: _Model) -> Bools:
        """The rows that count for these models; for all models by default."""
        counted = np.ones(len(self.rows), dtype=np.bool_)
        for model in models or self.models:
            counted &= model.answered | (self.settings.missing != EXCLUDED)
        return counted

    def scores(self) -> tuple[list[Score], dict[str, Estimate]]:
        """Score each model, and estimate the differences on the same resamples."""
        seed, both = self.settings.seed, self.counted()
        # To be better than a model that answered nothing, or was not asked, says nothing.
        is_compared = len(self.models) > 1 and self.models[1].answered.any()
        units = self.units.on(both)
        estimates: list[dict[str, Estimate]] = [{} for _ in self.models]
        differences = {}
        for name in self.models[0].metrics:
            metrics = [model.metrics[name].on(both) for model in self.models]
            sums = resampled(metrics, units, seed)
            if is_compared and all(metric.defined for metric in metrics):
                ours, theirs = metrics
                differences[name] = difference(ours, theirs, units, seed=seed, sums=sums)[0]
            for number, model in enumerate(self.models):
                counted, metric = self.counted(model), metrics[number]
                own_units, own_sums = units, sums[number]
                if (counted != both).any():
                    metric, own_units = model.metrics[name].on(counted), self.units.on(counted)
                    (own_sums,) = resampled([metric], own_units, seed)
                if metric.defined and model.answered.any():
                    estimates[number][name] = metric.estimate(own_units, own_sums, seed)
        scored = zip(self.models, estimates, strict=True)
        return [model.score(self.task, self.units, each) for model, each in scored], differences

    def compare(
        self, metric: str, part: Bools | None = None, confidence: float = 0.0
    ) -> Comparison:
        """Compare the two models by one metric, on all rows or a part of them."""
        part = np.ones(len(self.rows), dtype=np.bool_) if part is None else part
        counted = self.counted() & part
        ours, theirs = self.models
        return compare_metrics(
            ours.metrics[metric].on(counted),
            theirs.metrics[metric].on(counted),
            self.units.on(counted),
            missing=self.settings.missing,
            absent=(int((part & ~ours.answered).sum()), int((part & ~theirs.answered).sum())),
            margin=self.settings.margin,
            confidence=confidence or confidence_of_look(self.settings.look),
            seed=self.settings.seed,
        )

    def slice(self, part: Bools, metric: str, **identity: Any) -> Slice:
        """Score and compare a part of the rows."""
        model = self.models[0]
        counted = part & self.counted(model)
        measured, units = model.metrics[metric].on(counted), self.units.on(counted)
        (sums,) = resampled([measured], units, self.settings.seed)
        comparison = self.compare(metric, part, CONFIDENCE) if len(self.models) > 1 else None
        return Slice(
            **identity,
            rows=int(part.sum()),
            groups=self.units.on(part).count,
            score=measured.estimate(units, sums) if measured.defined else Estimate(0.0, 0.0, 1.0),
            comparison=comparison,
            p_adjusted=comparison.p_value if comparison else 1.0,
        )

    def slices(self, metric: str) -> list[Slice]:
        """Score and compare each slice; p-values are adjusted over all of them (Holm).

        The classes of a classification, the fields of a JSON answer and the arguments of a call are
        slices too; of the last two each has its own metric.
        """
        declared = self.settings.slice_by
        fields = dict.fromkeys([*declared, *(["class"] if self.task == "classification" else [])])
        slices = []
        for name in fields:
            texts = [slice_value(row, name) for row in self.rows]
            if name == "class":  # as a label is counted: "Yes" and "yes" are one
                shown = {normalized(text): text for text in reversed(texts)}
                texts = [shown[normalized(text)] for text in texts]
            values = np.array(texts, dtype=object)
            distinct = sorted(set(values) - {""})
            if name in declared:
                known = {field for row in self.rows for field in row.fields}
                check_slice_values(name, distinct, known)
            for value in distinct[: MAX_SLICES + 1]:
                identity = {"field": name, "value": value, "declared": name in declared}
                slices.append(self.slice(values == value, metric, **identity))
        for name, measured in self.models[0].metrics.items():
            kind, _, value = name.partition(":")
            if kind in ("field", "argument"):
                has_part = measured.statistics[:, 1] > 0
                slices.append(self.slice(has_part, name, field=kind, value=value))
        return holm(slices)

    def flips(self, metric: str) -> list[dict[str, Any]]:
        """The rows on which the metric differs, by which wins and losses are counted."""
        if len(self.models) < 2:
            return []
        ours, theirs = (np.nan_to_num(model.metrics[metric].scores) for model in self.models)
        gains = np.where(self.counted(), ours - theirs, 0.0)
        return [
            {"id": row.id, "answer": row.answer, "flip": "fixed" if gain > 0 else "broken"}
            for row, gain in zip(self.rows, gains.tolist(), strict=True)
            if abs(gain) > ZERO
        ]


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
        result[number] = msgspec.structs.replace(slices[number], p_adjusted=largest)
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

    These are `latency_p50_ms`, `latency_p95_ms`, mean `input_tokens` and `output_tokens`.
    """
    answered = [row for row in rows if row.prediction is not None]
    seconds = [row.seconds for row in answered if row.seconds is not None]
    measured: dict[str, float | None] = {}
    if seconds:
        p50, p95 = np.quantile(seconds, [0.5, 0.95])
        measured |= {"latency_p50_ms": float(1000 * p50), "latency_p95_ms": float(1000 * p95)}
    for name in ("input_tokens", "output_tokens"):
        values = [value for row in answered if (value := getattr(row, name)) is not None]
        if values:
            measured[name] = float(np.mean(values))
    return measured


def _same_rows(rows: Sequence[Prediction], others: Sequence[Prediction]) -> list[Prediction]:
    """Return the other model's answers in this model's order, matched by row."""
    by_key, problem = {row.key: row for row in others}, ""
    pairs = [(row, by_key[row.key]) for row in rows if row.key in by_key]
    # A file may leave the inputs out.
    inputs = [a.id for a, b in pairs if a.input and b.input and a.input != b.input]
    references = [a.id for a, b in pairs if a.reference != b.reference]
    if missing := len(rows) - len(pairs):
        problem = f"the baseline lacks {missing:,} of {plural(len(rows), 'row')}"
    elif extra := len(by_key) - len(rows):
        problem = f"the baseline has {plural(extra, 'row')} not in the predictions"
    if problem:
        problem = f"the two files do not hold the same rows: {problem}"
    elif changed := references or inputs:
        what = "reference" if references else "input"
        many = plural(len(changed), "row")
        problem = f"{many} with another {what} in the baseline, first {changed[0]}"
    if problem:
        fix = "let both models answer the same held-out file"
        raise UsageError(problem, where="baseline", fix=fix)
    return [other for _, other in pairs]
