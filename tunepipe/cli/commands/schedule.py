"""The verbs of `tunepipe schedule`: apply, list, pause, resume, delete, run-now."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunepipe.cli import options
from tunepipe.cli.commands.run import LOCAL, asked_run, run, show_run_plan
from tunepipe.cli.help import Verb
from tunepipe.cli.output import Output, agree
from tunepipe.errors import UsageError
from tunepipe.notifications.message import run_page

if TYPE_CHECKING:
    from tunepipe.runs.cron import Cron
    from tunepipe.runs.kfp.host import KfpHost
    from tunepipe.runs.kfp.schedules import Listed as OnHost
    from tunepipe.runs.vertex_request import VertexRun
    from tunepipe.runs.vertex_schedules import Change, Listed

app = typer.Typer(
    help="Retrain at set times, on Vertex AI or on this machine.",
    rich_markup_mode=None,
)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,47}\Z")
_NEXT_RUNS = 3

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
Host = Annotated[
    str, typer.Option(metavar="URL", help="A host of Kubeflow Pipelines instead of Vertex AI.")
]


def apply(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Option(metavar="NAME", help="The schedule's name; applied again, it changes."),
    ],
    cron: Annotated[
        str,
        typer.Option(metavar="CRON", help='Five fields, such as "TZ=Asia/Tokyo 0 3 * * 1".'),
    ],
    zone: Annotated[
        str, typer.Option(metavar="ZONE", help="The time zone, where --cron names none; else UTC.")
    ] = "",
    min_new_rows: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Skip a run with fewer rows added or changed."),
    ] = 0,
    kfp_host: Annotated[
        str, typer.Option(metavar="URL", help="Put the backend local's pipeline on this KFP host.")
    ] = "",
    kfp: options.Kfp = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the change.")] = False,
    json: options.Json = False,
    **given: Any,
) -> int:
    """Create a schedule, or change it in place.

    The other options are those of `run`.

    Shows first what would change, and what a run is estimated to cost. One run at a time, and a
    missed time is not caught up on. Over data that the last run has seen, a run does nothing. With
    the backend local, prints the lines for cron and systemd, and installs nothing; with --kfp-host,
    makes a recurring run there.
    """
    from tunepipe.runs import cron as times

    if not _NAME.match(name):
        raise UsageError(
            "must be of small letters, digits and -, a letter first, at most 48",
            where=f"--name {name}",
        )
    when, asked, out = times.parse(cron, zone), asked_run(context, given), Output(json)
    if min_new_rows:
        asked = replace(asked, parameters={**asked.parameters, "min_new_rows": min_new_rows})
    if host := options.kfp_place(kfp_host, kfp):
        return _apply_on_host(host, name, when, asked, dry_run=dry_run, yes=yes, out=out)
    if asked.backend == LOCAL:
        return _print_lines(context, name, when, out)
    return _apply_there(name, when, asked, dry_run=dry_run, yes=yes, out=out)


def list_schedules(
    project: options.Project = "",
    region: options.Region = "",
    kfp_host: Host = "",
    kfp: options.Kfp = None,
    json: options.Json = False,
) -> int:
    """List the schedules of a project in a region, or of a KFP host."""
    found, out = _listed(project, region, kfp_host, kfp), Output(json)
    out.result({"schedules": [one.as_json() for one in found]})
    if found:
        head = ("name", "state", "next run", "times", "dataset")
        out.table([head, *map(_row, found)], styles=("bold",))
    else:
        out.line(f"no schedule in {kfp_host or region}")
    return 0


def pause(
    name: Name,
    project: options.Project = "",
    region: options.Region = "",
    kfp_host: Host = "",
    kfp: options.Kfp = None,
    json: options.Json = False,
) -> int:
    """Let a schedule start no run until it is resumed."""
    return _say(_changed("pause", name, project, region, kfp_host, kfp), "paused", Output(json))


def resume(
    name: Name,
    project: options.Project = "",
    region: options.Region = "",
    kfp_host: Host = "",
    kfp: options.Kfp = None,
    json: options.Json = False,
) -> int:
    """Let a paused schedule continue at its next time.

    Times that it missed are not caught up on.
    """
    return _say(_changed("resume", name, project, region, kfp_host, kfp), "active", Output(json))


def delete(
    name: Name,
    project: options.Project = "",
    region: options.Region = "",
    kfp_host: Host = "",
    kfp: options.Kfp = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.Json = False,
) -> int:
    """Delete a schedule; its runs and their models stay."""
    out = Output(json)
    agree(f"Delete the schedule {name}?", yes, out)
    return _say(_changed("delete", name, project, region, kfp_host, kfp), "deleted", out)


def run_now(
    name: Name,
    project: options.Project = "",
    region: options.Region = "",
    kfp_host: Host = "",
    kfp: options.Kfp = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.Json = False,
) -> int:
    """Start one run of a schedule now.

    Refused while another run of it is going on.
    """
    out = Output(json)
    if host := options.kfp_place(kfp_host, kfp):
        from tunepipe.runs.kfp import schedules

        agree(f"Start a run of {name} now?", yes, out)
        made = schedules.run_now(host, name, datetime.now(UTC))
        out.result({"run": made, "page": host.page(made)})
        out.line(f"{out.styled('run', 'bold')}   {made}")
        return 0
    from tunepipe.runs import vertex_schedules

    found = vertex_schedules.named(name, *_place(project, region))
    agree(f"Start a run of {name} now?", yes, out)
    made = vertex_schedules.run_now(found, datetime.now(UTC))
    out.result({"run": made, "page": run_page(made)})
    out.line(f"{out.styled('run', 'bold')}   {made}")
    out.line(f"{out.styled('page', 'bold')}  {run_page(made)}")
    return 0


def _with_options_of_run() -> inspect.Signature:
    """The signature of `apply`: its own options, then those of `run` that say what is run."""
    own = inspect.signature(apply, eval_str=True).parameters
    apart = {*own, "runs", "wait", "again"}
    lent = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, one in inspect.signature(run, eval_str=True).parameters.items()
        if name not in apart
    ]
    return inspect.Signature([*list(own.values())[:-1], *lent])


apply.__signature__ = _with_options_of_run()  # type: ignore[attr-defined]
for _verb, _function, _example in (
    ("apply", apply, 'tunepipe schedule apply --name weekly --cron "0 3 * * 1" --dry-run'),
    ("list", list_schedules, "tunepipe schedule list --project my-project --region us-central1"),
    ("pause", pause, "tunepipe schedule pause weekly"),
    ("resume", resume, "tunepipe schedule resume weekly"),
    ("delete", delete, "tunepipe schedule delete weekly"),
    ("run-now", run_now, "tunepipe schedule run-now weekly"),
):
    app.command(_verb, cls=Verb, epilog=_example)(_function)


def _apply_there(
    name: str, when: Cron, asked: VertexRun, *, dry_run: bool, yes: bool, out: Output
) -> int:
    from tunepipe.runs import vertex_request, vertex_schedules
    from tunepipe.runs.vertex import upload

    request = vertex_request.prepare_recurring(asked, name)
    after = vertex_schedules.wanted(name, when, request)
    present = vertex_schedules.find(name, asked.project, asked.region)
    changes = vertex_schedules.differences(present, after)
    given = dict(asked.parameters)
    plan = show_run_plan(given, asked.backend, asked.region, out, recurring=True)
    verb = "update" if present else "create"
    _show_changes(verb, changes, out)
    if changes and not dry_run:
        agree(f"{verb.capitalize()} the schedule {name}?", yes, out)
        upload(request)
        present = (
            vertex_schedules.update(present, after) if present else vertex_schedules.create(after)
        )
    done = f"{verb}d" if changes else "unchanged"
    _show_applied(f"would {verb}" if changes and dry_run else done, present, when, out)
    out.result(
        {
            "schedule": present.name if present else "",
            "name": name,
            "action": f"would {verb}" if changes and dry_run else done,
            "changes": [asdict(change) for change in changes],
            "next_runs": _next_runs(when),
            "plan": plan,
        }
    )
    return 0


def _apply_on_host(
    host: KfpHost, name: str, when: Cron, asked: VertexRun, *, dry_run: bool, yes: bool, out: Output
) -> int:
    from tunepipe.runs.kfp import schedules
    from tunepipe.runs.kfp.request import prepare

    asked = replace(asked, parameters={"series": name, **asked.parameters})
    wanted = schedules.Recurring(name, when, prepare(asked, host.settings))
    if not dry_run:
        agree(f"Apply the recurring run {name} on {host.url}?", yes, out)
    done, found = schedules.apply(host, wanted, dry_run=dry_run)
    out.result({"schedule": found, "name": name, "action": done, "next_runs": _next_runs(when)})
    out.line(f"{done}: {found or 'nothing was sent'}")
    out.line(f"next runs: {', '.join(_next_runs(when)) or 'none'}")
    return 0


def _show_changes(verb: str, changes: Sequence[Change], out: Output) -> None:
    if not changes:
        out.line("nothing changes: the schedule is as wanted", "green")
        return
    out.line(f"to {verb}:", "bold")
    signs = {"create": "+", "update": "~"}
    for change in changes:
        before = "" if change.before is None else f"{change.before} -> "
        sign = "-" if change.after is None else signs[verb] if before else "+"
        out.line(f"  {sign} {change.what}: {before}{'' if change.after is None else change.after}")


def _show_applied(done: str, present: Any, when: Cron, out: Output) -> None:
    out.line(f"{done}: {present.name if present else 'nothing was sent'}")
    if present and present.state.name == "PAUSED":
        out.line("it is paused: tunepipe schedule resume", "yellow")
    out.line(f"next runs: {', '.join(_next_runs(when)) or 'none'}")


def _next_runs(when: Cron) -> list[str]:
    from tunepipe.runs import cron as times

    found = times.next_runs(when, datetime.now(UTC), _NEXT_RUNS)
    return [time.isoformat(timespec="minutes") for time in found]


def _print_lines(context: typer.Context, name: str, when: Cron, out: Output) -> int:
    from tunepipe.runs import os_timers

    own = {"name", "cron", "zone", "min_new_rows", "kfp_host", "kfp", "dry_run", "yes", "json"}
    given = dict(_given(context, own))
    series = [f"series={name}"]
    if context.params["min_new_rows"]:
        series.append(f"min_new_rows={context.params['min_new_rows']}")
    command = os_timers.run_command({**given, "param": [*given.get("param", ()), *series]})
    lines = os_timers.lines(name, when, command)
    out.result({"name": name, "next_runs": _next_runs(when), **lines})
    for text in () if out.as_json else lines.values():
        print(text)
    out.line(f"next runs: {', '.join(_next_runs(when)) or 'none'}")
    return 0


def _given(context: typer.Context, apart: set[str]) -> Mapping[str, Any]:
    """The options that were given, by whatever means, and not left to their defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {
        name: context.params[name]
        for name, source in sources.items()
        if name not in apart
        and source
        and source.name in ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP")
    }


