"""Labels of a paid job: the one that finds it again, and those of its run."""

from __future__ import annotations

import json
import os
import re

KEY_LABEL = "tunepipe_key"
# The run's own id, so that its steps know for whom they work; Vertex AI passes labels on to steps.
RUN_ID_LABEL = "tunepipe_run_id"
# A key is a SHA-256 in hex, cut to what a label's value and a job's id have room for.
KEY_CHARACTERS = 40


def run_labels() -> dict[str, str]:
    """Return the run's labels for the jobs that a step starts, without those that name the run."""
    reserved = ("vertex-ai-", "tunepipe_")
    return {name: value for name, value in _labels().items() if not name.startswith(reserved)}


def run_label(name: str) -> str:
    """Return one of the run's labels; "" outside a run on Vertex AI, or where it has none."""
    return _labels().get(name, "")


def run_id(resources: str) -> str:
    """Return the id of the run that this step belongs to; "" outside a run on Vertex AI.

    Vertex AI keeps `gcp_resources` under ROOT/PROJECT_NUMBER/RUN/TASK/, which names a run that a
    schedule started.
    """
    match = re.match(r"/gcs/.+/\d+/([a-z][a-z0-9-]*)/[^/]+/[^/]+\Z", resources)
    return run_label(RUN_ID_LABEL) or (match[1] if match else "")


def _labels() -> dict[str, str]:
    labels: dict[str, str] = json.loads(os.environ.get("VERTEX_AI_PIPELINES_RUN_LABELS") or "{}")
    return labels
