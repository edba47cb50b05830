"""A launcher step in a process of its own, so that a test can kill it.

The processes are forked from a server that has the imports already: a step a second, not five.
"""

import json
import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

from tunepipe.backends import large_model
from tunepipe.backends.contract import TuningRequest
from tunepipe.core.errors import TunepipeError

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        __name__,
        "google.cloud.aiplatform_v1.services.pipeline_service",
        "google.cloud.storage",
    ]
)


def start(request: TuningRequest, output: Path) -> BaseProcess:
    """Start a step that writes result.json, or error.json, into `output`."""
    process = _CONTEXT.Process(target=_run, args=(request, output, dict(os.environ)), daemon=True)
    process.start()
    return process


def _run(request: TuningRequest, output: Path, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    output.mkdir(parents=True, exist_ok=True)
    try:
        result = large_model.tune(request, str(output), lambda event: None)
    except TunepipeError as error:
        (output / "error.json").write_text(json.dumps(str(error)))
        sys.exit(error.exit_code)
    (output / "result.json").write_text(json.dumps([result.model, result.endpoint]))
