"""What a container image says of itself, read from its registry; nothing is pulled or run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.errors import UsageError
from tunepipe.gcp.rest import fetch

_MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        *("oci.image.index.v1", "oci.image.manifest.v1"),
        *("docker.distribution.manifest.list.v2", "docker.distribution.manifest.v2"),
    )
)


def read_image(image: str) -> Mapping[str, Any]:
    """Read the configuration (Env, Labels, …) of an image, REGISTRY/NAME:TAG or …@DIGEST.

    Raises:
        UsageError: It names no registry, or no image for Linux on amd64.
        RefusedError: The registry does not have it, or asks for a login.
        CloudError: The registry cannot be reached.
    """
    registry, _, path = image.partition("/")
    if not path or ("." not in registry and ":" not in registry):
        raise UsageError("it names no registry", where=image, fix="REGISTRY/NAME@sha256:…")
    name, _, digest = path.partition("@")
    name, _, tag = name.partition(":")
    is_here = registry.partition(":")[0] in ("localhost", "127.0.0.1")
    place = f"{'http' if is_here else 'https'}://{registry}/v2/{name}"
    manifest = _get(f"{place}/manifests/{digest or tag or 'latest'}", image)
    if entries := manifest.get("manifests"):
        platform = {"os": "linux", "architecture": "amd64"}
        digests = [
            entry["digest"] for entry in entries if platform.items() <= entry["platform"].items()
        ]
        if not digests:
            raise UsageError(
                "it has no image for Linux on amd64",
                where=image,
                fix="build it with --platform linux/amd64",
            )
        manifest = _get(f"{place}/manifests/{digests[0]}", image)
    config = _get(f"{place}/blobs/{manifest['config']['digest']}", image)
    return dict(config.get("config") or {})


def _get(url: str, image: str) -> Any:
    fix = "check the image's name, and that you may read it"
    return fetch(url, "its description", where=image, fix=fix, accept=_MANIFESTS).json()
