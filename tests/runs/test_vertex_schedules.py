"""Schedules, against the stand-in: one for each name, compared before it is changed."""

import json
import subprocess
from datetime import UTC, datetime

import pytest

from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.gcp import clients
from tunepipe.gcp.pipeline_jobs import PIPELINE_JOBS
from tunepipe.runs import vertex_schedules

PLACE = ("--project", PROJECT, "--region", REGION)
APPLY = (
    "schedule", "apply", "--name", "weekly", "--cron", "TZ=Asia/Tokyo 0 3 * * 1", *PLACE,
    "--bucket", f"gs://{BUCKET}", "--dataset", f"gs://{BUCKET}/rows.jsonl",
    "--service-account", "tuner@demo-project.iam.gserviceaccount.com",
    "--network", "projects/123456789012/global/networks/inner", "--label", "team=support",
    "--epochs", "1", "--param", "max_output_tokens=64", "--option", "poll_seconds=1", "--json",
)  # fmt: skip


@pytest.fixture
def rows(cloud):
    """A dataset in the bucket; jobs that are started stay in their first state."""
    cloud.ask("hold", {"on": True})
    lines = [json.dumps({"input_text": f"q {n}", "output_text": f"a {n}"}) for n in range(300)]
    (cloud.buckets / BUCKET / "rows.jsonl").write_text("\n".join(lines))
    return cloud


@pytest.mark.parametrize(
    ("extra", "where"),
    [
        (("--margin", "5"), "--margin"),
        (("--task", "nope"), "--task"),
        (("--param", "judge_model=nope"), "judge_model"),
    ],
)
@pytest.mark.parametrize("backend", ["gemini", "local"])
def test_what_fails_after_the_tuning_is_never_scheduled(said, backend, extra, where):
    code, found, _ = said(*APPLY, "--backend", backend, *extra, "--yes")
    assert (code, found["error"]["where"]) == (2, where)


def test_a_schedule_is_applied_once_and_changed_in_place(said, rows):
    code, made, _ = said(*APPLY, "--yes")
    assert (code, made["action"]) == (0, "created")
    assert all(change["before"] is None for change in made["changes"])
    code, same, _ = said(*APPLY)  # nothing changes, so nobody is asked
    assert (code, same["action"], same["changes"]) == (0, "unchanged", [])
    code, other, _ = said(*APPLY, "--epochs", "2", "--cron", "TZ=Asia/Tokyo 0 4 * * 1", "--yes")
    assert (other["action"], other["schedule"]) == ("updated", made["schedule"])
    *told, series = other["changes"]
    assert series["what"] == "parameter.series"  # what was seen with other epochs says nothing
    assert told == [
        {"what": "cron", "before": "TZ=Asia/Tokyo 0 3 * * 1", "after": "TZ=Asia/Tokyo 0 4 * * 1"},
        {"what": "parameter.epochs", "before": 1, "after": 2},
    ]
    assert [len(rows.calls(name)) for name in ("CreateSchedule", "UpdateSchedule")] == [1, 1]
    (listed,) = said("schedule", "list", *PLACE, "--json")[1]["schedules"]
    assert (listed["name"], listed["state"], listed["runs"]) == ("weekly", "active", 0)
    assert listed["next_run"].endswith("04:00+09:00")
    assert other["next_runs"][0] == listed["next_run"]


def test_everything_of_the_run_travels_with_the_schedule(said, rows):
    change = {one["what"]: one["after"] for one in said(*APPLY, "--yes")[1]["changes"]}
    assert change["service_account"] == "tuner@demo-project.iam.gserviceaccount.com"
    assert change["network"] == "projects/123456789012/global/networks/inner"
    assert change["results"] == f"gs://{BUCKET}/tunepipe/runs"
    assert change["max_concurrent_run_count"] == change["max_concurrent_active_run_count"] == 1
    assert change["label.team"] == "support"
    assert change["label.tunepipe_schedule"] == "weekly"
    assert change["parameter.dataset_uri"] == f"gs://{BUCKET}/rows.jsonl"
    assert change["parameter.region"] == REGION
    assert change["parameter.max_output_tokens"] == 64
    assert change["parameter.options.poll_seconds"] == 1
    assert {call["resource"].split("/")[3] for call in rows.calls() if "/locations/" in
            call["resource"]} == {REGION}  # fmt: skip


