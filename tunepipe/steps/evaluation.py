"""The step that asks models the held-out rows, all models side by side."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tunepipe import progress
from tunepipe.backends.base import Predictor
from tunepipe.catalog.backends import PACING_OPTIONS, RequestPacing, find_backend
from tunepipe.data import predictions
from tunepipe.data.conversations import input_text
from tunepipe.data.predictions import Prediction
from tunepipe.data.rows import read_examples
from tunepipe.errors import CloudError, DataError
from tunepipe.evaluation.ask import RequestLimit, predict_rows
from tunepipe.gcp.retries import status_of
from tunepipe.steps.artifacts import Artifact, dataset_of, model_of
from tunepipe.stores.generations import identity
from tunepipe.stores.storage import load_step, local_folder, work_folder


@dataclass(frozen=True)
class PredictionsRequest:
    """One predictions file to write.

    Args:
        name: Such as tuned or guard_base.
        model: The model to ask; "" writes an empty file.
        rows: The file with the rows; an empty one writes an empty file.
        out: The predictions file.
    """

    name: str
    model: str
    rows: str
    out: str


def evaluate_step(
    predictor: Predictor, backend: str, ports: Mapping[str, Any], **settings: Any
) -> tuple[int, int]:
    """Ask every model its rows, write one predictions file for each, and log the counts.

    Args:
        predictor: The module whose `predict` is called.
        backend: Its name in the table of backends, which has its pace.
        ports: Those of `components.families.asking`; a model that does not exist is None or "".
        settings: Further ones; those of the port `settings` win. See `evaluate`.

    Returns:
        Numbers of rows that the tuned model was asked and left unanswered.
    """
    is_guarded = ports["guard"] or ports["guard_uri"]
    guard = dataset_of(ports["guard_uri"], ports["guard"]) if is_guarded else ""
    models = {"tuned": model_of(ports["model"]), "base": model_of(ports["base"])}
    models |= {name: ports[name] for name in ("champion", "first")}
    files = {name: ports[f"{name}_predictions"] for name in ("base", "champion", "first")}
    files |= {"tuned": ports["predictions"], "guard_tuned": ports["guard_predictions"]}
    files["guard_base"] = ports["guard_base_predictions"]
    counts = evaluate(
        predictor,
        backend,
        models,
        ports["eval"].path,
        (guard, ports["guard_fingerprint"]),
        files,
        {"max_output_tokens": ports["max_output_tokens"], **settings, **ports["settings"]},
        ports["work_dir"],
    )
    for name, count in counts.items():
        ports["metrics"].log_metric(name, count)
    return counts["rows"], counts["unanswered"]


def evaluate(
    predictor: Predictor,
    backend: str,
    models: Mapping[str, str],
    rows: str,
    guard: tuple[str, str],
    outputs: Mapping[str, Artifact],
    settings: Mapping[str, Any],
    work_dir: str,
) -> dict[str, int]:
    """Ask every model its rows, and write one predictions file for each.

    Args:
        predictor: The module whose `predict` is called.
        backend: Its name in the table of backends, which has its pace.
        models: `tuned`, `base`, `champion` and `first`; "" for one that does not exist.
        rows: The held-out rows.
        guard: The URI of the guarded rows and their fingerprint, "" for none; the tuned and the
            base model are asked them too.
        outputs: The predictions files of `tuned`, `base`, `champion`, `first`, `guard_tuned` and
            `guard_base`.
        settings: workers, requests_per_minute and attempts set the pace; `group_by` names the
            rows' groups and `answers` how often each row is asked; the rest goes to `predict`.
        work_dir: Folder where answers are kept as they come; "" keeps them next to the outputs.

    Returns:
        Counts of the tuned model: rows, unanswered, exact_matches; and of each other model that
        was asked, such as base_exact_matches.

    Raises:
        DataError: A row cannot be read, or the guarded rows changed during the run.
        CloudError: A model could not be asked. The answers of the others are kept.
    """
    with _guard_file(*guard) as guard_rows, ExitStack() as copies:
        if not find_backend(backend).in_cloud:  # a champion may be kept in an object store
            models = {
                name: copies.enter_context(local_folder(model)) for name, model in models.items()
            }
        requests = [
            *(PredictionsRequest(name, models[name], rows, outputs[name].path) for name in models),
            *(
                PredictionsRequest(
                    f"guard_{name}", models[name], guard_rows, outputs[f"guard_{name}"].path
                )
                for name in ("tuned", "base")
            ),
        ]
        taken = {*PACING_OPTIONS, "group_by", "answers"}
        own = {name: value for name, value in settings.items() if name not in taken}
        rows_as = {
            "group_by": str(settings.get("group_by", "")),
            "answers": int(settings.get("answers", 1)),
        }
        pacing = find_backend(backend).pacing.with_options(settings)
        needs_endpoint = find_backend(backend).needs_endpoint
        unserved = [
            request
            for request in requests
            if needs_endpoint and request.model and "/endpoints/" not in request.model
        ]
        for request in unserved:
            _leave_unanswered(request)
        asked = [request for request in requests if request not in unserved]
        with work_folder(work_dir, "answers", rows) as folder:
            _ask(predictor, pacing, asked, folder, own, rows_as)
    counts = {request.name: _counts(request.out) for request in requests}
    tuned = counts.pop("tuned")
    return tuned | {
        f"{name}_{key}": value
        for name, count in counts.items()
        if count["rows"]
        for key, value in count.items()
    }


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
    requests: Sequence[PredictionsRequest],
    work_dir: str,
    settings: Mapping[str, Any],
    rows_as: Mapping[str, Any],
) -> None:
    """Ask each model in a thread of its own; all of them share workers and request limit."""
    by_model: dict[str, list[PredictionsRequest]] = {}
    for request in requests:
        if request.model and os.path.getsize(request.rows):
            by_model.setdefault(request.model, []).append(request)
        else:
            Path(request.out).write_bytes(b"")
    limit = RequestLimit(pace)

    def ask_model(model: str) -> None:
        # One after the other: the answers to all rows of a model are kept in one work file.
        for rows, same in _by_rows(by_model[model]).items():
            _ask_rows(predictor, pace, limit, same[0], rows, work_dir, settings, rows_as)
            for copy in same[1:]:
                shutil.copyfile(same[0].out, copy.out)

    # A model on this machine needs its memory, so those are asked one at a time.
    with ThreadPoolExecutor(max(1, len(by_model)) if pace.workers else 1) as pool:
        asked = [pool.submit(ask_model, model) for model in by_model]
    for one in asked:
        one.result()


def _leave_unanswered(request: PredictionsRequest) -> None:
    why = "no endpoint serves this model; name one by the option endpoint or base_endpoint"
    examples = read_examples(request.rows) if os.path.getsize(request.rows) else ()
    rows = (Prediction(e.id, input_text(e), e.reference, None, why) for e in examples)
    predictions.write(rows, request.out)


def _by_rows(requests: Sequence[PredictionsRequest]) -> dict[str, list[PredictionsRequest]]:
    """Group one model's requests by rows: a champion that is also the base is asked once."""
    by_rows: dict[str, list[PredictionsRequest]] = {}
    for request in requests:
        by_rows.setdefault(request.rows, []).append(request)
    return by_rows


def _ask_rows(
    predictor: Predictor,
    pace: RequestPacing,
    limit: RequestLimit,
    request: PredictionsRequest,
    rows: str,
    work_dir: str,
    settings: Mapping[str, Any],
    rows_as: Mapping[str, Any],
) -> None:
    try:
        predict_rows(
            predictor,
            request.model,
            rows,
            request.out,
            work_dir=work_dir,
            settings=settings,
            pace=pace,
            limit=limit,
            **(
                rows_as if not request.name.startswith("guard") else {"answers": rows_as["answers"]}
            ),
            progress=lambda event: progress.report(stage="evaluate", model=request.name, **event),
        )
    except CloudError as error:
        if "/endpoints/" in request.model and status_of(error) == 404:
            raise CloudError(
                f"the endpoint of the {request.name} model no longer exists; the result of a cached"
                " step may name one that was deleted since",
                where=request.model,
                fix="tune again: run with --again",
            ) from error
        raise


def _counts(path: str) -> dict[str, int]:
    rows = predictions.read(path) if os.path.getsize(path) else []
    return {
        "rows": len(rows),
        "unanswered": sum(row.prediction is None for row in rows),
        "exact_matches": sum(row.prediction == row.reference for row in rows),
    }
