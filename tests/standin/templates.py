"""The templates behind us-kfp.pkg.dev: Google's interface, a pipeline of our own."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import yaml
from google.api_core import exceptions

from .cloud import Cloud

_PREFIX = "https://us-kfp.pkg.dev/ml-pipeline/large-language-model-pipelines/"
_SERVED = {"tune-large-model": ("v2.0.0", "v3.0.0"), "tune-large-chat-model": ("v3.0.0",)}


class Templates:
    """Compiled on first use, in a process of their own, since kfp is slow to import."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._compiling = threading.Lock()

    def text(self, uri: str) -> str:
        """The template at a URI, or the error that Google's registry gives."""
        name, version = self._parts(uri)
        file = self.cloud.root / "templates" / f"{name}.yaml"
        with self._compiling:
            if not file.exists():
                _compile(name, file)
        text = file.read_text()
        digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        if version not in (*_SERVED[name], digest):
            raise exceptions.NotFound(f"{uri} not found.")
        return text

    def fetch(self, uri: str) -> dict[str, Any]:
        """The template's spec, fetched as the service agent fetches it."""
        fault = self.cloud.take_fault("template")
        if fault:
            raise exceptions.InvalidArgument(
                f"Failed to fetch the pipeline template from {uri}: {fault.code} {fault.message}"
            )
        try:
            return dict(json.loads(json.dumps(yaml.safe_load(self.text(uri)))))
        except exceptions.NotFound as error:
            raise exceptions.InvalidArgument(
                f"Failed to fetch the pipeline template from {uri}: 404 {error.message}"
            ) from error

    def _parts(self, uri: str) -> tuple[str, str]:
        match = re.match(re.escape(_PREFIX) + r"([a-z-]+)/(.+)\Z", uri)
        if not match or match[1] not in _SERVED:
            raise exceptions.NotFound(f"{uri} not found.")
        return match[1], match[2]


def _compile(name: str, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".part.yaml")
    subprocess.run(
        [sys.executable, "-m", "tests.standin.large_model_template", name, str(partial)],
        check=True,
        cwd=Path(__file__).parents[2],
    )
    partial.rename(file)
