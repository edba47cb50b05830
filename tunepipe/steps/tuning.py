"""What the tune and evaluate steps of managed tuning do: a backend between KFP's artifacts."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

from tunepipe import progress
from tunepipe.backends.base import Tuner, TuningRequest, TuningResult
from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.data import predictions
from tunepipe.data.formats import input_text
from tunepipe.data.predictions import Prediction
from tunepipe.data.rows import read_examples
from tunepipe.evaluation.pacing import RequestPacing
from tunepipe.files import replacing
from tunepipe.gcp.launcher import UnreachableError
from tunepipe.steps.artifacts import Artifact, point_at

PACE = RequestPacing(workers=8, attempts=8)


class Rows(Protocol):
    """What is used of a dataset artifact: the service reads it where it lies."""

    uri: str


class ManagedTuner(Tuner, Protocol):
    """A backend that can also name its base model."""

    def base_model_resource(
        self,
        model: str,
        project: str,
        region: str,
        options: Mapping[str, Any],
        catalog: Catalog,
    ) -> str:
        """Name the base model so that `predict` can ask it."""


def tune(
    backend: ManagedTuner,
    rows: Mapping[str, Rows],
    model: Artifact,
    base: Artifact,
    report: str,
    resources: str,
    *,
    options: Mapping[str, Any],
    tables: Mapping[str, Any],
    **settings: Any,
) -> None:
    """Tune through a managed job and write what is known of it, as JSON.

    Args:
        backend: gemini or open_model.
        rows: The artifacts of the `train` and the `eval` rows, on gs://.
        model: The artifact that will stand for the tuned model: its endpoint, else its weights.
        base: The artifact that will stand for the model before tuning.
        report: The JSON file to write.
        resources: The file that names the remote job, kept between two attempts of the step.
        options: Backend-specific options; see `managed_tuning.tune`.
        tables: Values that replace those of the package's tables.
        settings: The other fields of `TuningRequest`.

    Raises:
        SystemExit: With the code by which a pipeline knows that the fault was not the user's.
    """
    given = {"resources_path": resources, **options}
    catalog = load_catalog(tables)
    request = TuningRequest(
        train_uri=rows["train"].uri,
        eval_uri=rows["eval"].uri,
        options=given,
        catalog=catalog,
        **settings,
    )
    place = (request.project, request.region)
    # What it is, is asked first: it may be refused, and then nothing is paid.
    base_model = backend.base_model_resource(request.base_model, *place, given, catalog)
    try:
        found = backend.tune(request, "", lambda event: progress.report(stage="tune", **event))
    except UnreachableError as error:
        traceback.print_exc()
        raise SystemExit(error.exit_code) from error
    point_at(model, found.endpoint or found.model)
    point_at(base, base_model)
    _write(found, report)


def leave_unanswered(rows: str, out: str, why: str) -> dict[str, int]:
    """Write every row as unanswered, where nothing serves the model.

    Args:
        rows: The held-out rows.
        out: The predictions file to write.
        why: Said of each row.

    Returns:
        Counts: rows, unanswered, exact_matches.
    """
    examples = read_examples(rows) if os.path.getsize(rows) else ()
    asked = [Prediction(one.id, input_text(one), one.reference, None, why) for one in examples]
    predictions.write(asked, out)
    return {"rows": len(asked), "unanswered": len(asked), "exact_matches": 0}


def _write(found: TuningResult, report: str) -> None:
    with replacing(report) as file:
        json.dump(asdict(found), file, ensure_ascii=False, indent=1, default=str)
