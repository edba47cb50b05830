"""Write the SBOM of each variant of the image, from that of the wheel and its lock.

    python .ci/image_sbom.py build/sbom-wheel.json    # writes build/sbom-cpu.json and -cuda.json

The image holds the base image, the locked packages of its variant, and tunepipe.
"""

from __future__ import annotations

import copy
import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def image_sboms(wheel: dict[str, Any], dockerfile: str) -> dict[str, dict[str, Any]]:
    """Return the SBOM of each variant.

    Args:
        wheel: CycloneDX of the wheel with what it requires.
        dockerfile: The text of the Dockerfile.
    """
    image = re.search(r"^ARG PYTHON=(\w+):(\S+)@(sha256:[0-9a-f]{64})$", dockerfile, re.M)
    name, tag, digest = image.groups()
    requirements = runpy.run_path(str(ROOT / "tunepipe" / "packaging" / "requirements.py"))
    base = {
        "type": "container",
        "bom-ref": "base-image",
        "name": name,
        "version": tag,
        "purl": f"pkg:oci/{name}@{digest.replace(':', '%3A')}?tag={tag}",
        "hashes": [{"alg": "SHA-256", "content": digest.partition(":")[2]}],
    }
    package = wheel["metadata"]["component"]
    sboms = {}
    for variant in ("cpu", "cuda"):
        lock = requirements["locked_for_image"](variant)
        names = set(re.findall(r"^([\w.-]+)==", lock, re.M))
        sbom = copy.deepcopy(wheel)
        sbom["metadata"]["component"] = {
            "type": "container",
            "bom-ref": "image",
            "name": f"tunepipe-{variant}",
            "version": package["version"],
        }
        locked = [
            each
            for each in wheel["components"]
            if re.sub(r"[-_.]+", "-", each["name"].lower()) in names
        ]
        sbom["components"] = [base, package, *locked]
        refs = [each["bom-ref"] for each in sbom["components"]]
        sbom["dependencies"] = [{"ref": "image", "dependsOn": sorted(refs)}]
        sboms[variant] = sbom
    return sboms


def main(path: Path) -> None:
    """Write the variants' files next to that of the wheel, which gets its version."""
    wheel = json.loads(path.read_text(encoding="utf-8"))
    package = (ROOT / "tunepipe" / "__init__.py").read_text(encoding="utf-8")
    wheel["metadata"]["component"]["version"] = re.search(r'__version__ = "(.+)"', package)[1]
    path.write_text(json.dumps(wheel, indent=2) + "\n", encoding="utf-8")
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for variant, sbom in image_sboms(wheel, dockerfile).items():
        file = path.with_name(f"sbom-{variant}.json")
        file.write_text(json.dumps(sbom, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