def _listed(
    project: str, region: str, kfp_host: str, kfp: list[str] | None
) -> Sequence[Listed | OnHost]:
    now = datetime.now(UTC)
    if host := options.kfp_place(kfp_host, kfp):
        from tunepipe.runs.kfp import schedules

        return schedules.listed(host, now)
    from tunepipe.runs import vertex_schedules

    return vertex_schedules.listed(*_place(project, region), now)


def _changed(
    verb: str, name: str, project: str, region: str, kfp_host: str, kfp: list[str] | None
) -> str:
    """Pause, resume or delete a schedule, wherever it lies; gives its resource name."""
    if host := options.kfp_place(kfp_host, kfp):
        from tunepipe.runs.kfp import schedules

        return str(getattr(schedules, verb)(host, name))
    from tunepipe.runs import vertex_schedules

    found = vertex_schedules.named(name, *_place(project, region))
    getattr(vertex_schedules, verb)(found)
    return str(found.name)


def _place(project: str, region: str) -> tuple[str, str]:
    for option, value in (("--project", project), ("--region", region)):
        if not value:
            raise UsageError(
                f"{option} is required", where=option, fix="set it here or in tunepipe.toml"
            )
    return project, region


def _row(one: Listed | OnHost) -> tuple[str, ...]:
    return (one.name, one.state, one.next_run, one.cron, one.dataset)


def _say(resource: str, state: str, out: Output) -> int:
    out.result({"schedule": resource, "state": state})
    out.line(f"{resource}: {state}")
    return 0
