"""The request of a run on Vertex AI: one PipelineJob, checked before anything is sent.

The generated client is used and not aiplatform.PipelineJob: that imports for 5 to 13 seconds,
asks the resource manager for the bucket's project at every submission (a permission that few
service accounts have; each look-up then waits and logs a traceback), fills in nothing that is
wanted here, and its ids change with the second, so that two submissions make two paid runs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tunepipe.backends.base import TuningRequest, load_remote_tuner
from tunepipe.backends.palm.template import read_template
from tunepipe.catalog.catalog import load_catalog
from tunepipe.data.fingerprint import combined, digest_of
from tunepipe.distribution import content_hash
from tunepipe.errors import LimitError, UsageError
from tunepipe.gcp import clients
from tunepipe.gcp.labels import KEY_CHARACTERS
from tunepipe.notifications import webhook
from tunepipe.runs.code import Code, cached_wheel, find_code, wheel_uri
from tunepipe.runs.compile import check_template, pipeline_text, template_sha256
from tunepipe.runs.pipeline_spec import check_parameters, read, read_pipeline, set_image
from tunepipe.stores import storage
from tunepipe.stores.cloud_storage import payer_label
from tunepipe.stores.generations import fingerprint_of, guarded

RUN_LABEL = "tunepipe_run"
SCHEDULE_LABEL = "tunepipe_schedule"
_SIGNS = re.compile(r"[*?\[\]#]")  # they say more than themselves in the name of an object
_TEXTS = {"template_version", "pipeline_root", "service_account", "network", "resources_path"}
_BUCKET = re.compile(r"gs://[^/]")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+\Z")
_PERSISTENT_WAIT_MS = 60_000  # then a step takes a machine of its own
# What names a run does not make it another run.
_NAMES = ("run", "run_id", "display_name", "dataset_uri", "notify", "code")


@dataclass(frozen=True)
class VertexRun:
    """A run as the user asked for it; what is not named here is an option of `tunepipe run`.

    Args:
        bucket: gs://BUCKET, or a folder in it; results, data and the registry are kept below it.
        parameters: The pipeline's parameters that were set; `dataset_uri` is required. What is
            not set is not sent, and 0, "" and {} are sent as they are.
        pipeline: A compiled pipeline's file to run; "" compiles the backend's own again.
        emails: Addresses that Vertex AI mails when the run ends.
        accelerator: What the steps of the local backend ask a cluster for; "" for none.
    """

    backend: str
    project: str
    region: str
    bucket: str
    parameters: Mapping[str, Any]
    service_account: str = ""
    network: str = ""
    encryption_key: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    pipeline: str = ""
    emails: tuple[str, ...] = ()
    accelerator: str = ""
    image: str = ""
    code: str = ""
    wheelhouse: str = ""
    persistent_resource: str = ""

    @property
    def root(self) -> str:
        """The folder of tunepipe in the bucket."""
        return f"{self.bucket.rstrip('/')}/tunepipe"

    def spec(self) -> dict[str, Any]:
        """Return the pipeline that is run, from its file or compiled again."""
        if self.pipeline:
            text = read_template(self.pipeline).text
            check_template(text)
            spec = read_pipeline(text, f"--pipeline {self.pipeline}")
        else:
            spec = read(pipeline_text(self.backend, self.emails))
        if self.image:
            set_image(spec, self.image)
        return spec


@dataclass(frozen=True)
class JobRequest:
    """The arguments of CreatePipelineJob; `parent` is projects/P/locations/R.

    `uploads` are local files that have to be in the bucket first, each with its URI;
    `fingerprints` are those of the dataset's, whose URIs hold them.
    """

    parent: str
    job: Mapping[str, Any]
    uploads: Mapping[str, str]
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the request as the service takes it."""
        return {"parent": self.parent, "pipeline_job": dict(self.job)}


def prepare(run: VertexRun, *, again: bool = False, now: datetime) -> JobRequest:
    """Check a run and write its request; nothing is sent, and nothing is uploaded.

    `again` makes it another run than an equal one before, with a tuning job of its own.

    Raises:
        UsageError: An unknown parameter, a wrong type, a missing project or bucket.
        LimitError: Something would run outside the region.
    """
    _check(run)
    uploads, uri, fingerprints = _dataset(run)
    fingerprint = combined(fingerprints.values())
    moment = {"again": now.isoformat(timespec="microseconds")} if again else {}
    spec, sent, code = _pipeline(run, uri, moment)
    key = _key(fingerprint, f"{run.backend} {template_sha256(spec)}", {**sent, **guarded(sent)})
    # No run_id: records then name the run by its job, which status, promote and predict take.
    names = {
        "id": f"{now:%Y%m%d-%H%M%S}-{key[:6]}",
        "created": now.isoformat(timespec="seconds"),
        **{name: getattr(run, name) for name in ("backend", "project", "region")},
    }
    sent = {"run": names, **sent}
    request = _request(run, spec, sent, {RUN_LABEL: key}, code, uploads)
    return replace(request, fingerprints=fingerprints)


