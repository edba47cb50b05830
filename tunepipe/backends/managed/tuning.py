"""Tuning through a managed tuning job: what Gemini and open models share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import structs

from tunepipe.backends.base import TuningRequest, TuningResult
from tunepipe.backends.managed.jobs import TUNING_JOBS, TuningJobs, data_stats, read_curves
from tunepipe.backends.managed.outcome import Planned, compare_with_plan
from tunepipe.backends.managed.parameters import PREFERENCE, TuningJob, tuning_job, whole_epochs
from tunepipe.backends.managed.rows import Sent, check_sizes, send
from tunepipe.catalog.catalog import Catalog
from tunepipe.catalog.schema import Model
from tunepipe.catalog.tables import load
from tunepipe.data.fingerprint import digest_of
from tunepipe.data.source import format_of
from tunepipe.errors import CloudError
from tunepipe.gcp import clients, launcher
from tunepipe.gcp.genai import translate_errors
from tunepipe.gcp.labels import KEY_CHARACTERS, KEY_LABEL, run_labels
from tunepipe.gcp.launcher import StepOptions
from tunepipe.gcp.retries import retry
from tunepipe.planning.costs import Work, estimate
from tunepipe.progress import Progress
from tunepipe.stores import storage
from tunepipe.stores.claims import Claim, Waiters, claim_uri, run_of_step

_FIRST_JOB_SECONDS = 30.0


class ManagedTuner:
    """Tunes through a managed job; what differs between Gemini and open models is overridden."""

    backend: str

    def result_exists(self, job: Any) -> bool:
        """Return True if what a job has made is still there."""
        raise NotImplementedError

    def result(self, job: Any, options: Mapping[str, Any]) -> tuple[str, str]:
        """Name the model that a job has made, and its endpoint."""
        raise NotImplementedError

    def base(self, request: TuningRequest) -> str:
        """Name the base model so that `predict` can ask it."""
        raise NotImplementedError

    def config(self, request: TuningRequest) -> dict[str, Any]:
        """Return what the kind adds to the job's config."""
        return {}

    def check_job(self, job: TuningJob, catalog: Catalog) -> None:
        """Refuse what only the service can tell, before anything is paid."""

    def check_request(self, request: TuningRequest, row_format: str = "") -> TuningJob:
        """Check what a user may set, before there is a dataset to tune on."""
        return _job(
            request, request.catalog.find_model(request.base_model, self.backend), row_format
        )

    def cancel(self, job: str) -> None:
        """Cancel a tuning job by its resource name; no error if it has ended already."""
        with translate_errors(job):
            TUNING_JOBS.cancel(job)

    def tune(self, request: TuningRequest, output_dir: str, progress: Progress) -> TuningResult:
        """Tune; a call that was killed continues with the job that it had started.

        Args:
            request: `options` holds those of `ManagedOptions` and of `StepOptions`, and network
                (the pipeline's).

        Returns:
            The tuned model and its endpoint, with the figures of the job, compared with the plan.
        """
        step, _ = StepOptions.split({"first_job_seconds": _FIRST_JOB_SECONDS, **request.options})
        resources = step.resources(output_dir)
        parent = clients.parent(request.project, request.region)
        waiters = Waiters(request.train_uri, run_of_step(parent, resources))
        # A restarted step stays with its job before it reads anything else.
        name = _resume(resources, step, progress, waiters)

        # What the service would refuse, or could not be asked afterwards, is refused before it is
        # paid.
        base = self.base(request)
        model = request.catalog.find_model(request.base_model, self.backend)
        service = request.catalog.find_service(model.name)[1]
        job = _job(request, model, format_of([request.train_uri], storage.open_file))
        self.check_job(job, request.catalog)
        by_preference = job.method == PREFERENCE
        native = [each for each in service.native if (each == PREFERENCE) == by_preference]
        train, held_out = (send(uri, native) for uri in (request.train_uri, request.eval_uri))
        check_sizes(service, train, held_out)
        epochs = whole_epochs(request.train_steps, request.batch_size, train.rows)
        job = _job(request, model, train.format, epochs)

        # A location without capacity fails the job, which is not billed; then the next is tried.
        # The key, and so the claim, is that of the first: an equal run may be at a later one.
        locations = (job.location, *job.options.fallback_locations)
        key = request.labels.get(KEY_LABEL) or _key(request, job, (train, held_out))
        waiters = replace(waiters, key=key)
        for location in () if name else locations:
            job = structs.replace(job, location=location)
            jobs = self._jobs(request, step, job, (train, held_out), key, locations)
            try:
                name = launcher.launch(jobs, resources, step, progress, waiters)
                break
            except CloudError as error:
                if location == locations[-1] or not _lacks_capacity(error):
                    raise
                Path(resources).unlink(missing_ok=True)
                progress({"state": "waiting", "detail": f"no capacity in {location}"})
        with translate_errors(name):
            ended = retry(lambda: TUNING_JOBS.get(name), seconds=step.patience_seconds)
        model_name, endpoint = self.result(ended, request.options)
        statistics = _statistics(request, job, (train, held_out), ended, model)
        cost = _cost(model, ended, statistics.get("billable_tokens", 0), epochs, request.catalog)
        return TuningResult(model_name, endpoint, statistics, cost, base)

    def _jobs(
        self,
        request: TuningRequest,
        step: StepOptions,
        job: TuningJob,
        rows: tuple[Sent, Sent],
        key: str,
        locations: tuple[str, ...],
    ) -> TuningJobs:
        limit = int(load("backends/managed/parameters.toml")["display_name_characters"])
        config = {
            **job.as_config(),
            **self.config(request),
            "tuned_model_display_name": request.display_name[:limit],
            "labels": {**run_labels(), **request.labels, KEY_LABEL: key},
        }
        return TuningJobs(
            project=request.project,
            location=job.location,
            locations=locations,
            base_model=job.base_model,
            rows=(rows[0].uri, rows[1].uri),
            config={name: value for name, value in config.items() if value},
            claim=Claim(claim_uri(request.train_uri, key), step),
            key=key,
            exists=self.result_exists,
            service_account=job.options.service_account,
        )


