"""What evaluate_model does: every held-out row to a model, through its backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.core import predictions, progress
from tunepipe.core.errors import UsageError
from tunepipe.core.files import replacing

from .artifacts import Artifact, model_of
from .contract import Backend
from .prediction import Pace, predict_rows

_REMOTE_WORKERS = 8
_PACE = ("workers", "requests_per_minute", "attempts")


def evaluate_step(
    backend: str,
    model: Artifact,
    rows: str,
    out: str,
    work_dir: str,
    settings: Mapping[str, Any],
) -> dict[str, int]:
    """Predict every held-out row.

    Args:
        backend: The backend's name.
        model: The model to ask; one that stands for none gives an empty file.
        rows: The held-out rows.
        out: The predictions file to write.
        work_dir: Where answers are kept as they come; "" keeps them beside `out`.
        settings: workers, requests_per_minute and attempts set the pace; the rest is the
            backend's.

    Returns:
        Counts: rows, unanswered, exact_matches.
    """
    asked = model_of(model)
    if not asked:
        with replacing(out):
            pass
        return {"rows": 0, "unanswered": 0, "exact_matches": 0}
    found = predict_rows(
        backend_of(backend),
        asked,
        rows,
        out,
        work_dir=work_dir,
        settings={name: value for name, value in settings.items() if name not in _PACE},
        pace=_pace(backend, settings),
        progress=lambda event: progress.report(stage="evaluate", **event),
    )
    right = sum(row.prediction == row.reference for row in predictions.read(out))
    return {"rows": found.rows, "unanswered": found.unanswered, "exact_matches": right}


def backend_of(name: str) -> Backend:
    """Return the backend of that name.

    Raises:
        UsageError: There is none.
    """
    if name == "local":
        from . import local

        return local
    raise UsageError("there is no such backend", where=name, fix="one of local")


def _pace(backend: str, settings: Mapping[str, Any]) -> Pace:
    at_once = 0 if backend == "local" else _REMOTE_WORKERS
    # int(): KFP makes 8.0 of the 8 in a mapping.
    return Pace(
        workers=int(settings.get("workers", at_once)),
        requests_per_minute=float(settings.get("requests_per_minute", 0)),
        attempts=int(settings.get("attempts", 5)),
    )
