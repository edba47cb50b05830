"""What stands before and behind Google's template where it is a part of the pipeline itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tunepipe.backends.base import TuningRequest, TuningResult
from tunepipe.backends.palm import tuning as large_model
from tunepipe.backends.palm.parameters import template_defaults
from tunepipe.files import write_json
from tunepipe.steps.artifacts import Artifact, point_at
from tunepipe.steps.palm import Rows


def prepare_step(
    rows: Mapping[str, Rows], names: tuple[str, ...], *, options: Mapping[str, Any], **settings: Any
) -> tuple[Any, ...]:
    """Check what goes into the template, rows included, and complete it by its defaults.

    Args:
        rows: The artifacts of the `train` and the `eval` rows, on gs://.
        names: The template's parameters to return.
        options: The template's other parameters by name.
        settings: The other fields of `TuningRequest`.

    Returns:
        The values, in the order of `names`.

    Raises:
        UsageError: A parameter that the template would refuse.
        DataError: Too few or too many rows.
        LimitError: Anything would run outside the region given.
    """
    request = TuningRequest(
        train_uri=rows["train"].uri, eval_uri=rows["eval"].uri, options=options, **settings
    )
    values = template_defaults() | large_model.checked(request)
    return tuple(values[name] for name in names)


def keep_step(
    model: Artifact,
    base: Artifact,
    report: str,
    *,
    names: tuple[str, str],
    base_model: str,
    project: str,
    region: str,
    statistics: Mapping[str, Any],
) -> None:
    """Turn what the template has made into the artifacts that the steps behind it take.

    Args:
        model: The artifact that will stand for the tuned model's endpoint.
        base: The artifact that will stand for the model before tuning.
        report: The JSON file to write.
        names: The resource names of the model and of its endpoint.
        base_model: Such as text-bison@001.
        project: Who pays.
        region: Where everything runs.
        statistics: What is known of the tuning.
    """
    point_at(model, names[1])
    point_at(base, large_model.base_model_resource(base_model, project, region))
    write_json(asdict(TuningResult(*names, statistics)), report)
