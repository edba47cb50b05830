"""A schedule on a host of open-source Kubeflow Pipelines: one recurring run for each name.

What the host refuses, or a host that cannot be reached, becomes a CloudError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import yaml

from tunepipe.decoding import whole
from tunepipe.errors import LimitError, UsageError
from tunepipe.runs.cron import Cron, ListedSchedule, next_run, still_running, with_sunday_as_zero
from tunepipe.runs.kfp.host import KfpHost, pages, pipeline_file, pipeline_name
from tunepipe.runs.kfp.request import LOCAL, HostRequest

_NEWEST = 100  # how far back a run that is under way is looked for
_BY_HAND = re.compile(r"-\d{14}\Z")  # what run_now puts behind the schedule's name
# Any other state is that of a run under way, one that this version does not know too.
_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


def apply(
    host: KfpHost, name: str, when: Cron, request: HostRequest, *, dry_run: bool
) -> tuple[str, str]:
    """Create a recurring run, or put it in the place of the one of that name.

    The host cannot change a recurring run: a new one is made first, then the old one deleted. Its
    controller reads times in UTC, or in a zone of its own.

    Returns:
        What was done (created, replaced, unchanged, would create, would replace), and its id.

    A paused one stays paused.

    Raises:
        UsageError: The times are meant in a zone.
        LimitError: One of that name runs a pipeline that tunepipe did not make.
    """
    if when.zone != "UTC":
        raise UsageError(
            "a KFP host knows no zones",
            where=f"--cron {when}",
            fix="write the time in UTC; the cluster's CRON_SCHEDULE_TIMEZONE may change that",
        )
    cron = f"0 {with_sunday_as_zero(when)}"  # six fields, seconds first
    with host.client() as client:
        old = [recurring for recurring in _all(client, host) if recurring.display_name == name]
        for recurring in old:
            if not pipeline_name(recurring):
                raise LimitError(
                    "a recurring run of this name was not made by tunepipe",
                    where=f"{host.url}: {recurring.recurring_run_id}",
                    fix="choose another name",
                )
        if len(old) == 1:
            spec, *platform = yaml.safe_load_all(request.text)
            # kfp's client sends a pipeline with settings for a platform under two names.
            sent = {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec
            # A host names the account and the folder that it takes where none is set.
            place = _place_of(old[0])
            wanted = {name: getattr(host.settings, name) or place[name] for name in place}
            present = (_cron_of(old[0]), _parameters(old[0]), old[0].pipeline_spec, place)
            # KFP keeps values in a protobuf Struct, where 0.0 and 0 are one number.
            if whole(present) == whole((cron, request.parameters, sent, wanted)):
                return "unchanged", str(old[0].recurring_run_id)
        if dry_run:
            return ("would replace" if old else "would create"), ""
        with pipeline_file(request.text) as path:
            recurring_run = client.create_recurring_run(
                **host.settings_of_run(client),
                job_name=name,
                cron_expression=cron,
                max_concurrency=1,
                no_catchup=True,
                params=dict(request.parameters),
                pipeline_package_path=path,
                enabled=not old or any(map(_is_active, old)),
            )
        resource = host.id_of(recurring_run, "recurring_run_id")
        for recurring in old:
            client.delete_recurring_run(recurring.recurring_run_id)
    return ("replaced" if old else "created"), resource


def listed(host: KfpHost, now: datetime) -> list[ListedSchedule]:
    """List the recurring runs of our pipeline, by name."""
    with host.client() as client:
        ours = filter(pipeline_name, _all(client, host))
        schedules = [_shown(recurring, now) for recurring in ours]
    return sorted(schedules, key=lambda schedule: schedule.name)


def change(host: KfpHost, name: str, action: str) -> str:
    """Pause, resume or delete a recurring run, and return its id.

    Its runs stay, and missed ones are not caught up on. An interrupted `apply` may have left two of
    one name: both are paused or deleted, so that neither goes on unseen, and one is resumed.
    """
    verb = {"pause": "disable", "resume": "enable", "delete": "delete"}[action]
    with host.client() as client:
        named = _named(client, host, name)[: 1 if action == "resume" else None]
        ids = [str(recurring.recurring_run_id) for recurring in named]
        for each in ids:
            getattr(client, f"{verb}_recurring_run")(each)
    return ", ".join(ids)


def run_now(host: KfpHost, name: str, now: datetime) -> str:
    """Start one run of a recurring run at once, unless one has not ended; return its id."""
    with host.client() as client:
        recurring = _named(client, host, name)[0]
        order = {"experiment_id": recurring.experiment_id, "sort_by": "created_at desc"}
        for run in islice(pages(client.list_runs, "runs", **order), _NEWEST):
            ours = run.recurring_run_id == recurring.recurring_run_id
            by_hand = _BY_HAND.sub("", str(run.display_name)) == name
            if (ours or by_hand) and str(run.state) not in _ENDED:
                status = f"tunepipe status {run.run_id} {host.options}"
                raise still_running(f"{host.url}: {run.run_id}", status)
        with pipeline_file(_as_text(recurring.pipeline_spec)) as path:
            run = client.run_pipeline(
                experiment_id=recurring.experiment_id,
                job_name=f"{name}-{now.astimezone(UTC):%Y%m%d%H%M%S}",
                pipeline_package_path=path,
                params=_parameters(recurring),
                **_place_of(recurring),
            )
    return host.id_of(run, "run_id")


def _all(client: Any, host: KfpHost) -> Iterator[Any]:
    return pages(client.list_recurring_runs, "recurring_runs", namespace=host.namespace)


def _named(client: Any, host: KfpHost, name: str) -> list[Any]:
    ours = filter(pipeline_name, _all(client, host))
    named = [recurring for recurring in ours if recurring.display_name == name]
    if not named:
        raise UsageError(
            "there is no recurring run of this name",
            where=f"{host.url}: {name}",
            fix=f"tunepipe schedule list {host.options}",
        )
    return named


def _shown(recurring: Any, now: datetime) -> ListedSchedule:
    cron = _cron_of(recurring).partition(" ")[2]  # the host's first field: seconds
    active = _is_active(recurring)
    return ListedSchedule(
        name=str(recurring.display_name),
        resource=str(recurring.recurring_run_id),
        state="active" if active else "paused",
        cron=cron,
        next_run=next_run(cron, now) if active else "",
        dataset=str(_parameters(recurring).get("dataset_uri", "")),
        backend=LOCAL,
    )


def _is_active(recurring: Any) -> bool:
    return str(recurring.status) != "DISABLED"


def _cron_of(recurring: Any) -> str:
    schedule = recurring.trigger and recurring.trigger.cron_schedule
    return str(schedule.cron or "") if schedule else ""


def _place_of(recurring: Any) -> dict[str, str | None]:
    """Return where a recurring run keeps results, and as whom it runs, as kfp's client takes it."""
    root = recurring.runtime_config and recurring.runtime_config.pipeline_root
    return {"pipeline_root": root or None, "service_account": recurring.service_account or None}


def _parameters(recurring: Any) -> dict[str, Any]:
    return dict((recurring.runtime_config.parameters or {}) if recurring.runtime_config else {})


def _as_text(sent: Mapping[str, Any]) -> str:
    """Return the documents of a pipeline as the host holds it."""
    documents = [dict(sent)]
    if "pipeline_spec" in sent:
        documents = [sent["pipeline_spec"], sent["platform_spec"]]
    return str(yaml.safe_dump_all(documents))
