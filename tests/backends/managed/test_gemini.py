"""Gemini through tuning jobs: a job is paid once, held against its plan, and asked where it is."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.asked import ask
from tests.backends.managed.jobs import (
    ALONE,
    begun,
    ended,
    jobs,
    pairs,
    ports_of,
    put,
    request,
    result,
    states,
)
from tests.gcp import launch_driver
from tests.standin.process import StandIn
from tests.standin.session import BUCKET, PROJECT, REGION
from tests.waiting import until
from tunepipe.backends.base import Prompt, TuningRequest, TuningResult
from tunepipe.backends.managed import gemini, gemini_prediction
from tunepipe.catalog.catalog import load_catalog
from tunepipe.data import predictions
from tunepipe.data.parts import Call, read_calls
from tunepipe.errors import CloudError, DataError, LimitError, UnreachableError, UsageError
from tunepipe.gcp.genai import client
from tunepipe.gcp.launcher import CancelledError
from tunepipe.steps.tuning import tune

FLASH, FLASH25 = "gemini-3.5-flash", "gemini-2.5-flash"


@pytest.fixture
def request_(cloud: StandIn) -> TuningRequest:
    return request(cloud, FLASH)


def tuned(request: TuningRequest, folder: Path) -> TuningResult:
    return gemini.tune(request, str(folder), lambda event: None)


def prompt(text: str) -> Prompt:
    return Prompt(
        "1", ({"role": "system", "content": "Be brief."}, {"role": "user", "content": text})
    )


def test_tunes_asks_and_holds_the_job_against_the_plan(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    events = []
    found = gemini.tune(request_, str(tmp_path), events.append)
    assert [event["state"] for event in events] == ["running", "succeeded"]
    assert found.model.startswith("projects/123456789012/locations/europe-west4/models/")
    assert "/locations/eu/endpoints/" in found.endpoint
    statistics = dict(found.statistics)
    curve = statistics.pop("loss_curve")
    assert curve[-1] == [39, pytest.approx(0.4), pytest.approx(0.4)]
    assert statistics == {
        "job": jobs(cloud)[0]["name"], "base_model": FLASH, "method": "supervised",
        "batch_size": 8, "train_steps": 39, "planned_steps": 39, "epochs": 3, "examples": 100,
        "billable_tokens": 10_000, "dropped_examples": 0, "first_loss": curve[0][1],
        "last_loss": pytest.approx(0.4), "eval_loss": pytest.approx(0.4),
        "seconds": statistics["seconds"],
    }  # fmt: skip
    assert statistics["seconds"] == round(statistics["seconds"], 1)
    assert found.cost_usd == pytest.approx(0.3)  # 10,000 tokens x 3 epochs x 10 USD a million
    written = json.loads((tmp_path / "gcp_resources").read_text())["resources"]
    assert written[0]["resourceType"] == "TuningJob"
    assert written[0]["resourceUri"].endswith(statistics["job"])

    (answer,) = gemini_prediction.predict(found.endpoint, [prompt("question 7")])
    assert answer.text == "answer 7"
    base = gemini.base_model_resource(FLASH, PROJECT, REGION, {})
    (answer,) = gemini_prediction.predict(base, [prompt("question 7")])
    assert answer.text not in (None, "", "answer 7")
    asked = {call["host"] for call in cloud.calls("GenerateContent")}
    assert asked == {"aiplatform.eu.rep.googleapis.com"}
    others = {c["host"] for c in cloud.calls() if "aiplatform" in c["host"]} - asked
    assert others <= {"europe-west4-aiplatform.googleapis.com"}


def test_what_is_sent(cloud: StandIn, tmp_path: Path) -> None:
    account = "tuner@demo-project.iam.gserviceaccount.com"
    options = {
        "adapter_size": 4,
        "export_last_checkpoint_only": True,
        "service_account": account,
        "network": "projects/1/global/networks/n",
        "location": "us-central1",
    }
    asked = replace(request(cloud, FLASH, **options), train_steps=26, labels={"team": "desk"})
    found = tuned(asked, tmp_path)
    (job,) = jobs(cloud)
    assert job["name"].split("/")[3] == "us-central1"
    base = gemini.base_model_resource(FLASH, PROJECT, REGION, options)
    assert "/locations/us/" in base
    assert "/locations/us/endpoints/" in found.endpoint
    assert job["baseModel"] == FLASH
    assert job["supervisedTuningSpec"] == {
        "trainingDatasetUri": f"gs://{BUCKET}/data/train.gemini.jsonl",
        "validationDatasetUri": f"gs://{BUCKET}/data/eval.gemini.jsonl",
        "exportLastCheckpointOnly": True,
        "hyperParameters": {
            "epochCount": "2",
            "learningRateMultiplier": 1.0,
            "adapterSize": "ADAPTER_SIZE_FOUR",
        },
    }
    assert job["serviceAccount"] == account
    assert job["tunedModelDisplayName"] == "desk"
    assert job["labels"].keys() == {"team", "tunepipe_key"}
    row = json.loads(
        (cloud.buckets / BUCKET / "data/train.gemini.jsonl").read_text().split("\n")[0]
    )
    assert row == {
        "contents": [
            {"role": "user", "parts": [{"text": "question 0"}]},
            {"role": "model", "parts": [{"text": "answer 0"}]},
        ]
    }


def test_a_customer_managed_key_is_sent(cloud: StandIn, tmp_path: Path) -> None:
    key = "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"
    tuned(request(cloud, FLASH25, encryption_spec_key_name=key), tmp_path)
    assert list(jobs(cloud)[0]["encryptionSpec"].values()) == [key]


def test_a_model_of_the_users_own_table_is_tuned(cloud: StandIn, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not in the table"):
        tuned(request(cloud, "gemini-9-flash"), tmp_path)
    row = {"family": "gemini3", "adapter_sizes": [64]}
    tables = {"models": {"models": {"gemini-9-flash": row}}}
    new = replace(request(cloud, "gemini-9-flash"), catalog=load_catalog(tables))
    with pytest.raises(LimitError, match="size 4"):
        tuned(replace(new, options={**new.options, "adapter_size": 4}), tmp_path)
    tuned(new, tmp_path)
    assert jobs(cloud)[0]["baseModel"] == "gemini-9-flash"


def test_rows_in_geminis_format_are_sent_as_they_lie(cloud: StandIn, tmp_path: Path) -> None:
    turns = [{"role": r, "parts": [{"text": r}]} for r in ("user", "model")]
    asked = request(cloud, FLASH)
    uri = put(cloud, "rows.jsonl", [{"contents": turns}] * 100)
    tuned(replace(asked, train_uri=uri, eval_uri=""), tmp_path)
    spec = jobs(cloud)[0]["supervisedTuningSpec"]
    assert spec["trainingDatasetUri"] == uri
    assert "validationDatasetUri" not in spec


def test_no_held_out_rows_are_no_validation(cloud: StandIn, tmp_path: Path) -> None:
    asked = request(cloud, FLASH)
    tuned(replace(asked, eval_uri=put(cloud, "nothing", [])), tmp_path)
    assert "validationDatasetUri" not in jobs(cloud)[0]["supervisedTuningSpec"]


def preference(count: int) -> list[dict[str, object]]:
    def answer(score: float, text: str) -> dict[str, object]:
        return {"score": score, "completion": {"role": "model", "parts": [{"text": text}]}}

    return [
        {
            "contents": [{"role": "user", "parts": [{"text": f"question {n}"}]}],
            "completions": [answer(1.0, f"answer {n}"), answer(0.0, "no idea")],
        }
        for n in range(count)
    ]


def test_preference_rows_make_a_preference_tuning(cloud: StandIn, tmp_path: Path) -> None:
    first = tuned(request(cloud, FLASH25), tmp_path / "first").model
    found = tuned(request(cloud, first, preference(100), beta=0.2), tmp_path)
    job = jobs(cloud)[-1]
    assert job["preTunedModel"]["tunedModelName"] == first
    assert "supervisedTuningSpec" not in job
    assert job["preferenceOptimizationSpec"]["hyperParameters"]["beta"] == 0.2
    assert found.statistics["method"] == "preference"
    assert found.statistics["billable_tokens"] == 10_000
    (answer,) = gemini_prediction.predict(found.endpoint, [prompt("question 3")])
    assert answer.text == "answer 3"


def test_preference_tuning_is_refused_before_it_is_paid_where_the_service_does_not_take_it(
    cloud: StandIn, tmp_path: Path
) -> None:
    with pytest.raises(LimitError, match="begins from a model that was tuned"):
        tuned(request(cloud, FLASH25, preference(100)), tmp_path)
    first = tuned(request(cloud, FLASH), tmp_path / "first").model
    with pytest.raises(LimitError, match="which is not tuned by preference"):
        tuned(request(cloud, first, preference(100)), tmp_path)
    assert len(jobs(cloud)) == 1


def test_preferences_as_openai_writes_them_are_sent_as_gemini_reads_them(
    cloud: StandIn, tmp_path: Path
) -> None:
    def said(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    rows = [
        {
            "input": {"messages": said("user", f"question {n}")},
            "preferred_output": said("assistant", f"answer {n}"),
            "non_preferred_output": said("assistant", "no idea"),
        }
        for n in range(60)
    ]
    first = tuned(request(cloud, FLASH25), tmp_path / "first").model
    tuned(request(cloud, first, [*preference(40), *rows]), tmp_path)
    uri = jobs(cloud)[-1]["preferenceOptimizationSpec"]["trainingDatasetUri"]
    sent = (cloud.buckets / uri.removeprefix("gs://")).read_text().splitlines()
    assert [json.loads(line) for line in sent] == [*preference(40), *preference(60)]


def test_preference_rows_may_be_learnt_from_as_examples(cloud: StandIn, tmp_path: Path) -> None:
    found = tuned(request(cloud, FLASH25, preference(100), method="supervised"), tmp_path)
    assert "supervisedTuningSpec" in jobs(cloud)[0]
    assert found.statistics["left_out"] == {"the rejected answer": 112}


def test_a_tuned_model_is_tuned_further(cloud: StandIn, tmp_path: Path) -> None:
    first = tuned(request(cloud, FLASH), tmp_path / "first")
    asked = request(cloud, first.model, pairs(60), checkpoint_id="1")
    further = tuned(asked, tmp_path / "second")
    job = jobs(cloud)[-1]
    assert "baseModel" not in job
    given = {"tunedModelName": first.model, "checkpointId": "1"}
    assert job["preTunedModel"] == {**given, "baseModel": FLASH}
    # 39 steps are 5 epochs of 60 rows: 6,000 tokens x 5 x 10 USD a million, its base's price.
    assert further.cost_usd == pytest.approx(0.3)
    by_id = first.model.replace("123456789012", PROJECT)
    for name in (first.model, by_id, by_id.partition("@")[0]):
        assert gemini.base_model_resource(name, PROJECT, REGION, {}) == first.endpoint


def test_a_list_that_fails_for_a_moment_is_asked_for_again(cloud: StandIn, tmp_path: Path) -> None:
    first = tuned(request(cloud, FLASH), tmp_path)
    cloud.fault("ListTuningJobs", code=503, times=2)
    assert gemini.base_model_resource(first.model, PROJECT, REGION, {}) == first.endpoint
    cloud.fault("ListTuningJobs", code=403)
    with pytest.raises(CloudError):
        gemini.base_model_resource(first.model, PROJECT, REGION, {})


def test_rows_that_cannot_be_carried_over_are_named_and_nothing_is_paid(
    cloud: StandIn, tmp_path: Path
) -> None:
    rows = pairs(20)
    rows[6] = {"input_text": 7, "output_text": "seven"}
    with pytest.raises(DataError, match="1 of 20 rows") as caught:
        tuned(request(cloud, FLASH, rows), tmp_path)
    assert "line 7" in caught.value.where
    assert jobs(cloud) == []


def test_rows_on_this_machine_are_refused(request_: TuningRequest, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(pairs(1)[0]))
    with pytest.raises(UsageError, match="Cloud Storage"):
        tuned(replace(request_, train_uri=str(path)), tmp_path)


# --- a job is paid once

STAGES = {
    "before create": ("ListTuningJobs", False),
    "while its creation is under way": ("CreateTuningJob", False),
    "after create, before its name was written": ("CreateTuningJob", True),
    "while polling": ("GetTuningJob", False),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_step_finds_its_job_again(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path, stage: str
) -> None:
    method, after = STAGES[stage]
    cloud.fault(method, held=True, after=after)
    killed = launch_driver.start(request_, tmp_path, "managed.gemini")
    until(lambda: begun(cloud, method))
    if stage.startswith("after create"):
        until(lambda: jobs(cloud))
    killed.kill()
    ended(killed)
    assert (tmp_path / "gcp_resources").exists() == (stage == "while polling")
    request_ = replace(request_, options={**request_.options, **ALONE})
    assert tuned(request_, tmp_path).endpoint
    assert len(jobs(cloud)) == 1


def test_two_runs_at_once_share_one_job(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.fault("ListTuningJobs", times=2, held=True)  # both look before either creates
    both = [launch_driver.start(request_, tmp_path / name, "managed.gemini") for name in "ab"]
    until(lambda: begun(cloud, "ListTuningJobs") == 2)
    cloud.ask("release", {})
    assert [ended(process) for process in both] == [0, 0]
    assert result(tmp_path / "a") == result(tmp_path / "b")
    assert len(jobs(cloud)) == 1


def test_an_equal_run_pays_nothing_again(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    first = tuned(request_, tmp_path / "first")
    assert tuned(request_, tmp_path / "second").endpoint == first.endpoint
    elsewhere = put(cloud, "the-same-rows", pairs(100))
    moved = replace(request_, train_uri=elsewhere)
    assert tuned(moved, tmp_path / "third").endpoint == first.endpoint
    told = replace(request_, options={**request_.options, "description": "for people"})
    assert tuned(told, tmp_path / "fourth").endpoint == first.endpoint
    assert len(jobs(cloud)) == 1
    for other in ({"adapter_size": 8}, {"again": "1"}):
        changed = replace(request_, options={**request_.options, **other})
        assert tuned(changed, tmp_path / str(other)).endpoint != first.endpoint
    assert len(jobs(cloud)) == 3


def test_a_model_that_was_deleted_since_is_tuned_again(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    first = tuned(request_, tmp_path / "first")
    cloud.ask("forget", {"name": first.endpoint})
    assert tuned(request_, tmp_path / "second").endpoint != first.endpoint
    assert len(jobs(cloud)) == 2


END = {"endTime": "2999-01-01T00:00:00Z"}
OVER = [
    ({"state": "JOB_STATE_EXPIRED", **END}, "ended as JOB_STATE_EXPIRED"),
    ({"state": "JOB_STATE_PARTIALLY_SUCCEEDED"}, "ended as JOB_STATE_PARTIALLY_SUCCEEDED"),
    ({"state": "JOB_STATE_OF_LATER_DAYS", **END}, "ended as JOB_STATE_OF_LATER_DAYS"),
    ({"state": "JOB_STATE_SUCCEEDED", **END}, "returned no endpoint"),
]


@pytest.mark.parametrize(("fields", "said"), OVER)
@pytest.mark.filterwarnings("ignore:JOB_STATE_OF_LATER_DAYS")
def test_a_job_that_ended_otherwise_than_well_is_told(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path, fields: dict[str, str], said: str
) -> None:
    cloud.ask("hold", {"on": True})
    with pytest.raises(CloudError, match=said):
        gemini.tune(request_, str(tmp_path), lambda event: becomes(cloud, fields))
    if "SUCCEEDED" in fields["state"]:  # what a success lacks may be late: it is not paid again
        with pytest.raises(CloudError, match=said):
            tuned(request_, tmp_path / "again")
        assert len(jobs(cloud)) == 1


@pytest.mark.parametrize("state", ["PAUSED", "OF_LATER_DAYS"])
@pytest.mark.filterwarnings("ignore:JOB_STATE_OF_LATER_DAYS")
def test_a_job_in_a_rare_state_goes_on(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path, state: str
) -> None:
    cloud.ask("hold", {"on": True})
    details = []

    def progress(event: dict[str, str]) -> None:
        details.append(event["detail"])
        if len(details) == 1:
            becomes(cloud, {"state": f"JOB_STATE_{state}"})
        else:
            cloud.ask("hold", {"on": False})

    assert gemini.tune(request_, str(tmp_path), progress).endpoint
    assert details[:2] == ["", state.lower()]


def test_a_job_that_never_ends_is_ended_when_its_hours_are_over(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.ask("hold", {"on": True})
    for action, state in (("leave", "PENDING"), ("cancel", "CANCELLED")):
        options = {**request_.options, "max_hours": 2, "at_max_hours": action}
        limited = replace(request_, options=options)

        def grow_old(event: dict[str, str]) -> None:
            becomes(cloud, {"createTime": "2020-01-01T00:00:00Z"})

        with pytest.raises(CloudError, match="within 2 hours; it was") as caught:
            gemini.tune(limited, str(tmp_path), grow_old)
        assert ("left running" in caught.value.found) == (action == "leave")
        assert states(cloud) == [state]


def test_a_job_that_is_being_cancelled_is_not_joined(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.ask("hold", {"on": True})
    cloud.ask("facts", {"cancelling_seconds": 1e6})
    step = launch_driver.start(request_, tmp_path / "first", "managed.gemini")
    until((tmp_path / "first" / "gcp_resources").exists)
    step.terminate()
    ended(step)
    assert states(cloud) == ["CANCELLING"]
    cloud.ask("hold", {"on": False})
    events: list[Mapping[str, object]] = []

    def progress(event: Mapping[str, object]) -> None:
        events.append(event)
        cloud.ask("facts", {"cancelling_seconds": 0})

    assert gemini.tune(request_, str(tmp_path / "second"), progress).endpoint
    assert "being cancelled" in str(events[0]["detail"])
    assert sorted(states(cloud)) == ["CANCELLED", "SUCCEEDED"]


def test_a_job_that_succeeded_in_part_is_paid_again_only_where_asked(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.ask("hold", {"on": True})
    partly = {"state": "JOB_STATE_PARTIALLY_SUCCEEDED", **END}
    with pytest.raises(CloudError, match="succeeded in part"):
        gemini.tune(request_, str(tmp_path / "1"), lambda event: becomes(cloud, partly))
    with pytest.raises(CloudError, match="succeeded in part"):
        tuned(request_, tmp_path / "2")
    assert len(jobs(cloud)) == 1
    cloud.ask("hold", {"on": False})
    again = replace(request_, options={**request_.options, "again": "1"})
    assert tuned(again, tmp_path / "3").endpoint


def test_a_restarted_step_stays_with_its_job_where_the_rows_are_gone(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.fault("GetTuningJob", held=True)
    killed = launch_driver.start(request_, tmp_path, "managed.gemini")
    until(lambda: begun(cloud, "GetTuningJob"))
    killed.kill()
    ended(killed)
    cloud.fault("storage.get", code=403, message="no", times=99)
    with pytest.raises(CloudError, match="no"):  # told when the job has ended, and not before
        tuned(request_, tmp_path)
    assert states(cloud) == ["SUCCEEDED"]


def becomes(cloud: StandIn, fields: dict[str, str]) -> None:
    cloud.ask("tuning", {"name": jobs(cloud)[0]["name"], **fields})


def test_a_cancelled_step_cancels_its_job(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.ask("hold", {"on": True})
    step = launch_driver.start(request_, tmp_path, "managed.gemini")
    until((tmp_path / "gcp_resources").exists)
    step.terminate()
    assert ended(step) == CloudError.exit_code
    assert states(cloud) == ["CANCELLED"]
    with pytest.raises(CancelledError):  # a restart does not pay again on its own account
        tuned(request_, tmp_path)
    assert len(jobs(cloud)) == 1
    gemini.cancel(jobs(cloud)[0]["name"])  # what has ended already is no error


def test_a_step_cancelled_while_it_creates_leaves_no_job_running(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.ask("hold", {"on": True})
    cloud.fault("CreateTuningJob", held=True, drop="after")
    step = launch_driver.start(request_, tmp_path, "managed.gemini")
    until(lambda: jobs(cloud))
    step.terminate()
    cloud.ask("release", {})
    assert ended(step) == CloudError.exit_code
    assert states(cloud) == ["CANCELLED"]


PASSING = {
    "503 on create": ("CreateTuningJob", {"code": 503}),
    "500 on create": ("CreateTuningJob", {"code": 500}),
    "429 on create": ("CreateTuningJob", {"code": 429, "times": 2}),
    "connection lost before create": ("CreateTuningJob", {"drop": "before"}),
    "connection lost after create": ("CreateTuningJob", {"drop": "after"}),
    "503 after create": ("CreateTuningJob", {"code": 503, "after": True}),
    "408 after create": ("CreateTuningJob", {"code": 408, "after": True}),
    "409 after create": ("CreateTuningJob", {"code": 409, "after": True}),
    "499 after create": ("CreateTuningJob", {"code": 499, "after": True}),
    "a creation that takes effect late": ("CreateTuningJob", {"code": 503, "late_seconds": 0.2}),
    "503 while polling": ("GetTuningJob", {"code": 503, "times": 3}),
    "429 while polling": ("GetTuningJob", {"code": 429, "times": 2}),
    "connection lost while polling": ("GetTuningJob", {"drop": "before", "times": 2}),
    "503 on the look-up": ("ListTuningJobs", {"code": 503, "times": 2}),
}


@pytest.mark.parametrize("fault", PASSING)
def test_trouble_that_passes_is_waited_out(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path, fault: str
) -> None:
    method, trouble = PASSING[fault]
    cloud.fault(method, **trouble)
    if "late_seconds" not in trouble:  # what takes effect late is waited for
        request_ = replace(request_, options={**request_.options, **ALONE})
    assert tuned(request_, tmp_path).endpoint
    assert len(jobs(cloud)) == 1
    assert any(call["code"] != 200 for call in cloud.calls(method))


FINAL = {
    "no permission": (
        "CreateTuningJob",
        {"code": 403, "message": "Permission 'aiplatform.tuningJobs.create' denied"},
        "roles/aiplatform.user",
    ),
    "quota that stays": (
        "CreateTuningJob",
        {"code": 429, "message": "Quota exceeded: concurrent tuning jobs", "times": 99},
        "one tuning job at a time",
    ),
    "a retired model": (
        "CreateTuningJob",
        {"code": 400, "message": "The base model gemini-2.5-flash is no longer available."},
        "successor",
    ),
    "a failed job": ("tuning", {"message": "The dataset could not be read."}, "log"),
}


@pytest.mark.parametrize("fault", FINAL)
def test_trouble_that_stays_is_told(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path, fault: str
) -> None:
    method, trouble, remedy = FINAL[fault]
    cloud.fault(method, **trouble)
    with pytest.raises(CloudError) as caught:
        tuned(request_, tmp_path)
    assert remedy in caught.value.fix
    assert trouble["message"] in caught.value.found
    assert len(jobs(cloud)) <= 1


def test_google_out_of_reach_ends_the_step_and_not_the_job(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.fault("GetTuningJob", code=503, times=10_000)
    impatient = {**request_.options, "patience_seconds": 0.5}
    with pytest.raises(UnreachableError) as caught:
        tuned(replace(request_, options=impatient), tmp_path)
    assert caught.value.step_exit_code == 13
    assert states(cloud) == ["PENDING"]


def test_a_failed_run_frees_the_claim(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.fault("CreateTuningJob", code=403)
    slow = replace(request_, options={**request_.options, "lease_seconds": 10_000.0})
    with pytest.raises(CloudError):
        tuned(slow, tmp_path)
    assert tuned(slow, tmp_path).endpoint


def test_a_run_that_was_in_doubt_frees_the_claim(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.fault("CreateTuningJob", drop="after")
    slow = replace(request_, options={**request_.options, "lease_seconds": 10_000.0})
    first = tuned(slow, tmp_path / "first")
    cloud.ask("forget", {"name": first.endpoint})
    assert tuned(slow, tmp_path / "second").endpoint
    assert len(jobs(cloud)) == 2


# --- a job that ended well, and did nothing of use


@pytest.mark.parametrize(
    ("outcome", "said"), [("nan", "not a number"), ("dropped 20", "dropped 20 of 100")]
)
def test_no_success(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path, outcome: str, said: str
) -> None:
    cloud.fault("tuning", message=outcome)
    for _ in range(2):  # and it is not paid for again
        with pytest.raises(DataError, match=said):
            tuned(request_, tmp_path)
    assert len(jobs(cloud)) == 1


def test_a_few_dropped_examples_are_told(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.fault("tuning", message="dropped 3")
    statistics = tuned(request_, tmp_path).statistics
    assert statistics["dropped_examples"] == 3
    assert statistics["dropped_reasons"] == {"The example has more tokens than allowed.": 3}
    assert "the job dropped 3 of 100 examples" in statistics["note"]


@pytest.mark.parametrize("method", ["GetContext", "ReadTensorboardTimeSeriesData"])
def test_losses_that_cannot_be_read_are_told_and_fail_nothing(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path, method: str
) -> None:
    cloud.fault(method, code=403, message="no", times=9)
    found = tuned(request_, tmp_path)
    assert found.endpoint
    assert "losses could not be read" in found.statistics["note"]
    assert "last_loss" not in found.statistics


# --- what the service refuses


@pytest.mark.parametrize(
    "more",
    [
        {"batchesOfSize": 3},
        {"supervisedTuningSpec": {"hyperParameters": {"epochs": 3}}},
        {"supervisedTuningSpec": {"trainingDatasetUri": "gs://demo-bucket/data/none.jsonl"}},
        {"preferenceOptimizationSpec": {"trainingDatasetUri": "gs://demo-bucket/data/train"}},
    ],
)
def test_the_stand_in_refuses_what_google_would(cloud: StandIn, more: dict[str, object]) -> None:
    from google.genai import errors

    request(cloud, FLASH)
    with pytest.raises(errors.ClientError) as caught:
        client(PROJECT, REGION).tunings.tune(
            base_model=FLASH,
            training_dataset={"gcs_uri": f"gs://{BUCKET}/data/train"},
            config={"epoch_count": 1, "http_options": {"extra_body": more}},
        )
    assert caught.value.code == 400
    assert jobs(cloud) == []


# --- asking


def test_a_model_before_tuning_that_may_not_be_asked_costs_nothing(
    cloud: StandIn, tmp_path: Path
) -> None:
    asked = request(cloud, "projects/not-mine/locations/europe-west4/models/7@1")
    settings = {name: getattr(asked, name) for name in ("base_model", "batch_size")}
    with pytest.raises(CloudError, match="not-mine"):
        tune(gemini, ports_of(asked, tmp_path), **settings)
    assert jobs(cloud) == []


def asked(cloud: StandIn, tmp_path: Path, model: str, **settings: object) -> dict[str, int]:
    rows = tmp_path / "eval.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in pairs(24)))
    more = {"base_model": FLASH, "attempts": 8, **settings}
    return ask("gemini", tmp_path, rows, {"tuned": model}, **more)[0]


def test_every_held_out_row_is_asked_and_429_waited_out(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    endpoint = tuned(request_, tmp_path).endpoint
    cloud.fault("GenerateContent", code=429, times=2)
    cloud.fault("GenerateContent", drop="before")
    found = asked(cloud, tmp_path, endpoint, max_output_tokens=64)
    assert found == {"rows": 24, "unanswered": 0, "exact_matches": 24}
    rows = list(predictions.read(tmp_path / "tuned.jsonl"))
    assert [row.prediction for row in rows] == [f"answer {n}" for n in range(24)]
    seen = len(cloud.calls("GenerateContent"))
    assert seen == 27
    asked(cloud, tmp_path, endpoint, max_output_tokens=64)
    assert len(cloud.calls("GenerateContent")) == seen  # no row is paid for twice


def test_a_blocked_prompt_has_no_answer(cloud: StandIn, tmp_path: Path) -> None:
    rows = [*pairs(99), {"input_text": "question 99", "output_text": "BLOCK"}]
    endpoint = tuned(request(cloud, FLASH, rows), tmp_path).endpoint
    (answer,) = gemini_prediction.predict(endpoint, [prompt("question 99")])
    assert (answer.text, answer.error) == (None, "blocked: PROHIBITED_CONTENT")


@pytest.mark.parametrize(
    ("settings", "refused"),
    [({"thinking_budget": 0.0}, False), ({"thinking_level": "LOW"}, False),
     ({"thinking_level": "LOW", "thinking_budget": 0}, True)],
)  # fmt: skip
def test_thinking_may_be_set(cloud: StandIn, settings: dict[str, object], refused: bool) -> None:
    base = gemini.base_model_resource(FLASH, PROJECT, REGION, {"base_location": "global"})
    (answer,) = gemini_prediction.predict(base, [prompt("hello")], **settings)
    assert (answer.text is None) == refused
    assert cloud.calls("GenerateContent")[0]["host"] == "aiplatform.googleapis.com"


def test_a_champion_of_another_family_is_asked_in_its_own_words(
    cloud: StandIn, tmp_path: Path
) -> None:
    champion = tuned(request(cloud, FLASH25), tmp_path).endpoint
    found = asked(cloud, tmp_path, champion)  # the run is of Gemini 3
    assert found["exact_matches"] == 24
    (answer,) = gemini_prediction.predict(champion, [prompt("question 7")], thinking_level="LOW")
    assert "not supported" in answer.error


@pytest.mark.parametrize("family", [FLASH, FLASH25])
def test_a_model_tuned_further_thinks_no_longer_than_another(
    cloud: StandIn, tmp_path: Path, family: str
) -> None:
    first = tuned(request(cloud, family), tmp_path)
    (answer,) = gemini_prediction.predict(
        first.endpoint, [prompt("question 7")], base_model=first.model
    )
    assert answer.text == "answer 7"


@pytest.mark.parametrize(
    "more", [{"generationConfig": {"temprature": 0}}, {"contents": []}, {"labels": {"a": 1}}]
)
def test_the_stand_in_refuses_a_wrong_question(cloud: StandIn, more: dict[str, object]) -> None:
    from google.genai import errors

    asked = client(PROJECT, "eu")
    with pytest.raises(errors.ClientError) as caught:
        asked.models.generate_content(
            model=FLASH, contents="hello", config={"http_options": {"extra_body": more}}
        )
    assert caught.value.code == 400


def test_a_model_that_is_not_there_ends_the_asking(cloud: StandIn, tmp_path: Path) -> None:
    with pytest.raises(CloudError, match="no longer exists"):
        asked(cloud, tmp_path, f"projects/{PROJECT}/locations/eu/endpoints/1")
    assert len(cloud.calls("GenerateContent")) < 24


PICTURE = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
TOOLS = [{"functionDeclarations": [{"name": "name_it"}]}]


def test_parts_and_tools_are_sent_as_in_the_row_and_calls_come_back(
    cloud: StandIn, tmp_path: Path
) -> None:
    def row(number: int) -> dict[str, object]:
        call = {"functionCall": {"name": "name_it", "args": {"number": number}}}
        asked = {"role": "user", "parts": [PICTURE, {"text": f"picture {number}"}]}
        return {"contents": [asked, {"role": "model", "parts": [call]}], "tools": TOOLS}

    rows = [row(number) for number in range(100)]
    endpoint = tuned(request(cloud, FLASH, rows), tmp_path).endpoint
    question = Prompt("7", (), rows[7], "gemini")
    (answer,) = gemini_prediction.predict(endpoint, [question])
    assert read_calls(answer.text) == [Call("name_it", {"number": 7})]
    # Without the tools, or without the picture, it is another question.
    for changed in (
        {**rows[7], "tools": []},
        {
            **rows[7],
            "contents": [
                {"role": "user", "parts": [{"text": "picture 7"}]},
                rows[7]["contents"][1],
            ],
            "tools": [],
        },
    ):
        (other,) = gemini_prediction.predict(endpoint, [Prompt("7", (), changed, "gemini")])
        assert read_calls(other.text or "") == []


def test_a_row_that_is_not_of_googles_types_is_refused_alone(cloud: StandIn) -> None:
    base = gemini.base_model_resource(FLASH, PROJECT, REGION, {})
    fields = {"contents": [{"role": "user", "parts": [{"picture": 1}, PICTURE]}, {}]}
    (answer,) = gemini_prediction.predict(base, [Prompt("1", (), fields, "gemini")])
    assert answer.text is None
    assert answer.error.startswith("refused: ")


def test_thoughts_are_no_answer(cloud: StandIn, request_: TuningRequest, tmp_path: Path) -> None:
    endpoint = tuned(request_, tmp_path).endpoint
    asked = [prompt("question 7")]
    (answer,) = gemini_prediction.predict(endpoint, asked, thinking_level="HIGH")
    assert answer.text == "answer 7"


def test_a_model_that_takes_no_sampling_parameters_is_asked_without(cloud: StandIn) -> None:
    base = gemini.base_model_resource("gemini-4-argon", PROJECT, REGION, {})
    (answer,) = gemini_prediction.predict(base, [prompt("hello")])
    assert answer.text
