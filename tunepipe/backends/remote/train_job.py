"""One training on several nodes of a cluster: a TrainJob of Kubeflow Trainer (v2).

The step that tunes is a pod of the pipeline. It writes rows and task into an object store, creates
the job through the API of Kubernetes, follows it, and reads the model from the store. The nodes run
`remote.worker`. A job's name follows from the work, so that no work has two jobs.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tunepipe.backends.base import TuningRequest, TuningResult
from tunepipe.backends.local.options import TrainJobOptions, device_environment
from tunepipe.backends.remote.exchange import (
    RESULT,
    read_error,
    read_progress,
    request_fields,
    write_task,
)
from tunepipe.errors import UsageError
from tunepipe.gcp import launcher
from tunepipe.gcp.explanations import RefusedError
from tunepipe.gcp.labels import KEY_LABEL
from tunepipe.gcp.launcher import StepOptions
from tunepipe.gcp.remote_jobs import JobState, RemoteJobs, Status, WaitingError
from tunepipe.progress import Progress
from tunepipe.stores import storage

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
_CALL_SECONDS = 20.0
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_KEY_CHARACTERS = 16


def tune(
    request: TuningRequest,
    options: TrainJobOptions,
    identity: str,
    output_dir: str,
    progress: Progress,
) -> TuningResult:
    """Tune a base model by a TrainJob; a call that was killed continues with the job it started.

    Args:
        request: What to tune; `options` are those of the trainer on the nodes.
        identity: A digest of the work.
    """
    key = identity[:_KEY_CHARACTERS]
    folder = f"{options.work_uri.rstrip('/')}/{key}"
    resources = os.path.join(output_dir, "gcp_resources")
    namespace = options.namespace
    if not namespace and _NAMESPACE.exists():
        namespace = _NAMESPACE.read_text(encoding="utf-8").strip()
    if not namespace:
        raise UsageError(
            "this is no pod of a cluster, so its namespace is not known",
            where="train_job.namespace",
            fix="name it",
        )
    if not storage.exists(f"{folder}/{RESULT}"):
        for name in ("train", "eval"):
            if path := getattr(request, f"{name}_uri"):
                storage.write_new(Path(path).read_bytes(), f"{folder}/{name}.jsonl")
        rows = {
            f"{name}_uri": getattr(request, f"{name}_uri") and f"{folder}/{name}.jsonl"
            for name in ("train", "eval")
        }
        task = {
            "kind": "tune",
            "request": {**request_fields(request), **rows},
            "options": request.options,
            "copy_seconds": options.poll_seconds,
        }
        service = TrainJobs(namespace, key, write_task(task, folder), options)
        launcher.launch(
            service, resources, StepOptions(poll_seconds=options.poll_seconds), progress
        )
    result = json.loads(storage.read_bytes(f"{folder}/{RESULT}"))
    with storage.local_folder(f"{folder}/{result['model']}") as model:
        storage.copy_folder(model, output_dir)
    job = TrainJobs(namespace, key, "", options).find()
    statistics = {**result["statistics"], "job": job, "nodes": options.nodes}
    return TuningResult(output_dir, statistics=statistics, base=statistics["base_model"])


@dataclass
class TrainJobs(RemoteJobs):
    """The TrainJobs of one piece of work.

    Args:
        key: The value of their label, and a part of their names.
        task: The URI of the task, in the work's folder.
    """

    namespace: str
    key: str
    task: str
    options: TrainJobOptions
    in_doubt: bool = False
    attempts: int = 0
    kind = "TrainJob"

    def find(self) -> str:
        """Return a job that runs or has succeeded; "" if there is none."""
        jobs = self._jobs()
        # After the last, and not by their count: a job before it may have been deleted.
        numbers = [int(job["metadata"]["name"].rpartition("-")[2]) for job in jobs]
        self.attempts = max(numbers, default=0)
        for job in jobs:
            if job["metadata"].get("deletionTimestamp"):
                raise WaitingError("an equal job is being deleted", where=self.kind)
            if _status(job).state in (JobState.RUNNING, JobState.SUCCEEDED):
                return str(job["metadata"]["name"])
        return ""

    def create(self) -> str:
        """Create the job after those that find() saw; a WaitingError where another was quicker.

        Looking again here would see the job of a step that was quicker, and add one to it.
        """
        name = f"tunepipe-{self.key}-{self.attempts + 1}"
        self.in_doubt = True
        try:
            self._call("create_namespaced_custom_object", body=self.body(name))
        except RefusedError as error:
            self.in_doubt = error.code >= 500
            if error.code == 409:
                raise WaitingError("an equal job was just created", where=name) from None
            raise
        self.in_doubt = False
        return name

    def status(self, name: str) -> Status:
        """Look at a job."""
        try:
            status = _status(self._call("get_namespaced_custom_object", name=name))
        except RefusedError as error:
            if error.code == 404 and name in error.found:  # and not the kind of its resource
                return Status(JobState.CANCELLED)
            raise
        folder = self.task.rpartition("/")[0]
        if status.state is JobState.RUNNING:
            return replace(status, detail=read_progress(folder))
        if status.state is JobState.FAILED and status.created:
            return replace(status, error=read_error(name, status.created, folder))
        return status

    def cancel(self, name: str) -> None:
        """Delete a job with its pods; no error if it is gone already."""
        try:
            self._call(
                "delete_namespaced_custom_object", name=name, propagation_policy="Foreground"
            )
        except RefusedError as error:
            if error.code != 404:
                raise

    def body(self, name: str) -> dict[str, Any]:
        """Compose what the API of Kubernetes takes."""
        options = self.options
        secrets = [
            {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
            for secret, keys in options.secrets.items()
            for variable, key in keys.items()
        ]
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "TrainJob",
            "metadata": {"name": name, "labels": {KEY_LABEL: self.key}},
            "spec": {
                "runtimeRef": {
                    "apiGroup": GROUP,
                    "kind": "ClusterTrainingRuntime",
                    "name": options.runtime,
                },
                "trainer": {
                    "image": options.image,
                    "command": ["python3", "-m", "tunepipe.backends.remote.worker"],
                    "args": [self.task],
                    "env": [
                        {"name": "HF_HUB_DISABLE_TELEMETRY", "value": "1"},
                        *device_environment(options.resources),
                        *secrets,
                    ],
                    "numNodes": options.nodes,
                    # The worker starts one process a GPU itself, through accelerate.
                    "numProcPerNode": 1,
                    "resourcesPerNode": {
                        kind: {name: str(value) for name, value in options.resources.items()}
                        for kind in ("limits", "requests")
                    },
                },
            },
        }

    def _jobs(self) -> list[dict[str, Any]]:
        answer = self._call(
            "list_namespaced_custom_object", label_selector=f"{KEY_LABEL}={self.key}"
        )
        jobs: list[dict[str, Any]] = answer["items"]
        return jobs

    def _call(self, method: str, **arguments: Any) -> Any:
        """Call the cluster's API; an error that it may recover from says so by its `code`."""
        from kubernetes.client import ApiException
        from kubernetes.config import ConfigException
        from urllib3.exceptions import HTTPError

        place = {"group": GROUP, "version": VERSION, "plural": PLURAL, "namespace": self.namespace}
        where = f"{self.namespace}/{PLURAL}"
        try:
            call = getattr(_api(), method)
            return call(**place, **arguments, _request_timeout=_CALL_SECONDS)
        except ApiException as error:
            try:
                words = json.loads(error.body or "{}").get("message")
            except (ValueError, AttributeError):  # a proxy's answer: a page, or a text
                words = None
            raise RefusedError(
                str(words or error.reason),
                where=where,
                code=int(error.status or 503),
                fix=_FIXES.get(error.status, ""),
            ) from None
        except HTTPError as error:
            raise RefusedError(
                f"the cluster's API cannot be reached: {error}", where=where, code=503
            ) from None
        except ConfigException as error:
            raise UsageError(
                f"no cluster is configured: {error}",
                where="train_job",
                fix="run in a cluster, or set KUBECONFIG",
            ) from None


_FIXES = {
    403: "let the service account of the step create, get, list and delete trainjobs",
    404: "install Kubeflow Trainer v2 in the cluster, and check the namespace",
}


def _status(job: Any) -> Status:
    conditions = job.get("status", {}).get("conditions", ())
    messages = {c["type"]: c.get("message", "") for c in conditions if c["status"] == "True"}
    if "Complete" in messages:
        return Status(JobState.SUCCEEDED)
    created = datetime.fromisoformat(job["metadata"]["creationTimestamp"])
    if "Failed" in messages:
        return Status(JobState.FAILED, messages["Failed"] or "the job failed", created=created)
    detail = "suspended" if "Suspended" in messages else ""
    return Status(JobState.RUNNING, detail=detail, created=created)


def _api() -> Any:
    from kubernetes import client, config

    try:
        config.load_incluster_config()
    except config.ConfigException:
        config.load_kube_config(os.environ.get("KUBECONFIG"))  # as it is now, not at the import
    return client.CustomObjectsApi()