def prepare_recurring(run: VertexRun, schedule: str) -> JobRequest:
    """Check what a schedule will run, and write its request; nothing is sent. See `prepare`.

    Its dataset is read again each time, so it must be in Cloud Storage; the runs have the
    schedule's name as a label.
    """
    _check(run)
    source = str(run.parameters.get("dataset_uri", ""))
    _require_in_cloud(source, f"--dataset {source}", "a schedule reads its dataset again each time")
    spec, sent, code = _pipeline(run, source)
    # Other parameters begin another series: what was seen with the old ones says nothing.
    sent["series"] = f"{schedule}-{_key('', run.backend, sent)[:8]}"
    # Not the label of a single run: what it runs over is not known before it runs.
    return _request(run, spec, sent, {SCHEDULE_LABEL: schedule}, code, {})


def _check(run: VertexRun) -> None:
    # 1. Where it runs, and whom it notifies.
    for name in ("project", "region", "bucket"):
        if not getattr(run, name):
            raise UsageError(
                "is required to run on Vertex AI",
                where=f"--{name}",
                fix=f"give --{name}, or {name} in tunepipe.toml",
            )
    if not _BUCKET.match(run.bucket):
        raise UsageError("must be a gs:// URI", where="--bucket", fix="write gs://BUCKET")
    webhook.check_place(str(run.parameters.get("notify", "")), in_cloud=True)
    if wrong := [email for email in run.emails if not _EMAIL.match(email)]:
        raise UsageError(
            "not an e-mail address", where=f"--email {wrong[0]}", fix="write NAME@HOST"
        )
    if run.emails and run.pipeline:
        raise UsageError(
            "a pipeline that is compiled already cannot be given e-mails",
            where="--email",
            fix="leave out --pipeline, or tell people by --notify",
        )
    if guard := str(run.parameters.get("guard_uri", "")):
        _require_in_cloud(guard, f"guard_uri {guard}", "a run in the cloud reads it there")
    # 2. What the tuning step would refuse after the steps before it.
    options = _options(run)
    for name in _TEXTS & options.keys():
        if not isinstance(options[name], str):
            raise UsageError("must be a text", where=name, fix=f'{name}="{options[name]}"')
    rate = run.parameters.get("learning_rate_multiplier", 1.0)
    catalog = load_catalog(run.parameters.get("tables"))
    base_model = run.parameters.get("base_model") or catalog.find_model(backend=run.backend).name
    request = TuningRequest(
        base_model=str(base_model),
        train_uri="gs://bucket/train.jsonl",  # nothing reads the rows yet
        eval_uri="gs://bucket/eval.jsonl",
        train_steps=1,
        batch_size=1,
        # Its type is checked with the other parameters'.
        learning_rate_multiplier=rate if isinstance(rate, (int, float)) else 1.0,
        project=run.project,
        region=run.region,
        display_name="tunepipe",
        options=options,
        catalog=catalog,
    )
    row_format = str(run.parameters.get("format", ""))
    load_remote_tuner(run.backend).check_request(request, row_format)


def _require_in_cloud(uri: str, where: str, reason: str) -> None:
    if not storage.is_gcs(uri):
        raise UsageError(
            f"{reason}, so it must lie in Cloud Storage",
            where=where,
            fix="copy it to the bucket and give its gs:// URI",
        )


def _options(run: VertexRun) -> dict[str, Any]:
    """What the child job shares with the run, unless the user says otherwise."""
    shared = {
        "service_account": run.service_account,
        "network": run.network,
        "encryption_spec_key_name": run.encryption_key,
    }
    set_by_user = {name: value for name, value in shared.items() if value}
    return {**set_by_user, **run.parameters.get("options", {})}


