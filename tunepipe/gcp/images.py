"""What a container image says of itself, read from its registry; nothing is pulled or run."""

from __future__ import annotations

import hashlib
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
    place, version = _place(image)
    manifest = _get(f"{place}/manifests/{version}", image).json()
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
        manifest = _get(f"{place}/manifests/{digests[0]}", image).json()
    config = _get(f"{place}/blobs/{manifest['config']['digest']}", image).json()
    return dict(config.get("config") or {})


def by_digest(image: str) -> str:
    """Return an image's name by digest: of a tag, the one that it has in its registry now.

    Raises what `read_image` does, and asks nobody if the name has a digest already.
    """
    if "@" in image:
        return image
    place, version = _place(image)
    manifest = _get(f"{place}/manifests/{version}", image).content
    name = image.removesuffix(f":{version}")
    return f"{name}@sha256:{hashlib.sha256(manifest).hexdigest()}"


def _place(image: str) -> tuple[str, str]:
    """Return the address of an image's repository, and its digest or tag."""
    registry, _, path = image.partition("/")
    if not path or ("." not in registry and ":" not in registry):
        raise UsageError("it names no registry", where=image, fix="REGISTRY/NAME@sha256:…")
    name, _, digest = path.partition("@")
    name, _, tag = name.partition(":")
    is_here = registry.partition(":")[0] in ("localhost", "127.0.0.1")
    scheme = "http" if is_here else "https"
    return f"{scheme}://{registry}/v2/{name}", digest or tag or "latest"


def _get(url: str, image: str) -> Any:
    fix = "check the image's name, and that you may read it; or name it by digest: NAME@sha256:…"
    return fetch(url, "its description", where=image, fix=fix, accept=_MANIFESTS)
