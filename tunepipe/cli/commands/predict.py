"""Asking a tuned model, here or in the cloud: some texts, or every row of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunepipe.cli.inputs import expanded, local_copy, written
from tunepipe.errors import UsageError
from tunepipe.same_file import refuse_same

if TYPE_CHECKING:
    from tunepipe.backends.base import Answer
    from tunepipe.evaluation.ask import Outcome


@dataclass(frozen=True)
class Model:
    """Whom to ask.

    Args:
        name: A folder or hub id, or in the cloud a resource name or a run.
        local: Whether it runs on this machine.
        project: Needed for the id of a run in the cloud.
        region: Needed for the id of a run in the cloud.
        backend: Who serves it in the cloud; "" goes by its run, or by its name.
    """

    name: str
    local: bool
    project: str = ""
    region: str = ""
    backend: str = ""


def ask_texts(
    model: Model,
    texts: Sequence[str],
    settings: Mapping[str, Any],
    workers: int,
    requests_per_minute: float,
) -> list[Answer]:
    """Ask some texts and return the answers in their order.

    Args:
        model: Whom to ask.
        texts: The questions.
        settings: What the backend's `predict` takes.
        workers: Requests at a time, in the cloud.
        requests_per_minute: The limit over all of them; 0 sets none.

    Raises:
        CloudError: The model is not there, or may not be asked.
    """
    from tunepipe.backends.base import Prompt
    from tunepipe.evaluation.ask import Pace, ask_all

    prompts = [
        Prompt(str(number), ({"role": "user", "content": text},))
        for number, text in enumerate(texts)
    ]
    backend, name = _backend(model)
    pace = Pace(0 if model.local else workers, requests_per_minute)
    answers = {one.id: one for one in ask_all(backend, name, prompts, settings, pace)}
    return [answers[prompt.id] for prompt in prompts]


def ask_rows(
    model: Model,
    rows: str,
    target: str,
    settings: Mapping[str, Any],
    workers: int,
    requests_per_minute: float,
    work_dir: str,
) -> Outcome:
    """Ask every row of a dataset and write a predictions file.

    Args:
        model: Whom to ask.
        rows: The dataset: a path or a gs:// URI.
        target: The predictions file to write: likewise.
        settings: What the backend's `predict` takes.
        workers: Requests at a time, in the cloud.
        requests_per_minute: The limit over all of them; 0 sets none.
        work_dir: Where answers are kept as they come, so that none is asked for twice.

    Returns:
        How many rows were asked, and how many have no answer.

    Raises:
        DataError: A row cannot be read.
        UsageError: The target is the dataset.
        CloudError: The service refused.
    """
    from tunepipe import progress
    from tunepipe.evaluation.ask import Pace, predict_rows

    refuse_same([target], expanded([rows]))
    backend, name = _backend(model)
    pace = Pace(0 if model.local else workers, requests_per_minute)
    with local_copy(rows) as path, written(target) as copy:
        return predict_rows(
            backend,
            name,
            path,
            copy,
            work_dir=work_dir,
            settings=settings,
            pace=pace,
            progress=lambda event: progress.report(stage="predict", **event),
        )


def _backend(model: Model) -> tuple[Any, str]:
    if model.local:
        from tunepipe.backends.local import backend as local

        return local, model.name
    from tunepipe.runs.vertex import made_by

    name, backend = made_by(model.name, project=model.project, region=model.region)
    return _served_by(model.backend or backend or _backend_of(name)), name


def _served_by(backend: str) -> Any:
    match backend:
        case "gemini":
            from tunepipe.backends.managed import gemini

            return gemini
        case "open-model":
            from tunepipe.backends.managed import open_model

            return open_model
        case "large-model":
            from tunepipe.backends.palm import backend as large_model

            return large_model
    raise UsageError(
        "nothing in the cloud is asked through this backend",
        where=f"--backend {backend}",
        fix="one of gemini, open-model, large-model",
    )


def _backend_of(name: str) -> str:
    """Go by a resource's name: only Gemini answers in a multi-region or from everywhere."""
    is_gemini = "/publishers/google/models/gemini-" in name
    everywhere = any(f"/locations/{place}/" in name for place in ("us", "eu", "global"))
    return "gemini" if is_gemini or everywhere else "large-model"