def _dataset(run: VertexRun) -> tuple[dict[str, str], str, dict[str, str]]:
    """Return what has to be uploaded, where the dataset then is, and its files' fingerprints."""
    source = str(run.parameters.get("dataset_uri", ""))
    if not source:
        raise UsageError("is required", where="--dataset", fix="give a path or a gs:// URI")
    fingerprints = {file: fingerprint_of(file) for file in storage.list_files(source)}
    if storage.is_gcs(source):
        return {}, source, fingerprints
    names = {path: _SIGNS.sub("_", Path(path).name) for path in fingerprints}
    if len(set(names.values())) < len(names):
        raise UsageError("two files of the same name", where=source, fix="rename one")
    # The key includes the names: the same rows under other names would otherwise count twice.
    contents = "\n".join([combined(fingerprints.values()), *sorted(names.values())])
    folder = f"{run.root}/datasets/{hashlib.sha256(contents.encode()).hexdigest()[:16]}"
    uploads = {path: f"{folder}/{name}" for path, name in names.items()}
    (uri,) = uploads.values() if len(uploads) == 1 else (f"{folder}/*",)
    return uploads, uri, fingerprints


def _pipeline(
    run: VertexRun, dataset_uri: str, options: Mapping[str, str] = MappingProxyType({})
) -> tuple[dict[str, Any], dict[str, Any], Code]:
    """Return the pipeline, its checked parameters, and the code that its steps install."""
    spec = run.spec()
    code = find_code(spec, run.root, image=run.image, code=run.code, wheelhouse=run.wheelhouse)
    parameters = {
        "registry": f"{run.root}/registry/{run.backend}",
        "work_dir": f"{run.root}/work",
        **run.parameters,
        "dataset_uri": dataset_uri,
        "project": run.project,
        "region": run.region,
        "options": {**_options(run), **options},
        **code.parameters,
    }
    return spec, check_parameters(spec, parameters), code


def _key(fingerprint: str, backend: str, parameters: Mapping[str, Any]) -> str:
    work = {name: value for name, value in parameters.items() if name not in _NAMES}
    return digest_of([fingerprint, backend, work], KEY_CHARACTERS)


def _request(
    run: VertexRun,
    spec: Mapping[str, Any],
    parameters: Mapping[str, Any],
    labels: Mapping[str, str],
    code: Code,
    uploads: Mapping[str, str],
) -> JobRequest:
    uploads = {**uploads, **code.uploads}
    # A custom job finds this package's code in the bucket; the run's key goes without it.
    options = parameters.get("options", {})
    if run.backend == "custom" and not options.get("code"):
        wheel, sha256 = code.wheel or cached_wheel()
        uri = wheel_uri(run.root, wheel, sha256)
        parameters = {**parameters, "options": {**options, "code": uri}}
        uploads[str(wheel)] = uri
    for name, value in run.labels.items():
        if name.startswith("tunepipe_"):
            raise LimitError(
                "labels starting with tunepipe_ are reserved",
                where=f"{name}={value}",
                fix="choose another name",
            )
        if not (_is_label(name) and name[:1].isalpha() and _is_label(value)):
            raise UsageError(
                "invalid label",
                where=f"--label {name}={value}",
                fix="small letters, digits, _ and -, at most 63; the name begins with a letter",
            )
    job: dict[str, Any] = {
        "display_name": spec["pipelineInfo"]["name"],
        "labels": {
            **run.labels,
            **labels,
            **payer_label(),
            "tunepipe_backend": run.backend,
            "tunepipe_code": content_hash()[:16],
        },
        "runtime_config": {
            "gcs_output_directory": f"{run.root}/runs",
            "parameter_values": parameters,
            **_default_runtime(run),
        },
        "service_account": run.service_account,
        "network": run.network,
        "encryption_spec": {"kms_key_name": run.encryption_key} if run.encryption_key else {},
        "pipeline_spec": spec,
    }
    job = {name: value for name, value in job.items() if value}
    return JobRequest(clients.parent(run.project, run.region), job, uploads)


def _default_runtime(run: VertexRun) -> dict[str, Any]:
    """Have the steps run on a persistent resource; without room they wait for new machines."""
    if not run.persistent_resource:
        return {}
    place, name = clients.parent(run.project, run.region), run.persistent_resource
    name = name if "/" in name else f"{place}/persistentResources/{name}"
    if f"/locations/{run.region}/" not in name:
        raise LimitError(
            f"the persistent resource is not in {run.region}",
            where="persistent_resource",
            fix="name one of the run's region",
        )
    runtime = {
        "persistent_resource_name": name,
        "task_resource_unavailable_wait_time_ms": _PERSISTENT_WAIT_MS,
        "task_resource_unavailable_timeout_behavior": "FALL_BACK_TO_ON_DEMAND",
    }
    return {"default_runtime": {"persistent_resource_runtime_detail": runtime}}


def _is_label(text: str) -> bool:
    signs = text.replace("_", "").replace("-", "")
    return len(text) <= 63 and text == text.lower() and (not signs or signs.isalnum())
