"""What tune_large_model and evaluate_large_model do: the backend between KFP's artifacts."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

from tunepipe import progress
from tunepipe.backends.base import TuningRequest
from tunepipe.backends.palm import prediction
from tunepipe.backends.palm import tuning as large_model
from tunepipe.backends.palm.parameters import family
from tunepipe.catalog.catalog import load_catalog
from tunepipe.evaluation.pacing import RequestPacing
from tunepipe.files import write_json
from tunepipe.gcp.launcher import UnreachableError
from tunepipe.steps.artifacts import Artifact, point_at
from tunepipe.steps.evaluation import evaluate

# 60 a minute was Google's default quota for these models.
_PACE = RequestPacing(workers=8, requests_per_minute=60.0, attempts=6)


class Rows(Protocol):
    """What is used of a dataset artifact: the template reads it where it lies."""

    uri: str


def tune_step(
    rows: Mapping[str, Rows],
    model: Artifact,
    base: Artifact,
    report: str,
    resources: str,
    *,
    base_model: str,
    project: str,
    region: str,
    options: Mapping[str, Any],
    tables: Mapping[str, Any],
    **settings: Any,
) -> None:
    """Tune through the template and write what is known of it, as JSON.

    Args:
        rows: The artifacts of the `train` and the `eval` rows, on gs://.
        model: The artifact that will stand for the tuned model's endpoint.
        base: The artifact that will stand for the model before tuning.
        report: The JSON file to write.
        resources: The file that names the remote job, kept between two attempts of the step.
        base_model: Such as text-bison@001.
        project: Who pays.
        region: Where everything runs.
        options: Backend-specific options; see `large_model.tune`.
        tables: Values that replace those of the package's tables.
        settings: The other fields of `TuningRequest`.

    Raises:
        SystemExit: With the code by which a pipeline knows that the fault was not the user's.
    """
    beside_the_rows = rows["train"].uri.rpartition("/")[0]
    known = {"pipeline_root": beside_the_rows, "resources_path": resources}
    request = TuningRequest(
        base_model=base_model,
        train_uri=rows["train"].uri,
        eval_uri=rows["eval"].uri,
        project=project,
        region=region,
        options={**known, **options},
        catalog=load_catalog(tables),
        **settings,
    )
    try:
        found = large_model.tune(request, "", lambda event: progress.report(stage="tune", **event))
    except UnreachableError as error:
        traceback.print_exc()
        raise SystemExit(error.exit_code) from error
    point_at(model, found.endpoint)
    point_at(base, large_model.base_model_resource(base_model, project, region))
    write_json(asdict(found), report)


def evaluate_step(
    model: Artifact,
    rows: str,
    out: str,
    work_dir: str,
    base_model: str,
    settings: Mapping[str, Any],
) -> dict[str, int]:
    """Ask a tuned or a base model every held-out row.

    Args:
        model: The model to ask; one that stands for none gives an empty file.
        rows: The held-out rows.
        out: The predictions file to write.
        work_dir: Where answers are kept as they come; "" keeps them beside `out`.
        base_model: Says whether the model takes turns.
        settings: workers, requests_per_minute and attempts set the pace; max_output_tokens and
            temperature go to the model.

    Returns:
        Counts: rows, unanswered, exact_matches.
    """
    kept = {"max_output_tokens", "temperature", "workers", "requests_per_minute", "attempts"}
    told = {name: value for name, value in settings.items() if name in kept}
    told["chat"] = family(base_model) == "chat"
    return evaluate(prediction, model, rows, out, work_dir, told, _PACE)
