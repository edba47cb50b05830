"""Open models through tuning jobs: weights in the bucket, an endpoint only where one is named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.asked import ask
from tests.backends.managed.jobs import begun, ended, jobs, pairs, put, request, result, states
from tests.gcp import launch_driver
from tests.standin.process import StandIn
from tests.standin.session import BUCKET, REGION
from tests.waiting import until
from tunepipe.backends.base import Prompt, TuningRequest, TuningResult
from tunepipe.backends.managed import open_model, open_model_prediction
from tunepipe.data import predictions
from tunepipe.data.parts import Call, read_calls
from tunepipe.errors import CloudError, DataError, LimitError, UsageError

QWEN = "qwen/qwen3@qwen3-4b"
WEIGHTS = f"gs://{BUCKET}/data/tuned/postprocess/node-0/checkpoints/final"
ASKED = Prompt("1", ({"role": "user", "content": "question 3"},))


@pytest.fixture
def request_(cloud: StandIn) -> TuningRequest:
    return request(cloud, QWEN)


def tuned(request: TuningRequest, folder: Path) -> TuningResult:
    return open_model.tune(request, str(folder), lambda event: None)


def serve(cloud: StandIn, rows: str = "train") -> str:
    """Deploy a model as a user would, from Model Garden; it remembers its rows."""
    body = {"location": REGION, "display_name": "served", "adapter": "weights", "base": QWEN}
    model = cloud.ask("models", body)["name"]
    data = {"dataset_uri": f"gs://{BUCKET}/data/{rows}", "evaluation_data_uri": ""}
    return str(cloud.ask("endpoints", {**body, **data, "model": model})["name"])


def test_tunes_into_the_bucket(cloud: StandIn, request_: TuningRequest, tmp_path: Path) -> None:
    found = tuned(request_, tmp_path)
    assert (found.model, found.endpoint) == (WEIGHTS, "")
    assert found.cost_usd == 0.0405  # 10,000 tokens x 3 epochs x 1.35 USD a million
    (job,) = jobs(cloud)
    assert job["outputUri"] == f"gs://{BUCKET}/data/tuned"
    assert job["supervisedTuningSpec"] == {
        "trainingDatasetUri": f"gs://{BUCKET}/data/train.prompt-completion.jsonl",
        "validationDatasetUri": f"gs://{BUCKET}/data/eval.prompt-completion.jsonl",
        "tuningMode": "TUNING_MODE_FULL",
        "hyperParameters": {"epochCount": "3"},
    }


def test_a_rate_a_mode_and_a_place_may_be_named(cloud: StandIn, tmp_path: Path) -> None:
    options = {
        "tuning_mode": "peft",
        "adapter_size": 16,
        "output_uri": f"gs://{BUCKET}/elsewhere",
        "custom_base_model": f"gs://{BUCKET}/mine",
        "location": "us-central1",
    }
    asked = request(cloud, "qwen/qwen3@qwen3-32b", **options)
    found = tuned(replace(asked, learning_rate_multiplier=0.5), tmp_path)
    (job,) = jobs(cloud)
    assert job["name"].split("/")[3] == "us-central1"
    assert job["supervisedTuningSpec"]["tuningMode"] == "TUNING_MODE_PEFT_ADAPTER"
    assert job["supervisedTuningSpec"]["hyperParameters"] == {
        "epochCount": "3",
        "adapterSize": "ADAPTER_SIZE_SIXTEEN",
        "learningRate": pytest.approx(1e-4),
    }
    assert job["customBaseModel"] == f"gs://{BUCKET}/mine"
    assert found.model.startswith(f"gs://{BUCKET}/elsewhere/")


def turns(count: int, system: str = "") -> list[dict[str, object]]:
    first = [{"role": "system", "content": system}] if system else []
    return [
        {
            "messages": [
                *first,
                {"role": "user", "content": f"question {n}"},
                {"role": "assistant", "content": f"answer {n}"},
            ]
        }
        for n in range(count)
    ]


def chat(count: int) -> list[dict[str, object]]:
    both = (("user", "question"), ("assistant", "answer"))
    return [
        {
            "context": "Be brief.",
            "messages": [{"author": a, "content": f"{t} {n}"} for a, t in both],
        }
        for n in range(count)
    ]


@pytest.mark.parametrize(("rows", "sent"), [(turns(100), "train.jsonl"), (chat(100), "messages")])
def test_turns_are_sent_as_messages(
    cloud: StandIn, tmp_path: Path, rows: list[dict[str, object]], sent: str
) -> None:
    tuned(request(cloud, QWEN, rows), tmp_path)
    uri = jobs(cloud)[0]["supervisedTuningSpec"]["trainingDatasetUri"]
    assert sent in uri
    first = json.loads((cloud.buckets / uri.removeprefix("gs://")).read_text().splitlines()[0])
    assert first["messages"][-1] == {"role": "assistant", "content": "answer 0"}


def test_pairs_of_messages_are_sent_as_messages(cloud: StandIn, tmp_path: Path) -> None:
    rows = [
        {"prompt": row["messages"][:1], "completion": row["messages"][1:]}  # type: ignore[index]
        for row in turns(100)
    ]
    tuned(request(cloud, QWEN, rows), tmp_path)
    uri = jobs(cloud)[0]["supervisedTuningSpec"]["trainingDatasetUri"]
    sent = (cloud.buckets / uri.removeprefix("gs://")).read_text().splitlines()
    assert [json.loads(line) for line in sent] == turns(100)


def test_too_many_held_out_bytes_are_refused_before_anything_is_paid(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    many = put(cloud, "many", pairs(40))
    with pytest.raises(DataError, match="bytes of held-out rows") as caught:
        tuned(replace(request_, eval_uri=many), tmp_path)
    assert "eval_fraction" in caught.value.fix
    assert jobs(cloud) == []


def test_a_mode_that_the_model_does_not_take_is_refused(cloud: StandIn, tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="peft"):
        tuned(request(cloud, QWEN, tuning_mode="peft"), tmp_path)
    assert jobs(cloud) == []


def test_two_runs_at_once_share_one_job(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.fault("ListTuningJobs", times=2, held=True)
    both = [launch_driver.start(request_, tmp_path / name, "managed.open_model") for name in "ab"]
    until(lambda: begun(cloud, "ListTuningJobs") == 2)
    cloud.ask("release", {})
    assert [ended(process) for process in both] == [0, 0]
    assert result(tmp_path / "a") == result(tmp_path / "b")
    assert len(jobs(cloud)) == 1


def test_an_equal_run_is_paid_once_and_a_deleted_model_tuned_again(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    tuned(request_, tmp_path / "first")
    endpoint = "projects/1/locations/eu/endpoints/2"
    served = replace(request_, options={**request_.options, "endpoint": endpoint})
    assert tuned(served, tmp_path / "second").endpoint == endpoint
    assert len(jobs(cloud)) == 1
    for file in (cloud.buckets / WEIGHTS.removeprefix("gs://")).iterdir():
        file.unlink()
    tuned(request_, tmp_path / "third")
    assert len(jobs(cloud)) == 2


def test_a_cancelled_step_cancels_its_job(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.ask("hold", {"on": True})
    step = launch_driver.start(request_, tmp_path, "managed.open_model")
    until((tmp_path / "gcp_resources").exists)
    step.terminate()
    assert ended(step) == CloudError.exit_code
    assert states(cloud) == ["CANCELLED"]


# --- asking


@pytest.mark.parametrize("settings", [{}, {"request_format": "prompt"}])
def test_an_endpoint_is_asked(
    cloud: StandIn, request_: TuningRequest, settings: dict[str, str]
) -> None:
    (answer,) = open_model_prediction.predict(serve(cloud), [ASKED], **settings)
    assert answer.text == "answer 3"


@pytest.mark.parametrize(
    ("predictions", "text"),
    [
        (["Prompt:\nq\nOutput:\nfine"], "fine"),
        (["Prompt:\nq\nOutput:\n"], ""),
        (["Prompt:\nq\nOutput:\na\nOutput:\nb"], "a\nOutput:\nb"),
        (["plain"], "plain"),
        ({"choices": [{"message": {"content": "fine"}}]}, "fine"),
        ([{"choices": [{"text": "fine"}]}], "fine"),
        ([], None),
        ([{"choices": [{"message": {"content": None}}]}], None),
    ],
)
def test_what_a_server_may_answer(predictions: object, text: str | None) -> None:
    assert open_model_prediction._read({"prompt": "q"}, predictions)[0] == text


@pytest.mark.parametrize("model", [WEIGHTS, QWEN])
def test_nothing_but_an_endpoint_is_asked(model: str) -> None:
    with pytest.raises(UsageError, match="endpoint"):
        next(open_model_prediction.predict(model, [ASKED]))


def evaluated(model: str, tmp_path: Path) -> list[predictions.Prediction]:
    rows = tmp_path / "eval.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in pairs(12)))
    out = ask("open-model", tmp_path, rows, {"tuned": model})[1]["tuned"]
    return list(predictions.read(out)) if out.stat().st_size else []


def test_weights_that_nothing_serves_leave_every_row_unanswered(tmp_path: Path) -> None:
    found = evaluated(WEIGHTS, tmp_path)
    assert len(found) == 12
    assert all(row.prediction is None and "endpoint" in row.error for row in found)
    assert evaluated("", tmp_path) == []


def test_an_endpoint_that_is_named_is_evaluated(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    found = evaluated(serve(cloud), tmp_path)
    assert [row.prediction for row in found] == [row.reference for row in found]


def test_the_base_models_endpoint_may_be_named() -> None:
    request = TuningRequest(QWEN, "", "", 1, 1)
    assert open_model.OpenModelTuner().base(request) == QWEN
    named = replace(request, options={"base_endpoint": "projects/e"})
    assert open_model.OpenModelTuner().base(named) == "projects/e"


BUSY = "The service is experiencing high demand in this region. Please try again later."


def test_a_location_without_capacity_gives_way_to_the_next(cloud: StandIn, tmp_path: Path) -> None:
    cloud.fault("tuning", message=BUSY)
    options = {"location": "us-central1", "fallback_locations": ["us-west1", "us-east5"]}
    events = []
    asked = request(cloud, QWEN, **options)
    assert open_model.tune(asked, str(tmp_path), events.append).model
    assert {"state": "waiting", "detail": "no capacity in us-central1"} in events
    assert [(job["name"].split("/")[3], job["state"]) for job in jobs(cloud)] == [
        ("us-central1", "JOB_STATE_FAILED"),
        ("us-west1", "JOB_STATE_SUCCEEDED"),
    ]


def test_a_job_that_went_to_another_location_is_paid_once(cloud: StandIn, tmp_path: Path) -> None:
    """Though there is capacity in the first one again, and no step has kept the job's name."""
    cloud.fault("tuning", message=BUSY)
    options = {"location": "us-central1", "fallback_locations": ["us-west1", "us-east5"]}
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        model = open_model.tune(
            request(cloud, QWEN, **options), str(tmp_path / name), lambda event: None
        ).model
        assert model
    assert [(job["name"].split("/")[3], job["state"]) for job in jobs(cloud)] == [
        ("us-central1", "JOB_STATE_FAILED"),
        ("us-west1", "JOB_STATE_SUCCEEDED"),
    ]


