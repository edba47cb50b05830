"""The request to a KFP host: the pipeline, its steps' cluster settings, and parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tunepipe.backends.local.options import LocalOptions, disk_gib_of
from tunepipe.catalog.accelerators import parameters_billion
from tunepipe.decoding import decode
from tunepipe.errors import UsageError
from tunepipe.notifications import webhook
from tunepipe.runs import pipeline_spec
from tunepipe.runs.code import find_code
from tunepipe.runs.kfp.host import KfpSettings
from tunepipe.runs.kfp.workflow_size import require_fit
from tunepipe.runs.vertex_request import VertexRun
from tunepipe.stores import storage
from tunepipe.stores.cloud_storage import USER_PROJECT, user_project

LOCAL = "local"
# What a model may take of a node's own disk, room for other files on one of its own, and where
# that is mounted.
_NODE_GIB, _SPARE_GIB, _DISK = 40, 20, "/disk"


@dataclass(frozen=True)
class HostRequest:
    """A checked run: the spec, with a second document for Kubernetes, and parameters to send."""

    text: str
    parameters: Mapping[str, Any]

    @property
    def version(self) -> str:
        """The pipeline's version: equal pipelines have the same."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    @property
    def pipeline(self) -> str:
        """The pipeline's name."""
        return str(next(yaml.safe_load_all(self.text))["pipelineInfo"]["name"])


def prepare(run: VertexRun, settings: KfpSettings) -> HostRequest:
    """Check what a KFP host is to run, and write it; nothing is sent.

    Raises:
        UsageError: Something is not in an object store that the cluster reaches, the steps have no
            code, or a parameter is unknown.
        LimitError: The host could not carry the run to its end.
    """
    if run.backend != LOCAL:
        raise UsageError(
            "this backend runs on Vertex AI only",
            where=f"--backend {run.backend}",
            fix="--backend local, which tunes on the cluster's own GPUs",
        )
    places = {
        "--dataset": str(run.parameters["dataset_uri"]),
        "--bucket": run.bucket,
        "guard_uri": str(run.parameters.get("guard_uri", "")) or run.bucket,
    }
    for name, uri in places.items():
        if not storage.is_object(uri):
            raise UsageError(
                "must be a URI that the cluster reaches",
                where=f"{name} {uri}".rstrip(),
                fix="gs://BUCKET/…, s3://BUCKET/… or minio://BUCKET/…",
            )
    webhook.check_place(str(run.parameters.get("notify", "")), in_cloud=True)
    options = decode(run.parameters.get("options") or {}, LocalOptions)
    spec = run.spec()
    # Argo repeats a step that ends with an error and not one whose node is lost; what may pass is
    # waited out in the step, and what was refused stays refused.
    pipeline_spec.drop_retries(spec)
    if run.accelerator:
        pipeline_spec.add_accelerators(spec, run.accelerator)
    code: Mapping[str, str] = {}
    if "code" not in run.parameters and pipeline_spec.thin_steps(spec):
        if run.wheelhouse or not (run.image or run.code):
            raise UsageError(
                "the steps on a KFP host need the package from an image or an address",
                where="--wheelhouse" if run.wheelhouse else "--image",
                fix="--image NAME@sha256:…, or --code https://…/tunepipe-….whl#sha256=…; a cluster "
                "does not mount the bucket",
            )
        code = find_code(spec, run.root, image=run.image, code=run.code).parameters
    parameters = {
        "registry": f"{run.root}/registry/{run.backend}",
        "work_dir": f"{settings.volume.folder}/tunepipe" if settings.volume else f"{run.root}/work",
        **run.parameters,
        **code,
    }
    sent = pipeline_spec.check_parameters(spec, parameters)
    if payer := user_project():
        for container in pipeline_spec.containers(spec):
            container.setdefault("env", []).append({"name": USER_PROJECT, "value": payer})
    require_fit(spec, sent)
    disk_gib = _disk_gib(settings, options, str(run.parameters.get("base_model", "")))
    if disk_gib:
        for name in pipeline_spec.ON_ACCELERATORS:
            container = spec["deploymentSpec"]["executors"][name]["container"]
            # The hub's weights, and checkpoints that are copied to the object store.
            folders = {"HF_HOME": f"{_DISK}/hub", "TMPDIR": _DISK}
            container.setdefault("env", []).extend(
                {"name": name, "value": folder} for name, folder in folders.items()
            )
    return HostRequest(_documents(spec, settings, disk_gib), sent)


def _disk_gib(settings: KfpSettings, options: LocalOptions, base_model: str) -> int:
    """Return the size of the disk for the steps that tune and ask models; 0 for none."""
    if settings.disk_gib is not None:
        return settings.disk_gib
    if options.train_job:  # trains on other nodes
        return 0
    needed = disk_gib_of(options, parameters_billion(base_model))
    return needed + _SPARE_GIB if needed > _NODE_GIB else 0


def _documents(spec: Mapping[str, Any], settings: KfpSettings, disk_gib: int) -> str:
    """Return the spec and, where the steps get something of Kubernetes, a document for it."""
    from google.protobuf.json_format import ParseDict, ParseError
    from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig

    executors: dict[str, Any] = {}
    for name in spec["deploymentSpec"]["executors"]:
        config = _kubernetes(
            settings, disk_gib, has_accelerator=name in pipeline_spec.ON_ACCELERATORS
        )
        if not config:
            continue
        try:
            ParseDict(config, KubernetesExecutorConfig())
        except ParseError as error:
            raise UsageError(
                f"not a setting of Kubernetes: {error}", where="--kfp", fix="see its API"
            ) from error
        executors[name] = config
    text: str = yaml.safe_dump(dict(spec), sort_keys=True)
    if not executors:
        return text
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    return f"{text}---\n{yaml.safe_dump(platform, sort_keys=True)}"


def _kubernetes(settings: KfpSettings, disk_gib: int, *, has_accelerator: bool) -> dict[str, Any]:
    """Return what one step gets, as kfp-kubernetes writes it."""
    config: dict[str, Any] = {}
    if settings.secrets:
        config["secretAsEnv"] = [
            {
                "secretName": name,
                "secretNameParameter": {"runtimeValue": {"constant": name}},
                "optional": False,
                "keyToEnv": [
                    {"envVar": variable, "secretKey": key} for variable, key in keys.items()
                ],
            }
            for name, keys in settings.secrets.items()
        ]
    if volume := settings.volume:
        config["pvcMount"] = [
            {
                "constant": volume.claim,
                "pvcNameParameter": {"runtimeValue": {"constant": volume.claim}},
                "mountPath": volume.folder,
            }
        ]
    if has_accelerator and disk_gib:
        config["genericEphemeralVolume"] = [
            {
                "volumeName": "disk",
                "mountPath": _DISK,
                "accessModes": ["ReadWriteOnce"],
                "size": f"{disk_gib}Gi",
                "defaultStorageClass": not settings.storage_class,
                "storageClassName": settings.storage_class,
            }
        ]
        # A new volume's folder is root's, and KFP has no setting for its group.
        config["securityContext"] = {"runAsUser": 0}
    if has_accelerator and settings.node_selector:
        config["nodeSelector"] = {"labels": dict(settings.node_selector)}
    if has_accelerator and settings.tolerations:
        config["tolerations"] = [dict(toleration) for toleration in settings.tolerations]
    return config
