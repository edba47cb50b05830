"""A schedule as facts, and what applying it changes, fact by fact; nothing is sent."""

import copy
from typing import Any

from google.cloud import aiplatform_v1beta1 as api

from tunepipe.runs import vertex_schedules
from tunepipe.runs.cron import Cron
from tunepipe.runs.vertex_request import JobRequest
from tunepipe.runs.vertex_schedules import FactChange

SPEC = {
    "pipelineInfo": {"name": "tunepipe-gemini"},
    "deploymentSpec": {"executors": {"exec-tune": {"container": {"image": "i"}}, "exec-b": {}}},
    "root": {"dag": {}},
}
JOB: dict[str, Any] = {
    "display_name": "tunepipe-gemini",
    "labels": {"team": "desk", "tunepipe_schedule": "weekly"},
    "runtime_config": {
        "gcs_output_directory": "gs://b/runs",
        "parameter_values": {"seed": 1, "options": {"a": {"b": 2}}, "tables": {}},
    },
    "service_account": "a@p",
    "encryption_spec": {"kms_key_name": "key"},
    "pipeline_spec": SPEC,
}


def body(job: dict[str, Any] = JOB, cron: str = "0 3 * * 1") -> dict[str, Any]:
    request = JobRequest("projects/p/locations/r", job, {})
    return vertex_schedules.schedule_body("weekly", Cron(cron), request)


def test_a_schedule_starts_one_run_at_a_time() -> None:
    assert body() == {
        "display_name": "weekly",
        "cron": "TZ=UTC 0 3 * * 1",
        "max_concurrent_run_count": 1,
        "max_concurrent_active_run_count": 1,
        "allow_queueing": False,
        "create_pipeline_job_request": {"parent": "projects/p/locations/r", "pipeline_job": JOB},
    }


def test_the_facts_of_a_schedule() -> None:
    found = dict(vertex_schedules.facts(body()))
    digests = {name: found.pop(name) for name in ("step.tune", "step.b", "pipeline")}
    assert found == {
        "cron": "TZ=UTC 0 3 * * 1",
        "max_concurrent_run_count": 1,
        "max_concurrent_active_run_count": 1,
        "display_name": "tunepipe-gemini",
        "service_account": "a@p",
        "encryption_key": "key",
        "results": "gs://b/runs",
        "label.team": "desk",
        "label.tunepipe_schedule": "weekly",
        "parameter.seed": 1,
        "parameter.options.a.b": 2,
    }
    name, _, digest = digests["pipeline"].partition(" ")
    assert (name, len(digest), len(digests["step.b"])) == ("tunepipe-gemini", 12, 12)
    assert len({digest, digests["step.tune"], digests["step.b"]}) == 3


def test_what_applying_a_schedule_changes() -> None:
    present = api.Schedule(body())
    assert vertex_schedules.differences(present, body()) == []
    job = copy.deepcopy(JOB)
    del job["service_account"]
    job["network"] = "n"
    job["runtime_config"]["parameter_values"]["seed"] = 2
    job["pipeline_spec"]["root"] = {"dag": {"tasks": {}}}
    changes = vertex_schedules.differences(present, body(job, "0 4 * * 1"))
    old, new = (dict(vertex_schedules.facts(each)) for each in (body(), body(job)))
    assert changes == [
        FactChange("cron", "TZ=UTC 0 3 * * 1", "TZ=UTC 0 4 * * 1"),
        FactChange("network", None, "n"),
        FactChange("parameter.seed", 1, 2),
        FactChange("pipeline", old["pipeline"], new["pipeline"]),
        FactChange("service_account", "a@p", None),
    ]
    assert {each.what: each.after for each in vertex_schedules.differences(None, body())} == old
