"""Imports an evaluation into the Vertex Model Registry, next to its model.

The call is the one that ModelImportEvaluationOp of google-cloud-pipeline-components makes
(ModelService.ImportModelEvaluation); that component starts a container of its own, reads metrics in
a shape of its own, and imports the whole of google.cloud.aiplatform.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunepipe.data.fingerprint import digest_of
from tunepipe.gcp import clients
from tunepipe.gcp.clients import CALL_SECONDS
from tunepipe.gcp.explanations import explained

# google-cloud-pipeline-components 2.22.0, import_model_evaluation.py, read 2026-11-22.
_SCHEMAS = "gs://google-cloud-aiplatform/schema/modelevaluation/"
_CLASSIFICATION = f"{_SCHEMAS}classification_metrics_1.0.0.yaml"
_TEXT = f"{_SCHEMAS}general_text_generation_metrics_1.0.0.yaml"
_ANSWERS = f"{_SCHEMAS}question_answering_metrics_1.0.0.yaml"


def import_step(tuning: str, comparison: str, pipeline_job: str = "") -> str:
    """Import what compare_models found of the tuned model; once, however often it is tried.

    Returns:
        The evaluation's resource name, or a sentence that says why there is none: weights on
        gs:// are in no registry.
    """
    model = str(json.loads(Path(tuning).read_text(encoding="utf-8")).get("model") or "")
    if clients.kind_of(model) != "models":
        return f"left out: {model or 'the model'} is not in the Vertex Model Registry"
    compared = json.loads(Path(comparison).read_text(encoding="utf-8"))
    evaluation = _evaluation(compared, pipeline_job)
    if not evaluation["metrics"]:
        return f"left out: {model} answered no row, so there is nothing that Google's schemas know"
    with explained(model):
        client = clients.models(clients.region_of(model))
        for known in client.list_model_evaluations(parent=model, timeout=CALL_SECONDS):
            if known.display_name == evaluation["display_name"]:
                return str(known.name)
        imported = client.import_model_evaluation(
            parent=model, model_evaluation=evaluation, timeout=CALL_SECONDS
        )
    return str(imported.name)


def _evaluation(compared: Mapping[str, Any], pipeline_job: str) -> dict[str, Any]:
    tuned = compared["scores"]["tuned"]
    job = pipeline_job if pipeline_job.startswith("projects/") else ""
    about = {
        "pipeline_job_resource_name": job,
        "pipeline_job_id": job.rpartition("/")[2],
        "tunepipe": {
            **{name: compared[name] for name in ("verdict", "reason", "task", "comparisons")},
            **{name: tuned[name] for name in ("rows", "unanswered", "metrics")},
        },
    }
    schema, metrics = _in_google_terms(tuned["metrics"], tuned.get("confusion"))
    return {
        "display_name": f"tunepipe {digest_of(compared, 12)}",
        "metrics_schema_uri": schema,
        "metrics": metrics,
        "metadata": {name: value for name, value in about.items() if value},
    }


def _in_google_terms(
    metrics: Mapping[str, Mapping[str, Any]], confusion: Mapping[str, Any] | None
) -> tuple[str, dict[str, Any]]:
    """Return the schema that suits the task, and those of its metrics that we have.

    All of tunepipe's metrics, with intervals, are in the metadata. Google's BLEU counts to 100;
    rougeLSum is ROUGE-L where an answer is one line.
    """
    if confusion:
        labels = [
            {"id": str(n), "displayName": label} for n, label in enumerate(confusion["labels"])
        ]
        rows = [{"dataItemCounts": row} for row in confusion["matrix"]]
        return _CLASSIFICATION, {"confusionMatrix": {"annotationSpecs": labels, "rows": rows}}
    known = {name: values["value"] for name, values in metrics.items()}
    if "object_exact" in known:
        return _ANSWERS, {"exactMatch": known["object_exact"]}
    if "bleu" in known:
        return _TEXT, {"bleu": 100 * known["bleu"], "rougeLSum": known["rouge_l"]}
    return _TEXT, {}
