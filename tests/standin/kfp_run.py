"""A run of the KFP host's stand-in, really executed: kfp.local runs its steps on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunepipe.runs.kfp_process import typed
from tunepipe.stores.failures import FILE, Failure

_REPOSITORY = Path(__file__).parents[2]


class Execution:
    """The process of one run, and what it tells about its steps."""

    def __init__(self, folder: Path, run: str, spec: dict[str, Any], given: dict[str, Any]) -> None:
        self.folder, self.root = folder, folder / "artifacts"
        folder.mkdir(parents=True)
        job = {
            "spec": spec,
            "parameters": {name: typed(spec, name, value) for name, value in given.items()},
            "root": str(self.root),
            "buckets": "",
            "faults": {},
            "placeholders": {"{{$.pipeline_job_name}}": run},
        }
        (folder / "job.json").write_text(json.dumps(job))
        with (folder / "log.txt").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.standin.run_job", str(folder)],
                stdout=log,
                stderr=log,
                cwd=_REPOSITORY,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
            )

    def describe(self) -> dict[str, Any]:
        """The run's state and its steps, as the API server tells them."""
        over = self.process.poll() is not None
        events = self.folder / "events.jsonl"
        steps: dict[str, Any] = {}
        for line in events.read_text().splitlines() if events.is_file() else ():
            event = json.loads(line)
            step = steps.setdefault(event["task"], {"display_name": event["task"]})
            step["state"] = event["state"]
            step.setdefault("start_time", _time(event["at"]))
            step["pod_name"] = f"pod-{event['task']}"
            if event["state"] == "FAILED":
                step["error"] = {"code": 2, "message": self._message(event["task"])}
        outcome = self.folder / "outcome.json"
        failed = over and (not outcome.is_file() or json.loads(outcome.read_text())["error"])
        state = "FAILED" if failed else "SUCCEEDED" if over else "RUNNING"
        return {"state": state, "run_details": {"task_details": list(steps.values())}}

    def _message(self, step: str) -> str:
        """What Argo says of a failed pod: with the text that the step left for Kubernetes."""
        for file in self.root.glob(f"*/{step}/{FILE}"):
            return f"Error (exit code 1): {Failure(**json.loads(file.read_text())).message()}"
        return "Error (exit code 1)"

    def stop(self) -> None:
        """End the run, with what it has started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
