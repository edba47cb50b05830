"""The experiment and the TensorBoard of a tuning job, as far as its losses are read there."""

from __future__ import annotations

from typing import Any

from google.api_core import exceptions
from google.cloud import aiplatform_v1 as api

from .cloud import Cloud, canonical

_CURVES = ("/train_total_loss", "/eval_total_loss")
_OPEN_CURVES = ("train/loss",)  # their trainer logs no evaluation loss


class Board:
    """MetadataService's and TensorboardService's parts that are asked for."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.curves: dict[str, list[tuple[int, float]]] = {}
        cloud.resets.append(self.curves.clear)

    def record(self, job: str, steps: int, last: float, is_open: bool) -> str:
        """Leave a loss that falls from 2 to `last`; returns the experiment's name."""
        place, number = job.partition("/tuningJobs/")[0], self.cloud.new_id()
        experiment = f"{place}/metadataStores/default/contexts/tuning-experiment-{number}"
        board = f"{place}/tensorboards/{number}"
        run = f"{experiment}-tuning-experiment-run-{number}"
        self._context(experiment, "system.Experiment", {"backing_tensorboard_resource": board})
        self._context(run, "system.ExperimentRun", {}).parent_contexts = [experiment]
        place = f"{board}/experiments/tuning-experiment-{number}"
        series = f"{place}/runs/tuning-experiment-run-{number}/timeSeries"
        for curve in _OPEN_CURVES if is_open else _CURVES:
            points = [(step, 2 + (last - 2) * step / max(steps, 1)) for step in range(1, steps + 1)]
            self._series(f"{series}/{self.cloud.new_id()}", curve, points)
        return experiment

    def GetContext(self, request: api.GetContextRequest) -> api.Context:
        found: api.Context = self.cloud.find(request.name)
        return found

    def ListContexts(self, request: api.ListContextsRequest) -> api.ListContextsResponse:
        terms = dict(_term(term) for term in request.filter.split(" AND "))
        wanted, parent = terms.get("schema_title"), canonical(terms.get("parent_contexts", ""))
        found = [
            context
            for context in self.cloud.listed(request.parent, "contexts")
            if context.schema_title == wanted and parent in context.parent_contexts
        ]
        return api.ListContextsResponse(contexts=found)

    def ListTensorboardTimeSeries(
        self, request: api.ListTensorboardTimeSeriesRequest
    ) -> api.ListTensorboardTimeSeriesResponse:
        found = self.cloud.listed(request.parent, "timeSeries")
        return api.ListTensorboardTimeSeriesResponse(tensorboard_time_series=found)

    def ReadTensorboardTimeSeriesData(
        self, request: api.ReadTensorboardTimeSeriesDataRequest
    ) -> api.ReadTensorboardTimeSeriesDataResponse:
        name = canonical(request.tensorboard_time_series)
        if name not in self.curves:
            raise exceptions.NotFound(f"{name} is not found.")
        points = [
            api.TimeSeriesDataPoint(step=step, scalar=api.Scalar(value=value))
            for step, value in self.curves[name]
        ]
        data = api.TimeSeriesData(tensorboard_time_series_id=name.rpartition("/")[2], values=points)
        return api.ReadTensorboardTimeSeriesDataResponse(time_series_data=data)

    def _context(self, name: str, schema: str, metadata: dict[str, Any]) -> api.Context:
        context = api.Context(name=name, schema_title=schema, metadata=metadata)
        context.create_time = self.cloud.now()
        self.cloud.store(context)
        return context

    def _series(self, name: str, curve: str, points: list[tuple[int, float]]) -> None:
        series = api.TensorboardTimeSeries(name=name, display_name=curve, value_type="SCALAR")
        series.create_time = self.cloud.now()
        self.cloud.store(series)
        self.curves[name] = points


def _term(term: str) -> tuple[str, str]:
    name, _, value = term.replace(":", "=", 1).partition("=")
    return name.strip(), value.strip().strip('"')
