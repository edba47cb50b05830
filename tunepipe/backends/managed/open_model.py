"""Tune open models (Llama, Gemma, Qwen and others) through tuning jobs.

The job leaves weights in Cloud Storage and no endpoint: serving them takes GPUs that are paid by
the hour, which the user starts and ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.backends.base import TuningRequest, TuningResult
from tunepipe.backends.managed import jobs, tuning
from tunepipe.backends.managed.tuning import Kind
from tunepipe.catalog.catalog import Catalog
from tunepipe.errors import UsageError
from tunepipe.gcp.genai import translate_errors
from tunepipe.progress import Progress
from tunepipe.stores import storage

BACKEND = "open-model"
# Where a job leaves the weights of its last checkpoint, below its output_uri.
_WEIGHTS = "postprocess/node-0/checkpoints/final"
_WEIGHTS_ENDING = ".safetensors"


def tune(request: TuningRequest, output_dir: str, progress: Progress) -> TuningResult:
    """Tune an open model; see `tuning.tune`.

    Args:
        request: `base_model` is exact and versioned, such as qwen/qwen3@qwen3-4b.
        output_dir: Where `gcp_resources`, which names the job, is kept between two attempts.
        progress: Receives each change of the job.

    Returns:
        The weights' folder on gs://, and the endpoint that the options name, or "".
    """
    return tuning.tune(_KIND, request, output_dir, progress)


def check_request(request: TuningRequest, row_format: str = "") -> None:
    """Check what a user may set; see `tuning.check_request`."""
    tuning.check_request(BACKEND, request, row_format)


def cancel(job: str) -> None:
    """Cancel a tuning job by its resource name; no error if it has ended already."""
    with translate_errors(job):
        jobs.cancel(job)


def _config(request: TuningRequest) -> dict[str, Any]:
    beside_the_rows = f"{request.train_uri.rpartition('/')[0]}/tuned"
    return {"output_uri": request.options.get("output_uri") or beside_the_rows}


def _weights_of(job: Any) -> str:
    return f"{str(job.output_uri).rstrip('/')}/{_WEIGHTS}" if job.output_uri else ""


def _result_exists(job: Any) -> bool:
    """Return True if the weights are there: a model deleted since is tuned again.

    What a listing shows may be gone, or be the remains of a deletion: each file is looked up.
    """
    try:
        files = storage.list_files(f"{_weights_of(job)}/*")
    except UsageError:
        return False
    return any(file.endswith(_WEIGHTS_ENDING) for file in files) and all(map(storage.exists, files))


def _result(job: Any, options: Mapping[str, Any]) -> tuple[str, str]:
    return _weights_of(job), str(options.get("endpoint", ""))


_KIND = Kind(
    backend=BACKEND,
    result_exists=_result_exists,
    result=_result,
    config=_config,
    base=lambda request: base_model_resource(
        request.base_model, request.project, request.region, request.options, request.catalog
    ),
)


def base_model_resource(
    model: str,
    project: str,
    region: str,
    options: Mapping[str, Any],
    catalog: Catalog | None = None,
) -> str:
    """Return the base model's endpoint if the user gave one, else the model itself."""
    return str(options.get("base_endpoint") or model)
