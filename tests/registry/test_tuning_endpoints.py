"""Endpoints that tuning jobs of Gemini leave: listed with their role, and cleaned up."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.backends.managed.jobs import request
from tests.standin.process import StandIn
from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.backends.base import Prompt
from tunepipe.backends.managed import gemini, gemini_prediction
from tunepipe.backends.managed.jobs import list_jobs
from tunepipe.cli import main
from tunepipe.gcp import clients
from tunepipe.gcp.labels import KEY_LABEL
from tunepipe.registry import endpoints
from tunepipe.registry.tuning_endpoints import of_tuning_jobs
from tunepipe.runs import vertex_request
from tunepipe.runs.vertex_request import VertexRun
from tunepipe.steps.promotion import promote_step

PLACE = ("--project", PROJECT, "--region", REGION, "--bucket", f"gs://{BUCKET}")
FLASH = "gemini-3.5-flash"


def tuned(cloud: StandIn, folder, name: str, **options):
    asked = replace(request(cloud, FLASH, again=name, **options), display_name=name)
    (folder / name).mkdir()
    return gemini.tune(asked, str(folder / name), lambda event: None)


def listed(capfd, *arguments: str):
    capfd.readouterr()  # the service's client prints a link where IPython is loaded
    code = main.run(["endpoints", *PLACE, *arguments, "--json"])
    out = capfd.readouterr().out
    return code, json.loads(out) if out else {}


@pytest.mark.parametrize(("option", "kinds"), [(True, 1), (False, 3)])
def test_a_job_leaves_its_last_checkpoint_alone_unless_asked(cloud, tmp_path, option, kinds):
    tuned(cloud, tmp_path, "one", export_last_checkpoint_only=option)
    found = list(of_tuning_jobs(PROJECT, REGION))
    assert [one.kind for one in found] == ["gemini", *["checkpoint"] * (kinds - 1)]
    assert {one.endpoint.split("/")[3] for one in found} == {"eu"}


def test_jobs_of_others_and_jobs_without_an_endpoint_leave_nothing_of_ours(cloud, tmp_path):
    """The newest come first: none of them may hide those that come after."""
    ours = tuned(cloud, tmp_path, "one")
    theirs = ours.statistics["job"].rpartition("/")[0]
    left = {"model": ours.model, "endpoint": ours.endpoint}
    labelled = {"labels": {KEY_LABEL: "k"}}
    for number, fields in enumerate(
        ({"tunedModel": left}, {"tunedModel": left, "labels": {"team": "desk"}}, labelled,
         {**labelled, "tunedModel": {"model": ours.model}}), start=1,
    ):  # fmt: skip
        made = datetime.now(UTC).isoformat()
        job = {"name": f"{theirs}/{number}", "state": "JOB_STATE_SUCCEEDED", "createTime": made}
        cloud.ask("tuning", {**job, "baseModel": FLASH, **fields})
    names = [str(job.name).rpartition("/")[2] for job in list_jobs(PROJECT, REGION)]
    assert names[:-1] == ["4", "3", "2", "1"]
    (found,) = of_tuning_jobs(PROJECT, REGION)
    assert (found.endpoint, found.job) == (ours.endpoint, ours.statistics["job"])


def test_what_serves_nobody_goes_and_the_champion_stays(cloud, tmp_path, capfd):
    better = tmp_path / "comparison.json"
    better.write_text('{"verdict": "better", "reason": "It is."}')
    kept = f"gs://{BUCKET}/tunepipe/registry/gemini"
    former = tuned(cloud, tmp_path, "former")
    champion = tuned(cloud, tmp_path, "champion", export_last_checkpoint_only=False)
    for run, model in (("run-1", former), ("run-2", champion)):
        promote_step(model.endpoint, str(better), kept, run)
    idle = tuned(cloud, tmp_path, "idle")
    code, found = listed(capfd)
    assert code == 0
    roles = {one["endpoint"]: one["role"] for one in found["endpoints"]}
    assert (roles[champion.endpoint], roles[former.endpoint]) == ("champion", "former")
    assert sorted(roles.values()) == ["champion", "checkpoint", "checkpoint", "former", "idle"]
    assert {one["cost_usd"] for one in found["endpoints"]} == {0.0}  # idle Geminis are free
    code, found = listed(capfd, "--clean-up", "--yes")
    assert code == 0
    assert len(found["deleted"]) == 3
    assert idle.endpoint in found["deleted"]
    left = {one.endpoint for one in of_tuning_jobs(PROJECT, REGION)}
    assert left == {champion.endpoint, former.endpoint}
    question = Prompt("1", ({"role": "user", "content": "question 7"},))
    (answer,) = gemini_prediction.predict(champion.endpoint, [question])
    assert answer.text == "answer 7"


def test_where_an_earlier_checkpoint_was_chosen_the_last_one_goes(cloud, tmp_path, capfd):
    better = tmp_path / "comparison.json"
    better.write_text('{"verdict": "better", "reason": "It is."}')
    tuned(cloud, tmp_path, "chosen", export_last_checkpoint_only=False)
    last, chosen, other = [found.endpoint for found in of_tuning_jobs(PROJECT, REGION)]
    promote_step(chosen, str(better), f"gs://{BUCKET}/tunepipe/registry/gemini", "run-1")
    roles = {found["endpoint"]: found["role"] for found in listed(capfd)[1]["endpoints"]}
    assert roles == {last: "checkpoint", chosen: "champion", other: "checkpoint"}
    code, found = listed(capfd, "--clean-up", "--yes")
    assert (code, sorted(found["deleted"])) == (0, sorted([last, other]))
    question = Prompt("1", ({"role": "user", "content": "question 7"},))
    (answer,) = gemini_prediction.predict(chosen, [question])
    assert answer.text == "answer 7"


def test_a_job_in_another_location_is_found_there(cloud, tmp_path, capfd):
    there = tuned(cloud, tmp_path, "there", location="us-central1")
    here = tuned(cloud, tmp_path, "here")
    code, found = listed(capfd)
    assert [one["endpoint"] for one in found["endpoints"]] == [here.endpoint]
    code, found = listed(capfd, "--option", "location=us-central1")
    assert {one["endpoint"] for one in found["endpoints"]} == {here.endpoint, there.endpoint}
    assert (code, found["locations"]) == (0, [REGION, "us-central1"])
    assert (found["idle"], found["added_in_a_year"]) == (2, None)  # too early to say
    assert listed(capfd, "--option", "location=us-central1", "--clean-up", "--yes")[0] == 0
    assert list(of_tuning_jobs(PROJECT, "us-central1")) == []
    assert listed(capfd, "--option", "place=us-central1")[0] == 2


def test_a_run_says_where_its_job_was(cloud, tmp_path, capfd):
    there = tuned(cloud, tmp_path, "there", location="us-central1")
    parameters = {"base_model": FLASH, "options": {"location": "us-central1"}}
    parameters["dataset_uri"] = f"gs://{BUCKET}/rows.jsonl"
    run = VertexRun("gemini", PROJECT, REGION, f"gs://{BUCKET}", parameters)
    asked = vertex_request.prepare_recurring(run, "weekly")
    clients.pipelines(REGION).create_pipeline_job(
        parent=asked.parent, pipeline_job=asked.job, pipeline_job_id="one-run"
    )
    found = listed(capfd)[1]
    assert [one["endpoint"] for one in found["endpoints"]] == [there.endpoint]


def test_a_promotion_keeps_a_geminis_endpoint(cloud, tmp_path):
    model = tuned(cloud, tmp_path, "one")
    assert endpoints.discard(model.endpoint) is False
