"""Ask a Gemini model: a tuned one by its endpoint, or a base model.

A row with files or tools is sent as it is: its contents, system instruction, tools and tool
configuration. Calls of functions come back as lines of the answer (`data.parts`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunepipe.backends.base import Answer, Prompt
from tunepipe.backends.managed.parameters import thinking
from tunepipe.data.conversion import gemini_request
from tunepipe.data.parts import Call, kinds_of, write_answer
from tunepipe.gcp.clients import place_of
from tunepipe.gcp.genai import as_google_core, client, translate_errors

_ANSWER_SECONDS = 120.0


def predict(model: str, prompts: Sequence[Prompt], **settings: Any) -> Iterator[Answer]:
    """Ask a tuned model's endpoint, or a base model, one prompt after the other.

    Args:
        model: An endpoint's resource name, or a base model's
            (`projects/P/locations/L/publishers/google/models/gemini-3.5-flash`).
        settings: max_output_tokens (256), temperature (0), seed, top_p, and thinking_level or
            thinking_budget; without these two a base model thinks as little as it can. Models that
            take no sampling parameters are asked without them.
    """
    configs = _configs(model, settings)
    with translate_errors(model):
        service = client(*place_of(model), _ANSWER_SECONDS)
        for prompt in prompts:
            yield _ask(service, model, prompt, configs)


def _configs(model: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Write how to ask, and how to ask a model that does not know our word for thinking little."""
    kinds = {"top_p": float, "seed": int, "thinking_budget": int, "thinking_level": str}
    chosen = {name: kind(settings[name]) for name, kind in kinds.items() if name in settings}
    level = {name: chosen.pop(name) for name in list(chosen) if name.startswith("thinking")}
    config: dict[str, Any] = {
        "temperature": float(settings.get("temperature", 0.0)),
        "max_output_tokens": int(settings.get("max_output_tokens", 256)),
        **chosen,
    }
    if level:
        return [config | {"thinking_config": level}]
    base = model.partition("/publishers/google/models/")[2] or str(settings.get("base_model", ""))
    return [*(config | {"thinking_config": each} for each in thinking(base)), config]


def _ask(service: Any, model: str, prompt: Prompt, configs: Sequence[Mapping[str, Any]]) -> Answer:
    from google.api_core import exceptions as api

    try:
        contents, request_config = _request(prompt)
    except ValueError as error:  # a row that is not of Google's types, or cannot be written so
        return Answer(prompt.id, None, f"refused: {str(error).splitlines()[0]}")
    config, *others = configs
    try:
        with as_google_core():
            response = service.models.generate_content(
                model=model, contents=contents, config={**request_config, **config}
            )
    except api.BadRequest as error:
        message = str(error.message).lower()
        if others and "thinking" in message:
            return _ask(service, model, prompt, others)
        if config.keys() & _SAMPLING and any(word in message for word in _SAMPLING_WORDS):
            # Models from Gemini 4 on take no sampling parameters.
            plain = [{k: v for k, v in each.items() if k not in _SAMPLING} for each in configs]
            return _ask(service, model, prompt, plain)
        return Answer(prompt.id, None, f"refused: {error.message}")
    return _answer(prompt.id, response)


_SAMPLING = {"temperature", "top_p", "seed"}
_SAMPLING_WORDS = ("temperature", "top_p", "topp", "seed", "sampling")


def _request(prompt: Prompt) -> tuple[list[Any], dict[str, Any]]:
    """Write a prompt as contents and the row's part of the config; a ValueError if it cannot."""
    from google.genai import types

    if kinds_of(prompt.fields):
        request = gemini_request(prompt.fields, prompt.format)
    else:
        request = _text_request(prompt)

    def read(kind: Any, value: Any) -> Any:  # through JSON, so that base64 becomes bytes
        return kind.model_validate_json(json.dumps(value))

    config: dict[str, Any] = {"automatic_function_calling": {"disable": True}}
    if "systemInstruction" in request:
        config["system_instruction"] = read(types.Content, request["systemInstruction"])
    if "tools" in request:
        config["tools"] = [read(types.Tool, tool) for tool in request["tools"]]
    if "toolConfig" in request:
        config["tool_config"] = read(types.ToolConfig, request["toolConfig"])
    return [read(types.Content, content) for content in request["contents"]], config


def _text_request(prompt: Prompt) -> dict[str, Any]:
    roles = {"user": "user", "assistant": "model"}
    system = "\n".join(m["content"] for m in prompt.messages if m["role"] == "system")
    contents = [
        {"role": roles[m["role"]], "parts": [{"text": m["content"]}]}
        for m in prompt.messages
        if m["role"] != "system"
    ]
    instruction = {"systemInstruction": {"parts": [{"text": system}]}} if system else {}
    return {"contents": contents, **instruction}


def _answer(prompt_id: str, response: Any) -> Answer:
    if not response.candidates:
        feedback = response.prompt_feedback
        reason = feedback and feedback.block_reason and feedback.block_reason.name
        return Answer(prompt_id, None, f"blocked: {reason}" if reason else "no candidate came")
    candidate = response.candidates[0]
    parts = (candidate.content and candidate.content.parts) or []
    # Thoughts are not part of the answer.
    visible = [part for part in parts if not part.thought]
    calls = [
        Call(str(part.function_call.name), dict(part.function_call.args or {}))
        for part in visible
        if part.function_call
    ]
    text = write_answer("".join(part.text for part in visible if part.text), calls)
    if not text:
        reason = candidate.finish_reason and candidate.finish_reason.name
        return Answer(prompt_id, None, f"no text came, and the model stopped for {reason}")
    usage = response.usage_metadata
    written = (
        (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0) if usage else 0
    )
    read = usage.prompt_token_count if usage else None
    return Answer(prompt_id, text, input_tokens=read, output_tokens=written or None)
