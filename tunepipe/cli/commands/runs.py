"""`tunepipe runs` and `tunepipe logs`: which runs there are, and what their steps printed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from tunepipe.cli import options
from tunepipe.cli.output import Output
from tunepipe.runs import listing


def runs(
    *,
    where: options.RunPlaces,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    out: Output,
) -> None:
    """List the runs, the newest first.

    Those in the folder of --runs; with --project and --region also those on Vertex AI, and with
    --kfp-host those on a KFP host. Where a command takes a run, `latest` means the first of this
    list, and an id may be shortened to any prefix that no other run has.

    Options:
        limit (N): The newest N runs of all places.
    """
    listed = where.places().runs(limit)
    out.result({"runs": [asdict(run) for run in listed]})
    head = ("id", "where", "state", "started (UTC)", "backend", "verdict")
    rows = [
        (run.id, run.place, run.state, run.created[:16].replace("T", " "), run.backend, run.verdict)
        for run in listed
    ]
    out.table(rows, head, empty=f"no run in {where.runs}; see tunepipe run --help")


def logs(run: str, *, where: options.RunPlaces, step: str = "", out: Output) -> None:
    """Print what the steps of a run printed.

    Of a run on this machine its log; of one on a KFP host the log of each step's pod. The logs of a
    run on Vertex AI are in Cloud Logging, and the command that reads them is printed.

    Options:
        step (TEXT): Only the steps whose names contain this.
    """
    places = where.places()
    chosen = places.find(run)
    if chosen.place == listing.VERTEX:
        project = chosen.name.split("/")[1]
        job = f'labels."ml.googleapis.com/pipeline_job_id"="{chosen.id}"'
        command = f"gcloud logging read 'resource.type=\"ml_job\" {job}' --project {project}"
        out.result({"run": chosen.name, "command": command})
        out.line(f"Cloud Logging keeps them: {command}")
        return
    texts = places.logs(chosen, step)
    out.result({"run": chosen.name, "logs": texts})
    for name, text in texts.items() if not out.as_json else ():
        out.answer(f"== {name}")
        out.answer(text)
