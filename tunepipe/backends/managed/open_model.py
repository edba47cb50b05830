"""Tuning open models (Llama, Gemma, Qwen…) through tuning jobs, and asking an endpoint of theirs.

The job leaves weights in Cloud Storage and no endpoint: serving them takes GPUs that are paid by
the hour, so that is the user's to begin and to end. An endpoint that the user names is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunepipe.backends.base import Answer, Progress, Prompt, TuningRequest, TuningResult
from tunepipe.backends.managed import jobs as tuning_jobs
from tunepipe.backends.managed import tuning as managed_tuning
from tunepipe.backends.managed.parameters import TuningJob
from tunepipe.backends.managed.tuning import Kind
from tunepipe.errors import UsageError
from tunepipe.gcp import clients as google_clients
from tunepipe.gcp import storage
from tunepipe.gcp.genai import told

BACKEND = "open-model"
_FORMATS = ("messages", "prompt-completion")
_ANSWER_SECONDS = 120.0
# Where a job leaves the weights of its last checkpoint, below its output_uri.
_WEIGHTS = "postprocess/node-0/checkpoints/final"


def tune(request: TuningRequest, output_dir: str, progress: Progress) -> TuningResult:
    """Tune an open model; see `managed_tuning.tune`.

    Args:
        request: `base_model` is exact and versioned, such as qwen/qwen3@qwen3-4b.
        output_dir: Where `gcp_resources`, which names the job, is kept between two attempts.
        progress: Told of each change of the job.

    Returns:
        The weights' folder on gs://, and the endpoint that the options name, or "".
    """
    return managed_tuning.tune(_KIND, request, output_dir, progress)


def cancel(job: str) -> None:
    """Cancel a tuning job by its resource name; no error where it has ended already."""
    with told(job):
        tuning_jobs.cancel(job)


def predict(model: str, prompts: Sequence[Prompt], **settings: Any) -> Iterator[Answer]:
    """Ask an endpoint that serves an open model, one prompt after the other.

    Args:
        model: The endpoint's resource name.
        prompts: The questions.
        settings: max_output_tokens (256), temperature (0), and request_format: "chat" (the
            server applies the model's chat template) or "prompt" (the text as it is).

    Yields:
        One answer a prompt; its `text` is None where the endpoint refused the prompt.

    Raises:
        UsageError: This is no endpoint.
        CloudError: The endpoint is not there, may not be asked, or is out of reach.
    """
    if not is_endpoint(model):
        raise UsageError(
            "an open model answers only where an endpoint serves it",
            where=model,
            fix="deploy the weights from Model Garden, and give --option endpoint=projects/…",
        )
    with google_clients.explained(model):
        for prompt in prompts:
            yield _ask(model, prompt, settings)


def is_endpoint(model: str) -> bool:
    """Say whether a name is an endpoint's, rather than a folder of weights or a base model."""
    return model.startswith("projects/") and "/endpoints/" in model


def base_model_resource(model: str, project: str, region: str, options: Mapping[str, Any]) -> str:
    """Name the base model's endpoint where the user gave one, else the model itself."""
    return str(options.get("base_endpoint") or model)


def _config(request: TuningRequest) -> dict[str, Any]:
    beside_the_rows = f"{request.train_uri.rpartition('/')[0]}/tuned"
    return {"output_uri": request.options.get("output_uri") or beside_the_rows}


def _weights_of(job: Any) -> str:
    return f"{str(job.output_uri).rstrip('/')}/{_WEIGHTS}" if job.output_uri else ""


def _stands(job: Any) -> bool:
    """Say whether the weights are there: a model deleted since is tuned again."""
    try:
        return bool(storage.list_files(f"{_weights_of(job)}/*"))
    except UsageError:
        return False


def _made(job: Any, options: Mapping[str, Any]) -> tuple[str, str]:
    return _weights_of(job), str(options.get("endpoint", ""))


def _converted(found: str) -> str:
    """A pair becomes a pair; what has turns, messages."""
    return "prompt-completion" if found == "palm" else "messages"


def _formats(job: TuningJob) -> tuple[str, ...]:
    return _FORMATS


_KIND = Kind(
    backend=BACKEND,
    formats=_formats,
    convert_to=lambda job: _converted,
    stands=_stands,
    made=_made,
    config=_config,
)


def _ask(endpoint: str, prompt: Prompt, settings: Mapping[str, Any]) -> Answer:
    from google.api_core import exceptions as api
    from google.protobuf import json_format, struct_pb2

    client = google_clients.predictions(google_clients.region_of(endpoint))
    instance = _instance(prompt, settings)
    try:
        response = client.predict(
            endpoint=endpoint,
            instances=[json_format.ParseDict(instance, struct_pb2.Value())],
            timeout=_ANSWER_SECONDS,
        )
    except api.InvalidArgument as error:
        return Answer(prompt.id, None, f"refused: {error.message}")
    asked = str(instance.get("prompt", ""))
    return _answer(prompt.id, asked, type(response).to_dict(response)["predictions"])


def _instance(prompt: Prompt, settings: Mapping[str, Any]) -> dict[str, Any]:
    limits = {
        "max_tokens": int(settings.get("max_output_tokens", 256)),
        "temperature": float(settings.get("temperature", 0.0)),
    }
    if settings.get("request_format") == "prompt":
        return {"prompt": "\n\n".join(m["content"] for m in prompt.messages), **limits}
    messages = [dict(message) for message in prompt.messages]
    return {"@requestFormat": "chatCompletions", "messages": messages, **limits}


def _answer(prompt_id: str, asked: str, predictions: Any) -> Answer:
    """Read what the server of Model Garden (vLLM) answers to either kind of request."""
    found = predictions[0] if isinstance(predictions, list) and predictions else predictions
    if isinstance(found, str):
        # It repeats the prompt before its answer, with this word between them.
        echoed = f"{asked}\nOutput:\n"
        return Answer(prompt_id, found.partition(echoed)[2] if echoed in found else found)
    choices = found.get("choices") if isinstance(found, Mapping) else None
    if choices:
        text = choices[0].get("message", {}).get("content") or choices[0].get("text")
        if text:
            return Answer(prompt_id, str(text))
    return Answer(prompt_id, None, "the endpoint gave no answer")
