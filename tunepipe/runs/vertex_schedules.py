"""Retraining schedules on Vertex AI: one for each name, changed in place, compared before.

A schedule holds the whole request of a run. Google's own client loses part of it on the way from
a job to its schedule, so the request is written as a run's is, and nothing is filled in by others.

What Google refuses becomes a CloudError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tunepipe.data.fingerprint import digest_of
from tunepipe.decoding import whole
from tunepipe.errors import LimitError, UsageError
from tunepipe.gcp import clients, pipeline_jobs, remote_jobs
from tunepipe.gcp.clients import CALL_SECONDS
from tunepipe.gcp.explanations import explained
from tunepipe.runs.cron import Cron, ListedSchedule, next_run, still_running
from tunepipe.runs.vertex_request import SCHEDULE_LABEL, JobRequest

_OURS = (
    "cron",
    "max_concurrent_run_count",
    "max_concurrent_active_run_count",
    "create_pipeline_job_request",
)


@dataclass(frozen=True)
class FactChange:
    """An update's change to one fact; None means that the fact is absent."""

    what: str
    before: Any
    after: Any


def schedule_body(name: str, cron: Cron, request: JobRequest) -> dict[str, Any]:
    """Write a schedule as CreateSchedule takes it: one run at a time, and none is caught up on."""
    return {
        "display_name": name,
        "cron": str(cron),
        "max_concurrent_run_count": 1,  # requests that start runs
        "max_concurrent_active_run_count": 1,  # runs that have not ended
        "allow_queueing": False,
        "create_pipeline_job_request": request.as_json(),
    }


def find(place: str, name: str) -> Any:
    """Find tunepipe's schedule of that display name in `projects/P/locations/R`, or None.

    Raises:
        LimitError: One of that name was not made by tunepipe.
    """
    schedules = _named(place, name)
    if len(schedules) > 1:
        names = ", ".join(schedule.name for schedule in schedules)
        fix = f"tunepipe schedule delete {name} deletes all of them; then apply it again"
        raise UsageError("several schedules have this name", where=names, fix=fix)
    return schedules[0] if schedules else None


def differences(present: Any | None, after: Mapping[str, Any]) -> list[FactChange]:
    """List what applying a schedule, from `schedule_body`, changes; None is present at first."""
    old = {}
    if present:
        from google.protobuf import json_format

        message = type(present).pb(present)
        old = dict(facts(json_format.MessageToDict(message, preserving_proto_field_name=True)))
    new = dict(facts(after))
    return [
        FactChange(what, old.get(what), new.get(what))
        for what in sorted({*old, *new})
        if old.get(what) != new.get(what)
    ]


