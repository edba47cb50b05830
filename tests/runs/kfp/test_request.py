"""What Kubernetes is asked for a step, and how large its disk is, with no host."""

import pytest

from tunepipe.backends.local.options import LocalOptions, TrainJobOptions
from tunepipe.runs.kfp.host import KfpSettings, Mount
from tunepipe.runs.kfp.request import _disk_gib, _kubernetes

JOB = TrainJobOptions(image="i", work_uri="s3://b/w")


@pytest.mark.parametrize(
    ("disk_gib", "options", "base_model", "size"),
    [
        (None, LocalOptions(), "org/model-21b", 0),  # 40 GiB, which a node has
        (None, LocalOptions(), "org/model-22b", 41 + 20),
        (None, LocalOptions(merge=True), "org/model-21b", 79 + 20),
        (None, LocalOptions(train_job=JOB), "org/model-70b", 0),
        (0, LocalOptions(), "org/model-70b", 0),
        (7, LocalOptions(train_job=JOB), "org/model-1b", 7),
    ],
)
def test_the_disk_of_a_step(
    disk_gib: int | None, options: LocalOptions, base_model: str, size: int
) -> None:
    assert _disk_gib(KfpSettings(disk_gib=disk_gib), options, base_model) == size


ALL = KfpSettings(
    secrets={"s3": {"AWS_KEY": "key"}},
    volume=Mount("claim", "/mnt"),
    node_selector={"gpu": "l4"},
    tolerations=[{"key": "gpu"}],
)
EVERYWHERE = {
    "secretAsEnv": [
        {
            "secretName": "s3",
            "secretNameParameter": {"runtimeValue": {"constant": "s3"}},
            "optional": False,
            "keyToEnv": [{"envVar": "AWS_KEY", "secretKey": "key"}],
        }
    ],
    "pvcMount": [
        {
            "constant": "claim",
            "pvcNameParameter": {"runtimeValue": {"constant": "claim"}},
            "mountPath": "/mnt",
        }
    ],
}
ON_A_GPU = {"nodeSelector": {"labels": {"gpu": "l4"}}, "tolerations": [{"key": "gpu"}]}


def disk(storage_class: str) -> dict[str, object]:
    volume = {
        "volumeName": "disk",
        "mountPath": "/disk",
        "accessModes": ["ReadWriteOnce"],
        "size": "61Gi",
        "defaultStorageClass": not storage_class,
        "storageClassName": storage_class,
    }
    return {"genericEphemeralVolume": [volume], "securityContext": {"runAsUser": 0}}


@pytest.mark.parametrize(
    ("settings", "disk_gib", "has_accelerator", "config"),
    [
        (KfpSettings(), 0, True, {}),
        (KfpSettings(), 61, False, {}),
        (KfpSettings(), 61, True, disk("")),
        (KfpSettings(storage_class="ssd"), 61, True, disk("ssd")),
        (ALL, 61, False, EVERYWHERE),
        (ALL, 0, True, EVERYWHERE | ON_A_GPU),
        (ALL, 61, True, EVERYWHERE | ON_A_GPU | disk("")),
    ],
)
def test_what_a_step_gets_of_kubernetes(
    settings: KfpSettings, disk_gib: int, has_accelerator: bool, config: dict[str, object]
) -> None:
    assert _kubernetes(settings, disk_gib, has_accelerator=has_accelerator) == config
