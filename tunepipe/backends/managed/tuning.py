"""Tuning through a managed tuning job: what Gemini and open models share."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msgspec import structs

from tunepipe.backends.base import TuningRequest, TuningResult
from tunepipe.backends.managed import jobs as tuning_jobs
from tunepipe.backends.managed.jobs import NamedJobs, TuningJobs
from tunepipe.backends.managed.loss_curves import curves
from tunepipe.backends.managed.outcome import Planned, reconciled
from tunepipe.backends.managed.parameters import TuningJob, check_sizes, decode_options, tuning_job
from tunepipe.backends.managed.parameters import whole_epochs as epochs_of
from tunepipe.backends.managed.rows import Sent, detected, send
from tunepipe.catalog.catalog import Catalog
from tunepipe.catalog.schema import Model
from tunepipe.catalog.tables import load
from tunepipe.errors import CloudError
from tunepipe.gcp import clients, launcher
from tunepipe.gcp.genai import translate_errors
from tunepipe.gcp.labels import KEY_CHARACTERS, KEY_LABEL, run_labels
from tunepipe.gcp.launcher import JobPolling
from tunepipe.gcp.retries import retry
from tunepipe.planning.costs import by_the_token
from tunepipe.progress import Progress
from tunepipe.stores.claims import Claim, Waiters, claim_uri, run_of_step

# Options of tunepipe or of the pipeline, which the job does not get.
_OUR_OPTIONS = frozenset(
    (
        *launcher.POLLING_OPTIONS,
        "lease_seconds",
        "settle_seconds",
        "resources_path",
        "again",
        "network",
    )
)
_LEASE_SECONDS = 90.0
# Ten times the longest that the client waits for the answer to a creation. No document of Google's
# bounds how long a request may still take effect after its caller has given up.
_SETTLE_SECONDS = 600.0
_FIRST_JOB_SECONDS = 30.0


@dataclass(frozen=True)
class Kind:
    """The differences between the two kinds of tuning job.

    Args:
        backend: "gemini" or "open-model".
        formats: The formats that are sent as they are.
        convert_to: Names the format that another one is converted to.
        result_exists: Returns whether what a job has made is still there.
        made: Names the model and its endpoint.
        config: What the kind adds to the job's config.
        base: Names the base model so that `predict` can ask it.
    """

    backend: str
    formats: Callable[[TuningJob], tuple[str, ...]]
    convert_to: Callable[[TuningJob], Callable[[str], str]]
    result_exists: Callable[[Any], bool]
    made: Callable[[Any, Mapping[str, Any]], tuple[str, str]]
    config: Callable[[TuningRequest], dict[str, Any]]
    base: Callable[[TuningRequest], str]


def tune(kind: Kind, request: TuningRequest, output_dir: str, progress: Progress) -> TuningResult:
    """Tune through a managed job; a call that was killed continues with the job it had started.

    Args:
        kind: Which of the two.
        request: `options` holds those of `parameters.JobOptions`, and tunepipe's: resources_path,
            again (any text: a new job even where an equal one has succeeded), poll_seconds,
            patience_seconds, first_job_seconds, pause_seconds, lease_seconds, settle_seconds,
            network (the pipeline's).
        output_dir: Where `gcp_resources`, which names the job, is kept between two attempts.
        progress: Receives each change of the job.

    Raises:
        UsageError, LimitError: What the service would refuse.
        DataError: The rows are too many, or the job has learnt nothing of use.
        CloudError: Google refused, or the job failed.
    """
    polling = JobPolling.from_options({"first_job_seconds": _FIRST_JOB_SECONDS, **request.options})
    resources = request.options.get("resources_path") or os.path.join(output_dir, "gcp_resources")
    parent = clients.parent(request.project, request.region)
    waiters = Waiters(request.train_uri, run_of_step(parent, resources))
    # A restarted step stays with its job before it reads anything else.
    name = _resume(resources, polling, progress, waiters)
    base = kind.base(request)  # it may be refused, and then nothing is paid
    model = request.catalog.find_model(request.base_model, kind.backend)
    wanted = _wanted(request, model, detected(request.train_uri))
    sent = _send(kind, request, wanted)
    train, held_out = sent
    check_sizes(
        request.catalog.find_service(model.name)[1],
        train_rows=train.rows,
        train_bytes=train.bytes,
        eval_rows=held_out.rows,
        eval_bytes=held_out.bytes,
    )
    epochs = epochs_of(request.train_steps, request.batch_size, train.rows)
    wanted = _wanted(request, model, train.format, epochs)
    locations = [wanted.location, *wanted.fallback_locations]
    for location in () if name else locations:
        wanted = replace(wanted, location=location)
        jobs = _jobs(kind, request, wanted, sent)
        waiters = replace(waiters, key=jobs.config["labels"][KEY_LABEL])
        try:
            name = launcher.launch(jobs, resources, polling, progress, waiters)
            break
        except CloudError as error:
            if location == locations[-1] or not _lacks_capacity(error):
                raise
            # Such a job is not billed.
            Path(resources).unlink(missing_ok=True)
            progress({"state": "waiting", "detail": f"no capacity in {location}"})
    with translate_errors(name):
        job = retry(lambda: tuning_jobs.get(name), seconds=polling.patience_seconds)
    return replace(_result(kind, request, wanted, sent, job, model), base=base)


def _resume(resources: str, polling: JobPolling, progress: Progress, waiters: Waiters) -> str:
    """Go on with the job of an earlier attempt; "" if there was none, or it found no capacity."""
    try:
        return launcher.resume(NamedJobs(), resources, polling, progress, waiters)
    except CloudError as error:
        if not _lacks_capacity(error):
            raise
        Path(resources).unlink(missing_ok=True)
        return ""


def _lacks_capacity(error: CloudError) -> bool:
    return "high demand" in error.found.lower()


def check_options(
    backend: str,
    model: str,
    options: Mapping[str, Any],
    *,
    region: str,
    catalog: Catalog,
    learning_rate_multiplier: float = 1.0,
) -> TuningJob:
    """Check what a user may set, before there is a dataset to tune on.

    Raises:
        UsageError, LimitError: What the service would refuse.
    """
    JobPolling.from_options(options)
    _claiming(options)
    found = catalog.find_model(model, backend)
    return tuning_job(
        found,
        _given(options),
        region=region,
        epochs=1,
        learning_rate_multiplier=learning_rate_multiplier,
        catalog=catalog,
    )


def _wanted(request: TuningRequest, model: Model, row_format: str, epochs: int = 1) -> TuningJob:
    return tuning_job(
        model,
        _given(request.options),
        region=request.region,
        epochs=epochs,
        learning_rate_multiplier=request.learning_rate_multiplier,
        row_format=row_format,
        catalog=request.catalog,
    )


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in _OUR_OPTIONS}


def _send(kind: Kind, request: TuningRequest, wanted: TuningJob) -> tuple[Sent, Sent]:
    def one(uri: str) -> Sent:
        return send(uri, kind.formats(wanted), kind.convert_to(wanted))

    return one(request.train_uri), one(request.eval_uri)


def _jobs(
    kind: Kind, request: TuningRequest, wanted: TuningJob, sent: tuple[Sent, Sent]
) -> TuningJobs:
    key = request.labels.get(KEY_LABEL) or _key(request, wanted, sent)
    limit = int(load("backends/managed/parameters.toml")["display_name_characters"])
    config = {
        **wanted.as_config(),
        **kind.config(request),
        "tuned_model_display_name": request.display_name[:limit],
        "labels": {**run_labels(), **request.labels, KEY_LABEL: key},
    }
    lease, settle = _claiming(request.options)
    return TuningJobs(
        project=request.project,
        location=wanted.location,
        base_model=wanted.base_model,
        rows=(sent[0].uri, sent[1].uri),
        config={name: value for name, value in config.items() if value},
        claim=Claim(claim_uri(request.train_uri, key), lease, settle),
        key=key,
        result_exists=kind.result_exists,
        service_account=wanted.service_account,
    )


def _claiming(options: Mapping[str, Any]) -> tuple[float, float]:
    """Read how long a claim holds, and how long an unknown creation may take to show."""
    return (
        launcher.read_seconds(options, "lease_seconds", _LEASE_SECONDS),
        launcher.read_seconds(options, "settle_seconds", _SETTLE_SECONDS),
    )


def _key(request: TuningRequest, wanted: TuningJob, sent: tuple[Sent, Sent]) -> str:
    """Identify a request by what it tunes on, and how; not by where the rows are."""
    rows = [one.fingerprint for one in sent]
    config = {name: value for name, value in wanted.as_config().items() if name != "description"}
    how = [wanted.base_model, wanted.location, config, wanted.service_account]
    asked = [rows, how, request.options.get("output_uri", ""), request.options.get("again", "")]
    text = json.dumps(asked, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_CHARACTERS]


def _result(
    kind: Kind,
    request: TuningRequest,
    wanted: TuningJob,
    sent: tuple[Sent, Sent],
    job: Any,
    model: Model,
) -> TuningResult:
    options = decode_options(_given(request.options), kind.backend)
    planned = Planned(
        rows=sent[0].rows,
        steps=request.train_steps,
        epochs=wanted.epochs,
        dropped_fraction_max=options.dropped_fraction_max,
        steps_min=model.recommended_steps_min,
    )
    lines, unread = curves(job.experiment or "")
    figures = reconciled(tuning_jobs.data_stats(job), lines, planned, where=job.name)
    remarks = [*figures.get("doubts", []), *figures.pop("remarks", []), *filter(None, [unread])]
    made, endpoint = kind.made(job, request.options)
    tokens = int(figures.get("billable_tokens", 0))
    cost = _cost(model, job, tokens, wanted.epochs, request.catalog)
    statistics = {
        "job": job.name,
        "base_model": wanted.base_model,
        "method": wanted.method,
        "batch_size": request.batch_size,
        **figures,
        **_seconds(job),
        "left_out": dict(sum((Counter(one.left_out) for one in sent), Counter())),
        "checkpoints": _checkpoints(job),
        "note": "; ".join(remarks),
    }
    kept = {name: value for name, value in statistics.items() if value not in ("", {}, [], None)}
    return TuningResult(made, endpoint, kept, cost)


def _cost(model: Model, job: Any, tokens: int, epochs: int, catalog: Catalog) -> float | None:
    """Price what the job billed; a tuned model costs what its base does, which the job names."""
    before = (job.pre_tuned_model and job.pre_tuned_model.base_model) or ""
    priced = (model, structs.replace(model, name=before.rpartition("/")[2]))
    found = (by_the_token(one, tokens, epochs, catalog=catalog).cost_usd for one in priced)
    return next((cost for cost in found if cost is not None), None)


def _seconds(job: Any) -> dict[str, float]:
    if not (job.create_time and job.end_time):
        return {}
    return {"seconds": round((job.end_time - job.create_time).total_seconds(), 1)}


def _checkpoints(job: Any) -> list[dict[str, Any]]:
    found = (job.tuned_model and job.tuned_model.checkpoints) or []
    return [one.model_dump(exclude_none=True) for one in found]
