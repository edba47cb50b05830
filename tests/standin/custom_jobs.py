"""Custom jobs: taken in as strictly as Google does, then really run, each replica in a process.

What a command does first runs as in Google's container: with a Python that has nothing but pip. The
program then runs in this environment, or with `python_of_jobs`; /gcs is the folder of the buckets.
A job that is preempted begins again, under its own name, at most six times. While `instant` is on,
a job runs no process: it succeeds at the second look. While `hold` is on, a job stays PENDING.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.api_core import exceptions
from google.cloud import aiplatform_v1 as api
from google.rpc import code_pb2, status_pb2

from .cloud import Cloud, canonical
from .filters import matches
from .ports import free_port
from .warm import WarmProcess, shared, warm_python

State = api.JobState
_PENDING = State.JOB_STATE_PENDING
_OVER = (State.JOB_STATE_SUCCEEDED, State.JOB_STATE_FAILED, State.JOB_STATE_CANCELLED)
_REPOSITORY = Path(__file__).parents[2]
_RESTARTS = 6
# Compute Engine's machines with accelerators attached: what each holds, and nothing else.
MACHINES = {
    **{f"g2-standard-{cpus}": ("NVIDIA_L4", n) for cpus, n in ((4, 1), (8, 1), (12, 1), (16, 1))},
    **{f"g2-standard-{cpus}": ("NVIDIA_L4", n) for cpus, n in ((24, 2), (32, 1), (48, 4), (96, 8))},
    **{f"a2-highgpu-{n}g": ("NVIDIA_TESLA_A100", n) for n in (1, 2, 4, 8)},
    "a2-megagpu-16g": ("NVIDIA_TESLA_A100", 16),
    **{f"a2-ultragpu-{n}g": ("NVIDIA_A100_80GB", n) for n in (1, 2, 4, 8)},
    **{f"a3-highgpu-{n}g": ("NVIDIA_H100_80GB", n) for n in (1, 2, 4, 8)},
    "a3-megagpu-8g": ("NVIDIA_H100_MEGA_80GB", 8),
    "a3-ultragpu-8g": ("NVIDIA_H200_141GB", 8),
    "a4-highgpu-8g": ("NVIDIA_B200", 8),
}
_ON_HYPERDISK = ("a3-ultragpu", "a4")  # the others boot from persistent disks


@dataclass
class _Run:
    """The processes of a job, and how often it was preempted."""

    processes: list[Any] = field(default_factory=list)
    restarts: int = 0
    ended_by: str = ""
    looks: int = 0
    cancelling_since: float = math.inf  # by time.monotonic()


class CustomJobs:
    """JobService's part that we use."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.runs: dict[str, _Run] = {}
        self.hold = threading.Event()
        self.instant = threading.Event()
        self._making = threading.Lock()
        cloud.resets.append(self._reset)

    def CreateCustomJob(self, request: api.CreateCustomJobRequest) -> api.CustomJob:
        job = api.CustomJob(request.custom_job)
        _check(job, self.cloud)
        job.name = f"{canonical(request.parent)}/customJobs/{self.cloud.new_id()}"
        job.create_time = job.update_time = self.cloud.now()
        job.state = State.JOB_STATE_PENDING
        self.cloud.store(job)
        fault = self.cloud.take_fault("custom job")
        if fault:
            self._finish(job, State.JOB_STATE_FAILED, fault.message)
        else:
            self.runs[job.name] = _Run()
            if not (self.instant.is_set() or self.hold.is_set()):
                self._start(job)
        return api.CustomJob(job)

    def GetCustomJob(self, request: api.GetCustomJobRequest) -> api.CustomJob:
        with self.cloud.lock:
            job = self.cloud.find(request.name)
            self._finish_cancelling(job)
            if states := self.cloud.facts.get("custom_job_states"):
                job.state = states.pop(0)
            elif self.instant.is_set() and job.state not in (*_OVER, State.JOB_STATE_CANCELLING):
                self._advance(job)
            return api.CustomJob(job)

    def ListCustomJobs(self, request: api.ListCustomJobsRequest) -> api.ListCustomJobsResponse:
        found = self.cloud.listed(request.parent, "customJobs")
        with self.cloud.lock:
            for job in found:
                self._finish_cancelling(job)
            jobs = [api.CustomJob(job) for job in found if matches(job, request.filter)]
        return api.ListCustomJobsResponse(custom_jobs=jobs)

    def CancelCustomJob(self, request: api.CancelCustomJobRequest) -> None:
        job = self.cloud.find(request.name)
        if job.state in _OVER:
            raise exceptions.FailedPrecondition(f"The CustomJob is in state {job.state.name}.")
        with self.cloud.lock:
            job.state = State.JOB_STATE_CANCELLING
            self.runs[job.name].cancelling_since = time.monotonic()
            self._finish_cancelling(job)

    def _finish_cancelling(self, job: api.CustomJob) -> None:
        run = self.runs.get(job.name)
        if run and self.cloud.is_cancelled(run.cancelling_since):
            run.cancelling_since = math.inf
            self._end(job, "cancelled")

    def _advance(self, job: api.CustomJob) -> None:
        """Move a job without processes on: it runs at the first look and has succeeded at the next.

        Its result lies in its folder as the real worker leaves it.
        """
        run = self.runs[job.name]
        run.looks += 1
        if run.looks == 1:
            job.state, job.start_time = State.JOB_STATE_RUNNING, self.cloud.now()
            return
        folder = job.job_spec.base_output_directory.output_uri_prefix.removeprefix("gs://")
        result = self.cloud.buckets / folder / "result.json"
        result.write_text(
            json.dumps({"model": "model-1", "statistics": {"final_loss": 0.4, "base_model": ""}})
        )
        self._finish(job, State.JOB_STATE_SUCCEEDED)

    def preempt(self) -> list[str]:
        """Take the machines away from every job that runs; Vertex AI starts it again."""
        with self.cloud.lock:
            names = [name for name, run in self.runs.items() if run.processes]
        for name in names:
            self._end(self.cloud.find(name), "preempted")
        return names

    def states(self) -> dict[str, dict[str, Any]]:
        """Each job's state, restarts and labels, without a call that would be counted."""
        with self.cloud.lock:
            jobs = {n: j for n, j in self.cloud.resources.items() if "/customJobs/" in n}
            for job in jobs.values():
                self._finish_cancelling(job)
            return {
                name: {
                    "state": job.state.name,
                    "restarts": getattr(self.runs.get(name), "restarts", 0),
                    "labels": dict(job.labels),
                }
                for name, job in jobs.items()
            }

    def stop(self) -> None:
        """End every process that still runs."""
        for run in self.runs.values():
            run.ended_by = "stopped"
            for process in run.processes:
                _kill(process)
        for run in self.runs.values():
            for process in run.processes:
                process.wait()  # it writes nothing into the next test's bucket
        self.runs.clear()

    def _reset(self) -> None:
        self.stop()
        self.hold.clear()
        self.instant.clear()

    def _start(self, job: api.CustomJob) -> None:
        folder = self.cloud.root / "jobs" / job.name.rpartition("/")[2]
        folder.mkdir(parents=True, exist_ok=True)
        run = self.runs[job.name]
        hosts = {
            f"workerpool{number}": [f"127.0.0.1:{free_port()}" for _ in range(pool.replica_count)]
            for number, pool in enumerate(job.job_spec.worker_pool_specs)
        }
        run.processes, run.ended_by = [], ""
        for number, pool in enumerate(job.job_spec.worker_pool_specs):
            for index in range(pool.replica_count):
                task = {"type": f"workerpool{number}", "index": index}
                spec = {"cluster": hosts, "task": task, "environment": "cloud"}
                log = folder / "log.txt"
                run.processes.append(self._process(job, pool.container_spec, spec, log))
        job.state, job.start_time = State.JOB_STATE_RUNNING, job.start_time or self.cloud.now()
        threading.Thread(target=self._await, args=(job, run), daemon=True).start()

    def _container(self) -> Path:
        """The folder of programs of a container: a Python, and a pip."""
        folder = self.cloud.root / "container"
        with self._making:
            if not folder.exists():
                made = folder.with_name("container.part")
                venv = [sys.executable, "-m", "venv", "--without-pip", str(made)]
                subprocess.run(venv, check=True)
                (site,) = made.glob("lib/python3*/site-packages")
                shutil.copy(Path(__file__).with_name("container_pip.py"), site / "pip.py")
                made.rename(folder)
        return folder / "bin"

    def _process(self, job: api.CustomJob, container: Any, spec: Any, log: Path) -> Any:
        buckets = str(self.cloud.buckets)
        unpacked = tempfile.mkdtemp(dir=log.parent)
        mounted = {"/gcs/": f"{buckets}/", "/tmp/tunepipe": unpacked}
        command = [_replaced(part, mounted) for part in container.command]
        given = {one.name: _replaced(one.value, mounted) for one in container.env}
        given.pop("TUNEPIPE_DEVICE", None)  # there is no GPU here
        if command[:2] == ["sh", "-ec"]:
            path = f"{self._container()}:{os.environ['PATH']}"
            with log.open("ab") as file:
                first = subprocess.Popen(
                    [*command[:3], "true"],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    env={"PATH": path, **given},
                    cwd=unpacked,
                )
            if first.wait():
                return first
            command = command[3:]
        environment = {
            **os.environ,
            **self.cloud.environment,
            **given,
            "PYTHONPATH": str(_REPOSITORY),
            "PYTHON_EXEC": warm_python(shared(self.cloud.root)),
            "TUNEPIPE_GCS_MOUNT": buckets,
            "CLUSTER_SPEC": json.dumps(spec),
            "CLOUD_ML_PROJECT_ID": job.name.split("/")[1],
            "HF_HUB_OFFLINE": "1",
            **self.cloud.facts.get("environment_of_jobs", {}),
        }
        assert command[:2] == ["python3", "-m"], command
        arguments = [*command[2:], *container.args]
        python = self.cloud.facts.get("python_of_jobs")
        if not python and "environment_of_jobs" not in self.cloud.facts:
            return WarmProcess(shared(self.cloud.root), arguments, environment, log)
        # What an import reads from its environment needs a process that has imported nothing.
        with log.open("ab") as file:
            return subprocess.Popen(
                [python or sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**environment, **given},
                cwd=unpacked,
                start_new_session=True,
            )

    def _await(self, job: api.CustomJob, run: _Run) -> None:
        codes = [process.wait() for process in run.processes]
        with self.cloud.lock:
            if run.ended_by == "stopped":
                return
            run.processes = []
            if run.ended_by == "cancelled":
                self._finish(job, State.JOB_STATE_CANCELLED)
            elif run.ended_by == "preempted" and run.restarts < _RESTARTS:
                run.restarts += 1
                job.state = State.JOB_STATE_PENDING
                self._start(job)
            elif any(codes):
                message = f"The replica workerpool0-0 exited with a non-zero status of {codes[0]}."
                self._finish(job, State.JOB_STATE_FAILED, message)
            else:
                self._finish(job, State.JOB_STATE_SUCCEEDED)

    def _end(self, job: api.CustomJob, why: str) -> None:
        with self.cloud.lock:
            run = self.runs.get(job.name)
            if run is None:  # the test is over
                return
            run.ended_by = why
            for process in run.processes:
                _kill(process)
            if not run.processes and job.state not in _OVER:  # held or instant
                self._finish(job, State.JOB_STATE_CANCELLED)

    def _finish(self, job: api.CustomJob, state: State, message: str = "") -> None:
        job.state, job.end_time = state, self.cloud.now()
        job.update_time = job.end_time
        if message:
            job.error = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=message)


