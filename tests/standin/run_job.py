"""One pipeline job in a process of its own: kfp.local runs it, this file tells how far it is.

    python -m tests.standin.run_job JOB_FOLDER

reads job.json (spec, parameters, root, faults), appends task events to events.jsonl and ends with
outcome.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import yaml

from tunepipe.files import write_json
from tunepipe.runs.pipeline_spec import tasks

from .warm import warm_steps

_RESOURCE = "{{$.pipeline_job_resource_name}}"


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    warnings.simplefilter("ignore")
    from kfp import components, local

    events = (folder / "events.jsonl").open("a")

    def tell(**event: Any) -> None:
        events.write(json.dumps({"at": time.time(), **event}, default=str) + "\n")
        events.flush()

    spec = _prepared(job)
    os.environ.update(warm_steps())
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=job["root"])
    _observe(tell, job)
    outputs, error = {}, ""
    try:
        ran = components.load_component_from_text(yaml.safe_dump(spec))(**job["parameters"])
        outputs = dict(ran.outputs) if spec["root"].get("outputDefinitions") else {}
    except Exception as failure:
        error = str(failure)
    outcome = {"outputs": {k: v for k, v in outputs.items() if _plain(v)}, "error": error}
    write_json(outcome, folder / "outcome.json")  # whole, as it is looked for meanwhile


def _prepared(job: dict[str, Any]) -> dict[str, Any]:
    """The spec as this machine can run it: this environment is the image, names are known."""
    text = json.dumps(job["spec"])
    for placeholder, value in job["placeholders"].items():
        text = text.replace(placeholder, value)
    spec: dict[str, Any] = json.loads(text)
    for task in tasks(spec):
        if "retryPolicy" in task:  # repeated as by Google, but at once
            task["retryPolicy"] |= {"backoffDuration": "0s", "backoffMaxDuration": "0s"}
    job["mails"] = []
    for label, executor in spec["deploymentSpec"]["executors"].items():
        command = executor.get("container", {}).get("command", [])
        for variable in executor.get("container", {}).get("env", ()):
            if variable["name"] == "TUNEPIPE_DEVICE":  # there is no GPU here
                variable["value"] = ""
        if "VertexNotificationEmail" in executor.get("container", {}).get("args", ()):
            job["mails"].append(label)
        if len(command) > 3 and "pip install" in command[2]:  # a component that carries its code
            executor["container"]["command"] = command[3:]
    return spec


def _observe(tell: Any, job: dict[str, Any]) -> None:
    from kfp.local import executor_input_utils, status
    from kfp.local.orchestrator import task_executor

    run_task = task_executor.execute_single_task
    # Vertex AI keeps a run's results below ROOT/PROJECT_NUMBER/JOB.
    name = job["placeholders"]["{{$.pipeline_job_name}}"]
    executor_input_utils.get_local_pipeline_resource_name = lambda pipeline: name
    construct = executor_input_utils.construct_executor_input

    def construct_with_gcs_uris(**named: Any) -> Any:
        for told in named["arguments"].values():
            if isinstance(told, dict) and "pipeline_job_resource_name" in told:  # a final status
                told["pipeline_job_resource_name"] = job["placeholders"].get(_RESOURCE, "")
        made = construct(**named)
        if not job["buckets"]:  # a KFP host: the artifacts are where kfp.local puts them
            return made
        for artifacts in made.outputs.artifacts.values():
            for artifact in artifacts.artifacts:
                artifact.uri = "gs://" + artifact.uri.removeprefix(job["buckets"] + "/")
                (Path(job["buckets"]) / artifact.uri.removeprefix("gs://")).parent.mkdir(
                    parents=True, exist_ok=True
                )
        return made

    def observed(task_name: str, *args: Any, **named: Any) -> Any:
        component = named["components"][named["task_spec"].component_ref.name]
        tell(task=task_name, state="RUNNING")
        message = job["faults"].get(task_name)
        if message is not None:
            tell(task=task_name, state="FAILED", error=message)
            return {}, status.Status.FAILURE
        if component.executor_label in job["mails"]:
            _mail(job, named["task_spec"])
            tell(task=task_name, state="SUCCEEDED")
            return {}, status.Status.SUCCESS
        outputs, outcome = run_task(task_name, *args, **named)
        done = outcome is status.Status.SUCCESS
        tell(
            task=task_name,
            state="SUCCEEDED" if done else "FAILED",
            component=component.executor_label,
            outputs={k: v for k, v in outputs.items() if _plain(v)},
            artifacts={k: (v.uri, v.metadata) for k, v in outputs.items() if hasattr(v, "uri")},
            error="" if done else f"The step {task_name} exited with a non-zero status.",
        )
        return outputs, outcome

    task_executor.execute_single_task = observed
    executor_input_utils.construct_executor_input = construct_with_gcs_uris


def _mail(job: dict[str, Any], task: Any) -> None:
    """Note whom Vertex AI would mail; Google's container is not run."""
    recipients = task.inputs.parameters["recipients"].runtime_value.constant.list_value
    told = {"job": job["placeholders"]["{{$.pipeline_job_name}}"], "recipients": list(recipients)}
    with (Path(job["buckets"]).parent / "mails.jsonl").open("a") as file:
        file.write(json.dumps(told) + "\n")


def _plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool, list, dict))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
