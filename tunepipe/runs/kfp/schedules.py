"""A schedule on a host of open-source Kubeflow Pipelines: one recurring run for each name."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tunepipe.errors import LimitError, UsageError
from tunepipe.runs import cron as times
from tunepipe.runs.cron import Cron
from tunepipe.runs.kfp.host import KfpHost
from tunepipe.runs.kfp.request import HostRequest

_PAGE = 100
_BY_HAND = re.compile(r"-\d{14}\Z")  # what run_now puts behind the schedule's name
_UNDER_WAY = ("PENDING", "RUNNING", "CANCELING", "PAUSED")


@dataclass(frozen=True)
class Recurring:
    """A recurring run as it is wanted.

    Args:
        name: Its name.
        when: Its times; the host's controller reads them in UTC, or in a zone of its own.
        request: The pipeline and its parameters, from `request.prepare`.
    """

    name: str
    when: Cron
    request: HostRequest

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
        return f"0 {times.with_sunday_as_zero(self.when)}"


@dataclass(frozen=True)
class Listed:
    """A recurring run as it is.

    Args:
        name: Its display name.
        id: The host's own name for it.
        state: active or paused.
        cron: Its times, in UTC; "" for one that somebody has made to run at even distances.
        next_run: The next time, "" if it is paused or not known.
        dataset: What it reads.
    """

    name: str
    id: str
    state: str
    cron: str
    next_run: str
    dataset: str

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def apply(host: KfpHost, wanted: Recurring, *, dry_run: bool) -> tuple[str, str]:
    """Create a recurring run, or put it in the place of the one of that name.

    The host cannot change a recurring run: a new one is made first, then the old one deleted.

    Args:
        host: The host.
        wanted: The recurring run.
        dry_run: Change nothing.

    Returns:
        What was done (created, replaced, unchanged, would create, would replace), and the
        recurring run's id.

    Raises:
        UsageError: The times are meant in a zone.
        LimitError: One of that name runs a pipeline that tunepipe did not make.
        CloudError: The host refused, or is out of reach.
    """
    cron, spec = wanted.cron, wanted.request.text
    with host.client() as client:
        old = [one for one in _all(client, host) if one.display_name == wanted.name]
        _require_ours(old, host)
        if len(old) == 1 and _is_same(old[0], cron, spec, wanted.request.parameters):
            return "unchanged", str(old[0].recurring_run_id)
        if dry_run:
            return ("would replace" if old else "would create"), ""
        made = _create(client, host, wanted, cron, spec)
        for one in old:
            client.delete_recurring_run(one.recurring_run_id)
    return ("replaced" if old else "created"), str(made.recurring_run_id)


def listed(host: KfpHost, now: datetime) -> list[Listed]:
    """List the recurring runs of our pipeline, by name.

    Raises:
        CloudError: The host refused, or is out of reach.
    """
    with host.client() as client:
        found = [_shown(one, now) for one in _all(client, host) if _is_ours(one)]
    return sorted(found, key=lambda one: one.name)


def pause(host: KfpHost, name: str) -> str:
    """Pause a recurring run until it is resumed; return its id.

    Raises:
        UsageError: There is none of that name.
        CloudError: The host refused, or is out of reach.
    """
    return _changed(host, name, "disable_recurring_run")


def resume(host: KfpHost, name: str) -> str:
    """Resume a paused recurring run from its next time; see `pause`."""
    return _changed(host, name, "enable_recurring_run")


def delete(host: KfpHost, name: str) -> str:
    """Delete a recurring run; its runs stay. See `pause`."""
    return _changed(host, name, "delete_recurring_run")


def run_now(host: KfpHost, name: str, now: datetime) -> str:
    """Start one run of a recurring run at once.

    Returns:
        The run's id.

    Raises:
        LimitError: One of its runs is under way.
        UsageError: There is none of that name.
        CloudError: The host refused, or is out of reach.
    """
    with host.client() as client:
        found = _named(client, host, name)
        _require_none_under_way(client, host, found)
        with _spec_file(_as_text(found.pipeline_spec)) as path:
            made = client.run_pipeline(
                experiment_id=found.experiment_id,
                job_name=f"{name}-{now.astimezone(UTC):%Y%m%d%H%M%S}",
                pipeline_package_path=path,
                params=_parameters(found),
            )
    return str(made.run_id)


def _changed(host: KfpHost, name: str, method: str) -> str:
    with host.client() as client:
        found = _named(client, host, name)
        getattr(client, method)(found.recurring_run_id)
    return str(found.recurring_run_id)


def _all(client: Any, host: KfpHost) -> Iterator[Any]:
    token = ""
    while True:
        page = client.list_recurring_runs(
            page_token=token, page_size=_PAGE, namespace=host.namespace
        )
        yield from page.recurring_runs or ()
        token = page.next_page_token or ""
        if not token:
            return


def _named(client: Any, host: KfpHost, name: str) -> Any:
    found = [one for one in _all(client, host) if one.display_name == name and _is_ours(one)]
    if not found:
        raise UsageError(
            "no such recurring run",
            where=f"{host.url}: {name}",
            fix=f"tunepipe schedule list --kfp-host {host.url}",
        )
    return found[0]


def _is_ours(one: Any) -> bool:
    spec = one.pipeline_spec or {}
    info = spec.get("pipeline_spec", spec).get("pipelineInfo", {})
    return str(info.get("name", "")).startswith("tunepipe-")


def _require_ours(found: list[Any], host: KfpHost) -> None:
    for one in found:
        if not _is_ours(one):
            raise LimitError(
                "a recurring run of this name was not made by tunepipe",
                where=f"{host.url}: {one.recurring_run_id}",
                fix="choose another name",
            )


def _shown(one: Any, now: datetime) -> Listed:
    cron = _cron_of(one).partition(" ")[2]  # the host's first field: seconds
    active = str(one.status) != "DISABLED"
    upcoming = times.next_runs(times.parse(cron), now, 1) if active and cron else []
    return Listed(
        name=str(one.display_name),
        id=str(one.recurring_run_id),
        state="active" if active else "paused",
        cron=cron,
        next_run=upcoming[0].isoformat(timespec="minutes") if upcoming else "",
        dataset=str(_parameters(one).get("dataset_uri", "")),
    )


def _cron_of(one: Any) -> str:
    times = one.trigger and one.trigger.cron_schedule
    return str(times.cron or "") if times else ""


def _require_none_under_way(client: Any, host: KfpHost, recurring: Any) -> None:
    runs = client.list_runs(
        experiment_id=recurring.experiment_id, page_size=_PAGE, sort_by="created_at desc"
    ).runs
    for run in runs or ():
        ours = run.recurring_run_id == recurring.recurring_run_id
        by_hand = _BY_HAND.sub("", str(run.display_name)) == recurring.display_name
        if (ours or by_hand) and str(run.state) in _UNDER_WAY:
            raise LimitError(
                "a run of this schedule is under way, and one runs at a time",
                where=f"{host.url}: {run.run_id}",
                fix="wait until it has ended",
            )


@contextmanager
def _spec_file(text: str) -> Iterator[str]:
    """Write a pipeline to a temporary file: kfp's client does not take text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(text, encoding="utf-8")
        yield str(path)


