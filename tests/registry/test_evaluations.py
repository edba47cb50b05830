"""An evaluation in the Model Registry: once, in Google's terms, and beside its own model."""

import json
from pathlib import Path

import pytest
from kfp import dsl

from tests.standin.process import StandIn
from tests.standin.session import REGION
from tunepipe.data.predictions import Prediction, write
from tunepipe.errors import CloudError
from tunepipe.gcp import clients
from tunepipe.registry.evaluations import import_step
from tunepipe.steps.comparison import compare_step

JOB = "projects/123456789012/locations/europe-west4/pipelineJobs/run-1"
REFERENCES = {
    "text": [f"the answer to question {n}" for n in range(12)],
    "classification": ["yes", "no"] * 6,
    "json": [json.dumps({"n": n}) for n in range(12)],
}


@pytest.fixture
def model(cloud: StandIn, tmp_path: Path) -> str:
    body = {"location": REGION, "display_name": "desk", "base": "b", "adapter": "a"}
    name = str(cloud.ask("models", body)["name"])
    tuning(tmp_path, name)
    return name


def tuning(folder: Path, model: str) -> None:
    (folder / "tuning").write_text(json.dumps({"model": model, "endpoint": ""}))


def compared(folder: Path, task: str, answer: str | None = None) -> None:
    rows = {
        "tuned": [row if answer is None else answer for row in REFERENCES[task]],
        "base": ["no"] * 12,
    }
    artifacts = {}
    for name, answers in rows.items():
        pairs = enumerate(zip(REFERENCES[task], answers, strict=True))
        write((Prediction(str(n), "q", wanted, said) for n, (wanted, said) in pairs), folder / name)
        artifacts[name] = dsl.Artifact(uri=str(folder / name))
    settings = {"margin": 0.0, "guard_margin": 0.0, "seed": 0}
    compare_step(artifacts, str(folder / "comparison"), task=task, **settings)


def imported(folder: Path) -> str:
    return import_step(str(folder / "tuning"), str(folder / "comparison"), JOB)


@pytest.mark.parametrize(
    ("task", "schema", "metrics"),
    [
        ("text", "general_text_generation", {"bleu": pytest.approx(100), "rougeLSum": 1}),
        ("json", "question_answering", {"exactMatch": 1}),
    ],
)
def test_the_registry_shows_the_metrics(model, tmp_path, task, schema, metrics):
    compared(tmp_path, task)
    name = imported(tmp_path)
    assert name.startswith(f"{model.partition('@')[0]}/evaluations/")
    found = clients.models(REGION).get_model_evaluation(name=name)
    assert found.metrics_schema_uri.endswith(f"/{schema}_metrics_1.0.0.yaml")
    assert found.metrics == metrics
    assert found.metadata["pipeline_job_id"] == "run-1"
    assert found.metadata["pipeline_job_resource_name"] == JOB
    ours = found.metadata["tunepipe"]
    assert ours["verdict"] == "better"
    assert ours["comparisons"]["base"]["wins"] == 12
    assert set(ours["metrics"]["answered"]) == {"value", "low", "high"}


def test_a_classification_is_its_confusion_matrix(model, tmp_path):
    compared(tmp_path, "classification")
    found = clients.models(REGION).get_model_evaluation(name=imported(tmp_path))
    assert found.metrics_schema_uri.endswith("/classification_metrics_1.0.0.yaml")
    matrix = found.metrics["confusionMatrix"]
    assert [spec["displayName"] for spec in matrix["annotationSpecs"]] == ["no", "yes"]
    assert [list(row["dataItemCounts"]) for row in matrix["rows"]] == [[6, 0], [0, 6]]


def test_a_step_that_is_tried_again_imports_once(cloud, model, tmp_path):
    compared(tmp_path, "text")
    cloud.fault("ImportModelEvaluation", drop="after")
    with pytest.raises(CloudError):
        imported(tmp_path)
    first = imported(tmp_path)
    assert imported(tmp_path) == first
    client = clients.models(REGION)
    assert [one.name for one in client.list_model_evaluations(parent=model)] == [first]
    compared(tmp_path, "text", answer="another answer")
    assert imported(tmp_path) != first, "another comparison is another evaluation"
    assert len(list(client.list_models(parent=model.partition("/models/")[0]))) == 1


@pytest.mark.parametrize(
    "elsewhere", ["gs://bucket/final", "/a/folder", "", "projects/p/locations/r/endpoints/1"]
)
def test_a_model_outside_the_registry_is_left_out(cloud, tmp_path, elsewhere):
    tuning(tmp_path, elsewhere)
    compared(tmp_path, "text")
    assert imported(tmp_path).startswith(f"left out: {elsewhere}")
    assert cloud.calls("ImportModelEvaluation") == []


def test_a_model_that_answered_no_row_is_left_out(tmp_path):
    model = f"projects/1/locations/{REGION}/models/1@1"
    tuning(tmp_path, model)
    scores = {"tuned": {"rows": 3, "unanswered": 3, "metrics": {"answered": {"value": 0.0}}}}
    comparison = {"verdict": "", "reason": "", "task": "text", "comparisons": {}, "scores": scores}
    (tmp_path / "comparison").write_text(json.dumps(comparison))
    assert imported(tmp_path) == (
        f"left out: {model} answered no row, so there is nothing that Google's schemas know"
    )


def test_a_model_that_is_gone_is_a_cloud_error(cloud, tmp_path):
    tuning(tmp_path, f"projects/123456789012/locations/{REGION}/models/1@1")
    compared(tmp_path, "text")
    with pytest.raises(CloudError, match="not found"):
        imported(tmp_path)
