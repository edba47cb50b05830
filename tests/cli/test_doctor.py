"""The doctor, against the stand-in: each fault has its finding and its command."""

import json
import os

import pytest

from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.cli import main

DOCTOR = (
    "doctor", "--project", PROJECT, "--region", REGION, "--bucket", f"gs://{BUCKET}",
    "--base-model", "text-bison@001", "--json",
)  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder, without the caller's TUNEPIPE_ variables."""
    from tunepipe.gcp import rest

    rest.session.cache_clear()
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("TUNEPIPE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def examined(cloud, capfd):
    """Run the doctor on a project of these facts; give its exit code and findings by check."""

    def run(*arguments, **facts):
        cloud.ask("facts", facts)
        capfd.readouterr()
        code = main.run([*DOCTOR, *map(str, arguments)])
        found = json.loads(capfd.readouterr().out)
        return code, {(one["check"], one["state"]): one for one in found["findings"]}

    return run


def test_a_sound_project_but_for_the_model_that_ended(examined, cloud):
    code, found = examined()
    assert code == 3  # text-bison was shut down
    assert {check for check, state in found if state == "problem"} == {"model"}
    assert {check for check, state in found if state == "ok"} == {
        "clients", "credentials", "apis", "your rights", "service account", "roles", "bucket",
        "quota", "tables", "template",
    }  # fmt: skip
    assert "gemini" in found["model", "problem"]["fix"]
    assert "sha256:" in found["template", "ok"]["found"]
    changing = ("POST", "PUT", "PATCH", "DELETE")
    writes = [c["method"] for c in cloud.calls() if c["method"].startswith("storage.")]
    assert not [name for name in writes if name.removeprefix("storage.").upper() in changing]


def test_a_retired_model_is_a_problem_unless_the_user_knows_better(examined, tmp_path):
    model = ("--backend", "gemini", "--base-model", "gemini-2.5-flash")
    code, found = examined(*model)
    assert code == 3
    assert found["model", "problem"]["fix"] == "--base-model gemini-3.5-flash-lite"
    own = tmp_path / "own.toml"
    own.write_text(
        '[models.models."gemini-2.5-flash"]\ntunable_until = "2999-01-01"\nserved_until = ""\n'
    )
    code, found = examined(*model, "--tables", own)
    assert code == 0
    assert ("model", "ok") in found


@pytest.mark.parametrize(
    ("facts", "check", "found", "fix"),
    [
        ({"disabled": ["aiplatform.googleapis.com"]}, "apis", "not enabled",
         "gcloud services enable aiplatform.googleapis.com --project demo-project"),
        ({"denied": ["aiplatform.pipelineJobs.create"]}, "your rights",
         "missing: aiplatform.pipelineJobs.create", "--role roles/aiplatform.user"),
        ({"denied": ["iam.serviceAccounts.actAs"]}, "service account", "may not act as",
         "--role roles/iam.serviceAccountUser"),
        ({"denied": ["storage.objects.create"]}, "bucket", "missing on gs://",
         "--role roles/storage.objectAdmin"),
        ({"location": "US"}, "bucket", "lies in us, and the run in europe-west4",
         "--location europe-west4"),
        ({"quota": {"Restricted image training TPU V3 pod cores per region":
                    {"us-central1": 64, "europe-west4": 0}}}, "quota",
         "0 in europe-west4, and a tuning needs 64", "quotas?project=demo-project"),
    ],
)  # fmt: skip
def test_each_fault_has_the_command_that_mends_it(examined, facts, check, found, fix):
    _, findings = examined(**facts)
    one = findings[check, "problem"]
    assert found in one["found"]
    assert fix in one["fix"]
    assert one["exit_code"] in (3, 4)


def test_a_dataset_whose_requesters_pay_is_read_for_the_project_that_pays(examined, cloud):
    (cloud.buckets / "payers").mkdir()
    rows = [{"input_text": f"q {n}", "output_text": f"a {n}"} for n in range(20)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (cloud.buckets / "payers" / "rows.jsonl").write_text(text)
    dataset, facts = ("--dataset", "gs://payers/rows.jsonl"), {"requester_pays": ["payers"]}
    _, found = examined(*dataset, **facts)
    assert "--user-project" in found["dataset", "problem"]["fix"]
    _, found = examined(*dataset, "--user-project", PROJECT, **facts)
    assert found["dataset", "ok"]["found"] == "20 rows without an error"
    assert ("bucket", "ok") in found


def test_what_it_may_not_see_it_says(examined, cloud):
    for method in ("governance.services", "governance.quota", "governance.policy"):
        cloud.fault(method, code=403, message="Permission denied.")
    _, found = examined(quota={}, roles={})
    for check in ("apis", "quota", "roles"):
        assert "our rights do not let us see it" in found[check, "unknown"]["found"]


def test_roles_that_may_come_from_elsewhere_are_unknown(examined):
    _, found = examined(roles={})
    assert "roles/aiplatform.user" in found["roles", "unknown"]["fix"]


def test_without_credentials_the_rest_is_unknown(examined, monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    _, found = examined()
    assert "application-default login" in found["credentials", "problem"]["fix"]
    assert "out of reach" in found["quota", "unknown"]["found"]


def test_a_missing_bucket_and_a_bad_dataset(examined, tmp_path):
    bad = tmp_path / "rows.jsonl"
    bad.write_text('{"input_text": "a"}\n')
    _, found = examined("--bucket", "gs://no-such-bucket", "--dataset", bad)
    assert "gcloud storage buckets create gs://no-such-bucket" in found["bucket", "problem"]["fix"]
    assert "missing-field" in found["dataset", "problem"]["found"]


def test_on_this_machine_nobody_is_asked(capfd, tmp_path):
    rows = [json.dumps({"input_text": f"q {n}", "output_text": f"a {n}"}) for n in range(50)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    code = main.run(["doctor", "--backend", "local", "--dataset", "rows.jsonl", "--json"])
    found = json.loads(capfd.readouterr().out)
    assert code == 0
    assert [one["check"] for one in found["findings"]] == ["clients", "model", "dataset"]
    assert {one["state"] for one in found["findings"]} == {"ok"}


def test_what_is_well_is_shown_without_a_command(cloud, capfd):
    cloud.ask("facts", {"retention_seconds": 864000})
    main.run(list(DOCTOR[:-1]))
    lines = capfd.readouterr().err.splitlines()
    kept = lines.index(f"ok       bucket: gs://{BUCKET} keeps every object for 10 days")
    assert lines[kept + 1].split()[0] in ("ok", "problem", "unknown")


def test_what_people_read_of_a_machine(capfd, tmp_path):
    rows = [json.dumps({"input_text": f"q {n}", "output_text": f"a {n}"}) for n in range(50)]
    (tmp_path / "rows.jsonl").write_text("\n".join([*rows, '{"input_text": "alone"}']))
    code = main.run(["doctor", "--backend", "local", "--dataset", "rows.jsonl"])
    lines = capfd.readouterr().err.splitlines()
    assert code == 1
    assert lines.pop(0).endswith(" packages have versions that work")
    assert lines == [
        "ok       model: tiny is tuned",
        "problem  dataset: does not pass: missing-field 1",
        "         fix: tunepipe validate rows.jsonl --model tiny",
        "1 problem, 0 not visible to this account",
    ]
    assert main.run(["doctor", "--backend", "local"]) == 0
    assert capfd.readouterr().err.splitlines()[-3:] == [
        "unknown  dataset: none was named",
        "         fix: --dataset DATASET",
        "0 problems, 1 not visible to this account",
    ]


@pytest.mark.parametrize(
    ("accelerator", "options", "limits", "state", "words"),
    [
        ("L4:2", [], {REGION: 2}, "ok", "2 needed"),
        ("L4:2", [], {REGION: 1}, "problem", "needs 2"),
        ("L4:2", ["machines=2"], {REGION: 2}, "problem", "needs 4"),
        ("L4:2", ["provisioning=spot"], {REGION: 8}, "unknown", "preemptible"),
        ("L4:8", [], {"us-east1": 8}, "problem", "needs 8"),
        ("L4:1", [], None, "unknown", "not listed"),
    ],
)
def test_the_quota_of_an_accelerator(examined, accelerator, options, limits, state, words):
    name = "Custom model training Nvidia L4 GPUs per region"
    custom = ("--backend", "custom", "--base-model", "acme/model-4b", "--accelerator", accelerator)
    more = [part for option in options for part in ("--option", option)]
    _, found = examined(*custom, *more, quota={name: limits} if limits else {})
    assert words in found["quota", state]["found"]
    assert found["containers", "ok"]["found"].endswith(" is named by its digest")
    assert ("containers", "unknown") not in found


def test_a_container_that_is_named_by_a_tag(examined):
    custom = ("--backend", "custom", "--base-model", "acme/model-4b", "--accelerator", "L4:1")
    _, found = examined(*custom, "--option", "prediction_image=registry.example/vllm:1", quota={})
    assert found["containers", "unknown"] == {
        **found["containers", "unknown"],
        "found": "registry.example/vllm:1 is a tag, which may be moved",
        "fix": "--option prediction_image=NAME@sha256:…",
    }


@pytest.mark.parametrize(
    ("backend", "name", "limit", "state", "words"),
    [
        ("gemini", "Concurrent tuning jobs per project", 4, "ok", "4 in"),
        ("gemini", "Concurrent tuning jobs per project", 0, "problem", "needs 1"),
        (
            "open-model",
            "Global concurrent managed OSS model fine-tuning jobs per project",
            0,
            "problem",
            "needs 1",
        ),
        ("open-model", "Concurrent tuning jobs per project", 4, "unknown", "OSS"),
    ],
)
def test_the_quota_of_tuning_jobs_is_read(examined, backend, name, limit, state, words):
    model = {"gemini": "gemini-3.5-flash", "open-model": "qwen/qwen3@qwen3-4b"}[backend]
    asked = ("--backend", backend, "--base-model", model)
    _, found = examined(*asked, quota={name: {"": limit}})
    assert words in found["quota", state]["found"]
