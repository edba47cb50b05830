"""Pipeline jobs: taken in as strictly as Google does, then really run, each in a process."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.api_core import exceptions
from google.cloud import aiplatform_v1 as api
from google.protobuf import json_format
from google.rpc import code_pb2, status_pb2

from .cloud import Cloud, canonical
from .filters import matches
from .resources import Resources
from .specs import checked_parameters, parse_spec
from .templates import Templates

State = api.PipelineState
_OVER = (
    State.PIPELINE_STATE_SUCCEEDED,
    State.PIPELINE_STATE_FAILED,
    State.PIPELINE_STATE_CANCELLED,
)
_ID = re.compile(r"[a-z][-a-z0-9]{0,127}\Z")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}\Z")
_REPOSITORY = Path(__file__).parents[2]


class Jobs:
    """PipelineService's part that we use."""

    def __init__(self, cloud: Cloud, templates: Templates, resources: Resources) -> None:
        self.cloud, self.templates, self.resources = cloud, templates, resources
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.cancelled: set[str] = set()
        self.cancelling: dict[str, float] = {}  # since when, by time.monotonic()
        self.folders: dict[str, Path] = {}
        self.hold = threading.Event()  # set: new jobs stay in their first state
        self.hold_templates = threading.Event()  # set: those of Google's template do
        self.install = threading.Event()  # set: steps install the code that the run names
        self.instant = threading.Event()  # set: the template's jobs end at once, without a process
        cloud.resets.append(self.stop)

    def CreatePipelineJob(self, request: api.CreatePipelineJobRequest) -> api.PipelineJob:
        # A job of v1beta1 comes as one of v1; the fields that v1 lacks are kept as they are.
        kind = type(request.pipeline_job)
        job = api.PipelineJob.deserialize(kind.serialize(request.pipeline_job))
        job_id = request.pipeline_job_id or f"job-{self.cloud.new_id()}"
        _check_request(job, job_id)
        job.name = f"{canonical(request.parent)}/pipelineJobs/{job_id}"
        spec = self._spec(job)
        parsed = parse_spec(spec)
        given = _message_dict(job)["runtimeConfig"].get("parameterValues", {})
        parameters = checked_parameters(parsed, given)
        self._check_bucket(job.runtime_config.gcs_output_directory)
        job.create_time = job.update_time = self.cloud.now()
        job.state = State.PIPELINE_STATE_PENDING
        self.cloud.store(job)
        self._start(job, spec, parameters)
        return api.PipelineJob(job)

    def GetPipelineJob(self, request: api.GetPipelineJobRequest) -> api.PipelineJob:
        job: api.PipelineJob = self.cloud.find(request.name)
        with self.cloud.lock:
            self._refresh(job)
            return api.PipelineJob(job)

    def ListPipelineJobs(
        self, request: api.ListPipelineJobsRequest
    ) -> api.ListPipelineJobsResponse:
        found = self.cloud.listed(request.parent, "pipelineJobs")
        with self.cloud.lock:
            for job in found:
                self._refresh(job)
            found = [job for job in found if matches(job, request.filter)]
            if request.order_by and not request.order_by.startswith("create_time"):
                raise exceptions.InvalidArgument(f"Invalid order_by: {request.order_by}")
            if request.order_by == "create_time" or request.order_by.endswith(" asc"):
                found.reverse()
            begin, size = int(request.page_token or 0), request.page_size or 100
            page = [_masked(job, request.read_mask.paths) for job in found[begin : begin + size]]
        more = str(begin + size) if begin + size < len(found) else ""
        return api.ListPipelineJobsResponse(pipeline_jobs=page, next_page_token=more)

    def CancelPipelineJob(self, request: api.CancelPipelineJobRequest) -> None:
        job = self.cloud.find(request.name)
        with self.cloud.lock:
            self._refresh(job)
            if job.state in _OVER:
                raise exceptions.FailedPrecondition(
                    f"The PipelineJob is in state {job.state.name} and cannot be cancelled."
                )
            self.cancelled.add(job.name)
            self._end(job.name)
            if job.name not in self.processes:
                job.state = State.PIPELINE_STATE_CANCELLING
                self.cancelling.setdefault(job.name, time.monotonic())
                self._finish_cancelling(job)

    def _finish_cancelling(self, job: api.PipelineJob) -> None:
        if self.cloud.is_cancelled(self.cancelling.get(job.name, math.inf)):
            del self.cancelling[job.name]
            self._finish(job, State.PIPELINE_STATE_CANCELLED)

    def states(self) -> dict[str, str]:
        """Each job's state, without a call that would be counted."""
        with self.cloud.lock:
            jobs = {n: j for n, j in self.cloud.resources.items() if "/pipelineJobs/" in n}
            for job in jobs.values():
                self._finish_cancelling(job)
            return {name: job.state.name for name, job in jobs.items()}

    def stop(self) -> None:
        """End every process that still runs."""
        for name in list(self.processes):
            self._end(name, signal.SIGKILL)
        for process in list(self.processes.values()):
            process.wait()  # it writes nothing into the next test's bucket
        self.processes.clear()
        self.cancelled.clear()
        self.cancelling.clear()
        self.folders.clear()
        self.hold.clear()
        self.hold_templates.clear()
        self.instant.clear()
        self.install.clear()

    def _spec(self, job: api.PipelineJob) -> dict[str, Any]:
        given = _message_dict(job).get("pipelineSpec")
        if given:
            return dict(given)
        if not job.template_uri:
            raise exceptions.InvalidArgument("Neither pipeline_spec nor template_uri is set.")
        spec = self.templates.fetch(job.template_uri)
        job.pipeline_spec = spec
        return spec

    def _check_bucket(self, uri: str) -> None:
        bucket = uri.removeprefix("gs://").partition("/")[0]
        if not (self.cloud.buckets / bucket).is_dir():
            raise exceptions.InvalidArgument(f"The bucket of {uri} does not exist.")

    def _start(self, job: api.PipelineJob, spec: dict[str, Any], parameters: Any) -> None:
        if self.hold.is_set() or (self.hold_templates.is_set() and job.template_uri):
            return
        if self.instant.is_set() and job.template_uri:
            self._end_at_once(job, parameters)
            return
        folder = self.cloud.root / "jobs" / f"{job.name.rpartition('/')[2]}-{self.cloud.new_id()}"
        folder.mkdir(parents=True)
        self.folders[job.name] = folder
        place = job.runtime_config.gcs_output_directory.removeprefix("gs://").strip("/")
        fault = self.cloud.take_fault("job")
        region = job.name.split("/")[3]
        work = {
            "spec": spec,
            "parameters": self._with_code(parameters),
            "root": str(self.cloud.buckets / place / job.name.split("/")[1]),
            "buckets": str(self.cloud.buckets),
            "faults": {fault.host or _last_task(spec): fault.message} if fault else {},
            "placeholders": {
                "{{$.pipeline_job_name}}": job.name.rpartition("/")[2],
                "{{$.pipeline_job_resource_name}}": job.name,
                "{{$.pipeline_job_uuid}}": self.cloud.new_id(),
                "{{$.pipeline_root}}": f"gs://{place}",
            },
        }
        (folder / "job.json").write_text(json.dumps(work))
        environment = {
            **os.environ,
            **self.cloud.environment,
            "PYTHONPATH": f"{Path(__file__).parent / 'step'}:{_REPOSITORY}",
            "STANDIN_BUCKETS": str(self.cloud.buckets),
            "STANDIN_REGION": region,
            "CLOUD_ML_PROJECT_ID": job.name.split("/")[1],
            "VERTEX_AI_PIPELINES_RUN_LABELS": json.dumps(dict(job.labels)),
        }
        with (folder / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.standin.run_job", str(folder)],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=_REPOSITORY,
                start_new_session=True,
            )
        self.processes[job.name] = process
        job.state, job.start_time = State.PIPELINE_STATE_RUNNING, self.cloud.now()
        threading.Thread(target=self._await, args=(job, process), daemon=True).start()

    def _await(self, job: api.PipelineJob, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        with self.cloud.lock:
            if self.processes.pop(job.name, None) is None:
                return
            self._refresh(job)
            cancelled = job.name in self.cancelled
            outcome = self._outcome(job.name)
            if outcome is not None and not outcome["error"]:
                self._finish(job, State.PIPELINE_STATE_SUCCEEDED)
            elif cancelled:
                self._finish(job, State.PIPELINE_STATE_CANCELLED)
            else:
                self._finish(job, State.PIPELINE_STATE_FAILED)

    def _finish(self, job: api.PipelineJob, state: State) -> None:
        job.state, job.end_time = state, self.cloud.now()
        job.update_time = job.end_time
        self._refresh(job)
        if state == State.PIPELINE_STATE_FAILED:
            failed = [
                task.task_name
                for task in job.job_detail.task_details
                if task.state == api.PipelineTaskDetail.State.FAILED and task.parent_task_id
            ]
            job.error = status_pb2.Status(
                code=code_pb2.FAILED_PRECONDITION,
                message=f"The DAG failed because some tasks failed. They are: {failed}.",
            )
            details = [t for t in job.job_detail.task_details if t.task_name in failed]
            if details:
                job.error = status_pb2.Status(
                    code=details[0].error.code, message=details[0].error.message
                )

    def _end(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self.processes.get(name)
        if not process or process.poll() is not None:
            return
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
            return
        # As a container runtime does: the first process of each running step is signalled, and
        # what is left is killed some seconds later.
        for child in _children(process.pid):
            _signal(os.kill, child, number)
        seconds = float(self.cloud.facts.get("grace_seconds", 10.0))
        process.send_signal(signal.SIGSTOP)  # it starts no further step
        threading.Timer(seconds, _signal, (os.killpg, process.pid, signal.SIGKILL)).start()
        threading.Thread(target=self._end_with_steps, args=(process,), daemon=True).start()

    def _end_with_steps(self, process: subprocess.Popen[bytes]) -> None:
        while any(_state_of_process(child) not in "ZX" for child in _children(process.pid)):
            time.sleep(0.05)
        _signal(os.killpg, process.pid, signal.SIGKILL)

    def _with_code(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Name the code as this machine sees it: below the buckets' folder, not below /gcs."""
        if "code" not in parameters:
            return parameters
        code = str(parameters["code"]).replace("/gcs/", f"{self.cloud.buckets}/")
        return {**parameters, "code": code if self.install.is_set() else ""}

    def _end_at_once(self, job: api.PipelineJob, parameters: dict[str, Any]) -> None:
        """What the template would leave behind, without running it: for tests of its callers."""
        fault = self.cloud.take_fault("job")
        if fault:
            self._finish(job, State.PIPELINE_STATE_FAILED)
            job.error = status_pb2.Status(code=code_pb2.FAILED_PRECONDITION, message=fault.message)
            return
        body = {
            "location": parameters["location"],
            "display_name": parameters["model_display_name"],
            "adapter": "instant",
            "base": parameters.get("large_model_reference", "text-bison@001"),
            "dataset_uri": parameters["dataset_uri"],
            "evaluation_data_uri": parameters.get("evaluation_data_uri", ""),
        }
        model = self.resources.upload(body)["name"]
        endpoint = self.resources.deploy({**body, "model": model})["name"]
        outputs = {"model_resource_name": model, "endpoint_resource_name": endpoint}
        with self.cloud.lock:  # nobody sees its success without what it has made
            self._finish(job, State.PIPELINE_STATE_SUCCEEDED)
            job.job_detail = api.PipelineJobDetail(task_details=[_root_detail(job, outputs)])

    def _outcome(self, name: str) -> dict[str, Any] | None:
        file = self.folders.get(name, self.cloud.root) / "outcome.json"
        return dict(json.loads(file.read_text())) if file.is_file() else None

    def _refresh(self, job: api.PipelineJob) -> None:
        """Bring task details up to what the job's process has told."""
        self._finish_cancelling(job)
        file = self.folders.get(job.name, self.cloud.root) / "events.jsonl"
        if not file.is_file():
            return
        latest: dict[str, dict[str, Any]] = {}
        for line in file.read_text().splitlines():
            event = json.loads(line)
            latest[event["task"]] = latest.get(event["task"], {"start": event["at"]}) | event
        tasks = [_detail(event, number) for number, event in enumerate(latest.values(), 2)]
        if job.state in _OVER:
            tasks += _never_ran(_message_dict(job)["pipelineSpec"], set(latest), len(tasks) + 2)
        outcome = self._outcome(job.name) or {"outputs": {}}
        job.job_detail = api.PipelineJobDetail(
            task_details=[_root_detail(job, outcome["outputs"]), *tasks]
        )


def _children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(child) for file in found for child in file.read_text().split()]


def _state_of_process(number: int) -> str:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _signal(send: Callable[[int, int], None], target: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        send(target, number)


def _masked(job: api.PipelineJob, paths: Any) -> api.PipelineJob:
    """A job as a list shows it: never its details, and of the rest what the mask names."""
    shown = api.PipelineJob(job)
    shown.job_detail = api.PipelineJobDetail()
    if paths and "*" not in paths:
        shown = api.PipelineJob()
        for path in paths:
            if not hasattr(job, path):
                raise exceptions.InvalidArgument(f"Invalid read_mask path: {path}")
            setattr(shown, path, getattr(job, path))
    return shown


def _check_request(job: api.PipelineJob, job_id: str) -> None:
    if not _ID.match(job_id):
        raise exceptions.InvalidArgument(f"pipeline_job_id {job_id!r} does not match {_ID.pattern}")
    if len(job.display_name) > 128:
        raise exceptions.InvalidArgument("display_name is longer than 128 characters.")
    if not job.runtime_config.gcs_output_directory.startswith("gs://"):
        raise exceptions.InvalidArgument("runtime_config.gcs_output_directory must be a gs:// URI.")
    if len(job.labels) > 64:
        raise exceptions.InvalidArgument("more than 64 labels.")
    for key, value in job.labels.items():
        if not (_LABEL_KEY.match(key) and _LABEL_VALUE.match(value)):
            raise exceptions.InvalidArgument(f"Invalid label {key}={value}.")
    account = job.service_account
    if account and not re.match(r"[^@/]+@[^@/]+\.gserviceaccount\.com\Z", account):
        raise exceptions.InvalidArgument(f"Invalid service account {account}.")


def _detail(event: dict[str, Any], number: int) -> api.PipelineTaskDetail:
    states = api.PipelineTaskDetail.State
    over = event["state"] != "RUNNING"
    detail = api.PipelineTaskDetail(
        task_id=number,
        parent_task_id=1,
        task_name=event["task"],
        state=states[event["state"]],
        create_time=_time(event["start"]),
        start_time=_time(event["start"]),
        execution=_execution(event["task"], "system.ContainerExecution", event.get("outputs", {})),
    )
    if over:
        detail.end_time = _time(event["at"])
    if event.get("error"):
        detail.error = status_pb2.Status(code=code_pb2.FAILED_PRECONDITION, message=event["error"])
    for name, (uri, metadata) in event.get("artifacts", {}).items():
        artifact = api.Artifact(name=f"artifacts/{number}-{name}", uri=uri, metadata=metadata)
        detail.outputs[name] = api.PipelineTaskDetail.ArtifactList(artifacts=[artifact])
    return detail


def _root_detail(job: api.PipelineJob, outputs: dict[str, Any]) -> api.PipelineTaskDetail:
    state = {
        State.PIPELINE_STATE_SUCCEEDED: "SUCCEEDED",
        State.PIPELINE_STATE_FAILED: "FAILED",
        State.PIPELINE_STATE_CANCELLED: "CANCELLED",
    }.get(job.state, "RUNNING")
    return api.PipelineTaskDetail(
        task_id=1,
        task_name=job.name.rpartition("/")[2],
        state=api.PipelineTaskDetail.State[state],
        execution=_execution(job.name.rpartition("/")[2], "system.Run", outputs),
        create_time=job.create_time,
        start_time=job.start_time,
        end_time=job.end_time,
    )


def _never_ran(spec: dict[str, Any], ran: set[str], number: int) -> list[api.PipelineTaskDetail]:
    leaves = {
        name
        for unit in (spec["root"], *spec["components"].values())
        for name, task in unit.get("dag", {}).get("tasks", {}).items()
        if "executorLabel" in spec["components"][task["componentRef"]["name"]]
    }
    return [
        api.PipelineTaskDetail(
            task_id=number + offset,
            parent_task_id=1,
            task_name=name,
            state=api.PipelineTaskDetail.State.NOT_TRIGGERED,
        )
        for offset, name in enumerate(sorted(leaves - ran))
    ]


def _execution(name: str, schema: str, outputs: dict[str, Any]) -> api.Execution:
    return api.Execution(
        name=f"executions/{name}",
        display_name=name,
        schema_title=schema,
        metadata={f"output:{key}": value for key, value in outputs.items()},
    )


def _last_task(spec: dict[str, Any]) -> str:
    """Where a job fails that is told to fail: its tuner, or whatever task comes first by name."""
    leaves = [
        name
        for unit in (spec["root"], *spec["components"].values())
        for name in unit.get("dag", {}).get("tasks", {})
    ]
    return "large-language-model-tuner" if "large-language-model-tuner" in leaves else min(leaves)


def _message_dict(job: api.PipelineJob) -> dict[str, Any]:
    return dict(json_format.MessageToDict(api.PipelineJob.pb(job)))


def _time(seconds: float) -> Any:
    import datetime

    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
