"""`tunepipe predict`: ask a tuned model some texts, or every row of a dataset."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunepipe.cli import options
from tunepipe.cli.commands.status import local_folder
from tunepipe.cli.inputs import expanded, local_copy, written
from tunepipe.cli.output import Output, plural
from tunepipe.errors import UsageError
from tunepipe.files import refuse_same
from tunepipe.progress import printable

if TYPE_CHECKING:
    from tunepipe.backends.base import Predictor

if TYPE_CHECKING:
    from tunepipe.backends.base import Answer
    from tunepipe.evaluation.ask import Outcome


@dataclass(frozen=True)
class Model:
    """The model to ask.

    Args:
        name: A folder or hub id, or in the cloud a resource name or a run.
        local: Whether it runs on this machine.
        project: Needed for the id of a run in the cloud.
        region: Needed for the id of a run in the cloud.
        backend: The backend that serves it in the cloud; "" derives it from its run or its name.
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
    from tunepipe.catalog.backends import RequestPacing
    from tunepipe.evaluation.ask import ask_all

    prompts = [
        Prompt(str(number), ({"role": "user", "content": text},))
        for number, text in enumerate(texts)
    ]
    backend, name = _backend(model)
    pace = RequestPacing(0 if model.local else workers, requests_per_minute)
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
    from tunepipe.catalog.backends import RequestPacing
    from tunepipe.evaluation.ask import predict_rows

    refuse_same([target], expanded([rows]))
    backend, name = _backend(model)
    pace = RequestPacing(0 if model.local else workers, requests_per_minute)
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


def _served_by(backend: str) -> Predictor:
    from tunepipe.backends.base import load_predictor
    from tunepipe.catalog.backends import BACKENDS

    in_cloud = [name for name, each in BACKENDS.items() if each.in_cloud]
    if backend in in_cloud:
        return load_predictor(backend)
    raise UsageError(
        "nothing in the cloud is asked through this backend",
        where=f"--backend {backend}",
        fix=f"one of {', '.join(in_cloud)}",
    )


def _backend_of(name: str) -> str:
    """Go by a resource's name: only Gemini answers in a multi-region or from everywhere."""
    is_gemini = "/publishers/google/models/gemini-" in name
    everywhere = any(f"/locations/{place}/" in name for place in ("us", "eu", "global"))
    return "gemini" if is_gemini or everywhere else "large-model"


def predict(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="What to ask; else --input.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(metavar="NAME", help="A tuned model's resource name, a run, or a folder."),
    ] = "",
    backend: Annotated[
        str,
        typer.Option(metavar="NAME", help="Who serves it in the cloud; follows from a run's name."),
    ] = "",
    project: options.Project = "",
    region: options.Region = "",
    input: Annotated[
        str, typer.Option(metavar="FILE", help="A dataset whose every row is asked.")
    ] = "",
    output: Annotated[
        str, typer.Option(metavar="FILE", help="Where the predictions of --input go.")
    ] = "",
    max_output_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="The longest answer, in tokens.")
    ] = 256,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Requests at a time, in the cloud.")
    ] = 4,
    requests_per_minute: Annotated[
        float,
        typer.Option(metavar="N", min=0, help="Maximum number of requests a minute; 0 = no limit."),
    ] = 0.0,
    runs: options.Runs = Path("runs"),
    json: options.Json = False,
) -> int:
    """Ask a tuned model.

    Texts are answered on standard output, a row of --input in the file --output, which can then be
    scored. Its answers are kept in the folder of runs: a call that was broken off goes on there.
    """
    if not model or bool(texts) == bool(input) or bool(input) != bool(output):
        raise UsageError(
            "a model, and either texts or files, are needed",
            where="tunepipe predict",
            fix="--model NAME TEXT…, or --model NAME --input FILE --output FILE",
        )
    from tunepipe.cli.commands.predict import Model, ask_rows, ask_texts

    folder = local_folder(model, runs)
    if folder and not (folder / "model").is_dir():
        raise UsageError("the run has made no model", where=model, fix=f"tunepipe status {model}")
    here = str(folder / "model") if folder else model if Path(model).is_dir() else ""
    place = {"project": project, "region": region, "backend": backend}
    asked = Model(here or model, local=bool(here), **place)
    settings = {"max_output_tokens": max_output_tokens}
    out = Output(json)
    if input:
        pace = (workers, requests_per_minute)
        found = ask_rows(asked, input, output, settings, *pace, work_dir=str(runs / "work"))
        out.result(asdict(found))
        out.line(
            f"{plural(found.rows, 'row')} asked, {found.unanswered:,} without an answer: {output}"
        )
        return 0
    answers = ask_texts(asked, texts or [], settings, workers, requests_per_minute)
    out.result({"answers": [{"text": one.text, "error": one.error} for one in answers]})
    for one in answers:
        if not json:
            text = one.text if one.text is not None else f"(no answer: {one.error})"
            print(printable(text) if sys.stdout.isatty() else text)
    return 0
