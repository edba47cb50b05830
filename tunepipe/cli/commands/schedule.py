"""The commands of `tunepipe schedule`: apply, list, pause, resume, delete, run-now."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from tunepipe.cli import options
from tunepipe.cli.commands.run import show_run_plan
from tunepipe.cli.help import Command
from tunepipe.cli.output import Output, agree
from tunepipe.cli.run_options import LOCAL, RunOptions
from tunepipe.errors import UsageError
from tunepipe.notifications.message import run_page

if TYPE_CHECKING:
    from tunepipe.runs.cron import Cron, ListedSchedule
    from tunepipe.runs.kfp.host import KfpHost
    from tunepipe.runs.vertex_request import VertexRun
    from tunepipe.runs.vertex_schedules import FactChange

app = typer.Typer(
    help="Retrain at set times, on Vertex AI or on this machine.",
    rich_markup_mode=None,
)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,47}\Z")
_NEXT_RUNS = 3
_SET_BY = ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP")

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
    kfp_host: options.KfpHost = "",
    kfp: options.Kfp = None,
    dry_run: bool = False,
    yes: options.Yes = False,
    json: options.Json = False,
) -> int:
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
    from tunepipe.runs.cron import parse

    if not _NAME.match(name):
        raise UsageError(
            "must be of small letters, digits and -, a letter first, at most 48",
            where=f"--name {name}",
        )
    when, out = parse(cron, zone), Output(json)
    host = options.kfp_place(kfp_host, kfp)
    tables = options.tables(context, run_options.tables)
    described = run_options.resolve(tables, on_host=bool(host))
    if min_new_rows:
        described = replace(
            described, parameters={**described.parameters, "min_new_rows": min_new_rows}
        )
    if host:
        return _apply_on_host(host, name, when, described, dry_run=dry_run, yes=yes, out=out)
    if described.backend == LOCAL:
        return _print_lines(context, name, when, out)
    return _apply_on_vertex(name, when, described, dry_run=dry_run, yes=yes, out=out)


def list_schedules(
    *,
    where: options.CloudPlace,
    json: options.Json = False,
) -> int:
    """List the schedules of a project in a region, or of a KFP host."""
    now, out = datetime.now(UTC), Output(json)
    listed: Sequence[ListedSchedule]
    if host := where.host():
        from tunepipe.runs.kfp import schedules

        listed = schedules.listed(host, now)
    else:
        from tunepipe.runs import vertex_schedules

        listed = vertex_schedules.listed(*where.require_vertex(), now)
    out.result({"schedules": [asdict(one) for one in listed]})
    if listed:
        rows = [(one.name, one.state, one.next_run, one.cron, one.dataset) for one in listed]
        out.table([("name", "state", "next run", "times", "dataset"), *rows], styles=("bold",))
    else:
        out.line(f"no schedule in {where.kfp_host or where.region}")
    return 0


def pause(
    name: Name,
    *,
    where: options.CloudPlace,
    json: options.Json = False,
) -> int:
    """Let a schedule start no run until it is resumed."""
    return _change("pause", name, where, "paused", Output(json))


def resume(
    name: Name,
    *,
    where: options.CloudPlace,
    json: options.Json = False,
) -> int:
    """Let a paused schedule continue at its next time.

    Times that it missed are not caught up on.
    """
    return _change("resume", name, where, "active", Output(json))


def delete(
    name: Name,
    *,
    where: options.CloudPlace,
    yes: options.Yes = False,
    json: options.Json = False,
) -> int:
    """Delete a schedule; its runs and their models stay."""
    out = Output(json)
    agree(f"Delete the schedule {name}?", yes, out)
    return _change("delete", name, where, "deleted", out)


def run_now(
    name: Name,
    *,
    where: options.CloudPlace,
    yes: options.Yes = False,
    json: options.Json = False,
) -> int:
    """Start one run of a schedule now.

    Refused while another run of it is going on.
    """
    now, out = datetime.now(UTC), Output(json)
    if host := where.host():
        from tunepipe.runs.kfp import schedules

        agree(f"Start a run of {name} now?", yes, out)
        run = schedules.run_now(host, name, now)
        page = host.page(run)
    else:
        from tunepipe.runs import vertex_schedules

        schedule = vertex_schedules.find(name, *where.require_vertex(), required=True)
        agree(f"Start a run of {name} now?", yes, out)
        run = vertex_schedules.run_now(schedule, now)
        page = run_page(run)
    out.result({"run": run, "page": page})
    out.line(f"{out.styled('run', 'bold')}   {run}")
    out.line(f"{out.styled('page', 'bold')}  {page}")
    return 0


for _name, _function, _example in (
    ("apply", apply, 'tunepipe schedule apply --name weekly --cron "0 3 * * 1" --dry-run'),
    ("list", list_schedules, "tunepipe schedule list --project my-project --region us-central1"),
    ("pause", pause, "tunepipe schedule pause weekly"),
    ("resume", resume, "tunepipe schedule resume weekly"),
    ("delete", delete, "tunepipe schedule delete weekly"),
    ("run-now", run_now, "tunepipe schedule run-now weekly"),
):
    app.command(_name, cls=Command, epilog=_example)(options.as_command(_function))


def _apply_on_vertex(
    name: str, when: Cron, described: VertexRun, *, dry_run: bool, yes: bool, out: Output
) -> int:
    from tunepipe.runs import vertex_request, vertex_schedules
    from tunepipe.runs.vertex import upload

    request = vertex_request.prepare_recurring(described, name)
    after = vertex_schedules.schedule_body(name, when, request)
    present = vertex_schedules.find(name, described.project, described.region)
    changes = vertex_schedules.differences(present, after)
    plan = show_run_plan(described, described.region, out, recurring=True)
    change = "update" if present else "create"
    _show_changes(change, changes, out)
    if changes and not dry_run:
        agree(f"{change.capitalize()} the schedule {name}?", yes, out)
        upload(request)
        present = (
            vertex_schedules.update(present, after) if present else vertex_schedules.create(after)
        )
    done = f"{change}d" if changes else "unchanged"
    if changes and dry_run:
        done = f"would {change}"
    out.line(f"{done}: {present.name if present else 'nothing was sent'}")
    if present and present.state.name == "PAUSED":
        out.line("it is paused: tunepipe schedule resume", "yellow")
    out.line(f"next runs: {', '.join(_next_runs(when)) or 'none'}")
    out.result(
        {
            "schedule": present.name if present else "",
            "name": name,
            "action": done,
            "changes": [asdict(one) for one in changes],
            "next_runs": _next_runs(when),
            "plan": plan,
        }
    )
    return 0


def _apply_on_host(
    host: KfpHost,
    name: str,
    when: Cron,
    described: VertexRun,
    *,
    dry_run: bool,
    yes: bool,
    out: Output,
) -> int:
    from tunepipe.runs.kfp import schedules
    from tunepipe.runs.kfp.request import prepare

    described = replace(described, parameters={"series": name, **described.parameters})
    request = prepare(described, host.settings)
    if not dry_run:
        agree(f"Apply the recurring run {name} on {host.url}?", yes, out)
    done, resource = schedules.apply(host, name, when, request, dry_run=dry_run)
    out.result({"schedule": resource, "name": name, "action": done, "next_runs": _next_runs(when)})
    out.line(f"{done}: {resource or 'nothing was sent'}")
    out.line(f"next runs: {', '.join(_next_runs(when)) or 'none'}")
    return 0


def _show_changes(action: str, changes: Sequence[FactChange], out: Output) -> None:
    if not changes:
        out.line("nothing changes: the schedule is up to date", "green")
        return
    out.line(f"to {action}:", "bold")
    signs = {"create": "+", "update": "~"}
    for change in changes:
        before = "" if change.before is None else f"{change.before} -> "
        sign = "-" if change.after is None else signs[action] if before else "+"
        out.line(f"  {sign} {change.what}: {before}{'' if change.after is None else change.after}")


def _next_runs(when: Cron) -> list[str]:
    from tunepipe.runs.cron import next_runs

    times = next_runs(when, datetime.now(UTC), _NEXT_RUNS)
    return [time.isoformat(timespec="minutes") for time in times]


def _print_lines(context: typer.Context, name: str, when: Cron, out: Output) -> int:
    from tunepipe.runs import os_timers

    # Only the options that were given, by whatever means: the others keep their defaults.
    of_run = {each.name for each in fields(RunOptions)}
    chosen = {
        name: value
        for name, value in context.params.items()
        if name in of_run
        and (source := context.get_parameter_source(name))
        and source.name in _SET_BY
    }
    series = [f"series={name}"]
    if context.params["min_new_rows"]:
        series.append(f"min_new_rows={context.params['min_new_rows']}")
    command = os_timers.run_command({**chosen, "param": [*chosen.get("param", ()), *series]})
    lines = os_timers.lines(name, when, command)
    out.result({"name": name, "next_runs": _next_runs(when), **lines})
    for text in () if out.as_json else lines.values():
        print(text)
    out.line(f"next runs: {', '.join(_next_runs(when)) or 'none'}")
    return 0


def _change(action: str, name: str, where: options.CloudPlace, state: str, out: Output) -> int:
    """Pause, resume or delete a schedule, wherever it is, and print its new state."""
    if host := where.host():
        from tunepipe.runs.kfp import schedules

        resource = schedules.change(host, name, action)
    else:
        from tunepipe.runs import vertex_schedules

        schedule = vertex_schedules.find(name, *where.require_vertex(), required=True)
        vertex_schedules.change(schedule, action)
        resource = str(schedule.name)
    out.result({"schedule": resource, "state": state})
    out.line(f"{resource}: {state}")
    return 0
