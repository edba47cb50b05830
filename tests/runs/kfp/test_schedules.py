"""Recurring runs on a KFP host, through kfp's own client."""

import json
import os

import pytest

from tests.standin.kfp_host import KfpHost
from tunepipe.cli import main

IMAGE = "registry.example/tunepipe@sha256:" + "0" * 64


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # kfp's client keeps its context there
    for name in os.environ:
        if name.startswith("TUNEPIPE_"):
            monkeypatch.delenv(name)
    started = KfpHost()
    yield started
    started.stop()


def applied(host, capfd, *more):
    capfd.readouterr()
    code = main.run(
        ["schedule", "apply", "--name", "weekly", "--cron", "0 3 * * 1", "--backend", "local",
         "--dataset", "gs://b/rows.jsonl", "--bucket", "gs://b", "--kfp-host", host.url,
         "--train-steps", "30", "--image", IMAGE, *more, "--json"]
    )  # fmt: skip
    out = capfd.readouterr().out
    return code, json.loads(out)


def test_one_recurring_run_of_a_name(host, capfd):
    assert applied(host, capfd, "--dry-run")[1]["action"] == "would create"
    assert host.calls == []
    assert applied(host, capfd, "--yes")[1]["action"] == "created"
    (one,) = host.recurring.values()
    assert one["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1"
    assert (one["max_concurrency"], one["no_catchup"]) == (1, True)
    told = one["runtime_config"]["parameters"]
    assert told["series"] == "weekly"
    assert told["registry"] == "gs://b/tunepipe/registry/local"
    assert told["train_steps"] == 30
    # The host keeps specs as protobuf Struct, whose 0.0 comes back as 0.
    assert '": 0.0' not in json.dumps(one["pipeline_spec"])
    assert applied(host, capfd, "--dry-run")[1]["action"] == "unchanged"
    assert applied(host, capfd, "--yes")[1]["action"] == "unchanged"
    assert applied(host, capfd, "--yes", "--train-steps", "60")[1]["action"] == "replaced"
    (other,) = host.recurring.values()
    assert other["recurring_run_id"] != one["recurring_run_id"]
    assert other["runtime_config"]["parameters"]["train_steps"] == 60


def asked(host, capfd, verb, *more):
    capfd.readouterr()
    code = main.run(["schedule", verb, *more, "--kfp-host", host.url, "--json"])
    return code, json.loads(capfd.readouterr().out)


def test_it_is_listed_paused_resumed_run_now_and_deleted(host, capfd):
    host.recurring["other"] = {
        "recurring_run_id": "other", "display_name": "weekly",
        "pipeline_spec": {"pipelineInfo": {"name": "somebody-elses"}},
    }  # fmt: skip
    assert asked(host, capfd, "pause", "weekly")[0] == 2, "not ours"
    assert applied(host, capfd, "--yes")[0] == 3, "nor is it replaced"
    applied(host, capfd, "--yes", "--name", "nightly", "--cron", "30 1 * * *")
    (one,) = asked(host, capfd, "list")[1]["schedules"]
    assert (one["name"], one["state"], one["cron"]) == ("nightly", "active", "30 1 * * *")
    assert one["next_run"].endswith("T01:30+00:00")
    assert one["dataset"] == "gs://b/rows.jsonl"
    assert asked(host, capfd, "pause", "nightly") == (
        0,
        {"schedule": one["resource"], "state": "paused"},
    )
    (paused,) = asked(host, capfd, "list")[1]["schedules"]
    assert (paused["state"], paused["next_run"]) == ("paused", "")
    asked(host, capfd, "resume", "nightly")
    assert asked(host, capfd, "list")[1]["schedules"] == [one]
    code, made = asked(host, capfd, "run-now", "nightly", "--yes")
    (run,) = host.runs.values()
    assert (code, made["run"]) == (0, run["run_id"])
    assert run["runtime_config"]["parameters"]["series"] == "nightly"
    assert asked(host, capfd, "run-now", "nightly", "--yes")[0] == 3, "one is under way"
    run["state"] = "SUSPENDED"  # of a later version, and no end
    assert asked(host, capfd, "run-now", "nightly", "--yes")[0] == 3
    run["state"] = "SUCCEEDED"
    host.runs["another's"] = {
        "run_id": "another's", "display_name": "nightly-eu-20261125030000", "state": "RUNNING",
    }  # fmt: skip
    assert asked(host, capfd, "run-now", "nightly", "--yes")[0] == 0
    assert asked(host, capfd, "delete", "nightly")[0] == 2, (
        "this needs a confirmation, and standard input is not a terminal"
    )
    assert asked(host, capfd, "delete", "nightly", "--yes")[1]["state"] == "deleted"
    assert set(host.recurring) == {"other"}
    assert asked(host, capfd, "delete", "nightly", "--yes")[0] == 2


def test_what_is_set_for_a_recurring_run_stays_with_it(host, capfd):
    account = ("--kfp", "service_account=tuner", "--kfp", "pipeline_root=s3://b/runs")
    assert applied(host, capfd, "--yes")[1]["action"] == "created"
    assert applied(host, capfd, "--yes", *account)[1]["action"] == "replaced"
    assert applied(host, capfd, "--yes", *account)[1]["action"] == "unchanged"
    asked(host, capfd, "run-now", "weekly", "--yes")
    (run,) = host.runs.values()
    assert run["service_account"] == "tuner"
    assert run["runtime_config"]["pipeline_root"] == "s3://b/runs"
    # Another may be put in the place of a paused one, and starts nothing either.
    asked(host, capfd, "pause", "weekly")
    assert applied(host, capfd, "--yes", "--train-steps", "60")[1]["action"] == "replaced"
    (shown,) = asked(host, capfd, "list")[1]["schedules"]
    assert shown["state"] == "paused"


def test_two_of_one_name_are_paused_and_deleted_together(host, capfd):
    """As an `apply` leaves them that ended between its two calls."""
    applied(host, capfd, "--yes")
    (one,) = host.recurring.values()
    host.recurring["twin"] = {**one, "recurring_run_id": "twin"}
    assert asked(host, capfd, "pause", "weekly")[0] == 0
    assert [each["status"] for each in host.recurring.values()] == ["DISABLED"] * 2
    assert asked(host, capfd, "resume", "weekly")[0] == 0
    assert [each["status"] for each in host.recurring.values()] == ["ENABLED", "DISABLED"]
    assert asked(host, capfd, "delete", "weekly", "--yes")[0] == 0
    assert host.recurring == {}


def test_one_that_runs_at_even_distances_is_listed_and_replaced(host, capfd):
    """As the host's own page makes it, out of our pipeline."""
    applied(host, capfd, "--yes")
    (one,) = host.recurring.values()
    one["trigger"] = {"periodic_schedule": {"interval_second": "3600"}}
    (shown,) = asked(host, capfd, "list")[1]["schedules"]
    assert (shown["name"], shown["cron"], shown["next_run"]) == ("weekly", "", "")
    assert applied(host, capfd, "--yes")[1]["action"] == "replaced"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--cron", "TZ=Asia/Tokyo 0 3 * * 1"), 2),
        (("--dataset", "rows.jsonl"), 2),
        (("--notify", "webhook.txt"), 2),
        (("--email", "a@example.com"), 2),
        (("--image", ""), 2),
        (("--kfp", "gpus=1"), 2),
        (("--kfp", 'tolerations=[{"keys": "gpu"}]'), 2),
        (("--backend", "large-model", "--base-model", "text-bison@001"), 2),
        ((), 2),  # nobody can be asked
    ],
)
def test_what_is_refused_before_the_host_is_asked(host, capfd, more, code):
    assert applied(host, capfd, *more, *(["--yes"] if more else []))[0] == code
    assert host.calls == []


def test_a_host_that_is_broken(host, capfd):
    host.broken = True
    code, said = applied(host, capfd, "--yes")
    assert (code, said["error"]["where"]) == (4, host.url)
