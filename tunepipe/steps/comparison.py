"""Compares the models' predictions on the same rows, and decides what the gate says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from tunepipe.data.predictions import Prediction, read
from tunepipe.errors import UsageError
from tunepipe.evaluation.comparison import Gate
from tunepipe.evaluation.score import Evaluation, evaluate, slice_value
from tunepipe.files import read_json, write_json
from tunepipe.registry import records
from tunepipe.registry.looks import count, describe
from tunepipe.reporting.facts import Comparison
from tunepipe.steps.artifacts import Artifact, paths_of


@dataclass(frozen=True)
class Compared:
    """The result of the step; `scores` has `score --json` of each model, and what a report adds."""

    verdict: str
    reason: str
    scores: Mapping[str, Mapping[str, Any]]

    def log(self, tuned: Any, base: Any, confusion: Any) -> None:
        """Log the metrics as KFP's own: Metrics of two models, and a ClassificationMetrics."""
        for name, sink in (("tuned", tuned), ("base", base)):
            for metric, estimate in self.scores[name]["metrics"].items():
                for end in ("value", "low", "high"):
                    sink.log_metric(metric if end == "value" else f"{metric}_{end}", estimate[end])
        if table := self.scores["tuned"].get("confusion"):
            confusion.log_confusion_matrix(table["labels"], table["matrix"])


def compare_step(
    predictions: Mapping[str, Artifact | None],
    comparison_path: str,
    *,
    guard_margin: float = 0.0,
    max_latency_ms: float = 0.0,
    max_cost_per_answer: float = 0.0,
    price: Mapping[str, float] | None = None,
    champion_version: int | None = None,
    looks: Sequence[Mapping[str, Any]] = (),
    trained: Mapping[str, str] | None = None,
    **settings: Any,
) -> Compared:
    """Compare models on the same rows; write scores, comparisons, verdict, reason and flips.

    The `predictions` are the files of `tuned`, `base`, `champion` and `first` (the first champion),
    and of `guard_tuned` and `guard_base`; an empty or missing file leaves its model out. With them
    is `tuning`: what is known of the tuning. The limits are those of `comparison.Gate`, and the
    settings those of `score.ScoreSettings`, whose margin is for the champions.

    The price is US dollars for a million tokens `read` and `written`, and the `tuned_factor` of a
    tuned model's price. `champion_version` is that of the registry as the run began, 0 if it had
    no champion. `looks` are the earlier decisions (`registry.looks`). `trained` says where the rows
    that `champion` and `first` were trained on are recorded (`registry.records`): their comparisons
    leave these rows out.
    """
    files = paths_of(predictions)
    tuning = files.pop("tuning", "")
    if "tuned" not in files:
        raise UsageError(
            "the file of the tuned model's answers is missing or empty",
            where="predictions.tuned",
            fix="ask the tuned model again, and give the file of its answers",
        )
    rows = {name: read(path) for name, path in files.items()}
    look = describe(rows["tuned"])
    settings = {**settings, "look": count(look, looks)}
    # 1. Against the base model, and then, by the same task and metric, against the champions.
    base = evaluate(rows["tuned"], _others(rows, "tuned", "base"), **settings)
    assert base.comparison
    comparisons = {"base": base.comparison}
    scores: dict[str, Any] = {"tuned": base.details(), "base": msgspec.to_builtins(base.baseline)}
    lost = base.lost_slices
    same = {**settings, "task": base.task}
    for name in ("champion", "first"):
        if name not in rows:
            continue
        scores[name] = msgspec.to_builtins(evaluate(rows["tuned"], rows[name], **same).baseline)
        seen = records.read_trained_rows((trained or {}).get(name, ""))
        new = [row for row in rows["tuned"] if row.hash not in seen]
        left_out = len(rows["tuned"]) - len(new)
        comparisons[name] = Comparison(metric=base.metric, trained_rows=left_out)
        if new:
            slices = [
                field
                for field in settings.get("slice_by", ())
                if any(slice_value(row, field) for row in new)
            ]
            rival = [row for row in rows[name] if row.hash not in seen]
            evaluation = evaluate(new, rival, **{**same, "slice_by": slices})
            comparisons[name] = _with_differences(evaluation, left_out)
            lost += evaluation.lost_slices
    # 2. On the guarded rows.
    if "guard_tuned" in rows:
        own = {key: settings[key] for key in ("seed", "missing", "normalize") if key in settings}
        others = _others(rows, "guard_tuned", "guard_base")
        guard = evaluate(rows["guard_tuned"], others, margin=guard_margin, **own)
        comparisons["guard"] = _with_differences(guard)
    # 3. What an answer costs, and the verdict.
    for name, each in scores.items():
        each["serving"] = with_cost(each["serving"], price or {}, is_tuned=name != "base")
    scores = {"champion": None, **scores}
    verdict, reason = Gate(
        **comparisons,
        slices=list(dict.fromkeys(lost)),
        serving=scores["tuned"]["serving"],
        max_latency_ms=max_latency_ms,
        max_cost_per_answer=max_cost_per_answer,
    ).decide()
    doubts = read_json(tuning).get("statistics", {}).get("doubts", []) if tuning else []
    if doubts:
        reason = f"{reason} About the tuning: {'; '.join(doubts)}."
    result = {
        "verdict": verdict,
        "reason": reason,
        "task": base.task,
        "scores": scores,
        "comparisons": {"champion": None, "guard": None, **msgspec.to_builtins(comparisons)},
        "flips": base.flips,
        "look": look,
        **({"doubts": doubts} if doubts else {}),
        **({} if champion_version is None else {"champion_version": champion_version}),
    }
    write_json(result, comparison_path)
    return Compared(verdict, reason, scores)


def _with_differences(evaluation: Evaluation, trained: int = 0) -> Comparison:
    assert evaluation.comparison
    return replace(evaluation.comparison, differences=evaluation.differences, trained_rows=trained)


def with_cost(
    serving: Mapping[str, float | None], price: Mapping[str, float], *, is_tuned: bool
) -> dict[str, float | None]:
    """Add `cost_usd`, the mean cost of an answer, where tokens and price are known."""
    read, written = serving.get("input_tokens"), serving.get("output_tokens")
    if not price or read is None or written is None:
        return dict(serving)
    factor = price.get("tuned_factor", 1.0) if is_tuned else 1.0
    cost = factor * (read * price["read"] + written * price["written"]) / 1e6
    return {**serving, "cost_usd": cost}


def _others(
    rows: Mapping[str, Sequence[Prediction]], tuned: str, other: str
) -> Sequence[Prediction]:
    """A model's answers; every row is unanswered if there was no base model to ask."""
    return rows.get(other) or [
        dataclasses.replace(row, prediction=None, error="not asked") for row in rows[tuned]
    ]
