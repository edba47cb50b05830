"""`tunepipe predict`: ask a tuned model some texts, or every row of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tunepipe import progress
from tunepipe.backends.base import Answer, Prompt, load_predictor
from tunepipe.catalog.backends import BACKENDS, RequestPacing
from tunepipe.cli import options
from tunepipe.cli.inputs import expanded, local_copy, written
from tunepipe.cli.output import Output
from tunepipe.cli.run_options import LOCAL
from tunepipe.errors import UsageError, plural
from tunepipe.files import refuse_same
from tunepipe.runs.listing import HERE, KFP, Places, exact_folder
from tunepipe.stores.storage import local_folder


def predict(
    texts: list[str] | None = None,
    *,
    where: options.RunPlaces,
    model: str = "",
    backend: str = "",
    input: str = "",
    output: str = "",
    max_output_tokens: options.Count = 256,
    workers: options.Count = 4,
    requests_per_minute: options.Amount = 0.0,
    out: Output,
) -> None:
    """Ask a tuned model.

    The model of a run on a KFP host is copied here for the time of the call.

    Texts are answered on standard output, a row of --input in the file --output, which can then be
    scored. Its answers are kept in the folder of runs: a call that was broken off goes on there.

    Options:
        texts ([TEXT]...): What to ask; else --input.
        model (NAME): A run (id, prefix or latest), a folder, or a tuned model's resource name.
        backend (NAME): Who serves it in the cloud; follows from a run's name.
        input (FILE): A dataset whose every row is asked.
        output (FILE): Where the predictions of --input go.
        max_output_tokens (N): The longest answer, in tokens.
        workers (N): Requests at a time, in the cloud.
        requests_per_minute (N): Maximum number of requests a minute; 0 = no limit.
    """
    from tunepipe.evaluation.ask import ask_all, predict_rows

    if not model or bool(texts) == bool(input) or bool(input) != bool(output):
        raise UsageError(
            "a model, and either texts or files, are needed",
            where="tunepipe predict",
            fix="--model NAME TEXT…, or --model NAME --input FILE --output FILE",
        )
    if input:
        refuse_same([output], expanded([input]))
    name, tuned_by = _find_model(model, where.places())
    is_local = tuned_by == LOCAL
    predictor = load_predictor(LOCAL if is_local else _cloud_backend(backend or tuned_by, name))
    pace = RequestPacing(0 if is_local else workers, requests_per_minute)
    settings = {"max_output_tokens": max_output_tokens}
    with local_folder(name) as folder:
        if texts:
            _answer(texts, partial(ask_all, predictor, folder, settings=settings, pace=pace), out)
            return
        with local_copy(input) as rows, written(output) as target:
            outcome = predict_rows(
                predictor,
                folder,
                rows,
                target,
                work_dir=str(where.runs / "work"),
                settings=settings,
                pace=pace,
                progress=lambda event: progress.report(stage="predict", **event),
            )
    out.result(asdict(outcome))
    counted = f"{plural(outcome.rows, 'row')} asked, {outcome.unanswered:,} without an answer"
    out.line(f"{counted}: {output}")
    out.line(f"next: tunepipe score {output}")


def _answer(texts: Sequence[str], ask: Callable[..., Iterable[Answer]], out: Output) -> None:
    prompts = [
        Prompt(str(number), ({"role": "user", "content": text},))
        for number, text in enumerate(texts)
    ]
    by_id = {answer.id: answer for answer in ask(prompts)}
    answers = [by_id[prompt.id] for prompt in prompts]
    out.result({"answers": [{"text": each.text, "error": each.error} for each in answers]})
    for answer in answers:
        out.answer(f"(no answer: {answer.error})" if answer.text is None else answer.text)


def _find_model(model: str, places: Places) -> tuple[str, str]:
    """Find the model that --model means, and what tuned it; "" if neither run nor name shows it."""
    if Path(model).is_dir() and not exact_folder(model, places.folder):
        return model, LOCAL
    if "/models/" in model or "/endpoints/" in model:
        return model, ""
    run = places.find(model)
    if run.place == HERE:
        folder = Path(run.name) / "model"
        if not folder.is_dir():
            raise UsageError(
                "the run has made no model", where=model, fix=f"tunepipe status {model}"
            )
        return str(folder), LOCAL
    ended = places.status(run)
    if not ended.model:
        raise UsageError(
            f"the run has made no model; it is {ended.state}",
            where=run.name,
            fix=f"tunepipe status {run.name} {places.options_for(run)}".rstrip(),
        )
    # A model of a KFP host that is no endpoint is a folder in the object store.
    is_folder = run.place == KFP and not ended.model.startswith("projects/")
    return ended.model, LOCAL if is_folder else ended.tuned_by


def _cloud_backend(backend: str, model: str) -> str:
    """Return the backend that asks a model in the cloud, by the model's name if it is not known."""
    if not backend:
        # Only Gemini answers in a multi-region, or from everywhere.
        everywhere = any(f"/locations/{place}/" in model for place in ("us", "eu", "global"))
        is_gemini = "/publishers/google/models/gemini-" in model or everywhere
        return "gemini" if is_gemini else "large-model"
    in_cloud = [name for name, each in BACKENDS.items() if each.in_cloud]
    if backend not in in_cloud:
        raise UsageError(
            "no model in the cloud is asked through this backend",
            where=f"--backend {backend}",
            fix=f"one of {', '.join(in_cloud)}",
        )
    return backend
