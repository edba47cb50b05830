"""The backend large-model: what it sends, what it reads back, how it asks."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.standin.process import StandIn
from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.backends.base import Prompt, TuningRequest
from tunepipe.backends.palm import prediction, tuning
from tunepipe.catalog.backends import RequestPacing
from tunepipe.errors import CloudError, DataError, LimitError, UsageError
from tunepipe.evaluation.ask import predict_rows
from tunepipe.gcp import pipeline_jobs

ROOT = f"gs://{BUCKET}/pipeline_root"


def lines(count: int, prefix: str = "question") -> str:
    return "\n".join(
        json.dumps({"input_text": f"{prefix} {n}", "output_text": f"answer {n}"})
        for n in range(count)
    )


def request_(
    cloud: StandIn, train: int = 30, evaluation: int = 12, **options: Any
) -> TuningRequest:
    cloud.ask("instant", {"on": True})
    folder = cloud.buckets / BUCKET
    (folder / "train.jsonl").write_text(lines(train))
    (folder / "eval.jsonl").write_text(lines(evaluation, "held out"))
    return TuningRequest(
        base_model="text-bison@001",
        train_uri=f"gs://{BUCKET}/train.jsonl",
        eval_uri=f"gs://{BUCKET}/eval.jsonl",
        train_steps=20,
        batch_size=24,
        project=PROJECT,
        region=REGION,
        display_name="desk",
        options={"pipeline_root": ROOT, "poll_seconds": 0.2, **options},
    )


def tuned(request: TuningRequest, folder: Any) -> Any:
    return tuning.tune(request, str(folder), lambda event: None)


def sent(job: str) -> Mapping[str, Any]:
    found = pipeline_jobs.get(job)
    return dict(type(found).to_dict(found))


def test_the_job_is_exactly_what_was_asked_for(
    cloud: StandIn, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {"team": "desk", "vertex-ai-pipelines-run-billing-id": "1", "tunepipe_run": "abc"}
    monkeypatch.setenv("VERTEX_AI_PIPELINES_RUN_LABELS", json.dumps(run))
    key = f"projects/{PROJECT}/locations/{REGION}/keyRings/r/cryptoKeys/k"
    request = request_(
        cloud,
        service_account="runner@demo-project.iam.gserviceaccount.com",
        network="projects/123456789012/global/networks/n",
        encryption_spec_key_name=key,
        tpu_training_skip_cmek=True,
        tensorboard_resource_id=f"projects/1/locations/{REGION}/tensorboards/2",
        enable_early_stopping=False,
    )
    result = tuned(replace(request, labels={"cost-center": "7"}), tmp_path)
    job = sent(result.statistics["job"])
    assert job["template_uri"].endswith("/tune-large-model/v3.0.0")
    assert job["runtime_config"]["parameter_values"] == {
        "project": PROJECT,
        "model_display_name": "desk",
        "location": REGION,
        "accelerator_type": "TPU",
        "dataset_uri": f"gs://{BUCKET}/train.jsonl",
        "evaluation_data_uri": f"gs://{BUCKET}/eval.jsonl",
        "train_steps": 20.0,
        "encryption_spec_key_name": key,
        "tpu_training_skip_cmek": True,
        "tensorboard_resource_id": f"projects/1/locations/{REGION}/tensorboards/2",
        "enable_early_stopping": False,
    }
    labels = dict(job["labels"])
    assert len(labels.pop("tunepipe_key")) == 40
    assert labels == {"team": "desk", "cost-center": "7"}
    assert job["service_account"] == "runner@demo-project.iam.gserviceaccount.com"
    assert job["network"] == "projects/123456789012/global/networks/n"
    assert job["encryption_spec"]["kms_key_name"] == key


# What makes another request, and what does not.
OTHERS: list[tuple[dict[str, Any], int]] = [
    ({}, 1),
    ({"options": {"poll_seconds": 0.1}}, 1),
    ({"train_steps": 21}, 2),
    ({"display_name": "other"}, 1),
    ({"base_model": "text-bison@002"}, 2),
    ({"options": {"again": "2026-11-22"}}, 2),
    ({"options": {"template_version": "v2.0.0"}}, 2),
]


@pytest.mark.parametrize(("change", "jobs"), OTHERS)
def test_equal_requests_share_a_job_and_others_do_not(
    cloud: StandIn, tmp_path: Any, change: dict[str, Any], jobs: int
) -> None:
    first = request_(cloud)
    tuned(first, tmp_path / "a")
    options = {**first.options, **change.pop("options", {})}
    tuned(replace(first, **change, options=options), tmp_path / "b")
    assert len(cloud.ask("states")) == jobs


def test_the_same_rows_elsewhere_are_the_same_request_and_other_rows_are_not(
    cloud: StandIn, tmp_path: Any
) -> None:
    first = request_(cloud)
    tuned(first, tmp_path / "a")
    (cloud.buckets / BUCKET / "moved.jsonl").write_text(lines(30))
    moved = replace(first, train_uri=f"gs://{BUCKET}/moved.jsonl")
    tuned(moved, tmp_path / "b")
    assert len(cloud.ask("states")) == 1
    (cloud.buckets / BUCKET / "moved.jsonl").write_text(lines(31))
    tuned(moved, tmp_path / "c")
    assert len(cloud.ask("states")) == 2


ROW_COUNTS = [
    (9, 12, "9 rows to learn from; the template wants 10"),
    (30, 9, "10 to 256 rows, these are 9"),
    (30, 257, "10 to 256 rows, these are more"),
]


@pytest.mark.parametrize(("train", "evaluation", "said"), ROW_COUNTS)
def test_row_counts_are_checked_before_anything_is_paid(
    cloud: StandIn, tmp_path: Any, train: int, evaluation: int, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        tuned(request_(cloud, train, evaluation), tmp_path)
    assert not cloud.calls("CreatePipelineJob")


def test_the_largest_evaluation_set_passes_and_goes_in(cloud: StandIn, tmp_path: Any) -> None:
    assert tuned(request_(cloud, 10, 256), tmp_path).endpoint


def test_chat_models_are_tuned_by_their_own_template_without_evaluation_rows(
    cloud: StandIn, tmp_path: Any
) -> None:
    result = tuned(replace(request_(cloud), base_model="chat-bison@001"), tmp_path)
    job = sent(result.statistics["job"])
    assert job["template_uri"].endswith("/tune-large-chat-model/v3.0.0")
    assert "evaluation_data_uri" not in job["runtime_config"]["parameter_values"]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"region": "us-east1"}, LimitError),
        ({"region": "asia-northeast1"}, LimitError),
        ({"base_model": "gemini-3.5-flash"}, UsageError),
        ({"train_steps": 0}, UsageError),
    ],
)
def test_wrong_requests_reach_nobody(
    cloud: StandIn, tmp_path: Any, change: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        tuned(replace(request_(cloud), **change), tmp_path)
    assert not [call for call in cloud.calls() if "aiplatform" in call["host"]]


def asked(model: str, *texts: str, **settings: Any) -> list[str | None]:
    prompts = [Prompt(text, ({"role": "user", "content": text},)) for text in texts]
    return [answer.text for answer in prediction.predict(model, prompts, **settings)]


def test_a_tuned_model_answers_by_endpoint_and_by_model_and_the_base_by_its_name(
    cloud: StandIn, tmp_path: Any
) -> None:
    result = tuned(request_(cloud), tmp_path)
    assert asked(result.endpoint, "question 3", "question 7") == ["answer 3", "answer 7"]
    assert asked(result.model, "question 3") == ["answer 3"]
    stem = result.model.partition("@")[0]
    assert asked(stem, "question 3") == ["answer 3"]
    for none in (f"{stem}@9", f"{stem}0@1"):
        with pytest.raises(UsageError, match="deployed to no endpoint"):
            asked(none, "question 3")
    base = tuning.base_model_resource("text-bison@001", PROJECT, REGION)
    assert asked(base, "question 3") == ["I do not know: question 3"]
    chat = tuning.base_model_resource("chat-bison", PROJECT, REGION)
    assert asked(chat, "hello") == ["I do not know: hello"]


def test_what_a_model_refuses_has_no_answer_and_a_reason(cloud: StandIn, tmp_path: Any) -> None:
    result = tuned(request_(cloud), tmp_path)
    prompts = [Prompt("1", ({"role": "user", "content": "question 1"},))]
    (answer,) = prediction.predict(result.endpoint, prompts, max_output_tokens=9999)
    assert answer.text is None
    assert "maxOutputTokens" in answer.error


@pytest.mark.parametrize(
    "model",
    [
        f"projects/{PROJECT}/locations/{REGION}/endpoints/1",
        f"projects/{PROJECT}/locations/{REGION}/models/1@1",
        "desk",
    ],
)
def test_a_model_that_is_not_there_is_told(cloud: StandIn, model: str) -> None:
    with pytest.raises((CloudError, UsageError)):
        asked(model, "hello")


def test_rate_limits_while_rows_are_asked_are_waited_out(cloud: StandIn, tmp_path: Any) -> None:
    result = tuned(request_(cloud), tmp_path)
    rows, out = tmp_path / "rows.jsonl", tmp_path / "predictions.jsonl"
    rows.write_text(lines(10))
    cloud.fault("Predict", code=429, message="Quota exceeded", times=3)
    pace = RequestPacing(workers=4, attempts=6, first_pause_seconds=0.05)
    outcome = predict_rows(prediction, result.endpoint, str(rows), str(out), pace=pace)
    assert (outcome.rows, outcome.unanswered) == (10, 0)
    assert [call["code"] for call in cloud.calls("Predict")].count(429) == 3


def test_a_launcher_step_imports_quickly() -> None:
    client = "from google.cloud.aiplatform_v1.services.pipeline_service import *; import sys; "
    step = f"{client} import tunepipe.steps.tuning, tunepipe.backends.palm.tuning; "
    step += "assert not {'google.cloud.aiplatform', 'kfp'} & sys.modules.keys(); "
    seconds = {}
    for code in (client, step):
        command = [sys.executable, "-c", f"{code}import time; print(time.process_time())"]
        usage = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds[code] = float(usage.stdout)
    # Next to Google's client, which it cannot do without, on whatever machine.
    assert seconds[step] < 2 * seconds[client]
