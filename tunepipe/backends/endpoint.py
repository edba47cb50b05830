"""Asks a model that an endpoint of Vertex AI serves, one prompt after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tunepipe.backends.base import Answer, Prompt
from tunepipe.gcp import clients
from tunepipe.gcp.explanations import explained

_ANSWER_SECONDS = 120.0


def ask_endpoint(
    endpoint: str,
    prompts: Sequence[Prompt],
    write: Callable[[Prompt], Mapping[str, Any]],
    read: Callable[[Mapping[str, Any], Any], tuple[str | None, str]],
    parameters: Mapping[str, Any] | None = None,
) -> Iterator[Answer]:
    """Ask an endpoint, or a publisher's model, by the method `predict`, one prompt after the other.

    `write` returns the instance that a prompt is sent as; `read` the text of an answer, from the
    instance and the predictions, or None and why there is none.
    """
    from google.api_core import exceptions as api
    from google.protobuf import json_format, struct_pb2

    def value(content: Mapping[str, Any]) -> Any:
        return json_format.ParseDict(content, struct_pb2.Value())

    with explained(endpoint):
        client = clients.predictions(clients.region_of(endpoint))
        for prompt in prompts:
            instance = write(prompt)
            try:
                response = client.predict(
                    endpoint=endpoint,
                    instances=[value(instance)],
                    parameters=value(parameters or {}),
                    timeout=_ANSWER_SECONDS,
                )
            except api.InvalidArgument as error:
                yield Answer(prompt.id, None, f"refused: {error.message}")
                continue
            text, reason = read(instance, type(response).to_dict(response)["predictions"])
            yield Answer(prompt.id, text, reason)
