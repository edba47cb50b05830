"""One compiled pipeline in one process of its own, run by kfp.local.

kfp.local keeps its settings in a global, prints its log to standard output and leaves tasks behind
when it ends. A separate process in its own group solves all three.

    python -m tunepipe.runs.kfp_process PIPELINE.yaml PARAMETERS.json STEPS_FOLDER
"""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tunepipe.files import read_json
from tunepipe.runs.pipeline_spec import drop_retries, read


def main(pipeline: str, parameters: str, steps_folder: str) -> None:
    """Run a compiled pipeline to its end; kfp.local puts what its steps make into `steps_folder`.

    The pipeline and its parameters are files of YAML and JSON. Its steps install nothing: this
    environment is the image.
    """
    warnings.simplefilter("ignore")
    name_python(Path(steps_folder).parent / ".bin")
    from kfp import components, local

    spec = read(Path(pipeline).read_text(encoding="utf-8"))
    # No step is repeated: no host is preempted here, and bad data stay bad.
    drop_retries(spec)
    values = read_json(parameters)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=steps_folder)
    run = components.load_component_from_text(yaml.safe_dump(spec))
    run(**{name: typed(spec, name, value) for name, value in values.items()})


def name_python(folder: Path) -> None:
    """Give this interpreter the name `python3`, which steps call it by.

    kfp.local writes sys.executable for each `python3` in the words of a step, be it a part of a
    file's name or a word of a shell's line, where a space in it would count.
    """
    folder.mkdir(parents=True, exist_ok=True)
    launcher = folder / "python3"
    launcher.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
    launcher.chmod(0o700)
    os.environ["PATH"] = f"{folder.resolve()}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    sys.executable = launcher.name


def typed(spec: Mapping[str, Any], name: str, value: Any) -> Any:
    """Make a float of the 1 that JSON has for 1.0: kfp takes no integer for a number."""
    kind = spec["root"]["inputDefinitions"]["parameters"].get(name, {}).get("parameterType")
    return float(value) if kind == "NUMBER_DOUBLE" else value


if __name__ == "__main__":
    main(*sys.argv[1:])
