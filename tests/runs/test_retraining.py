"""A schedule on the stand-in, over unchanged, grown and edited data: tuning jobs are counted."""

import json
import re

from tests.standin.session import BUCKET, PROJECT, REGION
from tests.waiting import until
from tunepipe.cli import main

PLACE = ("--project", PROJECT, "--region", REGION)
APPLY = (
    "schedule", "apply", "--name", "weekly", "--cron", "TZ=Asia/Tokyo 0 3 * * 1", *PLACE,
    "--bucket", f"gs://{BUCKET}", "--dataset", f"gs://{BUCKET}/rows.jsonl", "--epochs", "1",
    "--min-new-rows", "5", "--option", "poll_seconds=0.2",
    "--param", 'asking={"requests_per_minute": 60000}', "--yes",
)  # fmt: skip
WEEK = 7 * 86400


def rows(count, answer="a"):
    return [{"input_text": f"question {n}", "output_text": f"{answer} {n}"} for n in range(count)]


class Weekly:
    """The schedule's runs, one after the other."""

    def __init__(self, cloud):
        self.cloud = cloud

    def run_over(self, data):
        """Put rows in place, let a week pass; give the run's status and the tuning jobs so far."""
        text = "".join(json.dumps(row) + "\n" for row in data)
        (self.cloud.buckets / BUCKET / "rows.jsonl").write_text(text)
        before = set(self.cloud.ask("states"))
        assert self.cloud.ask("tick", {"seconds": WEEK})["started"] == 1
        run = next(name for name in set(self.cloud.ask("states")) - before if "/job-" in name)
        ended = re.compile("SUCCEEDED|FAILED|CANCELLED")
        state = until(lambda: ended.search(self.cloud.ask("states")[run]))[0]
        assert state == "SUCCEEDED", self.cloud.log()
        tunings = [name for name in self.cloud.ask("states") if "/tune-" in name]
        return run, len(tunings)


def test_tuning_jobs_are_made_only_where_there_is_something_to_learn(cloud, capfd, tmp_path):
    (cloud.buckets / BUCKET / "rows.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows(60))
    )
    cloud.ask("instant", {"on": True})
    tmp_path.joinpath("tunepipe.toml").write_text(
        "[tables.prices.accelerators.TPU_V3]\nusd_per_hour = { europe-west4 = 0.5 }\n"
    )
    assert main.run([*APPLY]) == 0
    weekly = Weekly(cloud)
    first, jobs = weekly.run_over(rows(60))
    assert jobs == 1
    second, jobs = weekly.run_over(rows(60))  # unchanged
    assert jobs == 1
    capfd.readouterr()
    assert main.run(["status", second, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["unchanged"] == f"unchanged since run {first.rpartition('/')[2]}"
    done = {task["name"] for task in found["tasks"] if task["state"] == "succeeded"}
    assert done == {"prepare-run", "send-notice"}
    assert weekly.run_over(rows(64))[1] == 1  # four more rows are fewer than five
    assert weekly.run_over([*rows(64)[:-6], *rows(64, "b")[-6:]])[1] == 2  # edited
    capfd.readouterr()
    assert main.run(["costs", *PLACE, "--json"]) == 0
    costs = json.loads(capfd.readouterr().out)
    assert [one["estimated_cost_usd"] > 0 for one in costs["runs"]] == [True, False, False, True]
    assert costs["total_usd"] == sum(one["estimated_cost_usd"] for one in costs["runs"])
    assert costs["unknown"] == 0
    assert cloud.places() == {REGION}  # which is not the default
