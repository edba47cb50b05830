"""What the template is sent, what a PaLM model is asked, and what is read back; nothing is sent."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tunepipe.backends.base import Prompt, TuningRequest, TuningResult
from tunepipe.backends.palm import prediction, tuning
from tunepipe.catalog.catalog import load_catalog
from tunepipe.errors import UsageError
from tunepipe.gcp.labels import KEY_LABEL

TURNS = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "yes?"},
    {"role": "user", "content": "why"},
)
REQUEST = TuningRequest(
    "text-bison@001", "gs://b/rows/train.jsonl", "gs://b/rows/eval.jsonl", 20, 24, 2.0,
    project="p", region="europe-west4", display_name="d" * 129, labels={KEY_LABEL: "k"},
)  # fmt: skip


def test_what_a_palm_model_is_asked():
    prompt = Prompt("1", TURNS)
    assert prediction._text(prompt) == {"prompt": "Be brief.\n\nhello\n\nyes?\n\nwhy"}
    messages = [("user", "hello"), ("bot", "yes?"), ("user", "why")]
    assert prediction._turns(prompt) == {
        "context": "Be brief.",
        "messages": [{"author": author, "content": text} for author, text in messages],
    }


@pytest.mark.parametrize(
    ("predictions", "answer"),
    [
        ([], (None, "the endpoint gave no answer")),
        ([{}], (None, "the endpoint gave no answer")),
        ([{"content": ""}], ("", "")),
        ([{"content": "a"}, {"content": "b"}], ("a", "")),
        ([{"candidates": [{"content": "a"}, {"content": "b"}]}], ("a", "")),
        ([{"candidates": [], "content": "a"}], ("a", "")),
        (
            [{"content": "a", "safetyAttributes": {"blocked": True}}],
            (None, "blocked by the safety filter"),
        ),
        ([{"content": "a", "safetyAttributes": {"blocked": False}}], ("a", "")),
    ],
)
def test_what_is_read_of_its_answer(predictions, answer):
    assert prediction._read({}, predictions) == answer


def test_the_child_job_is_exactly_what_was_asked_for():
    parameters = {"train_steps": 20, "encryption_spec_key_name": "key"}
    expected = {
        "display_name": "d" * 128,
        "template_uri": tuning.template_uri("text-bison@001"),
        "runtime_config": {"gcs_output_directory": "gs://b/rows", "parameter_values": parameters},
        "labels": {KEY_LABEL: "k"},
        "encryption_spec": {"kms_key_name": "key"},
    }
    assert tuning.child_job(REQUEST, parameters) == expected
    options = {"pipeline_root": "gs://b/root", "network": "n", "service_account": "a"}
    options["template_version"] = "v2.0.0"
    assert tuning.child_job(replace(REQUEST, options=options), {"train_steps": 20}) == {
        "display_name": "d" * 128,
        "template_uri": tuning.template_uri("text-bison@001", "v2.0.0"),
        "runtime_config": {
            "gcs_output_directory": "gs://b/root",
            "parameter_values": {"train_steps": 20},
        },
        "labels": {KEY_LABEL: "k"},
        "network": "n",
        "service_account": "a",
    }
    with pytest.raises(UsageError, match="must be a gs:// URI"):
        tuning.child_job(replace(REQUEST, options={"pipeline_root": "/tmp"}), {})


@pytest.mark.parametrize(
    ("change", "model", "eval_uri"),
    [
        ({}, "text-bison@001", REQUEST.eval_uri),
        ({"base_model": ""}, "text-bison@001", REQUEST.eval_uri),
        ({"base_model": "chat-bison@001"}, "chat-bison@001", None),
        ({"eval_uri": ""}, "text-bison@001", None),
    ],
)
def test_what_the_template_is_given(change, model, eval_uri):
    options = {"network": "n", "location": "us-east4", "poll_seconds": 9.0}
    values = {
        "project": "p",
        "model_display_name": "d" * 129,
        "large_model_reference": model,
        "dataset_uri": REQUEST.train_uri,
        "train_steps": 20,
        "learning_rate_multiplier": 2.0,
        "location": "us-east4",
    }
    if eval_uri:
        values["evaluation_data_uri"] = eval_uri
    assert tuning._parameters(replace(REQUEST, options=options, **change)) == values


START = datetime(2026, 11, 27, tzinfo=UTC)


def ended(state: str = "SUCCEEDED", hours: float = 2.0, **outputs: str) -> Any:
    """A job as Google's client has it; its tuner's task ran so long, 0 for no end."""
    from google.cloud import aiplatform_v1 as api

    tuner = {"task_name": tuning.TUNER, "start_time": START, "state": state}
    if hours:
        tuner["end_time"] = START + timedelta(hours=hours)
    metadata = {f"output:{name}_resource_name": value for name, value in outputs.items()}
    run = {"execution": {"schema_title": "system.Run", "metadata": metadata}}
    other = {"task_name": "other", "start_time": START, "end_time": START + timedelta(hours=1)}
    return api.PipelineJob(
        name="projects/p/locations/r/pipelineJobs/1",
        template_uri="https://t",
        create_time=START,
        end_time=START + timedelta(seconds=10_800.26),
        job_detail={"task_details": [run, tuner, other]},
    )


@pytest.mark.parametrize(
    ("state", "hours", "seconds", "cost"),
    [
        ("SUCCEEDED", 2.0, {"accelerator_seconds": 7200.0}, 128.0),
        ("SKIPPED", 2.0, {"accelerator_seconds": 0.0}, 0.0),
        ("RUNNING", 0.0, {}, None),
    ],
)
def test_what_is_read_of_an_ended_job(
    state: str, hours: float, seconds: dict[str, float], cost: float | None
) -> None:
    tables = {"prices": {"accelerators": {"TPU_V3": {"usd_per_hour": {"europe-west4": 1.0}}}}}
    request = replace(REQUEST, catalog=load_catalog(tables))
    found = tuning._result(ended(state, hours, model="m", endpoint="e"), request)
    statistics = {
        "job": "projects/p/locations/r/pipelineJobs/1", "template": "https://t",
        "train_steps": 20, "batch_size": 24, "seconds": 10_800.3, **seconds,
    }  # fmt: skip
    assert found == TuningResult("m", "e", statistics, cost)


@pytest.mark.parametrize("outputs", [{}, {"model": "m"}, {"endpoint": "e"}])
def test_a_job_without_a_model_or_an_endpoint_does_not_pass(outputs: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="named no model and no endpoint"):
        tuning._result(ended(**outputs), REQUEST)