def test_a_persistent_resource_travels_with_the_schedule(said, rows):
    warm = (*APPLY, "--persistent-resource", "warm", "--yes")
    assert said(*warm)[1]["action"] == "created"
    assert said(*warm)[1]["action"] == "unchanged"
    run = said("schedule", "run-now", "weekly", *PLACE, "--yes", "--json")[1]["run"]
    job = clients.beta_pipelines(REGION).get_pipeline_job(name=run)
    runtime = job.runtime_config.default_runtime.persistent_resource_runtime_detail
    assert runtime.persistent_resource_name.endswith("/persistentResources/warm")
    (changed,) = said(*APPLY, "--yes")[1]["changes"]
    assert (changed["what"], changed["after"]) == ("persistent_resource", None)
    assert said(*APPLY, "--yes")[1]["action"] == "unchanged"


def test_a_dry_run_and_a_missing_yes_change_nothing(said, rows):
    assert said(*APPLY, "--dry-run")[1]["action"] == "would create"
    assert said(*APPLY)[0] == 2
    assert rows.calls("CreateSchedule") == []
    people = [word for word in APPLY if word != "--json"]
    assert "  + parameter.epochs: 1.0" in said(*people, "--dry-run")[2]


def test_one_run_at_a_time_is_one_that_has_not_ended(said, rows):
    said(*APPLY, "--yes")
    rows.ask("hold", {"on": True})
    for _ in range(3):
        rows.ask("tick", {"seconds": 8 * 86400})
    assert len(rows.ask("states")) == 1


def test_paused_resumed_deleted(said, rows):
    said(*APPLY, "--yes")
    assert said("schedule", "pause", "weekly", *PLACE, "--json")[1]["state"] == "paused"
    rows.ask("tick", {"seconds": 8 * 86400})
    assert rows.ask("states") == {}
    assert said(*APPLY, "--epochs", "2", "--yes")[1]["action"] == "updated"
    (listed,) = said("schedule", "list", *PLACE, "--json")[1]["schedules"]
    assert (listed["state"], listed["next_run"]) == ("paused", "")
    said("schedule", "resume", "weekly", *PLACE)
    assert rows.ask("states") == {}  # what was missed is not caught up on
    rows.ask("tick", {"seconds": 8 * 86400})
    assert len(rows.ask("states")) == 1
    assert said("schedule", "delete", "weekly", *PLACE)[0] == 2
    assert said("schedule", "delete", "weekly", *PLACE, "--yes")[0] == 0
    assert said("schedule", "list", *PLACE, "--json")[1] == {"schedules": []}
    assert said("schedule", "pause", "weekly", *PLACE)[0] == 2


def test_one_run_at_a_time_by_hand_too(said, rows):
    said(*APPLY, "--yes")
    now = ("schedule", "run-now", "weekly", *PLACE, "--yes", "--json")
    code, made, _ = said(*now)
    assert code == 0
    assert "/pipelineJobs/weekly-20" in made["run"]
    assert said(*now)[0] == 3
    rows.ask("facts", {"cancelling_seconds": 600.0})
    PIPELINE_JOBS.cancel(made["run"])
    code, refused, _ = said(*now)  # a run that is being cancelled has not ended
    assert (code, refused["error"]["where"]) == (3, made["run"])
    assert len(rows.ask("states")) == 1


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        (("--dataset", "rows.jsonl"), "must lie in Cloud Storage"),
        (("--cron", "weekly"), "no cron expression"),
        (("--cron", "0 3 31 2 *"), "nothing would ever run"),
        (("--name", "Every week"), "small letters"),
        (("--param", "epoch=3"), "did you mean epochs?"),
        (("--bucket", "my-bucket"), "gs://"),
    ],
)
def test_what_cannot_be_scheduled(said, rows, extra, found):
    code, error, _ = said(*APPLY, *extra, "--yes")
    assert code == 2
    assert found in f"{error['error']['found']} {error['error']['fix']}"
    assert rows.calls("CreateSchedule") == []


