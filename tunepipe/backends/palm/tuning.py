"""Tuning PaLM models through Google's template tune-large-model, as a child PipelineJob.

Google refused new tunings of these models from 2024-10-09 and shut them down on 2025-04-09. The
backend submits and follows as it did before; what Google answers today is for Google to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from tunepipe.backends.base import TuningRequest, TuningResult
from tunepipe.backends.palm.parameters import family, template_parameters, template_uri
from tunepipe.catalog.tables import load
from tunepipe.data.fingerprint import digest_of
from tunepipe.errors import DataError, UsageError, plural
from tunepipe.gcp import clients, launcher, pipeline_jobs
from tunepipe.gcp.explanations import explained
from tunepipe.gcp.labels import KEY_CHARACTERS, KEY_LABEL, run_labels
from tunepipe.gcp.launcher import StepOptions
from tunepipe.gcp.pipeline_jobs import PIPELINE_JOBS, PipelineJobs
from tunepipe.gcp.retries import retry
from tunepipe.planning.costs import Work, estimate
from tunepipe.progress import Progress
from tunepipe.stores import storage
from tunepipe.stores.claims import Waiters, run_of_step
from tunepipe.stores.generations import fingerprint_of

_OUR_OPTIONS = ("template_version", "pipeline_root", "service_account", "network")
TUNER = "large-language-model-tuner"  # the template's task that holds the accelerators


def tune(request: TuningRequest, output_dir: str, progress: Progress) -> TuningResult:
    """Tune a PaLM model; a call that was killed continues with the job that it had started.

    Args:
        request: `options` holds the template's own parameters by name, such as location,
            encryption_spec_key_name or tensorboard_resource_id, and tunepipe's: template_version,
            pipeline_root (where the rows are), service_account, network, and those of
            `StepOptions`.

    Returns:
        The model's and its endpoint's resource names, read from the job's own run.
    """
    step, _ = StepOptions.split(request.options)
    resources = step.resources(output_dir)
    parent = clients.parent(request.project, request.region)
    root = str(request.options.get("pipeline_root") or request.train_uri.rpartition("/")[0])
    waiters = Waiters(root, run_of_step(parent, resources))
    # A restarted step stays with its job before it reads anything else.
    name = launcher.resume(PIPELINE_JOBS, resources, step, progress, waiters)
    if not name:
        job = child_job(request, check_with_rows(request))
        jobs = TemplateJobs(job, parent, KEY_LABEL)
        waiters = replace(waiters, key=str(job["labels"][KEY_LABEL]))
        name = launcher.launch(jobs, resources, step, progress, waiters)
    with explained(name):
        ended = retry(lambda: pipeline_jobs.get(name), seconds=step.patience_seconds)
        result = _result(ended, request)
    base = base_model_resource(request.base_model, request.project, request.region)
    return replace(result, base=base)


def check_with_rows(request: TuningRequest) -> dict[str, Any]:
    """Check a request, its rows included, and return the parameters to send to the template."""
    values = _parameters(request)
    parameters = template_parameters(values, region=request.region)
    _check_rows(request, values.get("evaluation_data_uri", ""))
    return parameters


def check_request(request: TuningRequest, row_format: str = "") -> None:
    """Check what a user may set, before there is a dataset to tune on; its rows are not read."""
    values = _parameters(request)
    template_parameters(values, region=request.region)
    template_uri(values["large_model_reference"], request.options.get("template_version", ""))


def cancel(job: str) -> None:
    """Cancel a child job by its resource name; no error if it has ended already."""
    with explained(job):
        PIPELINE_JOBS.cancel(job)


def child_job(request: TuningRequest, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Write the PipelineJob that runs the template, as CreatePipelineJob takes it."""
    options = request.options
    root = options.get("pipeline_root") or request.train_uri.rpartition("/")[0]
    if not storage.is_gcs(root):
        raise UsageError("must be a gs:// URI", where="pipeline_root", fix="name a folder to use")
    uri = template_uri(request.base_model, options.get("template_version", ""))
    key = request.labels.get(KEY_LABEL) or _key(request, parameters, uri)
    job = {
        "display_name": request.display_name[:128],
        "template_uri": uri,
        "runtime_config": {"gcs_output_directory": root, "parameter_values": dict(parameters)},
        "labels": {**run_labels(), **request.labels, KEY_LABEL: key},
        "service_account": options.get("service_account", ""),
        "network": options.get("network", ""),
    }
    if parameters.get("encryption_spec_key_name"):
        job["encryption_spec"] = {"kms_key_name": parameters["encryption_spec_key_name"]}
    return {name: value for name, value in job.items() if value}


