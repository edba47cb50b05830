"""The labels of the pipeline run that a step belongs to."""

from __future__ import annotations

import json
import os


def run_labels() -> dict[str, str]:
    """Return the run's labels for the jobs that the step starts; Vertex AI passes them on.

    Those that name the run itself are left out.
    """
    labels: dict[str, str] = json.loads(os.environ.get("VERTEX_AI_PIPELINES_RUN_LABELS") or "{}")
    ours = ("vertex-ai-", "tunepipe_")
    return {name: value for name, value in labels.items() if not name.startswith(ours)}
