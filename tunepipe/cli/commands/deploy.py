"""`tunepipe deploy` and `undeploy`: an endpoint for a tuned open model, paid by the hour."""

from __future__ import annotations

from typing import Annotated

import typer

from tunepipe.cli import options
from tunepipe.cli.output import Output, agree
from tunepipe.errors import LimitError, UsageError
from tunepipe.extras import require


def deploy(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(metavar="FOLDER", help="gs:// folder of a tuned model, merged.")
    ],
    project: options.Project = "",
    region: options.Region = "",
    accelerator: options.Accelerator = "NVIDIA_L4:1",
    name: Annotated[
        str, typer.Option(metavar="TEXT", help="The name of model and endpoint for people.")
    ] = "tunepipe",
    tables: options.Tables = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending.")] = False,
    json: options.Json = False,
) -> int:
    """Serve a tuned open model from an endpoint.

    Registers the model with a vLLM container and deploys it to a new endpoint on one machine, which
    costs by the hour until `undeploy` takes it away. Shows the machine and its price, and asks.
    """
    _require_place(project, region)
    require("vertex")
    from tunepipe.catalog.accelerators import find_machine
    from tunepipe.registry import serving

    folder = model.rstrip("/")
    machine = find_machine(accelerator, options.catalog(context, tables))
    price_usd = machine.usd_per_hour(region)
    out = Output(json)
    serving.check_servable(folder)
    per_hour = (
        "at a price that the table does not have for this region"
        if price_usd is None
        else f"at {price_usd:.2f} USD an hour, {price_usd * 24 * 30:,.0f} USD a month"
    )
    what = f"1 x {machine.machine_type} ({machine.accelerator}:{machine.count})"
    out.line(f"{folder}\nis served from {region} by {what}, {per_hour}")
    agree(f"Deploy it {per_hour}?", yes, out)
    endpoint = serving.deploy(folder, project, region, machine, name)
    out.line(f"ask it: tunepipe predict --backend open-model --model {endpoint} TEXT")
    out.line(f"end it: tunepipe undeploy {endpoint}")
    out.result(
        {
            "endpoint": endpoint,
            "model": folder,
            "machine_type": machine.machine_type,
            "accelerator": f"{machine.accelerator}:{machine.count}",
            "usd_per_hour": price_usd,
        }
    )
    return 0


def undeploy(
    context: typer.Context,
    endpoint: Annotated[
        str, typer.Argument(metavar="ENDPOINT", help="The endpoint that deploy has made.")
    ],
    tables: options.Tables = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.Json = False,
) -> int:
    """Take away an endpoint that deploy has made; its model stays."""
    require("vertex")
    from tunepipe.cli.commands.endpoints import prices_of_machines
    from tunepipe.gcp import clients
    from tunepipe.registry import serving
    from tunepipe.registry.endpoints import take_away

    region = clients.region_of(endpoint)
    _, project, *_ = endpoint.split("/")
    prices = prices_of_machines(options.catalog(context, tables), region)
    ours = {_plain(one.endpoint): one for one in serving.deployments(project, region, prices)}
    found = ours.get(_plain(endpoint))
    if found is None:
        raise LimitError(
            "no endpoint of this name was made by tunepipe deploy",
            where=endpoint,
            fix="tunepipe endpoints lists those that were",
        )
    out = Output(json)
    agree(f"Take {found.endpoint} away, which serves {found.model}?", yes, out)
    take_away(found)
    out.line(f"deleted {found.endpoint}")
    out.result({"deleted": found.endpoint, "model": found.model})
    return 0


def _plain(name: str) -> str:
    """Return what is after the project, which Google writes by its number and users by its id."""
    return name.partition("/locations/")[2]


def _require_place(project: str, region: str) -> None:
    for option, value in (("project", project), ("region", region)):
        if not value:
            raise UsageError("is needed", where=f"--{option}", fix="name where it is to be served")
