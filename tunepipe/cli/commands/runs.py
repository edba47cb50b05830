"""`tunepipe runs` and `tunepipe logs`: which runs there are, and what their steps printed."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tunepipe.cli import options
from tunepipe.cli.output import Output
from tunepipe.progress import printable


def list_runs(
    *,
    where: options.RunPlaces,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    json: options.Json = False,
) -> int:
    """List the runs, the newest first.

    Those in the folder of --runs; with --project and --region also those on Vertex AI, and with
    --kfp-host those on a KFP host. Where a command takes a run, `latest` means the first of this
    list, and an id may be shortened to any prefix that no other run has.

    Options:
        limit (N): The newest N runs of all places.
    """
    listed, out = where.places().runs(limit), Output(json)
    out.result({"runs": [asdict(run) for run in listed]})
    if not listed:
        out.line(f"no run in {where.runs}; see tunepipe run --help")
        return 0
    head = ("id", "where", "state", "started (UTC)", "backend", "verdict")
    rows = [
        (run.id, run.place, run.state, run.created[:16].replace("T", " "), run.backend, run.verdict)
        for run in listed
    ]
    out.table([head, *rows], styles=("bold",))
    return 0


def logs(
    run: options.Run,
    *,
    where: options.RunPlaces,
    step: str = "",
    json: options.Json = False,
) -> int:
    """Print what the steps of a run printed.

    Of a run on this machine its log; of one on a KFP host the log of each step's pod. The logs of a
    run on Vertex AI are in Cloud Logging, and the command that reads them is printed.

    Options:
        step (TEXT): Only the steps whose names contain this.
    """
    from tunepipe.runs import listing

    looked = where.places()
    chosen, out = looked.find(run), Output(json)
    if chosen.place == listing.KFP and looked.host:
        from tunepipe.runs.kfp.host_runs import logs as read_logs

        texts = dict(read_logs(looked.host, chosen.name, step))
    elif chosen.place == listing.HERE:
        text = (Path(chosen.name) / "log.txt").read_text(encoding="utf-8", errors="replace")
        texts = {"log.txt": "\n".join(line for line in text.splitlines() if step in line)}
    else:
        project_of = chosen.name.split("/")[1]
        command = (
            "gcloud logging read 'resource.type=\"ml_job\" "
            f"labels.\"ml.googleapis.com/pipeline_job_id\"=\"{chosen.id}\"' --project {project_of}"
        )  # fmt: skip
        out.result({"run": chosen.name, "command": command})
        out.line(f"Cloud Logging keeps them: {command}")
        return 0
    out.result({"run": chosen.name, "logs": texts})
    for name, text in texts.items() if not json else ():
        print(f"== {name}")
        shown = "\n".join(map(printable, text.splitlines())) if sys.stdout.isatty() else text
        print(shown)
    return 0
