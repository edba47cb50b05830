"""The steps before and after Google's template where it is a part of the pipeline itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tunepipe.backends.base import TuningRequest, TuningResult
from tunepipe.backends.palm import tuning
from tunepipe.backends.palm.parameters import template_defaults
from tunepipe.files import write_json
from tunepipe.steps.artifacts import Artifact, point_at


def prepare_step(
    rows: Mapping[str, str], names: tuple[str, ...], *, options: Mapping[str, Any], **settings: Any
) -> tuple[Any, ...]:
    """Check what goes into the template, rows included, and return its parameters by name.

    `rows` are the gs:// URIs of the `train` and the `eval` rows, `options` the template's other
    parameters, and the settings the other fields of `TuningRequest`.
    """
    request = TuningRequest(
        train_uri=rows["train"], eval_uri=rows["eval"], options=options, **settings
    )
    values = template_defaults() | tuning.check_with_rows(request)
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
    """Turn what the template has made into the artifacts that the later steps take.

    `model` and `base` will refer to the endpoint of the tuned model and to the model before the
    tuning; `names` are the resource names of the tuned model and its endpoint; `report` is the
    JSON file to write.
    """
    base_name = tuning.base_model_resource(base_model, project, region)
    point_at(model, names[1])
    point_at(base, base_name)
    write_json(asdict(TuningResult(*names, statistics, base=base_name)), report)
