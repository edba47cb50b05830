"""The large-model pipeline with Google's template in it, instead of a step that launches it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from tunepipe.backends.palm.template import Template, read_template
from tunepipe.errors import UsageError
from tunepipe.runs.pipeline_spec import check_depth, tasks

_REASON_CHARACTERS = 300
_HEADER = re.compile(r"^# Template: (\S+) sha256:([0-9a-f]{64})$", re.MULTILINE)


def inlined_pipeline(template: Template) -> str:
    """Compile the pipeline with the template in it; a header names the template and its SHA-256.

    Raises:
        UsageError: The template is not a compiled pipeline, or lacks a needed input or output.
    """
    import yaml
    from kfp import components

    from tunepipe.pipelines.template import tune_by_template
    from tunepipe.pipelines.tuning import build_tuning_pipeline
    from tunepipe.runs.compile import compiled_text

    try:
        check_depth(template.text)
        loaded = components.load_component_from_text(template.text)
        tune = partial(tune_by_template, loaded, template.sha256)
        text = compiled_text(build_tuning_pipeline("large-model", tune))
    except (yaml.YAMLError, TypeError, ValueError, KeyError, AttributeError) as error:
        reason = error.found if isinstance(error, UsageError) else str(error)
        raise UsageError(
            f"the template does not fit: {reason[:_REASON_CHARACTERS]}",
            where=template.source,
            fix="give a compiled tune-large-model or tune-large-chat-model",
        ) from error
    return f"# Template: {template.source} sha256:{template.sha256}\n{text}"


def check_template(text: str) -> None:
    """Refuse a compiled pipeline whose template has changed since, or is not there any more."""
    header = _HEADER.search(text)
    if header and read_template(header[1]).sha256 != header[2]:
        raise UsageError(
            "the template has changed since the pipeline was compiled",
            where=header[1],
            fix=f"look at the change, then run: tunepipe compile --template {header[1]}",
        )


def template_sha256(spec: Mapping[str, Any]) -> str:
    """Read the template's SHA-256 out of a pipeline; "" for one without a template in it."""
    for task in tasks(spec):
        if task["taskInfo"]["name"] == "prepare-template":
            sha256 = task["inputs"]["parameters"]["template_sha256"]
            return str(sha256["runtimeValue"]["constant"])
    return ""
