"""Ask PaLM models: a tuned one by its endpoint, or a base model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from tunepipe.backends.base import Answer, Prompt
from tunepipe.backends.endpoint import ask_endpoint
from tunepipe.backends.palm.parameters import family
from tunepipe.errors import UsageError
from tunepipe.gcp import clients
from tunepipe.gcp.explanations import explained


def predict(model: str, prompts: Sequence[Prompt], **settings: Any) -> Iterator[Answer]:
    """Ask a tuned model's endpoint, or a base model, one prompt after the other.

    Args:
        model: An endpoint's resource name, a tuned model's, or a publisher model's
            (`projects/P/locations/R/publishers/google/models/text-bison@001`).
        settings: max_output_tokens (256), temperature (0), and base_model, which says whether a
            tuned model takes turns; chat=True says so without it.
    """
    parameters = {
        "maxOutputTokens": int(settings.get("max_output_tokens", 256)),
        "temperature": float(settings.get("temperature", 0.0)),
    }
    # An endpoint's name does not say which family it serves.
    names = (model.partition("/publishers/google/models/")[2], str(settings.get("base_model", "")))
    is_chat = settings.get("chat") or "chat" in [family(name) for name in names if name]
    with explained(model):
        endpoint = endpoint_of(model)
    yield from ask_endpoint(endpoint, prompts, _turns if is_chat else _text, _read, parameters)


@cache
def endpoint_of(model: str) -> str:
    """Find where a model answers: a tuned model by its endpoint, others by their own name."""
    region = clients.region_of(model)
    if "/models/" not in model or "/publishers/" in model:
        return model
    stem, _, version = model.partition("@")
    place = stem.partition("/models/")[0]
    for endpoint in clients.endpoints(region).list_endpoints(parent=place):
        for deployed in endpoint.deployed_models:
            name, _, deployed_version = deployed.model.partition("@")
            if name == stem and version in ("", deployed_version):
                return str(endpoint.name)
    raise UsageError(
        "the model is deployed to no endpoint", where=model, fix="deploy it, or tune again"
    )


def _text(prompt: Prompt) -> dict[str, Any]:
    return {"prompt": "\n\n".join(message["content"] for message in prompt.messages)}


def _turns(prompt: Prompt) -> dict[str, Any]:
    context = "\n".join(m["content"] for m in prompt.messages if m["role"] == "system")
    authors = {"assistant": "bot", "user": "user"}
    messages = [
        {"author": authors[m["role"]], "content": m["content"]}
        for m in prompt.messages
        if m["role"] != "system"
    ]
    return {"context": context, "messages": messages}


def _read(instance: Mapping[str, Any], predictions: Sequence[Any]) -> tuple[str | None, str]:
    prediction = predictions[0] if predictions else {}
    if prediction.get("candidates"):
        return str(prediction["candidates"][0]["content"]), ""
    if prediction.get("safetyAttributes", {}).get("blocked"):
        return None, "blocked by the safety filter"
    if "content" not in prediction:
        return None, "the endpoint gave no answer"
    return str(prediction["content"]), ""