def _parameters(one: Any) -> dict[str, Any]:
    return dict((one.runtime_config.parameters or {}) if one.runtime_config else {})


def _create(client: Any, host: KfpHost, wanted: Recurring, cron: str, spec: str) -> Any:
    experiment = client.create_experiment(host.settings.experiment, namespace=host.namespace)
    with _spec_file(spec) as path:
        return client.create_recurring_run(
            experiment_id=experiment.experiment_id,
            job_name=wanted.name,
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=True,
            params=dict(wanted.request.parameters),
            pipeline_package_path=path,
            pipeline_root=host.settings.pipeline_root or None,
            service_account=host.settings.service_account or None,
        )


def _is_same(one: Any, cron: str, spec: str, parameters: Mapping[str, Any]) -> bool:
    return (
        _cron_of(one) == cron
        and _canonical(_parameters(one)) == _canonical(parameters)
        and _canonical(one.pipeline_spec) == _canonical(_as_sent(spec))
    )


def _as_sent(text: str) -> Any:
    """Return a pipeline as kfp's client sends it: with a platform, both under names."""
    spec, *platform = yaml.safe_load_all(text)
    return {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec


def _as_text(sent: Mapping[str, Any]) -> str:
    """Return the documents of a pipeline as the host holds it; the reverse of `_as_sent`."""
    documents = [dict(sent)]
    if "pipeline_spec" in sent:
        documents = [sent["pipeline_spec"], sent["platform_spec"]]
    text: str = yaml.safe_dump_all(documents)
    return text


def _canonical(value: Any) -> str:
    """Write a value as KFP keeps it, in a protobuf Struct: there 0.0 and 0 are one number."""

    def plain(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {name: plain(item) for name, item in part.items()}
        if isinstance(part, list | tuple):
            return [plain(item) for item in part]
        whole = isinstance(part, float) and part.is_integer()
        return int(part) if whole else part

    return json.dumps(plain(value), sort_keys=True)
