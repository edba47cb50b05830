"""What every evaluate step does: each held-out row to a model, through its backend."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tunepipe import progress
from tunepipe.backends.base import Predictor
from tunepipe.data import predictions
from tunepipe.evaluation.ask import predict_rows
from tunepipe.evaluation.pacing import PACING_OPTIONS, RequestPacing
from tunepipe.files import replacing
from tunepipe.steps.artifacts import Artifact, model_of


def evaluate(
    backend: Predictor,
    model: Artifact,
    rows: str,
    out: str,
    work_dir: str,
    settings: Mapping[str, Any],
    pace: RequestPacing,
) -> dict[str, int]:
    """Predict every held-out row.

    Args:
        backend: Its `predict` is asked.
        model: The model to ask; one that stands for none gives an empty file.
        rows: The held-out rows; no rows give an empty file.
        out: The predictions file to write.
        work_dir: Where answers are kept as they come; "" keeps them beside `out`.
        settings: workers, requests_per_minute and attempts change the pace; the rest is the
            backend's.
        pace: The backend's own pace.

    Returns:
        Counts: rows, unanswered, exact_matches.
    """
    asked = model_of(model)
    if not (asked and os.path.getsize(rows)):
        with replacing(out):
            pass
        return {"rows": 0, "unanswered": 0, "exact_matches": 0}
    found = predict_rows(
        backend,
        asked,
        rows,
        out,
        work_dir=work_dir,
        settings={name: value for name, value in settings.items() if name not in PACING_OPTIONS},
        pace=pace.with_options(settings),
        progress=lambda event: progress.report(stage="evaluate", **event),
    )
    right = sum(row.prediction == row.reference for row in predictions.read(out))
    return {"rows": found.rows, "unanswered": found.unanswered, "exact_matches": right}
