"""Tune Gemini through tuning jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.backends.base import TuningRequest
from tunepipe.backends.managed import jobs
from tunepipe.backends.managed.parameters import PREFERENCE, TuningJob, preference_models
from tunepipe.backends.managed.tuning import ManagedTuner
from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.models import tuned_in
from tunepipe.errors import CloudError, LimitError
from tunepipe.gcp import clients
from tunepipe.gcp.genai import client, translate_errors
from tunepipe.gcp.retries import retry

_PATIENCE_SECONDS = 300.0


class GeminiTuner(ManagedTuner):
    """Tunes a Gemini, such as gemini-3.5-flash, or goes on from a tuned one.

    A tuned one is named by its resource name, `projects/P/locations/R/models/M@VERSION`.
    """

    backend = "gemini"

    def result_exists(self, job: Any) -> bool:
        """Return True if the endpoint is there: a model deleted since is tuned again.

        A job that names no endpoint (yet) is not taken for one whose endpoint was deleted.
        """
        endpoint = job.tuned_model and job.tuned_model.endpoint
        return not endpoint or clients.find_endpoint(endpoint) is not None

    def result(self, job: Any, options: Mapping[str, Any]) -> tuple[str, str]:
        """Return the tuned model and its endpoint."""
        tuned = job.tuned_model
        if not (tuned and tuned.endpoint):
            raise CloudError(
                "the tuning job succeeded but returned no endpoint",
                where=job.name,
                fix="look for its model in the console: there is nothing to ask yet",
            )
        return str(tuned.model or ""), str(tuned.endpoint)

    def base(self, request: TuningRequest) -> str:
        """Return the base model's resource name; see `base_model_resource`."""
        return base_model_resource(
            request.base_model, request.project, request.region, request.options, request.catalog
        )

    def check_job(self, job: TuningJob, catalog: Catalog) -> None:
        """Refuse preference tuning of a tuned model whose base, named by its job, takes none."""
        made_by = _job_of(job.base_model) if job.method == PREFERENCE else None
        if not made_by:
            return
        before = made_by.pre_tuned_model and made_by.pre_tuned_model.base_model
        base = str(made_by.base_model or before or "").rpartition("/")[2]
        model = catalog.model_table.models.get(base)
        if model and "preference" not in model.formats:
            raise LimitError(
                f"{job.base_model} was tuned from {base}, which is not tuned by preference",
                where="base_model",
                fix=f"{preference_models(catalog)}; or method=supervised",
            )


_TUNER = GeminiTuner()
tune = _TUNER.tune
check_request = _TUNER.check_request
cancel = _TUNER.cancel


def set_default_checkpoint(model: str, checkpoint_id: str) -> None:
    """Make one of a tuned model's checkpoints its default; the name may have a version."""
    with translate_errors(model):
        client(*clients.place_of(model)).models.update(
            model=model.partition("@")[0], config={"default_checkpoint_id": checkpoint_id}
        )


def base_model_resource(
    model: str,
    project: str,
    region: str,
    options: Mapping[str, Any],
    catalog: Catalog | None = None,
) -> str:
    """Return a base model's resource name, which is all that `predict` needs.

    The `options` are base_endpoint, base_location and location, if the user names them. "" for a
    model that was tuned further and whose endpoint is not known.
    """
    if options.get("base_endpoint"):
        return str(options["base_endpoint"])
    if model.startswith("projects/"):
        job = _job_of(model)
        return str(job.tuned_model.endpoint or "") if job else ""
    base_model = (catalog or load_catalog()).find_model(model, "gemini")
    place = tuned_in(base_model, region, options)
    served = options.get("base_location") or base_model.served_in.get(place) or place
    return f"{clients.parent(project, served)}/publishers/google/models/{base_model.name}"


def _job_of(tuned: str) -> Any:
    """Find the job that made a tuned model; None if it is not listed.

    Google writes a project by its number, and a user by its id: the place is that of the list.
    """
    resource = tuned.partition("/locations/")[2]
    with translate_errors(tuned):
        for job in retry(
            lambda: jobs.list_jobs(*clients.place_of(tuned)), seconds=_PATIENCE_SECONDS
        ):
            name = str(job.tuned_model and job.tuned_model.model).partition("/locations/")[2]
            if resource in (name, name.partition("@")[0]):
                return job
    return None
