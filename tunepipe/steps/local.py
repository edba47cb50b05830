"""What tune_local and evaluate_model do: the local backend between KFP's artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tunepipe import progress
from tunepipe.backends.base import TuningRequest
from tunepipe.backends.local import backend as local
from tunepipe.evaluation.pacing import RequestPacing
from tunepipe.files import write_json
from tunepipe.steps.artifacts import Artifact, point_at
from tunepipe.steps.evaluation import evaluate

_TINY = "tiny"


def tune_step(
    rows: Mapping[str, str],
    model: Artifact,
    base: Artifact,
    report: str,
    work_dir: str,
    *,
    base_model: str,
    options: Mapping[str, Any],
    **settings: Any,
) -> None:
    """Tune a model on this machine and write what was measured, as JSON.

    Args:
        rows: The paths of the `train` and the `eval` rows.
        model: The artifact whose folder becomes the tuned model.
        base: The artifact that will stand for the model before tuning.
        report: The JSON file to write.
        work_dir: Where checkpoints are kept, so that a killed run goes on; "" keeps none.
        base_model: A folder or a hub id; "tiny" or "" for a model from nothing.
        options: Options of the local backend.
        settings: The other fields of `TuningRequest`.
    """
    kept = {"checkpoint_dir": work_dir} if work_dir else {}
    request = TuningRequest(
        base_model="" if base_model == _TINY else base_model,
        train_uri=rows["train"],
        eval_uri=rows["eval"],
        options={**kept, **options},
        **settings,
    )
    found = local.tune(request, model.path, lambda event: progress.report(stage="tune", **event))
    point_at(base, str(found.statistics["base_model"]))
    write_json(asdict(found), report)


def evaluate_step(
    model: Artifact, rows: str, out: str, work_dir: str, settings: Mapping[str, Any]
) -> dict[str, int]:
    """Ask a model on this machine every held-out row, all at once; see `evaluation_step`."""
    return evaluate(local, model, rows, out, work_dir, settings, RequestPacing())