class TemplateJobs(PipelineJobs):
    """Child jobs that run the template."""

    def result_exists(self, job: Any) -> bool:
        """Return True unless the endpoint that a job names was deleted since."""
        outputs = pipeline_jobs.outputs(pipeline_jobs.get(job.name))
        endpoint = outputs.get("endpoint_resource_name", "")
        return not endpoint or clients.find_endpoint(endpoint) is not None


def _parameters(request: TuningRequest) -> dict[str, Any]:
    _, options = StepOptions.split(request.options)
    own = {name: value for name, value in options.items() if name not in _OUR_OPTIONS}
    model = request.base_model or "text-bison@001"
    takes_evaluation = request.eval_uri and family(model) != "chat"
    held_out = {"evaluation_data_uri": request.eval_uri} if takes_evaluation else {}
    return {
        "project": request.project,
        "model_display_name": request.display_name,
        "large_model_reference": model,
        "dataset_uri": request.train_uri,
        "train_steps": request.train_steps,
        "learning_rate_multiplier": request.learning_rate_multiplier,
        **held_out,
        **own,
    }


def _check_rows(request: TuningRequest, eval_uri: str) -> None:
    limits = load("backends/palm/parameters.toml")["rows"]
    rows = _count_rows(request.train_uri, limits["train_min"])
    if rows < limits["train_min"]:
        raise DataError(
            f"{plural(rows, 'row')} to learn from; the template wants {limits['train_min']}",
            where=request.train_uri,
            fix="add rows",
        )
    rows = _count_rows(eval_uri, limits["eval_max"] + 1) if eval_uri else limits["eval_min"]
    if not limits["eval_min"] <= rows <= limits["eval_max"]:
        over = "more" if rows > limits["eval_max"] else str(rows)
        raise DataError(
            f"the template evaluates on {limits['eval_min']} to {limits['eval_max']} rows,"
            f" these are {over}",
            where=eval_uri,
            fix=f"hold out fewer: --eval-min {limits['eval_min']} --eval-max {limits['eval_max']}",
        )


def _count_rows(uri: str, enough: int) -> int:
    with storage.open_file(uri) as file:
        return sum(1 for _ in islice((line for line in file if line.strip()), enough))


def _key(request: TuningRequest, parameters: Mapping[str, Any], uri: str) -> str:
    """Identify a request by what it tunes on, and how; not by names, nor by where the rows are."""
    names = ("dataset_uri", "evaluation_data_uri")
    rows = [fingerprint_of(parameters[name]) for name in names if parameters.get(name)]
    unlike = (*names, "model_display_name")
    how = {name: value for name, value in parameters.items() if name not in unlike}
    return digest_of([uri, rows, how, str(request.options.get("again", ""))], KEY_CHARACTERS)


def _result(job: Any, request: TuningRequest) -> TuningResult:
    outputs = pipeline_jobs.outputs(job)
    model = str(outputs.get("model_resource_name", ""))
    endpoint = str(outputs.get("endpoint_resource_name", ""))
    if not (model and endpoint):
        raise UsageError(
            "the template named no model and no endpoint",
            where=job.name,
            fix="check template_version: its outputs are model_resource_name and"
            " endpoint_resource_name",
        )
    statistics = {
        "job": job.name,
        "template": job.template_uri,
        "train_steps": request.train_steps,
        "batch_size": request.batch_size,
        "seconds": round((job.end_time - job.create_time).total_seconds(), 1),
    }
    cost = None
    for task in job.job_detail.task_details:
        if task.task_name == TUNER and task.end_time:
            held_seconds = (task.end_time - task.start_time).total_seconds()
            # The service had the weights in its cache.
            seconds = 0.0 if clients.state_of(task) == "SKIPPED" else held_seconds
            statistics["accelerator_seconds"] = round(seconds, 1)
            cost = _cost_usd(request, seconds) if seconds else 0.0
    return TuningResult(model, endpoint, statistics, cost)


def _cost_usd(request: TuningRequest, seconds: float) -> float | None:
    catalog, steps = request.catalog, request.train_steps
    model = catalog.find_model(request.base_model, "large-model")
    work = Work(model, request.region, steps, hours=seconds / 3600, catalog=catalog)
    return estimate(work).cost_usd


def base_model_resource(model: str, project: str, region: str) -> str:
    """Return a base model's resource name, which is all that `predict` needs."""
    return f"{clients.parent(project, region)}/publishers/google/models/{model}"
