"""Tuning jobs of Gemini and of open models: created once, found again, read when they ended.

The jobs are those of google-genai's client.tunings. They are found by their claim and by a label;
the list is compared here, since no document says which filters it takes, or how soon it shows a new
job.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunepipe.errors import plural
from tunepipe.gcp import clients
from tunepipe.gcp.clients import CALL_SECONDS, place_of, region_of, state_of
from tunepipe.gcp.genai import as_google_core, client
from tunepipe.gcp.remote_jobs import RemoteJobs
from tunepipe.stores.claims import ClaimedJobs

CREATE_SECONDS = 3 * CALL_SECONDS
_USUAL = {"unspecified", "queued", "pending", "running"}


class NamedTuningJobs(RemoteJobs):
    """Tuning jobs that are known by their names."""

    kind = "TuningJob"

    def get(self, name: str) -> Any:
        """Fetch a job."""
        with as_google_core():
            return client(*place_of(name)).tunings.get(name=name)

    def request_cancel(self, name: str) -> None:
        """Ask for the end of a job."""
        with as_google_core():
            client(*place_of(name)).tunings.cancel(name=name)

    def detail(self, job: Any) -> str:
        """Return a state that is not a usual one, and the epochs that are done."""
        epochs = getattr(job.tuning_job_metadata, "completed_epoch_count", None)
        state = state_of(job).lower()
        parts = (
            "" if state in _USUAL else state,
            f"{plural(epochs, 'epoch')} done" if epochs else "",
        )
        return ", ".join(filter(None, parts))

    def failure(self, job: Any) -> str:
        """Return why a job failed, and the model that it has made all the same."""
        tuned = job.tuned_model
        model = tuned and (tuned.endpoint or tuned.model)
        return super().failure(job) + (f"; its model is {model}" if model else "")


TUNING_JOBS = NamedTuningJobs()


@dataclass(kw_only=True)
class TuningJobs(NamedTuningJobs, ClaimedJobs):
    """The jobs of one request, found by their claim and their label.

    Args:
        location: Where a job is created.
        locations: Where one may be already.
        base_model: The model to tune, or the tuned model to go on from.
        rows: The files: training, and held-out or "".
        config: What CreateTuningJobConfig takes; its labels hold KEY_LABEL.
        exists: Returns whether what a job that succeeded has made is still there.
    """

    project: str
    location: str
    locations: tuple[str, ...]
    base_model: str
    rows: tuple[str, str]
    config: Mapping[str, Any]
    exists: Callable[[Any], bool]
    service_account: str = ""

    @property
    def place(self) -> str:
        """Where a job is created."""
        return clients.parent(self.project, self.location)

    def jobs(self) -> Iterator[tuple[str, Mapping[str, str], Any]]:
        """Yield the jobs of the places, the newest first in each."""
        for location in self.locations:
            for job in list_jobs(self.project, location):
                yield str(job.name), job.labels or {}, job

    def result_exists(self, job: Any) -> bool:
        """Return True if what a job that succeeded has made is still there."""
        return self.exists(job)

    def request(self) -> str:
        """Ask for a job once, and name it."""
        from google.genai import types

        train, held_out = self.rows
        # The request has a service account, google-genai's config has none.
        extra = {"serviceAccount": self.service_account} if self.service_account else None
        http = types.HttpOptions(timeout=int(CREATE_SECONDS * 1000), extra_body=extra)
        config = types.CreateTuningJobConfig(**self.config, http_options=http)
        if held_out:
            config.validation_dataset = types.TuningValidationDataset(gcs_uri=held_out)
        tunings = client(self.project, self.location).tunings
        with as_google_core(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the client's tuning is experimental
            job = tunings.tune(
                base_model=self.base_model,
                training_dataset=types.TuningDataset(gcs_uri=train),
                config=config,
            )
        return str(job.name)


def list_jobs(project: str, location: str) -> list[Any]:
    """List the tuning jobs of a place, the newest first; no document says how they are ordered."""
    with as_google_core():
        jobs = list(client(project, location).tunings.list(config={"page_size": 100}))
    return sorted(jobs, key=lambda job: job.create_time, reverse=True)


def data_stats(job: Any) -> dict[str, Any]:
    """Read what a job says of its rows, by the service's names; {} if it says nothing."""
    stats = job.tuning_data_stats
    for name in ("supervised_tuning_data_stats", "preference_optimization_data_stats"):
        kind_stats = getattr(stats, name, None)
        if kind_stats:
            # user_dataset_examples repeats rows of the user's, which belong in no report.
            return dict(kind_stats.model_dump(exclude_none=True, exclude={"user_dataset_examples"}))
    return {}


def read_curves(experiment: str) -> tuple[dict[str, list[tuple[int, float]]], str]:
    """Read every scalar curve of a tuning job, or why there is none: steps and values by metric.

    The job itself says no loss. It names an experiment; the experiment's context names a
    TensorBoard, and its one run holds the curves. The way through these four calls is that of
    Google's own notebooks on supervised tuning. A tuning is paid by then, so that what cannot be
    read is reported and fails nothing.
    """
    from google.api_core import exceptions as api

    if not experiment:
        return {}, "the job names no experiment, so its losses cannot be read"
    try:
        run = _run_of(experiment)
        return (_scalars(run), "") if run else ({}, "the job's experiment has no run")
    except api.GoogleAPICallError as error:
        return {}, f"the losses could not be read: {error.message}"


def _run_of(experiment: str) -> str:
    """Return a TensorBoard run's name: the experiment's own run is named after the experiment."""
    metadata = clients.metadata(region_of(experiment))
    context = metadata.get_context(name=experiment, timeout=CALL_SECONDS)
    board = dict(context.metadata or {}).get("backing_tensorboard_resource", "")
    store, _, name = experiment.partition("/contexts/")
    is_run = f'schema_title="system.ExperimentRun" AND parent_contexts:"{experiment}"'
    request = {"parent": store, "filter": is_run}
    for run in metadata.list_contexts(request=request, timeout=CALL_SECONDS):
        own = run.name.rpartition("/")[2].removeprefix(f"{name}-")
        if board:
            return f"{board}/experiments/{name}/runs/{own}"
    return ""


def _scalars(run: str) -> dict[str, list[tuple[int, float]]]:
    board = clients.tensorboards(region_of(run))
    curves = {}
    for series in board.list_tensorboard_time_series(parent=run, timeout=CALL_SECONDS):
        data = board.read_tensorboard_time_series_data(
            tensorboard_time_series=series.name, timeout=CALL_SECONDS
        ).time_series_data
        points = [(int(value.step), float(value.scalar.value)) for value in data.values]
        curves[str(series.display_name)] = points
    return curves
