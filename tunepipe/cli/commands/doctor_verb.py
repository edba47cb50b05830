"""The verb doctor."""

from __future__ import annotations

from typing import Annotated

import typer

from tunepipe.cli import options
from tunepipe.cli.output import Output
from tunepipe.errors import UsageError

_STYLES = {"ok": "green", "problem": "red bold", "unknown": "yellow"}


def doctor(
    context: typer.Context,
    dataset: Annotated[
        str, typer.Option(metavar="DATASET", help="Read and validate these rows too.")
    ] = "",
    backend: options.Backend = "",
    base_model: Annotated[str, typer.Option(metavar="NAME", help="The model to tune.")] = "",
    format: options.Format = "auto",
    region: options.Region = "",
    project: options.Project = "",
    bucket: Annotated[
        str, typer.Option(metavar="gs://BUCKET", help="Where a run keeps everything.")
    ] = "",
    service_account: Annotated[
        str, typer.Option(metavar="EMAIL", help="The account that a run acts as.")
    ] = "",
    template: Annotated[
        str, typer.Option(metavar="VERSION", help="The template's version, sha256:… or URI.")
    ] = "",
    tables: options.Tables = "",
    json: options.Json = False,
) -> int:
    """Find what would fail a run, each with the command that mends it; nothing is changed.

    What the account in use may not see is said to be unknown. The exit code is that of the first
    problem, and 0 where there is none.
    """
    from tunepipe.catalog import models
    from tunepipe.cli.commands.doctor import examine
    from tunepipe.steps.findings import OK, PROBLEM, UNKNOWN, Place

    over = options.tables(context, tables)
    model = models.find(base_model, backend, over)
    if model.backend != "local" and not (project and region):
        raise UsageError("is needed to look at the cloud", where="--project and --region")
    place = Place(
        model,
        dataset,
        format,
        project,
        region,
        bucket,
        service_account,
        template,
        tables=over,
    )
    out = Output(json)
    found = []
    for one in examine(place):
        found.append(one)
        out.line(f"{out.styled(f'{one.state:8}', _STYLES[one.state])} {one.check}: {one.found}")
        if one.fix and one.state != OK:
            out.line(f"         {out.styled('fix', 'cyan')}: {one.fix}")
    counts = {state: sum(one.state == state for one in found) for state in (PROBLEM, UNKNOWN)}
    out.result(
        {
            "findings": [one.as_json() for one in found],
            "problems": counts[PROBLEM],
            "unknown": counts[UNKNOWN],
        }
    )
    out.line(f"{counts[PROBLEM]} problems, {counts[UNKNOWN]} could not be looked at", "bold")
    return next((one.exit_code for one in found if one.state == PROBLEM), 0)
