"""The labels of a paid job: that by which it is found again, and those of the run it belongs to."""

from __future__ import annotations

import json
import os

KEY_LABEL = "tunepipe_key"
# A key is a SHA-256 in hex, cut to what a label's value and a job's id have room for.
KEY_CHARACTERS = 40


def run_labels() -> dict[str, str]:
    """Return the run's labels for the jobs that a step starts; Vertex AI passes them on.

    Those that name the run itself are left out.
    """
    labels: dict[str, str] = json.loads(os.environ.get("VERTEX_AI_PIPELINES_RUN_LABELS") or "{}")
    ours = ("vertex-ai-", "tunepipe_")
    return {name: value for name, value in labels.items() if not name.startswith(ours)}
