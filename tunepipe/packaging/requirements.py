"""The one table of what a step may install, pinned to the versions in constraints.txt."""

from __future__ import annotations

from collections.abc import Iterable

# 3.11.16-slim-trixie, for all platforms; the same as in Dockerfile.
BASE_IMAGE = (
    "python:3.11-slim@sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7"
)
KFP = "kfp==2.17.0"

# Import name -> requirement. What a module imports and this table lacks is optional: the module
# looks for it and does without (vllm, bitsandbytes).
PINS = {
    "accelerate": "accelerate==1.15.0",
    "boto3": "boto3==1.44.8",
    "datasets": "datasets==5.2.0",
    "google.auth": "google-auth==2.62.2",
    "google.cloud.aiplatform_v1": "google-cloud-aiplatform==1.165.1",
    "google.cloud.storage": "google-cloud-storage==3.17.1",
    "google.genai": "google-genai==2.34.0",
    "jinja2": "Jinja2==3.1.6",
    "jsonschema": "jsonschema==4.26.0",
    "msgspec": "msgspec==0.22.0",
    "numpy": "numpy==2.4.6",
    "peft": "peft==0.21.2",
    "rapidfuzz": "RapidFuzz==3.14.6",
    "requests": "requests==2.33.0",
    "sacrebleu": "sacrebleu==2.6.0",
    "safetensors": "safetensors==0.8.0",
    "scipy": "scipy==1.17.1",
    "tenacity": "tenacity==9.1.4",
    "tokenizers": "tokenizers==0.23.3",
    "torch": "torch==2.13.0",
    "transformers": "transformers==5.23.0",
    "trl": "trl==1.16.0",
    "xxhash": "xxhash==4.1.0",
}

# What only the local backend needs, to train and to answer.
TRAINING = (
    "accelerate",
    "datasets",
    "peft",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
)


def requirements(imports: Iterable[str]) -> list[str]:
    """Return the pinned requirements, sorted, of the dotted names that are imported."""
    names = set(imports)
    return sorted(
        requirement
        for module, requirement in PINS.items()
        if any(name == module or name.startswith(f"{module}.") for name in names)
    )
