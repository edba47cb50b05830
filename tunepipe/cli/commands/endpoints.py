"""`tunepipe endpoints`: endpoints that tuning jobs made, and removal of those out of use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from tunepipe.catalog.accelerators import find_machine
from tunepipe.catalog.catalog import Catalog
from tunepipe.cli import options
from tunepipe.cli.output import Output, agree
from tunepipe.errors import LimitError, UsageError, plural
from tunepipe.extras import require
from tunepipe.gcp import clients, remote_jobs
from tunepipe.gcp.images import by_digest
from tunepipe.registry import serving
from tunepipe.registry.champions import Move, history
from tunepipe.registry.endpoints import (
    CHECKPOINT,
    GEMINI,
    SERVED,
    Deployment,
    of_template,
    take_away,
)
from tunepipe.stores import storage

_MONTH_DAYS = 30


@dataclass(frozen=True)
class Use:
    """What an endpoint is used for.

    Args:
        role: champion, former (rollback goes there), checkpoint (of an earlier step) or idle.
        hours: Its age.
        cost_usd: What it has cost since; None where no price is known.
    """

    deployment: Deployment
    role: str
    hours: float
    cost_usd: float | None

    @property
    def row(self) -> tuple[str, ...]:
        """Its role, age, cost and name, human-readable."""
        age = f"{self.hours / 24:.1f} d" if self.hours >= 48 else f"{self.hours:.1f} h"
        cost = "not known" if self.cost_usd is None else f"{self.cost_usd:.2f} USD"
        return self.role, age, cost, self.deployment.endpoint

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        names = ("endpoint", "model", "job", "kind")
        return {
            **{name: getattr(self.deployment, name) for name in names},
            "created": self.deployment.created.isoformat(timespec="seconds"),
            "role": self.role,
            "hours": self.hours,
            "cost_usd": self.cost_usd,
        }


def endpoints(
    context: typer.Context,
    *,
    project: str = "",
    region: str = "",
    bucket: str = "",
    clean_up: bool = False,
    older_than_hours: options.Amount = 0.0,
    backend_options: Annotated[list[str] | None, typer.Option("--option")] = None,
    tables: str = "",
    yes: options.Yes = False,
    out: Output,
) -> None:
    """List endpoints of tuned models with age and cost; clean up.

    Lists what Google's template and tuning jobs of Gemini have left, and what `deploy` made; open
    models leave weights alone. Idle endpoints of Gemini are free, and count against the quota of
    endpoints. Looks where the region's runs have tuned, their option location included; --option
    location=REGION adds a place whose runs are gone. --clean-up never deletes an endpoint that no
    tuning job of tunepipe made, the champion's, or the one that a rollback would go to, and deletes
    nothing while a run is under way. The hourly price of the template's endpoints is taken from
    [tables.prices.endpoints] usd_per_hour.

    Options:
        bucket (gs://BUCKET): Where the runs keep who is champion.
        clean_up: Delete those that are idle; their models stay.
        older_than_hours (H): Delete only what is older.
        backend_options (location=REGION): Where tuning jobs ran too.
    """
    options.require_values(project=project, region=region, bucket=bucket)
    if not bucket.startswith("gs://"):
        raise UsageError("must be a gs:// URI", where=f"--bucket {bucket}", fix="gs://BUCKET")
    from tunepipe.registry.tuning_endpoints import of_tuning_jobs
    from tunepipe.runs.vertex import list_runs

    catalog = options.catalog(context, tables)
    # Looked at before the histories: a run that is over by then has made its promotion.
    runs = list_runs(project, region, also=("runtime_config",))
    histories = _histories(bucket, runs)
    locations = _locations(region, options.pairs(backend_options, "--option"), runs)
    deployments = [
        *of_template(project, region),
        *(each for location in locations for each in of_tuning_jobs(project, location)),
        *serving.deployments(project, region, prices_of_machines(catalog, region)),
    ]
    price_usd = catalog.prices.endpoints.usd_per_hour
    uses = list(_uses(deployments, histories, price_usd))
    idle = [use for use in uses if use.role in ("idle", "checkpoint")]
    unused = [use for use in idle if clean_up and use.hours >= older_than_hours]
    days = max((use.hours for use in uses), default=0.0) / 24
    yearly = None if days < _MONTH_DAYS else round(len(uses) * 365 / days)
    empty = f"no tuning job of tunepipe has left an endpoint in {', '.join(locations)}"
    out.table([use.row for use in uses], ("role", "age", "cost", "endpoint"), empty=empty)
    if uses:
        pace = "" if yearly is None else f"; at this pace {yearly:,} more in a year"
        counted = f"{plural(len(uses), 'endpoint')}, {len(idle)} idle; all count against the quota"
        out.line(f"{counted} of endpoints (its number: IAM & Admin > Quotas){pace}")
    if unused:
        _require_over(runs)
        agree(f"Delete {plural(len(unused), 'idle endpoint')}?", yes, out)
    for use in unused:
        take_away(use.deployment)
        out.line(f"deleted {use.deployment.endpoint}")
    out.result(
        {
            "endpoints": [use.as_json() for use in uses],
            "deleted": [use.deployment.endpoint for use in unused],
            "idle": len(idle),
            "added_in_a_year": yearly,
            "locations": locations,
        }
    )


def _locations(region: str, chosen: Mapping[str, Any], runs: Sequence[Any]) -> list[str]:
    """List where the tuning jobs ran: the region, and what the option `location` says."""
    for name in chosen.keys() - {"location"}:
        raise UsageError(
            "only location is read here", where=f"--option {name}", fix="--option location=REGION"
        )
    own = [_parameters(run).get("options") for run in runs]
    named = [str(dict(each or {}).get("location") or "") for each in (chosen, *own)]
    return list(dict.fromkeys([region, *filter(None, named)]))


def _uses(
    deployments: Sequence[Deployment], histories: list[list[Move]], price_usd: float | None
) -> Iterator[Use]:
    now = datetime.now(UTC)
    champions = {moves[-1].model for moves in histories if moves}
    # A rollback goes to the last model that is not the champion's.
    others = [
        [move.model for move in moves if move.model != moves[-1].model] for moves in histories
    ]
    former = {models[-1] for models in others if models}
    # Where an earlier checkpoint was promoted, the alias of the model it shares with the last one's
    # endpoint does not make that one a champion's.
    promoted = {each.model for each in deployments if each.endpoint in champions}
    for each in deployments:
        if each.kind == GEMINI and each.model in promoted and each.endpoint not in champions:
            each = replace(each, kind=CHECKPOINT, champion=False)
        # A checkpoint shares its model with the endpoint of the last one.
        is_checkpoint = each.kind == CHECKPOINT
        names = {each.endpoint} if is_checkpoint else {each.endpoint, each.model}
        role = "checkpoint" if is_checkpoint else "idle"
        if each.champion or names & champions:
            role = "champion"
        elif names & former:
            role = "former"
        hours = round((now - each.created).total_seconds() / 3600, 1)
        price = each.usd_per_hour if each.kind == SERVED else price_usd
        cost = None if price is None else round(hours * price, 2)
        yield Use(each, role, hours, cost if each.is_billed else 0.0)


def prices_of_machines(catalog: Catalog, region: str) -> dict[str, float | None]:
    """Return the price of an hour of each machine with accelerators, by its type."""
    return {
        machine: find_machine(f"{name}:{count}", catalog).usd_per_hour(region)
        for name, row in catalog.accelerators.accelerators.items()
        for count, machine in row.machines.items()
    }


def _histories(bucket: str, runs: Sequence[Any]) -> list[list[Move]]:
    """The moves of every registry in a bucket, and of those that the runs themselves name.

    A bucket that is not the runs' own would make an endpoint that a rollback goes to look idle.
    """
    files = storage.matching_files(f"{bucket.rstrip('/')}/tunepipe/registry/*/moves/*.json")
    registries = [str(_parameters(run).get("registry", "")).rstrip("/") for run in runs]
    places = {place for place in registries if storage.is_object(place)}
    places |= {file.rpartition("/moves/")[0] for file in files}
    return [history(place) for place in sorted(places)]


def _parameters(run: Any) -> dict[str, Any]:
    return dict(run.runtime_config.parameter_values)


def _require_over(runs: Sequence[Any]) -> None:
    """Refuse while a run goes on: between its tuning and its verdict its endpoint is not in use."""
    for job in filter(remote_jobs.is_running, runs):
        raise LimitError(
            "a run is under way, and may need an endpoint that is not in use yet",
            where=job.name,
            fix=f"wait for it: tunepipe status {job.name} --wait",
        )


def deploy(
    context: typer.Context,
    model: str,
    *,
    project: str = "",
    region: str = "",
    accelerator: str = "NVIDIA_L4:1",
    name: str = "tunepipe",
    image: str = "",
    tables: str = "",
    yes: options.Yes = False,
    out: Output,
) -> None:
    """Serve a tuned open model from an endpoint.

    Registers the model with a vLLM container and deploys it to a new endpoint on one machine, which
    costs by the hour until `undeploy` takes it away. Shows the machine and its price, and asks.

    Options:
        model (FOLDER): gs:// folder of a tuned model, merged.
        name (TEXT): The display name of model and endpoint.
        image (IMAGE): The vLLM container that answers; by default Model Garden's. A tag is
            replaced by the digest that it has now.
    """
    options.require_values(project=project, region=region)
    require("vertex")

    folder = model.rstrip("/")
    machine = find_machine(accelerator, options.catalog(context, tables))
    price_usd = machine.usd_per_hour(region)
    serving.check_servable(folder)
    per_hour = "at a price that the table does not have for this region"
    if price_usd is not None:
        month = price_usd * 24 * _MONTH_DAYS
        per_hour = f"at {price_usd:.2f} USD an hour, {month:,.0f} USD a month"
    hardware = f"{machine.accelerator}:{machine.count}"
    served = f"is served from {region} by 1 x {machine.machine_type} ({hardware})"
    out.line(f"{folder}\n{served}, {per_hour}")
    image = by_digest(image or serving.default_container())
    out.line(f"by the container {image}")
    agree(f"Deploy it {per_hour}?", yes, out)
    endpoint = serving.deploy(folder, project, region, machine, name, image)
    out.line(f"ask it: tunepipe predict --backend open-model --model {endpoint} TEXT")
    out.line(f"end it: tunepipe undeploy {endpoint}")
    out.result(
        {
            "endpoint": endpoint,
            "model": folder,
            "machine_type": machine.machine_type,
            "accelerator": hardware,
            "usd_per_hour": price_usd,
            "image": image,
        }
    )


def undeploy(
    context: typer.Context,
    endpoint: str,
    *,
    tables: str = "",
    yes: options.Yes = False,
    out: Output,
) -> None:
    """Take away an endpoint that deploy has made; its model stays.

    Options:
        endpoint (ENDPOINT): The endpoint that deploy has made.
    """
    require("vertex")

    project, region = clients.place_of(endpoint)
    prices = prices_of_machines(options.catalog(context, tables), region)
    deployed = {
        _plain(each.endpoint): each for each in serving.deployments(project, region, prices)
    }
    chosen = deployed.get(_plain(endpoint))
    if chosen is None:
        raise LimitError(
            "no endpoint of this name was made by tunepipe deploy",
            where=endpoint,
            fix="tunepipe endpoints lists those that were",
        )
    agree(f"Take {chosen.endpoint} away, which serves {chosen.model}?", yes, out)
    take_away(chosen)
    out.line(f"deleted {chosen.endpoint}")
    out.result({"deleted": chosen.endpoint, "model": chosen.model})


def _plain(name: str) -> str:
    """Return what is after the project, which Google writes by its number and users by its id."""
    return name.partition("/locations/")[2]