def _resume(resources: str, step: StepOptions, progress: Progress, waiters: Waiters) -> str:
    """Go on with the job of an earlier attempt; "" if there was none, or it found no capacity."""
    try:
        return launcher.resume(TUNING_JOBS, resources, step, progress, waiters)
    except CloudError as error:
        if not _lacks_capacity(error):
            raise
        Path(resources).unlink(missing_ok=True)
        return ""


def _lacks_capacity(error: CloudError) -> bool:
    return "high demand" in error.found.lower()


def _job(request: TuningRequest, model: Model, row_format: str = "", epochs: int = 1) -> TuningJob:
    _, options = StepOptions.split(request.options)
    options.pop("network", None)  # the pipeline's
    return tuning_job(
        model,
        options,
        region=request.region,
        epochs=epochs,
        learning_rate_multiplier=request.learning_rate_multiplier,
        row_format=row_format,
        catalog=request.catalog,
    )


def _key(request: TuningRequest, job: TuningJob, rows: tuple[Sent, Sent]) -> str:
    """Identify a request by what it tunes on, and how; not by where the rows are."""
    config = {name: value for name, value in job.as_config().items() if name != "description"}
    how = [job.base_model, job.location, config, job.options.service_account]
    own = [request.options.get("output_uri", ""), request.options.get("again", "")]
    return digest_of([[each.fingerprint for each in rows], how, *own], KEY_CHARACTERS)


def _statistics(
    request: TuningRequest, job: TuningJob, rows: tuple[Sent, Sent], ended: Any, model: Model
) -> dict[str, Any]:
    """Describe an ended job for the report, compared with the plan."""
    planned = Planned(
        rows=rows[0].rows,
        steps=request.train_steps,
        epochs=job.epochs,
        dropped_fraction_max=job.options.dropped_fraction_max,
        steps_min=model.recommended_steps_min,
    )
    curves, unread = read_curves(ended.experiment or "")
    figures = compare_with_plan(data_stats(ended), curves, planned, where=ended.name)
    remarks = [*figures.get("doubts", []), *figures.pop("remarks", []), *filter(None, [unread])]
    checkpoints = (ended.tuned_model and ended.tuned_model.checkpoints) or []
    statistics = {
        "job": ended.name,
        "base_model": job.base_model,
        "method": job.method,
        "batch_size": request.batch_size,
        **figures,
        "left_out": dict(sum((Counter(each.left_out) for each in rows), Counter())),
        "checkpoints": [each.model_dump(exclude_none=True) for each in checkpoints],
        "note": "; ".join(remarks),
    }
    if ended.create_time and ended.end_time:
        seconds = (ended.end_time - ended.create_time).total_seconds()
        statistics["seconds"] = round(seconds, 1)
    return {name: value for name, value in statistics.items() if value not in ("", {}, [], None)}


def _cost(model: Model, ended: Any, tokens: int, epochs: int, catalog: Catalog) -> float | None:
    """Price what the job billed; a tuned model costs what its base does, which the job names."""
    base = (ended.pre_tuned_model and ended.pre_tuned_model.base_model) or ""
    for priced in (model, structs.replace(model, name=base.rpartition("/")[2])):
        work = Work(priced, "", 1, tokens, epochs, catalog=catalog)
        cost = estimate(work).cost_usd
        if cost is not None:
            return cost
    return None