def test_another_failure_does_not_try_the_next_location(cloud: StandIn, tmp_path: Path) -> None:
    cloud.fault("tuning", message="The dataset could not be read.")
    with pytest.raises(CloudError, match="could not be read"):
        tuned(request(cloud, QWEN, fallback_locations=["europe-west4"]), tmp_path)
    assert len(jobs(cloud)) == 1


def test_without_another_location_the_remedy_is_named(cloud: StandIn, tmp_path: Path) -> None:
    cloud.fault("tuning", message=BUSY)
    with pytest.raises(CloudError, match="high demand") as caught:
        tuned(request(cloud, QWEN), tmp_path)
    assert "fallback_locations" in caught.value.fix
    assert len(jobs(cloud)) == 1
    assert tuned(request(cloud, QWEN), tmp_path).model  # the step begins again
    assert states(cloud) == ["FAILED", "SUCCEEDED"]


def test_tools_are_sent_and_calls_come_back(cloud: StandIn) -> None:
    def row(number: int) -> dict[str, object]:
        function = {"name": "order", "arguments": f'{{"number": {number}}}'}
        call = {"id": "c1", "type": "function", "function": function}
        return {
            "messages": [
                {"role": "user", "content": f"order {number}"},
                {"role": "assistant", "tool_calls": [call]},
            ],
            "tools": [{"type": "function", "function": {"name": "order"}}],
        }

    rows = [row(number) for number in range(20)]
    request(cloud, QWEN, rows)
    endpoint = serve(cloud)
    (answer,) = open_model_prediction.predict(endpoint, [Prompt("3", (), rows[3], "messages")])
    assert read_calls(answer.text) == [Call("order", {"number": 3})]
