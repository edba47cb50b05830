"""The API of Kubernetes for TrainJobs of Kubeflow Trainer, which really runs their nodes.

A job is taken in by the types that Kubeflow generates of its resources, and a field that they do
not have is refused, as the API server refuses it. Each node is a process with what the torch
runtime sets; the container is this environment.
"""

from __future__ import annotations

import json
import os
import re
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubeflow_trainer_api import models

from .ports import free_port
from .warm import WarmProcess, shared, warm_python

_ROOT = re.compile(r"/apis/trainer\.kubeflow\.org/v1alpha1/namespaces/([^/]+)/trainjobs(?:/(.+))?")
_REPOSITORY = Path(__file__).parents[2]


class Cluster:
    """A cluster with one namespace; `faults` are statuses that the next creations end in."""

    def __init__(self, folder: Path, namespace: str = "team") -> None:
        self.namespace, self.folder, self.warm = namespace, folder, shared(folder)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, list[WarmProcess]] = {}
        self.faults: list[int] = []
        self.looks = 0  # at one job
        self.created: list[str] = []
        self.deleted: list[str] = []
        self.lock = threading.RLock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def kubeconfig(self) -> str:
        """Write a file that the client finds the cluster by."""
        address = f"http://127.0.0.1:{self.server.server_port}"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": address}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        file = self.folder / "kubeconfig"
        file.write_text(json.dumps(content))
        return str(file)

    def stop(self) -> None:
        for name in list(self.processes):
            self._kill(name)
        self.server.shutdown()
        self.server.server_close()

    def evict(self) -> None:
        """Take every node away: their jobs fail, as those of a runtime without restarts."""
        for name in list(self.processes):
            self._kill(name)

    def logs(self) -> str:
        return "".join(file.read_text() for file in sorted(self.folder.glob("*.log")))

    def answer(self, verb: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        match = _ROOT.fullmatch(path)
        if not match or match[1] != self.namespace:
            return _refusal(404, "the server could not find the requested resource")
        with self.lock:
            if verb == "POST":
                return self._create(body)
            if match[2] is None:
                key, _, value = query.get("labelSelector", "").partition("=")
                jobs = [
                    job for job in self.jobs.values()
                    if not key or job["metadata"]["labels"].get(key) == value
                ]  # fmt: skip
                return 200, {"kind": "TrainJobList", "items": jobs}
            if match[2] not in self.jobs:
                return _refusal(404, f'trainjobs.trainer.kubeflow.org "{match[2]}" not found')
            if verb == "DELETE":
                self.deleted.append(match[2])
                self._kill(match[2])
                return 200, self.jobs.pop(match[2])
            self.looks += 1
            return 200, self.jobs[match[2]]

    def _create(self, job: Any) -> tuple[int, Any]:
        status = self.faults.pop(0) if self.faults else 0
        if 0 < status < 500:
            return _refusal(status, "refused")
        name = job["metadata"]["name"]
        try:
            parsed = models.TrainerV1alpha1TrainJob.from_dict(job)
        except ValueError as error:
            return _refusal(422, f"TrainJob is invalid: {error}")
        if parsed is None or _plain(parsed.to_dict()) != _plain(job):
            return _refusal(422, "TrainJob is invalid: a field is unknown")
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name):
            return _refusal(422, f"metadata.name: Invalid value: {name!r}")
        if job["spec"]["runtimeRef"]["name"] != "torch-distributed":
            return _refusal(422, "spec.runtimeRef: no such ClusterTrainingRuntime")
        if name in self.jobs:
            return _refusal(409, f'trainjobs "{name}" already exists')
        job["metadata"]["creationTimestamp"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        self.jobs[name] = job
        self.created.append(name)
        self._start(job)
        # An answer that is lost on its way: the job is there all the same, and a proxy answers.
        return (status, "the answer was lost") if status else (201, job)

    def _start(self, job: dict[str, Any]) -> None:
        name, trainer = job["metadata"]["name"], job["spec"]["trainer"]
        port = free_port()
        self.processes[name] = []
        for rank in range(trainer["numNodes"]):
            environment = {
                **os.environ,
                **{one["name"]: one["value"] for one in trainer["env"] if "value" in one},
                "TUNEPIPE_DEVICE": "",  # the nodes here have no GPU
                "PET_NNODES": str(trainer["numNodes"]),
                "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
                "PET_NODE_RANK": str(rank),
                "PET_MASTER_ADDR": "127.0.0.1",
                "PET_MASTER_PORT": str(port),
                "PYTHONPATH": str(_REPOSITORY),
                "PYTHON_EXEC": warm_python(self.warm),
                "HF_HUB_OFFLINE": "1",
            }
            assert trainer["command"][:2] == ["python3", "-m"]
            arguments = [*trainer["command"][2:], *trainer["args"]]
            log = self.folder / f"{name}-{rank}.log"
            self.processes[name].append(WarmProcess(self.warm, arguments, environment, log))
        threading.Thread(target=self._await, args=(name, job), daemon=True).start()

    def _await(self, name: str, job: dict[str, Any]) -> None:
        codes = [process.wait() for process in self.processes[name]]
        kind = "Failed" if any(codes) else "Complete"
        message = f"jobset failed, exit codes {codes}" if any(codes) else "jobset completed"
        with self.lock:
            job["status"] = {"conditions": [{"type": kind, "status": "True", "message": message}]}

    def _kill(self, name: str) -> None:
        for process in self.processes.get(name, ()):
            if process.poll() is None:
                process.kill()

    def _handler(cluster) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do(self) -> None:
                url = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"null")
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                status, found = cluster.answer(self.command, url.path, query, body)
                data = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = do

            def log_message(self, *args: Any) -> None: ...

        return Handler


def _refusal(status: int, message: str) -> tuple[int, Any]:
    return status, {"kind": "Status", "status": "Failure", "message": message, "code": status}


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str, sort_keys=True))
