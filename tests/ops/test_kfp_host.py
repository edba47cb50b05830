"""Recurring runs on a KFP host, through kfp's own client."""

import json
import os

import pytest

from tests.standin.kfp_host import KfpHost
from tunepipe.ops import main


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
         "--train-steps", "30", *more, "--json"]
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
    assert applied(host, capfd, "--yes")[1]["action"] == "unchanged"
    assert applied(host, capfd, "--yes", "--train-steps", "60")[1]["action"] == "replaced"
    (other,) = host.recurring.values()
    assert other["recurring_run_id"] != one["recurring_run_id"]
    assert other["runtime_config"]["parameters"]["train_steps"] == 60


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--cron", "TZ=Asia/Tokyo 0 3 * * 1"), 2),
        (("--dataset", "rows.jsonl"), 2),
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
