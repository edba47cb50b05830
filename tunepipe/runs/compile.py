"""`compiled/`: every pipeline and every component as one YAML file, and whether it is current."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from tunepipe.catalog.backends import BACKENDS
from tunepipe.files import replacing
from tunepipe.runs.pipeline_spec import rewrite, with_accelerators, with_image


def render(image: str = "", *, accelerator: str = "", thin: bool = False) -> dict[str, str]:
    """Compile everything: the text of each file by its path below compiled/.

    The steps run on `image`, or install what they need. The steps of the local backend that train
    and answer ask a cluster for `accelerator`, such as nvidia.com/gpu:1. Components carry their
    code; on an image, and where they are `thin`, they take the parameter `code` instead.
    """
    texts = dict(_unit_texts(thin or bool(image)))
    local = "pipelines/tune_local.yaml"
    if accelerator:
        change = partial(with_accelerators, accelerator=accelerator)
        texts[local] = rewrite(texts[local], change)
    if not image:
        return texts
    change = partial(with_image, image=image)
    return {path: rewrite(text, change) for path, text in texts.items()}


@cache
def pipeline_text(backend: str, emails: tuple[str, ...] = ()) -> str:
    """Compile the pipeline of one backend, such as "local"; Vertex AI mails its end to `emails`."""
    from tunepipe.pipelines.tuning import build_tuning_pipeline

    return compiled_text(build_tuning_pipeline(backend, emails=emails))


def write_all(folder: Path, texts: Mapping[str, str]) -> list[str]:
    """Write what differs, remove files without a source, and return the paths that changed."""
    changed = differences(folder, texts)
    for path in changed:
        if path not in texts:
            (folder / path).unlink()
            continue
        with replacing(folder / path) as file:
            file.write(texts[path])
    return changed


def differences(folder: Path, texts: Mapping[str, str]) -> list[str]:
    """List what is missing, stale or an orphan in a folder of compiled files."""
    present = {
        str(file.relative_to(folder)): file.read_text(encoding="utf-8")
        for file in folder.glob("*/*.yaml")
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