def test_a_state_of_a_later_version_is_shown():
    from google.cloud import aiplatform_v1beta1 as api

    job = {"runtime_config": {}}
    schedule = api.Schedule(cron="0 3 * * 1", create_pipeline_job_request={"pipeline_job": job})
    schedule._pb.state = 42
    found = vertex_schedules._listed(schedule, datetime.now(UTC))
    assert (found.state, found.next_run) == ("state_42", "")


def test_a_schedule_of_others_is_left_alone(said, rows):
    from google.cloud import aiplatform_v1beta1 as api

    said(*APPLY, "--name", "ours", "--yes")
    client = clients.schedules(REGION)
    parent = clients.parent(PROJECT, REGION)
    (ours,) = client.list_schedules(parent=parent)
    other = api.Schedule(ours, name="", display_name="weekly")
    del other.create_pipeline_job_request.pipeline_job.labels["tunepipe_schedule"]
    client.create_schedule(parent=parent, schedule=other)
    assert said(*APPLY, "--yes")[0] == 3
    assert said("schedule", "delete", "weekly", *PLACE, "--yes")[0] == 3
    listed = said("schedule", "list", *PLACE, "--json")[1]["schedules"]
    assert [one["name"] for one in listed] == ["ours"]
    twin = client.create_schedule(parent=parent, schedule=api.Schedule(ours, name=""))
    # Two `apply` at once make two: what starts runs is refused, what ends them meets both.
    for words in (("apply", *APPLY[2:], "--name", "ours"), ("resume", "ours", *PLACE, "--json")):
        code, refused, _ = said("schedule", *words)
        assert (code, refused["error"]["found"]) == (2, "several schedules have this name")
        assert sorted(refused["error"]["where"].split(", ")) == sorted([ours.name, twin.name])
    assert said("schedule", "pause", "ours", *PLACE)[0] == 0
    listed = said("schedule", "list", *PLACE, "--json")[1]["schedules"]
    assert [one["state"] for one in listed] == ["paused", "paused"]
    assert said("schedule", "delete", "ours", *PLACE, "--yes")[0] == 0
    assert said("schedule", "list", *PLACE, "--json")[1]["schedules"] == []


def test_on_this_machine_the_lines_are_printed(said, tmp_path):
    local = (
        "schedule", "apply", "--name", "weekly", "--cron", "TZ=Asia/Tokyo 0 3 * * 1",
        "--backend", "local", "--dataset", "50%.jsonl", "--param", "a=b c", "--json",
    )  # fmt: skip
    code, lines, _ = said(*local)
    assert code == 0
    cron = lines["cron"].splitlines()
    assert cron[1] == "CRON_TZ=Asia/Tokyo"
    assert cron[2].startswith(f"0 3 * * 1 cd {tmp_path} && ")
    asked = r"run --backend local --dataset 50\%.jsonl --param 'a=b c' --param series=weekly"
    assert f"{asked} >>weekly.log" in cron[2]
    assert '"--dataset" "50%%.jsonl"' in lines["service"]
    assert "OnCalendar=Mon *-*-* 03:00:00 Asia/Tokyo\nPersistent=false" in lines["timer"]
    assert lines["next_runs"][0].endswith("03:00+09:00")


def test_settings_of_the_schedule_reach_its_run(said, tmp_path):
    (tmp_path / "tunepipe.toml").write_text(
        '[schedule.apply]\nname = "weekly"\ncron = "0 3 * * 1"\nbackend = "local"\n'
        'dataset = "rows.jsonl"\n'
    )
    assert "--dataset rows.jsonl" in said("schedule", "apply", "--json")[1]["cron"]


def test_the_shell_reads_crons_line_as_the_command(said):
    lines = said(
        "schedule", "apply", "--name", "weekly", "--cron", "0 3 * * 1", "--backend", "local",
        "--dataset", "it's 50%.jsonl", "--select-checkpoint", "--json",
    )[1]  # fmt: skip
    line = lines["cron"].splitlines()[2].partition("&& ")[2].replace(r"\%", "%")
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {line.partition(' >>')[0]}"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert words[1:] == ["run", "--backend", "local", "--dataset", "it's 50%.jsonl",
                         "--select-checkpoint", "--param", "series=weekly"]  # fmt: skip
