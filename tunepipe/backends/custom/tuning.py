"""Tuning by TRL on accelerators in the user's project: one CustomJob a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from msgspec import structs, to_builtins

from tunepipe.backends.base import TuningRequest, TuningResult
from tunepipe.backends.custom.jobs import CUSTOM_JOBS, custom_jobs, folder_of
from tunepipe.backends.custom.options import CustomOptions, disk_gib_for, read_options
from tunepipe.backends.local.options import LocalOptions
from tunepipe.backends.remote.exchange import RESULT, request_fields, write_task
from tunepipe.catalog.accelerators import Machine, find_machine
from tunepipe.data.fingerprint import digest_of
from tunepipe.errors import CloudError, UsageError
from tunepipe.gcp import clients, launcher
from tunepipe.gcp.explanations import explained
from tunepipe.gcp.labels import KEY_CHARACTERS, KEY_LABEL, run_labels
from tunepipe.gcp.launcher import StepOptions
from tunepipe.gcp.retries import retry
from tunepipe.progress import Progress
from tunepipe.stores import storage
from tunepipe.stores.claims import Waiters, run_of_step
from tunepipe.stores.generations import identity


def tune(request: TuningRequest, output_dir: str, progress: Progress) -> TuningResult:
    """Tune a base model by a custom job; a call that was killed continues with the job it started.

    Args:
        request: `base_model` is a hub id, with or without @REVISION, a gs:// folder in Hugging
            Face layout, or a model of Model Garden (publishers/…); the rows are on gs://;
            `options` are those of `CustomOptions` and of the launcher.

    Returns:
        The gs:// folder of the model, the statistics of the local backend with the job, its
        machine, hours and dollars, and the price of the job.
    """
    options = read_options(request.options)
    if not storage.is_gcs(request.train_uri):
        raise UsageError(
            "a custom job reads its rows from Cloud Storage",
            where=request.train_uri,
            fix="put them on gs://",
        )
    if not request.base_model:
        raise UsageError(
            "no base model is named", where="base_model", fix="a hub id, or a gs:// folder"
        )
    if not options.code:
        raise UsageError(
            "the job's containers need the code of tunepipe",
            where="option code",
            fix="submit the pipeline by tunepipe run, which uploads it; or take an image that "
            'holds tunepipe[local], with code="image"',
        )
    machine = find_machine(options.accelerator, request.catalog)
    step, _ = StepOptions.split(request.options)
    resources = step.resources(output_dir)
    parent = clients.parent(request.project, request.region)
    waiters = Waiters(request.train_uri, run_of_step(parent, resources))
    # A restarted step stays with its job before it reads anything else.
    name = launcher.resume(CUSTOM_JOBS, resources, step, progress, waiters)
    if request.base_model.startswith("publishers/"):
        weights = _weights_in_model_garden(request.base_model, request.region)
        request = replace(request, base_model=weights)
    names = LocalOptions.__struct_fields__  # those that the trainer in the job takes
    training = {name: value for name, value in request.options.items() if name in names}
    key = _key(request, options, training, step.again)
    if not name:
        bucket = storage.parse(request.train_uri).bucket
        task: dict[str, Any] = {
            "kind": "tune",
            "request": request_fields(request),
            "options": training,
            "copy_seconds": step.poll_seconds,
            "job": {
                "parent": parent,
                "options": to_builtins(options),
                "step": to_builtins(structs.replace(step, resources_path="", again="")),
                "machine": machine.spec(),
                "disk_gib": disk_gib_for(options, request.base_model),
            },
        }
        service = custom_jobs(
            task["job"],
            write_task(task, f"gs://{bucket}/tunepipe/custom/{key}"),
            key,
            labels={**run_labels(), **request.labels, KEY_LABEL: key},
            display_name=request.display_name or "tunepipe",
        )
        waiters = replace(waiters, key=key)
        name = launcher.launch(service, resources, step, progress, waiters)
    with explained(name):
        job = retry(lambda: CUSTOM_JOBS.get(name), seconds=step.patience_seconds)
    return _result(job, request, options, machine)


def cancel(job: str) -> None:
    """Cancel a custom job by its resource name; no error if it has ended already."""
    with explained(job):
        CUSTOM_JOBS.cancel(job)


def check_request(request: TuningRequest, row_format: str = "") -> Machine:
    """Check what a user may set, before there is a dataset to tune on; return the machine."""
    return find_machine(read_options(request.options).accelerator, request.catalog)


def _weights_in_model_garden(name: str, region: str) -> str:
    """Return the gs:// folder of a publisher's model, publishers/PUBLISHER/models/MODEL@VERSION."""
    from google.cloud import aiplatform_v1 as api

    view = api.PublisherModelView.PUBLISHER_MODEL_VIEW_FULL
    with explained(name):
        model = clients.model_garden(region).get_publisher_model(
            request={"name": name, "view": view}, timeout=clients.CALL_SECONDS
        )
    deploy = model.supported_actions.deploy
    uri = str(deploy.public_artifact_uri or deploy.artifact_uri)
    if not uri.startswith("gs://"):
        raise UsageError(
            "Model Garden names no folder with the weights of this model",
            where=f"base_model {name}",
            fix="name its hub id, or copy the weights into a bucket and name the gs:// folder",
        )
    return uri.rstrip("/")


def _key(
    request: TuningRequest, options: CustomOptions, training: Mapping[str, Any], again: str | int
) -> str:
    """Identify a request by what it tunes on, and how; not by where the rows are."""
    parts = request_fields(request) | {
        "train_uri": identity(request.train_uri).fingerprint,
        "eval_uri": request.eval_uri and identity(request.eval_uri).fingerprint,
        "options": dict(training),
        "where": [options.accelerator, options.machines, request.region, request.project],
        "again": again,
    }
    return digest_of(parts, KEY_CHARACTERS)


def _result(
    job: Any, request: TuningRequest, options: CustomOptions, machine: Machine
) -> TuningResult:
    folder = folder_of(job)
    if not storage.exists(f"{folder}/{RESULT}"):
        raise CloudError(
            "the job succeeded and left no result",
            where=job.name,
            fix="read the job's log; another run tunes again",
        )
    result = json.loads(storage.read_bytes(f"{folder}/{RESULT}"))
    hours, cost = job_cost(job, options, machine, request.region)
    statistics = {
        **result["statistics"],
        "job": job.name,
        "machine_type": machine.machine_type,
        "accelerator": f"{machine.accelerator}:{machine.count}",
        "machines": options.machines,
        "provisioning": options.provisioning,
        "job_hours": hours,
    }
    return TuningResult(
        f"{folder}/{result['model']}",
        statistics=statistics,
        cost_usd=cost,
        base=f"{folder}/base",  # stands for the model before tuning
    )


def job_cost(
    job: Any, options: CustomOptions, machine: Machine, region: str
) -> tuple[float, float | None]:
    """Return the hours that a job had its machines, and their price if it is known.

    Spot and flex-start cost less than the list price, which is then an upper bound.
    """
    duration = job.end_time - (job.start_time or job.create_time)
    hours = round(duration.total_seconds() / 3600, 4)
    price = options.usd_per_hour or machine.usd_per_hour(region)
    return hours, None if price is None else round(hours * price * options.machines, 2)
