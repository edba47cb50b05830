"""Tune open models (Llama, Gemma, Qwen and others) through tuning jobs.

The job leaves weights in Cloud Storage and no endpoint: serving them takes GPUs that are paid by
the hour, which the user starts and ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.backends.base import TuningRequest
from tunepipe.backends.managed.tuning import ManagedTuner
from tunepipe.errors import UsageError
from tunepipe.stores import storage

# Where a job leaves the weights of its last checkpoint, below its output_uri.
_WEIGHTS = "postprocess/node-0/checkpoints/final"
_WEIGHTS_ENDING = ".safetensors"


class OpenModelTuner(ManagedTuner):
    """Tunes an open model by its exact and versioned name, such as qwen/qwen3@qwen3-4b."""

    backend = "open-model"

    def config(self, request: TuningRequest) -> dict[str, Any]:
        """Return where the weights go: next to the rows, unless the user says otherwise."""
        folder = request.train_uri.rpartition("/")[0]
        return {"output_uri": request.options.get("output_uri") or f"{folder}/tuned"}

    def result_exists(self, job: Any) -> bool:
        """Return True if the weights are there: a model deleted since is tuned again.

        What a listing shows may be gone, or be the remains of a deletion: each file is looked up.
        """
        try:
            files = storage.list_files(f"{_weights_of(job)}/*")
        except UsageError:
            return False
        has_weights = any(file.endswith(_WEIGHTS_ENDING) for file in files)
        return has_weights and all(map(storage.exists, files))

    def result(self, job: Any, options: Mapping[str, Any]) -> tuple[str, str]:
        """Return the weights' folder on gs://, and the endpoint that the options name, or ""."""
        return _weights_of(job), str(options.get("endpoint", ""))

    def base(self, request: TuningRequest) -> str:
        """Return the base model's endpoint if the user gave one, else the model itself."""
        return str(request.options.get("base_endpoint") or request.base_model)


_TUNER = OpenModelTuner()
tune = _TUNER.tune
check_request = _TUNER.check_request
cancel = _TUNER.cancel


def _weights_of(job: Any) -> str:
    return f"{str(job.output_uri).rstrip('/')}/{_WEIGHTS}" if job.output_uri else ""
