"""What compare_models does: three models on the same rows, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunepipe.data.predictions import Prediction, read
from tunepipe.evaluation.comparison import decide
from tunepipe.evaluation.score import Evaluation, evaluate
from tunepipe.files import write_json
from tunepipe.steps.artifacts import Artifact, paths_of


@dataclass(frozen=True)
class Compared:
    """What came out.

    Args:
        verdict: better, worse or not-enough-evidence.
        reason: Why, in one sentence.
        scores: `score --json` of each model, with what the report adds to it.
    """

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
    task: str,
    margin: float,
    guard_margin: float,
    seed: int,
) -> Compared:
    """Compare models on the same rows.

    Args:
        predictions: The files of `tuned`, `base` and `champion`, and of `guard_tuned` and
            `guard_base`; no file, or an empty one, leaves champion or guard out.
        comparison_path: Where scores, comparisons, verdict, reason and flips go, as JSON.
        task: text, classification, json, or auto.
        margin: The loss against the champion that is still acceptable, 0 to 1.
        guard_margin: The loss on the guard set that is still acceptable, 0 to 1.
        seed: Seeds the resampling.

    Returns:
        The verdict and the scores.
    """
    rows = {name: read(path) for name, path in paths_of(predictions).items()}
    said = _compared(rows, task, margin, guard_margin, seed)
    write_json(said, comparison_path)
    return Compared(said["verdict"], said["reason"], said["scores"])


def _compared(
    rows: Mapping[str, Sequence[Prediction]],
    task: str,
    margin: float,
    guard_margin: float,
    seed: int,
) -> dict[str, Any]:
    base = evaluate(rows["tuned"], _others(rows, "base"), task=task, seed=seed, margin=margin)
    champion = guard = None
    if "champion" in rows:
        champion = evaluate(
            rows["tuned"], rows["champion"], task=base.task, seed=seed, margin=margin
        )
    if "guard_tuned" in rows:
        others = _others(rows, "guard_base", of="guard_tuned")
        guard = evaluate(rows["guard_tuned"], others, seed=seed, margin=guard_margin)
    assert base.comparison
    held_against = (found.comparison if found else None for found in (champion, guard))
    verdict, reason = decide(base.comparison, *held_against)
    details = base.details()
    return {
        "verdict": verdict,
        "reason": reason,
        "task": base.task,
        "scores": {
            "tuned": details,
            "base": _baseline(base),
            "champion": _baseline(champion) if champion else None,
        },
        "comparisons": {
            "base": details["comparison"],
            "champion": champion.details()["comparison"] if champion else None,
            "guard": guard.details()["comparison"] if guard else None,
        },
        "flips": base.flips,
    }


def _others(
    rows: Mapping[str, Sequence[Prediction]], name: str, of: str = "tuned"
) -> Sequence[Prediction]:
    """A model's answers; every row is unanswered where no base model was there to be asked."""
    return rows.get(name) or [replace(row, prediction=None, error="not asked") for row in rows[of]]


def _baseline(found: Evaluation) -> dict[str, Any]:
    details = found.details()
    return {
        "rows": found.rows,
        "metrics": details["baseline"],
        "unanswered": found.baseline_unanswered,
        "comparison": None,
    }
