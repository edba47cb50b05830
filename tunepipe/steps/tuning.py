"""The step that tunes: any backend between the pipeline's artifacts."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tunepipe import progress
from tunepipe.backends.base import Tuner, TuningRequest
from tunepipe.catalog.catalog import load_catalog
from tunepipe.errors import UnreachableError
from tunepipe.files import write_json
from tunepipe.steps.artifacts import Artifact, point_at


def tune(
    tuner: Tuner,
    rows: Mapping[str, str],
    model: Artifact,
    base: Artifact,
    report: str,
    *,
    options: Mapping[str, Any],
    tables: Mapping[str, Any] | None = None,
    **settings: Any,
) -> None:
    """Tune a model and write what is known of the tuning, as JSON.

    Args:
        tuner: The backend's module.
        rows: Where `train` and `eval` are: paths for a tuner that reads them itself, gs:// URIs
            for a service that does.
        model: Stands for the tuned model afterwards: its own folder, an endpoint, or weights.
        base: Stands for the model before tuning.
        report: The JSON file to write.
        options: The tuner's own options. None and "" are left out, so that a component can pass on
            what was not set.
        tables: Values that replace those of the package's dated tables.
        settings: The other fields of `TuningRequest`.

    Raises:
        SystemExit: With the code that tells a pipeline that the fault was not the user's.
    """
    request = TuningRequest(
        train_uri=rows["train"],
        eval_uri=rows["eval"],
        options={name: value for name, value in options.items() if value not in (None, "")},
        catalog=load_catalog(tables),
        **settings,
    )
    try:
        result = tuner.tune(request, model.path, _report)
    except UnreachableError as error:
        traceback.print_exc()
        raise SystemExit(error.exit_code) from error
    tuned = result.endpoint or result.model
    if tuned != model.path:
        point_at(model, tuned)
    point_at(base, result.base)
    write_json(asdict(result), report)


def _report(event: Mapping[str, Any]) -> None:
    progress.report(stage="tune", **event)
