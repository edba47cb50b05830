"""`compiled/`: every pipeline and every component as one YAML file, and whether it is current."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from tunepipe.backends.palm.template import Template, read_template
from tunepipe.catalog.backends import BACKENDS
from tunepipe.errors import UsageError
from tunepipe.files import replacing
from tunepipe.runs.pipeline_spec import add_accelerators, check_depth, rewrite, set_image, tasks

_REASON_CHARACTERS = 300
_COMPILED = b"# PIPELINE DEFINITION\n"  # so begins what kfp compiles
_HEADER = re.compile(r"^# Template: (\S+) sha256:([0-9a-f]{64})$", re.MULTILINE)


def render(image: str = "", *, accelerator: str = "", thin: bool = False) -> dict[str, str]:
    """Compile everything: the text of each file by its path below compiled/.

    The steps run on `image`, or install what they need. The steps of the local backend that train
    and answer ask a cluster for `accelerator`, such as nvidia.com/gpu:1. Components carry their
    code; on an image, and where they are `thin`, they take the parameter `code` instead.
    """
    texts = dict(_unit_texts(thin or bool(image)))
    local = "pipelines/tune_local.yaml"
    if accelerator:
        texts[local] = rewrite(texts[local], partial(add_accelerators, accelerator=accelerator))
    if image:
        texts = {
            path: rewrite(text, partial(set_image, image=image)) for path, text in texts.items()
        }
    return texts


@cache
def pipeline_text(backend: str, emails: tuple[str, ...] = ()) -> str:
    """Compile the pipeline of one backend, such as "local"; Vertex AI mails its end to `emails`."""
    from tunepipe.pipelines.tuning import build_tuning_pipeline

    return compiled_text(build_tuning_pipeline(backend, emails=emails))


def write_all(folder: Path, texts: Mapping[str, str]) -> list[str]:
    """Write what differs, remove definitions without a source; return the paths that changed."""
    changed = []
    for path in differences(folder, texts):
        if path in texts:
            with replacing(folder / path) as file:
                file.write(texts[path])
        elif (folder / path).read_bytes()[: len(_COMPILED)] in (_COMPILED, b""):
            (folder / path).unlink()
        else:
            continue  # somebody wrote it by hand
        changed.append(path)
    return changed


def differences(folder: Path, texts: Mapping[str, str]) -> list[str]:
    """List what is missing, stale or an orphan in a folder of compiled files."""
    present = {
        str(file.relative_to(folder)): file.read_text(encoding="utf-8", errors="replace")
        for name in ("components", "pipelines")
        for file in (folder / name).glob("*.yaml")
    }
    paths = present.keys() | texts.keys()
    return sorted(path for path in paths if present.get(path) != texts.get(path))


@cache
def _unit_texts(thin: bool) -> dict[str, str]:
    return {path: compiled_text(unit) for path, unit in _units(thin)}


def _units(thin: bool) -> Iterator[tuple[str, Any]]:
    from tunepipe import components
    from tunepipe.packaging.component import thin as thin_component
    from tunepipe.pipelines.tuning import build_tuning_pipeline
    from tunepipe.pipelines.validation import validation_pipeline

    yield "pipelines/validate_shards.yaml", validation_pipeline
    for verb in components.__all__:
        component = getattr(components, verb)
        unit = thin_component(component.python_func, described=True) if thin else component
        yield f"components/{verb}.yaml", unit
    for name, backend in BACKENDS.items():
        yield f"pipelines/tune_{backend.identifier}.yaml", build_tuning_pipeline(name)


def compiled_text(unit: Any) -> str:
    """Compile a pipeline or a component."""
    from kfp import compiler

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "unit.yaml"
        compiler.Compiler().compile(unit, str(path))
        return path.read_text(encoding="utf-8")


def inlined_pipeline(template: Template) -> str:
    """Compile the pipeline with the template in it; a header names the template and its SHA-256.

    Raises:
        UsageError: The template is not a compiled pipeline, or lacks a needed input or output.
    """
    import yaml
    from kfp import components

    from tunepipe.pipelines.tuning import build_tuning_pipeline

    try:
        check_depth(template.text)
        loaded = components.load_component_from_text(template.text)
        inlined = {"template": loaded, "template_sha256": template.sha256}
        text = compiled_text(build_tuning_pipeline("large-model", **inlined))
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
        if (task.get("taskInfo") or {}).get("name") == "prepare-template":
            parameters = (task.get("inputs") or {}).get("parameters", {})
            value = parameters.get("template_sha256", {}).get("runtimeValue") or {}
            return str(value.get("constant", ""))
    return ""
