"""The step that asks models the held-out rows, all models side by side."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tunepipe import progress
from tunepipe.backends.base import Predictor
from tunepipe.catalog.backends import PACING_OPTIONS, RequestPacing, find_backend
from tunepipe.data import predictions
from tunepipe.data.predictions import Prediction
from tunepipe.data.rows import read_examples
from tunepipe.errors import CloudError, DataError
from tunepipe.evaluation.ask import RequestLimit, predict_rows
from tunepipe.gcp.retries import status_of
from tunepipe.steps.artifacts import dataset_of, model_of
from tunepipe.stores.generations import identity
from tunepipe.stores.storage import load_step, local_folder, work_folder

# The port with the predictions of each model; the guarded rows are asked of two.
PREDICTION_PORTS = {
    "tuned": "predictions",
    "base": "base_predictions",
    "champion": "champion_predictions",
    "first": "first_predictions",
    "guard_tuned": "guard_predictions",
    "guard_base": "guard_base_predictions",
}


class _Request(NamedTuple):
    """One predictions file to write: the model's name, the model, its rows, and the file."""

    name: str
    model: str
    rows: str
    out: str


def evaluate_step(
    predictor: Predictor, backend: str, ports: Mapping[str, Any], **settings: Any
) -> tuple[int, int]:
    """Ask every model its rows, write one predictions file for each, and log the counts.

    The ports are those of `components.families.asking`; a model that does not exist is None or "".
    Of the settings, in which those of the port win, workers, requests_per_minute and attempts set
    the pace; `group_by` names the rows' groups and `answers` how often each row is asked; the rest
    goes to `predict`. If one model cannot be asked, the answers of the others are kept. Return how
    many rows the tuned model was asked and left unanswered.
    """
    settings = {"max_output_tokens": ports["max_output_tokens"], **settings, **ports["settings"]}
    models = {"tuned": model_of(ports["model"]), "base": model_of(ports["base"])}
    models |= {name: ports[name] for name in ("champion", "first")}
    is_guarded = ports["guard"] or ports["guard_uri"]
    guard = dataset_of(ports["guard_uri"], ports["guard"]) if is_guarded else ""
    kind, rows, requests = find_backend(backend), ports["eval"].path, []
    with _guard_file(guard, ports["guard_fingerprint"]) as guard_rows, ExitStack() as copies:
        if not kind.in_cloud:  # a champion may be kept in an object store
            models = {
                name: copies.enter_context(local_folder(model)) for name, model in models.items()
            }
        for name, port in PREDICTION_PORTS.items():
            model = models[name.removeprefix("guard_")]
            asked = guard_rows if name.startswith("guard") else rows
            request = _Request(name, model, asked, ports[port].path)
            if not (model and os.path.getsize(asked)):
                Path(request.out).write_bytes(b"")
            elif kind.needs_endpoint and "/endpoints/" not in model:
                _leave_unanswered(request)
            else:
                requests.append(request)
        with work_folder(ports["work_dir"], "answers", rows) as folder:
            _ask(predictor, kind.pacing.with_options(settings), requests, folder, settings)
    counts = {name: _counts(ports[port].path) for name, port in PREDICTION_PORTS.items()}
    for name, count in counts.items():
        if name == "tuned" or count["rows"]:
            prefix = "" if name == "tuned" else f"{name}_"
            for key, value in count.items():
                ports["metrics"].log_metric(f"{prefix}{key}", value)
    return counts["tuned"]["rows"], counts["tuned"]["unanswered"]


@contextmanager
def _guard_file(uri: str, fingerprint: str) -> Iterator[str]:
    """Bring the guarded rows onto this machine; no URI gives an empty file."""
    if uri and fingerprint and identity(uri).fingerprint != fingerprint:
        raise DataError(
            "the guarded rows changed during the run", where=uri, fix="start the run again"
        )
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "guard.jsonl")
        load_step(uri, path)
        yield path


def _ask(
    predictor: Predictor,
    pace: RequestPacing,
    requests: Sequence[_Request],
    work_dir: str,
    settings: Mapping[str, Any],
) -> None:
    """Ask each model in a thread of its own; all of them share workers and request limit."""
    # A champion that is also the base is asked once.
    by_model: dict[str, dict[str, list[_Request]]] = {}
    for request in requests:
        by_model.setdefault(request.model, {}).setdefault(request.rows, []).append(request)
    limit = RequestLimit(pace)
    ours = {*PACING_OPTIONS, "group_by", "answers", "guard"}
    passed_on = {name: value for name, value in settings.items() if name not in ours}

    def ask(request: _Request) -> None:
        guarded = request.name.startswith("guard")
        try:
            predict_rows(
                predictor,
                request.model,
                request.rows,
                request.out,
                work_dir=work_dir,
                settings=passed_on,
                pace=pace,
                limit=limit,
                group_by="" if guarded else str(settings.get("group_by", "")),
                answers=int(settings.get("answers", 1)),
                progress=lambda event: progress.report(
                    stage="evaluate", model=request.name, **event
                ),
            )
        except CloudError as error:
            if "/endpoints/" in request.model and status_of(error) == 404:
                raise CloudError(
                    f"the endpoint of the {request.name} model no longer exists; the result of a "
                    "cached step may name one that was deleted since",
                    where=request.model,
                    fix="tune again: run with --again",
                ) from error
            raise

    def ask_model(by_rows: Mapping[str, Sequence[_Request]]) -> None:
        # One after the other: the answers to all rows of a model are kept in one work file.
        for first, *others in by_rows.values():
            ask(first)
            for other in others:
                shutil.copyfile(first.out, other.out)

    # A model on this machine needs its memory, so those are asked one at a time.
    with ThreadPoolExecutor(max(1, len(by_model)) if pace.workers else 1) as pool:
        futures = [pool.submit(ask_model, by_rows) for by_rows in by_model.values()]
    for future in futures:
        future.result()


def _leave_unanswered(request: _Request) -> None:
    why = "no endpoint serves this model; name one by the option endpoint or base_endpoint"
    rows = (
        Prediction(row.id, row.input, row.reference, None, why)
        for row in read_examples(request.rows)
    )
    predictions.write(rows, request.out)


def _counts(path: str) -> dict[str, int]:
    rows = predictions.read(path) if os.path.getsize(path) else []
    return {
        "rows": len(rows),
        "unanswered": sum(row.prediction is None for row in rows),
        "exact_matches": sum(row.prediction == row.reference for row in rows),
    }
