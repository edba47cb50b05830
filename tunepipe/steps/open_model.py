"""What tune_open_model and evaluate_open_model do: the backend between KFP's artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.backends.managed import open_model, open_model_prediction
from tunepipe.steps import tuning as managed_step
from tunepipe.steps.artifacts import Artifact, model_of
from tunepipe.steps.evaluation import evaluate

_NOT_SERVED = "no endpoint serves this model; name one by the option endpoint or base_endpoint"


def tune_step(
    rows: Mapping[str, managed_step.Rows],
    model: Artifact,
    base: Artifact,
    report: str,
    resources: str,
    **settings: Any,
) -> None:
    """Tune an open model; see `managed_step.tune`."""
    managed_step.tune(open_model, rows, model, base, report, resources, **settings)


def evaluate_step(
    model: Artifact, rows: str, out: str, work_dir: str, settings: Mapping[str, Any]
) -> dict[str, int]:
    """Ask an endpoint every held-out row; see `evaluation_step`.

    A model that no endpoint serves leaves every row unanswered: there is no evidence then, and
    nothing is promoted.
    """
    asked = model_of(model)
    if asked and not open_model_prediction.is_endpoint(asked):
        return managed_step.leave_unanswered(rows, out, _NOT_SERVED)
    return evaluate(open_model_prediction, model, rows, out, work_dir, settings, managed_step.PACE)
