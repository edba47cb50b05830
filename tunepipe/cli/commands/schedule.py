"""The commands of `tunepipe schedule`: apply, list, pause, resume, delete, run-now."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunepipe.cli import options
from tunepipe.cli.commands.run import show_run_plan, show_started
from tunepipe.cli.output import Output, agree
from tunepipe.cli.run_options import LOCAL, RunOptions
from tunepipe.distribution import describe_code
from tunepipe.errors import UsageError, plural
from tunepipe.runs.cron import Cron, next_runs, os_timers, parse, run_command
from tunepipe.runs.kfp.host import KfpHost

if TYPE_CHECKING:
    from tunepipe.runs.vertex_request import VertexRun
    from tunepipe.runs.vertex_schedules import FactChange

app = typer.Typer(
    help="Retrain at set times, on Vertex AI or on this machine.",
    rich_markup_mode=None,
)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,47}\Z")
_NEXT_RUNS = 3
_SET_BY = ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP")

# Asks the user a question, and raises an error if the answer is not yes.
Agreed = Callable[[str], None]

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]


def apply(
    context: typer.Context,
    *,
    run_options: RunOptions,
    name: str,
    cron: str,
    zone: str = "",
    min_new_rows: options.Whole = 0,
    user_project: options.UserProject = "",
    on: options.HostOptions,
    dry_run: bool = False,
    yes: options.Yes = False,
    out: Output,
) -> None:
    """Create a schedule, or change it in place.

    Shows first what would change, and what a run is estimated to cost. One run at a time, and a
    missed time is not caught up on. Over data that the last run has seen, a run does nothing. With
    the backend local, prints the lines for cron and systemd, and installs nothing; with --kfp-host,
    makes a recurring run there.

    Options:
        name (NAME): The schedule's name; applied again, it changes.
        cron (CRON): Five fields, such as "TZ=Asia/Tokyo 0 3 * * 1".
        zone (ZONE): The time zone, where --cron names none; else UTC.
        min_new_rows (N): Skip a run with fewer rows added or changed.
        dry_run: Show what would change, and change nothing.
    """
    if not _NAME.match(name):
        raise UsageError(
            "it cannot name a schedule",
            where=f"--name {name}",
            fix="small letters, digits and -, a letter first, at most 48 characters",
        )
    when = parse(cron, zone)
    upcoming = next_runs(when, datetime.now(UTC), _NEXT_RUNS)
    if not upcoming:
        raise UsageError(
            "no day is like this, so nothing would ever run",
            where=f"--cron {cron!r}",
            fix="name a day that the month has",
        )
    host = on.host()
    tables = options.tables(context, run_options.tables)
    described = run_options.resolve(tables, on_host=bool(host))
    least = {"min_new_rows": min_new_rows} if min_new_rows else {}
    described = replace(described, parameters={**described.parameters, **least})
    if described.backend == LOCAL and not host:
        result = _print_lines(context, name, when, out)
    else:
        agreed = partial(agree, yes=yes, out=out)
        send = partial(_apply_on_host, host) if host else _apply_on_vertex
        result = send(name, when, described, dry_run, agreed, out)
        out.line(f"{result['action']}: {result['schedule'] or 'nothing was sent'}")
    times = [time.isoformat(timespec="minutes") for time in upcoming]
    out.line(f"next runs: {', '.join(times)}")
    out.result({"name": name, "next_runs": times, **result})


def list_schedules(*, where: options.CloudPlace, out: Output) -> None:
    """List the schedules of a project in a region, or of a KFP host."""
    schedules, place = where.schedules()
    listed = schedules.listed(place, datetime.now(UTC))
    out.result({"schedules": [asdict(schedule) for schedule in listed]})
    head = ("name", "state", "next run", "times", "dataset")
    rows = [(each.name, each.state, each.next_run, each.cron, each.dataset) for each in listed]
    out.table(rows, head, empty=f"no schedule in {where.kfp_host or where.region}")


def pause(name: Name, *, where: options.CloudPlace, out: Output) -> None:
    """Let a schedule start no run until it is resumed."""
    _change("pause", name, where, "paused", out)


def resume(name: Name, *, where: options.CloudPlace, out: Output) -> None:
    """Let a paused schedule continue at its next time.

    Times that it missed are not caught up on.
    """
    _change("resume", name, where, "active", out)


def delete(name: Name, *, where: options.CloudPlace, yes: options.Yes = False, out: Output) -> None:
    """Delete a schedule; its runs and their models stay."""
    agree(f"Delete the schedule {name}?", yes, out)
    _change("delete", name, where, "deleted", out)


def run_now(
    name: Name, *, where: options.CloudPlace, yes: options.Yes = False, out: Output
) -> None:
    """Start one run of a schedule now.

    Refused while another run of it is going on.
    """
    schedules, place = where.schedules()
    agree(f"Start a run of {name} now?", yes, out)
    run = schedules.run_now(place, name, datetime.now(UTC))
    out.result(show_started(run, where.host(), out))


for _function in (apply, list_schedules, pause, resume, delete, run_now):
    _name = _function.__name__.removesuffix("_schedules").replace("_", "-")
    options.add_command(app, _name, _function)


def _apply_on_vertex(
    name: str, when: Cron, described: VertexRun, dry_run: bool, agreed: Agreed, out: Output
) -> dict[str, Any]:
    from tunepipe.gcp.clients import state_of
    from tunepipe.runs import vertex_request, vertex_schedules
    from tunepipe.runs.vertex import upload

    request = vertex_request.prepare_recurring(described, name)
    after = vertex_schedules.schedule_body(name, when, request)
    present = vertex_schedules.find(request.parent, name)
    changes = vertex_schedules.differences(present, after)
    plan = show_run_plan(described, described.region, out, recurring=True)
    change = "update" if present else "create"
    _show_changes(change, changes, out)
    if changes and not dry_run:
        agreed(f"{change.capitalize()} the schedule {name}?")
        upload(request)
        present = (
            vertex_schedules.update(present, after) if present else vertex_schedules.create(after)
        )
    if present and state_of(present) == "PAUSED":
        out.line("it is paused: tunepipe schedule resume", "yellow")
    action = f"would {change}" if dry_run else f"{change}d"
    return {
        "schedule": present.name if present else "",
        "action": action if changes else "unchanged",
        "changes": [asdict(each) for each in changes],
        "plan": plan,
    }


def _apply_on_host(
    host: KfpHost,
    name: str,
    when: Cron,
    described: VertexRun,
    dry_run: bool,
    agreed: Agreed,
    out: Output,
) -> dict[str, Any]:
    from tunepipe.runs.kfp import schedules
    from tunepipe.runs.kfp.request import prepare

    described = replace(described, parameters={"series": name, **described.parameters})
    request = prepare(described, host.settings)
    if not dry_run:
        agreed(f"Apply the recurring run {name} on {host.url}?")
    action, resource = schedules.apply(host, name, when, request, dry_run=dry_run)
    return {"schedule": resource, "action": action}


def _show_changes(action: str, changes: Sequence[FactChange], out: Output) -> None:
    if not changes:
        out.line("nothing changes: the schedule is up to date", "green")
        return
    out.line(f"to {action}:", "bold")
    steps = [change for change in changes if change.what.startswith("step.")]
    for change in changes:
        if change not in steps:
            before = "" if change.before is None else f"{change.before} -> "
            sign = "-" if change.after is None else "~" if before else "+"
            after = "" if change.after is None else change.after
            out.line(f"  {sign} {change.what}: {before}{after}")
    if steps:
        sign = "~" if action == "update" else "+"
        code = f"compiled by {describe_code()}; --json lists them"
        out.line(f"  {sign} {plural(len(steps), 'step')}, {code}")


def _print_lines(context: typer.Context, name: str, when: Cron, out: Output) -> dict[str, str]:
    # Only the options that were given, by whatever means: the others keep their defaults.
    of_run = {field.name for field in fields(RunOptions)}
    chosen = {
        option: value
        for option, value in context.params.items()
        if option in of_run and getattr(context.get_parameter_source(option), "name", "") in _SET_BY
    }
    series = [f"series={name}"]
    if context.params["min_new_rows"]:
        series.append(f"min_new_rows={context.params['min_new_rows']}")
    command = run_command({**chosen, "param": [*chosen.get("param", ()), *series]})
    lines = os_timers(name, when, command)
    for text in () if out.as_json else lines.values():
        print(text)
    return lines


def _change(action: str, name: str, where: options.CloudPlace, state: str, out: Output) -> None:
    schedules, place = where.schedules()
    resource = schedules.change(place, name, action)
    out.result({"schedule": resource, "state": state})
    out.line(f"{resource}: {state}")
