"""Ask an endpoint that serves an open model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from tunepipe.backends.base import Answer, Prompt
from tunepipe.backends.endpoint import ask_endpoint
from tunepipe.data.conversion import openai_request
from tunepipe.data.parts import kinds_of, read_calls, write_answer
from tunepipe.errors import UsageError


def predict(model: str, prompts: Sequence[Prompt], **settings: Any) -> Iterator[Answer]:
    """Ask an endpoint that serves an open model, one prompt after the other.

    Args:
        settings: max_output_tokens (256), temperature (0), and request_format: "chat" (the
            server applies the model's chat template) or "prompt" (the text as it is).
    """
    if "/endpoints/" not in model:
        raise UsageError(
            "an open model answers only where an endpoint serves it",
            where=model,
            fix="deploy the weights from Model Garden, and give --option endpoint=projects/…",
        )
    yield from ask_endpoint(model, prompts, partial(_write, settings=settings), _read)


def _write(prompt: Prompt, settings: Mapping[str, Any]) -> dict[str, Any]:
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


def _read(instance: Mapping[str, Any], predictions: Any) -> tuple[str | None, str]:
    """Read what the server of Model Garden (vLLM) answers to either kind of request."""
    prediction = predictions[0] if isinstance(predictions, list) and predictions else predictions
    if isinstance(prediction, str):
        # It repeats the prompt before its answer, with this word between them.
        _, echo, answer = prediction.partition(f"{instance.get('prompt', '')}\nOutput:\n")
        return (answer if echo else prediction), ""
    choices = prediction.get("choices") if isinstance(prediction, Mapping) else None
    if choices:
        message = choices[0].get("message") or {}
        text = str(message.get("content") or choices[0].get("text") or "")
        calls = read_calls(json.dumps(message.get("tool_calls") or []))
        if answer := write_answer(text, calls):
            return answer, ""
    return None, "the endpoint gave no answer"
