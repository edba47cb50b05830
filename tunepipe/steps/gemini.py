"""What tune_gemini and evaluate_gemini do: the backend between KFP's artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.backends.managed import gemini, gemini_prediction
from tunepipe.steps import tuning as managed_step
from tunepipe.steps.artifacts import Artifact
from tunepipe.steps.evaluation import evaluate


def tune_step(
    rows: Mapping[str, managed_step.Rows],
    model: Artifact,
    base: Artifact,
    report: str,
    resources: str,
    **settings: Any,
) -> None:
    """Tune a Gemini; see `managed_step.tune`."""
    managed_step.tune(gemini, rows, model, base, report, resources, **settings)


def evaluate_step(
    model: Artifact,
    rows: str,
    out: str,
    work_dir: str,
    base_model: str,
    settings: Mapping[str, Any],
) -> dict[str, int]:
    """Ask a Gemini every held-out row; see `evaluation_step`.

    Args:
        model: The model to ask; one that stands for none gives an empty file.
        rows: The held-out rows.
        out: The predictions file to write.
        work_dir: Where answers are kept as they come; "" keeps them beside `out`.
        base_model: Says how little the tuned model may think, as its endpoint's name does not.
        settings: What `gemini_prediction.predict` takes, and the pace.

    Returns:
        Counts: rows, unanswered, exact_matches.
    """
    told = {**settings, "base_model": base_model}
    return evaluate(gemini_prediction, model, rows, out, work_dir, told, managed_step.PACE)
