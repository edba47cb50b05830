"""Schedules: kept, paused, resumed; time moves when the admin address is told so."""

from __future__ import annotations

import datetime
import re
from typing import Any

from google.api_core import exceptions
from google.cloud import aiplatform_v1 as api
from google.longrunning import operations_pb2

from .cloud import Cloud, canonical
from .jobs import Jobs
from .resources import Resources
from .specs import checked_parameters, parse_spec

_ENDED = ("_SUCCEEDED", "_FAILED", "_CANCELLED")
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


class Schedules:
    """ScheduleService."""

    def __init__(self, cloud: Cloud, jobs: Jobs, resources: Resources) -> None:
        self.cloud, self.jobs, self.resources = cloud, jobs, resources

    def CreateSchedule(self, request: api.CreateScheduleRequest) -> api.Schedule:
        schedule = _as_v1(request.schedule)
        _check_cron(schedule.cron)
        if not schedule.display_name or schedule.max_concurrent_run_count < 1:
            raise exceptions.InvalidArgument("display_name and max_concurrent_run_count >= 1.")
        self._check_job(schedule)
        schedule.name = f"{canonical(request.parent)}/schedules/{self.cloud.new_id()}"
        schedule.create_time = schedule.update_time = self.cloud.now()
        schedule.state = api.Schedule.State.ACTIVE
        return api.Schedule(self.cloud.store(schedule))

    def GetSchedule(self, request: Any) -> api.Schedule:
        return api.Schedule(self.cloud.find(request.name))

    def ListSchedules(self, request: Any) -> api.ListSchedulesResponse:
        from .filters import matches

        found = self.cloud.listed(request.parent, "schedules")
        return api.ListSchedulesResponse(
            schedules=[schedule for schedule in found if matches(schedule, request.filter)]
        )

    def UpdateSchedule(self, request: api.UpdateScheduleRequest) -> api.Schedule:
        schedule = self.cloud.find(request.schedule.name)
        changed = api.Schedule(schedule)
        for path in request.update_mask.paths:
            setattr(changed, path, getattr(_as_v1(request.schedule), path))
        _check_cron(changed.cron)
        self._check_job(changed)
        changed.update_time = self.cloud.now()
        self.cloud.resources[schedule.name] = changed
        return api.Schedule(changed)

    def PauseSchedule(self, request: Any) -> None:
        self.cloud.find(request.name).state = api.Schedule.State.PAUSED

    def ResumeSchedule(self, request: Any) -> None:
        self.cloud.find(request.name).state = api.Schedule.State.ACTIVE

    def DeleteSchedule(self, request: Any) -> operations_pb2.Operation:
        return self.resources._delete(request.name)

    def tick(self, seconds: float) -> int:
        """Move the clock on and start what falls due; each schedule at most once a call."""
        from croniter import croniter

        before = self.cloud.now()
        self.cloud.clock_offset_seconds += seconds
        started = 0
        for schedule in [m for m in self.cloud.resources.values() if isinstance(m, api.Schedule)]:
            cron = schedule.cron.rpartition("=")[2].partition(" ")[2]
            cron = cron if schedule.cron.startswith(("TZ=", "CRON_TZ=")) else schedule.cron
            due = croniter(cron, before).get_next(datetime.datetime) <= self.cloud.now()
            limit = schedule.max_concurrent_active_run_count
            full = limit and self._active(schedule.name) >= limit
            if due and not full and schedule.state == api.Schedule.State.ACTIVE:
                request = api.CreatePipelineJobRequest(schedule.create_pipeline_job_request)
                request.pipeline_job.schedule_name = schedule.name
                self.jobs.CreatePipelineJob(request)
                schedule.started_run_count += 1
                started += 1
        return started

    def _active(self, schedule: str) -> int:
        """How many runs of a schedule have not ended."""
        states = self.jobs.states()
        return sum(
            job.schedule_name == schedule and not states[name].endswith(_ENDED)
            for name, job in self.cloud.resources.items()
            if name in states
        )

    def _check_job(self, schedule: api.Schedule) -> None:
        job = schedule.create_pipeline_job_request.pipeline_job
        spec = self.jobs._spec(api.PipelineJob(job))
        from .jobs import _message_dict

        given = _message_dict(job)["runtimeConfig"].get("parameterValues", {})
        checked_parameters(parse_spec(spec), given)


def _as_v1(schedule: Any) -> api.Schedule:
    """A schedule of v1beta1 as one of v1, which keeps the fields that v1 lacks as they are."""
    return api.Schedule.deserialize(type(schedule).serialize(schedule))


def _check_cron(text: str) -> None:
    cron = re.sub(r"^(CRON_)?TZ=\S+ ", "", text)
    parts = cron.split()
    if len(parts) != 5 or not all(
        _in_range(part, *limits) for part, limits in zip(parts, _RANGES, strict=True)
    ):
        raise exceptions.InvalidArgument(f"Invalid cron expression: {text!r}")


def _in_range(part: str, low: int, high: int) -> bool:
    if not re.fullmatch(r"[\d*,/\-A-Za-z]+", part):
        return False
    return all(low <= int(number) <= high for number in re.findall(r"(?<![/\d])\d+", part))
