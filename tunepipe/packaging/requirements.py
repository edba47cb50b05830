"""The one table of what a step may install, in the versions of requirements.lock.

python requirements.py tools  # what an image is built with, from requirements.lock
python requirements.py cpu    # what an image for every backend but local holds
python requirements.py cuda   # what an image for all backends holds
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

# 3.11.16-slim-trixie, for all platforms; the same as in Dockerfile.
BASE_IMAGE = (
    "python:3.11-slim@sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7"
)
_LOCK = Path(__file__).with_name("requirements.lock").read_text(encoding="utf-8")
_VERSIONS = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", _LOCK, re.MULTILINE))
KFP = f"kfp=={_VERSIONS['kfp']}"

# What only the local backend needs, to train and to answer.
TRAINING = (
    *("accelerate", "bitsandbytes", "datasets", "peft", "safetensors", "tokenizers"),
    *("torch", "transformers", "trl"),
)
# What the steps import. What a module imports and is not here is optional: the module looks for it
# and does without (vllm). Weights in 4 bits alone need bitsandbytes.
_IMPORTS = (
    *("boto3", "google.auth", "google.cloud.aiplatform_v1", "google.cloud.storage"),
    *("google.genai", "jinja2", "jsonschema", "kubernetes", "msgspec", "numpy", "rapidfuzz"),
    *("requests", "sacrebleu", "scipy", "tenacity", "xxhash", *TRAINING),
)
_PACKAGES = {module: module.removesuffix("_v1").replace(".", "-") for module in _IMPORTS}
# Import name -> requirement.
PINS = {module: f"{name}=={_VERSIONS[name]}" for module, name in _PACKAGES.items()}


def requirements(imports: Iterable[str]) -> list[str]:
    """Return the pinned requirements, sorted, of the dotted names that are imported."""
    names = set(imports)
    return sorted(
        requirement
        for module, requirement in PINS.items()
        if any(name == module or name.startswith(f"{module}.") for name in names)
    )


def locked_for_image(variant: str) -> str:
    """Return the part of requirements.lock that an image holds; see the module for variants."""
    tools, needs = {"setuptools"}, _read_lock()[1]["tunepipe"]
    variants = {"tools": tools, "cpu": needs - {*TRAINING} | tools, "cuda": needs | tools}
    return locked(variants[variant], alone="")


def locked(names: Iterable[str], alone: str = "kfp", there: Iterable[str] = ()) -> str:
    """Return the part of requirements.lock that holds packages and, but for one, their own needs.

    A step takes of kfp only its types. Needs that are `there` already are left out with theirs.
    """
    entries, needs = _read_lock()
    chosen: set[str] = set()
    waiting, left_out = _normalized(names), _normalized(there)
    while waiting:
        name = waiting.pop()
        chosen.add(name)
        if name != alone:
            waiting |= needs.get(name, set()) - chosen - left_out
    return "".join(entries[name] for name in sorted(chosen))


def _normalized(names: Iterable[str]) -> set[str]:
    return {re.sub(r"[-_.]+", "-", name.lower()) for name in names}


def _read_lock() -> tuple[dict[str, str], dict[str, set[str]]]:
    """Return the lock's entries, and what each package and tunepipe itself need, by name."""
    entries: dict[str, str] = {}
    needs: dict[str, set[str]] = {}
    for entry in re.split(r"^(?=[a-z])", _LOCK, flags=re.MULTILINE)[1:]:
        name = entry.partition("==")[0]
        entries[name] = entry
        for parent in re.findall(r"^ +#(?: via)? +([\w.-]+)", entry, re.MULTILINE):
            needs.setdefault(parent, set()).add(name)
    return entries, needs


if __name__ == "__main__":
    print(locked_for_image(sys.argv[1]))
