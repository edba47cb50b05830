"""Ask an endpoint that serves an open model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunepipe.backends.base import Answer, Prompt
from tunepipe.data.conversion import openai_request
from tunepipe.data.parts import kinds_of, read_calls, write_answer
from tunepipe.errors import UsageError
from tunepipe.gcp import clients

_ANSWER_SECONDS = 120.0


def predict(model: str, prompts: Sequence[Prompt], **settings: Any) -> Iterator[Answer]:
    """Ask an endpoint that serves an open model, one prompt after the other.

    Args:
        model: The endpoint's resource name.
        prompts: The questions.
        settings: max_output_tokens (256), temperature (0), and request_format: "chat" (the
            server applies the model's chat template) or "prompt" (the text as it is).

    Yields:
        One answer a prompt; its `text` is None if the endpoint refused the prompt.

    Raises:
        UsageError: This is not an endpoint.
        CloudError: The endpoint is not there, may not be asked, or is out of reach.
    """
    if not is_endpoint(model):
        raise UsageError(
            "an open model answers only where an endpoint serves it",
            where=model,
            fix="deploy the weights from Model Garden, and give --option endpoint=projects/…",
        )
    with clients.explained(model):
        for prompt in prompts:
            yield _ask(model, prompt, settings)


def is_endpoint(model: str) -> bool:
    """Return True if a name is an endpoint's, not that of a folder of weights or a base model."""
    return model.startswith("projects/") and "/endpoints/" in model


def reason_unserved(model: str) -> str:
    """Return why a model cannot be asked: only an endpoint answers."""
    if is_endpoint(model):
        return ""
    return "no endpoint serves this model; name one by the option endpoint or base_endpoint"


def _ask(endpoint: str, prompt: Prompt, settings: Mapping[str, Any]) -> Answer:
    from google.api_core import exceptions as api
    from google.protobuf import json_format, struct_pb2

    client = clients.predictions(clients.region_of(endpoint))
    instance = _instance(prompt, settings)
    try:
        response = client.predict(
            endpoint=endpoint,
            instances=[json_format.ParseDict(instance, struct_pb2.Value())],
            timeout=_ANSWER_SECONDS,
        )
    except api.InvalidArgument as error:
        return Answer(prompt.id, None, f"refused: {error.message}")
    question = str(instance.get("prompt", ""))
    return _answer(prompt.id, question, type(response).to_dict(response)["predictions"])


def _instance(prompt: Prompt, settings: Mapping[str, Any]) -> dict[str, Any]:
    limits = {
        "max_tokens": int(settings.get("max_output_tokens", 256)),
        "temperature": float(settings.get("temperature", 0.0)),
    }
    if settings.get("request_format") == "prompt":
        return {"prompt": "\n\n".join(m["content"] for m in prompt.messages), **limits}
    request: Mapping[str, Any] = {"messages": [dict(message) for message in prompt.messages]}
    if kinds_of(prompt.fields):
        request = openai_request(prompt.fields, prompt.format)
    return {"@requestFormat": "chatCompletions", **request, **limits}


def _answer(prompt_id: str, question: str, predictions: Any) -> Answer:
    """Read what the server of Model Garden (vLLM) answers to either kind of request."""
    prediction = predictions[0] if isinstance(predictions, list) and predictions else predictions
    if isinstance(prediction, str):
        # It repeats the prompt before its answer, with this word between them.
        echoed = f"{question}\nOutput:\n"
        return Answer(
            prompt_id, prediction.partition(echoed)[2] if echoed in prediction else prediction
        )
    choices = prediction.get("choices") if isinstance(prediction, Mapping) else None
    if choices:
        message = choices[0].get("message") or {}
        text = str(message.get("content") or choices[0].get("text") or "")
        calls = read_calls(json.dumps(message.get("tool_calls") or []))
        if answer := write_answer(text, calls):
            return Answer(prompt_id, answer)
    return Answer(prompt_id, None, "the endpoint gave no answer")
