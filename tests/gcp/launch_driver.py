"""A launcher step in a process of its own, so that a test can kill it.

The processes are forked from a server that has the imports already: a step a second, not five.
"""

import importlib
import json
import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

from tunepipe.backends.base import TuningRequest
from tunepipe.errors import TunepipeError

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        __name__,
        "google.cloud.aiplatform_v1.services.job_service",
        "google.cloud.aiplatform_v1.services.pipeline_service",
        "google.cloud.storage",
        "google.genai",
        "tunepipe.backends.custom.tuning",
        "tunepipe.backends.managed.gemini",
        "tunepipe.backends.palm.tuning",
    ]
)


def start(request: TuningRequest, output: Path, tuner: str = "palm.tuning") -> BaseProcess:
    """Start a step that writes result.json, or error.json, into `output`."""
    given = (request, output, tuner, dict(os.environ))
    process = _CONTEXT.Process(target=_run, args=given, daemon=True)
    process.start()
    return process


def _run(request: TuningRequest, output: Path, tuner: str, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    output.mkdir(parents=True, exist_ok=True)
    try:
        module = importlib.import_module(f"tunepipe.backends.{tuner}")
        result = module.tune(request, str(output), lambda event: None)
    except TunepipeError as error:
        (output / "error.json").write_text(json.dumps(str(error)))
        sys.exit(error.exit_code)
    (output / "result.json").write_text(json.dumps([result.model, result.endpoint]))
