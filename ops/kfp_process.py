"""One compiled pipeline in one process of its own, run by kfp.local.

kfp.local keeps its settings in a global, prints its log to standard output and leaves tasks behind
when it is ended; a process of its own, with a group of its own, mends all three.

    python -m tunepipe.ops.kfp_process PIPELINE.yaml PARAMETERS.json STEPS_FOLDER
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import yaml

from .specs import containers, without_install


def main(pipeline: str, parameters: str, steps_folder: str) -> None:
    """Run a compiled pipeline to its end.

    Args:
        pipeline: The compiled YAML file. Its steps install nothing: this environment is the image.
        parameters: A JSON file with the pipeline's parameters.
        steps_folder: Where kfp.local puts what the steps make.
    """
    warnings.simplefilter("ignore")
    from kfp import components, local

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=steps_folder)
    run = components.load_component_from_text(_installed(Path(pipeline)))
    run(**json.loads(Path(parameters).read_text(encoding="utf-8")))


def _installed(pipeline: Path) -> str:
    spec: dict[str, Any] = yaml.safe_load(pipeline.read_text(encoding="utf-8"))
    for container in containers(spec):
        container["command"] = without_install(container["command"])
    return yaml.safe_dump(spec)


if __name__ == "__main__":
    main(*sys.argv[1:])
