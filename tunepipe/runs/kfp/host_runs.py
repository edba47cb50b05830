"""Runs on a KFP host: submit, look, cancel, list, and read their steps' logs.

What the host refuses, or a host that cannot be reached, becomes a CloudError.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from tunepipe.errors import CloudError, TunepipeError, UsageError
from tunepipe.registry import records
from tunepipe.runs.kfp.host import KfpHost, pages, pipeline_file, pipeline_name
from tunepipe.runs.kfp.request import HostRequest
from tunepipe.runs.status import RunStatus, StepStatus
from tunepipe.stores.failures import failure_of

_DRIVERS = ("-driver", "root")  # KFP's own tasks next to each step's
_STATES = {"skipped": "not wanted", "canceling": "cancelling", "canceled": "cancelled"}


def submit(host: KfpHost, request: HostRequest, name: str) -> str:
    """Upload the pipeline, if the host lacks this version of it, and start a run; return its id."""
    with host.client() as client, pipeline_file(request.text) as path:
        pipeline, version = _uploaded(client, host, request, path)
        run = client.run_pipeline(
            **host.settings_of_run(client),
            job_name=name,
            pipeline_id=pipeline,
            version_id=version,
            params=dict(request.parameters),
        )
    return host.id_of(run, "run_id")


def _uploaded(client: Any, host: KfpHost, request: HostRequest, path: str) -> tuple[str, str]:
    """Return the ids of the pipeline and of this version of it, uploaded if they are missing."""
    name, version = request.pipeline, f"{request.pipeline}-{request.version}"
    pipelines = pages(client.list_pipelines, "pipelines", namespace=host.namespace)
    pipeline = next((each for each in pipelines if each.display_name == name), None)
    # The upload makes a first version named as the pipeline; a second one has its own name.
    pipeline = pipeline or client.upload_pipeline(path, name, namespace=host.namespace)
    place = {"pipeline_id": host.id_of(pipeline, "pipeline_id")}
    versions = pages(client.list_pipeline_versions, "pipeline_versions", **place)
    present = next((each for each in versions if each.display_name == version), None)
    present = present or client.upload_pipeline_version(path, version, **place)
    return place["pipeline_id"], host.id_of(present, "pipeline_version_id")


def status(host: KfpHost, run_id: str) -> RunStatus:
    """Look at a run."""
    return _status(host, _get(host, run_id))


def cancel(host: KfpHost, run_id: str) -> RunStatus:
    """End a run: its pods get SIGTERM. One that has ended stays as it is."""
    run = status(host, run_id)
    if run.over:
        return run
    with host.client() as client:
        client.terminate_run(run.name)
    return status(host, run_id)


def list_runs(host: KfpHost, limit: int) -> list[Any]:
    """Return the newest runs of tunepipe's pipelines."""
    order = {"sort_by": "created_at desc", "namespace": host.namespace}
    with host.client() as client:
        return list(islice(filter(backend_of, pages(client.list_runs, "runs", **order)), limit))


def backend_of(run: Any) -> str:
    """Return the backend of a run of tunepipe; "" for a run of another pipeline."""
    name = str(run.display_name or "")
    return "local" if name.startswith("tunepipe-") or pipeline_name(run) else ""


def logs(host: KfpHost, run_id: str, step: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and the log of each step that has begun and whose name contains `step`."""
    run = _get(host, run_id)
    steps = [task for task in _steps(run) if step in task.display_name and _pod(task)]
    if not steps:
        names = ", ".join(task.display_name for task in _steps(run)) or "no step yet"
        raise UsageError("the run has no log of this step", where=step or run_id, fix=names)
    with host.client() as client:
        for task in steps:
            answer = client._run_api.api_client.call_api(
                "/apis/v1alpha1/runs/{run}/nodes/{node}/log",
                "GET",
                path_params={"run": run.run_id, "node": _pod(task)},
                auth_settings=["Bearer"],
                response_type="str",
                _return_http_data_only=True,
            )
            yield str(task.display_name), str(answer)


def _get(host: KfpHost, run_id: str) -> Any:
    try:
        with host.client() as client:
            return client.get_run(run_id)
    except CloudError as error:
        if getattr(error.__cause__, "status", 0) == 404:
            raise UsageError(
                "the KFP host has no run of this id",
                where=f"{host.url}: {run_id}",
                fix=f"tunepipe runs {host.options}",
            ) from error
        raise


def _status(host: KfpHost, run: Any) -> RunStatus:
    state = str(run.state or "PENDING").lower()
    parameters = dict((run.runtime_config and run.runtime_config.parameters) or {})
    outcome = None
    with suppress(TunepipeError):  # the store of the cluster may not be reached from here
        outcome = records.read_outcome(
            str(parameters.get("registry", "")), str(parameters.get("run_id", ""))
        )
    results = {"report": outcome.report} if outcome and outcome.report else {}
    tasks = tuple(_task(task) for task in _steps(run))
    failed = [
        (task, failure_of(task.error, task.name))
        for task in tasks
        if state == task.state == "failed" and task.error
    ]
    errors = [f"{task.name}: {words.found if words else task.error}" for task, words in failed]
    error = "; ".join(errors) or str((run.error and run.error.message) or "")
    return RunStatus(
        name=str(run.run_id),
        state=_STATES.get(state, state),
        page=host.page(run.run_id),
        tasks=tasks,
        verdict=outcome.verdict if outcome else "",
        model=outcome.model if outcome else "",
        error=error if state == "failed" else "",
        failure=next((words for _, words in failed if words), None),
        results=results,
    )


def _steps(run: Any) -> list[Any]:
    details = (run.run_details and run.run_details.task_details) or ()
    steps = [task for task in details if not str(task.display_name or "root").endswith(_DRIVERS)]
    return sorted(steps, key=lambda task: str(task.start_time or task.create_time or ""))


def _task(task: Any) -> StepStatus:
    state = str(task.state or "PENDING").lower()
    message = str(task.error.message or "") if task.error else ""
    return StepStatus(str(task.display_name), _STATES.get(state, state), message)


def _pod(task: Any) -> str:
    children = [child.pod_name for child in task.child_tasks or () if child.pod_name]
    return str(task.pod_name or (children[-1] if children else ""))
