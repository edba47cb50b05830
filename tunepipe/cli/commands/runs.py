"""`tunepipe runs` and `tunepipe logs`: which runs there are, and what their steps printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunepipe.cli import options
from tunepipe.cli.output import Output
from tunepipe.progress import printable

if TYPE_CHECKING:
    from tunepipe.runs.listing import ListedRun, Places


def list_runs(
    project: options.Project = "",
    region: options.Region = "",
    kfp_host: options.KfpHost = "",
    kfp: options.Kfp = None,
    runs: options.Runs = Path("runs"),
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=100, help="The newest N runs of all places.")
    ] = 20,
    json: options.Json = False,
) -> int:
    """List the runs, the newest first.

    Those in the folder of --runs; with --project and --region also those on Vertex AI, and with
    --kfp-host those on a KFP host. Where a verb takes a run, `latest` means the first of this list,
    and an id may be shortened to any prefix that no other run has.
    """
    found, out = places(runs, project, region, kfp_host, kfp).runs(limit), Output(json)
    out.result({"runs": [run.as_json() for run in found]})
    if not found:
        out.line(f"no run in {runs}; see tunepipe run --help")
        return 0
    head = ("id", "where", "state", "started (UTC)", "backend", "verdict")
    out.table([head, *map(_row, found)], styles=("bold",))
    return 0


def logs(
    run: options.Run,
    step: Annotated[
        str, typer.Option(metavar="TEXT", help="Only the steps whose names contain this.")
    ] = "",
    project: options.Project = "",
    region: options.Region = "",
    kfp_host: options.KfpHost = "",
    kfp: options.Kfp = None,
    runs: options.Runs = Path("runs"),
    json: options.Json = False,
) -> int:
    """Print what the steps of a run printed.

    Of a run on this machine its log; of one on a KFP host the log of each step's pod. The logs of a
    run on Vertex AI are in Cloud Logging, and the command that reads them is printed.
    """
    from tunepipe.runs import listing

    looked = places(runs, project, region, kfp_host, kfp)
    found, out = looked.find(run), Output(json)
    if found.place == listing.KFP and looked.host:
        from tunepipe.runs.kfp.runs import logs as read_logs

        texts = dict(read_logs(looked.host, found.name, step))
    elif found.place == listing.HERE:
        text = (Path(found.name) / "log.txt").read_text(encoding="utf-8", errors="replace")
        texts = {"log.txt": "\n".join(line for line in text.splitlines() if step in line)}
    else:
        project_of = found.name.split("/")[1]
        command = (
            "gcloud logging read 'resource.type=\"ml_job\" "
            f"labels.\"ml.googleapis.com/pipeline_job_id\"=\"{found.id}\"' --project {project_of}"
        )  # fmt: skip
        out.result({"run": found.name, "command": command})
        out.line(f"Cloud Logging keeps them: {command}")
        return 0
    out.result({"run": found.name, "logs": texts})
    for name, text in texts.items() if not json else ():
        print(f"== {name}")
        shown = "\n".join(map(printable, text.splitlines())) if sys.stdout.isatty() else text
        print(shown)
    return 0


def places(runs: Path, project: str, region: str, kfp_host: str, kfp: list[str] | None) -> Places:
    """Return the places where the options of a verb have it look for runs."""
    from tunepipe.runs.listing import Places

    return Places(runs, project, region, options.kfp_place(kfp_host, kfp))


def _row(run: ListedRun) -> tuple[str, ...]:
    created = run.created[:16].replace("T", " ")
    return (run.id, run.place, run.state, created, run.backend, run.verdict)
