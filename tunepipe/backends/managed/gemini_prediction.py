"""Ask a Gemini model: a tuned one by its endpoint, or a base model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunepipe.backends.base import Answer, Prompt
from tunepipe.backends.managed.parameters import thinking
from tunepipe.gcp.genai import as_google_core, client, place_of, told

_ANSWER_SECONDS = 120.0


def predict(model: str, prompts: Sequence[Prompt], **settings: Any) -> Iterator[Answer]:
    """Ask a tuned model's endpoint, or a base model, one prompt after the other.

    Args:
        model: An endpoint's resource name, or a base model's
            (`projects/P/locations/L/publishers/google/models/gemini-3.5-flash`).
        prompts: The questions.
        settings: max_output_tokens (256), temperature (0), seed, top_p, and thinking_level or
            thinking_budget; without these two a base model thinks as little as it can.

    Yields:
        One answer a prompt; its `text` is None where the model blocked or refused the prompt.

    Raises:
        CloudError: The model is not there, may not be asked, or is out of reach at the moment.
    """
    configs = _configs(model, settings)
    with told(model):
        asked = client(*place_of(model), _ANSWER_SECONDS)
        for prompt in prompts:
            yield _ask(asked, model, prompt, configs)


def _configs(model: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Write how to ask, and how to ask a model that does not know our word for thinking little."""
    config: dict[str, Any] = {
        "temperature": float(settings.get("temperature", 0.0)),
        "max_output_tokens": int(settings.get("max_output_tokens", 256)),
    }
    if "top_p" in settings:
        config["top_p"] = float(settings["top_p"])
    if "seed" in settings:
        config["seed"] = int(settings["seed"])
    given = {k: settings[k] for k in ("thinking_level", "thinking_budget") if k in settings}
    base = model.partition("/publishers/google/models/")[2] or str(settings.get("base_model", ""))
    if "thinking_budget" in given:
        given["thinking_budget"] = int(given["thinking_budget"])
    if given:
        return [config | {"thinking_config": given}]
    return [*(config | {"thinking_config": one} for one in thinking(base)), config]


def _ask(asked: Any, model: str, prompt: Prompt, configs: Sequence[Mapping[str, Any]]) -> Answer:
    from google.api_core import exceptions as api
    from google.genai import types

    system = "\n".join(m["content"] for m in prompt.messages if m["role"] == "system")
    contents = [
        {"role": _ROLES[m["role"]], "parts": [{"text": m["content"]}]}
        for m in prompt.messages
        if m["role"] != "system"
    ]
    config, *others = configs
    told = types.GenerateContentConfig(**config, system_instruction=system or None)
    try:
        with as_google_core():
            response = asked.models.generate_content(model=model, contents=contents, config=told)
    except api.BadRequest as error:
        if others and "thinking" in str(error.message).lower():
            return _ask(asked, model, prompt, others)
        return Answer(prompt.id, None, f"refused: {error.message}")
    return _answer(prompt.id, response)


_ROLES = {"user": "user", "assistant": "model"}


def _answer(prompt_id: str, response: Any) -> Answer:
    if not response.candidates:
        feedback = response.prompt_feedback
        reason = feedback and feedback.block_reason and feedback.block_reason.name
        return Answer(prompt_id, None, f"blocked: {reason}" if reason else "no candidate came")
    candidate = response.candidates[0]
    parts = (candidate.content and candidate.content.parts) or []
    text = "".join(part.text for part in parts if part.text and not part.thought)
    if not text:
        reason = candidate.finish_reason and candidate.finish_reason.name
        return Answer(prompt_id, None, f"no text came, and the model stopped for {reason}")
    return Answer(prompt_id, text)