def _replaced(text: str, places: dict[str, str]) -> str:
    for container, here in places.items():
        text = text.replace(container, here)
    return text


def _check(job: api.CustomJob, cloud: Cloud) -> None:
    if not job.display_name or len(job.display_name) > 128:
        raise exceptions.InvalidArgument("display_name must have 1 to 128 characters.")
    for key, value in job.labels.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or len(value) > 63:
            raise exceptions.InvalidArgument(f"Invalid label {key}={value}.")
    pools = job.job_spec.worker_pool_specs
    if not 1 <= len(pools) <= 4 or pools[0].replica_count != 1:
        raise exceptions.InvalidArgument("worker_pool_specs: 1 to 4 pools, the first of 1 replica.")
    for pool in pools:
        machine = pool.machine_spec
        wanted = (machine.accelerator_type.name, machine.accelerator_count)
        if MACHINES.get(machine.machine_type) != wanted:
            raise exceptions.InvalidArgument(
                f"Machine type {machine.machine_type} does not take {wanted[1]} x {wanted[0]}."
            )
        if not pool.container_spec.image_uri or pool.replica_count < 1:
            raise exceptions.InvalidArgument(
                "container_spec.image_uri and replica_count are required."
            )
        disk = pool.disk_spec.boot_disk_type
        if disk and machine.machine_type.startswith(_ON_HYPERDISK) != disk.startswith("hyperdisk"):
            raise exceptions.InvalidArgument(f"{machine.machine_type} does not boot from {disk}.")
        affinity = machine.reservation_affinity
        if affinity.values and affinity.key != "compute.googleapis.com/reservation-name":
            raise exceptions.InvalidArgument(f"Invalid reservation key {affinity.key!r}.")
    scheduling = job.job_spec.scheduling
    if scheduling.max_wait_duration and scheduling.strategy != api.Scheduling.Strategy.FLEX_START:
        raise exceptions.InvalidArgument("max_wait_duration is of the strategy FLEX_START.")
    account = job.job_spec.service_account
    if account and not re.fullmatch(r"[^@/]+@[^@/]+\.gserviceaccount\.com", account):
        raise exceptions.InvalidArgument(f"Invalid service account {account}.")
    uri = job.job_spec.base_output_directory.output_uri_prefix
    bucket = uri.removeprefix("gs://").partition("/")[0]
    if uri and not (uri.startswith("gs://") and (cloud.buckets / bucket).is_dir()):
        raise exceptions.InvalidArgument(f"The bucket of {uri} does not exist.")


def _kill(process: Any) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