def facts(schedule: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a schedule says, a fact at a time, by a name with dots.

    A digest represents what each step of a pipeline runs: the text is long.
    """
    request = schedule["create_pipeline_job_request"]
    job = request["pipeline_job"]
    yield "cron", schedule["cron"]
    for name in ("max_concurrent_run_count", "max_concurrent_active_run_count"):
        yield name, int(schedule.get(name, 0))
    for field in ("display_name", "service_account", "network"):
        if job.get(field):
            yield field, job[field]
    if key := job.get("encryption_spec", {}).get("kms_key_name"):
        yield "encryption_key", key
    runtime = job["runtime_config"]
    yield "results", runtime["gcs_output_directory"]
    warm = runtime.get("default_runtime", {}).get("persistent_resource_runtime_detail", {})
    if name := warm.get("persistent_resource_name"):
        yield "persistent_resource", name
    yield from _flat("label", job.get("labels", {}))
    yield from _flat("parameter", runtime.get("parameter_values", {}))
    spec = job["pipeline_spec"]
    for name, executor in spec["deploymentSpec"]["executors"].items():
        yield f"step.{name.removeprefix('exec-')}", _digest(executor)
    rest = {name: value for name, value in spec.items() if name != "deploymentSpec"}
    yield "pipeline", f"{spec['pipelineInfo']['name']} {_digest(rest)}"


def create(schedule: Mapping[str, Any]) -> Any:
    """Create a schedule; returns it as Google keeps it."""
    place = schedule["create_pipeline_job_request"]["parent"]
    with explained(place):
        return _client(place).create_schedule(
            parent=place, schedule=dict(schedule), timeout=3 * CALL_SECONDS
        )


def update(present: Any, schedule: Mapping[str, Any]) -> Any:
    """Change a schedule in place: it keeps its name, its history, and whether it is paused."""
    from google.protobuf.field_mask_pb2 import FieldMask

    changed = {"name": present.name, **{field: schedule[field] for field in _OURS}}
    with explained(present.name):
        return _client(present.name).update_schedule(
            schedule=changed, update_mask=FieldMask(paths=_OURS), timeout=3 * CALL_SECONDS
        )


def listed(place: str, now: datetime) -> list[ListedSchedule]:
    """List our schedules of a project in a region, by name."""
    schedules = [_listed(schedule, now) for schedule in _all(place) if _is_ours(schedule)]
    return sorted(schedules, key=lambda schedule: schedule.name)


def _listed(schedule: Any, now: datetime) -> ListedSchedule:
    job = schedule.create_pipeline_job_request.pipeline_job
    state = clients.state_of(schedule)
    return ListedSchedule(
        name=schedule.display_name,
        resource=schedule.name,
        state=state.lower(),
        cron=schedule.cron,
        next_run=next_run(schedule.cron, now) if state == "ACTIVE" else "",
        runs=int(schedule.started_run_count),
        dataset=str(dict(job.runtime_config.parameter_values).get("dataset_uri", "")),
        backend=dict(job.labels).get("tunepipe_backend", ""),
    )


def change(place: str, name: str, action: str) -> str:
    """Pause, resume or delete a schedule, and return its resource name.

    Its runs stay, and missed ones are not caught up on. Of two that `apply` made at once both are
    paused or deleted, and none is resumed.
    """
    named = [] if action == "resume" else _named(place, name)
    resources = [str(schedule.name) for schedule in named or [_required(place, name)]]
    client = _client(place)
    for resource in resources:
        with explained(resource):
            request = {"name": resource, **({"catch_up": False} if action == "resume" else {})}
            done = getattr(client, f"{action}_schedule")(request=request, timeout=CALL_SECONDS)
            if action == "delete":
                done.result(timeout=3 * CALL_SECONDS)
    return ", ".join(resources)


def run_now(place: str, name: str, now: datetime) -> str:
    """Start one run of a schedule at once, unless one has not ended; return its resource name."""
    request = _required(place, name).create_pipeline_job_request
    with explained(f"{place}: {name}"):
        for job in pipeline_jobs.list_jobs(place, f'labels.{SCHEDULE_LABEL}="{name}"'):
            if not remote_jobs.has_ended(job):
                raise still_running(job.name, f"tunepipe status {job.name} --wait")
        run = clients.beta_pipelines(clients.region_of(f"{place}/")).create_pipeline_job(
            parent=request.parent,
            pipeline_job=request.pipeline_job,
            pipeline_job_id=f"{name}-{now.astimezone(UTC):%Y%m%d%H%M%S}",
            timeout=3 * CALL_SECONDS,
        )
    return str(run.name)


def _named(place: str, name: str) -> list[Any]:
    """Find tunepipe's schedules of a display name; a LimitError if only another's has it."""
    named = [schedule for schedule in _all(place) if schedule.display_name == name]
    ours = list(filter(_is_ours, named))
    if named and not ours:
        raise LimitError(
            "a schedule of this name was not made by tunepipe",
            where=named[0].name,
            fix="choose another name",
        )
    return ours


def _required(place: str, name: str) -> Any:
    schedule = find(place, name)
    if not schedule:
        raise UsageError(
            "there is no schedule of this name",
            where=f"{place}: {name}",
            fix="tunepipe schedule list",
        )
    return schedule


def _all(place: str) -> list[Any]:
    with explained(place):
        return list(_client(place).list_schedules(parent=place, timeout=CALL_SECONDS))


def _client(name: str) -> Any:
    return clients.schedules(clients.region_of(f"{name}/"))


def _is_ours(schedule: Any) -> bool:
    return SCHEDULE_LABEL in schedule.create_pipeline_job_request.pipeline_job.labels


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, below in value.items():
        yield from _flat(f"{name}.{key}", below)


def _digest(value: Any) -> str:
    return digest_of(whole(value), 12)
