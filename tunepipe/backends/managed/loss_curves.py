"""The losses of a tuning job, from the TensorBoard of its experiment.

The job itself says no loss. It names an experiment; the experiment's context names a TensorBoard,
and its one run holds the curves. The way through these four calls is that of Google's own
notebooks on supervised tuning.
"""

from __future__ import annotations

from tunepipe.gcp import clients
from tunepipe.gcp.clients import CALL_SECONDS, region_of

_TENSORBOARD = "backing_tensorboard_resource"


def read_curves(experiment: str) -> tuple[dict[str, list[tuple[int, float]]], str]:
    """Read every scalar curve of a tuning job.

    Args:
        experiment: The resource name of the job's experiment, or "".

    Returns:
        Steps and values by the metric's name, and why there are none, or "". A tuning is paid by
        then, so that what cannot be read is reported and fails nothing.
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
    board = dict(context.metadata or {}).get(_TENSORBOARD, "")
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
