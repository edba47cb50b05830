"""Tuning Gemini through tuning jobs, and asking the tuned model and its base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunepipe.backends.base import Answer, Progress, Prompt, TuningRequest, TuningResult
from tunepipe.backends.managed import jobs as tuning_jobs
from tunepipe.backends.managed import tuning as managed_tuning
from tunepipe.backends.managed.parameters import PREFERENCE, TuningJob, thinking
from tunepipe.backends.managed.tuning import Kind
from tunepipe.errors import CloudError
from tunepipe.gcp import clients as google_clients
from tunepipe.gcp.genai import as_google_core, client, place_of, told

BACKEND = "gemini"
_ANSWER_SECONDS = 120.0


def tune(request: TuningRequest, output_dir: str, progress: Progress) -> TuningResult:
    """Tune a Gemini, or go on from a tuned one; see `managed_tuning.tune`.

    Args:
        request: `base_model` is a name such as gemini-3.5-flash, or the resource name of a tuned
            model, `projects/P/locations/R/models/M@VERSION`.
        output_dir: Where `gcp_resources`, which names the job, is kept between two attempts.
        progress: Told of each change of the job.

    Returns:
        The tuned model and its endpoint; with the figures of the job, held against the plan.
    """
    return managed_tuning.tune(_KIND, request, output_dir, progress)


def cancel(job: str) -> None:
    """Cancel a tuning job by its resource name; no error where it has ended already."""
    with told(job):
        tuning_jobs.cancel(job)


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


def base_model_resource(model: str, project: str, region: str, options: Mapping[str, Any]) -> str:
    """Name a base model so that `predict` needs nothing else to ask it.

    Args:
        model: A base model's name, or a tuned model that was tuned further.
        project: Who pays.
        region: Where the tuning runs.
        options: base_endpoint, base_location and location, where the user names them.

    Returns:
        A resource name; "" for a tuned model whose endpoint nobody names and no tuning job does.
    """
    from tunepipe.catalog import models

    if options.get("base_endpoint"):
        return str(options["base_endpoint"])
    if model.startswith("projects/"):
        return _endpoint_of(model)
    found = models.find(model, BACKEND, options.get("tables") or None)
    place = models.tuned_in(found, region, options)
    served = options.get("base_location") or (found.served_in or {}).get(place) or place
    return f"{google_clients.parent(project, served)}/publishers/google/models/{found.name}"


def _endpoint_of(tuned: str) -> str:
    """Find a tuned model's endpoint through the job that made it.

    Google writes a project by its number, and a user by its id: the place is that of the list.
    """
    wanted = tuned.partition("/locations/")[2]
    with told(tuned):
        for job in tuning_jobs.listed(*place_of(tuned)):
            made = job.tuned_model
            name = str(made and made.model).partition("/locations/")[2]
            if made and made.endpoint and wanted in (name, name.partition("@")[0]):
                return str(made.endpoint)
    return ""


def _formats(job: TuningJob) -> tuple[str, ...]:
    return ("preference",) if job.method == PREFERENCE else ("gemini",)


def _stands(job: Any) -> bool:
    """Say whether the endpoint is there: a model deleted since is tuned again."""
    endpoint = job.tuned_model and job.tuned_model.endpoint
    return bool(endpoint) and google_clients.endpoint_stands(endpoint)


def _made(job: Any, options: Mapping[str, Any]) -> tuple[str, str]:
    tuned = job.tuned_model
    if not (tuned and tuned.endpoint):
        raise CloudError(
            "the job has succeeded and names no endpoint of a tuned model",
            where=job.name,
            fix="look for its model in the console: there is nothing to ask yet",
        )
    return str(tuned.model or ""), str(tuned.endpoint)


_KIND = Kind(
    backend=BACKEND,
    formats=_formats,
    convert_to=lambda job: lambda found: _formats(job)[0],
    stands=_stands,
    made=_made,
    config=lambda request: {},
)


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
