"""A schedule on a host of open-source Kubeflow Pipelines: one recurring run for each name."""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tunepipe.core.errors import CloudError, UsageError
from tunepipe.core.schedule import Cron

from .compilation import pipeline_text

EXPERIMENT = "tunepipe"


@dataclass(frozen=True)
class Recurring:
    """A recurring run as it is wanted.

    Args:
        name: Its name.
        when: Its times; the host's controller reads them in UTC, or in a zone of its own.
        backend: What tunes.
        parameters: The pipeline's parameters.
    """

    name: str
    when: Cron
    backend: str
    parameters: Mapping[str, Any]

    @property
    def cron(self) -> str:
        """The times as the host takes them: six fields, seconds first, without a zone.

        Raises:
            UsageError: They are meant in a zone.
        """
        if self.when.zone != "UTC":
            raise UsageError(
                "a KFP host knows no zones",
                where=f"--cron {self.when}",
                fix="write the time in UTC; the cluster's CRON_SCHEDULE_TIMEZONE may change that",
            )
        return f"0 {self.when.fields}"


def apply(host: str, wanted: Recurring, *, dry_run: bool) -> tuple[str, str]:
    """Create a recurring run, or put it in the place of the one of that name.

    The host cannot change a recurring run: a new one is made first, then the old one deleted.

    Args:
        host: The host's address.
        wanted: The recurring run.
        dry_run: Change nothing.

    Returns:
        What was done (created, replaced, unchanged, would create, would replace), and the
        recurring run's id.

    Raises:
        UsageError: The times are meant in a zone.
        CloudError: The host refused, or is out of reach.
    """
    cron, spec = wanted.cron, pipeline_text(wanted.backend)
    with _explained(host):
        client = _client(host)
        old = [
            one
            for one in client.list_recurring_runs(page_size=100).recurring_runs or ()
            if one.display_name == wanted.name
        ]
        if len(old) == 1 and _is_same(old[0], cron, spec, wanted.parameters):
            return "unchanged", str(old[0].recurring_run_id)
        if dry_run:
            return ("would replace" if old else "would create"), ""
        made = _create(client, wanted, cron, spec)
        for one in old:
            client.delete_recurring_run(one.recurring_run_id)
    return ("replaced" if old else "created"), str(made.recurring_run_id)


def _create(client: Any, wanted: Recurring, cron: str, spec: str) -> Any:
    experiment = client.create_experiment(EXPERIMENT)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(spec, encoding="utf-8")
        return client.create_recurring_run(
            experiment_id=experiment.experiment_id,
            job_name=wanted.name,
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=True,
            params=dict(wanted.parameters),
            pipeline_package_path=str(path),
        )


def _is_same(one: Any, cron: str, spec: str, parameters: Mapping[str, Any]) -> bool:
    had = (one.runtime_config.parameters or {}) if one.runtime_config else {}
    return (
        one.trigger.cron_schedule.cron == cron
        and _canonical(had) == _canonical(parameters)
        and _canonical(one.pipeline_spec) == _canonical(yaml.safe_load(spec))
    )


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _client(host: str) -> Any:
    from kfp import Client

    return Client(host=host)


@contextmanager
def _explained(host: str) -> Iterator[None]:
    import kfp_server_api
    from urllib3.exceptions import HTTPError

    try:
        # kfp's client writes links to standard output, which is for our one object.
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    except (kfp_server_api.ApiException, HTTPError, OSError, TimeoutError) as error:
        told = getattr(error, "reason", "") or type(error).__name__
        raise CloudError(f"the KFP host: {told}", where=host, fix="check --kfp-host") from error
